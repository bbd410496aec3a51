// The fleet's part in what is fresh: lists, terms of leadership, the watchers of other kinds, moves whose variant is gone.
#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/change_closer.hpp"
#include "actors/fleet.hpp"
#include "actors/scale_watcher.hpp"

namespace inferno::actors {

void fleet_state::replaced(const objects_replaced& m) {
  state_changes changes;
  // A relist is the truth: what it does not name is gone. Then every object in it is an upsert.
  const auto gone = [&](auto keys, auto name_of, auto remove) {
    std::set<typename decltype(keys)::value_type> there;
    for (const auto& o : *m.objects) there.insert(name_of(o));
    for (const auto& k : keys)
      if (!there.count(k)) remove(k);
  };
  switch (m.kind) {
    case watch_kind::variants:
      gone(
          cluster.variant_keys(), [](const kube_object& o) { return std::get<variant_object>(o).key; },
          [&](const variant_key& k) { cluster.remove_variant(k, changes); });
      break;
    case watch_kind::deployments:
    case watch_kind::statefulsets:
      gone(
          cluster.workload_refs({"apps", std::string(workload_kind(m.kind))}),
          [](const kube_object& o) { return std::get<workload_object>(o).ref; },
          [&](const target_ref& r) { cluster.remove_workload(r, changes); });
      break;
    case watch_kind::autoscalers:
      gone(
          cluster.autoscaler_keys(), [](const kube_object& o) { return std::get<autoscaler_object>(o).key; },
          [&](const variant_key& k) { cluster.remove_autoscaler(k, changes); });
      break;
    case watch_kind::pods:
      gone(
          cluster.pod_keys(), [](const kube_object& o) { return std::get<pod_object>(o).key; },
          [&](const variant_key& k) { cluster.remove_pod(k, changes); });
      break;
    case watch_kind::nodes: {
      std::set<std::string> there;
      for (const auto& o : *m.objects) there.insert(std::get<node_object>(o).name);
      for (const auto& n : cluster.node_names())
        if (!there.count(n)) cluster.remove_node(n, changes);
      break;
    }
    case watch_kind::configs: {
      std::set<std::string> there;
      for (const auto& o : *m.objects) there.insert(std::get<config_object>(o).key.name);
      for (const auto map : {settings_map, accelerators_map, classes_map})
        if (!there.count(std::string(map))) drop_config(std::string(map));
      break;
    }
  }
  for (const auto& o : *m.objects) apply(o, changes);
  react(changes);
  // Pods may have come and served between the list before and this one.
  if (!synced.insert(m.kind).second && m.kind == watch_kind::pods) observe_anew();
  if (config.term != 0 && m.term == config.term) fresh.insert(m.kind);
  health({m.kind, ""});
  check_synced();
}

/// Whether all that decisions depend on was listed in this term, the targets of other kinds too where they can be.
bool fleet_state::fresh_for_term() const {
  return config.term != 0 && fresh.size() == std::size(watch_kinds) && std::all_of(kinds.begin(), kinds.end(), [](const auto& k) {
           return !k.second.awaited || k.second.complete || !k.second.problem.empty();
         });
}

void fleet_state::check_synced() {
  if (synced.size() < std::size(watch_kinds)) return;
  const bool first = !std::exchange(announced, true);
  const bool term_begins = synced_term != config.term && fresh_for_term();
  if (!first && !term_begins) return;
  if (first) {
    if (!seen_configs.count(std::string(settings_map))) self->send(config.optimizer, settings_changed{configs->settings()});
    push_capacity();
    self->send(config.board, inventory_synced{});
  }
  if (term_begins) {
    synced_term = config.term;
    push_orphans();
    // Before the decisions of the term.
    for (const auto& [key, m] : members)
      if (const auto object = cluster.variant(key)) self->send(m.actuator, variant_facts{object->uid, object->conditions});
    if (!first) observe_anew();
  }
  self->send(config.optimizer, inventory_synced{term_begins ? config.term : 0, observed_since});
  config.logger.info(
      "Watches synced",
      {{"variants", cluster.variant_keys().size()}, {"nodes", cluster.nodes().size()}, {"term", term_begins ? config.term : 0}});
}

/// What was measured so far may lack pods that nothing told of.
void fleet_state::observe_anew() {
  ++observed_since;
  push_all_inputs();
}

void fleet_state::lead(const leadership& m) {
  config.term = m.leading ? m.term : 0;
  fresh.clear();
  for (const auto& [key, actors] : members) self->send(actors.actuator, m);
  push_orphans();
  if (!m.leading) return;
  // Their watches may be as far behind as the others, which the supervisor has told to list anew.
  const auto all = kinds;
  for (const auto& [kind, entry] : all) {
    restart_kind(kind);
    kinds[kind].awaited = true;
  }
  // It may have been set before anybody led.
  reset_trigger();
}

void fleet_state::health(const watch_health& m) {
  const bool known = m.problem.empty() ? broken.erase(m.kind) == 0 : !broken.insert(m.kind).second;
  if (m.problem.empty() && known) return;
  if (!m.problem.empty()) {
    config.logger.warn("Watch is broken", {{"kind", to_string(m.kind)}, {"error", m.problem}});
  } else {
    config.logger.info("Watch works again", {{"kind", to_string(m.kind)}});
    if (m.kind == watch_kind::pods) observe_anew();
  }
  self->send(config.board, m);
}

/// A watcher for each other kind of targets that is named, and none for those that are not any more.
void fleet_state::follow_kinds() {
  const auto named = cluster.other_kinds();
  for (auto it = kinds.begin(); it != kinds.end();) {
    const auto wanted = named.find(it->first);
    if (wanted != named.end() && wanted->second == it->second.version) {
      ++it;
      continue;
    }
    self->send_exit(it->second.watcher, caf::exit_reason::user_shutdown);
    state_changes changes;
    for (const auto& ref : cluster.workload_refs(it->first)) cluster.remove_workload(ref, changes);
    it = kinds.erase(it);
    tell(changes);
  }
  for (const auto& [kind, version] : named)
    if (!kinds.count(kind)) start_scale_watcher(kind, version);
}

void fleet_state::start_scale_watcher(const target_kind& kind, const std::string& version) {
  scale_watcher_config c;
  c.kind = kind;
  c.version = version;
  c.api = config.api;
  c.fleet = fleet_actor{self};
  c.board = config.board;
  c.ns = config.watch_namespace;
  c.logger = config.logger;
  auto& entry = kinds[kind];
  entry.version = version;
  entry.watcher = self->spawn(scale_watcher, std::move(c));
  self->monitor(entry.watcher);
}

/// A new watcher of the kind. What went while the one before was blind is not told by the new one.
void fleet_state::restart_kind(const target_kind& kind) {
  const auto entry = kinds.at(kind);
  if (entry.watcher) self->send_exit(entry.watcher, caf::exit_reason::user_shutdown);
  state_changes changes;
  for (const auto& ref : cluster.workload_refs(kind)) cluster.remove_workload(ref, changes);
  kinds[kind] = {};
  start_scale_watcher(kind, entry.version);
  tell(changes);
}

void fleet_state::kind_state(const target_kind_state& m) {
  const auto it = kinds.find(m.kind);
  if (it == kinds.end()) return;
  it->second.complete = it->second.complete || m.complete;
  it->second.problem = m.problem;
  for (const auto& [key, actors] : members) {
    const auto object = cluster.variant(key);
    if (object && object->target.kind == m.kind.kind && object->target.group == m.kind.group) push_inputs(key);
  }
  check_synced();
}

void fleet_state::start_closer() {
  closer = self->spawn(change_closer, change_closer_config{config.api, config.board, config.logger});
  self->monitor(closer);
  orphans.clear();
  push_orphans();
}

/// Only what was listed in this term shows that a variant is gone, and in dry-run nothing is written.
void fleet_state::push_orphans() {
  std::vector<orphaned_change> now;
  if (config.term != 0 && synced_term == config.term && configs->settings().actuation != actuation_mode::dry_run)
    for (auto& [target, variant] : cluster.changes_without_variant()) now.push_back({target, variant});
  if (now == orphans) return;
  orphans = std::move(now);
  self->send(closer, orphans_changed{std::make_shared<const std::vector<orphaned_change>>(orphans)});
}

}  // namespace inferno::actors

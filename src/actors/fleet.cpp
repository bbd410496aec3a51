#include "actors/fleet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/actuator.hpp"
#include "actors/analyzer.hpp"
#include "actors/scale_watcher.hpp"

namespace inferno::actors {

std::string_view workload_kind(watch_kind kind) { return kind == watch_kind::statefulsets ? "StatefulSet" : "Deployment"; }

std::string_view to_string(watch_kind kind) {
  switch (kind) {
    case watch_kind::variants:
      return "variantautoscalings";
    case watch_kind::deployments:
      return "deployments";
    case watch_kind::statefulsets:
      return "statefulsets";
    case watch_kind::autoscalers:
      return "horizontalpodautoscalers";
    case watch_kind::pods:
      return "pods";
    case watch_kind::nodes:
      return "nodes";
    case watch_kind::configs:
      return "configmaps";
  }
  return "unknown";
}

namespace {

template <class... F>
struct overloaded : F... {
  using F::operator()...;
};
template <class... F>
overloaded(F...) -> overloaded<F...>;

}  // namespace

void fleet_state::apply(const kube_object& object, state_changes& changes) {
  std::visit(overloaded{[&](const config_object& c) { apply(c); }, [&](const auto& o) { cluster.upsert(o, changes); }}, object);
}

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
  synced.insert(m.kind);
  check_synced();
}

void fleet_state::check_synced() {
  if (announced || synced.size() < std::size(watch_kinds)) return;
  announced = true;
  if (!seen_configs.count(std::string(settings_map))) self->send(config.optimizer, settings_changed{configs->settings()});
  push_capacity();
  self->send(config.optimizer, inventory_synced{});
  self->send(config.board, inventory_synced{});
  config.logger.info("Watches synced", {{"variants", cluster.variant_keys().size()}, {"nodes", cluster.nodes().size()}});
}

void fleet_state::tell_inventory() {
  const auto& nodes = cluster.nodes();
  for (auto it = told_inventory.begin(); it != told_inventory.end();) {
    const bool gone = !nodes.count(it->first);
    if (gone) config.logger.info("Inventory is gone", {{"nodeName", it->first}});
    it = gone ? told_inventory.erase(it) : std::next(it);
  }
  for (const auto& [node, object] : nodes) {
    std::string seen;
    for (const auto& g : object.gpus) seen += fmt::format("{} {} {};", g.product, g.count, g.memory_mib);
    auto& told_of_node = told_inventory[node];
    const bool news = std::exchange(told_of_node, seen) != seen;
    for (const auto& g : object.gpus) {
      if (news)
        config.logger.info("Found inventory",
                           {{"nodeName", node}, {"model", g.product}, {"count", g.count}, {"mem", g.memory_mib}});
      const bool known = !shared || std::any_of(shared->accelerators.begin(), shared->accelerators.end(),
                                                [&](const auto& a) { return a.second.type == g.product; });
      if (!known && told_products.insert(g.product).second)
        config.logger.warn("GPU product of a node matches no device in accelerator-unit-costs",
                           {{"product", g.product}, {"node", node}});
    }
  }
}

void fleet_state::push_capacity() {
  tell_inventory();
  self->send(config.optimizer, capacity_changed{std::make_shared<const capacity_view>(cluster.capacity())});
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

void fleet_state::kind_state(const target_kind_state& m) {
  const auto it = kinds.find(m.kind);
  if (it == kinds.end()) return;
  it->second.complete = it->second.complete || m.complete;
  it->second.problem = m.problem;
  for (const auto& [key, actors] : members) {
    const auto object = cluster.variant(key);
    if (object && object->target.kind == m.kind.kind && object->target.group == m.kind.group) push_inputs(key);
  }
}

void fleet_state::react(const state_changes& changes) {
  if (!changes.added.empty() || !changes.inputs.empty() || !changes.removed.empty()) follow_kinds();
  tell(changes);
}

void fleet_state::tell(const state_changes& changes) {
  for (const auto& key : changes.removed) retire(key);
  for (const auto& key : changes.added) spawn(key);
  for (const auto& key : changes.inputs) push_inputs(key);
  for (const auto& key : changes.pods) push_pods(key);
  if (changes.capacity && announced) push_capacity();
}

void fleet_state::spawn(const variant_key& key) {
  actuator_config act;
  act.key = key;
  act.api = config.api;
  act.now = config.now;
  act.board = config.board;
  act.logger = config.logger;
  act.leading = config.leading;
  member m{self->spawn(analyzer, analyzer_config{key, config.optimizer, config.now}), self->spawn(actuator, act)};
  self->monitor(m.analyzer);
  self->monitor(m.actuator);
  members[key] = m;
  self->send(config.optimizer, variant_added{key, m.analyzer, m.actuator});
}

void fleet_state::retire(const variant_key& key) {
  const auto it = members.find(key);
  if (it != members.end()) {
    const auto m = it->second;
    members.erase(it);
    self->send(m.actuator, stop_request{});
    self->send_exit(m.analyzer, caf::exit_reason::user_shutdown);
  }
  respawns.erase(key);
  self->send(config.optimizer, variant_gone{key});
  self->send(config.metrics, variant_gone{key});
  self->send(config.board, variant_gone{key});
  config.logger.info("Variant is gone", {{"variant", key.name}, {"namespace", key.ns}});
}

void fleet_state::push_inputs(const variant_key& key) {
  const auto it = members.find(key);
  const auto object = cluster.variant(key);
  if (it == members.end() || !object) return;
  // Nothing is decided on half an inventory: the analyzers hear when all watches have delivered.
  auto inputs = std::make_shared<variant_inputs>();
  inputs->object = object;
  inputs->target = cluster.target_of(key);
  if (const auto other = cluster.target_taken_by(key))
    inputs->target_problem = fmt::format("{} {} is that of VariantAutoscaling {} already: a target has one",
                                         inputs->object->target.kind, inputs->object->target.name, other->name);
  if (const auto target = inputs->target; target && target->other && !target->other->problem.empty()) {
    inputs->target_problem = target->other->problem;
    inputs->target = nullptr;
  }
  if (const auto kind = kinds.find({object->target.group, object->target.kind}); kind != kinds.end() && !inputs->target) {
    // Not there yet is not the same as not there.
    if (!kind->second.complete && kind->second.problem.empty()) return;
    if (inputs->target_problem.empty()) inputs->target_problem = kind->second.problem;
  }
  inputs->autoscaler = cluster.autoscaler_of(key);
  inputs->shared = shared;
  inputs->settings = configs->settings();
  self->send(it->second.analyzer, analyzer_update{std::move(inputs)});
}

void fleet_state::push_pods(const variant_key& key) {
  const auto it = members.find(key);
  const auto object = cluster.variant(key);
  if (it != members.end() && object)
    self->send(config.metrics, pods_changed{key, it->second.analyzer, object->model_id, cluster.ready_pods(key)});
}

void fleet_state::push_all_inputs() {
  for (const auto& [key, m] : members) push_inputs(key);
}

/// One of a variant's actors died: both are made anew after a pause that doubles with each death.
void fleet_state::member_down(const caf::actor_addr& who) {
  for (auto& [kind, entry] : kinds)
    if (entry.watcher.address() == who) {
      config.logger.error("Actor died", {{"actor", "scale_watcher"}, {"kind", kind.kind}});
      self->send(config.board, error_noted{"supervision", "scale watcher died"});
      entry.watcher = nullptr;
      self->delayed_send(self, config.respawn_max / 30, tick{restart_kinds});
      return;
    }
  const auto it = std::find_if(members.begin(), members.end(), [&](const auto& entry) {
    return entry.second.analyzer.address() == who || entry.second.actuator.address() == who;
  });
  if (it == members.end()) return;  // retired
  const auto key = it->first;
  auto& r = respawns[key];
  if (r.pending) return;
  r.pending = true;
  r.backoff = std::clamp(r.backoff * 2, config.respawn_min, config.respawn_max);
  config.logger.error("Actor of a variant died",
                      {{"variant", key.name}, {"namespace", key.ns}, {"restart_ms", r.backoff.count()}});
  self->send(config.board, error_noted{"supervision", "variant actor died"});
  self->send(config.optimizer, curve_stale{key});
  const int id = next_tick++;
  tick_keys[id] = key;
  self->delayed_send(self, r.backoff, tick{id});
}

/// The variants' actors go down with the fleet: a new one makes new ones.
fleet_state::~fleet_state() {
  for (const auto& [key, m] : members) {
    caf::anon_send_exit(m.analyzer, caf::exit_reason::user_shutdown);
    caf::anon_send(m.actuator, stop_request{});
  }
  for (const auto& [kind, entry] : kinds)
    if (entry.watcher) caf::anon_send_exit(entry.watcher, caf::exit_reason::user_shutdown);
}

fleet_actor::behavior_type fleet(fleet_actor::stateful_pointer<fleet_state> self, fleet_config config) {
  auto& s = self->state;
  s.self = self;
  s.configs = std::make_unique<config_reader>(config.defaults);
  s.config = std::move(config);
  self->set_down_handler([self](const caf::down_msg& m) { self->state.member_down(m.source); });
  return {
      [self](const objects_replaced& m) { self->state.replaced(m); },
      [self](const object_upserted& m) {
        state_changes changes;
        self->state.apply(*m.object, changes);
        self->state.react(changes);
      },
      [self](const object_removed& m) {
        auto& state = self->state;
        state_changes changes;
        switch (m.kind) {
          case watch_kind::variants:
            state.cluster.remove_variant(m.key, changes);
            break;
          case watch_kind::deployments:
          case watch_kind::statefulsets:
            state.cluster.remove_workload({std::string(workload_kind(m.kind)), m.key.ns, m.key.name}, changes);
            break;
          case watch_kind::autoscalers:
            state.cluster.remove_autoscaler(m.key, changes);
            break;
          case watch_kind::pods:
            state.cluster.remove_pod(m.key, changes);
            break;
          case watch_kind::nodes:
            state.cluster.remove_node(m.key.name, changes);
            break;
          case watch_kind::configs:
            if (m.key.ns == state.config.controller_namespace) state.drop_config(m.key.name);
            break;
        }
        state.react(changes);
      },
      [self](const watch_health& m) {
        auto& state = self->state;
        if (m.problem.empty()) {
          state.config.logger.info("Watch is whole", {{"kind", to_string(m.kind)}});
        } else {
          state.config.logger.warn("Watch is broken", {{"kind", to_string(m.kind)}, {"error", m.problem}});
        }
        self->send(state.config.board, m);
      },
      [self](const target_changed& m) {
        state_changes changes;
        self->state.cluster.upsert(*m.target, changes);
        self->state.react(changes);
      },
      [self](const target_removed& m) {
        state_changes changes;
        self->state.cluster.remove_workload(m.ref, changes);
        self->state.react(changes);
      },
      [self](const target_kind_state& m) { self->state.kind_state(m); },
      [self](const leadership& m) {
        self->state.config.leading = m.leading;
        // It may have been set before anybody led.
        self->state.reset_trigger();
        for (const auto& [key, actors] : self->state.members) self->send(actors.actuator, m);
      },
      [self](const api_result& r) { self->state.trigger_answered(*r.result); },
      [self](const tick& t) {
        auto& state = self->state;
        if (t.what == reset_trigger_again) {
          // Unless somebody else has done it, or there is another leader now.
          auto& trigger = state.trigger;
          trigger.busy = false;
          if (!state.configs->settings().trigger && std::exchange(trigger.failing, false))
            state.config.logger.info("GLOBAL_OPT_TRIGGER is reset");
          return state.reset_trigger();
        }
        if (t.what == restart_kinds) {
          const auto all = state.kinds;
          for (const auto& [kind, entry] : all)
            if (!entry.watcher) {
              // What went while nobody watched is not told by the new one.
              state_changes changes;
              for (const auto& ref : state.cluster.workload_refs(kind)) state.cluster.remove_workload(ref, changes);
              state.kinds[kind] = {};
              state.start_scale_watcher(kind, entry.version);
              state.tell(changes);
            }
          return;
        }
        const auto it = state.tick_keys.find(t.what);
        if (it == state.tick_keys.end()) return;
        const auto key = it->second;
        state.tick_keys.erase(it);
        const auto m = state.members.find(key);
        if (m == state.members.end()) return;
        state.respawns[key].pending = false;
        const auto old = m->second;
        state.members.erase(m);
        self->send_exit(old.analyzer, caf::exit_reason::user_shutdown);
        self->send(old.actuator, stop_request{});
        state.spawn(key);
        state.push_inputs(key);
        state.push_pods(key);
      },
  };
}

}  // namespace inferno::actors

#include "actors/fleet.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/actuator.hpp"
#include "actors/analysis.hpp"
#include "actors/analyzer.hpp"
#include "actors/death.hpp"

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
  auto view = std::make_shared<capacity_view>(cluster.capacity());
  elsewhere_moved = false;
  for (const auto& [key, m] : elsewhere)
    for (const auto& [product, gpus] : m.gpus) {
      const auto there = view->by_device.find(product);
      if (there == view->by_device.end()) continue;
      const int held = std::min(there->second, gpus);
      there->second -= held;
      // The plan counts them there, for the variant alone: they are not what others need.
      if (m.device.empty()) continue;
      view->by_device[m.device] += held;
      view->bound[key] += held;
    }
  self->send(config.optimizer, capacity_changed{std::move(view)});
}

void fleet_state::react(const state_changes& changes) {
  if (!changes.added.empty() || !changes.inputs.empty() || !changes.removed.empty()) follow_kinds();
  tell(changes);
  push_orphans();
}

void fleet_state::tell(const state_changes& changes) {
  for (const auto& key : changes.removed) retire(key);
  for (const auto& key : changes.added) spawn(key);
  for (const auto& key : changes.inputs) push_inputs(key);
  for (const auto& key : changes.pods) push_pods(key);
  if (changes.nodes) {
    for (const auto& [key, m] : members) check_label(key);
  } else {
    for (const auto& key : changes.pods) check_label(key);
  }
  if ((changes.capacity || elsewhere_moved) && announced) push_capacity();
}

void fleet_state::spawn(const variant_key& key) {
  actuator_config act;
  act.key = key;
  act.api = config.api;
  act.now = config.now;
  act.board = config.board;
  act.logger = config.logger;
  if (const auto object = cluster.variant(key)) act.facts = {object->uid, object->conditions};
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
  if (elsewhere.erase(key) > 0) elsewhere_moved = true;
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
  if (const auto target = inputs->target; target && !target->selector_problem.empty()) {
    inputs->target_problem = target->selector_problem;
    inputs->target = nullptr;
  }
  if (const auto kind = kinds.find({object->target.group, object->target.kind}); kind != kinds.end() && !inputs->target) {
    // Not there yet is not the same as not there.
    if (!kind->second.complete && kind->second.problem.empty()) return;
    if (inputs->target_problem.empty()) inputs->target_problem = kind->second.problem;
  }
  inputs->autoscaler = cluster.autoscaler_of(key);
  inputs->label_conflict = it->second.label_conflict = label_conflict(key);
  note_elsewhere(key);
  inputs->shared = shared;
  inputs->settings = configs->settings();
  inputs->observed_since = observed_since;
  self->send(it->second.analyzer, analyzer_update{std::move(inputs)});
}

/// GPUs of other products than that of the accelerator in use, or of all when that is not known: the plan counts a variant's
/// replicas where its accelerator says.
std::map<std::string, int> fleet_state::gpus_elsewhere(const variant_key& key) const {
  const auto target = cluster.target_of(key);
  if (!shared || !target) return {};
  // On its way to another accelerator it has pods on both.
  if (target->change && target->change->phase != accelerator_change::step::failed) return {};
  auto out = cluster.gpus_held(key);
  out.erase(device_of(key));
  return out;
}

/// GPU product of the accelerator in use; "" = not known.
std::string fleet_state::device_of(const variant_key& key) const {
  const auto object = cluster.variant(key);
  if (!shared || !object) return {};
  const auto accelerator = shared->accelerators.find(accelerator_in_use(*object));
  return accelerator == shared->accelerators.end() ? std::string() : accelerator->second.type;
}

void fleet_state::note_elsewhere(const variant_key& key) {
  misplaced now{gpus_elsewhere(key), {}};
  if (!now.gpus.empty()) now.device = device_of(key);
  const auto last = elsewhere.find(key);
  if (last == elsewhere.end() ? now.gpus.empty() : last->second == now) return;
  if (now.gpus.empty()) {
    elsewhere.erase(last);
  } else {
    elsewhere.insert_or_assign(key, std::move(now));
  }
  elsewhere_moved = true;
}

/// The profile in use is that of the label, so a label that names another accelerator makes every prediction wrong.
std::string fleet_state::label_conflict(const variant_key& key) const {
  const auto object = cluster.variant(key);
  if (!shared || !object || object->accelerator_label.empty()) return {};
  const auto accelerator = shared->accelerators.find(object->accelerator_label);
  if (accelerator == shared->accelerators.end()) return {};
  std::vector<std::string_view> others;
  const auto held = gpus_elsewhere(key);
  for (const auto& [product, gpus] : held) others.push_back(product);
  if (others.empty()) return {};
  return fmt::format("label inference.optimization/acceleratorName is \"{}\", which is {}, and pods run on {}",
                     object->accelerator_label, accelerator->second.type, fmt::join(others, ", "));
}

void fleet_state::check_label(const variant_key& key) {
  const auto it = members.find(key);
  if (it == members.end()) return;
  note_elsewhere(key);
  if (it->second.label_conflict != label_conflict(key)) push_inputs(key);
}

void fleet_state::push_pods(const variant_key& key) {
  const auto it = members.find(key);
  const auto object = cluster.variant(key);
  if (it != members.end() && object)
    self->send(config.metrics, pods_changed{key, it->second.analyzer, object->model_id, cluster.serving_pods(key)});
}

void fleet_state::push_all_inputs() {
  for (const auto& [key, m] : members) push_inputs(key);
}

/// One of a variant's actors died: both are made anew after a pause that doubles with each death, and begins anew for those that
/// have lived for long enough.
void fleet_state::member_down(const caf::down_msg& down) {
  const auto& who = down.source;
  const auto reason = self->system().render(down.reason);
  if (closer.address() == who) {
    config.logger.error("Actor died", {{"actor", "change_closer"}, {"reason", reason}});
    self->send(config.board, error_noted{"supervision", "change_closer"});
    return self->delayed_send(self, config.respawn_max / 30, tick{restart_closer});
  }
  for (auto& [kind, entry] : kinds)
    if (entry.watcher.address() == who) {
      config.logger.error("Actor died", {{"actor", "scale_watcher"}, {"kind", kind.kind}, {"reason", reason}});
      self->send(config.board, error_noted{"supervision", "scale_watcher"});
      entry.watcher = nullptr;
      self->delayed_send(self, config.respawn_max / 30, tick{restart_kinds});
      return;
    }
  const auto it = std::find_if(members.begin(), members.end(), [&](const auto& entry) {
    return entry.second.analyzer.address() == who || entry.second.actuator.address() == who;
  });
  if (it == members.end()) return;  // retired
  const auto key = it->first;
  const auto* const what = it->second.analyzer.address() == who ? "analyzer" : "actuator";
  auto& r = respawns[key];
  const auto now = self->clock().now();
  if (!r.pending && now - r.at >= 2 * config.respawn_max) r.backoff = std::chrono::milliseconds(0);
  if (!r.pending) r.backoff = std::clamp(r.backoff * 2, config.respawn_min, config.respawn_max);
  config.logger.error(
      "Actor of a variant died",
      {{"variant", key.name}, {"namespace", key.ns}, {"actor", what}, {"reason", reason}, {"restart_ms", r.backoff.count()}});
  self->send(config.board, error_noted{"supervision", what});
  if (std::exchange(r.pending, true)) return;
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
  if (closer) caf::anon_send_exit(closer, caf::exit_reason::user_shutdown);
}

fleet_actor::behavior_type fleet(fleet_actor::stateful_pointer<fleet_state> self, fleet_config config) {
  keep_reason_of_death(self);
  auto& s = self->state;
  s.self = self;
  s.configs = std::make_unique<config_reader>(config.defaults);
  s.config = std::move(config);
  self->set_down_handler([self](const caf::down_msg& m) { self->state.member_down(m); });
  s.start_closer();
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
      [self](const watch_health& m) { self->state.health(m); },
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
      [self](const leadership& m) { self->state.lead(m); },
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
        if (t.what == restart_closer) return state.start_closer();
        if (t.what == restart_kinds) {
          const auto all = state.kinds;
          for (const auto& [kind, entry] : all)
            if (!entry.watcher) {
              state.restart_kind(kind);
              state.kinds[kind].awaited = entry.awaited;
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
        state.respawns[key].at = self->clock().now();
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

// The fleet's part in the controller's own ConfigMaps.
#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <utility>

#include "actors/fleet.hpp"

namespace inferno::actors {

namespace {

/// Whether the catalog has the target as it is, and its class.
bool has(const catalog& all, const model::service_class& cls, const model::class_target& target) {
  return std::any_of(all.classes.begin(), all.classes.end(), [&](const auto& c) {
    return c.spec.name == cls.name && c.spec.priority == cls.priority &&
           std::any_of(c.spec.targets.begin(), c.spec.targets.end(),
                       [&](const auto& t) { return t.model == target.model && t.slo == target.slo; });
  });
}

}  // namespace

void fleet_state::tell_problems(const std::vector<config_problem>& problems, const config_object& map) {
  const auto prefix = map.key.name + "/";
  std::set<std::string> now;
  for (const auto& p : problems) {
    now.insert(p.entry);
    auto& last = told[p.entry];
    if (last == p.message) continue;
    last = p.message;
    if (p.used) {
      config.logger.warn("Part of a configuration entry is not used", {{"entry", p.entry}, {"problem", p.message}});
      continue;
    }
    config.logger.error("Invalid configuration entry", {{"entry", p.entry}, {"error", p.message}});
    self->send(config.board, error_noted{"config", p.entry});
  }
  for (auto it = told.begin(); it != told.end();) {
    const bool of_map = it->first.rfind(prefix, 0) == 0;
    if (of_map && !now.count(it->first)) {
      const bool there = map.data.count(it->first.substr(prefix.size())) > 0;
      config.logger.info(there ? "Configuration entry is valid again" : "Configuration entry is gone", {{"entry", it->first}});
      it = told.erase(it);
    } else {
      ++it;
    }
  }
}

/// GLOBAL_OPT_TRIGGER, while it is set. One who does not lead leaves it to the leader, and in dry-run nothing is written, this
/// neither.
void fleet_state::reset_trigger() {
  if (!configs->settings().trigger || config.term == 0 || configs->settings().actuation == actuation_mode::dry_run) return;
  if (std::exchange(trigger.busy, true)) {
    trigger.again = true;
    return;
  }
  trigger.again = false;
  auto handle = fleet_actor{self};
  config.api->merge_patch(
      kube::resources::configmaps, {config.controller_namespace, std::string(settings_map)},
      json::object{{"data", json::object{{"GLOBAL_OPT_TRIGGER", "false"}}}}, "", [handle](net::result<json::object> r) {
        caf::anon_send(handle, api_result{0, 0, std::make_shared<const net::result<json::object>>(std::move(r))});
      });
}

/// One who leaves it "true" cannot be asked by it again: nothing changes when somebody sets it to what it is.
void fleet_state::trigger_answered(const net::result<json::object>& r) {
  if (r) {
    if (std::exchange(trigger.failing, false)) config.logger.info("GLOBAL_OPT_TRIGGER is reset");
    trigger.pause.reset();
    trigger.busy = false;
    // Set again after the call that has just been answered, as far as anybody can tell.
    if (trigger.again) reset_trigger();
    return;
  }
  const auto& e = r.error();
  if (e.kind != net::error_kind::cancelled) {
    if (!std::exchange(trigger.failing, true))
      config.logger.warn("GLOBAL_OPT_TRIGGER could not be reset", {{"error", e.message}});
    self->send(config.board, error_noted{"config", "GLOBAL_OPT_TRIGGER"});
  }
  // Who may not today may be allowed tomorrow, and tokens are renewed.
  if (refused(e) && e.status != 401 && e.status != 403 && e.status != 409) {
    trigger.busy = trigger.failing = false;
    trigger.pause.reset();
    return;
  }
  self->delayed_send(self, trigger.pause.next(config.retry_min, config.retry_max, &e), tick{reset_trigger_again});
}

void fleet_state::apply(const config_object& config_map) {
  if (config_map.key.ns != config.controller_namespace) return;
  const auto& map = config_map.key.name;
  const bool first = seen_configs.insert(map).second;
  if (missing_configs.erase(map))
    config.logger.info("ConfigMap is there", {{"configmap", map}, {"namespace", config.controller_namespace}});
  if (map == settings_map) {
    const auto before = configs->settings();
    tell_problems(configs->read_settings(config_map.data), config_map);
    auto now = configs->settings();
    if (now.trigger) {
      config.logger.info("GLOBAL_OPT_TRIGGER set: optimizing at once");
      self->send(config.optimizer, run_now{"GLOBAL_OPT_TRIGGER"});
      reset_trigger();
    }
    now.trigger = before.trigger;
    if (now == before && !first) return;
    config.logger.info("Settings", {{"interval_ms", now.opt_interval.count()},
                                    {"rate_window_ms", now.rate_window.count()},
                                    {"scale_down_stabilization_ms", now.scale_down_stabilization.count()}});
    self->send(config.optimizer, settings_changed{configs->settings()});
    self->send(config.metrics, settings_changed{configs->settings()});
    if (announced) self->send(config.optimizer, run_now{"ConfigMap " + map});
    push_all_inputs();
  } else if (map == accelerators_map || map == classes_map) {
    tell_problems(map == accelerators_map ? configs->read_accelerators(config_map.data) : configs->read_classes(config_map.data),
                  config_map);
    const auto before = std::exchange(shared, configs->current());
    if (map == accelerators_map) told_products.clear();
    if (shared && map == classes_map)
      for (const auto& c : shared->classes)
        for (const auto& t : c.spec.targets) {
          if (before && has(*before, c.spec, t)) continue;
          config.logger.info("Found SLO", {{"model", t.model},
                                           {"class", c.spec.name},
                                           {"priority", c.spec.priority},
                                           {"slo-itl", t.slo.itl_ms},
                                           {"slo-ttft", t.slo.ttft_ms},
                                           {"slo-ttft-percentile", model::percentile_name(t.slo.ttft_percentile)},
                                           {"slo-ttw", t.slo.wait_p95_ms},
                                           {"slo-tps", t.slo.tps}});
        }
    push_all_inputs();
    if (shared && announced) push_capacity();
  }
}

void fleet_state::drop_config(const std::string& map) {
  if (map != settings_map && map != accelerators_map && map != classes_map) return;
  seen_configs.erase(map);
  if (!missing_configs.insert(map).second) return;
  config.logger.error("ConfigMap is missing; its last valid content stays",
                      {{"configmap", map}, {"namespace", config.controller_namespace}});
  self->send(config.board, error_noted{"config", "missing " + map});
}

}  // namespace inferno::actors

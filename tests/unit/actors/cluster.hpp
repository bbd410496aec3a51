#pragma once
// Clusters with several variants, and hands inside the controller, for the tests of the actors.
#include <string>
#include <vector>

#include "world.hpp"

namespace inferno::actors::testing {

/// Nodes with GPUs enough for everybody.
inline std::vector<json::object> roomy_nodes() {
  return {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 64), node_json("n2", "amd", "AMD-MI300X-192G", 64)};
}
inline std::vector<json::object> default_configs() {
  return {settings_json(), config_json(std::string(accelerators_map), default_accelerators()),
          config_json(std::string(classes_map), default_classes())};
}

/// Deployments and ready pods for the names, then whatever VariantAutoscalings are given. Nodes and ConfigMaps come first.
inline void populate(world& w, const std::vector<std::string>& names, std::vector<json::object> variants, int replicas = 1,
                     std::vector<json::object> configs = default_configs()) {
  std::vector<json::object> deployments;
  std::vector<json::object> pods;
  for (const auto& name : names) {
    deployments.push_back(deployment_json("llm", name, replicas));
    for (int i = 0; i < replicas; ++i) pods.push_back(pod_json("llm", fmt::format("{}-{}", name, i), name));
  }
  w.replaced("nodes", roomy_nodes());
  w.replaced("configmaps", std::move(configs));
  w.replaced("deployments", std::move(deployments));
  w.replaced("pods", std::move(pods));
  w.replaced("variantautoscalings", std::move(variants));
}

/// The `app` a pod of populate() belongs to: its name without the number.
inline std::string app_of(const scrape_target& t) { return t.pod.name.substr(0, t.pod.name.rfind('-')); }

/// One healthy reading of a pod: `per_min` requests per minute over the last two seconds.
inline pod_sample healthy_sample(const scrape_target& t, double now_s, double per_min) {
  pod_sample s;
  s.pod = t.pod;
  s.load.time_s = now_s;
  s.load.span_s = 2;
  s.load.arrivals = per_min / 60 * 2;
  s.load.completions = s.load.arrivals;
  s.load.out_tokens = s.load.completions * 178;
  s.load.itl_sum_s = 0.0215;
  s.load.itl_count = 1;
  return s;
}

/// Every variant's requests per minute, shared among its pods; `spoil` may change or drop (return false) a pod's sample.
inline void load_each(world& w, std::map<std::string, double> per_min, std::function<bool(pod_sample&)> spoil = {}) {
  w.source->respond = [per_min = std::move(per_min), spoil = std::move(spoil)](const std::vector<scrape_target>& targets,
                                                                               double now) {
    auto out = std::make_shared<collected_metrics>();
    std::map<std::string, int> pods_of;
    for (const auto& t : targets) ++pods_of[app_of(t)];
    for (const auto& t : targets) {
      const auto rate = per_min.find(app_of(t));
      if (rate == per_min.end()) continue;
      auto s = healthy_sample(t, now, rate->second / pods_of[app_of(t)]);
      if (!spoil || spoil(s)) out->pods.push_back(std::move(s));
    }
    return out;
  };
}

/// The state of an actor, between runs of the test coordinator.
template <class State, class Handle>
State& state_of(const Handle& handle) {
  auto* actor = caf::actor_cast<caf::abstract_actor*>(handle);
  return static_cast<typename Handle::template stateful_pointer<State>>(actor)->state;
}
inline supervisor_state& supervisor_of(const world& w) { return state_of<supervisor_state>(w.root); }
inline fleet_state& fleet_of(const world& w) { return state_of<fleet_state>(supervisor_of(w).fleet_handle); }

/// Ends an actor as a crash would.
template <class Handle>
void kill(world& w, const Handle& handle) {
  caf::anon_send_exit(handle, caf::exit_reason::kill);
  w.run();
}

/// Lines of the log that have the part.
inline int lines_with(const world& w, std::string_view part) {
  const auto text = w.trace();
  int n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

}  // namespace inferno::actors::testing

#pragma once
// One watcher per resource kind: a list+watch stream becomes domain objects for the fleet.
#include "actors/messages.hpp"

namespace inferno::actors {

struct kube_watcher_config {
  watch_kind kind = watch_kind::variants;
  std::shared_ptr<kube_api> api;
  fleet_actor fleet;
  std::string ns;  ///< "" = all namespaces
  std::string label_selector;
};

struct kube_watcher_state {
  static inline const char* name = "kube_watcher";
  kube_watcher_config config;
  std::unique_ptr<kube_api::subscription> subscription;
};

kube_watcher_actor::behavior_type kube_watcher(kube_watcher_actor::stateful_pointer<kube_watcher_state> self,
                                               kube_watcher_config config);

}  // namespace inferno::actors

#pragma once
// One watcher per resource kind: a list+watch stream becomes domain objects for the fleet. In a new term of leadership it lists
// anew: what it knew may be of the time before an outage that it has not noticed yet.
#include "actors/messages.hpp"

namespace inferno::actors {

struct kube_watcher_config {
  watch_kind kind = watch_kind::variants;
  std::shared_ptr<kube_api> api;
  fleet_actor fleet;
  std::string ns;  ///< "" = all namespaces
  std::string label_selector;
  std::uint64_t term = 0;  ///< of leadership
};

struct kube_watcher_state {
  static inline const char* name = "kube_watcher";
  kube_watcher_actor::pointer self = nullptr;
  kube_watcher_config config;
  std::unique_ptr<kube_api::subscription> subscription;
  std::uint64_t number = 0;  ///< of the subscription
  bool listed = false;       ///< it has delivered a list

  void subscribe();
  void begin_term(std::uint64_t term);
};

kube_watcher_actor::behavior_type kube_watcher(kube_watcher_actor::stateful_pointer<kube_watcher_state> self,
                                               kube_watcher_config config);

}  // namespace inferno::actors

#pragma once
// Ends moves to another accelerator whose VariantAutoscaling is gone: the Deployment must not keep a surge that nothing drains.
//
// The fleet names Deployments with a move under way that no variant of this controller has as its target. The variant may still
// be another controller's, so it is asked for first; then the Deployment is read and patched as the move's own steps are.
#include <set>

#include "actors/backoff.hpp"
#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct change_closer_config {
  std::shared_ptr<kube_api> api;
  board_actor board;
  log logger;
  std::chrono::milliseconds retry_min{500};
  std::chrono::milliseconds retry_max{30000};  ///< also until a variant that is another controller's is asked for again
};

struct change_closer_state {
  static inline const char* name = "change_closer";
  enum class call { none, variant, deployment, patch };

  change_closer_actor::pointer self = nullptr;
  change_closer_config config;
  std::shared_ptr<const std::vector<orphaned_change>> orphans = std::make_shared<const std::vector<orphaned_change>>();
  std::set<target_ref> settled;  ///< of those: nothing is left to do, or another controller does it
  std::optional<orphaned_change> current;
  call pending = call::none;
  std::uint64_t epoch = 0;
  bool paused = false;
  backoff pause{"change closer"};

  void proceed();
  void answered(const net::result<json::object>& r);
  void settle(bool look_again);
  bool still_orphaned(const net::result<json::object>& variant) const;
  kube_api::object_done completion(call what);
};

change_closer_actor::behavior_type change_closer(change_closer_actor::stateful_pointer<change_closer_state> self,
                                                 change_closer_config config);

}  // namespace inferno::actors

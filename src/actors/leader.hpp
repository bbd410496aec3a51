#pragma once
// Leader election on a coordination.k8s.io Lease: of several controllers only the holder writes.
#include <functional>

#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct leader_config {
  std::shared_ptr<kube_api> api;
  supervisor_actor supervisor;  ///< is told of every change
  wall_clock now;
  log logger;
  kube::object_key lease{"inferno-autoscaler-system", "inferno-autoscaler-leader"};
  std::string identity;                             ///< unique among the candidates
  std::chrono::milliseconds lease_duration{15000};  ///< written to the lease: others wait for so long after the last renewal
  std::chrono::milliseconds renew_deadline{10000};  ///< a holder that could not renew for so long gives up
  std::chrono::milliseconds retry_period{2000};
  std::chrono::milliseconds stop_patience{1000};  ///< releasing the lease may take so long
};

/// Names what is wrong with the settings; "" = valid.
std::string validate(const leader_config& config);

struct leader_state {
  static inline const char* name = "leader";
  enum class call { none, read, create, update, release };

  leader_actor::pointer self = nullptr;
  leader_config config;
  call pending = call::none;
  std::uint64_t epoch = 0;
  bool leading = false;
  bool stopping = false;
  caf::actor_clock::time_point renewed{};     ///< our last successful renewal
  caf::actor_clock::time_point asked{};       ///< when the pending call was made
  caf::actor_clock::time_point not_before{};  ///< as Retry-After said
  caf::actor_clock::time_point observed{};    ///< when the record below was first seen
  std::string seen_record;                    ///< holder, renewTime, duration: expiry goes by our own clock, not the holder's
  std::string told_problem;                   ///< said once

  void attempt();
  void arm_retry();
  void answered(const net::result<json::object>& r);
  std::chrono::milliseconds duration_of(std::int64_t seconds) const;
  void consider(json::object lease);
  void whole_again();
  void write(json::object lease, call kind);
  void set_leading(bool now);
  void check_deadline();
  void release();
  kube_api::object_done completion(call kind);
};

leader_actor::behavior_type leader(leader_actor::stateful_pointer<leader_state> self, leader_config config);

}  // namespace inferno::actors

#pragma once
// The supervisor starts the controller's actors and restarts what dies, with backoff.
//
// Fleet, optimizer, board and metrics watcher share what they know of each other, so they live and die together; their state
// comes back from the watches. A watcher alone is restarted alone: its first list brings the fleet up to date.
#include <caf/actor_clock.hpp>

#include "actors/board.hpp"
#include "actors/fleet.hpp"
#include "actors/leader.hpp"
#include "actors/liveness.hpp"
#include "actors/metrics_watcher.hpp"

namespace inferno::actors {

struct supervisor_config {
  std::shared_ptr<kube_api> api;
  std::shared_ptr<metrics_source> source;
  std::shared_ptr<board_view> view;
  wall_clock now;
  log logger;
  std::string controller_namespace = "inferno-autoscaler-system";
  std::string watch_namespace;  ///< of variants, targets and pods; "" = all
  std::string instance;         ///< value of the label inference.optimization/controller-instance of the variants to manage
  runtime_settings defaults;
  std::chrono::milliseconds scrape_interval{2000};
  std::optional<leader_config>
      election{};  ///< absent: this controller is the only one; api, supervisor, now and logger are filled in
  std::chrono::milliseconds restart_min{200};
  std::chrono::milliseconds restart_max{30000};   ///< what lives for twice as long is restarted without a long pause again
  std::chrono::milliseconds drain_patience{700};  ///< writes under way are awaited for so long when stopping
  std::shared_ptr<liveness> health{};             ///< learns who answers; nullptr: nobody is asked
};

struct supervisor_state {
  static inline const char* name = "supervisor";
  supervisor_state() = default;
  supervisor_state(const supervisor_state&) = delete;
  supervisor_state& operator=(const supervisor_state&) = delete;
  ~supervisor_state();

  supervisor_actor::pointer self = nullptr;
  supervisor_config config;
  board_actor board_handle;
  optimizer_actor optimizer_handle;
  metrics_watcher_actor metrics_handle;
  fleet_actor fleet_handle;
  leader_actor leader_handle;
  std::map<watch_kind, kube_watcher_actor> watchers;
  std::map<caf::actor_addr, std::string> names;
  /// What is restarted together: the core, the leader, a watcher of a kind.
  struct unit {
    caf::actor_clock::time_point started{};
    std::chrono::milliseconds backoff{0};
  };
  std::map<std::string, unit> units;
  std::vector<error_noted> untold;  ///< until there is a board again
  bool leading = true;
  std::uint64_t term = 0;  ///< of leadership, the last one that began
  bool restart_pending = false;
  bool stopping = false;
  caf::actor_clock::time_point drain_until{};  ///< when stopping: until then writes under way are awaited

  void start_core();
  void stop_core();
  void start_watcher(watch_kind kind);
  void start_leader();
  void set_leading(bool now);
  void drain();
  void died(const caf::down_msg& m);
  void started(const std::string& unit_name) { units[unit_name].started = self->clock().now(); }
  std::chrono::milliseconds pause_of(const std::string& unit_name);
  std::uint64_t present_term() const { return leading ? term : 0; }
  void ask_all();
};

supervisor_actor::behavior_type supervisor(supervisor_actor::stateful_pointer<supervisor_state> self, supervisor_config config);

}  // namespace inferno::actors

#pragma once
// The fleet joins watched objects and keeps one analyzer and one actuator for each VariantAutoscaling.
#include <caf/actor_clock.hpp>

#include "actors/backoff.hpp"
#include "actors/cluster_state.hpp"
#include "actors/config_maps.hpp"
#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct fleet_config {
  std::shared_ptr<kube_api> api;
  optimizer_actor optimizer;
  metrics_watcher_actor metrics;
  board_actor board;
  wall_clock now;
  log logger;
  std::string controller_namespace = "inferno-autoscaler-system";
  std::string watch_namespace;  ///< of targets; "" = all
  runtime_settings defaults;
  std::uint64_t term = 1;  ///< of leadership; 0 = not leading
  std::chrono::milliseconds respawn_min{100};
  std::chrono::milliseconds respawn_max{30000};
  std::chrono::milliseconds retry_min{500};  ///< of GLOBAL_OPT_TRIGGER's way back to "false"
  std::chrono::milliseconds retry_max{30000};
};

/// Other ticks name a variant to start anew.
enum fleet_tick : int { restart_kinds = -1, reset_trigger_again = -2, restart_closer = -3 };

struct fleet_state {
  static inline const char* name = "fleet";
  struct member {
    analyzer_actor analyzer;
    actuator_actor actuator;
    std::string label_conflict{};  ///< as last told to the analyzer
  };
  /// GPUs of other products than that of a variant's accelerator, as last taken from the capacity.
  struct misplaced {
    std::map<std::string, int> gpus{};
    std::string device{};  ///< to which they were added, as the plan counts them there; "" = to none
    bool operator==(const misplaced& other) const { return gpus == other.gpus && device == other.device; }
  };
  struct respawn {
    std::chrono::milliseconds backoff{0};
    bool pending = false;
    caf::actor_clock::time_point at{};  ///< the last one
  };

  struct other_kind {
    std::string version;
    scale_watcher_actor watcher;
    bool complete = false;
    std::string problem;
    bool awaited = false;  ///< it lists anew for the term that has begun
  };

  fleet_state() = default;
  fleet_state(const fleet_state&) = delete;
  fleet_state& operator=(const fleet_state&) = delete;
  ~fleet_state();

  fleet_actor::pointer self = nullptr;
  fleet_config config;
  cluster_state cluster;
  std::unique_ptr<config_reader> configs;
  std::shared_ptr<const catalog> shared;
  std::map<variant_key, member> members;
  std::map<variant_key, misplaced> elsewhere;  ///< members of which there are some
  std::map<variant_key, respawn> respawns;
  std::map<target_kind, other_kind> kinds;
  std::set<watch_kind> synced;
  std::set<watch_kind> fresh;        ///< those that have listed for this term of leadership
  std::uint64_t synced_term = 0;     ///< the last term that all were fresh for
  std::uint64_t observed_since = 0;  ///< as in variant_inputs
  std::set<watch_kind> broken;       ///< watches in trouble
  change_closer_actor closer;
  std::vector<orphaned_change> orphans;               ///< as last told
  std::map<std::string, std::string> told_inventory;  ///< node -> GPUs as last logged
  std::set<std::string> told_products;                ///< products that match no configured device, said once
  std::map<std::string, std::string> told;            ///< config entry -> problem, said once
  std::set<std::string> seen_configs;
  std::set<std::string> missing_configs;
  struct {
    bool busy = false;     ///< a call is under way, or waits for its pause
    bool again = false;    ///< the trigger was seen set meanwhile
    bool failing = false;  ///< said once
    backoff pause{"GLOBAL_OPT_TRIGGER"};
  } trigger;
  bool announced = false;
  bool elsewhere_moved = false;  ///< since the capacity was last pushed
  int next_tick = 0;
  std::map<int, variant_key> tick_keys;

  void apply(const kube_object& object, state_changes& changes);
  void apply(const config_object& config_map);
  void drop_config(const std::string& name);
  void replaced(const objects_replaced& m);
  void react(const state_changes& changes);
  void tell(const state_changes& changes);
  void follow_kinds();
  void start_scale_watcher(const target_kind& kind, const std::string& version);
  void kind_state(const target_kind_state& m);
  void spawn(const variant_key& key);
  void retire(const variant_key& key);
  void push_inputs(const variant_key& key);
  void push_pods(const variant_key& key);
  std::map<std::string, int> gpus_elsewhere(const variant_key& key) const;
  std::string label_conflict(const variant_key& key) const;
  std::string device_of(const variant_key& key) const;
  void note_elsewhere(const variant_key& key);
  void check_label(const variant_key& key);
  void tell_inventory();
  void push_capacity();
  void push_all_inputs();
  void tell_problems(const std::vector<config_problem>& problems, const config_object& map);
  void reset_trigger();
  void trigger_answered(const net::result<json::object>& r);
  void member_down(const caf::down_msg& m);
  void check_synced();
  bool fresh_for_term() const;
  void lead(const leadership& m);
  void health(const watch_health& m);
  void observe_anew();
  void restart_kind(const target_kind& kind);
  void start_closer();
  void push_orphans();
};

fleet_actor::behavior_type fleet(fleet_actor::stateful_pointer<fleet_state> self, fleet_config config);

}  // namespace inferno::actors

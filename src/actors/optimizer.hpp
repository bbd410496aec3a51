#pragma once
// The central optimizer: batches the latest curves each cycle, or at once when something is urgent, and dispatches decisions.
#include <set>
#include <unordered_map>

#include "actors/log.hpp"
#include "actors/planning.hpp"

namespace inferno::actors {

struct optimizer_config {
  board_actor board;
  log logger;
  /// Urgent events within this time share one cycle, and so many pass between two urgent cycles.
  std::chrono::milliseconds urgent_delay{100};
  std::chrono::milliseconds urgent_gap{1000};
  std::uint64_t term = 1;  ///< of leadership; 0 = not leading, 1 = without leader election
};

struct optimizer_state {
  static inline const char* name = "optimizer";
  optimizer_actor::pointer self = nullptr;
  optimizer_config config;
  bool resend = false;  ///< dispatch every decision of the next plan
  planner plans;
  runtime_settings settings;
  std::map<variant_key, actuator_actor> actuators;
  std::map<variant_key, std::shared_ptr<const decision>> sent;    ///< to the actuators, in this term
  std::map<variant_key, std::shared_ptr<const decision>> logged;  ///< last
  std::set<variant_key> stale;
  std::string pending_cause;  ///< not empty: an urgent cycle is on its way
  std::uint64_t cycle = 0;
  std::uint64_t timer_epoch = 0;
  caf::actor_clock::time_point last_run{};
  bool synced = false;
  std::uint64_t term = 0;            ///< of leadership; 0 = not leading
  std::uint64_t synced_term = 0;     ///< the last one that all watches were fresh for
  std::uint64_t observed_since = 0;  ///< curves of inputs before are not acted on
  bool stopping = false;

  /// Nothing is carried out on what may be of a time before the term.
  bool acts() const { return term != 0 && synced_term == term; }
  void begin_acting();
  void urgent(std::string cause);
  void run(std::string cause);
  void arm_interval();
  void tell(const plan_snapshot& plan);
};

optimizer_actor::behavior_type optimizer(optimizer_actor::stateful_pointer<optimizer_state> self, optimizer_config config);

}  // namespace inferno::actors

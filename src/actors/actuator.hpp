#pragma once
// One actuator per VariantAutoscaling: carries its decisions out, one API call at a time, the newest decision first.
#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct actuator_config {
  variant_key key;
  std::shared_ptr<kube_api> api;
  wall_clock now;
  board_actor board;
  log logger;
  std::chrono::milliseconds retry_min{500};
  std::chrono::milliseconds retry_max{30000};      ///< also until what was refused (401, 403, 422) is asked for again
  std::chrono::milliseconds echo_patience{30000};  ///< how long the watch may take to show a scale patch
  std::chrono::milliseconds stop_patience{1000};   ///< an answer that takes longer is not waited for when stopping
  bool leading = true;
};

/// What is to be done for the decision at hand, in this order.
enum class actuation_step { read, label, change, look, scale, event, owner, status, done };

struct actuator_state {
  static inline const char* name = "actuator";
  actuator_actor::pointer self = nullptr;
  actuator_config config;
  std::shared_ptr<const decision> current;  ///< being carried out
  std::shared_ptr<const decision> next;     ///< arrived meanwhile
  actuation_step step = actuation_step::done;
  std::uint64_t epoch = 0;
  bool in_flight = false;
  bool leading = true;
  bool stopping = false;
  std::chrono::milliseconds backoff{0};
  bool applied = true;        ///< the last scale patch went through, or none was needed
  std::string apply_problem;  ///< why not
  /// What the target was last seen or made to have, by us or by others, while the watch still shows `from`: the same is not asked
  /// for again until it has had time to show it.
  struct asked_for {
    int from = -1;
    int to = -1;
    caf::actor_clock::time_point at{};
  } asked;
  std::string attempt_time;  ///< of the last scale patch
  std::string success_time;
  int scaled_from = -1;  ///< the target's replicas before the scale patch under way
  /// The Deployment for a change of accelerator, then the scale that is to be patched; nullptr = there is nothing to write.
  std::shared_ptr<const json::object> as_read;
  struct done_event {
    std::string reason, message;
  };
  /// A scale patch whose answer was lost.
  struct lost_answer {
    int from = -1, to = -1;
  } unanswered;
  std::unique_ptr<done_event> done;  ///< what this decision did, for people
  bool refused = false;              ///< the decision at hand cannot be carried out now, and nobody may tell when it can
  /// Hash of the last status without its times: equal ones are not written again. (The text itself is a kilobyte a variant.)
  std::optional<std::size_t> status_written;
  struct condition_age {
    bool status = false;
    std::chrono::system_clock::time_point since{};
  };
  std::vector<std::pair<std::string, condition_age>> condition_ages;  ///< by type

  void take_next();
  void proceed();
  bool issue();
  void finished(const net::result<json::object>& result);
  void failed(const net::error& error);
  bool start_read();
  bool start_label();
  bool start_change();
  tl::expected<json::object, std::string> begin_change(const decision& d) const;
  void tell_event(std::string reason, std::string message);
  bool start_look();
  void looked(const json::object& scale);
  bool start_scale();
  void scaled(int from, int to);
  void retry_after(std::chrono::milliseconds pause);
  bool start_event();
  bool start_owner();
  bool start_status();
  /// Since when a condition of this type has had this status.
  std::chrono::system_clock::time_point condition_since(const std::string& type, bool status,
                                                        std::chrono::system_clock::time_point now);
  kube_api::object_done completion();
};

/// The status of the VariantAutoscaling for a decision (times left to the caller), as in the CRD.
json::object make_status(const decision& d);

actuator_actor::behavior_type actuator(actuator_actor::stateful_pointer<actuator_state> self, actuator_config config);

}  // namespace inferno::actors

#pragma once
// One actuator per VariantAutoscaling: carries its decisions out and reports what came of them.
//
// It acts and reports on two tracks, one API call at a time on each, the newest decision first: a scale patch never waits for the
// status patch of the decision before, whatever the rate limit does to that.
#include <caf/actor_clock.hpp>
#include <deque>

#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct actuator_config {
  variant_key key;
  variant_facts facts;
  std::shared_ptr<kube_api> api;
  wall_clock now;
  board_actor board;
  log logger;
  std::chrono::milliseconds retry_min{500};
  std::chrono::milliseconds retry_max{30000};      ///< also until what was refused (401, 403, 422) is asked for again
  std::chrono::milliseconds echo_patience{30000};  ///< how long the watch may take to show a scale patch
  std::chrono::milliseconds stop_patience{1000};   ///< an answer that takes longer is not waited for when stopping
};

/// What is to be done for the decision at hand, in this order.
enum class actuation_step { read, label, change, look, scale, done };
/// What is to be reported of it, in this order.
enum class report_step { event, owner_look, owner, status, done };

struct actuator_state {
  static inline const char* name = "actuator";

  // ---- who it is --------------------------------------------------------------------------------------------------------------
  actuator_actor::pointer self = nullptr;
  actuator_config config;
  std::uint64_t term = 0;        ///< of leadership, as the last decision said
  std::uint64_t ended_term = 0;  ///< decisions of this term and earlier ones are not carried out any more
  bool stopping = false;
  bool leading() const { return term > ended_term; }

  // ---- acting -----------------------------------------------------------------------------------------------------------------
  std::shared_ptr<const decision> current;  ///< being carried out
  std::shared_ptr<const decision> next;     ///< arrived meanwhile
  actuation_step step = actuation_step::done;
  std::uint64_t epoch = 0;
  bool in_flight = false;
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
  int written = -1;      ///< what a scale patch of ours last set
  int scaled_from = -1;  ///< the target's replicas before the scale patch under way
  /// The Deployment for a change of accelerator, then the scale that is to be patched; nullptr = there is nothing to write.
  std::shared_ptr<const json::object> as_read;
  /// A scale patch whose answer was lost.
  struct lost_answer {
    int from = -1, to = -1;
  } unanswered;
  struct done_event {
    std::string reason, message;
  };
  std::optional<done_event> begun;  ///< what the patch of the Deployment under way does, for people
  bool refused = false;             ///< the decision at hand cannot be carried out now, and nothing announces when it can

  // ---- reporting --------------------------------------------------------------------------------------------------------------
  struct outcome {
    std::shared_ptr<const decision> what;
    bool applied = true;
    std::string problem;
  };
  static constexpr std::size_t most_events = 8;  ///< that wait; older ones are dropped
  std::deque<done_event> events;
  std::optional<outcome> reported;     ///< at hand
  std::optional<outcome> report_next;  ///< arrived meanwhile
  report_step reporting = report_step::done;
  std::uint64_t report_epoch = 0;
  bool report_in_flight = false;
  bool report_paused = false;  ///< until a tick
  bool report_refused = false;
  std::chrono::milliseconds report_backoff{0};
  std::shared_ptr<const json::object> variant_as_read;  ///< for the owner reference
  /// Hash of the last status without its times: equal ones are not written again. (The text itself is a kilobyte a variant.)
  std::optional<std::size_t> status_written;

  void decided(const decision_made& m);
  void answered(const api_result& r);
  void end_term(std::uint64_t which);
  void woken(const tick& t);
  void stop();

  void take_next();
  void proceed();
  bool issue();
  void finished(const net::result<json::object>& result);
  void failed(const net::error& error);
  bool start_read();
  bool start_label();
  bool start_change();
  tl::expected<json::object, std::string> begin_change(const decision& d) const;
  bool start_look();
  void looked(const json::object& scale);
  bool start_scale();
  void scaled(int from, int to);
  void retry_after(std::chrono::milliseconds pause);
  kube_api::object_done completion();
  void note_failure(std::string_view call, const net::error& error);

  void add_event(done_event event);
  void report(outcome o);
  void report_proceed();
  bool issue_report();
  void report_finished(const net::result<json::object>& result);
  void report_failed(const net::error& error);
  void report_after(std::chrono::milliseconds pause);
  bool start_event();
  bool start_owner_look();
  bool start_owner();
  bool start_status();
  /// Since when a condition of this type has had this status.
  std::chrono::system_clock::time_point condition_since(const std::string& type, const std::string& status,
                                                        std::chrono::system_clock::time_point now);
  kube_api::object_done report_completion();
};

/// The resource of a decision's target.
const kube::resource& target_resource_of(const capacity_curve& c);
/// Errors no repetition mends soon: the API understood and refused.
bool final_error(const net::error& e);

/// The status of the VariantAutoscaling for a decision (times left to the caller), as in the CRD.
json::object make_status(const decision& d);

/// Merge patch of a VariantAutoscaling that adds `owner` to its owner references, all others kept in their order; an entry of the
/// same object by another uid, one that is no more, gives way to it. Fails with 409 unless the object still is the one that was
/// read. nullopt: `owner` is among them.
std::optional<json::object> add_owner(const json::object& variant, json::object owner);

actuator_actor::behavior_type actuator(actuator_actor::stateful_pointer<actuator_state> self, actuator_config config);

}  // namespace inferno::actors

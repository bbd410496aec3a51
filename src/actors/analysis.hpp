#pragma once
// The analyzer's thinking without its actor: inputs and load in, capacity curve out.
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "actors/messages.hpp"
#include "model/load_estimator.hpp"

namespace inferno::actors {

/// By the label; without it there is no doubt when the model has only one accelerator. "" = not known.
std::string accelerator_in_use(const variant_object& object);

/// What an analyzer remembers between events.
class variant_analysis {
 public:
  /// `now`: for what is on record by the wall clock; all else goes by the samples' clock.
  explicit variant_analysis(variant_key key, wall_clock now = std::chrono::system_clock::now)
      : key_(std::move(key)), now_(std::move(now)) {}

  /// Returns whether anything that decides changed.
  bool update(std::shared_ptr<const variant_inputs> inputs);
  /// Returns whether demand or conditions moved enough for a new curve.
  bool observe(const load_sample& sample);
  bool lost(std::string reason, std::string problem);
  /// Requests for the variant wait at the gateway; 0 = none any more. `gateway`: whether they would be seen.
  bool waiting(double size, double time_s, gateway_view gateway = gateway_view::queue);

  /// The curve for what is known now; `urgent` when the replicas there are cannot carry the demand, or after update().
  /// nullptr before the first update().
  std::shared_ptr<const capacity_curve> make_curve();

  /// The estimate, its latencies only as far as they are of the rate window: they are what status, series and ObjectivesMet show
  /// as measured, so they end with the readings they come from.
  model::load_estimate measured() const;
  /// For those who have a curve already.
  void show_measured() { live_->set(measured()); }

 private:
  bool set_metrics(condition next);
  condition metrics_condition(const load_sample& sample) const;
  void count_pods(const load_sample& sample);
  void take(const load_sample& sample, bool complete);
  model::req_rate surely(model::req_rate rate, double since_s) const;
  model::req_rate given_up(const model::load_estimator& of, const model::load_estimate& estimate) const;
  bool lengths_unknown() const;
  int busy_floor() const;
  double slots_in_use() const;
  condition objectives(const capacity_curve& curve);
  void resolve(capacity_curve& curve);
  void evaluate(capacity_curve& curve, model::server_spec server, const model::service_class& cls);
  std::string obstacle_to(const std::string& accelerator, const capacity_curve& curve) const;
  int replicas_on(const std::string& accelerator, const capacity_curve& curve) const;
  std::pair<std::string, int> device_and_units(const std::string& accelerator) const;
  void hold_for_change(capacity_curve& curve) const;
  void note_change();
  model::server_spec make_server() const;
  bool idle_for_retention() const;
  bool may_be_zero() const;
  bool see_gateway(gateway_view gateway);
  condition shown_metrics() const;
  bool knows_little() const;
  double stabilization_s() const;
  double rate_window_s() const;
  bool change_is_paused() const;
  bool nothing_runs() const { return inputs_ && inputs_->target && inputs_->target->replicas == 0; }
  std::shared_ptr<const capacity_curve> woken(const capacity_curve& base, const model::service_class& cls,
                                              std::shared_ptr<const capacity_curve> asleep);
  /// What replicas are planned for: a rate and its lengths.
  struct planned_load {
    model::req_rate rate;
    model::request_shape shape;
  };
  planned_load waiting_load() const;
  double believed_queue() const;
  void note_full(const load_sample& s);
  model::req_rate standing_queue(const load_sample& s, model::req_rate counted) const;
  void choose_yardstick();
  void find_yardstick();
  double replicas_needed(const planned_load& load) const;
  void correct_lengths(const planned_load& now, double since_s);
  bool demand_moved(double share) const;
  bool moment_moved() const;
  bool only_ready_differs(const variant_inputs& other) const;
  int least_in_pool(const capacity_curve& curve) const;
  void add_moment(capacity_curve& curve) const;
  std::string pool_name(const model::service_class& cls) const;
  bool serves_no_more() const;

  variant_key key_;
  wall_clock now_;
  std::shared_ptr<const variant_inputs> inputs_;
  model::load_estimator estimator_;                 ///< of complete samples: those of all pods, with all families
  std::unique_ptr<model::load_estimator> partial_;  ///< of the incomplete ones since the last complete one: a lower bound
  double partial_since_s_ = 0;
  model::sliding_peak<planned_load> recent_;  ///< by watched_s_
  model::sliding_peak<double> in_flight_;     ///< requests that run or wait at the servers, by watched_s_
  double in_flight_peak_ = 0;                 ///< of the stabilization time
  /// Time that complete samples cover. What happens while pods are silent moves neither the window nor the stabilization time on.
  double watched_s_ = 0;        ///< for how long all pods have told their counts
  double counted_until_s_ = 0;  ///< end of the last sample that had counts
  std::optional<model::load_estimate> estimate_;
  planned_load demand_;                         ///< the recent load that needs the most replicas
  planned_load published_;                      ///< of the last curve that was evaluated
  planned_load moment_;                         ///< what arrives now, as far as that is known
  model::req_rate published_moment_;            ///< rate of the last curve's
  bool pooled_ = false;                         ///< the last curve was for a pool
  std::shared_ptr<const capacity_curve> last_;  ///< the last curve, when it was evaluated and nothing is held
  bool standing_moved_ = false;                 ///< conditions, or whether it may be zero, since then
  /// The accelerator in use and the targets, by which loads are compared; nullopt when they are not known.
  std::optional<std::pair<model::replica_config, model::slo_targets>> yardstick_;
  double published_at_s_ = 0;
  bool published_with_metrics_ = false;
  int published_floor_ = 0;  ///< busy_floor() of the last curve
  bool families_missing_ = false;
  bool lengths_seen_ = false;                 ///< a request has been completed, and its tokens were told
  std::optional<double> assumed_since_s_;     ///< since when lengths are assumed, by watched_s_
  bool gives_up_ = false;                     ///< the last sample's queues show that clients leave them
  bool has_served_ = false;                   ///< its load has been known since it ran at zero
  bool pods_unknown_ = false;                 ///< more replicas are ready than pods are known
  std::optional<double> fewer_pods_since_s_;  ///< since when that is so
  bool missed_ = false;                       ///< ObjectivesMet was last False
  double last_sample_s_ = 0;
  std::optional<double> first_sample_s_;                          ///< of those without a long silence in between
  std::optional<std::chrono::system_clock::time_point> lost_at_;  ///< since when there are none
  bool knew_little_ = true;                                       ///< knows_little() when it was last asked
  double waiting_ = 0;                                            ///< requests at the gateway
  std::optional<double> full_since_s_{};          ///< since when the servers have been full; nullopt: they have room
  std::vector<std::pair<double, double>> queue_;  ///< time and waiting_, of the rate window and once before
  bool insists_ = false;
  std::optional<gateway_view> gateway_;    ///< nullopt = not known yet
  bool idle_ = false;                      ///< idle_for_retention() when it was last asked
  std::optional<double> waiting_since_s_;  ///< with nothing running
  std::optional<double> active_s_;         ///< when the variant last had a request, or may have had one
  condition metrics_{"MetricsAvailable", false, "MetricsPending", "no sample of the variant's pods yet"};
  std::shared_ptr<const accelerator_change> seen_failure_;
  /// Until when the change that failed is not to be tried again.
  std::optional<std::chrono::system_clock::time_point> change_paused_until_;
  bool inputs_changed_ = false;
  std::uint64_t version_ = 0;
  std::shared_ptr<live_estimate> live_ = std::make_shared<live_estimate>();  ///< measured(), in all curves
};

}  // namespace inferno::actors

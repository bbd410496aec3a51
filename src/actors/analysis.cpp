#include "actors/analysis.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "model/allocation.hpp"
#include "model/system_json_write.hpp"

namespace inferno::actors {
namespace {

/// Smaller movements of demand do not make a new curve between cycles; at a cycle all count that are more than rounding.
constexpr double material_change = 0.02;
constexpr double any_change = 1e-6;
/// Smaller movements of what arrives now do not make a new curve for a pool.
constexpr double moment_change = 0.1;
/// Requests wait for so long while another of the pool was to start for them: then this one starts too.
constexpr double wake_patience_s = 300;
/// A mean over the rate window that exceeds its objective by less may be chance.
constexpr double missed_by = 1.05;
/// So many requests at the gateway are believed at once, more when they have waited for so long.
constexpr double queue_at_once = 64, queue_proof_s = 15;
/// Servers with so much of their batches in use, or more, are full: batches are never all full at a moment.
constexpr double full_share = 0.85;
/// So long, in all samples: for a moment they may be so by chance.
constexpr double full_for_s = 10;
/// For what stands at the gateway servers become at most so many times as many before more is concluded.
constexpr double most_growth = 5;
/// A queue that shows more to arrive than is counted is believed up to so many times what is counted: servers that do not take
/// requests in order, or hang, have one too.
constexpr double most_given_up = 2;
/// A target's status and its pods come by watches of their own: for so long one may be ahead of the other.
constexpr double pods_lag_s = 10;
/// A move to another accelerator that failed is not tried again for so long.
constexpr std::chrono::minutes change_patience{30};

bool moved(double from, double to, double share = material_change) {
  return std::abs(to - from) > share * std::max({std::abs(from), std::abs(to), 1e-9});
}

void hold(capacity_curve& curve, std::string reason, std::string message) {
  curve.hold = true;
  curve.hold_reason = std::move(reason);
  curve.hold_message = std::move(message);
}

/// Of the candidate on the accelerator in use; 0 = there is none.
int replicas_of(const capacity_curve& curve) {
  for (const auto& c : curve.candidates)
    if (c.alloc.accelerator == curve.current.accelerator) return c.alloc.num_replicas;
  return 0;
}

/// A problem of one profile entry leaves the others usable; any other problem leaves nothing to decide on.
bool unusable(const variant_object& object) {
  return !object.problem.empty() && (object.profiles.empty() || object.problem.rfind("spec.modelProfile", 0) != 0);
}

}  // namespace

std::string accelerator_in_use(const variant_object& object) {
  if (object.accelerator_label.empty() && object.profiles.size() == 1) return object.profiles.front().acc;
  return object.accelerator_label;
}

const model::service_class* catalog::find_class(const variant_object& variant) const {
  for (const auto& c : classes)
    if (!variant.class_key.empty() && c.entry == variant.class_key) return &c.spec;
  for (const auto& c : classes)
    if (c.spec.name == variant.class_key || c.spec.name == variant.class_name || c.entry == variant.class_name) return &c.spec;
  if (variant.class_key != variant.model_id) return nullptr;
  const model::service_class* best = nullptr;
  for (const auto& c : classes)
    for (const auto& t : c.spec.targets)
      if (t.model == variant.model_id && (!best || c.spec.priority < best->priority)) best = &c.spec;
  return best;
}

/// Replicas have become Ready, or are so no more: nothing that demand or candidates depend on.
bool variant_analysis::only_ready_differs(const variant_inputs& other) const {
  if (!inputs_ || !inputs_->target || !other.target) return false;
  const auto& a = *inputs_->target;
  const auto& b = *other.target;
  return a.ready_replicas != b.ready_replicas && a.replicas == b.replicas && a.uid == b.uid && a.other == b.other &&
         (a.change == b.change || (a.change && b.change && *a.change == *b.change)) && inputs_->object == other.object &&
         inputs_->target_problem == other.target_problem && inputs_->autoscaler == other.autoscaler &&
         inputs_->shared == other.shared && inputs_->label_conflict == other.label_conflict &&
         inputs_->settings == other.settings && inputs_->observed_since == other.observed_since;
}

bool variant_analysis::update(std::shared_ptr<const variant_inputs> inputs) {
  const bool only_ready = only_ready_differs(*inputs);
  if (inputs_ && inputs_->observed_since != inputs->observed_since) first_sample_s_.reset();
  inputs_ = std::move(inputs);
  if (only_ready) {
    // A pool's other members may have waited for them.
    inputs_changed_ = inputs_changed_ || pooled_;
    return true;
  }
  estimator_.set_window(std::chrono::duration<double>(inputs_->settings.rate_window).count());
  inputs_changed_ = true;
  if (nothing_runs()) {
    has_served_ = false;
    active_s_.reset();  // retention begins with the first sample after it has woken
    // What it served when it was put to sleep is served by others of its pool, or does not arrive any more.
    if (inputs_->object && inputs_->object->min_replicas == 0) demand_.rate = {};
  } else {
    waiting_since_s_.reset();
    insists_ = false;
  }
  note_change();
  choose_yardstick();
  return true;
}

void variant_analysis::choose_yardstick() {
  const auto before = std::exchange(yardstick_, std::nullopt);
  find_yardstick();
  if (yardstick_ != before) recent_.revalue([this](const planned_load& load, double) { return replicas_needed(load); });
}

void variant_analysis::find_yardstick() {
  const auto& object = *inputs_->object;
  const auto* cls = inputs_->shared ? inputs_->shared->find_class(object) : nullptr;
  if (!cls) return;
  const auto in_use = accelerator_in_use(object);
  for (const auto& t : cls->targets)
    for (const auto& p : object.profiles)
      if (t.model == object.model_id && (p.acc == in_use || in_use.empty()) && !yardstick_) {
        model::replica_config replica;
        replica.profile = p.params;
        replica.max_batch = p.max_batch;
        replica.max_queue = 10L * p.max_batch;
        yardstick_.emplace(replica, t.slo);
      }
}

/// Rate over the highest rate of a replica: within the targets, or at all when nothing meets them. Without a yardstick the tokens
/// to make, which order loads as well. A load of unknown lengths, before anything was completed, needs nothing that could be
/// counted: it must not outlive the first one that is known.
double variant_analysis::replicas_needed(const planned_load& load) const {
  if (load.shape.out_tokens <= 0) return 0;
  if (!yardstick_) return load.rate.per_sec() * load.shape.out_tokens;
  auto [replica, slo] = *yardstick_;
  replica.shape = load.shape;
  if (model::validate(replica)) return 0;
  auto sized = model::size_replica(replica, slo);
  if (!sized) sized = model::size_replica(replica, {});
  return sized && sized->rate.per_sec() > 0 ? load.rate.per_sec() / sized->rate.per_sec() : 0;
}

bool variant_analysis::set_metrics(condition next) {
  const bool changed = !(metrics_ == next);
  standing_moved_ = standing_moved_ || changed;
  metrics_ = std::move(next);
  return changed;
}

/// Arrivals, and no request whose lengths were ever told: how many replicas they take is not known.
bool variant_analysis::lengths_unknown() const {
  if (!estimate_ || estimate_->shape.out_tokens > 0) return false;
  return estimate_->arrival_rate.per_sec() > 0 || in_flight_peak_ > 0;
}

/// A watch of pods that is ill shows fewer of them than there are; the target's own status tells.
void variant_analysis::count_pods(const load_sample& s) {
  // Other kinds count what they like.
  const bool fewer = inputs_ && inputs_->object && inputs_->target && well_known(inputs_->target->ref) &&
                     inputs_->target->ready_replicas.value_or(0) > s.pods;
  if (!fewer || (fewer_pods_since_s_ && s.time_s < *fewer_pods_since_s_)) fewer_pods_since_s_.reset();
  if (fewer && !fewer_pods_since_s_) fewer_pods_since_s_ = s.time_s;
  pods_unknown_ = fewer && s.time_s - *fewer_pods_since_s_ >= pods_lag_s;
}

condition variant_analysis::metrics_condition(const load_sample& s) const {
  const char* type = "MetricsAvailable";
  if (!s.missing.empty()) return {type, false, "MetricsIncomplete", fmt::format("the servers do not report {}", s.missing)};
  if (pods_unknown_)
    return {type, false, "MetricsIncomplete",
            fmt::format("{} has {} ready replicas, and {} of its pods are known", inputs_->object->target.name,
                        *inputs_->target->ready_replicas, s.pods)};
  if (s.pods_reporting < s.pods)
    return {type, false, "MetricsIncomplete",
            fmt::format("{} of {} pods report{}{}", s.pods_reporting, s.pods, s.problem.empty() ? "" : ": ", s.problem)};
  if (!estimator_.estimate())
    return {type, false, "MetricsPending", "waiting for samples over a few seconds: a moment's requests are no rate"};
  if (lengths_unknown() && s.completions > 0)
    return {type, false, "MetricsIncomplete",
            "requests complete, and vllm:request_generation_tokens has no output tokens of any of them"};
  if (lengths_unknown())
    return {type, false, "MetricsPending", "no request has completed yet: the number of output tokens is not known"};
  std::string message = "all pods of the variant report";
  if (!lengths_seen_ && s.running + s.waiting > 0)
    message += "; no request has been completed yet, so no replica is given up: their lengths so far are the least there are";
  if (!s.ill.empty())
    message += fmt::format("; {} does not fit what is completed, running and waiting, so arrivals are taken from these", s.ill);
  if (gives_up_) message += "; more wait than the requests that are served explain: clients seem to give up, and count as demand";
  return {type, true, "MetricsFound", std::move(message)};
}

/// A silence may last, and of many estimates one is always high: what a part of the pods has raises demand by what is beyond
/// doubt, two standard deviations of its count below the estimate.
model::req_rate variant_analysis::surely(model::req_rate rate, double since_s) const {
  const double counted_s = std::clamp(since_s, 1.0, std::max(1.0, rate_window_s()));
  return model::req_rate::per_sec(std::max(0.0, rate.per_sec() - 2 * std::sqrt(rate.per_sec() / counted_s)));
}

/// What arrives beside what is counted, where first tokens take longer than they may and a queue stands that this does not
/// explain: clients that give up leave no other trace. The fleet grows by it, and with it what is counted.
model::req_rate variant_analysis::given_up(const model::load_estimator& of, const model::load_estimate& estimate) const {
  const double objective_ms = yardstick_ ? yardstick_->second.ttft_ms : 0;
  if (objective_ms <= 0 || estimate.ttft_ms <= objective_ms) return {};
  const double counted = estimate.arrival_rate.per_sec();
  return model::req_rate::per_sec(std::min(of.unseen_rate().per_sec(), (most_given_up - 1) * counted));
}

/// Recent loads whose lengths were taken from before a rise, once it is known how long its requests are: their rate was counted,
/// and the length was not.
void variant_analysis::correct_lengths(const planned_load& now, double since_s) {
  if (now.shape.out_tokens <= 0) return;
  recent_.revalue([&](planned_load& load, double time_s) {
    const planned_load known{load.rate, now.shape};
    if (time_s >= since_s && replicas_needed(known) < replicas_needed(load)) load = known;
    return replicas_needed(load);
  });
}

/// Silent pods may carry load, so a sample without them is no less than it says and may be more: demand may rise by it and does
/// not fall. Where families are missing the sums are not the load at all.
void variant_analysis::take(const load_sample& s, bool complete) {
  families_missing_ = !s.missing.empty();
  if (families_missing_) return;
  if (complete) {
    partial_.reset();
  } else if (!partial_) {
    partial_ = std::make_unique<model::load_estimator>();
    partial_since_s_ = s.time_s - s.span_s;
    if (inputs_) partial_->set_window(std::chrono::duration<double>(inputs_->settings.rate_window).count());
  }
  lengths_seen_ = lengths_seen_ || (s.completions > 0 && s.out_tokens > 0);
  auto& estimator = complete ? estimator_ : *partial_;
  const double arrivals = s.arrivals + (full_since_s_ ? s.queued : std::min(s.queued, s.arrivals));
  estimator.add({s.time_s, s.span_s, arrivals, s.completions, s.in_tokens, s.out_tokens, s.itl_sum_s, s.itl_count, s.ttft_sum_s,
                 s.ttft_count, s.wait_sum_s, s.wait_count, s.running, s.waiting, s.unseen_rate});
  in_flight_peak_ = in_flight_.push(watched_s_, s.running + s.waiting, s.running + s.waiting, stabilization_s());
  auto estimate = estimator.estimate();
  if (!estimate) return;
  // What the reporting pods have not completed yet, others may have.
  if (!complete && estimate->shape.out_tokens <= 0 && estimate_) estimate->shape = estimate_->shape;
  planned_load now{estimate->arrival_rate, estimate->shape};
  if (!complete) now.rate = surely(now.rate, s.time_s - partial_since_s_);
  const auto lost = given_up(estimator, *estimate);
  gives_up_ = lost.per_sec() > 0;
  now.rate = model::req_rate::per_sec(now.rate.per_sec() + standing_queue(s, now.rate).per_sec() + lost.per_sec());
  if (const double for_s = estimate->assumed_for_s; complete && for_s > 0 && !assumed_since_s_) {
    assumed_since_s_ = watched_s_ - for_s;
  } else if (complete && for_s <= 0 && assumed_since_s_) {
    correct_lengths(now, *std::exchange(assumed_since_s_, {}));
  }
  const auto& recent = recent_.push(watched_s_, replicas_needed(now), now, stabilization_s());
  if (complete) {
    estimate_ = estimate;
  } else if (estimate_) {
    // Latencies are measured request by request: those of the pods that report are no less true for it.
    estimate_->itl_ms = estimate->itl_ms;
    estimate_->ttft_ms = estimate->ttft_ms;
    estimate_->wait_ms = estimate->wait_ms;
    estimate_->queue_ms = estimate->queue_ms;
  }
  if (complete || replicas_needed(recent) > replicas_needed(demand_)) demand_ = recent;
  moment_ = complete ? now : demand_;
}

bool variant_analysis::observe(const load_sample& s) {
  // After a silence the past is not known any more either.
  const bool was_silent = lost_at_ && std::chrono::duration<double>(now_() - *lost_at_).count() > stabilization_s();
  count_pods(s);
  const bool complete = s.missing.empty() && s.pods_reporting >= s.pods && !pods_unknown_;
  if (s.time_s < last_sample_s_) {
    // A source whose clock was set back.
    first_sample_s_.reset();
    published_at_s_ = std::min(published_at_s_, s.time_s);
    if (active_s_) active_s_ = std::min(*active_s_, s.time_s);
  }
  if (!first_sample_s_ || was_silent) first_sample_s_ = s.time_s;
  // Samples without counts come in between where servers are read one after the other: the next one covers their time too.
  if (complete) watched_s_ += std::min(std::max(0.0, s.time_s - counted_until_s_), s.span_s);
  if (s.span_s > 0) counted_until_s_ = s.time_s;
  lost_at_.reset();
  last_sample_s_ = s.time_s;
  note_full(s);
  take(s, complete);
  bool changed = set_metrics(metrics_condition(s));
  has_served_ = has_served_ || metrics_.status;
  // What silent pods do is not known: they may be busy.
  const bool busy = s.arrivals > 0 || s.queued > 0 || s.completions > 0 || s.running > 0 || s.waiting > 0 || waiting_ > 0;
  if (!active_s_ || busy || !complete) active_s_ = s.time_s;
  if (std::exchange(idle_, idle_for_retention()) != idle_) changed = standing_moved_ = true;
  if (std::exchange(knew_little_, knows_little()) != knew_little_) {
    changed = standing_moved_ = true;
    // A move that had to wait does not wait for the next cycle too.
    inputs_changed_ = inputs_changed_ || (inputs_ && inputs_->object && !inputs_->object->keep_accelerator);
  }
  if (change_paused_until_ && !change_is_paused()) {
    change_paused_until_.reset();
    changed = standing_moved_ = true;
  }
  // The last curve would let servers go that have become busy since.
  if (last_ && busy_floor() > published_floor_ && busy_floor() > replicas_of(*last_)) changed = standing_moved_ = true;
  // Before the first complete sample, what a part of the pods has is the least there is.
  if (!estimate_ && demand_.rate.per_sec() <= 0) return changed;
  const double interval_s = inputs_ ? std::chrono::duration<double>(inputs_->settings.opt_interval).count() : 60.0;
  return changed || demand_moved(material_change) || moment_moved() || s.time_s - published_at_s_ >= 0.9 * interval_s;
}

/// Requests in flight that fit into what is there: what does not fit waits, and is no reason to buy.
double variant_analysis::slots_in_use() const {
  if (!inputs_ || !inputs_->object || !inputs_->target) return 0;
  const auto in_use = accelerator_in_use(*inputs_->object);
  for (const auto& p : inputs_->object->profiles)
    if (p.acc == in_use) return std::min(in_flight_peak_, 1.0 * inputs_->target->replicas * p.max_batch);
  return 0;
}

/// Replicas in use that the requests in flight keep busy.
int variant_analysis::busy_floor() const {
  const auto in_use = accelerator_in_use(*inputs_->object);
  for (const auto& p : inputs_->object->profiles)
    if (p.acc == in_use && p.max_batch > 0) return static_cast<int>(std::ceil(slots_in_use() / p.max_batch));
  return 0;
}

bool variant_analysis::see_gateway(gateway_view gateway) {
  if (std::exchange(gateway_, gateway) == gateway || !inputs_ || !inputs_->object || inputs_->object->min_replicas != 0)
    return false;
  return standing_moved_ = true;
}

bool variant_analysis::waiting(double size, double time_s, gateway_view gateway) {
  const bool seen = see_gateway(gateway);
  const double before = std::exchange(waiting_, size);
  if (size <= 0 || (!queue_.empty() && time_s < queue_.back().first)) queue_.clear();
  if (size > 0) queue_.emplace_back(time_s, size);
  const auto recent = [&](const auto& reading) { return reading.first > time_s - rate_window_s(); };
  if (const auto first = std::find_if(queue_.begin(), queue_.end(), recent); first - queue_.begin() > 1)
    queue_.erase(queue_.begin(), std::prev(first));
  if (size > 0 && active_s_) active_s_ = std::max(*active_s_, time_s);
  // Pods that come up for them are not sent away before they have had the time to take them.
  if (size > 0 && inputs_ && (nothing_runs() || !has_served_)) {
    const auto load = waiting_load();
    recent_.push(watched_s_, replicas_needed(load), load, stabilization_s());
  }
  if (!nothing_runs()) return seen;
  if (size <= 0) waiting_since_s_.reset();
  if (size > 0 && !waiting_since_s_) waiting_since_s_ = time_s;
  const bool insisted = std::exchange(insists_, waiting_since_s_ && time_s - *waiting_since_s_ >= wake_patience_s);
  const bool changed = (before > 0) != (size > 0) || insisted != insists_ || moved(before, size);
  standing_moved_ = standing_moved_ || changed;
  return changed || seen;
}

double variant_analysis::rate_window_s() const {
  return inputs_ ? std::chrono::duration<double>(inputs_->settings.rate_window).count() : 60.0;
}

/// Where servers could take more, something else than their number keeps requests at the gateway, or its reading is wrong. Its
/// queue then counts for no more than what arrives, so that more servers come only as far as they are used.
void variant_analysis::note_full(const load_sample& s) {
  if (s.pods_reporting <= 0) return;
  const int batch = yardstick_ ? yardstick_->first.max_batch : 0;
  if (s.running + s.waiting < full_share * s.pods_reporting * batch) {
    full_since_s_.reset();
  } else if (!full_since_s_) {
    full_since_s_ = s.time_s;
  }
}

/// What has waited at the gateway through a whole window is taken within another one, beside what arrives: servers that only keep
/// pace never would. They become several times as many at a time, so that it shows whether more of them take more.
model::req_rate variant_analysis::standing_queue(const load_sample& s, model::req_rate counted) const {
  if (queue_.empty() || nothing_runs() || queue_.back().first - queue_.front().first < rate_window_s()) return {};
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto queue = model::req_rate::per_sec(std::min_element(queue_.begin(), queue_.end(), less)->second / rate_window_s());
  const bool full = full_since_s_ && s.time_s - *full_since_s_ >= full_for_s;
  return std::min(queue, model::req_rate::per_sec((full ? most_growth - 1 : 1) * counted.per_sec()));
}

/// A long queue is believed once it has stood for a while: a single reading may be odd.
double variant_analysis::believed_queue() const {
  if (waiting_ <= queue_at_once || queue_.empty()) return waiting_;
  const double since_s = queue_.back().first - queue_proof_s;
  double least = waiting_;
  for (const auto& [time_s, size] : queue_)
    if (time_s >= since_s) least = std::min(least, size);
  return std::max(queue_at_once, queue_.front().first <= since_s ? least : 0);
}

/// What waits at the gateway, to be taken within the time a rate is measured over.
variant_analysis::planned_load variant_analysis::waiting_load() const {
  planned_load load{model::req_rate::per_sec(std::max(believed_queue() / rate_window_s(), 1.0 / 60)), demand_.shape};
  // Of a model that never ran nothing is known: one replica will tell.
  if (load.shape.out_tokens <= 0) load.shape.out_tokens = 1;
  return load;
}

/// Without a request for the whole retention, as far as anybody can tell.
bool variant_analysis::idle_for_retention() const {
  if (!inputs_ || !inputs_->object || inputs_->object->min_replicas != 0 || !metrics_.status || !active_s_) return false;
  return last_sample_s_ - *active_s_ >= std::chrono::duration<double>(inputs_->settings.zero_retention).count();
}

/// At zero replicas only the gateway's queue tells of requests: where it is not known, the variant would never come back.
bool variant_analysis::may_be_zero() const { return idle_for_retention() && gateway_ == gateway_view::queue; }

/// With what is missing to wake the variant at zero replicas, if that is where it is or should be.
condition variant_analysis::shown_metrics() const {
  if (!inputs_ || !inputs_->object || inputs_->object->min_replicas != 0 || !gateway_ || gateway_ == gateway_view::queue ||
      metrics_.reason == "MetricsSourceFailed")
    return metrics_;
  const bool asleep = nothing_runs();
  // A gateway that has had no request for the model yet may well queue the first one.
  if (asleep ? gateway_ == gateway_view::others : !idle_for_retention()) return metrics_;
  const auto why =
      gateway_ == gateway_view::unsupported
          ? std::string(
                "with --metrics-source scrape the requests that wait at an inference gateway are not seen, with "
                "--metrics-source prometheus they are")
      : gateway_ == gateway_view::none
          ? std::string(
                "Prometheus has no llm_d_epp_flow_control_queue_size: the inference gateway is not scraped, or "
                "its flow control is off")
          : fmt::format("Prometheus has no llm_d_epp_flow_control_queue_size of model {}", inputs_->object->model_id);
  auto out = metrics_;
  out.reason = "NoWakeUpSource";
  if (asleep) {
    out.status = false;
    out.message = "at zero replicas, and only requests at others of its pool wake it: " + why;
  } else {
    out.message += "; without requests, and not scaled to zero because nothing could wake it: " + why;
  }
  return out;
}

double variant_analysis::stabilization_s() const {
  return inputs_ ? std::chrono::duration<double>(inputs_->settings.scale_down_stabilization).count() : 0.0;
}

/// Not yet a stabilization time of samples: what is there may have been needed a moment ago, before a restart for example. Or
/// requests, and none of them has been completed yet: what they have got so far is the least that they take.
bool variant_analysis::knows_little() const {
  // Where nothing runs nothing is learnt.
  if (nothing_runs()) return false;
  const bool loaded = in_flight_peak_ > 0 || (estimate_ && estimate_->arrival_rate.per_sec() > 0);
  if (loaded && !lengths_seen_) return true;
  return !first_sample_s_ || last_sample_s_ - *first_sample_s_ < stabilization_s();
}

bool variant_analysis::demand_moved(double share) const {
  return moved(published_.rate.per_sec(), demand_.rate.per_sec(), share) ||
         moved(published_.shape.out_tokens, demand_.shape.out_tokens, share) ||
         moved(published_.shape.in_tokens, demand_.shape.in_tokens, share);
}

/// Traffic that moves from one member of a pool to another leaves the largest of the recent loads of both as they are.
bool variant_analysis::moment_moved() const {
  return pooled_ && moved(published_moment_.per_sec(), moment_.rate.per_sec(), moment_change);
}

bool variant_analysis::lost(std::string reason, std::string problem) {
  if (!lost_at_) lost_at_ = now_();
  return set_metrics({"MetricsAvailable", false, std::move(reason), std::move(problem)});
}

/// What its spec says: others of the pool may have the one replica that a variant by itself keeps.
int variant_analysis::least_in_pool(const capacity_curve& curve) const {
  const int said = inputs_->object->min_replicas.value_or(1);
  const bool may_be_busy = metrics_.reason == "MetricsIncomplete" || knows_little();
  return may_be_busy ? std::max(said, curve.current.num_replicas) : said;
}

void variant_analysis::add_moment(capacity_curve& curve) const {
  const auto seconds = [](auto d) { return std::chrono::duration<double>(d).count(); };
  // Where nothing runs nothing arrives; what did is others' to serve, and known from before for a while.
  const auto load = nothing_runs() ? planned_load{} : moment_;
  curve.moment = {load.rate, load.shape.in_tokens, load.shape.out_tokens};
  curve.sampled_s = last_sample_s_;
  curve.horizon_s = std::max(stabilization_s(), seconds(inputs_->settings.rate_window));
}

model::load_estimate variant_analysis::measured() const {
  // Nothing arrives where nothing runs, and there are no more readings to say so.
  if (nothing_runs()) return {};
  auto out = estimate_.value_or(model::load_estimate{});
  if (lost_at_ || families_missing_) out.itl_ms = out.ttft_ms = out.wait_ms = out.queue_ms = 0;
  return out;
}

model::server_spec variant_analysis::make_server() const {
  const auto& object = *inputs_->object;
  model::server_spec server;
  server.name = fmt::format("{}/{}", key_.ns, key_.name);
  server.model = object.model_id;
  server.keep_accelerator = object.keep_accelerator;
  server.min_replicas = object.min_replicas.value_or(1);
  if (!nothing_runs() && !may_be_zero()) server.min_replicas = std::max(server.min_replicas, 1);
  server.max_replicas = object.max_replicas.value_or(0);
  server.in_flight = slots_in_use();
  auto& current = server.current;
  current.accelerator = accelerator_in_use(object);
  current.num_replicas = inputs_->target ? inputs_->target->replicas : 0;
  for (const auto& p : object.profiles)
    if (p.acc == current.accelerator) current.max_batch = p.max_batch;
  if (estimate_ || demand_.rate.per_sec() > 0) current.load = {demand_.rate, demand_.shape.in_tokens, demand_.shape.out_tokens};
  const auto seen = measured();
  current.itl_ms = seen.itl_ms;
  current.ttft_ms = seen.ttft_ms;
  current.wait_ms = seen.wait_ms;
  return server;
}

void variant_analysis::resolve(capacity_curve& curve) {
  const auto& object = *inputs_->object;
  curve.generation = object.generation;
  curve.observed_since = inputs_->observed_since;
  curve.model = object.model_id;
  curve.target_key = object.target;
  curve.mode = object.actuation.value_or(inputs_->settings.actuation);
  curve.autoscaler = inputs_->autoscaler;
  if (inputs_->target && inputs_->target->other) curve.target_resource = inputs_->target->other->resource;
  curve.actuate = inputs_->target != nullptr;
  if (inputs_->target) curve.change = inputs_->target->change;
  const auto target = fmt::format("{} {}", object.target.kind, object.target.name);
  if (!curve.actuate) {
    curve.target = {"TargetResolved", false, "TargetNotFound",
                    inputs_->target_problem.empty() ? target + " not found" : inputs_->target_problem};
  } else if (curve.mode == actuation_mode::direct && curve.autoscaler) {
    // Two hands on one target would pull against each other for ever.
    curve.actuate = false;
    curve.target = {
        "TargetResolved", false, "ConflictingAutoscaler",
        fmt::format("{} scales {}; in direct mode the controller patches no target that has an autoscaler: delete it, or set "
                    "spec.actuationMode to metric",
                    curve.autoscaler->shown(), target)};
  } else {
    curve.target = {"TargetResolved", true, "TargetFound", target + " found"};
    if (curve.mode == actuation_mode::metric && !curve.autoscaler)
      curve.target.message +=
          "; no HorizontalPodAutoscaler scales it, of KEDA or otherwise: in metric mode the controller only "
          "publishes inferno_desired_replicas";
    if (!inputs_->label_conflict.empty()) {
      curve.target.reason = "AcceleratorMismatch";
      curve.target.message += "; " + inputs_->label_conflict;
    }
  }
  if (inputs_->target && object.owner_uid != inputs_->target->uid) curve.owner_uid_needed = inputs_->target->uid;
}

/// Why the variant cannot be moved to an accelerator; "" = it can, or need not be, or somebody else does.
std::string variant_analysis::obstacle_to(const std::string& accelerator, const capacity_curve& curve) const {
  const auto& object = *inputs_->object;
  const auto& from = curve.current.accelerator;
  if (object.keep_accelerator || curve.mode != actuation_mode::direct || from.empty() || accelerator == from) return {};
  if (object.target.kind != "Deployment" || !well_known(object.target))
    return fmt::format("not moved to {}: only Deployments are, this is a {}", accelerator, object.target.kind);
  if (!inputs_->shared->placements.count(accelerator))
    return fmt::format("not moved to {}: accelerator-unit-costs has no nodeSelector for it", accelerator);
  if (change_is_paused() && curve.change && curve.change->to == accelerator)
    return fmt::format("not moved to {} for half an hour: {}", accelerator, curve.change->message);
  return {};
}

/// Replicas that would carry the load on an accelerator, within minReplicas and maxReplicas; -1 = not known, or no number does.
int variant_analysis::replicas_on(const std::string& accelerator, const capacity_curve& curve) const {
  const auto server = make_server();
  model::variant_view view;
  view.server = &server;
  view.priority = curve.priority;
  view.slo = curve.slo;
  view.search_batch = inputs_->settings.search_batch;
  const auto acc = inputs_->shared->accelerators.find(accelerator);
  for (const auto& p : inputs_->object->profiles)
    if (p.acc == accelerator && acc != inputs_->shared->accelerators.end()) view.options.emplace_back(&acc->second, &p);
  const auto set = model::make_candidates(view, true);
  return set.candidates.empty() ? -1 : set.candidates.front().num_replicas;
}

/// The device of an accelerator and how many of it a replica there takes; "" = not in accelerator-unit-costs.
std::pair<std::string, int> variant_analysis::device_and_units(const std::string& accelerator) const {
  const auto acc = inputs_->shared->accelerators.find(accelerator);
  if (acc == inputs_->shared->accelerators.end()) return {"", 1};
  int units = acc->second.multiplicity;
  for (const auto& p : inputs_->object->profiles)
    if (p.acc == accelerator) units *= p.acc_count;
  return {acc->second.type, units};
}

/// The target is on its way to another accelerator. What the load needs meanwhile is known as far as the load is.
void variant_analysis::hold_for_change(capacity_curve& curve) const {
  const auto& change = *curve.change;
  change_load needs;
  std::tie(needs.device, needs.units) = device_and_units(change.to);
  const bool known = (estimate_ || demand_.rate.per_sec() > 0) && !families_missing_ && !lengths_unknown();
  if (known) {
    needs.old_replicas = replicas_on(change.from, curve);
    needs.new_replicas = replicas_on(change.to, curve);
    needs.surely = metrics_.status && !knows_little();
  }
  auto message =
      fmt::format("moving from {} to {} x {}: {} of them ready", change.from, change.replicas, change.to, change.ready);
  if (needs.new_replicas > change.replicas) message += fmt::format("; the load needs {} there by now", needs.new_replicas);
  if (!needs.surely) message += "; no replica is given up for it until the load is known";
  if (missed_) message += "; objectives are missed meanwhile";
  curve.urgent = curve.urgent || needs.new_replicas > change.replicas || needs.old_replicas > curve.current.num_replicas;
  curve.change_needs = std::make_shared<const change_load>(std::move(needs));
  hold(curve, "AcceleratorChanging", std::move(message));
}

/// A pause that is longer than any was noted by a clock that has been set back since.
bool variant_analysis::change_is_paused() const {
  if (!change_paused_until_) return false;
  const auto left = *change_paused_until_ - now_();
  return left > left.zero() && left <= change_patience;
}

/// A failed change is remembered for a while since it failed, by its own record: who leads now may not have been there.
void variant_analysis::note_change() {
  const auto& change = inputs_->target ? inputs_->target->change : nullptr;
  if (!change || change->phase != accelerator_change::step::failed) {
    change_paused_until_.reset();
    seen_failure_.reset();
  } else if (!seen_failure_ || *seen_failure_ != *change) {
    seen_failure_ = change;
    // A record of the future is another clock's.
    const auto now = now_();
    change_paused_until_ = std::min(change->failed_at.value_or(now), now) + change_patience;
  }
}

/// The name of the pool whose demand the variant shares; "" = it has a demand of its own.
std::string variant_analysis::pool_name(const model::service_class& cls) const {
  const auto& object = *inputs_->object;
  if (!inputs_->settings.pools || object.pool == "off") return {};
  return object.pool.empty() ? fmt::format("{}/{}", cls.name, object.model_id) : object.pool;
}

/// Its load was known, and now it has no target, or no Ready replica of those it asks for.
bool variant_analysis::serves_no_more() const {
  if (!has_served_ || moment_.rate.per_sec() <= 0 || moment_.shape.out_tokens <= 0) return false;
  return !inputs_->target || (inputs_->target->replicas > 0 && inputs_->target->ready_replicas == 0 && lost_at_);
}

void variant_analysis::evaluate(capacity_curve& curve, model::server_spec server, const model::service_class& cls) {
  const auto& object = *inputs_->object;
  model::variant_view view;
  view.server = &server;
  view.priority = cls.priority;
  view.slo = curve.slo;
  view.search_batch = inputs_->settings.search_batch;
  std::string unknown;
  std::string left_out;
  for (const auto& p : object.profiles) {
    const auto acc = inputs_->shared->accelerators.find(p.acc);
    if (acc == inputs_->shared->accelerators.end()) {
      unknown += fmt::format("{}\"{}\"", unknown.empty() ? "" : ", ", p.acc);
    } else if (auto obstacle = obstacle_to(p.acc, curve); !obstacle.empty()) {
      left_out += fmt::format("{}{}", left_out.empty() ? "" : "; ", obstacle);
    } else {
      view.options.emplace_back(&acc->second, &p);
    }
  }
  const auto find = [&](std::string_view name) -> const std::pair<const model::accelerator*, const model::model_profile*>* {
    for (const auto& o : view.options)
      if (o.first->name == name) return &o;
    return nullptr;
  };
  if (const auto* now = find(curve.current.accelerator)) {
    curve.current.cost.cents = now->first->cost.cents * now->second->acc_count * curve.current.num_replicas;
    server.current.cost = curve.current.cost;
  }
  if (view.options.empty() ||
      (object.keep_accelerator && !curve.current.accelerator.empty() && !find(curve.current.accelerator))) {
    const auto what = unknown.empty() ? fmt::format("no profile for the accelerator in use, \"{}\"", curve.current.accelerator)
                                      : fmt::format("accelerator {} is not in accelerator-unit-costs", unknown);
    // An entry that could not be read may be the one that is missing.
    if (!object.problem.empty()) return hold(curve, "InvalidSpec", fmt::format("{}; {}", object.problem, what));
    return hold(curve, "UnknownAccelerator", what);
  }
  if (!unknown.empty()) curve.hold_message = fmt::format("accelerator {} is not in accelerator-unit-costs", unknown);
  if (!inputs_->label_conflict.empty()) curve.hold_message += (curve.hold_message.empty() ? "" : "; ") + inputs_->label_conflict;
  if (!left_out.empty()) curve.hold_message += (curve.hold_message.empty() ? "" : "; ") + left_out;
  auto set = model::make_candidates(view);
  if (set.candidates.empty()) {
    auto why = set.reason();
    if (object.keep_accelerator) {
      // Elsewhere nothing runs that would have to stay for a while.
      auto fresh = server;
      fresh.min_replicas = curve.min_replicas;
      view.server = &fresh;
      if (const auto other = model::cheapest_elsewhere(view))
        why += fmt::format("; the cheapest that could: {} x {} at {:.6g} cents/h", other->num_replicas, other->accelerator,
                           other->cost.cents);
    }
    return hold(curve, "Infeasible", why);
  }
  auto basis = std::make_shared<curve_basis>(curve_basis{server, inputs_->shared, inputs_->object, view});
  // What its autoscaler does not let come, others of its pool are to carry.
  if (const int most = curve.ceiling(); most > 0) {
    basis->server.max_replicas = server.max_replicas > 0 ? std::min(server.max_replicas, most) : most;
    basis->server.min_replicas = std::min(server.min_replicas, basis->server.max_replicas);
  }
  basis->view.server = &basis->server;
  curve.pool = pool_name(cls);
  // Whatever the others of a pool could carry, what is in flight is here.
  if (!curve.pool.empty()) {
    auto& least = basis->server.min_replicas;
    least = std::max(least, busy_floor());
    if (basis->server.max_replicas > 0) least = std::min(least, basis->server.max_replicas);
  }
  curve.basis = std::move(basis);
  for (auto& c : set.candidates) {
    model::add_percentiles(view, c);
    const auto* option = find(c.accelerator);
    curve.candidates.push_back({c, -1, option ? option->second->acc_count * option->first->multiplicity : 0});
    curve.device_of.push_back(option ? option->first->type : std::string());
    if (c.accelerator == curve.current.accelerator && c.num_replicas > curve.current.num_replicas) curve.urgent = true;
  }
}

/// The curve of a variant at zero that is to take what waits at the gateway.
std::shared_ptr<const capacity_curve> variant_analysis::woken(const capacity_curve& base, const model::service_class& cls,
                                                              std::shared_ptr<const capacity_curve> asleep) {
  auto curve = std::make_shared<capacity_curve>(base);
  auto server = make_server();
  const auto load = waiting_load();
  server.current.load = {std::max(load.rate, demand_.rate), load.shape.in_tokens, load.shape.out_tokens};
  curve->current = server.current;
  curve->moment = server.current.load;
  evaluate(*curve, std::move(server), cls);
  if (!curve->hold) curve->hold_message = fmt::format("woken: {:.6g} requests wait at the gateway", waiting_);
  curve->asleep = std::move(asleep);
  curve->insists = insists_;
  curve->urgent = true;
  return curve;
}

/// What the servers report against the targets of the class. Once missed, an objective is met again when it is really met.
condition variant_analysis::objectives(const capacity_curve& curve) {
  const auto& m = curve.measured;
  const auto& slo = curve.slo;
  const double limit = missed_ ? 1 : missed_by;
  std::string missed, met, unmeasured;
  const auto compare = [&](double objective_ms, double measured_ms, const std::string& objective, const char* measured,
                           const char* name) {
    if (objective_ms <= 0) return;
    if (measured_ms <= 0) {
      unmeasured += fmt::format("{}{}", unmeasured.empty() ? "" : ", ", name);
      return;
    }
    auto& list = measured_ms > limit * objective_ms ? missed : met;
    list += fmt::format("{}{} is {} ms, the objective is {} {} ms", list.empty() ? "" : "; ", measured,
                        model::shown_ms(measured_ms), objective, model::shown_objective_ms(objective_ms));
  };
  compare(slo.itl_ms, m.itl_ms, "mean", "measured mean ITL", "ITL");
  const bool percentile = slo.ttft_percentile > 0;
  compare(slo.ttft_ms, m.ttft_ms, model::percentile_name(slo.ttft_percentile), "measured mean TTFT", "TTFT");
  compare(slo.wait_p95_ms, m.wait_ms * model::wait_p95_of_mean, "p95", "wait's p95, estimated from the measured mean,",
          "the wait");
  // Requests that have no first token yet are in none of these.
  const auto waits = [&](double objective_ms, const char* objective) {
    if (objective_ms <= 0 || m.queue_ms <= limit * objective_ms || !missed.empty()) return;
    missed = fmt::format("requests wait at the servers, as many as come to their turn in {} ms, the objective of {} is {} ms",
                         model::shown_ms(m.queue_ms), objective, model::shown_objective_ms(objective_ms));
  };
  waits(slo.ttft_ms, "TTFT");
  waits(slo.wait_p95_ms, "the wait");
  missed_ = !missed.empty();
  if (missed_) return {"ObjectivesMet", false, "ObjectiveMissed", std::move(missed)};
  if (met.empty()) {
    const bool requests = m.arrival_rate.per_sec() > 0;
    return {"ObjectivesMet", false, "NothingMeasured",
            requests ? fmt::format("no objective can be compared: the servers reported none of {} in the rate window", unmeasured)
                     : std::string("no objective can be compared: no request was measured in the rate window"),
            true};
  }
  if (!unmeasured.empty()) met += fmt::format("; not measured in the rate window: {}", unmeasured);
  if (percentile && slo.ttft_ms > 0 && m.ttft_ms > 0) met += " (percentiles are not measured)";
  return {"ObjectivesMet", true, "WithinObjectives", std::move(met)};
}

std::shared_ptr<const capacity_curve> variant_analysis::make_curve() {
  if (!inputs_ || !inputs_->object) return nullptr;
  auto curve = std::make_shared<capacity_curve>();
  curve->key = key_;
  curve->version = ++version_;
  curve->metrics = shown_metrics();
  resolve(*curve);
  auto server = make_server();
  curve->current = server.current;
  curve->min_replicas = server.min_replicas;
  // Whatever else is wrong with it, what it has costs what it costs, and is not to be given to others.
  if (inputs_->shared) {
    std::tie(curve->current_device, curve->current_units) = device_and_units(curve->current.accelerator);
    if (const auto acc = inputs_->shared->accelerators.find(curve->current.accelerator);
        acc != inputs_->shared->accelerators.end())
      curve->current.cost.cents =
          acc->second.cost.cents * curve->current_units / acc->second.multiplicity * curve->current.num_replicas;
  }
  if (inputs_->target) curve->ready = inputs_->target->ready_replicas;
  curve->least_in_pool = least_in_pool(*curve);
  curve->wakes_pool = !nothing_runs() && !may_be_zero();
  add_moment(*curve);
  published_moment_ = curve->moment.arrival_rate;
  // Silent pods may carry load: none goes while some do not report, nor before demand has been watched for a while.
  if (knows_little()) server.keep_accelerator = true;
  if (metrics_.reason == "MetricsIncomplete" || knows_little()) {
    server.min_replicas = std::max(server.min_replicas, curve->current.num_replicas);
    if (server.max_replicas > 0) server.min_replicas = std::min(server.min_replicas, server.max_replicas);
  }
  curve->measured = measured();
  show_measured();
  curve->live = live_;
  const bool floor_moved = std::exchange(published_floor_, busy_floor()) != published_floor_;
  // The first metrics of a variant, or those that are back, do not wait for the next cycle either.
  curve->urgent = std::exchange(inputs_changed_, false) || (metrics_.status && !published_with_metrics_);
  published_with_metrics_ = metrics_.status;
  published_at_s_ = last_sample_s_;
  // Where neither inputs nor demand moved, the candidates are those of the last curve.
  const auto last = std::exchange(last_, nullptr);
  if (last && !curve->urgent && !demand_moved(any_change) && last->target == curve->target && !standing_moved_ && !floor_moved) {
    auto refreshed = std::make_shared<capacity_curve>(*last);
    refreshed->version = curve->version;
    refreshed->metrics = curve->metrics;
    refreshed->measured = curve->measured;
    refreshed->current.itl_ms = curve->current.itl_ms;
    refreshed->current.ttft_ms = curve->current.ttft_ms;
    refreshed->current.wait_ms = curve->current.wait_ms;
    refreshed->objectives = objectives(*refreshed);
    refreshed->urgent = false;
    refreshed->ready = curve->ready;
    refreshed->moment = curve->moment;
    refreshed->sampled_s = curve->sampled_s;
    return last_ = std::move(refreshed);
  }
  standing_moved_ = false;
  published_ = demand_;

  const auto& object = *inputs_->object;
  // What is wrong with the spec comes first, whatever else is missing.
  const auto with_spec = [&](std::string message) {
    return object.problem.empty() ? message : message.empty() ? object.problem : object.problem + "; " + message;
  };
  if (unusable(object)) {
    hold(*curve, "InvalidSpec", with_spec(inputs_->target ? std::string() : curve->target.message));
    return curve;
  }
  if (!inputs_->shared) return hold(*curve, "ConfigMissing", with_spec("the controller's ConfigMaps are not complete")), curve;
  const auto* cls = inputs_->shared->find_class(object);
  if (!cls) {
    hold(*curve, "UnknownServiceClass",
         with_spec(
             fmt::format("spec.sloClassRef: no service class for name \"{}\", key \"{}\"", object.class_name, object.class_key)));
    return curve;
  }
  curve->class_name = cls->name;
  curve->priority = cls->priority;
  const auto target =
      std::find_if(cls->targets.begin(), cls->targets.end(), [&](const auto& t) { return t.model == object.model_id; });
  if (target == cls->targets.end()) {
    hold(*curve, "NoTargetForModel",
         with_spec(fmt::format("service class \"{}\" has no target for model \"{}\"", cls->name, object.model_id)));
    return curve;
  }
  curve->slo = target->slo;
  curve->objectives = objectives(*curve);
  if (serves_no_more()) curve->orphaned = curve->moment;
  if (!inputs_->target) {
    curve->pool = pool_name(*cls);
    // TargetResolved has the other reason.
    hold(*curve, object.problem.empty() ? "TargetNotFound" : "InvalidSpec",
         with_spec(inputs_->target_problem.empty()
                       ? fmt::format("{} {}/{} not found", object.target.kind, key_.ns, object.target.name)
                       : inputs_->target_problem));
    return curve;
  }
  if (curve->changing()) return hold_for_change(*curve), curve;
  if (curve->current.accelerator.empty() && object.profiles.size() > 1) {
    std::string names;
    for (const auto& p : object.profiles) names += (names.empty() ? "" : ", ") + p.acc;
    hold(*curve, "UnknownAccelerator",
         with_spec(fmt::format(
             "label inference.optimization/acceleratorName: missing; which of {} the target runs on is not known", names)));
    return curve;
  }
  // A target scaled to zero has no pods that could report: what it needs is known without metrics.
  if (nothing_runs() && !estimate_) estimate_ = model::load_estimate{};
  const bool undecidable = families_missing_ || lengths_unknown();
  if (undecidable && !nothing_runs()) return hold(*curve, metrics_.reason, metrics_.message), curve;
  const auto base = *curve;
  evaluate(*curve, server, *cls);
  pooled_ = !curve->pool.empty();
  // Silence alone never takes a replica away.
  curve->yields = curve->hold && curve->hold_reason == "Infeasible" && metrics_.status && !knows_little();
  if (nothing_runs() && object.min_replicas == 0 && waiting_ > 0) return woken(base, *cls, curve);
  if (curve->hold) return curve;
  const bool pending = !metrics_.status && metrics_.reason != "MetricsIncomplete" && !nothing_runs();
  if (pending) hold(*curve, metrics_.reason, metrics_.message);
  curve->starting = pending && (!has_served_ || curve->orphaned);
  // Said, but the good entries are used.
  if (!curve->hold) curve->hold_message = with_spec(std::move(curve->hold_message));
  if (!curve->hold) last_ = curve;
  return curve;
}

}  // namespace inferno::actors

#include "actors/actuator.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <caf/actor_clock.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/backoff.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

enum : int { give_up = -1 };  ///< other ticks carry the epoch they belong to

int tick_of(std::uint64_t epoch) { return static_cast<int>(epoch % (1 << 30)); }

std::string decimal(double x) { return fmt::format("{:.2f}", x); }

bool not_found(const net::error& e) { return e.kind == net::error_kind::status && e.status == 404; }

/// Errors no repetition mends soon: the API understood and refused.
bool final_error(const net::error& e) {
  return e.kind == net::error_kind::status && e.status >= 400 && e.status < 500 && e.status != 409 && e.status != 429 &&
         e.status != 408;
}

const kube::resource& resource_of(const capacity_curve& c) {
  if (c.target_resource) return *c.target_resource;
  return c.target_key.kind == "StatefulSet" ? kube::resources::statefulsets : kube::resources::deployments;
}

/// What stands in the way of a decision that somebody else carries out.
condition target_condition(const decision& d) {
  auto out = d.curve->target;
  const int most = d.curve->ceiling();
  if (most > 0 && d.desired.num_replicas > most) {
    out.reason = "AutoscalerLimits";
    out.message =
        fmt::format("{} allows at most {} replicas, {} are wanted", d.curve->autoscaler->shown(), most, d.desired.num_replicas);
  }
  return out;
}

}  // namespace

json::object make_status(const decision& d) {
  const auto& c = *d.curve;
  json::object load{{"arrivalRate", decimal(c.measured.arrival_rate.per_min())},
                    {"avgInputTokens", decimal(c.measured.shape.in_tokens)},
                    {"avgOutputTokens", decimal(c.measured.shape.out_tokens)},
                    {"avgLength", decimal(c.measured.shape.out_tokens)}};
  json::object current{{"accelerator", c.current.accelerator},      {"numReplicas", c.current.num_replicas},
                       {"maxBatch", c.current.max_batch},           {"variantCost", decimal(c.current.cost.cents)},
                       {"itlAverage", decimal(c.current.itl_ms)},   {"waitAverage", decimal(c.current.wait_ms)},
                       {"ttftAverage", decimal(c.current.ttft_ms)}, {"load", std::move(load)}};
  json::object desired{
      {"accelerator", d.desired.accelerator}, {"numReplicas", d.desired.num_replicas}, {"maxBatch", d.desired.max_batch}};
  return {{"currentAlloc", std::move(current)}, {"desiredOptimizedAlloc", std::move(desired)}};
}

kube_api::object_done actuator_state::completion() {
  in_flight = true;
  auto handle = actuator_actor{self};
  return [handle, at = epoch, what = static_cast<int>(step)](net::result<json::object> r) {
    caf::anon_send(handle, api_result{what, at, std::make_shared<const net::result<json::object>>(std::move(r))});
  };
}

void actuator_state::take_next() {
  current = std::exchange(next, nullptr);
  // In dry-run nothing is written, the object's status neither: it may be another controller's.
  step = current->curve->mode == actuation_mode::dry_run ? actuation_step::done : actuation_step::read;
  scaled_from = -1;
  applied = true;
  apply_problem.clear();
  done.reset();
  refused = false;
  proceed();
}

/// Issues the first step that has something to do.
void actuator_state::proceed() {
  if (!leading || stopping) return;
  while (step != actuation_step::done && !issue()) step = static_cast<actuation_step>(static_cast<int>(step) + 1);
  if (step != actuation_step::done) return;
  backoff = std::chrono::milliseconds(0);
  // A right may be given, a token renewed, a webhook mended without anybody's telling: an idle variant gets no other decision.
  if (!next && refused) {
    next = current;
    retry_after(config.retry_max);
  }
  const bool later = next == current;
  current = nullptr;
  if (next && !later) take_next();
}

/// The same, or what is newest then, after a while.
void actuator_state::retry_after(std::chrono::milliseconds pause) {
  self->delayed_send(self, jittered(pause, fmt::format("{}/{} {}", config.key.ns, config.key.name, epoch)), tick{tick_of(epoch)});
}

bool actuator_state::issue() {
  switch (step) {
    case actuation_step::read:
      return start_read();
    case actuation_step::label:
      return start_label();
    case actuation_step::change:
      return start_change();
    case actuation_step::look:
      return start_look();
    case actuation_step::scale:
      return start_scale();
    case actuation_step::event:
      return start_event();
    case actuation_step::owner:
      return start_owner();
    case actuation_step::status:
      return start_status();
    case actuation_step::done:
      break;
  }
  return false;
}

void actuator_state::tell_event(std::string reason, std::string message) {
  done = std::make_unique<done_event>(done_event{std::move(reason), std::move(message)});
}

/// The scale as it is now: whoever wrote it since the decision, a leader after us above all, is not overruled by a patch that
/// comes late.
bool actuator_state::start_look() {
  as_read.reset();
  const auto& d = *current;
  const int now = d.curve->current.num_replicas;
  const bool there = d.desired.num_replicas == now;
  // The watch has shown what came of the last patch, or something else.
  if (asked.from != now) asked = {};
  if (unanswered.to == now) scaled(unanswered.from, unanswered.to);
  if (unanswered.from != now) unanswered = {};
  if (d.hold || !d.curve->actuate) {
    applied = !d.hold && there;
    return false;
  }
  // The autoscaler that reads the metric scales.
  if (d.curve->mode == actuation_mode::metric) {
    applied = there && !d.changes_accelerator();
    return false;
  }
  // On its way: the Deployment says how far.
  if (d.changes_accelerator()) {
    applied = false;
    return false;
  }
  if (there) return false;
  if (asked.to == d.desired.num_replicas && self->clock().now() - asked.at < config.echo_patience) return false;
  config.api->get(resource_of(*d.curve), {d.curve->target_key.ns, d.curve->target_key.name}, "scale", kube_api::turn::first,
                  completion());
  return true;
}

void actuator_state::looked(const json::object& scale) {
  const auto& d = *current;
  const auto replicas = static_cast<int>(kube::integer_at(scale, {"spec", "replicas"}, 0));
  if (replicas == d.desired.num_replicas) {
    applied = true;
    asked = {d.curve->current.num_replicas, d.desired.num_replicas, self->clock().now()};
    if (unanswered.to == replicas) scaled(unanswered.from, unanswered.to);
  } else if (replicas == d.curve->current.num_replicas) {
    as_read = std::make_shared<const json::object>(scale);
  } else {
    // The decision is about a past state; the watch brings the present one, and with it another decision.
    applied = false;
    refused = true;
    config.logger.info("Scale was written by somebody else", {{"variant", config.key.name},
                                                              {"namespace", config.key.ns},
                                                              {"decided_at", d.curve->current.num_replicas},
                                                              {"found", replicas}});
  }
  unanswered = {};
}

bool actuator_state::start_scale() {
  if (!as_read) return false;
  const auto& d = *current;
  scaled_from = d.curve->current.num_replicas;
  attempt_time = kube::format_time(config.now());
  config.api->merge_patch(
      resource_of(*d.curve), {d.curve->target_key.ns, d.curve->target_key.name},
      json::object{{"metadata", json::object{{"resourceVersion", kube::text_at(*as_read, {"metadata", "resourceVersion"})}}},
                   {"spec", json::object{{"replicas", d.desired.num_replicas}}}},
      "scale", completion());
  return true;
}

/// A scale patch of ours took effect.
void actuator_state::scaled(int from, int to) {
  const auto& d = *current;
  success_time = kube::format_time(config.now());
  tell_event(
      to > from ? "ScaledUp" : "ScaledDown",
      fmt::format("Scaled {} {} from {} to {} replicas for {:.2f} requests/min on {}", d.curve->target_key.kind,
                  d.curve->target_key.name, from, to, d.curve->current.load.arrival_rate.per_min(), d.desired.accelerator));
  config.logger.info(
      "Patched " + d.curve->target_key.kind,
      {{"name", d.curve->target_key.name}, {"namespace", d.curve->target_key.ns}, {"from", from}, {"num-replicas", to}});
  self->send(config.board, scaling_done{config.key, from, to, d.reason});
}

bool actuator_state::start_event() {
  if (!done) return false;
  const auto now = config.now();
  const auto stamp = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  json::object event{
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"metadata", json::object{{"name", fmt::format("{}.{:x}", config.key.name, stamp)}, {"namespace", config.key.ns}}},
      {"involvedObject", json::object{{"apiVersion", "llmd.ai/v1alpha1"},
                                      {"kind", "VariantAutoscaling"},
                                      {"name", config.key.name},
                                      {"namespace", config.key.ns}}},
      {"reason", done->reason},
      {"message", done->message},
      {"type", done->reason.ends_with("Failed") ? "Warning" : "Normal"},
      {"count", 1},
      {"firstTimestamp", kube::format_time(now)},
      {"lastTimestamp", kube::format_time(now)},
      {"source", json::object{{"component", "inferno"}}},
      {"reportingComponent", "inferno"}};
  config.api->create(kube::resources::events, config.key.ns, std::move(event), completion());
  return true;
}

bool actuator_state::start_owner() {
  const auto& uid = current->curve->owner_uid_needed;
  if (uid.empty() || !current->curve->actuate) return false;
  const auto& res = resource_of(*current->curve);
  json::object owner{{"apiVersion", res.group.empty() ? res.version : res.group + "/" + res.version},
                     {"kind", current->curve->target_key.kind},
                     {"name", current->curve->target_key.name},
                     {"uid", uid},
                     {"controller", true},
                     {"blockOwnerDeletion", false}};
  config.api->merge_patch(kube::resources::variantautoscalings, config.key,
                          json::object{{"metadata", json::object{{"ownerReferences", json::array{std::move(owner)}}}}}, "",
                          completion());
  return true;
}

std::chrono::system_clock::time_point actuator_state::condition_since(const std::string& type, bool status,
                                                                      std::chrono::system_clock::time_point now) {
  for (auto& [known, age] : condition_ages) {
    if (known != type) continue;
    if (age.status != status) age = {status, now};
    return age.since;
  }
  condition_ages.push_back({type, {status, now}});
  return now;
}

bool actuator_state::start_status() {
  const auto& d = *current;
  auto status = make_status(d);
  const auto now = config.now();
  const bool ready = !d.hold && d.reason == "Optimized" && apply_problem.empty();
  auto message = d.message.empty() ? fmt::format("{} x {} predicted ITL {:.2f} ms, TTFT {:.2f} ms", d.desired.num_replicas,
                                                 d.desired.accelerator, d.desired.itl_ms, d.desired.ttft_ms)
                                   : d.message;
  if (!apply_problem.empty()) message = apply_problem;
  std::vector<condition> conditions{
      d.curve->metrics,
      {"OptimizationReady", ready, apply_problem.empty() ? d.reason : "ActuationFailed", std::move(message)},
      target_condition(d)};
  json::array list;
  for (const auto& c : conditions) {
    if (c.type.empty()) continue;
    const auto since = condition_since(c.type, c.status, now);
    list.push_back(json::object{{"type", c.type},
                                {"status", c.status ? "True" : "False"},
                                {"reason", c.reason.empty() ? "Unknown" : c.reason},
                                {"message", c.message},
                                {"lastTransitionTime", kube::format_time(since)},
                                {"observedGeneration", d.curve->generation}});
  }
  status["conditions"] = std::move(list);
  json::object actuation{{"applied", applied}};
  if (!attempt_time.empty()) actuation["lastAttemptTime"] = attempt_time;
  if (!success_time.empty()) actuation["lastSuccessTime"] = success_time;
  status["actuation"] = std::move(actuation);
  const auto shape = std::hash<std::string>{}(json::serialize(status));
  if (shape == status_written) return false;
  status_written = shape;
  status["desiredOptimizedAlloc"].as_object()["lastRunTime"] = kube::format_time(now);
  config.api->merge_patch(kube::resources::variantautoscalings, config.key, json::object{{"status", std::move(status)}}, "status",
                          completion());
  return true;
}

void actuator_state::finished(const net::result<json::object>& result) {
  if (!result) return failed(result.error());
  // What can be read need not be writable.
  if (step != actuation_step::read && step != actuation_step::look) backoff = std::chrono::milliseconds(0);
  const auto& d = *current;
  if (step < actuation_step::event) apply_problem.clear();
  if (step == actuation_step::look) looked(*result);
  if (step == actuation_step::scale) {
    as_read.reset();
    applied = true;
    asked = {scaled_from, d.desired.num_replicas, self->clock().now()};
    scaled(scaled_from, d.desired.num_replicas);
  }
  if (step == actuation_step::read) as_read = std::make_shared<const json::object>(*result);
  if (step == actuation_step::change) {
    success_time = kube::format_time(config.now());
    if (done)
      config.logger.info(
          "Changed accelerator",
          {{"variant", config.key.name}, {"namespace", config.key.ns}, {"what", done->reason}, {"message", done->message}});
  }
  if (step == actuation_step::status)
    config.logger.debug("Updated status",
                        {{"variant", config.key.name}, {"namespace", config.key.ns}, {"desired", d.desired.num_replicas}});
  // A newer decision makes the rest of this one moot, except the event of something that happened.
  if (next && !done && step != actuation_step::change) return take_next();
  step = static_cast<actuation_step>(static_cast<int>(step) + 1);
  proceed();
}

void actuator_state::failed(const net::error& error) {
  static constexpr std::string_view names[] = {"read", "label", "change", "look", "scale", "event", "owner", "status", "done"};
  const auto what = names[static_cast<std::size_t>(step)];
  config.logger.warn("API call failed", {{"variant", config.key.name},
                                         {"namespace", config.key.ns},
                                         {"call", what},
                                         {"error", error.message},
                                         {"status", error.status}});
  self->send(config.board, error_noted{"actuator", std::string(what)});
  if (step == actuation_step::status) status_written.reset();
  if (step < actuation_step::event) {
    applied = false;
    apply_problem = error.message;
    // Whether a patch without an answer took effect, the next look tells, or the watch.
    const bool lost = error.kind != net::error_kind::status && error.kind != net::error_kind::cancelled;
    if (step == actuation_step::scale && lost) unanswered = {scaled_from, current->desired.num_replicas};
    scaled_from = -1;
    done.reset();
  }
  // The Deployment was written meanwhile: what is to be done is asked of the new one.
  if (step == actuation_step::change && error.status == 409) step = actuation_step::read;
  if (step == actuation_step::scale && !final_error(error)) {
    step = actuation_step::look;
    // Pods come and go while a target is scaled: the first time it is looked at again at once.
    if (error.status == 409 && backoff.count() == 0) {
      backoff = config.retry_min;
      return proceed();
    }
  }
  // Events are told once or not at all; what is refused for good, or gone, is not asked for again by this decision.
  if (step == actuation_step::event || final_error(error)) {
    refused = refused || (step != actuation_step::event && !not_found(error));
    step = static_cast<actuation_step>(static_cast<int>(step) + 1);
    return proceed();
  }
  backoff = std::clamp(backoff * 2, config.retry_min, config.retry_max);
  if (error.retry_after) backoff = std::max(backoff, *error.retry_after);
  retry_after(backoff);
}

actuator_actor::behavior_type actuator(actuator_actor::stateful_pointer<actuator_state> self, actuator_config config) {
  self->state.self = self;
  self->state.leading = config.leading;
  self->state.config = std::move(config);
  return {
      [self](const decision_made& m) {
        auto& s = self->state;
        if (!s.leading || s.stopping) return;
        s.next = m.what;
        if (!s.current) s.take_next();
      },
      [self](const api_result& r) {
        auto& s = self->state;
        if (r.epoch != s.epoch) return;
        s.in_flight = false;
        ++s.epoch;
        // Without the lease nothing is begun any more; the new leader decides for itself.
        if (!s.leading) s.current = s.next = nullptr;
        if (s.current) s.finished(*r.result);
        if (s.stopping && !s.in_flight) self->quit();
      },
      [self](const leadership& m) {
        auto& s = self->state;
        s.leading = m.leading;
        if (!m.leading && !s.in_flight) s.current = s.next = nullptr;
        // What another leader wrote meanwhile is not known here.
        if (m.leading) s.status_written.reset();
        s.asked = {};
        s.unanswered = {};
      },
      [self](stop_request) {
        self->state.stopping = true;
        if (!self->state.in_flight) return self->quit();
        self->delayed_send(self, self->state.config.stop_patience, tick{give_up});
      },
      [self](const tick& t) {
        auto& s = self->state;
        if (t.what == give_up) return self->quit();
        if (s.in_flight || t.what != tick_of(s.epoch)) return;
        // The newest decision replaces the one that could not be carried out.
        if (s.next) return s.take_next();
        if (s.current) s.proceed();
      },
  };
}

}  // namespace inferno::actors

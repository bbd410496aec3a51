#include "actors/actuator.hpp"

#include <fmt/format.h>

#include <caf/actor_clock.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/backoff.hpp"
#include "actors/death.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

/// Other ticks carry the epoch of the track they belong to.
enum : int { give_up = -1, report_ticks = 1 << 29 };
/// Added to the steps of reports in api_result.
constexpr int report_results = 100;

int tick_of(std::uint64_t epoch) { return static_cast<int>(epoch % report_ticks); }

/// "for 60.00 requests/min on A100", or what set the number of replicas instead of the load.
std::string cause_of(const decision& d, int from, int to) {
  const auto& c = *d.curve;
  const double per_min = c.current.load.arrival_rate.per_min();
  const auto object = c.basis ? c.basis->object : nullptr;
  const auto bound = [&](const char* field) {
    return fmt::format("on {}: {} is {}, {:.2f} requests/min need {}", d.desired.accelerator, field, to, per_min, d.needed);
  };
  if (object && d.needed >= 0 && d.needed < to && to > from && object->min_replicas == to) return bound("spec.minReplicas");
  if (object && d.needed < 0 && to > from && object->min_replicas == to)
    return fmt::format("on {}: spec.minReplicas is {}", d.desired.accelerator, to);
  if (object && d.needed > to && object->max_replicas == to) return bound("spec.maxReplicas");
  if (d.reason != "Optimized" && d.reason != "MaxReplicasReached" && !d.message.empty())
    return fmt::format("on {}: {}", d.desired.accelerator, d.message);
  if (d.pool && d.pool->members.size() > 1)
    return fmt::format("on {}, for its part of the {:.2f} requests/min that {} variants share", d.desired.accelerator,
                       d.pool->demand.per_min(), d.pool->members.size());
  return fmt::format("for {:.2f} requests/min on {}", per_min, d.desired.accelerator);
}

actuation_step after(actuation_step s) { return static_cast<actuation_step>(static_cast<int>(s) + 1); }

}  // namespace

bool final_error(const net::error& e) {
  return e.kind == net::error_kind::status && e.status >= 400 && e.status < 500 && e.status != 409 && e.status != 429 &&
         e.status != 408;
}

const kube::resource& target_resource_of(const capacity_curve& c) {
  if (c.target_resource) return *c.target_resource;
  return c.target_key.kind == "StatefulSet" ? kube::resources::statefulsets : kube::resources::deployments;
}

// ---- acting -------------------------------------------------------------------------------------------------------------------

kube_api::object_done actuator_state::completion() {
  in_flight = true;
  return [handle = actuator_actor{self}, at = epoch, what = static_cast<int>(step)](net::result<json::object> r) {
    caf::anon_send(handle, api_result{what, at, std::make_shared<const net::result<json::object>>(std::move(r))});
  };
}

void actuator_state::take_next() {
  current = std::exchange(next, nullptr);
  step = actuation_step::read;
  scaled_from = -1;
  applied = true;
  apply_problem.clear();
  begun.reset();
  refused = false;
  // In dry-run nothing is written, the object's status neither: it may be another controller's.
  if (current->curve->mode == actuation_mode::dry_run) {
    current = nullptr;
    step = actuation_step::done;
    report_next.reset();
    return;
  }
  proceed();
}

/// Issues the first step that has something to do.
void actuator_state::proceed() {
  if (!leading() || stopping) return;
  while (step != actuation_step::done && !issue()) step = after(step);
  if (step != actuation_step::done) return;
  backoff = std::chrono::milliseconds(0);
  const auto what = std::exchange(current, nullptr);
  report({what, applied, apply_problem});
  if (next) return take_next();
  // Nothing notifies the controller when a permission is granted, a token renewed or a webhook repaired, and an idle variant gets
  // no other decision: it retries.
  if (!refused) return;
  next = what;
  retry_after(config.retry_max);
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
    case actuation_step::done:
      break;
  }
  return false;
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
  config.api->get(target_resource_of(*d.curve), {d.curve->target_key.ns, d.curve->target_key.name}, "scale", kube::lane::scale,
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
  } else if (replicas == d.curve->current.num_replicas || (replicas == written && d.desired.num_replicas > replicas)) {
    // Also when it is what was last written here, which a watch that lags has not shown yet: more is wanted all the same.
    as_read = std::make_shared<const json::object>(scale);
  } else {
    // The decision is about a past state; the watch brings the present one, and with it another decision.
    applied = false;
    refused = true;
    config.logger.info("Scale was changed by another writer", {{"variant", config.key.name},
                                                               {"namespace", config.key.ns},
                                                               {"decided_at", d.curve->current.num_replicas},
                                                               {"found", replicas}});
  }
  unanswered = {};
}

bool actuator_state::start_scale() {
  if (!as_read) return false;
  const auto& d = *current;
  scaled_from = static_cast<int>(kube::integer_at(*as_read, {"spec", "replicas"}, d.curve->current.num_replicas));
  attempt_time = kube::format_time(config.now());
  config.api->merge_patch(
      target_resource_of(*d.curve), {d.curve->target_key.ns, d.curve->target_key.name},
      json::object{{"metadata", json::object{{"resourceVersion", kube::text_at(*as_read, {"metadata", "resourceVersion"})}}},
                   {"spec", json::object{{"replicas", d.desired.num_replicas}}}},
      "scale", completion());
  return true;
}

/// A scale patch of ours took effect.
void actuator_state::scaled(int from, int to) {
  const auto& d = *current;
  success_time = kube::format_time(config.now());
  add_event(
      {to > from ? "ScaledUp" : "ScaledDown", fmt::format("Scaled {} {} from {} to {} replicas {}", d.curve->target_key.kind,
                                                          d.curve->target_key.name, from, to, cause_of(d, from, to))});
  config.logger.info(
      "Patched " + d.curve->target_key.kind,
      {{"name", d.curve->target_key.name}, {"namespace", d.curve->target_key.ns}, {"from", from}, {"num-replicas", to}});
  self->send(config.board, scaling_done{config.key, from, to, d.reason});
}

void actuator_state::finished(const net::result<json::object>& result) {
  if (!result) return failed(result.error());
  // What can be read need not be writable.
  if (step != actuation_step::read && step != actuation_step::look) backoff = std::chrono::milliseconds(0);
  const auto& d = *current;
  apply_problem.clear();
  if (step == actuation_step::look) looked(*result);
  if (step == actuation_step::scale) {
    as_read.reset();
    applied = true;
    asked = {d.curve->current.num_replicas, d.desired.num_replicas, self->clock().now()};
    written = d.desired.num_replicas;
    scaled(scaled_from, d.desired.num_replicas);
  }
  if (step == actuation_step::read) as_read = std::make_shared<const json::object>(*result);
  if (step == actuation_step::change) {
    success_time = kube::format_time(config.now());
    if (begun) {
      config.logger.info(
          "Changed accelerator",
          {{"variant", config.key.name}, {"namespace", config.key.ns}, {"what", begun->reason}, {"message", begun->message}});
      add_event(std::move(*begun));
      begun.reset();
    }
  }
  // A newer decision makes the rest of this one moot.
  if (next && step != actuation_step::change && step != actuation_step::scale) return take_next();
  step = after(step);
  proceed();
}

void actuator_state::note_failure(std::string_view call, const net::error& error) {
  config.logger.warn("API call failed", {{"variant", config.key.name},
                                         {"namespace", config.key.ns},
                                         {"call", call},
                                         {"error", error.message},
                                         {"status", error.status}});
  self->send(config.board, error_noted{"actuator", std::string(call)});
}

void actuator_state::failed(const net::error& error) {
  static constexpr std::string_view names[] = {"read", "label", "change", "look", "scale", "done"};
  note_failure(names[static_cast<std::size_t>(step)], error);
  applied = false;
  apply_problem = error.message;
  // Whether a patch without an answer took effect, the next look tells, or the watch.
  const bool lost = error.kind != net::error_kind::status && error.kind != net::error_kind::cancelled;
  if (step == actuation_step::scale && lost) unanswered = {scaled_from, current->desired.num_replicas};
  scaled_from = -1;
  begun.reset();
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
  // What is refused for good, or gone, is not asked for again by this decision.
  if (final_error(error)) {
    refused = refused || error.status != 404;
    step = after(step);
    return proceed();
  }
  backoff = std::clamp(backoff * 2, config.retry_min, config.retry_max);
  if (error.retry_after) backoff = std::max(backoff, *error.retry_after);
  retry_after(backoff);
}

// ---- messages -----------------------------------------------------------------------------------------------------------------

/// A decision says which term it is of: what is noted there as sent is carried out here, however the news of leadership travels.
void actuator_state::decided(const decision_made& m) {
  if (stopping || m.term <= ended_term) return;
  if (m.term > term) {
    term = m.term;
    // What another leader wrote meanwhile is not known here.
    status_written.reset();
    asked = {};
    unanswered = {};
    written = -1;
  }
  next = m.what;
  if (!current && !in_flight) take_next();
}

void actuator_state::answered(const api_result& r) {
  if (r.step >= report_results) {
    if (r.epoch != report_epoch) return;
    report_in_flight = false;
    ++report_epoch;
    if (reported) {
      report_finished(*r.result);
    } else {
      report_proceed();
    }
  } else {
    if (r.epoch != epoch) return;
    in_flight = false;
    ++epoch;
    if (current) {
      finished(*r.result);
    } else if (next && leading() && !stopping) {
      take_next();
    }
  }
  if (stopping && !in_flight && !report_in_flight) self->quit();
}

/// Without the lease nothing is begun any more; the new leader decides for itself.
void actuator_state::end_term(std::uint64_t which) {
  ended_term = std::max(ended_term, which);
  if (leading()) return;
  current = next = nullptr;
  reported.reset();
  report_next.reset();
  events.clear();
  report_paused = false;
}

void actuator_state::woken(const tick& t) {
  if (t.what == give_up) return self->quit();
  if (!leading() || stopping) return;
  if (t.what >= report_ticks) {
    if (report_in_flight || t.what != report_ticks + tick_of(report_epoch)) return;
    report_paused = false;
    return report_proceed();
  }
  if (in_flight || t.what != tick_of(epoch)) return;
  // The newest decision replaces the one that could not be carried out.
  if (next) return take_next();
  if (current) proceed();
}

void actuator_state::stop() {
  stopping = true;
  if (!in_flight && !report_in_flight) return self->quit();
  self->delayed_send(self, config.stop_patience, tick{give_up});
}

actuator_actor::behavior_type actuator(actuator_actor::stateful_pointer<actuator_state> self, actuator_config config) {
  keep_reason_of_death(self);
  self->state.self = self;
  self->state.config = std::move(config);
  return {
      [self](const decision_made& m) { self->state.decided(m); },
      [self](const api_result& r) { self->state.answered(r); },
      [self](const variant_facts& m) { self->state.config.facts = m; },
      [self](const leadership& m) {
        if (!m.leading) self->state.end_term(m.term);
      },
      [self](stop_request) { self->state.stop(); },
      [self](const tick& t) { self->state.woken(t); },
  };
}

kube_api::object_done actuator_state::report_completion() {
  report_in_flight = true;
  return [handle = actuator_actor{self}, at = report_epoch,
          what = report_results + static_cast<int>(reporting)](net::result<json::object> r) {
    caf::anon_send(handle, api_result{what, at, std::make_shared<const net::result<json::object>>(std::move(r))});
  };
}

void actuator_state::report_after(std::chrono::milliseconds pause) {
  report_paused = true;
  self->delayed_send(self, jittered(pause, fmt::format("{}/{} report {}", config.key.ns, config.key.name, report_epoch)),
                     tick{report_ticks + tick_of(report_epoch)});
}

}  // namespace inferno::actors

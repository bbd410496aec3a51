// The actuator's reports: Events, the owner reference, the status of the VariantAutoscaling.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/actuator.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

std::string decimal(double x) { return fmt::format("{:.2f}", x); }

report_step after(report_step s) { return static_cast<report_step>(static_cast<int>(s) + 1); }

/// What stands in the way of a decision that somebody else carries out.
condition target_condition(const decision& d) {
  auto out = d.curve->target;
  const int most = d.curve->ceiling();
  if (most > 0 && d.desired.num_replicas > most) {
    out.reason = "AutoscalerLimits";
    out.message =
        fmt::format("{} allows at most {} replicas, {} are wanted: raise its maximum, or set spec.maxReplicas to {} as well",
                    d.curve->autoscaler->shown(), most, d.desired.num_replicas, most);
  }
  // KEDA takes a target to zero by itself; its HorizontalPodAutoscaler then does nothing.
  const auto* scaler = d.curve->mode == actuation_mode::metric ? d.curve->autoscaler.get() : nullptr;
  const bool to_zero = scaler && d.desired.num_replicas == 0 && !scaler->owner.empty();
  if (scaler && !d.hold && d.desired.num_replicas < scaler->min_replicas && !to_zero) {
    out.reason = "AutoscalerLimits";
    out.message =
        fmt::format("{} keeps at least {} replicas, {} are wanted: lower its minimum, or set spec.minReplicas to {} as well",
                    scaler->shown(), scaler->min_replicas, d.desired.num_replicas, scaler->min_replicas);
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
  if (c.ready) current["readyReplicas"] = *c.ready;
  json::object desired{
      {"accelerator", d.desired.accelerator}, {"numReplicas", d.desired.num_replicas}, {"maxBatch", d.desired.max_batch}};
  return {{"currentAlloc", std::move(current)}, {"desiredOptimizedAlloc", std::move(desired)}};
}

std::optional<json::object> add_owner(const json::object& variant, json::object owner) {
  json::array owners;
  if (const auto* list = net::kube::find(variant, {"metadata", "ownerReferences"}); list && list->is_array())
    owners = list->get_array();
  const auto same = [&](const json::value& v, std::string_view field) {
    return v.is_object() && net::kube::text_at(v.get_object(), {field}) == net::kube::text_at(owner, {field});
  };
  if (std::any_of(owners.begin(), owners.end(), [&](const auto& o) { return same(o, "uid"); })) return std::nullopt;
  const auto group = [](const json::object& o) {
    const auto version = net::kube::text_at(o, {"apiVersion"});
    return version.substr(0, version.find('/'));
  };
  const auto past = std::find_if(owners.begin(), owners.end(), [&](const auto& o) {
    return same(o, "kind") && same(o, "name") && group(o.get_object()) == group(owner);
  });
  // An object has one controller at most.
  const json::value* gone = past == owners.end() ? nullptr : &*past;
  const bool controlled = std::any_of(owners.begin(), owners.end(), [&](const json::value& o) {
    const auto* controller = &o == gone ? nullptr : net::kube::find(o, {"controller"});
    return controller && controller->is_bool() && controller->get_bool();
  });
  if (controlled) owner["controller"] = false;
  if (past != owners.end()) {
    *past = std::move(owner);
  } else {
    owners.push_back(std::move(owner));
  }
  return json::object{{"metadata", json::object{{"resourceVersion", net::kube::text_at(variant, {"metadata", "resourceVersion"})},
                                                {"ownerReferences", std::move(owners)}}}};
}

void actuator_state::add_event(done_event event) {
  if (events.size() == most_events) events.pop_front();
  events.push_back(std::move(event));
}

/// The newest outcome is reported; one that waits is moot.
void actuator_state::report(outcome o) {
  report_next = std::move(o);
  // A newer outcome does not wait for the pause of an older one's refusal.
  if (report_refused) report_paused = false;
  report_proceed();
}

void actuator_state::report_proceed() {
  if (!leading() || stopping || report_in_flight || report_paused) return;
  // Whatever is at hand is older, and no call of it is under way.
  if (report_next) {
    reported = std::exchange(report_next, std::nullopt);
    reporting = report_step::event;
    report_refused = false;
  }
  if (!reported) return;
  while (reporting != report_step::done && !issue_report()) reporting = after(reporting);
  if (reporting != report_step::done) return;
  report_backoff = std::chrono::milliseconds(0);
  const auto told = std::exchange(reported, std::nullopt);
  if (!report_refused) return;
  // As for what is carried out: nothing announces that it is allowed now.
  report_next = told;
  report_after(config.retry_max);
}

bool actuator_state::issue_report() {
  switch (reporting) {
    case report_step::event:
      return start_event();
    case report_step::owner_look:
      return start_owner_look();
    case report_step::owner:
      return start_owner();
    case report_step::status:
      return start_status();
    case report_step::done:
      break;
  }
  return false;
}

void actuator_state::report_finished(const net::result<json::object>& result) {
  if (!result) return report_failed(result.error());
  report_backoff = std::chrono::milliseconds(0);
  if (reporting == report_step::owner_look) variant_as_read = std::make_shared<const json::object>(*result);
  if (reporting == report_step::status)
    config.logger.debug(
        "Updated status",
        {{"variant", config.key.name}, {"namespace", config.key.ns}, {"desired", reported->what->desired.num_replicas}});
  // Events are reported one after the other.
  if (reporting != report_step::event) reporting = after(reporting);
  report_proceed();
}

void actuator_state::report_failed(const net::error& error) {
  static constexpr std::string_view names[] = {"event", "owner", "owner", "status", "done"};
  note_failure(names[static_cast<std::size_t>(reporting)], error);
  if (reporting == report_step::status) status_written.reset();
  // Events are reported once or not at all.
  if (reporting == report_step::event) return report_proceed();
  if (final_error(error)) {
    report_refused = report_refused || error.status != 404;
    reporting = after(reporting);
    return report_proceed();
  }
  // The object was written meanwhile: its owners are read again, the first time at once.
  if (reporting == report_step::owner && error.status == 409) {
    reporting = report_step::owner_look;
    if (report_backoff.count() == 0) {
      report_backoff = config.retry_min;
      return report_proceed();
    }
  }
  report_backoff = std::clamp(report_backoff * 2, config.retry_min, config.retry_max);
  if (error.retry_after) report_backoff = std::max(report_backoff, *error.retry_after);
  report_after(report_backoff);
}

bool actuator_state::start_event() {
  if (events.empty()) return false;
  const auto done = std::move(events.front());
  events.pop_front();
  const auto now = config.now();
  const auto stamp = std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
  json::object event{
      {"apiVersion", "v1"},
      {"kind", "Event"},
      {"metadata", json::object{{"name", fmt::format("{}.{:x}", config.key.name, stamp)}, {"namespace", config.key.ns}}},
      {"involvedObject", json::object{{"apiVersion", "llmd.ai/v1alpha1"},
                                      {"kind", "VariantAutoscaling"},
                                      {"name", config.key.name},
                                      {"namespace", config.key.ns},
                                      {"uid", config.facts.uid}}},
      {"reason", done.reason},
      {"message", done.message},
      {"type", done.reason.ends_with("Failed") ? "Warning" : "Normal"},
      {"count", 1},
      {"firstTimestamp", kube::format_time(now)},
      {"lastTimestamp", kube::format_time(now)},
      {"source", json::object{{"component", "inferno"}}},
      {"reportingComponent", "inferno"}};
  config.api->create(kube::resources::events, config.key.ns, std::move(event), report_completion());
  return true;
}

/// The owner references as they are: a patch of the list replaces all of it, those of others too.
bool actuator_state::start_owner_look() {
  variant_as_read.reset();
  const auto& c = *reported->what->curve;
  if (c.owner_uid_needed.empty() || !c.actuate) return false;
  config.api->get(kube::resources::variantautoscalings, config.key, "", kube::lane::status, report_completion());
  return true;
}

bool actuator_state::start_owner() {
  if (!variant_as_read) return false;
  const auto& c = *reported->what->curve;
  const auto& res = target_resource_of(c);
  auto patch = add_owner(*variant_as_read, {{"apiVersion", res.group.empty() ? res.version : res.group + "/" + res.version},
                                            {"kind", c.target_key.kind},
                                            {"name", c.target_key.name},
                                            {"uid", c.owner_uid_needed},
                                            {"controller", true},
                                            {"blockOwnerDeletion", false}});
  variant_as_read.reset();
  if (!patch) return false;
  config.api->merge_patch(kube::resources::variantautoscalings, config.key, std::move(*patch), "", report_completion());
  return true;
}

std::chrono::system_clock::time_point actuator_state::condition_since(const std::string& type, const std::string& status,
                                                                      std::chrono::system_clock::time_point now) {
  for (auto& c : config.facts.conditions) {
    if (c.type != type) continue;
    if (c.status != status) {
      c.status = status;
      c.since = now;
    }
    return c.since;
  }
  config.facts.conditions.push_back({type, status, now});
  return now;
}

bool actuator_state::start_status() {
  const auto& d = *reported->what;
  auto status = make_status(d);
  const auto now = config.now();
  const bool ready = !d.hold && d.reason == "Optimized" && reported->problem.empty();
  auto message = d.message;
  // What is said of a part, a profile entry or a pool, does not replace the plan.
  if (ready || message.empty())
    message = fmt::format("{} x {} predicted ITL {:.2f} ms, TTFT {:.2f} ms{}{}", d.desired.num_replicas, d.desired.accelerator,
                          d.desired.itl_ms, d.desired.ttft_ms, message.empty() ? "" : "; ", message);
  if (!reported->problem.empty()) message = fmt::format("{}; decided: {}", reported->problem, message);
  std::vector<condition> conditions{
      d.curve->metrics,
      {"OptimizationReady", ready, reported->problem.empty() ? d.reason : "ActuationFailed", std::move(message)},
      target_condition(d),
      d.curve->objectives};
  if (conditions.back().type.empty())
    conditions.back() = {"ObjectivesMet", false, "ObjectivesUnknown",
                         "the variant's objectives are not known: see OptimizationReady", true};
  json::array list;
  for (const auto& c : conditions) {
    const auto since = condition_since(c.type, c.text(), now);
    list.push_back(json::object{{"type", c.type},
                                {"status", c.text()},
                                {"reason", c.reason.empty() ? "Unknown" : c.reason},
                                {"message", c.message},
                                {"lastTransitionTime", kube::format_time(since)},
                                {"observedGeneration", d.curve->generation}});
  }
  status["conditions"] = std::move(list);
  json::object actuation{{"applied", reported->applied}};
  if (!attempt_time.empty()) actuation["lastAttemptTime"] = attempt_time;
  if (!success_time.empty()) actuation["lastSuccessTime"] = success_time;
  status["actuation"] = std::move(actuation);
  const auto shape = std::hash<std::string>{}(json::serialize(status));
  if (shape == status_written) return false;
  status_written = shape;
  status["desiredOptimizedAlloc"].as_object()["lastRunTime"] = kube::format_time(now);
  config.api->merge_patch(kube::resources::variantautoscalings, config.key, json::object{{"status", std::move(status)}}, "status",
                          report_completion());
  return true;
}

}  // namespace inferno::actors

#include "actors/prometheus_join.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "actors/clocks.hpp"

namespace inferno::actors {
namespace {

using field = counter_field;

/// The fields of each query.
constexpr std::array<std::pair<field, field>, 3> ranges{
    {{field::running, field::arrivals}, {field::prompt_sum, field::generation_count}, {field::itl_sum, field::wait_count}}};

/// Jobs are kept apart, for they say the same twice.
constexpr std::string_view server = "namespace, pod, instance, job, service";
/// The labels by which an engine's own series differ, in all families that are read: its number, and why a request ended
/// (request_success_total). Series of a server that agree in these are copies of one another, whatever else they are labelled
/// with: `endpoint` of a second entry in a ServiceMonitor, `prometheus_replica` or `replica` of a second Prometheus behind
/// Thanos.
constexpr std::string_view series = "model_name, engine, finished_reason";

constexpr double least_silence_s = 5;           ///< a scrape may be late
constexpr double silent_intervals = 3;          ///< without a scrape
constexpr double most_silence_s = 300;          ///< Prometheus itself forgets then
constexpr double end_of_time_s = 253402300800;  ///< the year 10000
/// A scrape may be later than the query by no more than the clocks of two Prometheis differ: until then all others look older.
constexpr double most_ahead_s = 30;

constexpr std::size_t samples_of_others = 250'000;  ///< pods that are no targets, or not yet
constexpr std::size_t samples_a_target = 50;
constexpr std::size_t bytes_a_sample = 512;
constexpr std::size_t rows_of_any = 1024, rows_a_target = 8;  ///< instances and jobs

std::string time_text(double s) { return fmt::format("{:%FT%TZ}", fmt::gmtime(static_cast<std::time_t>(s))); }

std::string metric_names(std::pair<field, field> range) {
  std::string out;
  for (int f = static_cast<int>(range.first); f <= static_cast<int>(range.second); ++f)
    out += (out.empty() ? "" : "|") + std::string(name_of(static_cast<field>(f)));
  return out;
}

}  // namespace

std::array<std::string, 3> prometheus_queries() {
  const auto times = fmt::format(
      "label_replace(max by ({0}, model_name) (timestamp(vllm:num_requests_running)) or "
      "max by ({0}, model_name) (timestamp(vllm:request_success_total)), \"inferno\", \"time\", \"\", \"\")",
      server);
  std::array<std::string, 3> out;
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] =
        fmt::format("max by (__name__, {}, {}) ({{__name__=~\"{}\"}}) or {}", server, series, metric_names(ranges[i]), times);
  // Of copies the earliest start: the largest counter is of the old process until each copy has been scraped anew, and so is
  // this.
  out[0] += fmt::format(
      " or label_replace(min by ({}) (process_start_time_seconds) and on (namespace, pod, instance, job) "
      "vllm:num_requests_running, \"inferno\", \"start\", \"\", \"\")",
      server);
  return out;
}

const std::vector<std::string>& prometheus_labels() {
  static const std::vector<std::string> names{
      "__name__",   "inferno",          "namespace", "pod", "instance", "job", "service", "engine", std::string(finished_reason),
      "model_name", "target_model_name"};
  return names;
}

net::metrics::answer_limits prometheus_limits(std::size_t targets) {
  net::metrics::answer_limits out;
  out.samples = samples_of_others + samples_a_target * targets;
  out.bytes = bytes_a_sample * out.samples;
  return out;
}

std::string gateway_queue_query() {
  constexpr std::string_view by = "sum by (namespace, model_name, target_model_name)";
  return fmt::format(
      "label_replace({0} (llm_d_epp_flow_control_queue_size), \"inferno\", \"present\", \"\", \"\") or "
      "{0} (inference_extension_flow_control_queue_size)",
      by);
}

/// The model that the servers know a request by is the target model; without a rewrite it is left empty.
std::vector<gateway_queue> prometheus_join::queues(const std::vector<net::metrics::vector_sample>& values) {
  using key = std::pair<std::string_view, std::string_view>;
  const auto key_of = [](const net::metrics::vector_sample& v) {
    const auto target = v.label("target_model_name");
    return key{v.label("namespace"), target.empty() ? v.label("model_name") : target};
  };
  std::set<key> present;
  for (const auto& v : values)
    if (!v.label("inferno").empty() && std::isfinite(v.value)) present.insert(key_of(v));
  std::vector<gateway_queue> out;
  for (const auto& v : values) {
    const auto k = key_of(v);
    if (k.second.empty() || !std::isfinite(v.value)) continue;
    if (v.label("inferno").empty() && present.count(k)) continue;
    out.push_back({std::string(k.first), std::string(k.second), v.value});
  }
  return out;
}

prometheus_join::prometheus_join(const std::vector<scrape_target>& targets)
    : most_rows_(rows_of_any + rows_a_target * targets.size()) {
  for (const auto& t : targets) {
    by_instance_[fmt::format("{}:{}", t.ip, t.port)] = &t;
    by_pod_[t.pod] = &t;
  }
}

/// nullptr: not of a target, or of another model.
prometheus_join::row* prometheus_join::row_of(const net::metrics::vector_sample& v) {
  const auto by_pod = by_pod_.find({std::string(v.label("namespace")), std::string(v.label("pod"))});
  const scrape_target* target = by_pod == by_pod_.end() ? nullptr : by_pod->second;
  // Addresses are used again, and by pods of other clusters: a series that names its pod belongs to that pod only.
  if (!target && !v.label("pod").empty()) return nullptr;
  if (!target) {
    const auto it = by_instance_.find(std::string(v.label("instance")));
    if (it == by_instance_.end()) return nullptr;
    target = it->second;
  }
  const auto model = v.label("model_name");
  if (!model.empty() && model != target->model) {
    other_model_of_.try_emplace(target->pod, model);
    return nullptr;
  }
  return make_row(*target, v);
}

prometheus_join::row* prometheus_join::make_row(const scrape_target& target, const net::metrics::vector_sample& v) {
  auto& jobs = rows_[target.pod][std::string(v.label("instance"))];
  const auto [it, added] = jobs.try_emplace({std::string(v.label("job")), std::string(v.label("service"))});
  if (added && ++number_of_rows_ > most_rows_)
    problem_ = fmt::format("Prometheus knows more than {} instances and jobs of {} pods, which is the limit", most_rows_,
                           by_pod_.size());
  return &it->second;
}

void prometheus_join::add(std::size_t query, const net::metrics::vector_sample& v) {
  const auto kind = v.label("inferno");
  const auto f = kind == "start" ? field::started : field_of(v.label("__name__")).value_or(field::fields);
  if (!problem_.empty() || (kind != "time" && f == field::fields)) return;
  auto* r = row_of(v);
  if (!r) return;
  auto& p = r->parts[query];
  if (kind != "time") {
    const auto reason = v.label(finished_reason);
    std::vector<net::metrics::label> labels{{"engine", std::string(v.label("engine"))}};
    if (!reason.empty()) labels.push_back({std::string(finished_reason), std::string(reason)});
    p.values.push_back({f, reason == abort_reason, hash_of(labels), v.value});
  } else if (v.value > p.scraped_s && v.value < end_of_time_s && std::isfinite(v.time_s) && v.value < v.time_s + most_ahead_s) {
    p.scraped_s = v.value;
    p.age_s = std::max(0.0, v.time_s - v.value);
  }
}

/// A job may drop metrics that another keeps.
bool prometheus_join::row::better_than(const row& other) const {
  return std::pair(parts[0].values.size(), parts[0].scraped_s) >
         std::pair(other.parts[0].values.size(), other.parts[0].scraped_s);
}

scraped_server prometheus_join::server_of(const row& r) {
  scraped_server out;
  out.age_s = r.parts[0].age_s;
  out.reading.clock_s = out.reading.wall_s = r.parts[0].scraped_s;
  for (std::size_t i = 0; i < r.parts.size(); ++i) {
    const auto& p = r.parts[i];
    // Of another scrape, whether there has been one in between or another Prometheus has answered.
    if (p.scraped_s != r.parts[0].scraped_s) {
      for (int f = static_cast<int>(ranges[i].first); f <= static_cast<int>(ranges[i].second); ++f)
        out.reading.leave_unread(static_cast<field>(f));
      continue;
    }
    for (const auto& v : p.values) {
      auto problem = out.reading.add(v.field, v.labels, v.number, v.aborted);
      if (v.field != field::started && out.problem.empty()) out.problem = std::move(problem);
    }
  }
  if (const auto twice = out.reading.seal(); !twice.empty() && out.problem.empty())
    out.problem = twice + " is there twice with the same labels";
  return out;
}

std::map<kube::object_key, std::string> prometheus_join::other_models() const {
  auto out = other_model_of_;
  std::erase_if(out, [this](const auto& of) { return rows_.count(of.first) != 0; });
  return out;
}

std::vector<scraped_server> prometheus_join::servers() const {
  std::vector<scraped_server> out;
  for (const auto& [pod, instances] : rows_) {
    for (const auto& [instance, jobs] : instances) {
      const row* best = nullptr;
      for (const auto& [job, r] : jobs)
        if (r.parts[0].scraped_s > 0 && (!best || r.better_than(*best))) best = &r;
      if (!best) continue;
      out.push_back(server_of(*best));
      out.back().target = by_pod_.at(pod);
      out.back().server = instance;
    }
  }
  return out;
}

std::optional<std::string> scrape_rhythm::seen(const kube::object_key& pod, std::optional<double> scraped_s, double age_s,
                                               double window_s) {
  const auto it = heard_.find(pod);
  if (!scraped_s && it == heard_.end()) return std::nullopt;
  auto& h = it == heard_.end() ? heard_[pod] : it->second;
  if (scraped_s && *scraped_s < h.scraped_s - set_back_s) h.scraped_s = *scraped_s;
  if (scraped_s && *scraped_s > h.scraped_s) {
    const double gap = *scraped_s - h.scraped_s;
    // Several jobs, or several Prometheis behind one address, make short gaps between long ones: those count more.
    if (h.scraped_s > 0 && gap <= most_silence_s)
      h.interval_s = h.interval_s > 0 ? h.interval_s + (gap > h.interval_s ? 0.5 : 0.1) * (gap - h.interval_s) : gap;
    h.scraped_s = *scraped_s;
  }
  const double limit = std::clamp(h.interval_s > 0 ? silent_intervals * h.interval_s : window_s, least_silence_s, most_silence_s);
  if (scraped_s && age_s <= limit) return std::string();
  return "not scraped since " + time_text(h.scraped_s);
}

void scrape_rhythm::keep(const std::vector<scrape_target>& targets) {
  if (heard_.size() <= targets.size()) return;
  std::map<kube::object_key, heard> kept;
  for (const auto& t : targets)
    if (auto node = heard_.extract(t.pod)) kept.insert(std::move(node));
  heard_ = std::move(kept);
}

}  // namespace inferno::actors

#include "actors/prometheus_join.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace inferno::actors {
namespace {

enum column : std::size_t {
  success,
  arrivals,
  prompt_sum,
  prompt_count,
  generation_sum,
  generation_count,
  itl_sum,
  itl_count,
  newer_itl_sum,
  newer_itl_count,
  ttft_sum,
  ttft_count,
  wait_sum,
  wait_count,
  in_system_growth,
  running,
  waiting,
  scrapes,
  total,
  columns
};

constexpr std::array<std::string_view, in_system_growth> counters{"vllm:request_success_total",
                                                                  "vllm:request_arrival_total",
                                                                  "vllm:request_prompt_tokens_sum",
                                                                  "vllm:request_prompt_tokens_count",
                                                                  "vllm:request_generation_tokens_sum",
                                                                  "vllm:request_generation_tokens_count",
                                                                  "vllm:time_per_output_token_seconds_sum",
                                                                  "vllm:time_per_output_token_seconds_count",
                                                                  "vllm:inter_token_latency_seconds_sum",
                                                                  "vllm:inter_token_latency_seconds_count",
                                                                  "vllm:time_to_first_token_seconds_sum",
                                                                  "vllm:time_to_first_token_seconds_count",
                                                                  "vllm:request_queue_time_seconds_sum",
                                                                  "vllm:request_queue_time_seconds_count"};

/// A server's engines are one; its jobs are kept apart, for they tell the same twice.
constexpr std::string_view by = "by (namespace, pod, instance, job, service, model_name)";

constexpr double least_silence_s = 5;           ///< a scrape may be late
constexpr double silent_intervals = 3;          ///< without a scrape
constexpr double full_share = 0.75;             ///< of the window
constexpr double new_server_done = 3;           ///< requests before its first scrape
constexpr double most_of_anything = 1e15;       ///< sums and products of such stay finite
constexpr double end_of_time_s = 253402300800;  ///< the year 10000

std::string time_text(double s) { return fmt::format("{:%FT%TZ}", fmt::gmtime(static_cast<std::time_t>(s))); }

pod_sample silent(const kube::object_key& pod, std::string why) {
  pod_sample s;
  s.pod = pod;
  s.problem = std::move(why);
  return s;
}

}  // namespace

std::string prometheus_scraped_query() {
  return fmt::format("max {0} (timestamp(vllm:num_requests_running)) or max {0} (timestamp(vllm:request_success_total))", by);
}

std::vector<std::string> prometheus_queries(std::chrono::milliseconds window) {
  const auto w = fmt::format("{}ms", window.count());
  std::vector<std::string> out;
  for (const auto name : counters) out.push_back(fmt::format("sum {} (rate({}[{}]))", by, name, w));
  out.push_back(
      fmt::format("sum {0} (delta(vllm:num_requests_running[{1}])) + sum {0} (delta(vllm:num_requests_waiting[{1}]))", by, w));
  out.push_back(fmt::format("sum {} (last_over_time(vllm:num_requests_running[{}]))", by, w));
  out.push_back(fmt::format("sum {} (last_over_time(vllm:num_requests_waiting[{}]))", by, w));
  out.push_back(fmt::format("max {} (count_over_time(vllm:num_requests_running[{}]))", by, w));
  out.push_back(fmt::format("sum {} (last_over_time(vllm:request_success_total[{}]))", by, w));
  return out;
}

std::string gateway_queue_query() {
  return "sum by (namespace, model_name, target_model_name) (inference_extension_flow_control_queue_size)";
}

/// The model that the servers know a request by is the target model; without a rewrite it is left empty.
std::vector<gateway_queue> prometheus_join::queues(const std::vector<net::metrics::vector_sample>& values) {
  std::vector<gateway_queue> out;
  for (const auto& v : values) {
    const auto target = v.label("target_model_name");
    const auto model = target.empty() ? v.label("model_name") : target;
    if (!model.empty() && std::isfinite(v.value)) out.push_back({std::string(v.label("namespace")), std::string(model), v.value});
  }
  return out;
}

bool prometheus_join::row::rates() const { return !present.empty() && (present[success] || present[arrivals]); }

/// A job that has just begun to scrape knows no rates yet; of others the one that scraped last knows best.
bool prometheus_join::row::better_than(const row& other) const {
  return std::pair(rates(), scraped_s) > std::pair(other.rates(), other.scraped_s);
}

prometheus_join::prometheus_join(const std::vector<scrape_target>& targets, double now_s, double window_s)
    : now_s_(now_s), window_s_(window_s) {
  for (const auto& t : targets) {
    by_instance_[fmt::format("{}:{}", t.ip, t.port)] = t.pod;
    model_of_[t.pod] = t.model;
  }
}

/// nullptr: not of a target, or of another model.
prometheus_join::row* prometheus_join::row_of(const net::metrics::vector_sample& v) {
  kube::object_key pod{std::string(v.label("namespace")), std::string(v.label("pod"))};
  std::string instance(v.label("instance"));
  auto known = model_of_.find(pod);
  if (known == model_of_.end()) {
    const auto it = by_instance_.find(instance);
    if (it == by_instance_.end()) return nullptr;
    pod = it->second;
    known = model_of_.find(pod);
  }
  const auto model = v.label("model_name");
  if (!model.empty() && model != known->second) return nullptr;
  return &rows_[pod][std::move(instance)][{std::string(v.label("job")), std::string(v.label("service"))}];
}

void prometheus_join::add_scraped(const std::vector<net::metrics::vector_sample>& values) {
  for (const auto& v : values) {
    if (!(v.value > 0 && v.value < end_of_time_s) || !std::isfinite(v.time_s)) continue;
    auto* r = row_of(v);
    if (!r || v.value <= r->scraped_s) continue;
    r->scraped_s = v.value;
    r->age_s = std::max(0.0, v.time_s - v.value);
  }
}

void prometheus_join::add(std::size_t field, const std::vector<net::metrics::vector_sample>& values) {
  for (const auto& v : values) {
    auto* r = row_of(v);
    if (!r) continue;
    if (r->values.empty()) {
      r->values.assign(columns, 0.0);
      r->present.assign(columns, false);
    }
    r->values[field] += v.value;
    r->present[field] = true;
  }
}

std::map<kube::object_key, pod_reading> prometheus_join::readings() const {
  std::map<kube::object_key, pod_reading> out;
  for (const auto& [pod, instances] : rows_) {
    pod_reading reading;
    row sum;
    sum.values.assign(columns, 0.0);
    sum.present.assign(columns, false);
    for (const auto& [instance, jobs] : instances) {
      const auto* best = &jobs.begin()->second;
      for (const auto& [job, r] : jobs) {
        if (r.better_than(*best)) best = &r;
        if (!r.values.empty()) reading.scrapes += r.values[scrapes];
        // Whoever scrapes it, it is not silent.
        if (!(r.scraped_s > sum.scraped_s)) continue;
        sum.scraped_s = r.scraped_s;
        reading.age_s = r.age_s;
      }
      for (std::size_t i = 0; i < best->values.size(); ++i) {
        sum.values[i] += best->values[i];
        sum.present[i] = sum.present[i] || best->present[i];
      }
    }
    if (std::isfinite(sum.scraped_s)) reading.scraped_s = sum.scraped_s;
    reading.total = sum.values[total];
    reading.in_window = sum.values[success] * window_s_;
    reading.sample = sample_of(pod, sum);
    reading.sample.load.time_s = now_s_ - reading.age_s;
    out.emplace(pod, std::move(reading));
  }
  return out;
}

pod_sample prometheus_join::sample_of(const kube::object_key& pod, const row& r) const {
  pod_sample s;
  s.pod = pod;
  const auto* growth = &r.values[in_system_growth];
  const auto bad = std::find_if(r.values.begin(), r.values.end(),
                                [&](const double& v) { return !(std::abs(v) <= most_of_anything) || (v < 0 && &v != growth); });
  if (bad != r.values.end()) {
    const auto field = static_cast<std::size_t>(bad - r.values.begin());
    s.problem = fmt::format("{} is {}", field < counters.size() ? counters[field] : std::string_view("vllm:num_requests"), *bad);
  } else if (!r.present[running] && !r.present[success]) {
    s.problem = "no recent sample";
  }
  auto& l = s.load;
  l.running = r.values[running];
  l.waiting = r.values[waiting];
  // Two scrapes in the window make a rate; before that there is a baseline only.
  if (!s.problem.empty() || !r.rates()) return s;
  const double w = window_s_;
  l.span_s = w;
  l.completions = r.values[success] * w;
  l.arrivals = r.present[arrivals] ? r.values[arrivals] * w : std::max(0.0, l.completions + r.values[in_system_growth]);
  if (r.values[prompt_count] > 0) l.in_tokens = r.values[prompt_sum] / r.values[prompt_count] * l.completions;
  if (r.values[generation_count] > 0) l.out_tokens = r.values[generation_sum] / r.values[generation_count] * l.completions;
  const bool older = r.values[itl_count] > 0;
  l.itl_sum_s = r.values[older ? itl_sum : newer_itl_sum] * w;
  l.itl_count = r.values[older ? itl_count : newer_itl_count] * w;
  l.ttft_sum_s = r.values[ttft_sum] * w;
  l.ttft_count = r.values[ttft_count] * w;
  l.wait_sum_s = r.values[wait_sum] * w;
  l.wait_count = r.values[wait_count] * w;
  return s;
}

double scrape_history::heard::limit_s(double window_s) const {
  return std::max(least_silence_s, interval_s > 0 ? std::min(silent_intervals * interval_s, window_s) : window_s);
}

/// A scrape that was not seen before.
void scrape_history::heard::scraped(const pod_reading& r, double window_s) {
  const double gap = *r.scraped_s - scraped_s;
  // Between looks that are far apart there may have been scrapes all the time.
  if (scraped_s <= 0 || silent || (gap > limit_s(window_s) && r.scrapes < scrapes)) {
    since_s = *r.scraped_s;
    filling = true;
  } else if (r.scrapes <= scrapes || *r.scraped_s - since_s >= full_share * window_s) {
    filling = false;
  }
  // Several jobs, or several Prometheis behind one address, make short gaps between long ones: those count more.
  if (scraped_s > 0 && gap <= window_s)
    interval_s = interval_s > 0 ? interval_s + (gap > interval_s ? 0.5 : 0.1) * (gap - interval_s) : gap;
  silent = false;
  scraped_s = *r.scraped_s;
  scrapes = r.scrapes;
  sample = r.sample;
  const bool is_new = r.total <= 2 * r.in_window + new_server_done;
  if (!filling || is_new || !sample.problem.empty()) return;
  sample.problem = "its series do not fill the rate window yet";
  sample.pending = true;
}

std::vector<pod_sample> scrape_history::judge(const std::vector<scrape_target>& targets,
                                              std::map<kube::object_key, pod_reading> readings, double window_s) {
  std::vector<pod_sample> out;
  std::map<kube::object_key, heard> kept;
  for (const auto& t : targets) {
    const auto r = readings.find(t.pod);
    const auto before = heard_.find(t.pod);
    const bool scraped = r != readings.end() && r->second.scraped_s;
    if (before == heard_.end() && !scraped) {
      if (r != readings.end()) out.push_back(silent(t.pod, "not scraped any more"));
      continue;
    }
    auto& h = kept[t.pod];
    if (before != heard_.end()) h = std::move(before->second);
    if (scraped && *r->second.scraped_s > h.scraped_s) h.scraped(r->second, window_s);
    h.silent = h.silent || !scraped || r->second.age_s > h.limit_s(window_s);
    out.push_back(h.silent ? silent(t.pod, "not scraped since " + time_text(h.scraped_s)) : h.sample);
  }
  heard_ = std::move(kept);
  return out;
}

}  // namespace inferno::actors

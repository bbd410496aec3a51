#include "actors/pod_counters.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace inferno::actors {
namespace {

struct field {
  std::string_view name;
  double pod_counters::*into;
};
constexpr std::array fields{
    field{"vllm:request_success_total", &pod_counters::success},
    field{"vllm:request_arrival_total", &pod_counters::arrivals},
    field{"vllm:request_prompt_tokens_sum", &pod_counters::prompt_sum},
    field{"vllm:request_prompt_tokens_count", &pod_counters::prompt_count},
    field{"vllm:request_generation_tokens_sum", &pod_counters::generation_sum},
    field{"vllm:request_generation_tokens_count", &pod_counters::generation_count},
    field{"vllm:time_per_output_token_seconds_sum", &pod_counters::itl_sum},
    field{"vllm:time_per_output_token_seconds_count", &pod_counters::itl_count},
    field{"vllm:time_to_first_token_seconds_sum", &pod_counters::ttft_sum},
    field{"vllm:time_to_first_token_seconds_count", &pod_counters::ttft_count},
    field{"vllm:request_queue_time_seconds_sum", &pod_counters::wait_sum},
    field{"vllm:request_queue_time_seconds_count", &pod_counters::wait_count},
    field{"vllm:num_requests_running", &pod_counters::running},
    field{"vllm:num_requests_waiting", &pod_counters::waiting},
};

/// Counters, unlike gauges, never go back while a server lives.
bool went_back(const pod_counters& before, const pod_counters& now) {
  return std::any_of(fields.begin(), fields.end(), [&](const field& f) {
    const bool gauge = f.into == &pod_counters::running || f.into == &pod_counters::waiting;
    return !gauge && now.*f.into < before.*f.into;
  });
}

}  // namespace

tl::expected<pod_counters, std::string> read_counters(const net::metrics::exposition& text, std::string_view model,
                                                      double time_s) {
  pod_counters out;
  out.time_s = time_s;
  bool any = false;
  double itl_sum = 0, itl_count = 0;  // the newer name of time_per_output_token
  for (const auto& s : text.samples) {
    if (!model.empty()) {
      const auto of = s.label_value("model_name");
      if (!of.empty() && of != model) continue;
    }
    double* into = nullptr;
    if (s.name == "vllm:inter_token_latency_seconds_sum") into = &itl_sum;
    if (s.name == "vllm:inter_token_latency_seconds_count") into = &itl_count;
    for (const auto& f : fields)
      if (s.name == f.name) into = &(out.*f.into);
    if (!into) continue;
    if (!std::isfinite(s.value)) return tl::unexpected(fmt::format("{} is {}", s.name, s.value));
    any = true;
    *into += s.value;
    if (s.name == "vllm:request_arrival_total") out.has_arrivals = true;
  }
  if (!any)
    return tl::unexpected(model.empty() ? std::string("no vLLM metrics") : fmt::format("no vLLM metrics of model \"{}\"", model));
  if (out.itl_count == 0 && itl_count > 0) {
    out.itl_sum = itl_sum;
    out.itl_count = itl_count;
  }
  return out;
}

load_sample difference(const pod_counters& last, const pod_counters& now) {
  pod_counters before = last;
  if (went_back(last, now)) {
    // All counters began anew, those too that are already above what they were.
    before = {};
    before.time_s = last.time_s;
    before.has_arrivals = last.has_arrivals;
  }
  load_sample d;
  d.time_s = now.time_s;
  d.span_s = now.time_s - before.time_s;
  d.running = now.running;
  d.waiting = now.waiting;
  d.completions = now.success - before.success;
  const double in_system = now.running + now.waiting - before.running - before.waiting;
  d.arrivals =
      now.has_arrivals && before.has_arrivals ? now.arrivals - before.arrivals : std::max(0.0, d.completions + in_system);
  // Token sums are taken per counted request: the mean is what is asked for, whichever requests the histograms have seen.
  const double prompts = now.prompt_count - before.prompt_count;
  const double generations = now.generation_count - before.generation_count;
  if (prompts > 0) d.in_tokens = (now.prompt_sum - before.prompt_sum) / prompts * d.completions;
  if (generations > 0) d.out_tokens = (now.generation_sum - before.generation_sum) / generations * d.completions;
  d.itl_sum_s = now.itl_sum - before.itl_sum;
  d.itl_count = now.itl_count - before.itl_count;
  d.ttft_sum_s = now.ttft_sum - before.ttft_sum;
  d.ttft_count = now.ttft_count - before.ttft_count;
  d.wait_sum_s = now.wait_sum - before.wait_sum;
  d.wait_count = now.wait_count - before.wait_count;
  return d;
}

}  // namespace inferno::actors

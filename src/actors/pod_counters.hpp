#pragma once
// vLLM's metrics of one pod, and what two readings of them say about the time between.
#include <string>
#include <string_view>

#include "actors/domain.hpp"
#include "net/metrics/exposition.hpp"

namespace inferno::actors {

/// One reading. Counters are totals since the server started.
struct pod_counters {
  double time_s = 0;
  double success = 0;
  double arrivals = 0;
  bool has_arrivals = false;  ///< vllm:request_arrival_total is exported
  double prompt_sum = 0, prompt_count = 0;
  double generation_sum = 0, generation_count = 0;
  double itl_sum = 0, itl_count = 0;
  double ttft_sum = 0, ttft_count = 0;
  double wait_sum = 0, wait_count = 0;
  double running = 0;
  double waiting = 0;
};

/// Adds up the samples of `model` ("" = all). Error: no vLLM metric at all, or one of them is NaN or infinite; it is named.
tl::expected<pod_counters, std::string> read_counters(const net::metrics::exposition& text, std::string_view model,
                                                      double time_s);

/// What happened between two readings. A counter that went back means a restart: all of them count from zero.
/// Without an arrival counter, arrivals = completions + growth of running and waiting, at least 0.
load_sample difference(const pod_counters& last, const pod_counters& now);

}  // namespace inferno::actors

#pragma once
// One replica under Poisson arrivals in the discrete-event core.
#include <cstdint>

#include "model/queue.hpp"
#include "testbed/vllm/settings.hpp"

namespace inferno::testbed {

struct simulation {
  model::replica_config replica;  ///< valid; shape.out_cv is not used
  length_distribution lengths = length_distribution::exponential;
  model::req_rate rate;
  int requests = 100'000;  ///< in all
  std::uint64_t seed = 1;
  double warm_up = 0.1;  ///< share of them, the first, that is not counted
  double length_cv = 0;  ///< > 0: lengths of a gamma distribution with this coefficient of variation instead of `lengths`
};

/// Means over the counted requests, ms.
struct sample {
  double itl_ms = 0;       ///< decode time over decode steps
  double wait_ms = 0;      ///< arrival to admission
  double boundary_ms = 0;  ///< the part of it in which a place was free: until the iteration under way is over
  double waited = 0;       ///< share of the requests that found no free place
  double ttft_ms = 0;      ///< as the model counts it: without the first step where there is no prefill
  double ttft_p95_ms = 0;  ///< likewise
  model::req_rate rate;    ///< of the arrivals, as the dice fell
  double out_tokens = 0;   ///< mean, as the dice fell
  double out_cv = 0;       ///< standard deviation over mean, as the dice fell
  double over_ms = 0;      ///< first arrival to last token
  double blocked = 0;      ///< share of the requests that found the queue full
};

/// Deterministic: the same input gives the same sample.
sample simulate(const simulation& s);

/// `replica` with the lengths of `s`: what the model is asked about. Near saturation 0.3 % of the load are 3 % of the wait, so a
/// prediction is made for the load that came out of the dice.
model::replica_config as_drawn(const model::replica_config& replica, const sample& s);

}  // namespace inferno::testbed

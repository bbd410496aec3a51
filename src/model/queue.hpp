#pragma once
// The performance model of one replica: a birth-death queue whose service rate depends on the batch (docs/architecture.md).
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "model/quantities.hpp"

namespace inferno::model {

/// Linear profile of a model on an accelerator: decode step(n) = alpha + beta*n ms, prefill(n) = gamma + delta*in*n ms for batch
/// n.
struct linear_profile {
  double alpha_ms = 0;
  double beta_ms = 0;
  double gamma_ms = 0;
  double delta_ms = 0;
  bool has_prefill =
      false;  ///< false: a profile without prefill parameters; prefill(n) = 0 and every output token is a decode step
  bool operator==(const linear_profile&) const = default;
};

/// Mean tokens of a request.
struct request_shape {
  double in_tokens = 0;
  double out_tokens = 0;
  bool operator==(const request_shape&) const = default;
};

/// The analysis takes time proportional to N; a batch beyond this is a mistake in the input, not a server.
inline constexpr int max_batch_limit = 1 << 20;

/// One replica. max_batch N in [1, max_batch_limit]; max_queue Q >= 0 requests wait beyond it.
struct replica_config {
  linear_profile profile;
  request_shape shape;
  int max_batch = 1;
  long max_queue = 10;
  bool operator==(const replica_config&) const = default;
};

/// Steady state of a replica at an arrival rate.
struct replica_metrics {
  req_rate throughput;
  double response_ms = 0;  ///< wait + service
  double wait_ms = 0;
  double in_service = 0;
  double effective_batch = 0;  ///< n with service time(n) = mean service time, in [0, N]
  double prefill_ms = 0;
  double itl_ms = 0;
  double ttft_ms = 0;  ///< wait + prefill
  double busy = 0;     ///< 1 - p(0)
  double rho = 0;      ///< in_service / N
  double blocked = 0;  ///< p(N + Q)
};

/// Latency objectives; 0 = no target. wait_p95_ms is the older `slo-ttw`.
struct slo_targets {
  double itl_ms = 0;
  double ttft_ms = 0;
  double wait_p95_ms = 0;
  double tps = 0;
  bool operator==(const slo_targets&) const = default;
};

/// The highest rate of a replica that meets every target, and the state there.
struct replica_sizing {
  req_rate min_rate;  ///< searched interval: 0.001 mu(1) ...
  req_rate max_rate;  ///< ... 0.999 mu(N)
  req_rate rate_itl;
  req_rate rate_ttft;
  req_rate rate_tps;
  req_rate rate;               ///< the least of them
  std::string_view binding{};  ///< the target that binds: "itl", "ttft", "ttw", "tps", or "" when none does
  replica_metrics at;          ///< analysis at `rate`
};

/// A target that no arrival rate meets: a verdict, not an error.
struct infeasible {
  std::string_view target{};  ///< "itl", "ttft" or "ttw"
  double wanted_ms = 0;
  double best_ms = 0;  ///< attainable at the lowest rate
  std::string reason() const;
};

/// Refuses NaN, infinity, negative values and a profile of zeros; empty = valid. The message names the parameter and the value.
std::optional<std::string> validate(const replica_config&);

/// Refuses NaN, infinity and negative targets; 0 = no target.
std::optional<std::string> validate(const slo_targets&);

/// Steady state at `rate` (> 0). `config` must be valid. Cost: O(N), whatever Q.
replica_metrics analyze(const replica_config& config, req_rate rate);

/// Sizing of one replica. `config` must be valid.
tl::expected<replica_sizing, infeasible> size_replica(const replica_config& config, const slo_targets& targets);

}  // namespace inferno::model

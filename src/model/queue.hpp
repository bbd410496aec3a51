#pragma once
// The performance model of one replica: a birth-death queue whose service rate depends on the batch (docs/model.md).
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "model/profile.hpp"
#include "model/quantities.hpp"

namespace inferno::model {

/// One replica. max_batch N in [1, max_batch_limit]; max_queue Q >= 0 requests wait beyond it.
struct replica_config {
  performance_profile profile;
  request_shape shape;
  int max_batch = 1;
  long max_queue = 10;
  bool operator==(const replica_config&) const = default;
};

/// Steady state of a replica at an arrival rate; means over the requests it accepts.
struct replica_metrics {
  req_rate throughput;
  double response_ms = 0;  ///< wait + service
  double wait_ms = 0;
  double in_service = 0;
  double effective_batch = 0;  ///< n with service time(n) = mean service time, in [0, N]
  double prefill_ms = 0;
  double itl_ms = 0;
  double ttft_ms = 0;  ///< wait + prefill (iteration profile: and one ITL)
  double busy = 0;     ///< 1 - p(0)
  double rho = 0;      ///< in_service / N
  double blocked = 0;  ///< p(N + Q)
};

/// Time to first token that 50, 90, 95 and 99 % of the accepted requests do not exceed, ms.
struct ttft_percentiles {
  double p50 = 0, p90 = 0, p95 = 0, p99 = 0;
  bool operator==(const ttft_percentiles&) const = default;
};

/// The 95th percentile of an exponentially distributed wait over its mean, ln(20): what `slo-ttw` takes waits to be.
inline constexpr double wait_p95_of_mean = 2.995732273553991;

/// Latency objectives; 0 = no target. wait_p95_ms is the older `slo-ttw`: mean wait * wait_p95_of_mean.
struct slo_targets {
  double itl_ms = 0;
  double ttft_ms = 0;
  double wait_p95_ms = 0;
  double tps = 0;
  double ttft_percentile = 0;  ///< which TTFT the target is about: 0 = the mean, else a percentile in (0, 100)
  bool operator==(const slo_targets&) const = default;
};

/// The highest rate of a replica that meets every target, and the state there.
struct replica_sizing {
  req_rate min_rate;  ///< searched interval: 0.001 mu(1) ...
  req_rate max_rate;  ///< ... 0.999 mu(N)
  req_rate rate;
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

/// Refuses NaN, what is outside of model/limits.hpp, and a profile of zeros; empty = valid. The message names the parameter and
/// the value.
std::optional<std::string> validate(const replica_config&);

/// `slo-ttft-percentile` as people write it: "mean" = 0, else a percentile between 0 and 100, as "p95" or "95"; nullopt: neither.
std::optional<double> parse_percentile(std::string_view text);

/// "mean" for 0, "p95" for 95.
std::string percentile_name(double percentile);

/// Refuses NaN and targets outside of model/limits.hpp; 0 = no target.
std::optional<std::string> validate(const slo_targets&);

/// Steady state at `rate` (> 0). `config` must be valid. p(n) = p(n-1) lambda/mu(n), mu(n) = min(n, N)/service time(min(n, N));
/// throughput X = lambda (1 - p(N+Q)), wait = L_q/X by Little's law. With the lengths' variability known, the wait is scaled by
/// (1 + cv^2)/2 of the service times (Allen-Cunneen). Cost: O(N) at most, whatever Q; no allocation.
replica_metrics analyze(const replica_config& config, req_rate rate);

/// What the variation of the lengths makes of the wait of exponential service times: (1 + cv^2)/2 of the service times; 1 when it
/// is not known.
double wait_variability_factor(const replica_config& config);

/// The TTFT that a share `q` in (0, 1) of the accepted requests does not exceed at `rate`, ms. An arrival that finds n < N in the
/// replica is prefilled with batch n + 1 at once; one that finds j waiting waits for j + 1 departures of a full batch (Erlang).
double ttft_quantile_ms(const replica_config& config, req_rate rate, double q);
ttft_percentiles ttft_percentiles_at(const replica_config& config, req_rate rate);

/// Sizing of one replica: the largest rate in [0.001 mu(1), 0.999 mu(N)] that meets every target; with a TPS target at most 0.9
/// of the upper end. `config` must be valid. No allocation.
tl::expected<replica_sizing, infeasible> size_replica(const replica_config& config, const slo_targets& targets);

/// A batch limit and what it gives.
struct batch_choice {
  int max_batch = 1;
  replica_sizing sizing;
};

/// The smallest batch limit in [1, config.max_batch] whose rate is within 2 % of the best of them, by search; `max_queue` is
/// taken as it is, or as `queue_per_batch` times the batch when that is not 0. Infeasible: the verdict of the best batch for the
/// target that fails. About 60 sizings.
tl::expected<batch_choice, infeasible> best_batch(const replica_config& config, const slo_targets& targets,
                                                  long queue_per_batch = 0);

}  // namespace inferno::model

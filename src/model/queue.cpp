#include "model/queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "model/root.hpp"
#include "model/station.hpp"

namespace inferno::model {
namespace {

constexpr double lowest_share = 0.001;
constexpr double highest_share = 0.999;
constexpr double tps_share = 0.9;
/// A flat curve equal to its target must not fail by a rounding error.
constexpr double slack = 1 + 1e-12;
/// Of a rate found by search, and of the latency there.
constexpr double rate_tolerance = 1e-10;
constexpr double latency_tolerance = 1e-13;

/// One latency target: what it is about, and how far a state is from it.
struct latency_target {
  std::string_view name;
  double limit_ms;                 ///< of `value`
  double replica_metrics::*value;  ///< nullptr: a percentile of the TTFT
  double wanted_ms;                ///< as the operator wrote it
  double q = 0;                    ///< share of requests within the limit

  /// <= 0 where the target holds.
  double excess(const station& s, double rate, const replica_metrics& m) const {
    // Logarithms: latencies rise steeply towards saturation, and the root finder likes straight lines.
    if (value) return std::log(std::max(m.*value, 1e-300) / (limit_ms * slack));
    const double beyond = s.ttft_tail(rate, limit_ms * slack);
    return std::log(std::max(beyond, 1e-300) / (1 - q));
  }
};

}  // namespace

std::string infeasible::reason() const {
  return fmt::format("{} target {:.6g} ms cannot be met: {:.6g} ms at the lowest rate", target, wanted_ms, best_ms);
}

std::optional<std::string> validate(const replica_config& c) {
  if (auto problem = validate(c.profile)) return problem;
  if (auto problem = validate(c.shape)) return problem;
  if (!limits::batch.hold(c.max_batch)) return fmt::format("max_batch: expected {}, got {}", limits::batch.text(), c.max_batch);
  if (c.max_queue < 0) return fmt::format("max_queue: expected a number >= 0, got {}", c.max_queue);
  if (times_at(c.profile, c.shape, 1).service_ms <= 0) return std::string("the profile gives a service time of 0");
  return std::nullopt;
}

std::string percentile_name(double percentile) { return percentile > 0 ? fmt::format("p{:g}", percentile) : "mean"; }

std::optional<double> parse_percentile(std::string_view text) {
  if (text == "mean") return 0;
  if (text.substr(0, 1) == "p") text.remove_prefix(1);
  const auto x = parse_number(text);
  return x && *x > 0 && *x < 100 ? x : std::nullopt;
}

std::optional<std::string> validate(const slo_targets& t) {
  const std::array<std::pair<const char*, double>, 5> numbers{{{"slo-itl", t.itl_ms},
                                                               {"slo-ttft", t.ttft_ms},
                                                               {"slo-ttw", t.wait_p95_ms},
                                                               {"slo-tps", t.tps},
                                                               {"slo-ttft-percentile", t.ttft_percentile}}};
  for (const auto& [name, value] : numbers)
    if (!limits::target.hold(value)) return fmt::format("{}: expected {}, got {}", name, limits::target.text(), value);
  if (t.ttft_percentile >= 100) return fmt::format("slo-ttft-percentile: expected a number below 100, got {}", t.ttft_percentile);
  return std::nullopt;
}

replica_metrics analyze(const replica_config& c, req_rate rate) { return station(c).metrics(rate.per_ms()); }

double wait_variability_factor(const replica_config& c) { return station(c).wait_factor(); }

double ttft_quantile_ms(const replica_config& c, req_rate rate, double q) { return station(c).ttft_quantile(rate.per_ms(), q); }

ttft_percentiles ttft_percentiles_at(const replica_config& c, req_rate rate) {
  const station s(c);
  const double x = rate.per_ms();
  return {s.ttft_quantile(x, 0.5), s.ttft_quantile(x, 0.9), s.ttft_quantile(x, 0.95), s.ttft_quantile(x, 0.99)};
}

tl::expected<replica_sizing, infeasible> size_replica(const replica_config& c, const slo_targets& targets) {
  const station replica(c);
  const double low = lowest_share * replica.slowest_rate();
  const double high = highest_share * replica.fastest_rate();
  replica_sizing out;
  out.min_rate = req_rate::per_ms(low);
  out.max_rate = req_rate::per_ms(high);
  const double q = targets.ttft_percentile / 100;
  const std::array<latency_target, 3> latencies{
      {{"ttft", targets.ttft_ms, q > 0 ? nullptr : &replica_metrics::ttft_ms, targets.ttft_ms, q},
       {"itl", targets.itl_ms, &replica_metrics::itl_ms, targets.itl_ms},
       {"ttw", targets.wait_p95_ms / wait_p95_of_mean, &replica_metrics::wait_ms, targets.wait_p95_ms}}};

  double least[3] = {};  // the excess of each target at the lowest rate
  const auto at_low = replica.metrics(low);
  for (std::size_t i = 0; i < latencies.size(); ++i) {
    const auto& l = latencies[i];
    if (l.limit_ms <= 0) continue;
    least[i] = l.excess(replica, low, at_low);
    if (least[i] <= 0) continue;
    const double best = l.value ? at_low.*l.value * (l.wanted_ms / l.limit_ms) : replica.ttft_quantile(low, q);
    return tl::unexpected(infeasible{l.name, l.wanted_ms, best});
  }
  double rate = high;
  if (targets.tps > 0) {
    rate = tps_share * high;
    out.binding = "tps";
  }
  out.at = replica.metrics(rate);
  // Every target rises with the rate: where one is met, the next one searches below. The ITL first: its rate is known nearly
  // beforehand, and the others often hold there.
  for (const std::size_t i : {1u, 0u, 2u}) {
    const auto& l = latencies[i];
    if (l.limit_ms <= 0) continue;
    const double most = l.excess(replica, rate, out.at);
    if (most <= 0) continue;
    const double guess = l.value == &replica_metrics::itl_ms ? replica.rate_for_itl(l.limit_ms) : 0.9 * rate;
    replica_metrics m, met = at_low;
    const auto excess = [&](double at) {
      m = replica.metrics(at);
      const double e = l.excess(replica, at, m);
      if (e <= 0) met = m;
      return e;
    };
    rate = find_root(excess, low, least[i], rate, most, guess, rate_tolerance, latency_tolerance);
    out.at = met;
    out.binding = l.name;
  }
  out.rate = req_rate::per_ms(rate);
  return out;
}

tl::expected<batch_choice, infeasible> best_batch(const replica_config& config, const slo_targets& targets,
                                                  long queue_per_batch) {
  constexpr double near_best = 0.98;
  auto c = config;
  infeasible verdict;
  const auto size = [&](int batch) {
    c.max_batch = batch;
    if (queue_per_batch > 0) c.max_queue = queue_per_batch * batch;
    return size_replica(c, targets);
  };
  const auto rate = [&](int batch) {
    const auto sized = size(batch);
    if (!sized && (verdict.target.empty() || sized.error().best_ms < verdict.best_ms)) verdict = sized.error();
    return sized ? sized->at.throughput.per_sec() : 0.0;
  };
  // Rates rise with the batch until a target stops them, and fall slightly from there: steps of a quarter find the best up to its
  // neighbours, thirds the best between those, bisection the first that is near it.
  double best = 0;
  int before = 0, after = 0;
  std::array<std::pair<int, double>, 64> tried;
  std::size_t n = 0;
  for (int batch = 1; n < tried.size(); batch = std::min(config.max_batch, batch + std::max(1, batch / 4))) {
    tried[n++] = {batch, rate(batch)};
    best = std::max(best, tried[n - 1].second);
    if (batch == config.max_batch) break;
  }
  if (best <= 0) return tl::unexpected(verdict);
  const auto top = static_cast<std::size_t>(
      std::max_element(tried.begin(), tried.begin() + n, [](const auto& a, const auto& b) { return a.second < b.second; }) -
      tried.begin());
  int low = tried[top > 0 ? top - 1 : 0].first, high = tried[std::min(top + 1, n - 1)].first;
  while (high - low > 2) {
    const int third = (high - low) / 3;
    const double a = rate(low + third), b = rate(high - third);
    best = std::max({best, a, b});
    (a < b ? low : high) = a < b ? low + third : high - third;
  }
  best = std::max(best, rate((low + high) / 2));
  for (std::size_t i = 0; i < n; ++i) {
    after = tried[i].first;
    if (tried[i].second >= near_best * best) break;
    before = after;
  }
  while (after - before > 1) {
    const int middle = before + (after - before) / 2;
    (rate(middle) >= near_best * best ? after : before) = middle;
  }
  return batch_choice{after, *size(after)};
}

}  // namespace inferno::model

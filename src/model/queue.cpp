#include "model/queue.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace inferno::model {
namespace {

/// 1/2.9957: an exponential wait's mean over its 95th percentile, 1/ln(20).
const double mean_of_p95 = 1.0 / std::log(20.0);
constexpr double lowest_share = 0.001;
constexpr double highest_share = 0.999;
constexpr double tps_share = 0.9;

/// service time(n) = fixed + slope*n, ms.
struct service_line {
  double fixed_ms;
  double slope_ms;
  double at(double n) const { return fixed_ms + slope_ms * n; }
};

double decode_steps(const replica_config& c) {
  if (!c.profile.has_prefill) return c.shape.out_tokens;
  if (c.shape.in_tokens == 0 && c.shape.out_tokens == 1) return 1;
  return std::max(0.0, c.shape.out_tokens - 1);
}

bool prefills(const replica_config& c) { return c.profile.has_prefill && c.shape.in_tokens > 0; }

service_line line_of(const replica_config& c) {
  const double d = decode_steps(c);
  const auto& p = c.profile;
  service_line s{d * p.alpha_ms, d * p.beta_ms};
  if (prefills(c)) {
    s.fixed_ms += p.gamma_ms;
    s.slope_ms += p.delta_ms * c.shape.in_tokens;
  }
  return s;
}

double prefill_ms(const replica_config& c, double n) {
  return prefills(c) ? c.profile.gamma_ms + c.profile.delta_ms * c.shape.in_tokens * n : 0.0;
}
double decode_ms(const replica_config& c, double n) { return c.profile.alpha_ms + c.profile.beta_ms * n; }

/// Sums over the queue's states j = 1..Q, relative to p(N), and times `scale`, as is everything that goes with them.
struct tail {
  double mass = 0;     ///< sum r^j
  double before = 0;   ///< sum r^(j-1): the states in which an arrival still finds room in the queue
  double waiting = 0;  ///< sum j r^j
  double last = 1;     ///< r^Q
  double scale = 1;
};

/// Closed forms of the geometric tail. For r > 1 everything is divided by r^Q, so nothing overflows; close to 1, where the closed
/// forms lose digits, a Taylor series in 1 - r takes their place.
tail geometric_tail(double r, double q) {
  tail t;
  if (q <= 0) return t;
  const double d = 1 - r;
  if (std::abs(d) * q < 1e-3) {
    const double s1 = q * (q + 1) / 2;
    const double s2 = q * (q + 1) * (2 * q + 1) / 6;
    const double s3 = s1 * s1;
    t.mass = q - d * s1 + d * d / 2 * (s2 - s1);
    t.waiting = s1 - d * s2 + d * d / 2 * (s3 - s2);
    t.before = t.mass / r;
    t.last = std::exp(q * std::log(r));
    return t;
  }
  if (r < 1) {
    const double rest = -std::expm1(q * std::log(r));  // 1 - r^Q
    t.last = std::exp(q * std::log(r));
    t.before = rest / d;
    t.mass = r * t.before;
    t.waiting = r * (rest - q * d * t.last) / (d * d);
    return t;
  }
  const double s = 1 / r;
  const double e = 1 - s;
  const double rest = -std::expm1(q * std::log(s));  // 1 - r^-Q
  t.scale = std::exp(q * std::log(s));
  t.last = 1;
  t.mass = rest / e;
  t.before = s * t.mass;
  t.waiting = q / e - s * rest / (e * e);
  return t;
}

/// What the analysis needs of the steady state; every sum is of positive terms, so no digits are lost by cancellation.
struct sums {
  double occupied = 0;    ///< sum p(n), n >= 1
  double empty = 0;       ///< p(0)
  double in_service = 0;  ///< sum min(n, N) p(n)
  double waiting = 0;     ///< sum (n - N)+ p(n)
  double accepting = 0;   ///< sum p(n), n < K
  double batch_met = 0;   ///< sum min(n, N) p(n - 1): the batch that an accepted request makes
  double full = 0;        ///< p(K)

  double total() const { return occupied + empty; }
  void scale(double by) {
    for (double* x : {&occupied, &empty, &in_service, &accepting, &batch_met}) *x *= by;
  }
};

/// Unnormalized steady state of the birth-death queue: p(n) = p(n-1) lambda/mu(n), mu(n) = n/service(n), mu(n) = mu(N) beyond N.
sums steady_state(const service_line& line, int batch, double queue, double rate_per_ms) {
  // Terms rise to the mode and fall again; rescaling on the way up keeps them in range, and what underflows at the start does not
  // matter.
  constexpr double big = 1e200;
  double p = 1;
  sums s;
  s.empty = 1;
  for (int n = 1; n <= batch; ++n) {
    s.accepting += p;
    s.batch_met += n * p;
    p *= rate_per_ms * line.at(n) / n;
    s.occupied += p;
    s.in_service += n * p;
    if (p > big) {
      p /= big;
      s.scale(1 / big);
    }
  }
  const auto t = geometric_tail(rate_per_ms * line.at(batch) / batch, queue);
  s.scale(t.scale);
  s.occupied += p * t.mass;
  s.in_service += batch * p * t.mass;
  s.accepting += p * t.before;
  s.batch_met += batch * p * t.before;
  s.waiting = p * t.waiting;
  s.full = p * t.last;
  return s;
}

/// Chandrupatla's bracketing root finder (Adv. Eng. Software 28, 1997): inverse quadratic steps, bisection when they would not
/// help. Returns the end of the last bracket where f <= 0; needs f(a) <= 0 < f(b).
template <class F>
double find_root(F f, double a, double fa, double b, double fb) {
  if (fa == 0) return a;
  double c = a, fc = fa, t = 0.5;
  for (int i = 0; i < 200; ++i) {
    const double x = a + t * (b - a);
    const double fx = f(x);
    if (std::signbit(fx) == std::signbit(fa)) {
      c = a;
      fc = fa;
    } else {
      c = std::exchange(b, a);
      fc = std::exchange(fb, fa);
    }
    a = x;
    fa = fx;
    const double width = std::abs(b - a);
    if (fx == 0) return x;
    if (width <= 1e-13 * std::abs(x)) break;
    const double tolerance = 2e-14 * std::abs(x) / width;
    const double xi = (a - b) / (c - b);
    const double phi = (fa - fb) / (fc - fb);
    const bool quadratic = 1 - std::sqrt(1 - xi) < phi && phi < std::sqrt(xi);
    t = quadratic ? fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb) : 0.5;
    t = std::clamp(t, tolerance, 1 - tolerance);
  }
  return fa < 0 ? a : b;
}

std::optional<std::string> bad_number(const char* name, double value) {
  if (std::isfinite(value) && value >= 0) return std::nullopt;
  return fmt::format("{}: expected a finite number >= 0, got {}", name, value);
}

}  // namespace

std::string infeasible::reason() const {
  return fmt::format("{} target {:.6g} ms cannot be met: {:.6g} ms at the lowest rate", target, wanted_ms, best_ms);
}

std::optional<std::string> validate(const replica_config& c) {
  const auto& p = c.profile;
  const std::array<std::pair<const char*, double>, 6> numbers{{{"alpha", p.alpha_ms},
                                                               {"beta", p.beta_ms},
                                                               {"gamma", p.gamma_ms},
                                                               {"delta", p.delta_ms},
                                                               {"in_tokens", c.shape.in_tokens},
                                                               {"out_tokens", c.shape.out_tokens}}};
  for (const auto& [name, value] : numbers)
    if (auto problem = bad_number(name, value)) return problem;
  if (c.max_batch < 1 || c.max_batch > max_batch_limit)
    return fmt::format("max_batch: expected a number from 1 to {}, got {}", max_batch_limit, c.max_batch);
  if (c.max_queue < 0) return fmt::format("max_queue: expected a number >= 0, got {}", c.max_queue);
  if (p.alpha_ms + p.beta_ms <= 0) return std::string("alpha and beta are both 0: a decode step must take time");
  if (c.shape.out_tokens <= 0) return fmt::format("out_tokens: expected a number > 0, got {}", c.shape.out_tokens);
  const auto line = line_of(c);
  if (line.at(1) <= 0) return std::string("the profile gives a service time of 0");
  if (!std::isfinite(line.at(c.max_batch))) return std::string("the profile gives an infinite service time");
  return std::nullopt;
}

std::optional<std::string> validate(const slo_targets& t) {
  const std::array<std::pair<const char*, double>, 4> numbers{
      {{"slo-itl", t.itl_ms}, {"slo-ttft", t.ttft_ms}, {"slo-ttw", t.wait_p95_ms}, {"slo-tps", t.tps}}};
  for (const auto& [name, value] : numbers)
    if (auto problem = bad_number(name, value)) return problem;
  return std::nullopt;
}

replica_metrics analyze(const replica_config& c, req_rate rate) {
  const auto line = line_of(c);
  const int batch = c.max_batch;
  const double lambda = rate.per_ms();
  const auto s = steady_state(line, batch, static_cast<double>(c.max_queue), lambda);
  replica_metrics m;
  const double total = s.total();
  m.blocked = s.full / total;
  const double x = lambda * (s.accepting / total);
  m.throughput = req_rate::per_ms(x);
  m.in_service = s.in_service / total;
  m.wait_ms = s.waiting / total / x;
  m.response_ms = m.wait_ms + m.in_service / x;
  // service(n*) = L_s / X, and L_s = sum service(n) mu(n) p(n) with mu(n) p(n) = lambda p(n-1), so n* is a weighted mean of the
  // batch: no difference of near numbers, and a meaning for a flat curve too.
  m.effective_batch = std::min(s.batch_met / s.accepting, static_cast<double>(batch));
  m.prefill_ms = prefill_ms(c, m.effective_batch);
  m.itl_ms = decode_ms(c, m.effective_batch);
  m.ttft_ms = m.wait_ms + m.prefill_ms;
  m.busy = s.occupied / total;
  m.rho = m.in_service / batch;
  return m;
}

tl::expected<replica_sizing, infeasible> size_replica(const replica_config& c, const slo_targets& targets) {
  const auto line = line_of(c);
  replica_sizing out;
  const double low = lowest_share / line.at(1);
  const double high = highest_share * c.max_batch / line.at(c.max_batch);
  out.min_rate = req_rate::per_ms(low);
  out.max_rate = req_rate::per_ms(high);
  const auto at_low = analyze(c, out.min_rate);
  const auto at_high = analyze(c, out.max_rate);
  struct latency {
    std::string_view name;
    double target_ms;
    double replica_metrics::*value;
    double wanted_ms;  ///< as the operator wrote it
  };
  const std::array<latency, 3> latencies{
      {{"ttft", targets.ttft_ms, &replica_metrics::ttft_ms, targets.ttft_ms},
       {"itl", targets.itl_ms, &replica_metrics::itl_ms, targets.itl_ms},
       {"ttw", targets.wait_p95_ms * mean_of_p95, &replica_metrics::wait_ms, targets.wait_p95_ms}}};
  double rates[3];
  double least = high;
  for (std::size_t i = 0; i < latencies.size(); ++i) {
    const auto& l = latencies[i];
    rates[i] = high;
    if (l.target_ms <= 0) continue;
    // A flat curve equal to its target must not fail by a rounding error.
    const double limit = l.target_ms * (1 + 1e-12);
    if (at_low.*l.value > limit) {
      const double back = l.wanted_ms / l.target_ms;
      return tl::unexpected(infeasible{l.name, l.wanted_ms, at_low.*l.value * back});
    }
    if (at_high.*l.value <= limit) continue;
    const auto excess = [&](double lambda) { return analyze(c, req_rate::per_ms(lambda)).*l.value - limit; };
    rates[i] = find_root(excess, low, at_low.*l.value - limit, high, at_high.*l.value - limit);
    if (rates[i] < least) {
      least = rates[i];
      out.binding = l.name;
    }
  }
  double tps = high;
  if (targets.tps > 0) {
    tps = tps_share * high;
    if (tps < least) {
      least = tps;
      out.binding = "tps";
    }
  }
  out.rate_ttft = req_rate::per_ms(rates[0]);
  out.rate_itl = req_rate::per_ms(rates[1]);
  out.rate_tps = req_rate::per_ms(tps);
  out.rate = req_rate::per_ms(least);
  out.at = analyze(c, out.rate);
  return out;
}

}  // namespace inferno::model

// The station against its steady state summed one state at a time in logarithms, at sizes and loads where probabilities
// underflow; and the promise that latencies rise with the rate, over random profiles.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "model/queue.hpp"

namespace inferno::model {
namespace {

using real = long double;

/// Every state of a replica, normalized; logarithms on the way, so that nothing overflows.
class steady_state {
 public:
  steady_state(const replica_config& c, req_rate rate) : c_(c), rate_(rate.per_ms()) {
    const auto states = static_cast<std::size_t>(c.max_batch + c.max_queue) + 1;
    std::vector<real> logs(states);
    real largest = 0;
    for (std::size_t k = 1; k < states; ++k) {
      const real n = batch(k);
      logs[k] =
          logs[k - 1] + std::log(rate_ * static_cast<real>(times_at(c.profile, c.shape, static_cast<double>(n)).service_ms) / n);
      largest = std::max(largest, logs[k]);
    }
    real total = 0;
    for (auto& l : logs) total += l = std::exp(l - largest);
    for (auto& l : logs) l /= total;
    p = std::move(logs);
  }

  real blocked() const { return p.back(); }
  real accepting() const { return 1 - blocked(); }
  real throughput() const {
    return sum([](std::size_t, real) { return real(1); }, false) * rate_;
  }
  real in_service() const {
    return sum([&](std::size_t k, real) { return batch(k); }, true);
  }
  real waiting() const {
    return sum([&](std::size_t k, real) { return static_cast<real>(k) - batch(k); }, true);
  }
  real busy() const {
    return sum([](std::size_t k, real) { return real(k > 0); }, true);
  }
  real effective_batch() const {
    return sum([&](std::size_t k, real) { return batch(k + 1); }, false) / sum([](std::size_t, real) { return real(1); }, false);
  }

  /// P(TTFT > t) of an accepted request: prefill at once below N, j + 1 departures of a full batch with j waiting.
  real ttft_tail(real t, double itl_ms) const {
    const real accepted = sum([](std::size_t, real) { return real(1); }, false);
    const auto n = static_cast<std::size_t>(c_.max_batch);
    const bool iterations = std::holds_alternative<iteration_profile>(c_.profile);
    const auto first_token = [&](std::size_t seen) -> real {
      const auto at = times_at(c_.profile, c_.shape, static_cast<double>(iterations ? seen : seen + 1));
      return iterations ? at.prefill_ms + itl_ms : at.first_token_ms;
    };
    real beyond = 0;
    for (std::size_t seen = 0; seen < n; ++seen)
      if (first_token(seen) > t) beyond += p[seen];
    const real left = t - first_token(iterations ? n : n - 1);
    const real mean = left * c_.max_batch / static_cast<real>(times_at(c_.profile, c_.shape, c_.max_batch).service_ms) /
                      static_cast<real>(wait_variability_factor(c_));
    // P(Erlang(j + 1) > left) = P(Poisson(mean) <= j)
    real fewer = 0;
    for (std::size_t j = 0; n + j + 1 < p.size(); ++j) {
      if (left <= 0) {
        fewer = 1;
      } else if (fewer < 1) {
        const real i = static_cast<real>(j);
        fewer = std::min(real(1), fewer + std::exp(i * std::log(mean) - mean - std::lgamma(i + 1)));
      }
      beyond += p[n + j] * fewer;
    }
    return beyond / accepted;
  }

  std::vector<real> p;

 private:
  real batch(std::size_t k) const { return static_cast<real>(std::min(k, static_cast<std::size_t>(c_.max_batch))); }
  template <class F>
  real sum(F f, bool with_last) const {
    real out = 0;
    for (std::size_t k = 0; k + (with_last ? 0 : 1) < p.size(); ++k) out += p[k] * f(k, p[k]);
    return out;
  }

  const replica_config& c_;
  real rate_;
};

struct random_station {
  std::mt19937 rng;
  std::uniform_real_distribution<double> unit{0, 1};
  explicit random_station(unsigned seed) : rng(seed) {}
  double between(double low, double high) { return low + (high - low) * unit(rng); }
  double magnitude(double low, double high) { return std::exp(between(std::log(low), std::log(high))); }

  replica_config config(int most_batch, long queue_per_batch) {
    replica_config c;
    c.profile =
        linear_profile{magnitude(0.1, 100), magnitude(1e-4, 2), magnitude(0.1, 100), magnitude(1e-7, 1e-2), unit(rng) < 0.8};
    c.shape = {std::floor(magnitude(1, 4000)), std::floor(magnitude(2, 2000))};
    c.max_batch = static_cast<int>(magnitude(1, most_batch));
    c.max_queue = queue_per_batch * c.max_batch;
    if (unit(rng) < 0.2) c.max_queue = static_cast<long>(between(1, 30));
    if (unit(rng) < 0.2) c.shape.out_cv = between(0, 2);
    return c;
  }
  /// From next to none to far beyond what the replica can take, most of them about that.
  req_rate rate(const replica_config& c) {
    const double top = c.max_batch / times_at(c.profile, c.shape, c.max_batch).service_ms;
    const double kind = unit(rng);
    if (kind < 0.1) return req_rate::per_ms(top);
    if (kind < 0.2) return req_rate::per_ms(top * (1 + (unit(rng) - 0.5) * magnitude(1e-12, 1e-2)));
    if (kind < 0.3) return req_rate::per_ms(top * magnitude(1e-12, 1e-2));
    if (kind < 0.5) return req_rate::per_ms(top * magnitude(1, 1e4));
    return req_rate::per_ms(top * between(0.01, 1.1));
  }
};

void expect_close(double got, real want, double relative, const char* what) {
  EXPECT_LE(std::abs(got - want), relative * std::abs(want) + 1e-22L)
      << what << ": got " << got << ", want " << static_cast<double>(want);
}

/// The quantile t must leave no more than 1 - q beyond it, and a little less than t must leave more.
void expect_quantiles(const replica_config& c, req_rate rate, const steady_state& s) {
  const double itl = analyze(c, rate).itl_ms;
  for (const double q : {0.5, 0.9, 0.95, 0.99}) {
    const double t = ttft_quantile_ms(c, rate, q);
    ASSERT_TRUE(std::isfinite(t)) << q;
    EXPECT_LE(s.ttft_tail(static_cast<real>(t) * (1 + 1e-7L) + 1e-9L, itl), 1 - q + 1e-8) << q << " at " << t;
    EXPECT_GE(s.ttft_tail(static_cast<real>(t) * (1 - 1e-7L) - 1e-9L, itl), 1 - q - 1e-8) << q << " at " << t;
  }
}

TEST(StationOracle, MeansAndQuantilesHoldAtEverySizeAndLoad) {
  constexpr unsigned seed = 41;
  random_station random(seed);
  for (int i = 0; i < 300; ++i) {
    const auto c = random.config(i % 20 == 0 ? 4096 : i % 4 == 0 ? 600 : 64, 10);
    const auto rate = random.rate(c);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << " N " << c.max_batch << " Q " << c.max_queue
                                      << " rate/ms " << rate.per_ms());
    const steady_state s(c, rate);
    const auto m = analyze(c, rate);
    expect_close(m.throughput.per_ms(), s.throughput(), 1e-9, "throughput");
    expect_close(m.in_service, s.in_service(), 1e-9, "in_service");
    expect_close(m.busy, s.busy(), 1e-9, "busy");
    expect_close(m.effective_batch, s.effective_batch(), 1e-9, "effective_batch");
    const real wait = s.waiting() / s.throughput() * wait_variability_factor(c);
    EXPECT_LE(std::abs(m.wait_ms - wait), 1e-7 * wait + 1e-15L) << static_cast<double>(wait);
    if (s.blocked() > 1e-20) expect_close(m.blocked, s.blocked(), 1e-7, "blocked");
    expect_quantiles(c, rate, s);
    if (HasFailure()) return;
  }
}

/// A full batch of 256 or 400, loaded to two thirds: the median request meets few others, and more room changes nothing.
TEST(StationOracle, ALargerBatchLimitDoesNotChangeTheQuantilesOfAModerateLoad) {
  const replica_config small{linear_profile{10, 0.02, 10, 0.0005, true}, {1000, 200}, 256, 2560};
  auto large = small;
  large.max_batch = 400;
  large.max_queue = 4000;
  for (const double per_min : {500.0, 2000.0, 4000.0})
    for (const double q : {0.5, 0.9, 0.95, 0.99})
      EXPECT_DOUBLE_EQ(ttft_quantile_ms(large, req_rate::per_min(per_min), q),
                       ttft_quantile_ms(small, req_rate::per_min(per_min), q))
          << per_min << " " << q;
  const slo_targets median{0, 120, 0, 0, 50};
  const auto a = size_replica(small, median), b = size_replica(large, median);
  ASSERT_TRUE(a && b);
  EXPECT_GE(b->rate.per_sec(), a->rate.per_sec() * (1 - 1e-9));
}

TEST(StationOracle, QuantilesOfIterationProfilesHold) {
  constexpr unsigned seed = 42;
  random_station random(seed);
  for (int i = 0; i < 150; ++i) {
    auto c = random.config(i % 10 == 0 ? 1000 : 100, 10);
    c.profile = iteration_profile{random.magnitude(1, 20), random.magnitude(1e-3, 0.1), random.magnitude(1e-7, 1e-3),
                                  static_cast<int>(random.magnitude(64, 16384))};
    const auto rate = random.rate(c);
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << " N " << c.max_batch << " rate/ms "
                                      << rate.per_ms());
    const steady_state s(c, rate);
    const auto m = analyze(c, rate);
    expect_close(m.throughput.per_ms(), s.throughput(), 1e-9, "throughput");
    expect_close(m.in_service, s.in_service(), 1e-9, "in_service");
    expect_quantiles(c, rate, s);
    if (HasFailure()) return;
  }
}

/// The wait of single requests, each with its own places in the queue and its own departures: no formula at all.
TEST(StationOracle, ASimulationHasTheSameQuantiles) {
  std::mt19937_64 rng(43);
  for (const double load : {0.7, 0.97, 1.3}) {
    const replica_config c{linear_profile{5, 0.2, 4, 0.002, true}, {100, 20}, 12, 40};
    const double top = c.max_batch / times_at(c.profile, c.shape, c.max_batch).service_ms;
    const double lambda = load * top;
    std::exponential_distribution<double> next(lambda);
    double now = 0;
    long inside = 0;
    double arrival = next(rng);
    std::vector<double> ttft;
    std::vector<std::pair<double, std::size_t>> queue;  // arrival, index into ttft
    while (ttft.size() < 400'000) {
      const double batch = static_cast<double>(std::min<long>(inside, c.max_batch));
      const double departure =
          inside == 0 ? INFINITY
                      : now + std::exponential_distribution<double>(batch / times_at(c.profile, c.shape, batch).service_ms)(rng);
      // Departures have no memory: a new one is drawn after each event.
      if (arrival < departure) {
        now = arrival;
        arrival = now + next(rng);
        if (inside == c.max_batch + c.max_queue) continue;
        const double seen = static_cast<double>(std::min<long>(inside + 1, c.max_batch));
        ttft.push_back(times_at(c.profile, c.shape, seen).first_token_ms);
        if (inside >= c.max_batch) queue.emplace_back(now, ttft.size() - 1);
        ++inside;
      } else {
        now = departure;
        --inside;
        if (!queue.empty()) {
          ttft[queue.front().second] += now - queue.front().first;
          queue.erase(queue.begin());
        }
      }
    }
    ttft.resize(ttft.size() - queue.size());
    std::sort(ttft.begin(), ttft.end());
    for (const double q : {0.5, 0.9, 0.95, 0.99}) {
      const double measured = ttft[static_cast<std::size_t>(q * static_cast<double>(ttft.size()))];
      EXPECT_NEAR(ttft_quantile_ms(c, req_rate::per_ms(lambda), q) / measured, 1, load < 1 ? 0.05 : 0.03) << load << " " << q;
    }
  }
}

TEST(StationOracle, LatenciesRiseWithTheRateWhateverTheProfile) {
  constexpr unsigned seed = 44;
  random_station random(seed);
  for (int i = 0; i < 600; ++i) {
    auto c = random.config(i % 3 == 0 ? 2 : 200, 10);
    if (i % 3 == 0) c.max_batch = 1 + (i / 3) % 3;
    if (i % 2 == 0) {
      c.profile = iteration_profile{random.magnitude(0.1, 20), random.magnitude(1e-4, 0.5), random.magnitude(1e-8, 1e-2),
                                    static_cast<int>(random.magnitude(16, 16384))};
      if (random.unit(random.rng) < 0.5) c.shape.out_tokens = std::floor(random.between(1, 8));
    }
    const double top = c.max_batch / times_at(c.profile, c.shape, c.max_batch).service_ms;
    SCOPED_TRACE(::testing::Message() << "seed " << seed << " case " << i << " N " << c.max_batch << " in " << c.shape.in_tokens
                                      << " out " << c.shape.out_tokens);
    replica_metrics last;
    ttft_percentiles before;
    for (double share = 1e-6; share < 3; share = share < 0.05 ? share * 4 : share + 0.04) {
      const auto rate = req_rate::per_ms(top * share);
      const auto m = analyze(c, rate);
      EXPECT_GE(m.itl_ms, last.itl_ms * (1 - 1e-9)) << share;
      EXPECT_GE(m.ttft_ms, last.ttft_ms * (1 - 1e-9)) << share;
      // With a chunk more, a full batch may complete fewer requests than a smaller one.
      if (i % 2 != 0) {
        EXPECT_GE(m.throughput.per_sec(), last.throughput.per_sec() * (1 - 1e-9)) << share;
      }
      const auto p = ttft_percentiles_at(c, rate);
      EXPECT_GE(p.p50, before.p50 * (1 - 1e-9)) << share;
      EXPECT_GE(p.p95, before.p95 * (1 - 1e-9)) << share;
      EXPECT_GE(p.p99, before.p99 * (1 - 1e-9)) << share;
      last = m;
      before = p;
      if (HasFailure()) return;
    }
  }
}

/// Prompts far beyond the tokens of an iteration: chunks are counted at once, however many there are.
TEST(StationOracle, ChunksOfAnyNumberAreFoundAtOnce) {
  for (const double in : {1e4, 1e7, 1e15, 1e30})
    for (const int budget : {1, 7, 8192})
      for (const double n : {1.0, 100.0, 65536.0})
        for (const double out : {1.0, 1e4}) {
          const double c = prefill_chunks({1, 1, 1, budget}, {in, out}, n);
          const auto room = [&](long double chunks) { return (chunks + out) * (budget - in / chunks) / (in + out); };
          EXPECT_GE(room(static_cast<long double>(c) * (1 + 1e-15L)) * (1 + 1e-12L), n) << in << " " << budget << " " << n;
          if (c > 1 && c < 1e12) {
            EXPECT_LT(room(c - 1), n) << in << " " << budget << " " << n;
          }
        }
}

}  // namespace
}  // namespace inferno::model

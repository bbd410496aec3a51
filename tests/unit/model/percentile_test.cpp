// Percentiles of the time to first token against the distribution summed state by state, and targets on them.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "model/queue.hpp"

namespace inferno::model {
namespace {

/// P(TTFT > t) of an accepted request, every state and every Erlang term one by one.
double tail_by_states(const replica_config& c, req_rate rate, double t) {
  const double lambda = rate.per_ms();
  const int n = c.max_batch;
  std::vector<long double> p{1};
  for (long k = 1; k <= n + c.max_queue; ++k) {
    const double m = static_cast<double>(std::min<long>(k, n));
    p.push_back(p.back() * static_cast<long double>(lambda * times_at(c.profile, c.shape, m).service_ms / m));
  }
  const long double mu = n / times_at(c.profile, c.shape, n).service_ms;
  long double total = 0, beyond = 0;
  for (long seen = 0; seen < n + c.max_queue; ++seen) {
    const auto mass = p[static_cast<std::size_t>(seen)];
    total += mass;
    const double batch = static_cast<double>(std::min<long>(seen + 1, n));
    const long double left = static_cast<long double>(t - times_at(c.profile, c.shape, batch).first_token_ms);
    if (seen < n) {
      if (left < 0) beyond += mass;
      continue;
    }
    if (left < 0) {
      beyond += mass;
      continue;
    }
    // Erlang(seen - n + 1, mu) > left
    long double term = std::exp(-mu * left), sum = 0;
    for (long i = 0; i <= seen - n; ++i) {
      sum += term;
      term *= mu * left / static_cast<long double>(i + 1);
    }
    beyond += mass * sum;
  }
  return static_cast<double>(beyond / total);
}

TEST(TtftPercentile, IsTheQuantileOfTheDistribution) {
  std::mt19937 rng(5);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int i = 0; i < 400; ++i) {
    SCOPED_TRACE(i);
    replica_config c;
    c.profile = linear_profile{1 + 40 * unit(rng), unit(rng), 20 * unit(rng), 0.01 * unit(rng), i % 2 == 0};
    c.shape = {std::floor(1 + 500 * unit(rng)), std::floor(2 + 300 * unit(rng))};
    c.max_batch = 1 + static_cast<int>(32 * unit(rng));
    c.max_queue = static_cast<long>(1 + 100 * unit(rng));
    const double top = c.max_batch / times_at(c.profile, c.shape, c.max_batch).service_ms;
    const auto rate = req_rate::per_ms(i % 9 == 0 ? top : top * (0.05 + 1.3 * unit(rng)));
    for (const double q : {0.5, 0.9, 0.95, 0.99}) {
      const double t = ttft_quantile_ms(c, rate, q);
      EXPECT_LE(tail_by_states(c, rate, t * (1 + 1e-7) + 1e-7), 1 - q + 1e-7) << q << " at " << t;
      EXPECT_GE(tail_by_states(c, rate, t * (1 - 1e-7) - 1e-7), 1 - q - 1e-7) << q << " at " << t;
    }
    const auto p = ttft_percentiles_at(c, rate);
    EXPECT_LE(p.p50, p.p90);
    EXPECT_LE(p.p90, p.p95);
    EXPECT_LE(p.p95, p.p99);
  }
}

/// M/M/1: P(W > t) = rho e^{-(mu - lambda) t}.
TEST(TtftPercentile, IsThatOfMM1) {
  const replica_config c{linear_profile{10, 0, 0, 0, false}, {0, 10}, 1, 100000};
  const double mu = 0.01, lambda = 0.008;
  for (const double q : {0.5, 0.9, 0.99, 0.9999})
    EXPECT_NEAR(ttft_quantile_ms(c, req_rate::per_ms(lambda), q), std::log(0.8 / (1 - q)) / (mu - lambda), 1e-5);
  EXPECT_EQ(ttft_quantile_ms(c, req_rate::per_ms(lambda), 0.19), 0) << "a fifth does not wait";
}

TEST(TtftPercentile, ATargetOnItIsMetAndNoMore) {
  std::mt19937 rng(6);
  std::uniform_real_distribution<double> unit(0, 1);
  int bound = 0;
  for (int i = 0; i < 300; ++i) {
    SCOPED_TRACE(i);
    replica_config c;
    c.profile = linear_profile{1 + 40 * unit(rng), 0.01 + unit(rng), 20 * unit(rng), 0.01 * unit(rng), true};
    if (i % 3 == 0) c.profile = iteration_profile{2 + 10 * unit(rng), 0.03, 0.0001 * unit(rng), 8192};
    c.shape = {std::floor(1 + 500 * unit(rng)), std::floor(2 + 300 * unit(rng))};
    c.max_batch = 1 + static_cast<int>(64 * unit(rng));
    c.max_queue = 10 * c.max_batch;
    slo_targets t;
    t.ttft_ms = 20 + 1500 * unit(rng);
    t.ttft_percentile = i % 2 == 0 ? 95 : 99;
    const double q = t.ttft_percentile / 100;
    const auto sized = size_replica(c, t);
    if (!sized) {
      EXPECT_EQ(sized.error().target, "ttft");
      EXPECT_GT(sized.error().best_ms, t.ttft_ms);
      continue;
    }
    EXPECT_LE(ttft_quantile_ms(c, sized->rate, q), t.ttft_ms * (1 + 1e-6));
    if (sized->binding.empty()) continue;
    ++bound;
    EXPECT_GE(ttft_quantile_ms(c, req_rate::per_sec(sized->rate.per_sec() * (1 + 1e-5)), q), t.ttft_ms * (1 - 1e-6));
  }
  EXPECT_GT(bound, 100);
}

TEST(TtftPercentile, IsReadAsPeopleWriteIt) {
  EXPECT_EQ(parse_percentile("mean"), 0);
  EXPECT_EQ(parse_percentile("p95"), 95);
  EXPECT_EQ(parse_percentile("99.9"), 99.9);
  for (const char* bad : {"", "p", "0", "100", "p-5", "95%", "nan", "median", "p95 "})
    EXPECT_EQ(parse_percentile(bad), std::nullopt) << bad;
}

/// Lengths that vary less than exponential ones wait less, in proportion to (1 + cv^2)/2.
TEST(LengthVariability, ScalesTheWait) {
  replica_config c{linear_profile{20, 0.4, 0, 0, false}, {0, 178}, 4, 40};
  const auto rate = req_rate::per_min(36);
  const auto plain = analyze(c, rate);
  c.shape.out_cv = 1;
  EXPECT_DOUBLE_EQ(analyze(c, rate).wait_ms, plain.wait_ms);
  c.shape.out_cv = 0;
  EXPECT_DOUBLE_EQ(analyze(c, rate).wait_ms, plain.wait_ms / 2);
  EXPECT_DOUBLE_EQ(analyze(c, rate).itl_ms, plain.itl_ms) << "who is in service does not depend on it";
  c.shape.out_cv = 2;
  EXPECT_DOUBLE_EQ(analyze(c, rate).wait_ms, plain.wait_ms * 2.5);
  const double p99 = ttft_quantile_ms(c, rate, 0.99);
  c.shape.out_cv = 0;
  EXPECT_NEAR(p99 / ttft_quantile_ms(c, rate, 0.99), 5, 1e-6);
}

}  // namespace
}  // namespace inferno::model

// The queueing model against exact vectors, closed forms, brute force and its own properties.
#include "model/queue.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/value_to.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <random>

namespace inferno::model {
namespace {

namespace json = boost::json;

double number(const json::value& v) { return v.to_number<double>(); }

void expect_close(double got, double want, double relative, const std::string& what) {
  EXPECT_LE(std::abs(got - want), relative * std::max(std::abs(want), 1e-9)) << what << ": got " << got << ", want " << want;
}

linear_profile& linear(replica_config& c) { return std::get<linear_profile>(c.profile); }
const linear_profile& linear(const replica_config& c) { return std::get<linear_profile>(c.profile); }

replica_config quickstart() {
  replica_config c;
  c.profile = linear_profile{20.58, 0.41, 0, 0, false};
  c.shape = {0, 178};
  c.max_batch = 4;
  c.max_queue = 40;
  return c;
}

TEST(Queue, AgreesWithAllGoldenVectors) {
  std::ifstream in(TEST_DATA_DIR "/model/queue.jsonl");
  ASSERT_TRUE(in);
  int cases = 0;
  for (std::string line; std::getline(in, line); ++cases) {
    const auto v = json::parse(line);
    const auto& k = v.at("case");
    replica_config c;
    c.profile = linear_profile{number(k.at("alpha")), number(k.at("beta")), number(k.at("gamma")), number(k.at("delta")),
                               k.at("prefill").as_bool()};
    c.shape = {number(k.at("in_tokens")), number(k.at("out_tokens"))};
    c.max_batch = static_cast<int>(k.at("max_batch").as_int64());
    c.max_queue = k.at("max_queue").as_int64();
    ASSERT_FALSE(validate(c)) << *validate(c) << line;
    const auto check = [&](const replica_metrics& m, const json::value& want, double tolerance, const std::string& where) {
      expect_close(m.throughput.per_sec(), number(want.at("throughput")), tolerance, where + ".throughput");
      expect_close(m.response_ms, number(want.at("response_ms")), tolerance, where + ".response");
      expect_close(m.wait_ms, number(want.at("wait_ms")), tolerance, where + ".wait");
      expect_close(m.in_service, number(want.at("in_service")), tolerance, where + ".in_service");
      expect_close(m.effective_batch, number(want.at("effective_batch")), tolerance, where + ".effective_batch");
      expect_close(m.prefill_ms, number(want.at("prefill_ms")), tolerance, where + ".prefill");
      expect_close(m.itl_ms, number(want.at("itl_ms")), tolerance, where + ".itl");
      expect_close(m.ttft_ms, number(want.at("ttft_ms")), tolerance, where + ".ttft");
      expect_close(m.busy, number(want.at("busy")), tolerance, where + ".busy");
      expect_close(m.rho, number(want.at("rho")), tolerance, where + ".rho");
      expect_close(m.blocked, number(want.at("blocked")), tolerance, where + ".blocked");
    };
    const auto name = "case " + std::to_string(cases);
    check(analyze(c, req_rate::per_sec(number(k.at("rate")))), v.at("analyze"), 1e-6, name + " analyze");
    const auto sized = size_replica(c, {number(k.at("slo_itl_ms")), number(k.at("slo_ttft_ms")), 0, number(k.at("slo_tps"))});
    const auto& want = v.at("size").as_object();
    if (const auto* refused = want.if_contains("infeasible"); refused && !refused->is_null()) {
      ASSERT_FALSE(sized) << name;
      EXPECT_EQ(sized.error().target, std::string_view(refused->as_string())) << name;
      continue;
    }
    ASSERT_TRUE(sized) << name << ": " << sized.error().reason();
    expect_close(sized->min_rate.per_sec(), number(want.at("min_rate")), 1e-6, name + ".min_rate");
    expect_close(sized->max_rate.per_sec(), number(want.at("max_rate")), 1e-6, name + ".max_rate");
    const auto alone = [&](const slo_targets& t) { return size_replica(c, t)->rate.per_sec(); };
    expect_close(alone({0, number(k.at("slo_ttft_ms"))}), number(want.at("rates").at("ttft")), 1e-5, name + ".ttft");
    expect_close(alone({number(k.at("slo_itl_ms"))}), number(want.at("rates").at("itl")), 1e-5, name + ".itl");
    expect_close(alone({0, 0, 0, number(k.at("slo_tps"))}), number(want.at("rates").at("tps")), 1e-5, name + ".tps");
    expect_close(sized->rate.per_sec(), number(want.at("rate")), 1e-5, name + ".rate");
    expect_close(sized->at.itl_ms, number(want.at("at").at("itl_ms")), 1e-5, name + ".at.itl");
    expect_close(sized->at.ttft_ms, number(want.at("at").at("ttft_ms")), 1e-5, name + ".at.ttft");
    if (HasFailure()) FAIL() << line;
  }
  EXPECT_EQ(cases, 600);
}

TEST(Queue, ReproducesTheQuickStartsLog) {
  const auto m = analyze(quickstart(), req_rate::per_min(22.67));
  EXPECT_NEAR(m.itl_ms, 21.555601, 5e-5);
  EXPECT_NEAR(m.wait_ms, 110.798096, 5e-3);
  EXPECT_NEAR(m.busy, 0.7630596, 5e-6);
  const auto half = analyze(quickstart(), req_rate::per_min(22));
  EXPECT_NEAR(half.itl_ms, 21.540192, 5e-5);
  EXPECT_NEAR(half.wait_ms, 99.1626, 5e-3);
  EXPECT_NEAR(half.busy, 0.7524011, 5e-6);
  const auto low = analyze(quickstart(), req_rate::per_min(2.67));
  EXPECT_NEAR(low.itl_ms, 21.058374, 5e-5);
  EXPECT_NEAR(low.wait_ms, 0.032958984, 1e-3);
  EXPECT_NEAR(low.busy, 0.15340477, 5e-6);
}

/// Every state one by one, in long double.
replica_metrics brute_force(const replica_config& c, req_rate rate) {
  const long double d = linear(c).has_prefill ? c.shape.out_tokens - 1 : c.shape.out_tokens;
  const auto service = [&](long double n) {
    const long double prefill =
        linear(c).has_prefill && c.shape.in_tokens > 0 ? linear(c).gamma_ms + linear(c).delta_ms * c.shape.in_tokens * n : 0;
    return prefill + d * (linear(c).alpha_ms + linear(c).beta_ms * n);
  };
  const long double lambda = rate.per_ms();
  long double p = 1, total = 1, in_service = 0, waiting = 0;
  for (long n = 1; n <= c.max_batch + c.max_queue; ++n) {
    const long double m = std::min<long>(n, c.max_batch);
    p *= lambda * service(m) / m;
    total += p;
    in_service += m * p;
    waiting += static_cast<long double>(n - std::min<long>(n, c.max_batch)) * p;
  }
  const long double x = lambda * (1 - p / total);
  replica_metrics out;
  out.throughput = req_rate::per_ms(static_cast<double>(x));
  out.wait_ms = static_cast<double>(waiting / total / x);
  out.in_service = static_cast<double>(in_service / total);
  out.blocked = static_cast<double>(p / total);
  out.busy = static_cast<double>(1 - 1 / total);
  return out;
}

TEST(Queue, AgreesWithEveryStateOneByOne) {
  std::mt19937 rng(7);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int i = 0; i < 2000; ++i) {
    replica_config c;
    c.profile = linear_profile{1 + 40 * unit(rng), unit(rng), 20 * unit(rng), 0.01 * unit(rng), i % 2 == 0};
    c.shape = {std::floor(1 + 500 * unit(rng)), std::floor(2 + 300 * unit(rng))};
    c.max_batch = 1 + static_cast<int>(64 * unit(rng));
    c.max_queue = static_cast<long>(200 * unit(rng));
    const auto sized = size_replica(c, {});
    ASSERT_TRUE(sized);
    // from nearly idle to twice overloaded, and exactly at the point where the tail does not fall
    const double share = i % 10 == 0 ? 1 / 0.999 : 0.01 + 2 * unit(rng);
    const auto rate = req_rate::per_sec(sized->max_rate.per_sec() * share);
    const auto got = analyze(c, rate);
    const auto want = brute_force(c, rate);
    SCOPED_TRACE(i);
    expect_close(got.throughput.per_sec(), want.throughput.per_sec(), 1e-9, "throughput");
    expect_close(got.wait_ms, want.wait_ms, 1e-8, "wait");
    expect_close(got.in_service, want.in_service, 1e-9, "in_service");
    expect_close(got.busy, want.busy, 1e-9, "busy");
    if (want.blocked > 1e-24) expect_close(got.blocked / want.blocked, 1, 1e-7, "blocked");
  }
}

/// A rate so low that 1 - p(0) and the service time's excess over its floor would drown in rounding.
TEST(Queue, KeepsItsDigitsAtTheLowestRates) {
  const auto c = quickstart();
  const double s1 = 178 * 20.99;
  for (const double load : {1e-6, 1e-12, 1e-18}) {
    const auto m = analyze(c, req_rate::per_ms(load / s1));
    expect_close(m.busy, load, 2e-6, "busy");
    expect_close(m.in_service, load, 2e-6, "in_service");
    EXPECT_GE(m.effective_batch, 1) << "a request in service is a batch of one at least";
    expect_close(m.effective_batch, 1, 2e-6, "effective_batch");
    expect_close(m.itl_ms, 20.99, 1e-6, "itl");
  }
}

/// Far beyond saturation nearly every arrival is refused; throughput is that of a full batch.
TEST(Queue, SaturatesAtTheRateOfAFullBatch) {
  const auto c = quickstart();
  const double full = 4 / (178 * (20.58 + 4 * 0.41));
  for (const double times : {10.0, 1e6, 1e12}) {
    const auto m = analyze(c, req_rate::per_ms(full * times));
    expect_close(m.throughput.per_ms(), full, times > 100 ? 1e-12 : 1e-3, "throughput");
    expect_close(m.blocked, 1 - 1 / times, times > 100 ? 1e-12 : 1e-3, "blocked");
    expect_close(m.wait_ms, 40 / full, 0.05, "all places of the queue are taken");
    EXPECT_LE(m.effective_batch, 4);
    EXPECT_LE(m.rho, 1 + 1e-12);
  }
}

/// lambda = mu(N): the tail is flat, and its closed form 0/0.
TEST(Queue, HasALimitWhereTheTailIsFlat) {
  auto c = quickstart();
  linear(c).beta_ms = 0;
  c.max_batch = 1;
  c.max_queue = 99;
  const double mu = 1 / (178 * 20.58);
  const auto m = analyze(c, req_rate::per_ms(mu));
  expect_close(m.blocked, 1.0 / 101, 1e-12, "101 states of equal probability");
  expect_close(m.busy, 100.0 / 101, 1e-12, "busy");
  expect_close(m.wait_ms * m.throughput.per_ms(), 99 * 100 / 2.0 / 101, 1e-12, "in queue");
  for (const double off : {-1e-4, -1e-6, -1e-9, 1e-9, 1e-6, 1e-4}) {
    const auto near = analyze(c, req_rate::per_ms(mu * (1 + off)));
    const auto want = brute_force(c, req_rate::per_ms(mu * (1 + off)));
    expect_close(near.wait_ms, want.wait_ms, 1e-9, "wait at " + std::to_string(off));
    expect_close(near.blocked, want.blocked, 1e-9, "blocked at " + std::to_string(off));
  }
}

TEST(Queue, WithoutAQueueNobodyWaits) {
  auto c = quickstart();
  c.max_queue = 0;
  const auto m = analyze(c, req_rate::per_sec(1));
  EXPECT_EQ(m.wait_ms, 0);
  const auto want = brute_force(c, req_rate::per_sec(1));
  expect_close(m.throughput.per_sec(), want.throughput.per_sec(), 1e-12, "throughput");
  expect_close(m.blocked, want.blocked, 1e-12, "blocked");
}

/// The formulas of the special shapes, each by hand.
TEST(Queue, CountsDecodeSteps) {
  const auto service_of_one = [](bool prefill, double in, double out) {
    replica_config c;
    c.profile = linear_profile{10, 2, 100, 0.5, prefill};
    c.shape = {in, out};
    c.max_batch = 1;
    c.max_queue = 0;
    EXPECT_FALSE(validate(c)) << *validate(c);
    const auto m = analyze(c, req_rate::per_sec(0.1));
    return m.response_ms;
  };
  EXPECT_NEAR(service_of_one(true, 40, 11), 100 + 0.5 * 40 + 10 * 12, 1e-9) << "the prefill makes the first token";
  EXPECT_NEAR(service_of_one(true, 40, 1), 120, 1e-9) << "prefill only";
  EXPECT_NEAR(service_of_one(true, 0, 11), 10 * 12, 1e-9) << "no input, no prefill";
  EXPECT_NEAR(service_of_one(true, 0, 1), 12, 1e-9) << "no input, one token: one step";
  EXPECT_NEAR(service_of_one(false, 40, 11), 11 * 12, 1e-9) << "no prefill parameters: every token is a step";
}

TEST(Queue, SizingIsTheLargestRateThatMeetsEveryTarget) {
  std::mt19937 rng(11);
  std::uniform_real_distribution<double> unit(0, 1);
  int bound = 0;
  for (int i = 0; i < 500; ++i) {
    SCOPED_TRACE(i);
    replica_config c;
    c.profile = linear_profile{1 + 40 * unit(rng), 0.01 + unit(rng), 20 * unit(rng), 0.01 * unit(rng), i % 3 != 0};
    c.shape = {std::floor(1 + 500 * unit(rng)), std::floor(2 + 300 * unit(rng))};
    c.max_batch = 1 + static_cast<int>(128 * unit(rng));
    c.max_queue = 10 * c.max_batch;
    slo_targets t;
    if (i % 2 == 0) t.itl_ms = linear(c).alpha_ms + linear(c).beta_ms * (1 + unit(rng) * c.max_batch);
    if (i % 5 != 0) t.ttft_ms = 50 + 2000 * unit(rng);
    if (i % 7 == 0) t.wait_p95_ms = 10 + 500 * unit(rng);
    const auto sized = size_replica(c, t);
    const auto lowest = analyze(c, size_replica(c, {})->min_rate);
    const auto meets = [&](const replica_metrics& m) {
      return (t.itl_ms == 0 || m.itl_ms <= t.itl_ms * (1 + 1e-11)) && (t.ttft_ms == 0 || m.ttft_ms <= t.ttft_ms * (1 + 1e-11)) &&
             (t.wait_p95_ms == 0 || m.wait_ms * std::log(20.0) <= t.wait_p95_ms * (1 + 1e-11));
    };
    if (!sized) {
      EXPECT_FALSE(meets(lowest)) << sized.error().reason();
      EXPECT_GT(sized.error().best_ms, sized.error().wanted_ms);
      continue;
    }
    EXPECT_TRUE(meets(sized->at));
    EXPECT_LE(sized->rate, sized->max_rate);
    EXPECT_GE(sized->rate, sized->min_rate);
    if (sized->binding.empty()) {
      EXPECT_EQ(sized->rate, sized->max_rate);
      continue;
    }
    ++bound;
    EXPECT_FALSE(meets(analyze(c, req_rate::per_sec(sized->rate.per_sec() * (1 + 1e-6))))) << sized->binding;
  }
  EXPECT_GT(bound, 100);
}

TEST(Queue, TighterTargetsNeverRaiseTheRate) {
  const auto c = quickstart();
  req_rate last = size_replica(c, {})->max_rate;
  for (double itl = 22.4; itl > 21; itl -= 0.01) {
    const auto sized = size_replica(c, {itl, 0, 0, 0});
    ASSERT_TRUE(sized) << itl;
    EXPECT_LE(sized->rate, last) << itl;
    last = sized->rate;
  }
  EXPECT_FALSE(size_replica(c, {20.9, 0, 0, 0}));
}

TEST(Queue, SaysWhatIsAttainable) {
  const auto refused = size_replica(quickstart(), {20, 0, 0, 0});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason(), "itl target 20 ms cannot be met: 20.9904 ms at the lowest rate");
  auto c = quickstart();
  c.profile = linear_profile{20.58, 0.41, 30, 0.1, true};
  c.shape.in_tokens = 100;
  const auto slow_start = size_replica(c, {0, 39, 0, 0});
  ASSERT_FALSE(slow_start);
  EXPECT_EQ(slow_start.error().target, "ttft");
  EXPECT_NEAR(slow_start.error().best_ms, 40, 0.1);
}

/// Targets exactly on the value of a flat curve must not fall to a rounding error.
TEST(Queue, AFlatCurveMeetsItsOwnValue) {
  std::mt19937 rng(3);
  std::uniform_real_distribution<double> unit(0, 1);
  for (int i = 0; i < 300; ++i) {
    replica_config c;
    c.profile = linear_profile{40 * unit(rng), unit(rng), 0, 0, false};
    c.shape = {0, std::floor(1 + 300 * unit(rng))};
    c.max_batch = 1;
    const auto sized = size_replica(c, {linear(c).alpha_ms + linear(c).beta_ms, 0, 0, 0});
    ASSERT_TRUE(sized) << linear(c).alpha_ms << " " << linear(c).beta_ms;
    EXPECT_EQ(sized->rate, sized->max_rate);
  }
}

TEST(Queue, IsMM1KWithOneServer) {
  replica_config c;
  c.profile = linear_profile{10, 0, 0, 0, false};
  c.shape = {0, 10};
  c.max_batch = 1;
  c.max_queue = 20;
  const double mu = 1.0 / 100, lambda = 0.8 * mu, rho = 0.8, k = 21;
  const auto m = analyze(c, req_rate::per_ms(lambda));
  const double p0 = (1 - rho) / (1 - std::pow(rho, k + 1));
  expect_close(m.blocked, p0 * std::pow(rho, k), 1e-12, "p(K)");
  expect_close(m.busy, 1 - p0, 1e-12, "busy");
  const double l = rho / (1 - rho) - (k + 1) * std::pow(rho, k + 1) / (1 - std::pow(rho, k + 1));
  expect_close(m.response_ms, l / m.throughput.per_ms(), 1e-12, "Little");
}

TEST(Queue, FlatCurvesHoldEverywhereOrNowhere) {
  auto c = quickstart();
  linear(c).beta_ms = 0;
  EXPECT_DOUBLE_EQ(size_replica(c, {20.58, 0, 0, 0})->rate.per_sec(), size_replica(c, {})->max_rate.per_sec());
  const auto refused = size_replica(c, {20.57, 0, 0, 0});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().target, "itl");
  EXPECT_NEAR(refused.error().best_ms, 20.58, 1e-9);
  c = quickstart();
  c.max_batch = 1;
  EXPECT_TRUE(size_replica(c, {20.99, 0, 0, 0}));
  EXPECT_FALSE(size_replica(c, {20.98, 0, 0, 0}));
}

TEST(Queue, WaitTargetIsAPercentileOfAnExponential) {
  const auto c = quickstart();
  const auto sized = size_replica(c, {0, 0, 500, 0});
  ASSERT_TRUE(sized);
  EXPECT_EQ(sized->binding, "ttw");
  expect_close(sized->at.wait_ms, 500 / 2.995732273553991, 1e-9, "mean wait");
}

TEST(Queue, ThroughputTargetLeavesATenth) {
  const auto sized = size_replica(quickstart(), {0, 0, 0, 100});
  ASSERT_TRUE(sized);
  EXPECT_EQ(sized->binding, "tps");
  EXPECT_DOUBLE_EQ(sized->rate.per_sec(), 0.9 * sized->max_rate.per_sec());
}

TEST(Queue, LatenciesRiseWithTheRate) {
  const auto c = quickstart();
  const auto top = size_replica(c, {})->max_rate.per_sec();
  replica_metrics last;
  for (int i = 1; i <= 200; ++i) {
    const auto m = analyze(c, req_rate::per_sec(top * i / 200));
    EXPECT_GE(m.itl_ms, last.itl_ms);
    EXPECT_GE(m.ttft_ms, last.ttft_ms);
    EXPECT_GE(m.throughput, last.throughput);
    last = m;
  }
}

TEST(Queue, HugeBatchesAndQueuesStayFinite) {
  auto c = quickstart();
  c.max_batch = 65536;
  c.max_queue = 1'000'000'000;
  const auto sized = size_replica(c, {100, 0, 0, 0});
  ASSERT_TRUE(sized);
  expect_close(sized->at.itl_ms, 100, 1e-6, "itl");
  for (const double share : {0.5, 1.0, 1.0 / 0.999, 1.5, 100.0}) {
    const auto m = analyze(c, req_rate::per_sec(sized->max_rate.per_sec() * share));
    for (const double x :
         {m.throughput.per_sec(), m.response_ms, m.wait_ms, m.in_service, m.itl_ms, m.ttft_ms, m.busy, m.rho, m.blocked})
      EXPECT_TRUE(std::isfinite(x)) << share;
    EXPECT_LE(m.throughput.per_sec(), sized->max_rate.per_sec() / 0.999 * (1 + 1e-9));
  }
}

TEST(Queue, RefusesWhatIsNoProfile) {
  const auto problem = [](auto change) {
    auto c = quickstart();
    change(c);
    return validate(c).value_or("");
  };
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(validate(quickstart()), std::nullopt);
  EXPECT_NE(problem([&](auto& c) { linear(c).alpha_ms = nan; }).find("alpha"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { linear(c).beta_ms = inf; }).find("beta"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { linear(c).gamma_ms = -1; }).find("gamma"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { linear(c).alpha_ms = linear(c).beta_ms = 0; }).find("both 0"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { c.max_batch = 0; }).find("max_batch"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { c.max_queue = -1; }).find("max_queue"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { c.shape.out_tokens = 0; }).find("out_tokens"), std::string::npos);
  EXPECT_EQ(problem([&](auto& c) { linear(c).alpha_ms = 1e308; }), "alpha: expected a number from 0 to 1000000, got 1e+308");
  EXPECT_NE(problem([&](auto& c) { linear(c).delta_ms = nan; }).find("delta"), std::string::npos);
  EXPECT_NE(problem([&](auto& c) { c.shape.in_tokens = -3; }).find("in_tokens: expected a number from 0 to 10000000, got -3"),
            std::string::npos);
  EXPECT_NE(problem([&](auto& c) { c.max_batch = max_batch_limit + 1; }).find("max_batch"), std::string::npos);
  EXPECT_EQ(problem([&](auto& c) { c.max_batch = max_batch_limit; }), "");
  EXPECT_NE(problem([&](auto& c) {
              c.profile = linear_profile{1, 1, 0, 0, true};
              c.shape = {5, 1};
            }).find("service time of 0"),
            std::string::npos);
  EXPECT_EQ(validate(slo_targets{24, 500, 0, 10}), std::nullopt);
  EXPECT_EQ(validate(slo_targets{nan, 0, 0, 0}).value_or(""), "slo-itl: expected a number from 0 to 1000000000, got nan");
  EXPECT_EQ(validate(slo_targets{0, -1, 0, 0}).value_or(""), "slo-ttft: expected a number from 0 to 1000000000, got -1");
  EXPECT_EQ(validate(slo_targets{0, 0, inf, 0}).value_or(""), "slo-ttw: expected a number from 0 to 1000000000, got inf");
  EXPECT_EQ(validate(slo_targets{0, 0, 0, nan}).value_or(""), "slo-tps: expected a number from 0 to 1000000000, got nan");
}

/// Of the requests that come at saturation one of K + 1 finds batch and queue full: what completes ends there.
TEST(Sizing, WithoutAnObjectiveEndsNearKOfKPlusOneOfSaturation) {
  for (const int batch : {1, 4, 32, 128}) {
    SCOPED_TRACE(batch);
    const replica_config c{linear_profile{20, 0.5, 0, 0, false}, {0, 100}, batch, 10L * batch};
    const auto sized = size_replica(c, {});
    ASSERT_TRUE(sized);
    const double saturation = batch / (100 * (20 + 0.5 * batch));  // per ms
    const double places = 11.0 * batch;
    EXPECT_NEAR(sized->at.throughput.per_ms() / saturation, places / (places + 1), 0.002);
  }
}

}  // namespace
}  // namespace inferno::model

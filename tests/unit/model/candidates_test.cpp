// Candidates and transition values of one variant: the rules one by one.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/allocation.hpp"

namespace inferno::model {
namespace {

/// A variant with the quick start's three accelerators, on one A100.
struct Variant : ::testing::Test {
  accelerator a100{"A100", "NVIDIA-A100", 1, {40}};
  accelerator g2{"G2", "Gaudi-2", 1, {23}};
  accelerator mi{"MI300X", "MI300X", 1, {65}};
  model_profile on_a100{"default", "A100", 1, 4, 128, linear_profile{20.58, 0.41, 0, 0, false}, {}};
  model_profile on_g2{"default", "G2", 1, 4, 128, linear_profile{17.15, 0.34, 0, 0, false}, {}};
  model_profile on_mi{"default", "MI300X", 1, 4, 128, linear_profile{7.77, 0.15, 0, 0, false}, {}};
  server_spec server;
  variant_view view;

  Variant() {
    server.name = "v";
    server.model = "default";
    server.max_batch = 4;
    server.current.accelerator = "A100";
    server.current.num_replicas = 1;
    server.current.cost = {40};
    server.current.load = {req_rate::per_min(44), 0, 178};
    view.server = &server;
    view.slo = {24, 0, 500, 0};
    view.options = {{&a100, &on_a100}, {&g2, &on_g2}, {&mi, &on_mi}};
  }
  const allocation& only() {
    set = make_candidates(view);
    EXPECT_EQ(set.candidates.size(), 1u) << set.reason();
    return set.candidates.at(0);
  }
  candidate_set set;
};

TEST(TransitionValue, IsTheDifferenceOfCostAndATenthForAChange) {
  current_allocation from;
  from.accelerator = "A100";
  from.num_replicas = 2;
  from.cost = {80};
  EXPECT_EQ(transition_value(from, "A100", 2, {80}), 0);
  EXPECT_EQ(transition_value(from, "A100", 2, {90}), 0) << "nothing changes, whatever the price list says now";
  EXPECT_EQ(transition_value(from, "A100", 3, {120}), 40);
  EXPECT_EQ(transition_value(from, "A100", 1, {40}), -40);
  EXPECT_DOUBLE_EQ(transition_value(from, "G2", 2, {46}), 46 - 80 + 0.1 * (46 + 80));
  EXPECT_DOUBLE_EQ(transition_value(from, "", 0, {0}), -80 + 8);
  EXPECT_DOUBLE_EQ(transition_value({}, "G2", 1, {23}), 23 + 2.3) << "the first accelerator is a change too";
}

TEST_F(Variant, ReproducesTheQuickStartsAllocations) {
  server.keep_accelerator = true;
  EXPECT_EQ(only().num_replicas, 2);
  EXPECT_EQ(only().value, 40);
  EXPECT_EQ(only().cost.cents, 80);
  EXPECT_NEAR(only().itl_ms, 21.540192, 5e-5);
  server.current.load.arrival_rate = req_rate::per_min(22.67);
  EXPECT_EQ(only().num_replicas, 1);
  EXPECT_EQ(only().value, 0);
}

TEST_F(Variant, KeepsItsAcceleratorOnlyWhenAsked) {
  const auto all = make_candidates(view).candidates;
  ASSERT_EQ(all.size(), 3u);
  for (std::size_t i = 1; i < all.size(); ++i) EXPECT_LE(all[i - 1].value, all[i].value) << "by value";
  server.keep_accelerator = true;
  EXPECT_EQ(only().accelerator, "A100");
  server.current.accelerator.clear();
  EXPECT_EQ(make_candidates(view).candidates.size(), 3u) << "nothing in use, nothing to keep";
  server.current.accelerator = "H100";
  const auto none = make_candidates(view);
  EXPECT_TRUE(none.candidates.empty());
  EXPECT_EQ(none.reason(), "no profile for the accelerator in use, H100");
}

TEST_F(Variant, WithoutLoadHoldsTheLeastReplicas) {
  view.options = {{&a100, &on_a100}};
  on_a100.params = linear_profile{20, 0.5, 30, 0.25, true};
  for (const bool no_rate : {true, false}) {
    server.current.load = no_rate ? server_load{req_rate{}, 10, 178} : server_load{req_rate::per_min(10), 10, 0};
    server.min_replicas = 3;
    EXPECT_EQ(only().num_replicas, 3);
    EXPECT_EQ(only().accelerator, "A100");
    EXPECT_EQ(only().cost.cents, 120);
    EXPECT_EQ(only().itl_ms, 20.5);
    EXPECT_EQ(only().ttft_ms, 30.25);
    EXPECT_EQ(only().busy, 0);
    server.min_replicas = 0;
    EXPECT_EQ(only().num_replicas, 0);
    EXPECT_EQ(only().accelerator, "");
    EXPECT_EQ(only().cost.cents, 0);
    EXPECT_DOUBLE_EQ(only().value, -40 + 4);
  }
}

TEST_F(Variant, ScaledToZeroIsOneCandidateWhateverTheAccelerator) {
  server.current.load.arrival_rate = {};
  server.min_replicas = 0;
  EXPECT_EQ(make_candidates(view).candidates.size(), 1u);
}

TEST_F(Variant, BatchIsTheOverrideElseTheProfilesAtTheLength) {
  server.keep_accelerator = true;
  EXPECT_EQ(only().max_batch, 4);
  server.max_batch = 0;
  on_a100.max_batch = 32;
  EXPECT_EQ(only().max_batch, 32 * 128 / 178) << "in integers";
  server.current.load.avg_out_tokens = 5000;
  EXPECT_EQ(make_candidates(view).candidates.at(0).max_batch, 1) << "one at least";
  server.current.load.avg_out_tokens = 178;
  on_a100.at_tokens = 0;
  EXPECT_EQ(only().max_batch, 32);
}

TEST_F(Variant, ReplicasCoverTheDemandAndNotOneTooMany) {
  for (double rate = 1; rate < 3000; rate *= 1.07) {
    server.current.load.arrival_rate = req_rate::per_min(rate);
    for (const auto& c : make_candidates(view).candidates) {
      SCOPED_TRACE(c.accelerator);
      const double each = c.max_rate_per_replica.per_min();
      EXPECT_GE(c.num_replicas * each, rate * (1 - 1e-9));
      EXPECT_TRUE(c.num_replicas == 1 || (c.num_replicas - 1) * each < rate) << c.num_replicas << " at " << rate;
      EXPECT_LE(c.itl_ms, 24);
      EXPECT_LE(c.wait_ms, 500 / std::log(20.0) * (1 + 1e-9));
    }
  }
}

TEST_F(Variant, ReplicasNeverFallWhenTheRateRises) {
  server.keep_accelerator = true;
  int last = 0;
  for (double rate = 1; rate < 3000; rate += 3) {
    server.current.load.arrival_rate = req_rate::per_min(rate);
    EXPECT_GE(only().num_replicas, last) << rate;
    last = only().num_replicas;
  }
  EXPECT_GT(last, 50);
}

TEST_F(Variant, AWholeMultipleCostsNoReplicaMore) {
  server.keep_accelerator = true;
  const auto each = only().max_rate_per_replica;
  for (int n = 1; n < 200; ++n) {
    server.current.load.arrival_rate = req_rate::per_sec(each.per_sec() * n);
    EXPECT_EQ(only().num_replicas, n);
  }
}

TEST_F(Variant, StaysBetweenItsLimits) {
  server.keep_accelerator = true;
  server.min_replicas = 5;
  EXPECT_EQ(only().num_replicas, 5);
  server.min_replicas = 1;
  server.max_replicas = 1;
  EXPECT_EQ(only().num_replicas, 1);
  EXPECT_GT(only().wait_ms, 167) << "predicted for what it gets, not for what it would need";
  server.max_replicas = 0;
  server.min_replicas = 0;
  server.current.load.arrival_rate = req_rate::per_min(0.01);
  EXPECT_EQ(only().num_replicas, 1) << "load is never left without a replica";
}

TEST_F(Variant, AThroughputTargetIsDemand) {
  server.keep_accelerator = true;
  view.slo = {0, 0, 0, 1000};  // tokens/s: 5.62 requests/s, more than arrive
  const auto& c = only();
  EXPECT_EQ(c.num_replicas, std::ceil(1000 / 178.0 / c.max_rate_per_replica.per_sec()));
  EXPECT_EQ(c.binding, "tps");
}

TEST_F(Variant, CountsUnitsOfAReplicaInItsCost) {
  server.keep_accelerator = true;
  on_a100.acc_count = 2;
  EXPECT_EQ(only().cost.cents, 160);
}

TEST_F(Variant, NamesEveryRefusedAccelerator) {
  view.slo.itl_ms = 5;
  const auto none = make_candidates(view);
  EXPECT_TRUE(none.candidates.empty());
  EXPECT_EQ(none.reason(),
            "A100: itl target 5 ms cannot be met: 20.9904 ms at the lowest rate; G2: itl target 5 ms cannot be met: 17.4903 ms "
            "at the lowest rate; MI300X: itl target 5 ms cannot be met: 7.92015 ms at the lowest rate");
  view.slo.itl_ms = 10;
  EXPECT_EQ(only().accelerator, "MI300X");
  EXPECT_FALSE(set.candidates.empty()) << "one way is enough";
  view.options.clear();
  EXPECT_EQ(make_candidates(view).reason(), "no accelerator has a profile for the model");
}

TEST_F(Variant, RefusesWhatIsNoNumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const auto refused = [&] {
    const auto s = make_candidates(view);
    EXPECT_TRUE(s.candidates.empty());
    return s.reason();
  };
  const auto load = server.current.load;
  server.current.load.arrival_rate = req_rate::per_sec(nan);
  EXPECT_EQ(refused(), "requests per minute: expected a number from 0 to 1000000000, got nan");
  server.current.load = load;
  server.current.load.avg_out_tokens = inf;
  EXPECT_EQ(refused(), "output tokens: expected a number from 0 to 10000000, got inf");
  server.current.load = load;
  server.current.load.avg_in_tokens = -1;
  EXPECT_EQ(refused(), "input tokens: expected a number from 0 to 10000000, got -1");
  server.current.load = load;
  view.slo.ttft_ms = nan;
  EXPECT_EQ(refused(), "slo-ttft: expected a number from 0 to 1000000000, got nan");
  view.slo.ttft_ms = 0;
  std::get<linear_profile>(on_a100.params).alpha_ms = nan;
  server.keep_accelerator = true;
  EXPECT_EQ(refused(), "A100: alpha: expected a number from 0 to 1000000, got nan");
  on_a100.params = linear_profile{0, 0, 0, 0, false};
  EXPECT_EQ(refused(), "A100: alpha and beta are both 0: a decode step must take time");
}

TEST_F(Variant, RefusesAbsurdDemand) {
  server.keep_accelerator = true;
  server.current.load.arrival_rate = req_rate::per_min(1e9);
  const auto s = make_candidates(view);
  EXPECT_TRUE(s.candidates.empty());
  EXPECT_EQ(s.reason(), "A100: would need 3.95078e+07 replicas, 100000 at most");
  server.current.load.arrival_rate = req_rate::per_sec(1e300);
  EXPECT_EQ(make_candidates(view).reason(), "requests per minute: expected a number from 0 to 1000000000, got 6e+301");
  server.current.load.avg_out_tokens = 1e300;
  EXPECT_TRUE(make_candidates(view).candidates.empty());
}

/// With load and without: what no cluster has is not asked for.
TEST_F(Variant, RefusesAnAbsurdMinimum) {
  for (const double rate : {0.0, 44.0}) {
    server.current.load.arrival_rate = req_rate::per_min(rate);
    server.min_replicas = 1'000'000;
    const auto s = make_candidates(view);
    EXPECT_TRUE(s.candidates.empty());
    EXPECT_EQ(s.reason(), "minReplicas: expected a whole number from 0 to 100000, got 1000000");
    server.min_replicas = most_replicas;
    EXPECT_EQ(make_candidates(view).candidates.size(), 3u);
    on_mi.acc_count = mi.multiplicity = 1024;
    const auto t = make_candidates(view);
    EXPECT_EQ(t.candidates.size(), 2u);
    EXPECT_EQ(t.reason(), "MI300X: would need 1.04858e+11 GPUs, 1000000000 at most");
    on_mi.acc_count = mi.multiplicity = 1;
  }
}

TEST_F(Variant, EqualValuesComeByCostThenName) {
  accelerator b{"B100", "NVIDIA-A100", 1, {40}}, c{"C100", "NVIDIA-A100", 1, {40}};
  auto on_b = on_a100, on_c = on_a100;
  on_b.acc = "B100";
  on_c.acc = "C100";
  server.current.accelerator.clear();
  server.current.cost = {};
  for (const bool turned : {false, true}) {
    view.options = {{&c, &on_c}, {&b, &on_b}};
    if (turned) std::swap(view.options[0], view.options[1]);
    const auto s = make_candidates(view);
    ASSERT_EQ(s.candidates.size(), 2u);
    EXPECT_EQ(s.candidates[0].accelerator, "B100");
    EXPECT_EQ(s.candidates[1].accelerator, "C100");
  }
}

/// What runs and waits finds a slot on whatever accelerator, within maxReplicas, whether anything arrives or not.
TEST_F(Variant, HasRoomForWhatIsInFlight) {
  on_mi.max_batch = 16;
  server.max_batch = 0;
  server.in_flight = 90;
  for (auto* p : {&on_a100, &on_g2, &on_mi}) p->at_tokens = 0;
  for (const double per_min : {44.0, 0.0, 4400.0})
    for (const int most : {0, 7}) {
      server.current.load.arrival_rate = req_rate::per_min(per_min);
      server.max_replicas = most;
      set = make_candidates(view);
      ASSERT_EQ(set.candidates.size(), 3u);
      for (const auto& c : set.candidates) {
        const int batch = c.accelerator == "MI300X" ? 16 : 4;
        EXPECT_TRUE(c.num_replicas * batch >= 90 || c.num_replicas == most) << c.accelerator << " x " << c.num_replicas;
        EXPECT_TRUE(most == 0 || c.num_replicas <= most);
      }
    }
  server.min_replicas = 0;
  server.current.load.arrival_rate = {};
  server.max_replicas = 0;
  server.in_flight = 1;
  EXPECT_EQ(make_candidates(view).candidates.front().num_replicas, 1);
  server.in_flight = 0;
  EXPECT_EQ(make_candidates(view).candidates.front().num_replicas, 0);
}

TEST_F(Variant, TheTtftOfItsObjectiveIsTheMeanOrThePercentile) {
  server.keep_accelerator = true;
  auto a = only();
  add_percentiles(view, a);
  EXPECT_EQ(a.ttft_objective_ms, a.ttft_ms);
  view.slo.ttft_percentile = 95;
  add_percentiles(view, a);
  EXPECT_NEAR(a.ttft_objective_ms, a.ttft_at.p95, 1e-6 * a.ttft_at.p95);
  EXPECT_GT(a.ttft_objective_ms, a.ttft_ms);
  EXPECT_EQ(percentile_name(0), "mean");
  EXPECT_EQ(percentile_name(99.9), "p99.9");
}

}  // namespace
}  // namespace inferno::model

// One variant's analysis: which of the recent loads it plans for.
#include "actors/analysis.hpp"

#include <gtest/gtest.h>

#include <random>

namespace inferno::actors {
namespace {

using namespace std::chrono_literals;

/// The quick start's variant on A100s, its stabilization a minute.
std::shared_ptr<variant_inputs> quickstart(int replicas = 1) {
  auto object = std::make_shared<variant_object>();
  object->key = {"n", "v"};
  object->model_id = "default";
  object->class_name = "Premium";
  object->accelerator_label = "A100";
  object->target = {"Deployment", "llm", "v"};
  object->profiles.push_back({"default", "A100", 1, 4, 0, model::linear_profile{20.58, 0.41, 0, 0, false}, {}});
  auto target = std::make_shared<workload_object>();
  target->ref = {"Deployment", "n", "v"};
  target->replicas = replicas;
  auto shared = std::make_shared<catalog>();
  shared->accelerators["A100"] = {"A100", "NVIDIA-A100-PCIE-80GB", 1, {40}};
  shared->classes.push_back({"premium", {"Premium", 1, {{"default", {24, 0, 500, 0}}}}});
  auto inputs = std::make_shared<variant_inputs>();
  inputs->object = std::move(object);
  inputs->target = std::move(target);
  inputs->shared = std::move(shared);
  return inputs;
}

load_sample sample(double time_s, double arrivals, double completions, double out_tokens) {
  load_sample s;
  s.time_s = time_s;
  s.span_s = 1;
  s.arrivals = arrivals;
  s.completions = completions;
  s.in_tokens = 10 * completions;
  s.out_tokens = out_tokens;
  s.pods = s.pods_reporting = 1;
  return s;
}

double planned_per_s(variant_analysis& a) { return a.make_curve()->current.load.arrival_rate.per_sec(); }

TEST(Analysis, ALoadOfUnknownLengthsIsHeldUntilOneIsKnown) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart(4);
  a.update(inputs);
  // Nothing completes at first: there is no telling how many replicas this needs, and it is not nothing.
  for (int t = 1; t <= 90; ++t) a.observe(sample(t, 50, 0, 0));
  const auto held = a.make_curve();
  EXPECT_TRUE(held->hold);
  EXPECT_EQ(held->hold_reason, "MetricsPending");
  EXPECT_EQ(held->current.num_replicas, 4);
  // Completed, and no family tells the lengths.
  a.observe(sample(91, 50, 50, 0));
  EXPECT_EQ(a.make_curve()->hold_reason, "MetricsIncomplete");
  EXPECT_NE(a.make_curve()->metrics.message.find("vllm:request_generation_tokens"), std::string::npos);
  a.observe(sample(92, 50, 5, 200));
  const auto curve = a.make_curve();
  EXPECT_EQ(curve->current.load.avg_out_tokens, 40);
  ASSERT_FALSE(curve->candidates.empty());
  EXPECT_GT(curve->candidates.front().alloc.num_replicas, 4);
  EXPECT_TRUE(curve->urgent);
}

// Whoever holds GPUs holds them whether or not anything else about it is known, from the first curve on.
TEST(Analysis, WhatAHeldVariantHasIsSaidBeforeItWasEverEvaluated) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart(4);
  a.update(inputs);
  for (const std::string reason : {"MetricsPending", "MetricsIncomplete", "UnknownServiceClass", "InvalidSpec"}) {
    SCOPED_TRACE(reason);
    auto object = std::make_shared<variant_object>(*inputs->object);
    if (reason == "UnknownServiceClass") object->class_key = object->class_name = "none";
    if (reason == "InvalidSpec") object->problem = "spec.maxReplicas is -1";
    inputs->object = object;
    a.update(inputs);
    if (reason == "MetricsIncomplete") {
      auto lacking = sample(1, 0, 0, 0);
      lacking.missing = "vllm:request_success";
      a.observe(lacking);
    }
    const auto held = a.make_curve();
    EXPECT_TRUE(held->hold);
    EXPECT_EQ(held->hold_reason, reason);
    EXPECT_EQ(held->current.num_replicas, 4);
    EXPECT_EQ(held->current_device, inputs->shared->accelerators.at(held->current.accelerator).type);
    EXPECT_EQ(held->current_units, 1);
    EXPECT_EQ(held->current.cost.cents, 4 * inputs->shared->accelerators.at(held->current.accelerator).cost.cents);
  }
}

TEST(Analysis, AMissingFamilyIsNamedAndHeldAndItsReturnIsNoBurst) {
  variant_analysis a({"n", "v"});
  a.update(quickstart());
  for (int t = 1; t <= 120; ++t) a.observe(sample(t, 2, 2, 80));
  const auto before = a.make_curve()->candidates.front().alloc.num_replicas;
  auto lacking = sample(121, 0, 0, 0);
  lacking.missing = "vllm:request_success";
  for (; lacking.time_s < 400; ++lacking.time_s) a.observe(lacking);
  const auto held = a.make_curve();
  EXPECT_TRUE(held->hold);
  EXPECT_EQ(held->hold_reason, "MetricsIncomplete");
  EXPECT_FALSE(held->metrics.status);
  EXPECT_NE(held->metrics.message.find("vllm:request_success"), std::string::npos) << held->metrics.message;
  for (int t = 400; t <= 520; ++t) {
    a.observe(sample(t, 2, 2, 80));
    const auto curve = a.make_curve();
    if (curve->hold) continue;
    EXPECT_EQ(curve->candidates.front().alloc.num_replicas, before) << t;
  }
  EXPECT_TRUE(a.make_curve()->metrics.status);
}

/// Every slot is taken and nothing completes for longer than the rate window and the stabilization time.
/// Requests of 1,000 tokens, 20 s each, one a second; then ten a second of 100 tokens instead. At first nothing tells that they
/// are shorter, and after 20 s it is known.
TEST(Analysis, LengthsThatWereAssumedInARiseAreCorrectedOnceTheyAreKnown) {
  variant_analysis a({"n", "v"});
  a.update(quickstart(8));
  double most = 0;
  for (int t = 1; t <= 155; ++t) {
    const double arrivals = t > 100 ? 10 : 1, old_ones = std::clamp(120 - t, 0, 20),
                 new_ones = t > 100 ? std::min(t - 100, 2) * 10 : 0;
    const double done_old = t <= 120, done_new = t > 102 ? 10 : 0;
    auto s = sample(t, arrivals, done_old + done_new, 1000 * done_old + 100 * done_new);
    s.running = old_ones + new_ones;
    s.itl_count = 50 * s.running;
    s.itl_sum_s = s.running;
    s.ttft_count = arrivals;
    a.observe(s);
    const auto curve = a.make_curve();
    const auto& load = curve->current.load;
    const double tokens = load.arrival_rate.per_sec() * load.avg_out_tokens;
    most = std::max(most, tokens);
    if (t > 130) {
      EXPECT_LE(tokens, 3000) << "at " << t << " s, 1,000 a second are made";
    }
    if (t > 5) {
      EXPECT_GE(tokens, 900) << "at " << t << " s";
    }
  }
  EXPECT_GT(most, 4000) << "at first they may be as long as those before";
}

TEST(Analysis, BusyServersThatCompleteNothingAreKept) {
  for (const bool keep : {true, false}) {
    auto inputs = quickstart(50);
    auto object = std::make_shared<variant_object>(*inputs->object);
    object->keep_accelerator = keep;
    object->profiles.push_back({"default", "MI300X", 1, 16, 0, model::linear_profile{7.77, 0.15, 0, 0, false}, {}});
    inputs->object = object;
    auto shared = std::make_shared<catalog>(*inputs->shared);
    shared->accelerators["MI300X"] = {"MI300X", "AMD-MI300X-192G", 1, {65}};
    shared->placements["MI300X"];
    inputs->shared = shared;
    variant_analysis a({"n", "v"});
    a.update(inputs);
    for (int t = 1; t <= 100; ++t) a.observe(sample(t, 15, 15, 15 * 178));
    auto stuck = sample(101, 0, 0, 0);
    stuck.running = 50 * 4;
    stuck.waiting = 50 * 3;
    for (; stuck.time_s <= 400; ++stuck.time_s) a.observe(stuck);
    const auto seen = a.make_curve();
    for (const auto& c : seen->candidates)
      EXPECT_EQ(c.alloc.num_replicas, c.alloc.accelerator == "A100" ? 50 : 13) << c.alloc.accelerator;
    stuck.running = stuck.waiting = 0;
    for (; stuck.time_s <= 470; ++stuck.time_s) a.observe(stuck);
    const auto later = a.make_curve();
    for (const auto& c : later->candidates) EXPECT_EQ(c.alloc.num_replicas, 1) << c.alloc.accelerator;
  }
}

TEST(Analysis, APoolIsNotPlannedBelowWhatItsMemberHasInFlight) {
  auto inputs = quickstart(10);
  variant_analysis a({"n", "v"});
  a.update(inputs);
  auto s = sample(1, 0.1, 0.1, 17.8);
  s.running = 21;
  for (; s.time_s <= 200; ++s.time_s) a.observe(s);
  const auto curve = a.make_curve();
  ASSERT_TRUE(curve->basis);
  EXPECT_FALSE(curve->pool.empty());
  EXPECT_EQ(curve->basis->server.min_replicas, 6);
}

/// Ten pods serve 3 requests a second; four are silent for 64 s.
TEST(Analysis, APartialSilenceDoesNotMoveTimeOn) {
  variant_analysis a({"n", "v"});
  a.update(quickstart());
  double t = 0;
  const auto observe = [&](int reporting, double per_s) {
    auto s = sample(t += 2, 2 * per_s, 2 * per_s, 2 * per_s * 178);
    s.span_s = 2;
    s.pods = 10;
    s.pods_reporting = reporting;
    a.observe(s);
  };
  std::mt19937 random(4);
  const auto arrivals_of = [&](double per_s) { return std::poisson_distribution<int>(2 * per_s)(random) / 2.0; };
  while (t < 200) observe(10, arrivals_of(3));
  const double before = planned_per_s(a);
  EXPECT_GT(before, 2.7);
  while (t < 264) observe(6, arrivals_of(1.8));
  EXPECT_EQ(a.make_curve()->metrics.reason, "MetricsIncomplete");
  while (t < 600) {
    observe(10, arrivals_of(3));
    ASSERT_GT(planned_per_s(a), 0.88 * 3) << t;
  }
  // It may rise by what the others say.
  while (t < 640) observe(6, arrivals_of(12));
  EXPECT_GT(planned_per_s(a), 9);
}

// One pod was never heard of: what the others have is the least there is from the first.
TEST(Analysis, ASilenceFromTheBeginningDoesNotKeepItFromRising) {
  variant_analysis a({"n", "v"});
  a.update(quickstart());
  bool told = false;
  for (int t = 1; t <= 60; ++t) {
    auto s = sample(t, 8, 8, 8 * 178);
    s.pods = 6;
    s.pods_reporting = 5;
    told = a.observe(s) || told;
  }
  EXPECT_TRUE(told);
  const auto curve = a.make_curve();
  EXPECT_FALSE(curve->hold) << curve->hold_reason;
  EXPECT_GT(curve->current.load.arrival_rate.per_sec(), 7);
  EXPECT_LT(curve->current.load.arrival_rate.per_sec(), 8.1);
  ASSERT_FALSE(curve->candidates.empty());
  EXPECT_GT(curve->candidates.front().alloc.num_replicas, 1);
}

// A watch of pods that is ill shows fewer than there are; the target's own status tells.
TEST(Analysis, ReplicasWhosePodsAreNotKnownAreKept) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart();
  auto target = std::make_shared<workload_object>(*inputs->target);
  target->replicas = 6;
  target->ready_replicas = 6;
  inputs->target = target;
  a.update(inputs);
  for (int t = 1; t <= 300; ++t) {
    auto s = sample(t, 0.5, 0.5, 0.5 * 178);
    s.pods = s.pods_reporting = t <= 100 ? 6 : 2;
    if (t <= 100) s.arrivals = s.completions = 8, s.out_tokens = 8 * 178;
    a.observe(s);
  }
  const auto curve = a.make_curve();
  EXPECT_EQ(curve->metrics.reason, "MetricsIncomplete");
  EXPECT_EQ(curve->metrics.message, "v has 6 ready replicas, and 2 of its pods are known");
  for (const auto& c : curve->candidates) EXPECT_GE(c.alloc.num_replicas, 6);
}

// Where servers are read one after the other, samples without counts come in between: they are no reason to remember longer.
TEST(Analysis, APeakIsForgottenAfterTheStabilizationHoweverSeldomCountsCome) {
  for (const int every : {1, 5, 15, 30}) {
    SCOPED_TRACE(every);
    variant_analysis a({"n", "v"});
    auto inputs = quickstart(24);
    a.update(inputs);
    const auto live = [&](int from, int to, double per_s) {
      for (int t = from; t <= to; ++t) {
        auto s = sample(t, 0, 0, 0);
        s.span_s = 0;
        if (t % every == 0) {
          s = sample(t, per_s * every, per_s * every, per_s * every * 178);
          s.span_s = every;
        }
        s.pods = s.pods_reporting = 24;
        if (a.observe(s)) a.make_curve();
      }
      return a.make_curve()->candidates.front().alloc.num_replicas;
    };
    EXPECT_GT(live(1, 240, 8), 15);
    // The rate window, the stabilization (a minute each) and a sample at each end.
    EXPECT_LT(live(241, 240 + 120 + 2 * every + 2, 0.8), 5);
  }
}

TEST(Analysis, SaysThatAnObjectiveIsMissed) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart();
  auto shared = std::make_shared<catalog>(*inputs->shared);
  shared->classes.front().spec.targets.front().slo = {24, 500, 0, 0, 95};
  inputs->shared = shared;
  a.update(inputs);
  auto s = sample(1, 2, 2, 80);
  for (; s.time_s <= 30; ++s.time_s) a.observe(s);
  const auto silent = a.make_curve()->objectives;
  EXPECT_EQ(silent.reason, "NothingMeasured");
  EXPECT_EQ(silent.message, "no objective can be compared: the servers reported none of ITL, TTFT in the rate window");
  auto other = s;
  other.itl_sum_s = 0.02, other.itl_count = 1;
  for (; other.time_s <= 45; ++other.time_s) a.observe(other);
  const auto half = a.make_curve()->objectives;
  EXPECT_TRUE(half.status);
  EXPECT_EQ(half.message, "measured mean ITL is 20.0 ms, the objective is mean 24.0 ms; not measured in the rate window: TTFT");
  s.time_s = other.time_s;
  s.ttft_sum_s = 36, s.ttft_count = 2;
  s.itl_sum_s = 0.02, s.itl_count = 1;
  for (; s.time_s <= 60; ++s.time_s) a.observe(s);
  const auto missed = a.make_curve()->objectives;
  EXPECT_FALSE(missed.status);
  EXPECT_EQ(missed.reason, "ObjectiveMissed");
  EXPECT_EQ(missed.message, "measured mean TTFT is 18000.0 ms, the objective is p95 500.0 ms");
  // Just above, and back within: it is not met before it is really met.
  for (const auto& [ttft_s, met] :
       {std::pair{0.51, false}, std::pair{0.49, true}, std::pair{0.51, true}, std::pair{0.54, false}}) {
    s.ttft_sum_s = 2 * ttft_s;
    for (const double until = s.time_s + 70; s.time_s <= until; ++s.time_s) a.observe(s);
    EXPECT_EQ(a.make_curve()->objectives.status, met) << ttft_s;
  }
}

TEST(Analysis, WhatWasMeasuredEndsWithTheRequestsAndWithTheReadings) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart(4);
  a.update(inputs);
  auto s = sample(1, 2, 2, 80);
  s.itl_sum_s = 0.03, s.itl_count = 1;
  for (; s.time_s <= 70; ++s.time_s) a.observe(s);
  EXPECT_EQ(a.make_curve()->objectives.reason, "ObjectiveMissed");
  EXPECT_NEAR(a.make_curve()->current.itl_ms, 30, 1e-3);
  // No requests any more, for a rate window.
  const auto busy = s;
  auto idle = sample(s.time_s, 0, 0, 0);
  for (const double until = s.time_s + 70; idle.time_s <= until; ++idle.time_s)
    if (a.observe(idle)) a.make_curve();
  const auto quiet = a.make_curve();
  EXPECT_EQ(quiet->objectives.reason, "NothingMeasured");
  EXPECT_STREQ(quiet->objectives.text(), "Unknown");
  EXPECT_EQ(quiet->measured.itl_ms, 0);
  EXPECT_EQ(quiet->current.itl_ms, 0) << "the status shows this one";
  // Measured again, and then the servers fall silent.
  s = busy;
  s.time_s = idle.time_s;
  for (const double until = s.time_s + 70; s.time_s <= until; ++s.time_s) a.observe(s);
  EXPECT_STREQ(a.make_curve()->objectives.text(), "False");
  a.lost("MetricsSourceFailed", "down");
  const auto silent = a.make_curve();
  EXPECT_STREQ(silent->objectives.text(), "Unknown");
  EXPECT_EQ(silent->current.itl_ms, 0);
  EXPECT_GT(silent->current.load.arrival_rate.per_sec(), 0) << "what was planned for is still planned for";
}

TEST(Analysis, PodsThatBecomeReadyAreShownWithoutHaste) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart();
  auto object = std::make_shared<variant_object>(*inputs->object);
  object->pool = "off";
  inputs->object = object;
  a.update(inputs);
  for (int t = 1; t <= 30; ++t) a.observe(sample(t, 0.1, 0.1, 17.8));
  a.make_curve();
  auto next = std::make_shared<variant_inputs>(*inputs);
  auto target = std::make_shared<workload_object>(*inputs->target);
  target->ready_replicas = 1;
  next->target = target;
  EXPECT_TRUE(a.update(next));
  const auto curve = a.make_curve();
  EXPECT_EQ(curve->ready, 1);
  EXPECT_FALSE(curve->urgent);
}

TEST(Analysis, PlansForTheRecentLoadThatNeedsTheMost) {
  variant_analysis a({"n", "v"});
  a.update(quickstart());
  for (int t = 1; t <= 60; ++t) a.observe(sample(t, 2, 2, 80));
  EXPECT_NEAR(planned_per_s(a), 2, 1e-9);
  for (int t = 61; t <= 119; ++t) a.observe(sample(t, 0, 0, 0));
  EXPECT_NEAR(planned_per_s(a), 2, 1e-9) << "for the stabilization time";
  for (int t = 120; t <= 200; ++t) a.observe(sample(t, 0, 0, 0));
  EXPECT_EQ(planned_per_s(a), 0);
}

TEST(Analysis, AnotherProfileMeasuresTheRecentLoadsAnew) {
  variant_analysis a({"n", "v"});
  auto inputs = quickstart();
  inputs->shared = nullptr;  // no ConfigMaps yet: loads are ordered by their tokens
  a.update(inputs);
  for (int t = 1; t <= 60; ++t) a.observe(sample(t, 2, 2, 80));
  a.update(quickstart());
  // Three times the load: in replicas a small number, and yet more than what was measured in tokens before.
  for (int t = 61; t <= 90; ++t) a.observe(sample(t, 6, 6, 240));
  EXPECT_NEAR(planned_per_s(a), 6, 1e-9);
}

/// The quick start's variant, free to move to an accelerator that a move has failed to.
std::shared_ptr<variant_inputs> failed_change(std::optional<std::chrono::system_clock::time_point> failed_at) {
  auto inputs = quickstart();
  auto object = std::make_shared<variant_object>(*inputs->object);
  object->keep_accelerator = false;
  object->target = {"Deployment", "n", "v"};
  object->profiles.push_back({"default", "MI300X", 1, 4, 0, model::linear_profile{7.77, 0.15, 0, 0, false}, {}});
  inputs->object = std::move(object);
  auto shared = std::make_shared<catalog>(*inputs->shared);
  shared->accelerators["MI300X"] = {"MI300X", "AMD-MI300X-192G", 1, {65}};
  shared->placements["MI300X"];
  inputs->shared = std::move(shared);
  auto target = std::make_shared<workload_object>(*inputs->target);
  auto change = std::make_shared<accelerator_change>();
  change->from = "A100";
  change->to = "MI300X";
  change->replicas = 1;
  change->phase = accelerator_change::step::failed;
  change->message = "stuck";
  change->failed_at = failed_at;
  target->change = std::move(change);
  inputs->target = std::move(target);
  return inputs;
}

TEST(Analysis, AFailedMovePausesForHalfAnHourSinceItFailedWhoeverSeesIt) {
  const std::chrono::system_clock::time_point failed_at{1700000000s};
  // Failed when, first seen so long after it, and how long it is left alone from then on.
  const std::tuple<std::optional<std::chrono::system_clock::time_point>, std::chrono::minutes, int> cases[] = {
      {failed_at, 10min, 20}, {failed_at, 29min, 1}, {failed_at, 40min, 0}, {failed_at, -5min, 30}, {std::nullopt, 10min, 30}};
  for (const auto& [at, seen_after, minutes] : cases) {
    SCOPED_TRACE(seen_after.count());
    auto now = failed_at + seen_after;
    variant_analysis a({"n", "v"}, [&now] { return now; });
    a.update(failed_change(at));
    double time_s = 5e6;  // of a machine that is up for two months
    int left_alone = 0;
    for (; left_alone < 60; ++left_alone) {
      auto s = sample(time_s, 120, 120, 4800);
      s.span_s = 60;
      a.observe(s);
      if (a.make_curve()->hold_message.find("not moved to MI300X for half an hour: stuck") == std::string::npos) break;
      time_s += 60;
      now += 1min;
    }
    EXPECT_EQ(left_alone, minutes);
  }
}

}  // namespace
}  // namespace inferno::actors

// One variant's analysis: which of the recent loads it plans for.
#include "actors/analysis.hpp"

#include <gtest/gtest.h>

namespace inferno::actors {
namespace {

using namespace std::chrono_literals;

/// The quick start's variant on one A100, its stabilization a minute.
std::shared_ptr<variant_inputs> quickstart() {
  auto object = std::make_shared<variant_object>();
  object->key = {"n", "v"};
  object->model_id = "default";
  object->class_name = "Premium";
  object->accelerator_label = "A100";
  object->target = {"Deployment", "llm", "v"};
  object->profiles.push_back({"default", "A100", 1, 4, 0, model::linear_profile{20.58, 0.41, 0, 0, false}, {}});
  auto target = std::make_shared<workload_object>();
  target->ref = {"Deployment", "n", "v"};
  target->replicas = 1;
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

TEST(Analysis, ALoadOfUnknownLengthsDoesNotOutliveTheFirstKnownOne) {
  variant_analysis a({"n", "v"});
  a.update(quickstart());
  // Nothing is completed in the first second: there is no telling how many replicas this needs.
  a.observe(sample(1, 50, 0, 0));
  EXPECT_EQ(a.make_curve()->current.load.avg_out_tokens, 0);
  // From the first completions on there is, though the stabilization is a minute.
  a.observe(sample(2, 50, 5, 200));
  const auto curve = a.make_curve();
  EXPECT_EQ(curve->current.load.avg_out_tokens, 40);
  ASSERT_FALSE(curve->candidates.empty());
  EXPECT_GT(curve->candidates.front().alloc.num_replicas, 1);
  EXPECT_TRUE(curve->urgent);
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
      a.observe(sample(time_s, 2, 2, 80));
      if (a.make_curve()->hold_message.find("not moved to MI300X for half an hour: stuck") == std::string::npos) break;
      time_s += 60;
      now += 1min;
    }
    EXPECT_EQ(left_alone, minutes);
  }
}

}  // namespace
}  // namespace inferno::actors

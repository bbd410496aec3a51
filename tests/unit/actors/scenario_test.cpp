// The quick start's story on virtual time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(Scenario, KeepsOneReplicaAtTheQuickStartsFirstRate) {
  world w;
  w.quickstart();
  w.load(22.67);
  w.advance(70s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  const auto plan = w.view->plan();
  ASSERT_TRUE(plan);
  const auto& d = *plan->decisions.find({"llm", "vllme"});
  EXPECT_EQ(d.reason, "Optimized");
  EXPECT_EQ(d.desired.accelerator, "A100");
  EXPECT_EQ(d.desired.num_replicas, 1);
  EXPECT_NEAR(d.desired.itl_ms, 21.555601, 1e-4);
  EXPECT_NEAR(d.desired.wait_ms, 110.798096, 1e-2);
  EXPECT_THAT(w.condition_of("OptimizationReady"), StartsWith("True Optimized"));
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound"));
  EXPECT_THAT(w.condition_of("TargetResolved"), StartsWith("True TargetFound"));
}

TEST(Scenario, ScalesUpAtOnceAndDownAfterStabilization) {
  world w;
  w.quickstart();
  w.load(22.67);
  w.advance(70s);
  w.load(44);
  const double step_at = w.now_s();
  w.advance(70s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(2));
  // An overload does not wait for the cycle of 60 s.
  EXPECT_LT(w.api->calls_to("patch", "deployments", "scale").front().at_s - step_at, 20);
  w.advance(180s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2)) << "steady load must not flap";
  w.load(2.67);
  const double off_at = w.now_s();
  w.advance(240s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(2, 1));
  EXPECT_GE(w.api->calls_to("patch", "deployments", "scale").back().at_s - off_at, 60);
  const auto events = w.api->calls_to("create", "events");
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].body.at("reason").as_string(), "ScaledUp");
  EXPECT_EQ(events[1].body.at("reason").as_string(), "ScaledDown");
}

/// The messages of the Events of a variant with this spec that has `replicas` and is under 44 requests a minute.
std::vector<std::string> events_with(const std::string& spec, int replicas) {
  world w;
  populate(w, {"vllme"}, {va_json("llm", "vllme", spec)}, replicas);
  load_each(w, {{"vllme", 44}});
  w.advance(200s);
  std::vector<std::string> out;
  for (const auto& e : w.api->calls_to("create", "events")) out.emplace_back(e.body.at("message").as_string());
  return out;
}

TEST(Scenario, EventsNameTheLimitThatSetTheReplicasInsteadOfTheLoad) {
  EXPECT_THAT(events_with("", 1), ElementsAre("Scaled Deployment vllme from 1 to 2 replicas for 44.00 requests/min on A100"));
  EXPECT_THAT(events_with(R"(,"minReplicas":4)", 1),
              ElementsAre("Scaled Deployment vllme from 1 to 4 replicas on A100: spec.minReplicas is 4"))
      << "whatever arrives";
  EXPECT_THAT(
      events_with(R"(,"maxReplicas":1)", 3),
      ElementsAre("Scaled Deployment vllme from 3 to 1 replicas on A100: spec.maxReplicas is 1, 44.00 requests/min need 2"));
  EXPECT_THAT(events_with(R"(,"minReplicas":2)", 3),
              ElementsAre("Scaled Deployment vllme from 3 to 2 replicas for 44.00 requests/min on A100"));
}

TEST(Scenario, WritesOwnerReferenceOnceAndTheStatusOfTheCrd) {
  world w;
  w.quickstart();
  w.load(44);
  w.advance(70s);
  const auto owners = w.api->calls_to("patch", "variantautoscalings");
  ASSERT_FALSE(owners.empty());
  EXPECT_EQ(owners.front().body.at("metadata").at("ownerReferences").at(0).at("uid").as_string(), "dep-llm-vllme");
  const auto s = w.status();
  EXPECT_EQ(s.at("desiredOptimizedAlloc").at("numReplicas").as_int64(), 2);
  EXPECT_EQ(s.at("desiredOptimizedAlloc").at("accelerator").as_string(), "A100");
  EXPECT_EQ(s.at("currentAlloc").at("load").at("arrivalRate").as_string(), "44.00");
  EXPECT_TRUE(s.at("actuation").at("applied").as_bool());
}

TEST(Scenario, TellsTheQuickStartsStoryInTheLog) {
  world w;
  w.quickstart();
  w.load(44);
  w.advance(70s);
  EXPECT_TRUE(w.logged({"Found inventory", "NVIDIA-A100-PCIE-80GB"}));
  EXPECT_TRUE(w.logged({"Found SLO", "Premium", "\"slo-itl\":24,"})) << w.trace();
  EXPECT_TRUE(w.logged({"Optimization solution", "llm/vllme", "\"accelerator\":\"A100\"", "\"numReplicas\":2"}));
  EXPECT_TRUE(w.logged({"Allocation by type", "NVIDIA-A100-PCIE-80GB"}));
  EXPECT_TRUE(w.logged({"Patched Deployment", "vllme"}));
  EXPECT_TRUE(w.logged({"Reconciliation completed"}));
}

/// The whole story once more, as a trace of every log line and API call.
std::string trace_of_story(double rate) {
  world w;
  w.quickstart();
  w.load(rate);
  w.advance(70s);
  w.load(2.67);
  w.advance(200s);
  std::string out = w.trace();
  for (const auto& c : w.api->calls)
    out += fmt::format("{:.2f} {} {}/{} {}\n", c.at_s, c.verb, c.plural, c.subresource, json::serialize(c.body));
  return out;
}

TEST(Scenario, SameInputsGiveTheSameTrace) {
  const auto first = trace_of_story(44);
  EXPECT_EQ(first, trace_of_story(44));
  EXPECT_THAT(first, HasSubstr("Patched Deployment"));
  EXPECT_NE(first, trace_of_story(80)) << "the trace must depend on the inputs";
}

TEST(Scenario, TriggerRunsACycleAtOnceAndIsReset) {
  world w;
  w.quickstart();
  w.load(10);
  w.advance(20s);
  const auto before = w.view->plan()->cycle;
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"GLOBAL_OPT_TRIGGER", "true"}}));
  w.advance(2s);
  EXPECT_GT(w.view->plan()->cycle, before);
  EXPECT_EQ(w.view->plan()->trigger, "GLOBAL_OPT_TRIGGER");
  const auto patches = w.api->calls_to("patch", "configmaps");
  ASSERT_EQ(patches.size(), 1u);
  EXPECT_EQ(patches[0].body.at("data").at("GLOBAL_OPT_TRIGGER").as_string(), "false");
}

TEST(Scenario, IntervalIsLive) {
  world w;
  w.quickstart();
  w.load(10);
  w.advance(20s);
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "5s"}}));
  w.advance(3s);
  const auto before = w.view->plan()->cycle;
  w.advance(30s);
  EXPECT_GE(w.view->plan()->cycle, before + 5);
}

TEST(Scenario, SilenceNeverScalesDown) {
  world w;
  w.quickstart(2);
  w.load(44);
  w.advance(70s);
  ASSERT_THAT(w.scale_patches(), IsEmpty());
  w.source->respond = [](const auto&, double) {
    auto out = std::make_shared<collected_metrics>();
    out->problem = "connection refused";
    return out;
  };
  w.advance(600s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("False MetricsSourceFailed: connection refused"));
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas").as_int64(), 2);
  w.load(2.67);
  w.advance(300s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(1)) << "decides again once metrics are back";
}

TEST(Scenario, AVariantThatGoesTakesItsSeriesWithIt) {
  world w;
  w.quickstart();
  w.load(10);
  w.advance(70s);
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_desired_replicas{"));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("variant_name=\"vllme\""));
  w.changed("variantautoscalings", va_json("llm", "vllme"), kube::watch_type::deleted);
  w.advance(70s);
  EXPECT_THAT(w.view->metrics_text(), ::testing::Not(HasSubstr("variant_name=\"vllme\"")));
}

}  // namespace
}  // namespace inferno::actors::testing

// What is wrong is named in a condition or a log line, every other variant goes on, and what is mended recovers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;

const std::map<std::string, double> busy{{"good", 44}, {"bad", 44}};

json::object profile_json(const std::string& name, const std::string& accelerators, const std::string& label = "A100") {
  return parse_object(fmt::format(
      R"({{"metadata":{{"namespace":"llm","name":"{0}","uid":"va-llm-{0}","generation":1,"labels":{{"inference.optimization/acceleratorName":"{1}"}}}},
      "spec":{{"modelID":"default","sloClassRef":{{"name":"premium-slo","key":"default"}},"modelProfile":{{"accelerators":{2}}}}}}})",
      name, label, accelerators));
}

/// Starts with `bad` as it is and a good variant beside it: the good one scales up to the load, the bad one stays.
void start(world& w, json::object bad, std::vector<json::object> configs = default_configs()) {
  populate(w, {"good", "bad"}, {va_json("llm", "good"), std::move(bad)}, 1, std::move(configs));
  load_each(w, busy);
  w.advance(70s);
}
void expect_only_good_scaled(const world& w) {
  EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(2));
  EXPECT_THAT(w.condition_of("OptimizationReady", "good"), StartsWith("True Optimized"));
  EXPECT_THAT(w.scale_patches("bad"), IsEmpty());
}
void expect_recovers(world& w, json::object repaired) {
  w.changed("variantautoscalings", std::move(repaired));
  w.advance(70s);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), StartsWith("True Optimized"));
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
  EXPECT_TRUE(w.logged({"Optimizing again", "llm/bad"}));
}
json::object repaired() { return va_json("llm", "bad", "", "default", "20.58", 2); }

// ---- VariantAutoscaling
// ---------------------------------------------------------------------------------------------------------

struct malformed_case {
  const char* name;
  const char* path;  ///< the field that is replaced
  const char* value;
  const char* named;  ///< what the condition must say
};

class MalformedVariant : public ::testing::TestWithParam<malformed_case> {};

TEST_P(MalformedVariant, IsNamedAndLeavesOthersAlone) {
  auto bad = va_json("llm", "bad");
  const auto& c = GetParam();
  if (std::string_view(c.path) == "spec") {
    bad["spec"] = json::parse(c.value);
  } else {
    bad["spec"].as_object()[c.path] = json::parse(c.value);
  }
  world w;
  start(w, bad);
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("False InvalidSpec"), HasSubstr(c.named)));
  EXPECT_TRUE(w.logged({"llm/bad", "InvalidSpec"}));
  expect_recovers(w, repaired());
}

INSTANTIATE_TEST_SUITE_P(
    WrongTypes, MalformedVariant,
    ::testing::Values(malformed_case{"SpecIsText", "spec", R"("hello")", "spec.modelID"},
                      malformed_case{"ModelIsNumber", "modelID", "5", "spec.modelID"},
                      malformed_case{"ClassIsList", "sloClassRef", "[1]", "spec.sloClassRef"},
                      malformed_case{"ProfileIsText", "modelProfile", R"("x")", "spec.modelProfile.accelerators"},
                      malformed_case{"AcceleratorsIsObject", "modelProfile", R"({"accelerators":{"acc":"A100"}})",
                                     "spec.modelProfile.accelerators"},
                      malformed_case{"EntryIsNumber", "modelProfile", R"({"accelerators":[7]})",
                                     "spec.modelProfile.accelerators[0]"},
                      malformed_case{"MinReplicasIsText", "minReplicas", R"("many")",
                                     R"(spec.minReplicas: expected a whole number from 0 to 100000, got "many")"},
                      malformed_case{"SpecIsNull", "spec", "null", "spec.modelID"},
                      malformed_case{"MinReplicasIsAbsurd", "minReplicas", "1000000",
                                     "spec.minReplicas: expected a whole number from 0 to 100000, got 1000000"},
                      malformed_case{"MaxReplicasIsZero", "maxReplicas", "0", "spec.maxReplicas: expected a whole number from 1"},
                      malformed_case{"BatchIsAbsurd", "modelProfile",
                                     R"({"accelerators":[{"acc":"A100","alpha":1,"beta":1,"maxBatchSize":65537}]})",
                                     "accelerators[0].maxBatchSize: expected a whole number from 1 to 65536, got 65537"},
                      malformed_case{"MaxReplicasIsFraction", "maxReplicas", "2.5", "spec.maxReplicas"},
                      malformed_case{"TargetKindIsUnknown", "scaleTargetRef", R"({"kind":"DaemonSet","name":"bad"})",
                                     R"(spec.scaleTargetRef.apiVersion: required for kind "DaemonSet")"}),
    [](const auto& tested) { return std::string(tested.param.name); });

TEST(BadInput, MaxBelowMinIsNamed) {
  world w;
  start(w, va_json("llm", "bad", R"(,"minReplicas":3,"maxReplicas":2)"));
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              HasSubstr("spec.maxReplicas: must not be less than minReplicas 3, got 2"));
  expect_recovers(w, repaired());
}

TEST(BadInput, NonNumericAlphaOfTheOnlyAcceleratorIsNamed) {
  world w;
  start(w, profile_json("bad", R"([{"acc":"A100","accCount":1,"alpha":"twenty","beta":"0.41","maxBatchSize":4}])"));
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              AllOf(StartsWith("False InvalidSpec"), HasSubstr("spec.modelProfile.accelerators[0].alpha"), HasSubstr("twenty")));
  expect_recovers(w, repaired());
}

TEST(BadInput, NonNumericAlphaOfTheAcceleratorInUseIsNamed) {
  world w;
  start(w, va_json("llm", "bad", "", "default", "twenty"));
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              AllOf(StartsWith("False"), HasSubstr("spec.modelProfile.accelerators[0].alpha"), HasSubstr("twenty")));
  EXPECT_TRUE(w.logged({"llm/bad", "accelerators[0].alpha", "twenty"}));
  expect_recovers(w, repaired());
}

TEST(BadInput, NonNumericAlphaOfAnotherAcceleratorIsNamedAndTheGoodEntriesAreUsed) {
  world w;
  start(w, profile_json("bad", R"([{"acc":"A100","alpha":"20.58","beta":"0.41","maxBatchSize":4},
                                   {"acc":"G2","alpha":"1,5","beta":"0.34","maxBatchSize":4}])"));
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              AllOf(StartsWith("True Optimized"), HasSubstr("spec.modelProfile.accelerators[1].alpha"), HasSubstr("1,5")));
}

TEST(BadInput, UnknownClassIsNamed) {
  auto bad = va_json("llm", "bad");
  bad["spec"].as_object()["sloClassRef"] = json::object{{"name", "platinum-slo"}, {"key", "platinum.yaml"}};
  world w;
  start(w, bad);
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              AllOf(StartsWith("False UnknownServiceClass"), HasSubstr("platinum-slo"), HasSubstr("platinum.yaml")));
  EXPECT_TRUE(w.logged({"llm/bad", "UnknownServiceClass", "platinum.yaml"}));
  expect_recovers(w, repaired());
}

TEST(BadInput, ClassWithoutTheModelIsNamed) {
  auto bad = va_json("llm", "bad");
  bad["spec"].as_object()["sloClassRef"] = json::object{{"name", "Freemium"}, {"key", "freemium.yaml"}};
  world w;
  start(w, bad);
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              AllOf(StartsWith("False NoTargetForModel"), HasSubstr("Freemium"), HasSubstr("default")));
  expect_recovers(w, repaired());
}

TEST(BadInput, UnknownAcceleratorInUseIsNamed) {
  world w;
  start(w, profile_json("bad", R"([{"acc":"H900","alpha":"20.58","beta":"0.41","maxBatchSize":4}])", "H900"));
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("False UnknownAccelerator"), HasSubstr("H900")));
  EXPECT_TRUE(w.logged({"llm/bad", "UnknownAccelerator", "H900"}));
  expect_recovers(w, repaired());
}

TEST(BadInput, AcceleratorLabelWithoutProfileIsNamed) {
  world w;
  start(w, profile_json("bad", R"([{"acc":"A100","alpha":"20.58","beta":"0.41","maxBatchSize":4}])", "T1000"));
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("False UnknownAccelerator"), HasSubstr("T1000")));
}

TEST(BadInput, UnknownAcceleratorBesideAGoodOneIsNamedAndTheGoodOneIsUsed) {
  world w;
  start(w, profile_json("bad", R"([{"acc":"A100","alpha":"20.58","beta":"0.41","maxBatchSize":4},
                                   {"acc":"H900","alpha":"1","beta":"0.1","maxBatchSize":4}])"));
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("True Optimized"), HasSubstr("H900")));
}

TEST(BadInput, MissingDeploymentIsNamedAndFoundWhenItComes) {
  world w;
  populate(w, {"good"}, {va_json("llm", "good"), va_json("llm", "bad")});
  load_each(w, busy);
  w.advance(70s);
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("TargetResolved", "bad"), StartsWith("False TargetNotFound: Deployment bad not found"));
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("False TargetNotFound"), HasSubstr("llm/bad")));
  EXPECT_TRUE(w.logged({"llm/bad", "TargetNotFound"}));
  w.changed("deployments", deployment_json("llm", "bad", 1), kube::watch_type::added);
  w.changed("pods", pod_json("llm", "bad-0", "bad"), kube::watch_type::added);
  w.advance(70s);
  EXPECT_THAT(w.condition_of("TargetResolved", "bad"), StartsWith("True TargetFound"));
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
}

TEST(BadInput, ASpecErrorIsNamedBeforeAMissingDeployment) {
  world w;
  populate(w, {"good"},
           {va_json("llm", "good"), profile_json("bad", R"([{"acc":"A100","alpha":"20.58","beta":"0.41","maxBatchSize":4},
                                                           {"acc":"G2","alpha":"1,5","beta":"0.34","maxBatchSize":4}])"),
            va_json("llm", "worse", R"(,"minReplicas":3,"maxReplicas":2)")});
  load_each(w, busy);
  w.advance(70s);
  EXPECT_THAT(w.condition_of("TargetResolved", "bad"), StartsWith("False TargetNotFound: Deployment bad not found"));
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"),
              AllOf(StartsWith("False InvalidSpec: spec.modelProfile.accelerators[1].alpha"), HasSubstr("llm/bad not found")));
  EXPECT_THAT(w.condition_of("OptimizationReady", "worse"),
              AllOf(StartsWith("False InvalidSpec: spec.maxReplicas"), HasSubstr("Deployment worse not found")));
}

TEST(BadInput, AProfileEntrysErrorDoesNotHideThePlan) {
  world w;
  start(w, profile_json("bad", R"([{"acc":"A100","alpha":"20.58","beta":"0.41","maxBatchSize":4},
                                   {"acc":"G2","alpha":"1,5","beta":"0.34","maxBatchSize":4}])"));
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("True Optimized: 2 x A100 predicted ITL"),
                                                                HasSubstr("; spec.modelProfile.accelerators[1].alpha")));
}

TEST(BadInput, ALabelThatContradictsTheNodesIsNamed) {
  world w;
  start(w, va_json("llm", "bad"));
  EXPECT_THAT(w.condition_of("TargetResolved", "bad"), StartsWith("True TargetFound"));
  w.changed("pods", pod_json("llm", "bad-0", "bad", true, "n2"));
  w.advance(70s);
  const auto named = HasSubstr(
      "label inference.optimization/acceleratorName is \"A100\", which is NVIDIA-A100-PCIE-80GB, and pods run on "
      "AMD-MI300X-192G");
  EXPECT_THAT(w.condition_of("TargetResolved", "bad"), AllOf(StartsWith("True AcceleratorMismatch"), named));
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("True Optimized"), named));
  EXPECT_THAT(w.condition_of("TargetResolved", "good"), StartsWith("True TargetFound"));
  EXPECT_EQ(w.view->plan()->capacity->by_device.at("AMD-MI300X-192G"), 63) << "the pod has one of them";
  // The node was labelled wrongly.
  w.changed("nodes", node_json("n2", "nvidia", "NVIDIA-A100-PCIE-80GB", 64));
  w.advance(70s);
  EXPECT_THAT(w.condition_of("TargetResolved", "bad"), StartsWith("True TargetFound"));
}

/// What it has on other GPUs than its label says is of no use to those that need what the label says.
TEST(BadInput, WhatAWronglyLabelledVariantHasIsTakenFromNobody) {
  world w;
  auto configs = default_configs();
  auto classes = default_classes();
  classes["freemium.yaml"] = "name: Freemium\npriority: 10\ndata:\n  - model: default\n    slo-itl: 24\n    slo-ttw: 500\n";
  configs[2] = config_json(std::string(classes_map), classes);
  auto free = va_json("llm", "free");
  free["spec"].as_object()["sloClassRef"] = json::object{{"name", "Freemium"}, {"key", "freemium.yaml"}};
  load_each(w, {{"free", 130}, {"premium", 50}});
  populate(w, {"premium"}, {va_json("llm", "premium"), free}, 3, configs);
  w.changed("deployments", deployment_json("llm", "free", 6));
  for (int i = 0; i < 6; ++i) w.changed("pods", pod_json("llm", fmt::format("free-{}", i), "free", true, "n2"));
  w.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 4));
  w.advance(100s);
  ASSERT_THAT(w.condition_of("TargetResolved", "free"), StartsWith("True AcceleratorMismatch"));
  load_each(w, {{"free", 130}, {"premium", 250}});
  w.advance(200s);
  EXPECT_TRUE(w.scale_patches("free").empty()) << "130 requests a minute are six replicas'";
  ASSERT_FALSE(w.scale_patches("premium").empty());
  EXPECT_EQ(w.scale_patches("premium").back(), 4) << "there are no more A100";
}

/// Its replicas are planned nowhere, and their GPUs are taken all the same.
TEST(BadInput, GpusOfAVariantWithAnUnknownAcceleratorAreNotFree) {
  world w;
  auto o = va_json("llm", "bad");
  o["metadata"].as_object()["labels"].as_object()["inference.optimization/acceleratorName"] = "a100";
  start(w, std::move(o));
  const auto left = [&] { return w.view->plan()->capacity->by_device.at("AMD-MI300X-192G"); };
  const int before = left();
  for (int i = 0; i < 10; ++i) w.changed("pods", pod_json("llm", fmt::format("bad-{}", i), "bad", true, "n2"));
  w.advance(5s);
  EXPECT_EQ(left(), before - 10);
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), StartsWith("False UnknownAccelerator"));
  w.changed("pods", pod_json("llm", "bad-0", "bad", true, "n2"), kube::watch_type::deleted);
  w.advance(5s);
  EXPECT_EQ(left(), before - 9);
}

// ---- ConfigMaps
// -----------------------------------------------------------------------------------------------------------------

TEST(BadInput, MissingConfigMapIsNamedAndWaitedFor) {
  for (const auto map : {accelerators_map, classes_map}) {
    SCOPED_TRACE(std::string(map));
    auto configs = default_configs();
    std::erase_if(configs, [&](const auto& c) { return c.at("metadata").at("name").as_string() == map; });
    world w;
    start(w, va_json("llm", "bad"), configs);
    EXPECT_TRUE(w.logged({"ConfigMap is missing", map}));
    EXPECT_THAT(w.condition_of("OptimizationReady", "good"), StartsWith("False ConfigMissing"));
    EXPECT_THAT(w.scale_patches(), IsEmpty());
    w.changed("configmaps", config_json(std::string(map), map == classes_map ? default_classes() : default_accelerators()));
    w.advance(70s);
    EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(2));
  }
}

TEST(BadInput, MissingSettingsAreNamedAndTheDefaultsHold) {
  auto configs = default_configs();
  configs.erase(configs.begin());
  world w;
  start(w, va_json("llm", "bad"), configs);
  EXPECT_TRUE(w.logged({"ConfigMap is missing", settings_map}));
  EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(2));
}

TEST(BadInput, AConfigMapThatGoesIsNamedAndItsContentStays) {
  world w;
  start(w, va_json("llm", "bad"));
  w.changed("configmaps", config_json(std::string(classes_map), {}), kube::watch_type::deleted);
  load_each(w, {{"good", 80}, {"bad", 80}});
  w.advance(70s);
  EXPECT_TRUE(w.logged({"ConfigMap is missing; its last valid content stays", classes_map}));
  EXPECT_THAT(w.condition_of("OptimizationReady", "good"), StartsWith("True Optimized"));
  EXPECT_GT(w.scale_patches("good").back(), 2);
}

std::vector<json::object> configs_with_class(const std::string& entry, const std::string& yaml) {
  auto classes = default_classes();
  classes[entry] = yaml;
  return {settings_json(), config_json(std::string(accelerators_map), default_accelerators()),
          config_json(std::string(classes_map), classes)};
}

TEST(BadInput, OneBrokenYamlEntryIsNamedAndTheOthersAreUsed) {
  auto bad = va_json("llm", "bad");
  bad["spec"].as_object()["sloClassRef"] = json::object{{"name", "Gold"}, {"key", "gold.yaml"}};
  world w;
  start(w, bad, configs_with_class("gold.yaml", "name: Gold\npriority: 2\ndata: [ {model: default, slo-itl: 24"));
  expect_only_good_scaled(w);
  EXPECT_TRUE(w.logged({"Invalid configuration entry", "service-classes-config/gold.yaml"}));
  EXPECT_EQ(lines_with(w, "Invalid configuration entry"), 1) << w.trace();
  EXPECT_THAT(w.condition_of("OptimizationReady", "bad"), AllOf(StartsWith("False UnknownServiceClass"), HasSubstr("gold.yaml")));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("service-classes-config/gold.yaml"));
  w.changed("configmaps",
            configs_with_class("gold.yaml",
                               "name: Gold\npriority: 2\ndata:\n  - model: default\n    slo-itl: 24\n    slo-ttw: 500\n")[2]);
  w.advance(70s);
  EXPECT_TRUE(w.logged({"Configuration entry is valid again", "service-classes-config/gold.yaml"}));
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
}

TEST(BadInput, ADeletedEntryIsGoneAndNotValidAgain) {
  world w;
  start(w, va_json("llm", "bad"), configs_with_class("gold.yaml", "name: Gold\npriority: first\n"));
  ASSERT_TRUE(w.logged({"Invalid configuration entry", "service-classes-config/gold.yaml"}));
  w.changed("configmaps", config_json(std::string(classes_map), default_classes()));
  EXPECT_TRUE(w.logged({"Configuration entry is gone", "service-classes-config/gold.yaml"})) << w.trace();
  EXPECT_FALSE(w.logged({"Configuration entry is valid again", "service-classes-config/gold.yaml"})) << w.trace();
}

/// Whatever is wrong, the status has the four conditions that the documents name.
TEST(BadInput, LeavesFourConditions) {
  auto unknown_class = va_json("llm", "bad");
  unknown_class["spec"].as_object()["sloClassRef"] = json::object{{"name", "Gold"}, {"key", "gold.yaml"}};
  auto other_model = va_json("llm", "bad");
  other_model["spec"].as_object()["modelID"] = "nobody's";
  auto invalid = va_json("llm", "bad");
  invalid["spec"].as_object()["minReplicas"] = -3;
  for (const auto& bad : {va_json("llm", "bad"), unknown_class, other_model, invalid}) {
    SCOPED_TRACE(json::serialize(bad));
    world w;
    start(w, bad);
    w.advance(10s);
    for (const char* type : {"MetricsAvailable", "OptimizationReady", "TargetResolved", "ObjectivesMet"})
      EXPECT_NE(w.condition_of(type, "bad"), "") << type;
    EXPECT_EQ(w.status("bad").at("conditions").as_array().size(), 4u);
  }
}

TEST(BadInput, AMisspeltKeyOfAConfigMapIsWarnedOfOnceForEachChange) {
  auto classes = default_classes();
  classes["premium.yaml"] += "    slo_ttft: 400\n";
  std::vector<json::object> configs{settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"RATEWINDOW", "30s"}}),
                                    config_json(std::string(accelerators_map), default_accelerators()),
                                    config_json(std::string(classes_map), classes)};
  world w;
  start(w, va_json("llm", "bad"), configs);
  EXPECT_TRUE(w.logged({"service-classes-config/premium.yaml", "data[0].slo_ttft: unknown field; did you mean", "slo-ttft"}));
  EXPECT_TRUE(w.logged({"RATEWINDOW: unknown field; did you mean", "RATE_WINDOW"}));
  EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(2)) << "the rest of the entry is used";
  const int told = lines_with(w, "Part of a configuration entry is not used");
  EXPECT_EQ(told, 2);
  for (const auto& c : configs) w.changed("configmaps", c);
  EXPECT_EQ(lines_with(w, "Part of a configuration entry is not used"), told) << "an event that changes nothing";
  classes["premium.yaml"] += "    slo_itl: 20\n";
  w.changed("configmaps", config_json(std::string(classes_map), classes));
  EXPECT_EQ(lines_with(w, "Part of a configuration entry is not used"), told + 1);
  w.changed("configmaps", config_json(std::string(classes_map), default_classes()));
  EXPECT_TRUE(w.logged({"Configuration entry is valid again", "service-classes-config/premium.yaml"}));
}

TEST(BadInput, AnEntryThatBreaksKeepsItsLastValidValue) {
  world w;
  start(w, va_json("llm", "bad"));
  w.changed("configmaps", configs_with_class("premium.yaml", "name: Premium\npriority: first\n")[2]);
  load_each(w, {{"good", 80}, {"bad", 80}});
  w.advance(70s);
  EXPECT_TRUE(w.logged({"service-classes-config/premium.yaml", "priority", "the last valid entry stays"}));
  EXPECT_GT(w.scale_patches("good").back(), 2);
}

TEST(BadInput, ABrokenAcceleratorEntryAndABrokenSettingAreNamed) {
  auto accelerators = default_accelerators();
  accelerators["H100"] = R"({"device":"NVIDIA-H100","cost":"cheap"})";
  world w;
  start(w, va_json("llm", "bad"),
        {settings_json({{"GLOBAL_OPT_INTERVAL", "soon"}}), config_json(std::string(accelerators_map), accelerators),
         config_json(std::string(classes_map), default_classes())});
  EXPECT_TRUE(w.logged({"Invalid configuration entry", "accelerator-unit-costs/H100", "cost", "cheap"}));
  EXPECT_TRUE(w.logged({"Invalid configuration entry", "GLOBAL_OPT_INTERVAL", "soon"}));
  EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(2));
}

// ---- metrics source
// -------------------------------------------------------------------------------------------------------------

TEST(BadInput, AnErrorOfTheSourceIsNamedOnceAndForgottenWhenItAnswers) {
  world w;
  populate(w, {"good", "bad"}, {va_json("llm", "good"), va_json("llm", "bad")});
  w.source->respond = [](const auto&, double) {
    auto out = std::make_shared<collected_metrics>();
    out->problem = "GET /api/v1/query: 503 Service Unavailable";
    return out;
  };
  w.advance(70s);
  for (const auto* name : {"good", "bad"})
    EXPECT_THAT(w.condition_of("MetricsAvailable", name),
                StartsWith("False MetricsSourceFailed: GET /api/v1/query: 503 Service Unavailable"));
  EXPECT_EQ(lines_with(w, "Metrics source fails"), 1);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  load_each(w, busy);
  w.advance(70s);
  EXPECT_TRUE(w.logged({"Metrics source answers again"}));
  EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(2));
}

TEST(BadInput, NanOfOnePodIsNamedAndOtherVariantsGoOn) {
  world w;
  populate(w, {"good", "bad"}, {va_json("llm", "good"), va_json("llm", "bad")});
  load_each(w, busy, [](pod_sample& s) {
    if (s.pod.name == "bad-0") s.problem = "vllm:request_success_total is nan";
    return true;
  });
  w.advance(70s);
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("MetricsAvailable", "bad"),
              StartsWith("False MetricsMissing: bad-0: vllm:request_success_total is nan"));
  EXPECT_TRUE(w.logged({"llm/bad", "MetricsMissing", "vllm:request_success_total is nan"}));
  load_each(w, busy);
  w.advance(70s);
  EXPECT_THAT(w.condition_of("MetricsAvailable", "bad"), StartsWith("True MetricsFound"));
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
}

TEST(BadInput, AnEmptyVectorIsNamedAndOtherVariantsGoOn) {
  world w;
  populate(w, {"good", "bad"}, {va_json("llm", "good"), va_json("llm", "bad")});
  load_each(w, {{"good", 44}});
  w.advance(70s);
  expect_only_good_scaled(w);
  EXPECT_THAT(w.condition_of("MetricsAvailable", "bad"),
              StartsWith("False MetricsMissing: no sample of any of the variant's pods"));
  load_each(w, busy);
  w.advance(70s);
  EXPECT_THAT(w.scale_patches("bad"), ::testing::ElementsAre(2));
}

TEST(BadInput, ASilentPodAmongOthersDoesNotScaleDown) {
  world w;
  populate(w, {"good", "bad"}, {va_json("llm", "good"), va_json("llm", "bad")}, 2);
  load_each(w, busy);
  w.advance(70s);
  load_each(w, {{"good", 2}, {"bad", 2}}, [](const pod_sample& s) { return s.pod.name != "bad-1"; });
  w.advance(300s);
  EXPECT_THAT(w.scale_patches("good"), ::testing::ElementsAre(1));
  EXPECT_THAT(w.scale_patches("bad"), IsEmpty());
  EXPECT_THAT(w.condition_of("MetricsAvailable", "bad"), StartsWith("False MetricsIncomplete: 1 of 2 pods report"));
}

}  // namespace
}  // namespace inferno::actors::testing

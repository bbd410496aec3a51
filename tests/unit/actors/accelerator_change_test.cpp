// Moving a Deployment to another accelerator: surge before drain, back when it gets stuck, no matter who begins and who ends it.
#include "actors/accelerator_change.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

void merge(json::value& into, const json::value& patch) {
  if (!patch.is_object()) {
    into = patch;
    return;
  }
  if (!into.is_object()) into = json::object{};
  for (const auto& [name, value] : patch.get_object()) {
    if (value.is_null()) {
      into.get_object().erase(name);
    } else {
      merge(into.get_object()[name], value);
    }
  }
}

json::object merged(json::object object, const json::value& patch) {
  json::value v(std::move(object));
  merge(v, patch);
  return v.get_object();
}

json::object full_deployment(int replicas = 4) {
  return parse_object(fmt::format(
      R"({{"metadata":{{"namespace":"llm","name":"vllme","uid":"dep-llm-vllme","generation":1,"resourceVersion":"10"}},
    "spec":{{"replicas":{0},"strategy":{{"type":"Recreate"}},"selector":{{"matchLabels":{{"app":"vllme"}}}},"template":{{
      "metadata":{{"labels":{{"app":"vllme"}}}},
      "spec":{{"nodeSelector":{{"nvidia.com/gpu.product":"NVIDIA-A100-PCIE-80GB","disk":"ssd"}},"containers":[
        {{"name":"log","resources":{{"limits":{{"cpu":"1"}}}}}},
        {{"name":"vllm","image":"v","resources":{{"limits":{{"nvidia.com/gpu":"1","memory":"9Gi"}},"requests":{{"nvidia.com/gpu":"1"}}}}}}]}}}}}},
    "status":{{"observedGeneration":1,"replicas":{0},"updatedReplicas":{0},"readyReplicas":{0}}}}})",
      replicas));
}

pod_placement mi300x() { return {{{"amd.com/gpu.product", "AMD-MI300X-192G"}}, "amd.com/gpu"}; }

change_request to_mi300x(const pod_placement& place, int replicas = 2, int cards = 1) {
  return {"vllme", "A100", "MI300X", replicas, cards, &place, nullptr};
}

// ---- the patches --------------------------------------------------------------------------------------------------------------

TEST(AcceleratorChange, SurgesOnTheOtherAccelerator) {
  const auto place = mi300x();
  const auto before = full_deployment();
  const auto patch = start_change(before, to_mi300x(place, 2, 3)).value();
  EXPECT_EQ(patch.at("metadata").at("resourceVersion"), "10") << "of what was read, or not at all";
  const auto after = merged(before, patch);
  EXPECT_EQ(after.at("spec").at("replicas"), 4) << "the old ones stay";
  EXPECT_EQ(after.at("spec").at("strategy"),
            json::parse(R"({"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":2}})"));
  const auto& pod = after.at("spec").at("template").at("spec");
  EXPECT_EQ(pod.at("nodeSelector"), json::parse(R"({"disk":"ssd","amd.com/gpu.product":"AMD-MI300X-192G"})"));
  EXPECT_EQ(pod.at("containers").at(1).at("resources"),
            json::parse(R"({"limits":{"amd.com/gpu":"3","memory":"9Gi"},"requests":{"amd.com/gpu":"3"}})"));
  EXPECT_EQ(pod.at("containers").at(0), before.at("spec").at("template").at("spec").at("containers").at(0));
  EXPECT_EQ(after.at("spec").at("template").at("metadata").at("labels").at("inference.optimization/acceleratorName"), "MI300X");
  const auto change = decode_change(after);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->from, "A100");
  EXPECT_EQ(change->to, "MI300X");
  EXPECT_EQ(change->replicas, 2);
  EXPECT_EQ(change->phase, accelerator_change::step::surge);
}

TEST(AcceleratorChange, MoreReplicasThanBeforeAreWaitedForTogether) {
  const auto place = mi300x();
  const auto before = full_deployment(2);
  const auto after = merged(before, start_change(before, to_mi300x(place, 5)).value());
  EXPECT_EQ(after.at("spec").at("replicas"), 5);
}

TEST(AcceleratorChange, TheLabelsOfTheOldPlacementGo) {
  const auto place = mi300x();
  const pod_placement old{{{"disk", "ssd"}}, ""};
  auto wanted = to_mi300x(place);
  wanted.old_place = &old;
  const auto before = full_deployment();
  const auto after = merged(before, start_change(before, wanted).value());
  EXPECT_EQ(after.at("spec").at("template").at("spec").at("nodeSelector"),
            json::parse(R"({"amd.com/gpu.product":"AMD-MI300X-192G"})"));
}

TEST(AcceleratorChange, WithoutAResourceOfItsOwnTheCardsStayOfTheirKind) {
  pod_placement place = mi300x();
  place.resource.clear();
  const auto before = full_deployment();
  const auto after = merged(before, start_change(before, to_mi300x(place, 2, 4)).value());
  EXPECT_EQ(after.at("spec").at("template").at("spec").at("containers").at(1).at("resources").at("requests"),
            json::parse(R"({"nvidia.com/gpu":"4"})"));
}

TEST(AcceleratorChange, NeedsOneContainerWithGpus) {
  const auto place = mi300x();
  auto d = full_deployment();
  auto& containers = d["spec"].as_object()["template"].as_object()["spec"].as_object()["containers"].as_array();
  const json::value server = containers[1];
  containers[0] = server;
  EXPECT_THAT(start_change(d, to_mi300x(place)).error(), HasSubstr("more than one container"));
  containers.clear();
  EXPECT_THAT(start_change(d, to_mi300x(place)).error(), HasSubstr("no container of the pod template has GPUs"));
}

TEST(AcceleratorChange, DrainsWithRoomForExactlyThosePresent) {
  const auto place = mi300x();
  auto d = full_deployment();
  d = merged(d, start_change(d, to_mi300x(place)).value());
  d["status"].as_object()["replicas"] = 6;
  const auto after = merged(d, drain_change(d, *decode_change(d)));
  EXPECT_EQ(after.at("spec").at("replicas"), 2);
  EXPECT_EQ(after.at("spec").at("strategy").at("rollingUpdate").at("maxSurge"), 4)
      << "2 + 4 are there: the Deployment's controller takes none in proportion";
  EXPECT_EQ(decode_change(after)->phase, accelerator_change::step::drain);
}

TEST(AcceleratorChange, FinishedItLeavesNoTrace) {
  const auto place = mi300x();
  const auto before = full_deployment();
  auto d = merged(before, start_change(before, to_mi300x(place)).value());
  d = merged(d, drain_change(d, *decode_change(d)));
  d = merged(d, finish_change(d));
  EXPECT_EQ(decode_change(d), nullptr);
  EXPECT_EQ(d.at("spec").at("strategy"), before.at("spec").at("strategy"));
}

TEST(AcceleratorChange, UndoneThePodTemplateIsTheOneOfBefore) {
  const std::chrono::system_clock::time_point failed_at{1700000000s};
  const auto place = mi300x();
  const auto before = full_deployment();
  auto d = merged(before, start_change(before, to_mi300x(place, 9)).value());
  d = merged(d, undo_change(d, failed_at));
  EXPECT_EQ(d.at("spec"), before.at("spec")) << "so its ReplicaSet is the old one, whose pods still run";
  const auto change = decode_change(d);
  ASSERT_TRUE(change);
  EXPECT_EQ(change->phase, accelerator_change::step::failed);
  EXPECT_THAT(change->message, HasSubstr("progressDeadlineSeconds"));
  EXPECT_EQ(change->failed_at, failed_at);
}

json::object& container_of(json::object& deployment, std::size_t i) {
  return deployment["spec"].as_object()["template"].as_object()["spec"].as_object()["containers"].as_array()[i].as_object();
}

TEST(AcceleratorChange, UndoneItTakesNobodysRolloutBack) {
  const auto place = mi300x();
  auto d = merged(full_deployment(), start_change(full_deployment(), to_mi300x(place, 9)).value());
  // Another image, another sidecar and more replicas came meanwhile.
  container_of(d, 1)["image"] = "v2";
  container_of(d, 1)["resources"].as_object()["limits"].as_object()["memory"] = "12Gi";
  container_of(d, 0)["image"] = "log2";
  d["spec"].as_object()["replicas"] = 11;
  EXPECT_FALSE(decode_change(d)->taken_over);
  d = merged(d, undo_change(d, {}));
  const auto before = full_deployment();
  EXPECT_EQ(container_of(d, 1)["image"], "v2");
  EXPECT_EQ(container_of(d, 0)["image"], "log2");
  EXPECT_EQ(container_of(d, 1)["resources"],
            json::parse(R"({"limits":{"nvidia.com/gpu":"1","memory":"12Gi"},"requests":{"nvidia.com/gpu":"1"}})"));
  EXPECT_EQ(d.at("spec").at("template").at("spec").at("nodeSelector"),
            before.at("spec").at("template").at("spec").at("nodeSelector"));
  EXPECT_EQ(d.at("spec").at("strategy"), before.at("spec").at("strategy"));
  EXPECT_EQ(d.at("spec").at("replicas"), 11) << "not what the change left";
}

TEST(AcceleratorChange, UndoneItLeavesTheReplicasThatTheLoadNeedsByNow) {
  const auto place = mi300x();
  const auto surging = merged(full_deployment(), start_change(full_deployment(), to_mi300x(place, 9)).value());
  const auto left = [&](int needed) { return merged(surging, undo_change(surging, {}, "the load rose", needed)); };
  EXPECT_EQ(left(2).at("spec").at("replicas"), 4);
  EXPECT_EQ(left(6).at("spec").at("replicas"), 6);
  EXPECT_EQ(left(20).at("spec").at("replicas"), 9) << "what is more than there are is the planner's to give";
  EXPECT_EQ(decode_change(left(2))->message, "the load rose");
}

TEST(AcceleratorChange, ExtendedItBringsMoreInBothSteps) {
  const auto place = mi300x();
  auto d = merged(full_deployment(), start_change(full_deployment(), to_mi300x(place)).value());
  d = merged(d, extend_change(d, *decode_change(d), 3));
  EXPECT_EQ(d.at("spec").at("replicas"), 4) << "as long as the old ones are as many";
  EXPECT_EQ(d.at("spec").at("strategy").at("rollingUpdate").at("maxSurge"), 3);
  d = merged(d, drain_change(d, *decode_change(d)));
  EXPECT_EQ(d.at("spec").at("replicas"), 3);
  d["status"].as_object()["replicas"] = 7;
  d = merged(d, extend_change(d, *decode_change(d), 5));
  EXPECT_EQ(d.at("spec").at("replicas"), 5);
  EXPECT_EQ(d.at("spec").at("strategy").at("rollingUpdate").at("maxSurge"), 2) << "none of those there goes";
  EXPECT_EQ(decode_change(d)->replicas, 5);
  d = merged(d, undo_change(d, {}));
  EXPECT_EQ(d.at("spec"), full_deployment().at("spec")) << "and all of it can be taken back";
}

TEST(AcceleratorChange, APlacementOfSomebodyElseIsLeftAsItIs) {
  const auto place = mi300x();
  auto d = merged(full_deployment(), start_change(full_deployment(), to_mi300x(place, 9)).value());
  d["spec"].as_object()["template"].as_object()["spec"].as_object()["nodeSelector"] =
      json::object{{"nvidia.com/gpu.product", "NVIDIA-H100"}};
  ASSERT_TRUE(decode_change(d)->taken_over);
  const auto pods = d.at("spec").at("template");
  d["spec"].as_object()["strategy"] = json::object{{"type", "Recreate"}, {"note", "theirs"}};
  d = merged(d, undo_change(d, {}));
  EXPECT_EQ(d.at("spec").at("template"), pods);
  EXPECT_EQ(d.at("spec").at("strategy").at("note"), "theirs");
  EXPECT_EQ(d.at("spec").at("replicas"), 4);
  EXPECT_THAT(decode_change(d)->message, HasSubstr("another writer changed the placement"));
}

TEST(AcceleratorChange, AbandonedItIsTakenBackOrFinished) {
  const auto place = mi300x();
  const auto before = full_deployment();
  const auto surging = merged(before, start_change(before, to_mi300x(place, 9)).value());
  EXPECT_EQ(decode_change(surging)->variant, "vllme");
  auto d = merged(surging, abandon_change(surging));
  EXPECT_EQ(d.at("spec"), before.at("spec"));
  EXPECT_EQ(decode_change(d), nullptr);
  const auto draining = merged(surging, drain_change(surging, *decode_change(surging)));
  d = merged(draining, abandon_change(draining));
  EXPECT_EQ(decode_change(d), nullptr);
  EXPECT_EQ(d.at("spec").at("strategy"), before.at("spec").at("strategy"));
  EXPECT_EQ(d.at("spec").at("replicas"), 9) << "the new ones are ready";
  EXPECT_EQ(d.at("spec").at("template"), draining.at("spec").at("template"));
}

TEST(AcceleratorChange, ProgressIsReadFromTheStatusOfThisGeneration) {
  const auto place = mi300x();
  auto d = full_deployment();
  d = merged(d, start_change(d, to_mi300x(place)).value());
  const auto with_status = [&](const char* status) { return decode_change(merged(d, {{"status", json::parse(status)}})); };
  EXPECT_EQ(with_status(R"({"replicas":6,"updatedReplicas":2,"readyReplicas":4})")->ready, 0);
  EXPECT_EQ(with_status(R"({"replicas":6,"updatedReplicas":2,"readyReplicas":5})")->ready, 1);
  EXPECT_EQ(with_status(R"({"replicas":6,"updatedReplicas":2,"readyReplicas":3})")->ready, 0) << "an old one is not ready";
  EXPECT_FALSE(with_status(R"({"replicas":6,"updatedReplicas":4,"readyReplicas":6})")->complete);
  EXPECT_TRUE(with_status(R"({"replicas":4,"updatedReplicas":4,"readyReplicas":4})")->complete);
  const auto stuck = R"({"conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded"}]})";
  EXPECT_TRUE(with_status(stuck)->stuck);
  d["metadata"].as_object()["generation"] = 2;
  EXPECT_FALSE(with_status(stuck)->stuck) << "that is of before the change";
  EXPECT_EQ(with_status(R"({"replicas":6,"updatedReplicas":2,"readyReplicas":6})")->ready, 0);
}

TEST(AcceleratorChange, WhatTheControllerCannotHaveWrittenIsNotBelieved) {
  auto d = full_deployment();
  d["spec"].as_object()["replicas"] = 3;
  const auto said = [&](const char* phase, const char* from, const char* to, int replicas, const char* label = "MI300X") {
    const json::object record{{"phase", phase},
                              {"from", from},
                              {"to", to},
                              {"replicas", replicas},
                              {"after", json::object{{"placement", json::object{{"acceleratorLabel", label}}}}}};
    d["metadata"].as_object()["annotations"] = json::object{{change_annotation, json::serialize(record)}};
    return decode_change(d);
  };
  ASSERT_NE(said("surge", "A100", "MI300X", 3), nullptr);
  EXPECT_EQ(said("surge", "A100", "MI300X", 100000)->replicas, 3) << "the change gave the Deployment as many";
  EXPECT_EQ(said("drain", "A100", "MI300X", 12)->replicas, 3);
  EXPECT_EQ(said("surge", "A100", "A100", 3, "A100"), nullptr) << "no change at all";
  EXPECT_EQ(said("surge", "A100", "H100", 3), nullptr) << "the pods have not been sent there";
  d["metadata"].as_object()["annotations"] =
      json::object{{change_annotation, R"({"phase":"surge","from":"A100","to":"H100","replicas":3})"}};
  EXPECT_EQ(decode_change(d), nullptr) << "nor anywhere";
}

TEST(AcceleratorChange, AnAnnotationNobodyCanReadIsNone) {
  auto d = full_deployment();
  for (const auto* text : {"", "{", "[]", R"({"from":"A100"})", R"({"from":"a","to":"b","phase":"dancing"})"}) {
    d["metadata"].as_object()["annotations"] = json::object{{change_annotation, text}};
    EXPECT_EQ(decode_change(d), nullptr) << text;
  }
}

// ---- the controller -----------------------------------------------------------------------------------------------------------

std::map<std::string, std::string> placed_accelerators() {
  auto out = default_accelerators();
  out["MI300X"] =
      R"({"device":"AMD-MI300X-192G","cost":"65.00","nodeSelector":{"amd.com/gpu.product":"AMD-MI300X-192G"},"resource":"amd.com/gpu"})";
  return out;
}

/// The quick start's variant, free to move, at a load for which an MI300X (86.7 requests a minute for 65) is cheaper than four
/// A100s (25.3 for 40), and a Deployment whose patches the test applies.
struct moving : world {
  explicit moving(std::map<std::string, std::string> accelerators = placed_accelerators(), const std::string& extra = "") {
    cluster_follows = false;
    load(80);
    quickstart(4);
    // A variant that was just met is not moved before this has passed.
    changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"SCALE_DOWN_STABILIZATION", "1s"}}));
    changed("configmaps", config_json(std::string(accelerators_map), std::move(accelerators)));
    deployment = full_deployment(4);
    show();
    changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 8));
    changed("variantautoscalings", va_json("llm", "vllme", R"(,"keepAccelerator":false)" + extra, "default", "20.58", 2));
  }
  void show() {
    api->stored["deployments"] = deployment;
    changed("deployments", deployment);
  }
  /// Another leader in this one's place, which knows nothing but what the API tells it.
  void rebuild_core() {
    kill(*this, supervisor_of(*this).fleet_handle);
    advance(2s);
    replaced("nodes", {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 8), node_json("n2", "amd", "AMD-MI300X-192G", 2)});
    replaced("configmaps", {settings_json(), config_json(std::string(accelerators_map), placed_accelerators()),
                            config_json(std::string(classes_map), default_classes())});
    std::vector<json::object> pods;
    for (int i = 0; i < 4; ++i) pods.push_back(pod_json("llm", fmt::format("vllme-{}", i), "vllme"));
    replaced("pods", std::move(pods));
    replaced("deployments", {deployment});
    replaced("variantautoscalings", {va_json("llm", "vllme", R"(,"keepAccelerator":false)", "default", "20.58", 2)});
  }
  std::vector<api_call> template_patches() const { return api->calls_to("patch", "deployments"); }
  /// The API server carries the newest patch of the Deployment out.
  void carry_out() {
    const auto patches = template_patches();
    for (; seen < patches.size(); ++seen)
      if (patches[seen].succeeded) deployment = merged(deployment, patches[seen].body);
    auto& meta = deployment["metadata"].as_object();
    meta["generation"] = meta["generation"].as_int64() + 1;
    meta["resourceVersion"] = std::to_string(10 + meta["generation"].as_int64());
    show();
  }
  void status_is(int all, int updated, int ready) {
    deployment["status"] = json::object{{"observedGeneration", deployment["metadata"].at("generation")},
                                        {"replicas", all},
                                        {"updatedReplicas", updated},
                                        {"readyReplicas", ready}};
    show();
    advance(2s);
  }
  void stuck() {
    deployment["status"].as_object()["conditions"] =
        json::array{json::object{{"type", "Progressing"}, {"status", "False"}, {"reason", "ProgressDeadlineExceeded"}}};
    show();
    advance(2s);
  }
  std::string phase() const {
    const auto change = decode_change(deployment);
    if (!change) return "none";
    return change->phase == accelerator_change::step::surge   ? "surge"
           : change->phase == accelerator_change::step::drain ? "drain"
                                                              : "failed";
  }
  std::vector<std::string> event_reasons() const {
    std::vector<std::string> out;
    for (const auto& c : api->calls_to("create", "events")) out.emplace_back(c.body.at("reason").as_string());
    return out;
  }

  json::object deployment;
  std::size_t seen = 0;
};

TEST(AcceleratorChanges, SurgeThenDrainThenTheVariantIsOnTheOther) {
  moving w;
  w.advance(5s);
  ASSERT_EQ(w.template_patches().size(), 1u) << w.trace();
  w.carry_out();
  ASSERT_EQ(w.phase(), "surge");
  w.status_is(5, 1, 4);
  EXPECT_THAT(w.condition_of("OptimizationReady"),
              HasSubstr("False AcceleratorChanging: moving from A100 to 1 x MI300X: 0 of them"));
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("accelerator"), "MI300X");
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas"), 1);
  w.advance(300s);
  EXPECT_EQ(w.template_patches().size(), 1u) << "none is ready: nothing is taken away";
  w.status_is(5, 1, 5);
  ASSERT_EQ(w.template_patches().size(), 2u);
  w.carry_out();
  ASSERT_EQ(w.phase(), "drain");
  EXPECT_EQ(w.deployment.at("spec").at("replicas"), 1);
  w.status_is(3, 1, 3);
  EXPECT_EQ(w.template_patches().size(), 2u);
  w.status_is(1, 1, 1);
  w.carry_out();
  EXPECT_EQ(w.phase(), "none");
  const auto labels = w.api->calls_to("patch", "variantautoscalings");
  bool moved = false;
  for (const auto& c : labels)
    if (const auto* l = c.body.at("metadata").as_object().if_contains("labels"))
      moved = l->at("inference.optimization/acceleratorName") == "MI300X";
  EXPECT_TRUE(moved);
  EXPECT_THAT(w.event_reasons(), ElementsAre("AcceleratorChangeStarted", "AcceleratorChanged"));
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "the replicas came with the changes";
  auto va = va_json("llm", "vllme", R"(,"keepAccelerator":false)", "default", "20.58", 3);
  va["metadata"].as_object()["labels"].as_object()["inference.optimization/acceleratorName"] = "MI300X";
  w.changed("variantautoscalings", va);
  w.advance(70s);
  EXPECT_THAT(w.condition_of("OptimizationReady"), HasSubstr("True Optimized"));
  EXPECT_EQ(w.status().at("currentAlloc").at("accelerator"), "MI300X");
  EXPECT_EQ(w.template_patches().size(), 3u);
}

TEST(AcceleratorChanges, AStuckOneIsTakenBackAndNotTriedAgainAtOnce) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  w.stuck();
  ASSERT_EQ(w.template_patches().size(), 2u);
  w.carry_out();
  EXPECT_EQ(w.phase(), "failed");
  EXPECT_EQ(w.deployment.at("spec").at("template"), full_deployment(4).at("spec").at("template"));
  w.status_is(4, 4, 4);
  w.advance(25min);
  EXPECT_EQ(w.template_patches().size(), 2u) << "not for half an hour";
  EXPECT_THAT(w.condition_of("OptimizationReady"),
              HasSubstr("not moved to MI300X for half an hour: its pods did not become ready"));
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("accelerator"), "A100") << "meanwhile decided for what there is";
  EXPECT_THAT(w.event_reasons(), ElementsAre("AcceleratorChangeStarted", "AcceleratorChangeFailed"));
  w.advance(6min);
  EXPECT_EQ(w.template_patches().size(), 3u) << "tried again";
}

TEST(AcceleratorChanges, AnotherLeaderDoesNotTryAStuckOneAgainAtOnceEither) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  w.stuck();
  w.carry_out();
  ASSERT_EQ(w.phase(), "failed");
  w.status_is(4, 4, 4);
  w.advance(10min);
  ASSERT_EQ(w.template_patches().size(), 2u);
  w.rebuild_core();
  w.advance(10min);
  EXPECT_THAT(w.condition_of("OptimizationReady"),
              ::testing::AllOf(HasSubstr("True Optimized"), HasSubstr("; not moved to MI300X for half an hour")));
  w.rebuild_core();
  w.advance(9min);
  EXPECT_EQ(w.template_patches().size(), 2u) << "half an hour since it failed, whoever leads";
  w.advance(2min);
  EXPECT_GT(w.template_patches().size(), 2u) << "and not longer";
}

TEST(AcceleratorChanges, AnotherLeaderGoesOnWithIt) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  kill(w, fleet_of(w).members.begin()->second.actuator);
  w.rebuild_core();
  w.changed("pods", pod_json("llm", "vllme-4", "vllme", true, "n2"));
  w.status_is(5, 1, 5);
  EXPECT_EQ(w.template_patches().size(), 1u) << "nothing is scaled down before the load has been watched";
  w.advance(70s);
  w.carry_out();
  EXPECT_EQ(w.phase(), "drain");
}

TEST(AcceleratorChanges, APlacementThatAUserChangesEndsTheMove) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  auto& pods = w.deployment["spec"].as_object()["template"].as_object()["spec"].as_object();
  pods["nodeSelector"] = json::object{{"nvidia.com/gpu.product", "NVIDIA-H100"}};
  w.show();
  w.advance(2s);
  ASSERT_EQ(w.template_patches().size(), 2u);
  w.carry_out();
  EXPECT_EQ(w.phase(), "failed");
  EXPECT_EQ(w.deployment.at("spec").at("template").at("spec").at("nodeSelector"),
            json::parse(R"({"nvidia.com/gpu.product":"NVIDIA-H100"})"));
  EXPECT_EQ(w.deployment.at("spec").at("strategy").at("type"), "Recreate");
  w.advance(25min);
  EXPECT_EQ(w.template_patches().size(), 2u) << "not moved again at once";
}

/// The variant goes in the middle of its move.
void delete_variant(moving& w) {
  w.changed("variantautoscalings", va_json("llm", "vllme"), kube::watch_type::deleted);
  w.advance(2s);
  w.carry_out();
}

TEST(AcceleratorChanges, AVariantDeletedInTheMiddleLeavesTheDeploymentAsItWas) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  delete_variant(w);
  EXPECT_EQ(w.phase(), "none") << w.trace();
  EXPECT_EQ(w.deployment.at("spec"), full_deployment(4).at("spec"));
  EXPECT_TRUE(w.logged({"Ended a move to another accelerator whose variant is gone"}));
  const auto calls = w.api->calls.size();
  w.advance(10min);
  EXPECT_EQ(w.api->calls.size(), calls) << "once";
}

TEST(AcceleratorChanges, AVariantDeletedWhileDrainingLeavesTheNewReplicas) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 5);
  w.carry_out();
  ASSERT_EQ(w.phase(), "drain");
  delete_variant(w);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.deployment.at("spec").at("replicas"), 1);
  EXPECT_EQ(w.deployment.at("spec").at("strategy").at("type"), "Recreate");
}

TEST(AcceleratorChanges, AVariantDeletedWhileNobodyWatchedIsNoticedByTheNextLeader) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  kill(w, supervisor_of(w).fleet_handle);
  w.advance(2s);
  w.replaced("nodes", {});
  w.replaced("configmaps", {settings_json(), config_json(std::string(accelerators_map), placed_accelerators()),
                            config_json(std::string(classes_map), default_classes())});
  w.replaced("pods", {});
  w.replaced("deployments", {w.deployment});
  w.advance(60s);
  EXPECT_EQ(w.template_patches().size(), 1u) << "whether there is a variant is not known yet";
  w.replaced("variantautoscalings", {});
  w.advance(2s);
  w.carry_out();
  EXPECT_EQ(w.deployment.at("spec"), full_deployment(4).at("spec"));
}

TEST(AcceleratorChanges, AVariantThatIsAnotherControllersNowKeepsItsMove) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  // The label of its instance changed: it leaves this controller's watch, and is there all the same.
  w.api->stored["variantautoscalings"] = va_json("llm", "vllme");
  delete_variant(w);
  w.advance(5min);
  EXPECT_EQ(w.template_patches().size(), 1u);
  EXPECT_EQ(w.phase(), "surge");
  // Then it goes for good.
  w.api->stored.erase("variantautoscalings");
  w.api->fail("patch", "deployments", 409);
  w.advance(60s);
  w.carry_out();
  EXPECT_EQ(w.phase(), "none");
}

TEST(AcceleratorChanges, AWriteInBetweenIsReadAgain) {
  moving w;
  w.api->fail("patch", "deployments", 409);
  w.advance(5s);
  const auto patches = w.template_patches();
  ASSERT_EQ(patches.size(), 2u);
  EXPECT_FALSE(patches[0].succeeded);
  EXPECT_TRUE(patches[1].succeeded);
  EXPECT_EQ(w.api->calls_to("get", "deployments").size(), 2u);
}

TEST(AcceleratorChanges, TheCardsOfBothArePlannedFor) {
  moving w;
  w.advance(5s);
  w.carry_out();
  w.status_is(5, 1, 4);
  // Another variant that would like the two MI300X: one is on its way to be used.
  w.changed("deployments", deployment_json("llm", "other", 1));
  w.changed("pods", pod_json("llm", "other-0", "other", true, "n2"));
  auto va = va_json("llm", "other");
  va["metadata"].as_object()["labels"].as_object()["inference.optimization/acceleratorName"] = "MI300X";
  w.load(800);
  w.changed("variantautoscalings", va);
  w.advance(10s);
  EXPECT_THAT(w.condition_of("OptimizationReady", "other"), HasSubstr("CapacityLimited"));
  EXPECT_EQ(w.status("other").at("desiredOptimizedAlloc").at("numReplicas"), 1);
}

TEST(AcceleratorChanges, WhereNothingSaysHowPodsGetThereTheyStay) {
  moving w(default_accelerators());
  w.advance(70s);
  EXPECT_THAT(w.template_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("OptimizationReady"),
              ::testing::AllOf(HasSubstr("True Optimized"),
                               HasSubstr("; not moved to MI300X: accelerator-unit-costs has no nodeSelector for it")));
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("accelerator"), "A100");
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas"), 4);
}

TEST(AcceleratorChanges, AStatefulSetStays) {
  moving w(placed_accelerators(), R"(,"scaleTargetRef":{"kind":"StatefulSet","name":"vllme"})");
  w.changed("deployments", deployment_json("llm", "vllme", 4), kube::watch_type::deleted);
  w.changed("statefulsets", deployment_json("llm", "vllme", 4));
  w.advance(70s);
  EXPECT_THAT(w.template_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("OptimizationReady"), HasSubstr("not moved to MI300X: only Deployments are, this is a StatefulSet"));
}

TEST(AcceleratorChanges, OnlyReportedInMetricMode) {
  moving w(placed_accelerators(), R"(,"actuationMode":"metric")");
  w.advance(70s);
  EXPECT_THAT(w.template_patches(), IsEmpty());
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("accelerator"), "MI300X");
  EXPECT_EQ(w.status().at("actuation").at("applied"), false);
}

TEST(AcceleratorChanges, APodTemplateThatCannotBeMovedIsSaid) {
  moving w;
  w.deployment["spec"].as_object()["template"].as_object()["spec"].as_object()["containers"] = json::array{};
  w.show();
  w.advance(5s);
  EXPECT_THAT(w.template_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("OptimizationReady"),
              HasSubstr("cannot move from A100 to MI300X: no container of the pod template has GPUs"));
}

}  // namespace
}  // namespace inferno::actors::testing

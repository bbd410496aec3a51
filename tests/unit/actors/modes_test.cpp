// How decisions reach the cluster: actuation modes, other autoscalers, kinds of targets, which variants are ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/decode.hpp"
#include "actors/plan_text.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

json::object autoscaler_json(const std::string& target, int max, const std::string& kind = "Deployment",
                             const std::string& owner = "", int min = 1) {
  return parse_object(fmt::format(
      R"({{"metadata":{{"namespace":"llm","name":"{0}-hpa"{3}}},"spec":{{"scaleTargetRef":{{"kind":"{2}","name":"{0}"}},"minReplicas":{4},"maxReplicas":{1}}}}})",
      target, max, kind, owner.empty() ? "" : fmt::format(R"(,"ownerReferences":[{{"kind":"ScaledObject","name":"{}"}}])", owner),
      min));
}

/// 44 requests a minute: two replicas where the cluster has one.
void busy_quickstart(world& w, const std::string& spec, std::map<std::string, std::string> settings = {}) {
  w.load(44);
  w.quickstart();
  settings.emplace("GLOBAL_OPT_INTERVAL", "60s");
  w.changed("configmaps", settings_json(settings));
  w.changed("variantautoscalings", va_json("llm", "vllme", spec, "default", "20.58", 2));
}

TEST(Modes, MetricPublishesAndLeavesTheScaleAlone) {
  world w;
  busy_quickstart(w, R"(,"actuationMode":"metric")");
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 9));
  w.advance(10s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas"), 2);
  EXPECT_EQ(w.status().at("actuation").at("applied"), false) << "nobody has scaled yet";
  EXPECT_THAT(w.condition_of("OptimizationReady"), HasSubstr("True Optimized"));
  EXPECT_THAT(w.condition_of("TargetResolved"), HasSubstr("True TargetFound"));
  EXPECT_THAT(w.view->metrics_text(),
              HasSubstr("inferno_desired_replicas{accelerator_type=\"A100\",namespace=\"llm\",variant_name=\"vllme\"} 2"));
  // The autoscaler does.
  w.changed("deployments", deployment_json("llm", "vllme", 2));
  w.advance(2s);
  EXPECT_EQ(w.status().at("actuation").at("applied"), true);
}

TEST(Modes, MetricSaysWhenNobodyReadsIt) {
  world w;
  busy_quickstart(w, R"(,"actuationMode":"metric")");
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved"), HasSubstr("no HorizontalPodAutoscaler scales it"));
}

TEST(Modes, AnAutoscalersMinimumThatBindsIsSaid) {
  world w;
  busy_quickstart(w, R"(,"actuationMode":"metric")");
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 9, "Deployment", "", 3));
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved"),
              HasSubstr("True AutoscalerLimits: HorizontalPodAutoscaler vllme-hpa keeps at least 3 replicas, 2 are wanted"));
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 9, "Deployment", "", 2));
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved"), HasSubstr("True TargetFound"));
}

TEST(Modes, AnAutoscalersLimitIsSaidAndStopsNothing) {
  world w;
  busy_quickstart(w, R"(,"actuationMode":"metric")");
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 1, "Deployment", "vllme-scaler"));
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved"),
              HasSubstr("True AutoscalerLimits: ScaledObject vllme-scaler allows at most 1 replicas, 2 are wanted"));
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas"), 2) << "still wanted";
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 4, "Deployment", "vllme-scaler"));
  w.advance(2s);
  EXPECT_THAT(w.condition_of("TargetResolved"), HasSubstr("True TargetFound"));
  w.load(3);
  w.advance(200s);
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas"), 1) << "and decisions go on";
}

TEST(Modes, DryRunDecidesAndWritesNothing) {
  world w;
  busy_quickstart(w, "", {{"ACTUATION_MODE", "dry-run"}});
  const auto before = w.api->calls.size();
  w.advance(70s);
  for (std::size_t i = before; i < w.api->calls.size(); ++i) EXPECT_EQ(w.api->calls[i].verb, "get") << w.api->calls[i].plural;
  const auto shown = variant_text(w.view->plan().get(), {"llm", "vllme"}, text_format::json);
  ASSERT_TRUE(shown);
  EXPECT_EQ(parse_object(*shown).at("desiredReplicas"), 2);
  EXPECT_EQ(parse_object(*shown).at("actuationMode"), "dry-run");
  EXPECT_THAT(w.view->metrics_text(), Not(HasSubstr("inferno_desired_replicas{")));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_dry_run_desired_replicas{"));
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"ACTUATION_MODE", "direct"}}));
  w.advance(5s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2)) << "live";
}

/// Two variants that each want two replicas, on this many A100s.
void two_on(world& w, int cards, json::object first, json::object second) {
  populate(w, {"first", "second"}, {std::move(first), std::move(second)});
  w.replaced("nodes", {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", cards)});
  load_each(w, {{"first", 44}, {"second", 44}});
}

TEST(Modes, ADryRunTakesNoCardsFromThoseThatAct) {
  for (const auto* name : {"first", "second"}) {
    // Whichever comes first to the solver: there is one GPU to spare.
    world w;
    const auto dry = [&](const char* of) {
      return va_json("llm", of, std::string(of) == name ? R"(,"actuationMode":"dry-run")" : "");
    };
    two_on(w, 3, dry("first"), dry("second"));
    w.advance(70s);
    const std::string live = name == std::string("first") ? "second" : "first";
    EXPECT_THAT(w.scale_patches(live), ElementsAre(2)) << w.condition_of("OptimizationReady", live);
    EXPECT_THAT(w.scale_patches(name), IsEmpty());
    // What it would get of what the others leave.
    const auto shown = parse_object(*variant_text(w.view->plan().get(), {"llm", name}, text_format::json));
    EXPECT_EQ(shown.at("desiredReplicas"), 1);
    EXPECT_EQ(shown.at("reason"), "CapacityLimited");
    for (const auto& u : w.view->plan()->by_type) EXPECT_LE(u.count, 3);
  }
}

TEST(Modes, ADryRunAtZeroWithoutAnyNodeIsPlannedToo) {
  world w;
  populate(w, {"first"}, {va_json("llm", "first", R"(,"actuationMode":"dry-run","minReplicas":0)")}, 0);
  w.replaced("nodes", {});
  w.advance(70s);
  const auto shown = parse_object(*variant_text(w.view->plan().get(), {"llm", "first"}, text_format::json));
  EXPECT_EQ(shown.at("desiredReplicas"), 0);
}

TEST(Modes, ADryRunIsNotCountedOnByItsPool) {
  world w;
  auto dry = va_json("llm", "first", R"(,"actuationMode":"dry-run")"), live = va_json("llm", "second");
  for (auto* v : {&dry, &live}) (*v)["metadata"].as_object().erase("annotations");
  two_on(w, 8, std::move(dry), std::move(live));
  w.advance(70s);
  EXPECT_THAT(w.scale_patches("second"), ElementsAre(2)) << "its own load, and nobody else to carry it";
  EXPECT_THAT(w.condition_of("OptimizationReady", "second"), Not(HasSubstr("shares")));
  // A fleet in dry-run pools as it would live.
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"ACTUATION_MODE", "dry-run"}}));
  w.advance(5s);
  const auto shown = parse_object(*variant_text(w.view->plan().get(), {"llm", "second"}, text_format::json));
  EXPECT_THAT(std::string(shown.at("message").as_string()), HasSubstr("shares"));
}

TEST(Modes, CardsThatAnAutoscalerLeavesAreGivenToOthers) {
  world w;
  two_on(w, 3, va_json("llm", "first", R"(,"actuationMode":"metric")"), va_json("llm", "second"));
  w.changed("horizontalpodautoscalers", autoscaler_json("first", 1));
  w.advance(70s);
  EXPECT_THAT(w.condition_of("TargetResolved", "first"), HasSubstr("allows at most 1 replicas, 2 are wanted"));
  EXPECT_EQ(w.status("first").at("desiredOptimizedAlloc").at("numReplicas"), 2);
  EXPECT_THAT(w.scale_patches("second"), ElementsAre(2));
  EXPECT_THAT(w.condition_of("OptimizationReady", "second"), HasSubstr("True Optimized"));
}

TEST(Modes, TheVariantsOwnModeGoesBeforeTheDefault) {
  world w;
  busy_quickstart(w, R"(,"actuationMode":"direct")", {{"ACTUATION_MODE", "dry-run"}});
  w.advance(5s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

TEST(Modes, WrongModesAreNamed) {
  world w;
  busy_quickstart(w, R"(,"actuationMode":"sometimes")", {{"ACTUATION_MODE", "perhaps"}});
  w.advance(5s);
  EXPECT_TRUE(w.logged({"ACTUATION_MODE", "perhaps"}));
  EXPECT_THAT(w.condition_of("OptimizationReady"),
              HasSubstr("spec.actuationMode: expected direct, metric or dry-run, got \"sometimes\""));
  EXPECT_THAT(w.scale_patches(), IsEmpty());
}

TEST(Modes, DirectRefusesATargetThatAnAutoscalerScales) {
  world w;
  busy_quickstart(w, "");
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 9));
  w.advance(5s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("TargetResolved"),
              HasSubstr("False ConflictingAutoscaler: HorizontalPodAutoscaler vllme-hpa scales Deployment vllme"));
  EXPECT_EQ(w.status().at("actuation").at("applied"), false);
  // One of another target, or of another kind with that name, is none of our business.
  w.changed("horizontalpodautoscalers", autoscaler_json("other", 9));
  w.changed("horizontalpodautoscalers", autoscaler_json("vllme", 9), kube::watch_type::deleted);
  w.advance(5s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
  EXPECT_THAT(w.condition_of("TargetResolved"), HasSubstr("True TargetFound"));
}

TEST(Modes, ATargetHasOneVariant) {
  world w;
  auto old = va_json("llm", "second", R"(,"scaleTargetRef":{"kind":"Deployment","name":"first"})"),
       young = va_json("llm", "first");
  old["metadata"].as_object()["creationTimestamp"] = "2026-01-01T00:00:00Z";
  young["metadata"].as_object()["creationTimestamp"] = "2026-01-02T00:00:00Z";
  populate(w, {"first"}, {old, young});
  load_each(w, {{"first", 44}});
  w.advance(70s);
  EXPECT_THAT(w.scale_patches("first"), ElementsAre(2)) << "once, by the one that had it first";
  EXPECT_THAT(w.condition_of("OptimizationReady", "second"), HasSubstr("True Optimized"));
  EXPECT_THAT(w.condition_of("TargetResolved", "first"),
              HasSubstr("False TargetNotFound: Deployment first is that of VariantAutoscaling second already"));
  // Renamed: the new one takes over, pods and all.
  w.changed("variantautoscalings", old, kube::watch_type::deleted);
  w.advance(70s);
  EXPECT_THAT(w.condition_of("TargetResolved", "first"), HasSubstr("True TargetFound"));
  EXPECT_THAT(w.condition_of("MetricsAvailable", "first"), HasSubstr("True MetricsFound"));
}

TEST(Modes, StatefulSetsAreScaledLikeDeployments) {
  world w;
  w.load(44);
  w.quickstart();
  w.replaced("pods", {});  // the Deployment's holds a GPU
  w.changed("statefulsets", deployment_json("llm", "served", 1));
  w.changed("pods", pod_json("llm", "served-0", "served"));
  w.changed("variantautoscalings",
            va_json("llm", "vllme", R"(,"scaleTargetRef":{"kind":"StatefulSet","name":"served"})", "default", "20.58", 2));
  w.advance(10s);
  const auto patches = w.api->calls_to("patch", "statefulsets", "scale");
  ASSERT_EQ(patches.size(), 1u) << w.trace();
  EXPECT_EQ(patches[0].key.name, "served");
  EXPECT_EQ(patches[0].body.at("spec").at("replicas"), 2);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "the Deployment of the variant's name is not its target";
  const auto owners = w.api->calls_to("patch", "variantautoscalings");
  ASSERT_FALSE(owners.empty());
  EXPECT_EQ(owners.back().body.at("metadata").at("ownerReferences").at(0).at("kind"), "StatefulSet");
}

TEST(Modes, AnExcludedVariantIsLeftAloneUntilItIsNotExcluded) {
  world w;
  busy_quickstart(w, "");
  w.advance(5s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(2));
  auto v = va_json("llm", "vllme", "", "default", "20.58", 2);
  v["metadata"].as_object()["annotations"].as_object()["inference.optimization/exclude"] = "true";
  w.changed("variantautoscalings", v);
  const auto before = w.api->calls.size();
  w.load(3);
  w.advance(200s);
  EXPECT_EQ(w.api->calls.size(), before) << "nothing is read or written for it";
  EXPECT_THAT(w.view->metrics_text(), Not(HasSubstr("variant_name=\"vllme\"")));
  // A relist does not bring it back.
  w.replaced("variantautoscalings", {v});
  w.advance(5s);
  EXPECT_EQ(w.api->calls.size(), before);
  w.changed("variantautoscalings", va_json("llm", "vllme", "", "default", "20.58", 2));
  w.advance(100s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 1));
}

TEST(Modes, AnyYesExcludesAVariant) {
  auto v = va_json("llm", "vllme", "", "default", "20.58", 2);
  auto& annotations = v["metadata"].as_object()["annotations"].as_object();
  EXPECT_FALSE(decode_variant(v).excluded);
  for (const auto* yes : {"true", "True", " true ", "yes", "1", "on", "until monday"}) {
    annotations["inference.optimization/exclude"] = yes;
    EXPECT_TRUE(decode_variant(v).excluded) << yes;
  }
  for (const auto* no : {"", "false", "False", "no", "off", "0"}) {
    annotations["inference.optimization/exclude"] = no;
    EXPECT_FALSE(decode_variant(v).excluded) << no;
  }
  for (const auto* off : {"off", "Off", "OFF"}) {
    annotations["inference.optimization/pool"] = off;
    EXPECT_EQ(decode_variant(v).pool, "off");
  }
}

TEST(Modes, ATriggerSetBeforeAnybodyLedIsSetBackByTheLeader) {
  world w;
  caf::anon_send(w.root, leadership{false});
  busy_quickstart(w, "", {{"GLOBAL_OPT_TRIGGER", "true"}});
  w.advance(2s);
  EXPECT_THAT(w.api->calls_to("patch", "configmaps"), ::testing::IsEmpty());
  caf::anon_send(w.root, leadership{true});
  w.advance(1s);
  const auto patches = w.api->calls_to("patch", "configmaps");
  ASSERT_THAT(patches, ::testing::SizeIs(1));
  EXPECT_EQ(patches[0].body, json::parse(R"({"data":{"GLOBAL_OPT_TRIGGER":"false"}})"));
}

TEST(Modes, ALostLeaseStopsWritesInTheMiddleOfACycle) {
  world w([](supervisor_config& s) {
    leader_config election;
    election.identity = "me";
    s.election = election;
  });
  EXPECT_TRUE(w.api->writing()) << "the lease was free";
  busy_quickstart(w, "");
  w.advance(8s);
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("\ninferno_leader 1\n"));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_desired_replicas{"));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("\ninferno_variants 1\n"));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("\ninferno_variants_by_reason{reason=\"Optimized\"} 1\n"));
  // The API hangs: the lease cannot be renewed, and the scale patch is asked for later.
  w.api->hold_answers = true;
  w.advance(11s);
  EXPECT_FALSE(w.api->writing()) << "closed by the deadline, not by messages that pass through actors";
  // An autoscaler that reads the metric sees the leader's number only.
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("\ninferno_leader 0\n"));
  EXPECT_THAT(w.view->metrics_text(), Not(HasSubstr("inferno_desired_replicas")));
  EXPECT_THAT(w.view->metrics_text(), Not(HasSubstr("inferno_variants")));
  const auto plan = w.view->plan();
  EXPECT_THAT(plan_text(plan.get(), text_format::table, "", w.view->leading()), HasSubstr("this controller stands by"));
}

}  // namespace
}  // namespace inferno::actors::testing

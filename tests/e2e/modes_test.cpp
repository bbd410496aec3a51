// Who carries out what is decided: the controller itself, a HorizontalPodAutoscaler, KEDA, or nobody. The autoscalers' part is
// played by the tests: nothing here runs them.
#include <gmock/gmock.h>

#include <cstdlib>

#include "tests/e2e/evidence.hpp"

namespace inferno::test {
namespace {

using testbed::text_at;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// A HorizontalPodAutoscaler for the Deployment vllme; of a ScaledObject's when `owner` is one.
void autoscaler(const scene& s, const std::string& name, int max, const json::object& owner = {}) {
  json::object metadata{{"name", name}, {"namespace", s.ns}};
  if (!owner.empty())
    metadata["ownerReferences"] = json::array{json::object{{"apiVersion", "keda.sh/v1alpha1"},
                                                           {"kind", "ScaledObject"},
                                                           {"name", text_at(owner, {"metadata", "name"})},
                                                           {"uid", text_at(owner, {"metadata", "uid"})},
                                                           {"controller", true},
                                                           {"blockOwnerDeletion", true}}};
  const json::object hpa{{"apiVersion", "autoscaling/v2"},
                         {"kind", "HorizontalPodAutoscaler"},
                         {"metadata", metadata},
                         {"spec",
                          {{"scaleTargetRef", {{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"name", "vllme"}}},
                           {"minReplicas", 1},
                           {"maxReplicas", max},
                           {"metrics", json::array{{{"type", "External"},
                                                    {"external",
                                                     {{"metric", {{"name", "inferno_desired_replicas"}}},
                                                      {"target", {{"type", "AverageValue"}, {"averageValue", "1"}}}}}}}}}}};
  s.cluster.apply(json::serialize(hpa));
}

/// The ScaledObject "vllme", and what KEDA's operator makes of it.
void scaled_object(const scene& s, int max) {
  s.cluster.apply(fmt::format(R"(
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {{name: vllme, namespace: {}}}
spec:
  scaleTargetRef: {{name: vllme}}
  minReplicaCount: 1
  maxReplicaCount: {}
  triggers:
    - type: prometheus
      metadata: {{serverAddress: "http://prometheus:9090", query: inferno_desired_replicas, threshold: "1"}}
)",
                              s.ns, max));
  const auto made = s.cluster.get(api_path("keda.sh/v1alpha1", "ScaledObject", s.ns, "vllme"));
  autoscaler(s, "keda-hpa-vllme", static_cast<int>(testbed::integer_at(made, {"spec", "maxReplicaCount"}, 0)), made);
}

void keda_is_installed(const scene& s) {
  const char* tools = std::getenv("INFERNO_DEPLOY_TOOLS");
  const auto file = std::string(tools ? tools : "") + "/keda.sh_scaledobjects.yaml";
  std::ifstream in(file);
  if (!in) throw std::runtime_error("cannot read " + file + "; set INFERNO_DEPLOY_TOOLS to what tools/deploy-tools.sh prints");
  s.cluster.apply(std::string(std::istreambuf_iterator<char>(in), {}));
}

TEST(Actuation, DirectModeLeavesAloneWhatAnAutoscalerScales) {
  scene s;
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  keda_is_installed(s);
  s.deployment();
  autoscaler(s, "vllme-hpa", 4);
  s.variant({.extra_spec = "  minReplicas: 2\n"});
  s.start_scraping_controller();
  EXPECT_TRUE(eventually(20s, [&] { return s.is("TargetResolved", "False ConflictingAutoscaler"); }))
      << s.condition("TargetResolved") << s.log();
  EXPECT_THAT(s.condition("TargetResolved"), HasSubstr("HorizontalPodAutoscaler vllme-hpa scales Deployment vllme"));
  const auto untouched = [&](const char* by) {
    ASSERT_TRUE(s.cycles_pass()) << s.log();
    EXPECT_EQ(s.generation(), 1) << by << s.log();
    for (const auto& a : requests_of(s, the_controller))
      EXPECT_FALSE(a.write() && a.resource.rfind("deployments", 0) == 0) << by << shown({a});
  };
  untouched("an HPA's");
  // KEDA instead.
  scaled_object(s, 4);
  s.remove("HorizontalPodAutoscaler", "vllme-hpa");
  EXPECT_TRUE(eventually(
      20s, [&] { return s.is("TargetResolved", "False ConflictingAutoscaler: ScaledObject vllme scales Deployment vllme"); }))
      << s.condition("TargetResolved") << s.log();
  untouched("KEDA's");
  // With the ScaledObject goes its HPA, as the garbage collector sees to it, and nothing stands in the way any more.
  s.cluster.remove(api_path("keda.sh/v1alpha1", "ScaledObject", s.ns, "vllme"));
  s.remove("HorizontalPodAutoscaler", "keda-hpa-vllme");
  EXPECT_TRUE(s.settles(2)) << s.condition("TargetResolved") << s.log();
  EXPECT_TRUE(s.is("TargetResolved", "True TargetFound")) << s.condition("TargetResolved");
  EXPECT_EQ(s.generation(), 2);
}

TEST(Actuation, DryRunTouchesNothingAndTakesNothing) {
  scene s;  // four A100
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  s.deployment();
  s.variant({.extra_spec = "  actuationMode: dry-run\n"});
  s.deployment({.name = "cheap", .model = "llama0-7b"});
  s.variant({.name = "cheap", .model = "llama0-7b", .cls = "Freemium", .extra_spec = "  maxReplicas: 3\n"});
  const auto before = s.va();
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1, "cheap")) << s.condition("OptimizationReady", "cheap") << s.log();
  // The important one would take three of the four.
  const auto load = s.load(420, "vllme", {}, "default", scene::evenly);
  const auto would = [&](double n) { return eventually(20s, [&] { return s.metric("inferno_dry_run_desired_replicas") == n; }); };
  ASSERT_TRUE(would(3)) << s.log();
  EXPECT_FALSE(s.metric("inferno_desired_replicas")) << "somebody might act on it";
  const auto told = [&] { return json::parse(s.http("metrics", fmt::format("/api/v1/variants/{}/vllme", s.ns)).body); };
  EXPECT_EQ(told().at("desiredReplicas"), 3);

  // A less important one really needs them.
  const auto cheap_load = s.load(560, "cheap", {}, "llama0-7b", scene::evenly);
  ASSERT_TRUE(s.settles(3, "cheap")) << s.condition("OptimizationReady", "cheap") << s.log();
  EXPECT_TRUE(would(1)) << "what it would get beside the others\n" << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.replicas("cheap"), 3) << s.log();
  EXPECT_EQ(s.va(), before) << "neither status nor owner, nor anything else";
  EXPECT_EQ(s.generation(), 1);
  std::vector<audited> touched = writes_of(s, the_controller);
  std::erase_if(touched, [](const audited& a) { return a.name != "vllme"; });
  EXPECT_THAT(touched, IsEmpty()) << shown(touched);
}

TEST(Actuation, AnAutoscalersMaximumWithholdsNoCards) {
  scene s;  // four A100
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  keda_is_installed(s);
  s.deployment();
  autoscaler(s, "vllme-hpa", 1);
  s.variant({.extra_spec = "  actuationMode: metric\n"});
  s.deployment({.name = "cheap", .model = "llama0-7b"});
  s.variant({.name = "cheap", .model = "llama0-7b", .cls = "Freemium", .extra_spec = "  maxReplicas: 3\n"});
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.settles(1, "cheap")) << s.condition("OptimizationReady", "cheap") << s.log();
  const auto load = s.load(420, "vllme", {}, "default", scene::evenly);
  const auto cheap_load = s.load(560, "cheap", {}, "llama0-7b", scene::evenly);
  // Three are wanted of the important one, one may come; the other three are for those who can have them.
  const auto limited_by = [&](const std::string& whom) {
    const auto said = fmt::format("True AutoscalerLimits: {} allows at most 1 replicas, 3 are wanted", whom);
    EXPECT_TRUE(eventually(20s, [&] { return s.is("TargetResolved", said); })) << s.condition("TargetResolved") << s.log();
    ASSERT_TRUE(s.settles(3, "cheap")) << whom << s.condition("OptimizationReady", "cheap") << s.log();
    EXPECT_EQ(s.metric("inferno_desired_replicas"), 3.0);
    ASSERT_TRUE(s.cycles_pass()) << s.log();
    EXPECT_EQ(s.replicas("cheap"), 3) << whom << s.log();
  };
  // With a higher maximum they are the important one's. The autoscaler acts on the metric.
  const auto proceeds = [&] {
    EXPECT_TRUE(eventually(20s, [&] { return s.is("TargetResolved", "True TargetFound"); })) << s.condition("TargetResolved");
    EXPECT_TRUE(eventually(20s, [&] { return s.replicas("cheap") == 1; })) << s.log();
    // The status is written after the scale.
    EXPECT_TRUE(eventually(20s, [&] {
      return s.is("OptimizationReady", "False CapacityLimited: wanted 3 x A100, 1 granted", "cheap");
    })) << s.condition("OptimizationReady", "cheap");
    ASSERT_EQ(s.metric("inferno_desired_replicas"), 3.0);
    s.patch("Deployment", "vllme", {{"spec", {{"replicas", 3}}}});
    EXPECT_TRUE(s.settles(3)) << s.condition("OptimizationReady") << s.log();
  };
  limited_by("HorizontalPodAutoscaler vllme-hpa");
  if (HasFatalFailure()) return;
  autoscaler(s, "vllme-hpa", 4);
  proceeds();

  scaled_object(s, 1);
  s.remove("HorizontalPodAutoscaler", "vllme-hpa");
  s.patch("Deployment", "vllme", {{"spec", {{"replicas", 1}}}});
  limited_by("ScaledObject vllme");
  if (HasFatalFailure()) return;
  scaled_object(s, 3);
  proceeds();
  for (const auto& a : requests_of(s, the_controller))
    EXPECT_FALSE(a.name == "vllme" && a.write() && a.resource.rfind("deployments", 0) == 0) << shown({a});
}

}  // namespace
}  // namespace inferno::test

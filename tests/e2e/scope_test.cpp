// Which variants are a controller's: those of a namespace, those with its instance's label, those that are not excluded. What
// counts is what the API server saw.
#include <gmock/gmock.h>

#include <set>

#include "tests/e2e/evidence.hpp"

namespace inferno::test {
namespace {

using testbed::text_at;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Scope, ANamespaceOfItsOwn) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 4}});
  const auto other = s.more_namespace();
  // Rights in the one namespace; cluster-wide only those to read nodes.
  s.cluster.apply(fmt::format(R"(
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {0}-nodes}}
rules:
  - {{apiGroups: [""], resources: [nodes], verbs: [list, watch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {0}-nodes}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}-nodes}}
subjects: [{{kind: ServiceAccount, name: {1}, namespace: {0}}}]
)",
                              s.system_ns, the_controller));
  for (const auto* role : {"variants", "targets", "cluster-reader"}) {
    const auto name = fmt::format("{}-{}", s.system_ns, role);
    s.cluster.remove(api_path("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "", name));
    s.cluster.apply(fmt::format(R"(
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {0}, namespace: {1}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}}}
subjects: [{{kind: ServiceAccount, name: {2}, namespace: {3}}}]
)",
                                name, s.ns, the_controller, s.system_ns));
  }
  for (const auto& in : {s.ns, other}) {
    s.deployment({}, in);
    // Of four GPUs one is held by a pod of nobody's, here and there.
    s.foreign_pod("training", 1, in);
  }
  s.variant();
  s.variant({.extra_spec = "  minReplicas: 2\n"}, other);
  const auto untouched = s.va("vllme", other);
  const auto load = s.load(600, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller({"--watch-namespace", s.ns});

  // Four are wanted. The pod of this namespace counts against the GPUs, that of the other one does not.
  EXPECT_TRUE(eventually(30s, [&] { return s.is("OptimizationReady", "False CapacityLimited: wanted 4 x A100, 3 granted"); }))
      << s.condition("OptimizationReady") << s.log();
  EXPECT_TRUE(eventually(10s, [&] { return s.replicas() == 3; })) << s.log();
  s.remove("Pod", "training");
  EXPECT_TRUE(eventually(10s, [&] { return s.replicas() == 4; })) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();

  EXPECT_EQ(s.generation("vllme", other), 1) << s.log();
  EXPECT_EQ(s.va("vllme", other), untouched) << "it may not even look there";
  EXPECT_FALSE(s.metric("inferno_desired_replicas", "vllme", other));
  std::vector<audited> elsewhere;
  for (const auto& a : requests_of(s, the_controller))
    if (a.code == 403 || (a.ns != s.ns && a.ns != s.system_ns && a.resource != "nodes" && !a.resource.empty()))
      elsewhere.push_back(a);
  EXPECT_THAT(elsewhere, IsEmpty()) << shown(elsewhere);
  EXPECT_GE(writes_of(s, the_controller).size(), 2u);
  for (const auto* kind : {"ClusterRole", "ClusterRoleBinding"})
    s.cluster.remove(api_path("rbac.authorization.k8s.io/v1", kind, "", s.system_ns + "-nodes"));
}

TEST(Scope, InstancesSideBySide) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 12}});
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  const std::string label = "inference.optimization/controller-instance";
  const std::string two = "  minReplicas: 2\n";
  for (const auto* name : {"plain", "azure", "green", "excluded"}) s.deployment({.name = name});
  s.variant({.name = "plain", .extra_spec = two});
  s.variant({.name = "azure", .extra_spec = two, .labels = label + ": blue"});
  s.variant({.name = "green", .extra_spec = two, .labels = label + ": green"});
  s.variant({.name = "excluded", .extra_spec = two, .annotations = "inference.optimization/exclude: \"true\""});
  const auto green = s.va("green"), excluded = s.va("excluded");
  s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", "unnamed"});
  s.token_file = another_account(s, "blue");
  s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", "blue", "--controller-instance=blue"});
  constexpr std::size_t unnamed = 0, blue = 1;

  const auto has = [&](long n, const std::string& name) {
    return eventually(30s,
                      [&] { return s.replicas(name) == n && s.desired(name) == n && s.is("OptimizationReady", "True", name); });
  };
  ASSERT_TRUE(has(2, "plain")) << s.condition("OptimizationReady", "plain") << s.log(unnamed);
  ASSERT_TRUE(has(2, "azure")) << s.condition("OptimizationReady", "azure") << s.log(blue);
  for (const auto which : {unnamed, blue}) ASSERT_TRUE(s.cycles_pass(which)) << s.log(which);
  const auto written = [&](const std::string& account, const std::string& since = {}) {
    std::set<std::string> names;
    for (const auto& a : writes_of(s, account, since)) names.insert(a.name);
    return names;
  };
  EXPECT_THAT(written(the_controller), ElementsAre("plain")) << shown(writes_of(s, the_controller));
  EXPECT_THAT(written("blue"), ElementsAre("azure")) << shown(writes_of(s, "blue"));
  EXPECT_EQ(s.va("green"), green) << "another instance's, which does not run";
  EXPECT_EQ(s.va("excluded"), excluded);
  for (const auto* name : {"green", "excluded"}) EXPECT_EQ(s.generation(name), 1) << name;

  // Each leads, by a lease of its own.
  const auto leases_of = [&](const std::string& account) {
    std::set<std::string> names;
    for (const auto& a : requests_of(s, account))
      if (a.resource == "leases" && a.verb == "update") names.insert(a.name);
    return names;
  };
  const std::set<std::string> usual{"inferno-autoscaler-leader"}, own{"inferno-autoscaler-leader-blue"};
  const auto renewed = [&] { return !leases_of(the_controller).empty() && !leases_of("blue").empty(); };
  ASSERT_TRUE(eventually(10s, renewed));
  EXPECT_EQ(leases_of(the_controller), usual);
  EXPECT_EQ(leases_of("blue"), own);
  const auto holder = [&](const std::string& lease) {
    return text_at(s.get("Lease", lease, s.system_ns), {"spec", "holderIdentity"});
  };
  EXPECT_EQ(holder("inferno-autoscaler-leader"), "unnamed");
  EXPECT_EQ(holder("inferno-autoscaler-leader-blue"), "blue");

  // A label moves a variant from one to the other, and another back; without the annotation the excluded one is somebody's.
  s.patch("VariantAutoscaling", "plain", {{"metadata", {{"labels", {{label, "blue"}}}}}});
  s.patch("VariantAutoscaling", "azure", {{"metadata", {{"labels", {{label, nullptr}}}}}});
  s.patch("VariantAutoscaling", "excluded", {{"metadata", {{"annotations", {{"inference.optimization/exclude", nullptr}}}}}});
  const auto series = [&](const std::string& name, std::size_t which) {
    return s.metric("inferno_desired_replicas", name, {}, which).has_value();
  };
  const auto moved = [&] {
    return !series("plain", unnamed) && series("plain", blue) && series("azure", unnamed) && !series("azure", blue);
  };
  ASSERT_TRUE(eventually(20s, moved)) << s.log(unnamed) << s.log(blue);
  ASSERT_TRUE(has(2, "excluded")) << s.condition("OptimizationReady", "excluded") << s.log(unnamed);
  // What a write under way at that moment did is over.
  const auto since = now_text();
  for (const auto* name : {"plain", "azure"}) s.patch("VariantAutoscaling", name, {{"spec", {{"minReplicas", 3}}}});
  EXPECT_TRUE(has(3, "plain")) << s.condition("OptimizationReady", "plain") << s.log(blue);
  EXPECT_TRUE(has(3, "azure")) << s.condition("OptimizationReady", "azure") << s.log(unnamed);
  s.patch("VariantAutoscaling", "azure", {{"metadata", {{"annotations", {{"inference.optimization/exclude", "true"}}}}}});
  ASSERT_TRUE(eventually(10s, [&] { return !series("azure", unnamed); })) << s.log(unnamed);
  const auto left = s.va("azure");
  s.patch("VariantAutoscaling", "azure", {{"spec", {{"minReplicas", 4}}}});
  for (const auto which : {unnamed, blue}) ASSERT_TRUE(s.cycles_pass(which)) << s.log(which);
  EXPECT_EQ(s.replicas("azure"), 3) << "excluded";
  EXPECT_EQ(s.va("azure").at("status"), left.at("status"));
  EXPECT_THAT(written("blue", since), ElementsAre("plain")) << shown(writes_of(s, "blue", since));
  EXPECT_EQ(written(the_controller, since).count("plain"), 0u) << shown(writes_of(s, the_controller, since));
  EXPECT_EQ(s.generation("green"), 1);
}

}  // namespace
}  // namespace inferno::test

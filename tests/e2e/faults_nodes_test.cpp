// Nodes go, and come back.
#include "tests/e2e/evidence.hpp"

namespace inferno::test {
namespace {

using testbed::find;
using testbed::integer_at;
using testbed::text_at;

/// The scene's pods on a node that are not on their way out.
std::vector<std::string> pods_on(const scene& s, const std::string& node) {
  std::vector<std::string> out;
  const auto all = s.cluster.get(api_path("v1", "Pod", s.ns, ""));
  for (const auto& p : all.at("items").as_array())
    if (text_at(p.as_object(), {"spec", "nodeName"}) == node && !find(p.as_object(), {"metadata", "deletionTimestamp"}))
      out.push_back(text_at(p.as_object(), {"metadata", "name"}));
  return out;
}

TEST(Faults, ANodeIsDrained) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 2, 2}});
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  s.deployment();
  s.variant({.extra_spec = "  maxReplicas: 4\n"});
  // A replica carries 165 requests a minute.
  const auto load = s.load(600, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(4)) << s.condition("OptimizationReady") << s.log();
  s.cluster.apply(
      fmt::format("apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {{name: vllme, namespace: {}}}\n"
                  "spec: {{minAvailable: 1, selector: {{matchLabels: {{app: vllme}}}}}}\n",
                  s.ns));
  ASSERT_TRUE(eventually(20s, [&] {
    const auto budget = s.cluster.get(api_path("policy/v1", "PodDisruptionBudget", s.ns, "vllme"));
    return integer_at(budget, {"status", "disruptionsAllowed"}, 0) == 3;
  }));
  const auto before = s.generation();
  const auto since = version_now(s, "Deployment");

  // kubectl drain: cordoned, and each of its pods evicted as soon as the budget allows.
  s.patch("Node", s.node(1), {{"spec", {{"unschedulable", true}}}});
  int evicted = 0;
  EXPECT_TRUE(eventually(60s, [&] {
    const auto pods = pods_on(s, s.node(1));
    for (const auto& name : pods) {
      const json::object eviction{
          {"apiVersion", "policy/v1"}, {"kind", "Eviction"}, {"metadata", json::object{{"name", name}, {"namespace", s.ns}}}};
      const auto done = s.cluster.call("POST", api_path("v1", "Pod", s.ns, name) + "/eviction", eviction);
      EXPECT_TRUE(done.ok() || done.status == 429 || done.status == 404) << done.status << done.problem;
      if (done.ok()) ++evicted;
    }
    return pods.empty();
  })) << "the node is not drained";
  fmt::print("evicted: {}\n", evicted);
  // The GPUs of a node that takes no pods are not planned with: what is left serves on the other one.
  EXPECT_TRUE(eventually(30s, [&] { return s.ready() == 2 && pods_on(s, s.node(0)).size() == 2; })) << s.ready() << s.log();
  EXPECT_TRUE(eventually(10s, [&] { return s.is("OptimizationReady", "False CapacityLimited: wanted 4 x A100, 2 granted"); }))
      << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.replicas(), 2);
  EXPECT_EQ(s.desired(), 2);
  // A pod that still serves on the cordoned node keeps its GPU: down with the evictions, and not back and forth.
  const auto drained = s.generation();
  EXPECT_LE(drained, before + 2) << s.log();
  long least = 99, last = 4;
  for (const auto& d : states_since(s, "Deployment", since)) {
    least = std::min(least, static_cast<long>(integer_at(d, {"status", "readyReplicas"}, 0)));
    const long wanted = integer_at(d, {"spec", "replicas"}, -1);
    EXPECT_LE(wanted, last);
    last = wanted;
  }
  EXPECT_GE(least, 1) << "nobody served";

  s.patch("Node", s.node(1), {{"spec", {{"unschedulable", nullptr}}}});
  EXPECT_TRUE(s.settles(4)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), drained + 1) << s.log();
}

}  // namespace
}  // namespace inferno::test

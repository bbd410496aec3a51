// Rows of docs/conformance.md: who scales, another autoscaler or another controller.
#include <gmock/gmock.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::HasSubstr;

TEST(Conformance, HpaKedaMetric) {
  scene s;
  const auto autoscaler = [&](int max) {
    s.cluster.apply(fmt::format(R"(
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {{name: vllme-hpa, namespace: {}}}
spec:
  scaleTargetRef: {{apiVersion: apps/v1, kind: Deployment, name: vllme}}
  minReplicas: 1
  maxReplicas: {}
  metrics:
    - type: External
      external:
        metric: {{name: inferno_desired_replicas, selector: {{matchLabels: {{variant_name: vllme}}}}}}
        target: {{type: AverageValue, averageValue: "1"}}
)",
                                s.ns, max));
  };
  s.deployment();
  s.variant({.extra_spec = "  actuationMode: metric\n"});
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  EXPECT_THAT(s.condition("TargetResolved"), HasSubstr("no HorizontalPodAutoscaler scales it"));
  autoscaler(4);
  EXPECT_TRUE(eventually(10s, [&] { return s.condition("TargetResolved") == "True TargetFound: Deployment vllme found"; }))
      << s.condition("TargetResolved");

  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(eventually(30s, [&] { return s.metric("inferno_desired_replicas") == 2.0; })) << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.metric("inferno_current_replicas"), 1.0);
  EXPECT_EQ(s.metric("inferno_desired_ratio"), 2.0);
  EXPECT_EQ(s.desired(), 2);
  EXPECT_EQ(s.va().at("status").at("actuation").at("applied"), false);
  EXPECT_EQ(s.generation(), 1) << "the autoscaler is to scale, nobody else\n" << s.log();

  autoscaler(1);
  EXPECT_TRUE(eventually(
      10s,
      [&] {
        return s.is("TargetResolved",
                    "True AutoscalerLimits: HorizontalPodAutoscaler vllme-hpa allows at most 1 replicas, 2 are wanted");
      }))
      << s.condition("TargetResolved") << s.log();
  autoscaler(4);
  EXPECT_TRUE(eventually(10s, [&] { return s.is("TargetResolved", "True TargetFound"); })) << s.condition("TargetResolved");
  // What the autoscaler does with the metric.
  s.patch("Deployment", "vllme", {{"spec", {{"replicas", 2}}}});
  EXPECT_TRUE(eventually(10s, [&] { return s.va().at("status").at("actuation").at("applied").as_bool(); })) << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << s.log();
}

TEST(Conformance, Failover) {
  scene s;
  s.deployment();
  s.variant();
  const std::vector<std::string> names{"first", "second"};
  const auto start = [&](const std::string& name) {
    s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", name, "--leader-elect-lease-duration", "4s",
                                 "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "500ms"});
  };
  for (const auto& name : names) start(name);
  const auto holder = [&] {
    return testbed::text_at(s.get("Lease", "inferno-autoscaler-leader", s.system_ns), {"spec", "holderIdentity"});
  };
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(0) << s.log(1);
  const auto leader = holder();
  ASSERT_TRUE(leader == "first" || leader == "second") << leader;
  const std::size_t old = leader == "first" ? 0 : 1, young = 1 - old;
  ASSERT_TRUE(s.logged("Became leader", old)) << s.log(old);
  ASSERT_FALSE(s.logged("Became leader", young)) << s.log(young);

  // The load rises, and nobody is there to see it.
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  s.controllers[old]->signal(SIGKILL);
  ASSERT_EQ(s.controllers[old]->wait(5s), -SIGKILL);
  const auto killed = steady::now();
  ASSERT_TRUE(eventually(15s, [&] { return holder() == names[young]; })) << s.log(young);
  const auto took = seconds_since(killed);
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log(young);
  fmt::print("leader killed to scale patch and new replica ready: {:.2f} s\n", seconds_since(killed));
  fmt::print("leader killed to lease taken: {:.2f} s (lease duration 4 s)\n", took);
  EXPECT_LT(took, 6);
  ASSERT_TRUE(s.cycles_pass(young)) << s.log(young);
  EXPECT_EQ(s.generation(), 2) << "one patch, by one of them\n" << s.log(old) << s.log(young);
  EXPECT_EQ(s.scalings("vllme", {}, young).size(), 1u) << s.log(young);

  // Nor does one that slept through its lease write again when it wakes up.
  start("third");
  s.controllers[young]->signal(SIGSTOP);
  ASSERT_TRUE(eventually(15s, [&] { return holder() == "third"; })) << s.log(2);
  s.controllers[young]->signal(SIGCONT);
  EXPECT_TRUE(eventually(5s, [&] { return s.logged("Lost leadership", young); })) << s.log(young);
  load->stop();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(2);
  EXPECT_EQ(s.generation(), 3) << s.log(young) << s.log(2);
  EXPECT_EQ(s.scalings("vllme", {}, 2).size(), 1u) << s.log(2);
  EXPECT_EQ(s.scalings("vllme", {}, young).size(), 1u) << "only the one from before\n" << s.log(young);
  EXPECT_EQ(holder(), "third");
}

}  // namespace
}  // namespace inferno::test

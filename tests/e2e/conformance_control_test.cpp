// Rows of docs/conformance.md: who scales, another autoscaler or another controller.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/e2e/evidence.hpp"
#include "tests/e2e/tcp_proxy.hpp"

namespace inferno::test {
namespace {

using ::testing::ElementsAre;
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
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  s.deployment();
  s.variant();
  const auto own = s.cluster.server_certificate();
  tcp_proxy line(s.cluster.url(), own.cert, own.key);
  // Each has an account of its own, so that the server knows who did what.
  const auto start = [&](const std::string& name, const std::string& url) {
    s.token_file = another_account(s, name);
    s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", name, "--leader-elect-lease-duration", "4s",
                                 "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "500ms"},
                                url);
  };
  const auto holder = [&] {
    return testbed::text_at(s.get("Lease", "inferno-autoscaler-leader", s.system_ns), {"spec", "holderIdentity"});
  };
  const auto since = version_now(s, "Deployment");
  start("first", "");
  ASSERT_TRUE(eventually(10s, [&] { return holder() == "first"; })) << s.log(0);
  start("second", line.url());
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(0);
  EXPECT_TRUE(writes_of(s, "second").empty()) << shown(writes_of(s, "second"));

  // The load rises, and nobody is there to see it.
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  s.controllers[0]->signal(SIGKILL);
  ASSERT_EQ(s.controllers[0]->wait(5s), -SIGKILL);
  const auto killed = steady::now();
  ASSERT_TRUE(eventually(15s, [&] { return holder() == "second"; })) << s.log(1);
  const auto took = seconds_since(killed);
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log(1);
  fmt::print("leader killed to scale patch and new replica ready: {:.2f} s\n", seconds_since(killed));
  fmt::print("leader killed to lease taken: {:.2f} s (lease duration 4 s)\n", took);
  EXPECT_LT(took, 6);
  ASSERT_TRUE(s.cycles_pass(1)) << s.log(1);
  EXPECT_THAT(replicas_since(s, since, 1), ElementsAre(2)) << "one patch, by one of them\n" << s.log(0) << s.log(1);

  // Nor does one that slept through its lease write again when it wakes up: what it is about to try once more, to have three
  // replicas, has been due all the time, and there are four.
  start("third", "");
  line.set(network::scale_patches_reset);
  const auto more = s.load(180, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(eventually(20s, [&] { return line.scale_patches() >= 1; })) << s.log(1);
  s.controllers[1]->signal(SIGSTOP);
  const auto stopped = now_text();
  line.set(network::pass);
  ASSERT_TRUE(eventually(15s, [&] { return holder() == "third"; })) << s.log(2);
  ASSERT_TRUE(s.settles(3)) << s.condition("OptimizationReady") << s.log(2);
  const auto most = s.load(180, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(s.settles(4)) << s.condition("OptimizationReady") << s.log(2);
  s.controllers[1]->signal(SIGCONT);
  ASSERT_TRUE(eventually(5s, [&] { return s.logged("Lost leadership", 1); })) << s.log(1);
  ASSERT_TRUE(s.cycles_pass(1)) << s.log(1);
  ASSERT_TRUE(s.cycles_pass(2)) << s.log(2);
  EXPECT_EQ(s.replicas(), 4);
  for (const auto& l : {&load, &more, &most}) (*l)->stop();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(2);
  const auto late = writes_of(s, "second", stopped);
  EXPECT_TRUE(late.empty()) << shown(late) << s.log(1);
  const auto history = replicas_since(s, since, 1);
  const auto top = std::max_element(history.begin(), history.end());
  EXPECT_TRUE(std::is_sorted(history.begin(), top) && std::is_sorted(top, history.end(), std::greater<>()))
      << ::testing::PrintToString(history) << s.log(2);
  EXPECT_EQ(holder(), "third");
}

}  // namespace
}  // namespace inferno::test

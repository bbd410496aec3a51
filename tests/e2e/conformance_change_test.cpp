// Rows of docs/conformance.md: what comes, goes and changes while the controller runs.
#include <gmock/gmock.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// Prometheus gone, for as long as this lives or until back().
class outage {
 public:
  explicit outage(prometheus& of) : of_(of) { of_.process.reset(); }
  outage(const outage&) = delete;
  outage& operator=(const outage&) = delete;
  ~outage() {
    if (!of_.process) back();
  }
  bool back() { return of_.start(); }

 private:
  prometheus& of_;
};

TEST(Conformance, MetricsLostAndBack) {
  scene s;
  s.configure("inferno-autoscaler-variantautoscaling-config",
              {{"GLOBAL_OPT_INTERVAL", "2s"}, {"SCALE_DOWN_STABILIZATION", "2s"}, {"RATE_WINDOW", "5s"}});
  s.deployment();
  s.variant();
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  s.start_controller();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  outage gone(*s.all.metrics);
  load->stop();
  ASSERT_TRUE(eventually(10s, [&] { return s.is("MetricsAvailable", "False MetricsSourceFailed"); }))
      << s.condition("MetricsAvailable") << s.log();
  EXPECT_TRUE(eventually(5s, [&] { return s.is("OptimizationReady", "False MetricsSourceFailed"); }))
      << s.condition("OptimizationReady");
  EXPECT_TRUE(s.logged("Metrics source fails")) << s.log();
  // More than window and stabilization: with metrics it would have scaled down.
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << "silence is no reason to scale\n" << s.log();
  EXPECT_EQ(s.desired(), 2);
  EXPECT_EQ(s.metric("inferno_desired_replicas"), 2.0);

  ASSERT_TRUE(gone.back());
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  EXPECT_TRUE(s.is("MetricsAvailable", "True MetricsFound")) << s.condition("MetricsAvailable");
  EXPECT_TRUE(s.logged("Metrics source answers again")) << s.log();
}

TEST(Conformance, ObjectLifecycles) {
  scene s;
  s.variant();
  s.start_scraping_controller();
  ASSERT_TRUE(eventually(10s, [&] { return s.is("TargetResolved", "False TargetNotFound"); })) << s.log();
  s.deployment();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  s.patch("VariantAutoscaling", "vllme", {{"spec", {{"minReplicas", 2}}}});
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  EXPECT_TRUE(s.metric("inferno_desired_replicas"));
  EXPECT_TRUE(s.metric("inferno_replica_scaling_total"));

  // The Deployment owns the variant: it takes it along.
  s.remove("Deployment", "vllme");
  ASSERT_TRUE(eventually(60s, [&] { return s.va().empty(); })) << "the garbage collector lets it be\n" << s.log();
  EXPECT_TRUE(eventually(5s, [&] { return s.http("metrics", "/metrics").body.find("\"vllme\"") == std::string::npos; }))
      << s.http("metrics", "/metrics").body;

  // Both again, and the Deployment deleted by itself (kubectl delete --cascade=orphan): the variant waits for its return.
  s.deployment();
  s.variant();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  s.remove("Deployment", "vllme", {}, "Orphan");
  ASSERT_TRUE(eventually(15s, [&] { return s.is("TargetResolved", "False TargetNotFound"); }))
      << s.condition("TargetResolved") << s.log();
  s.deployment();
  ASSERT_TRUE(eventually(20s, [&] { return s.is("TargetResolved", "True TargetFound"); })) << s.condition("TargetResolved");
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();

  // The variant goes, and with it all that was said of it. What it scaled stays.
  const auto before = s.get("Deployment", "vllme").at("metadata").at("uid");
  s.remove("VariantAutoscaling", "vllme");
  EXPECT_TRUE(eventually(5s, [&] { return s.http("metrics", "/metrics").body.find("\"vllme\"") == std::string::npos; }))
      << s.http("metrics", "/metrics").body;
  // The API shows the last plan.
  const auto shown = [&] { return s.http("metrics", fmt::format("/api/v1/variants/{}/vllme", s.ns)).status; };
  EXPECT_TRUE(eventually(10s, [&] { return shown() == 404; })) << shown();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.get("Deployment", "vllme").at("metadata").at("uid"), before);
  EXPECT_EQ(s.replicas(), 1);
  EXPECT_EQ(s.generation(), 1) << s.log();
}

TEST(Conformance, LiveConfiguration) {
  scene s;
  const auto premium = [&](const std::string& ttw_ms) {
    s.configure("service-classes-config",
                {{"premium.yaml",
                  fmt::format("name: Premium\npriority: 1\ndata:\n- {{model: default, slo-itl: 24, slo-ttw: {}}}\n", ttw_ms)}});
  };
  const auto a100 = [&](const std::string& cost) {
    s.configure("accelerator-unit-costs",
                {{"A100", fmt::format(R"({{"device": "NVIDIA-A100-PCIE-80GB", "cost": "{}"}})", cost)}});
  };
  const auto cost_is = [&](const std::string& cents) {
    return eventually(10s, [&] { return testbed::text_at(s.va(), {"status", "currentAlloc", "variantCost"}) == cents; });
  };
  const auto interval = [&](const std::string& text) {
    s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", text}});
  };
  s.deployment();
  s.variant();
  const auto load = s.load(130, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(cost_is("40.00")) << s.log();

  a100("50.00");
  EXPECT_TRUE(cost_is("50.00")) << json::serialize(s.va());
  interval("1s");
  const auto ticks = [&] { return s.count_logged("\"trigger\":\"interval\""); };
  ASSERT_TRUE(eventually(10s, [&] { return s.logged("\"interval_ms\":1000"); })) << s.log();
  const auto before = ticks();
  EXPECT_TRUE(eventually(4s, [&] { return ticks() >= before + 3; })) << "every second instead of every five\n" << s.log();
  // A replica carries 165 requests a minute with a wait of 500 ms, and 109 with one of 100 ms.
  premium("100");
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();

  // Broken ones are refused by name, and the last valid ones stay.
  const auto refused = [&](const std::string& entry, const std::string& value) {
    return eventually(10s, [&] {
      const auto line = s.log_line(fmt::format("\"msg\":\"Invalid configuration entry\",\"entry\":\"{}\"", entry));
      return line.find(value) != std::string::npos;
    });
  };
  a100("much");
  EXPECT_TRUE(refused("accelerator-unit-costs/A100", "much")) << s.log();
  premium("soon");
  EXPECT_TRUE(refused("service-classes-config/premium.yaml", "data[0].slo-ttw: expected a number from 0 to 1000000000, got soon"))
      << s.log();
  interval("often");
  EXPECT_TRUE(refused("inferno-autoscaler-variantautoscaling-config/GLOBAL_OPT_INTERVAL", "often")) << s.log();
  const auto then = ticks();
  EXPECT_TRUE(eventually(4s, [&] { return ticks() >= then + 3; })) << "still every second\n" << s.log();
  EXPECT_EQ(s.generation(), 2) << s.log();
  EXPECT_TRUE(cost_is("100.00")) << json::serialize(s.va());
  EXPECT_TRUE(s.is("OptimizationReady", "True Optimized")) << s.condition("OptimizationReady");
  a100("60.00");
  EXPECT_TRUE(cost_is("120.00")) << json::serialize(s.va());
  EXPECT_TRUE(s.logged("Configuration entry is valid again")) << s.log();
}

}  // namespace
}  // namespace inferno::test

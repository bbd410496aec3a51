// Rows of docs/conformance.md: several variants, and GPUs or objectives that do not suffice.
#include <gmock/gmock.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(Conformance, TwoVariantsOfOneModel) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 4}, {"amd", "AMD-MI300X-192G", 1, 2}});
  s.deployment({.name = "vllme-a"});
  s.deployment({.name = "vllme-m", .accelerator = "MI300X"});
  s.variant({.name = "vllme-a"});
  s.variant({.name = "vllme-m", .accelerator = "MI300X"});
  s.start_controller();
  ASSERT_TRUE(s.settles(1, "vllme-a")) << s.log();
  ASSERT_TRUE(s.settles(1, "vllme-m")) << s.log();
  // An A100 carries 165 requests a minute, an MI300X 537. What one alone could not carry they carry together as they are.
  {
    const auto load = s.load(240, "vllme-a", {}, "default", scene::evenly);
    ASSERT_TRUE(eventually(20s, [&] { return s.metric("inferno_arrival_rate_per_second", "vllme-a").value_or(0) > 200 / 60.0; }))
        << s.log();
    ASSERT_TRUE(s.cycles_pass()) << s.log();
    EXPECT_THAT(s.condition("OptimizationReady", "vllme-a"),
                AllOf(HasSubstr("True Optimized"), HasSubstr("with 1 other variant")));
    EXPECT_THAT(s.condition("OptimizationReady", "vllme-m"),
                AllOf(HasSubstr("True Optimized"), HasSubstr("with 1 other variant")));
    EXPECT_EQ(s.generation("vllme-a"), 1) << s.log();
    EXPECT_EQ(s.generation("vllme-m"), 1) << s.log();
    load->stop();
  }
  // More than both carry: one more of the cheaper, once.
  const auto load = s.load(760, "vllme", {}, "default", [](testbed::load_config& c) {
    scene::evenly(c);
    c.route = testbed::routing::least_outstanding;
  });
  ASSERT_TRUE(s.settles(2, "vllme-a")) << s.condition("OptimizationReady", "vllme-a") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation("vllme-a"), 2) << s.log();
  EXPECT_EQ(s.generation("vllme-m"), 1) << s.log();
  EXPECT_TRUE(s.is("OptimizationReady", "True Optimized", "vllme-m")) << s.condition("OptimizationReady", "vllme-m");
  EXPECT_EQ(load->statistics().failed, 0) << load->statistics().first_error << "\n" << s.log();
}

TEST(Conformance, SameNamesInTwoNamespaces) {
  scene s;
  const auto other = s.more_namespace();
  for (const auto& in : {s.ns, other}) {
    s.deployment({}, in);
    s.variant({}, in);
  }
  s.start_controller();
  const auto decided = [&](const std::string& in) {
    return eventually(30s, [&] { return s.is("OptimizationReady", "True Optimized", "vllme", in); });
  };
  ASSERT_TRUE(decided(s.ns)) << s.log();
  ASSERT_TRUE(decided(other)) << s.log();
  const auto load = s.load(240, "vllme", other, "default", scene::evenly);
  ASSERT_TRUE(eventually(30s, [&] { return s.replicas("vllme", other) == 2; })) << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation("vllme", other), 2);
  EXPECT_EQ(s.generation("vllme", s.ns), 1) << "the load was not its\n" << s.log();
  EXPECT_EQ(s.desired("vllme", other), 2);
  EXPECT_EQ(s.desired("vllme", s.ns), 1);
  // Of a mean over the window, part of which may lie before the load.
  EXPECT_TRUE(eventually(20s, [&] { return s.metric("inferno_arrival_rate_per_second", "vllme", other).value_or(0) > 3; }))
      << s.log();
  EXPECT_EQ(s.metric("inferno_arrival_rate_per_second", "vllme", s.ns), 0.0);
  for (const auto& in : {s.ns, other}) {
    const auto shown = s.http("metrics", fmt::format("/api/v1/variants/{}/vllme", in));
    ASSERT_EQ(shown.status, 200) << shown.body;
    EXPECT_EQ(json::parse(shown.body).at("desiredReplicas"), in == other ? 2 : 1) << shown.body;
  }
}

TEST(Conformance, ShortageByClass) {
  scene s;  // four A100
  const auto elsewhere = s.more_namespace();
  s.foreign_pod("training", 1, elsewhere);
  s.deployment({.name = "cheap", .model = "llama0-7b"});
  s.variant({.name = "cheap", .model = "llama0-7b", .cls = "Freemium"});
  s.deployment({.name = "dear"});
  s.variant({.name = "dear"});
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1, "cheap")) << s.condition("OptimizationReady", "cheap") << s.log();
  ASSERT_TRUE(s.settles(1, "dear")) << s.condition("OptimizationReady", "dear") << s.log();
  // The less important class may have what nobody else needs.
  const auto cheap_load = s.load(270, "cheap", {}, "llama0-7b", scene::evenly);
  ASSERT_TRUE(s.settles(2, "cheap")) << s.condition("OptimizationReady", "cheap") << s.log();
  // Two and two are wanted, and there are three.
  const auto dear_load = s.load(240, "dear", {}, "default", scene::evenly);
  ASSERT_TRUE(s.settles(2, "dear")) << s.condition("OptimizationReady", "dear") << s.log();
  EXPECT_TRUE(
      eventually(10s, [&] { return s.is("OptimizationReady", "False CapacityLimited: wanted 2 x A100, 1 granted", "cheap"); }))
      << s.condition("OptimizationReady", "cheap") << s.log();
  EXPECT_EQ(s.replicas("cheap"), 1);
  // The foreign pod goes, and its GPU is free.
  s.remove("Pod", "training", elsewhere);
  EXPECT_TRUE(s.settles(2, "cheap")) << s.condition("OptimizationReady", "cheap") << s.log();
  EXPECT_EQ(s.replicas("dear"), 2);
}

TEST(Conformance, InfeasibleSlo) {
  scene s;
  const auto premium = [&](int itl_ms) {
    s.configure("service-classes-config",
                {{"premium.yaml",
                  fmt::format("name: Premium\npriority: 1\ndata:\n- {{model: default, slo-itl: {}, slo-ttw: 500}}\n", itl_ms)}});
  };
  s.deployment({.replicas = 2});
  s.variant();
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller();
  ASSERT_TRUE(eventually(20s, [&] { return s.metric("inferno_arrival_rate_per_second").value_or(0) > 3; })) << s.log();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  const auto before = s.generation();
  premium(15);  // the A100 needs 20.58 ms for a token
  ASSERT_TRUE(eventually(10s, [&] { return s.is("OptimizationReady", "False Infeasible"); }))
      << s.condition("OptimizationReady") << s.log();
  EXPECT_THAT(s.condition("OptimizationReady"), AllOf(HasSubstr("A100: itl target 15 ms cannot be met: 20.99"),
                                                      HasSubstr("the cheapest that could: 1 x MI300X at 65 cents/h")));
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), before) << "more replicas do not make tokens faster, fewer serve nobody\n" << s.log();
  EXPECT_EQ(s.desired(), 2);
  EXPECT_TRUE(s.is("OptimizationReady", "False Infeasible")) << s.condition("OptimizationReady");
  premium(24);
  EXPECT_TRUE(eventually(10s, [&] { return s.is("OptimizationReady", "True Optimized"); })) << s.condition("OptimizationReady");
}

}  // namespace
}  // namespace inferno::test

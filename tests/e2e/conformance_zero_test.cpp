// Row of docs/conformance.md: to zero and back.
#include <gmock/gmock.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

TEST(Conformance, Zero) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 4}, {"amd", "AMD-MI300X-192G", 1, 2}});
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"},
                                                               {"SCALE_DOWN_STABILIZATION", "2s"},
                                                               {"RATE_WINDOW", "5s"},
                                                               {"SCALE_TO_ZERO_RETENTION", "12s"}});
  // Two of one model, so one pool: an A100 costs 40, an MI300X 65.
  s.deployment({.name = "vllme-a"});
  s.deployment({.name = "vllme-m", .accelerator = "MI300X"});
  s.variant({.name = "vllme-a", .extra_spec = "  minReplicas: 0\n"});
  s.variant({.name = "vllme-m", .accelerator = "MI300X", .extra_spec = "  minReplicas: 0\n"});
  ASSERT_TRUE(eventually(30s, [&] { return s.ready("vllme-a") == 1; }));
  const auto load = s.load(60, "vllme-a", {}, "default", scene::evenly);
  s.all.waiting.queue(s.ns, "default", 0);  // without the series nothing could wake them
  const auto began = steady::now();
  s.start_controller();
  // The idle one goes, the busy one stays however long that takes.
  ASSERT_TRUE(eventually(60s, [&] { return s.replicas("vllme-m") == 0; })) << s.log();
  EXPECT_EQ(s.replicas("vllme-a"), 1) << s.log();
  EXPECT_EQ(load->statistics().failed, 0) << load->statistics().first_error << s.log();
  fmt::print("controller started to the idle one at zero replicas: {:.1f} s\n", seconds_since(began));
  load->stop();
  const auto idle = steady::now();
  ASSERT_TRUE(eventually(60s, [&] { return s.replicas("vllme-a") == 0; })) << s.log();
  fmt::print("last request to zero replicas: {:.1f} s (retention 12 s)\n", seconds_since(idle));
  EXPECT_GT(seconds_since(idle), 10) << "before the retention was over\n" << s.log();
  EXPECT_EQ(load->statistics().failed, 0) << load->statistics().first_error << s.log();
  ASSERT_TRUE(eventually(20s, [&] { return s.ready("vllme-a") == 0 && s.desired("vllme-a") == 0; }));
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_TRUE(s.is("OptimizationReady", "True", "vllme-a")) << s.condition("OptimizationReady", "vllme-a");

  // Requests wait at the gateway: the cheaper one of the two starts for them, once.
  s.all.waiting.queue(s.ns, "default", 3);
  const auto waiting = steady::now();
  ASSERT_TRUE(eventually(30s, [&] { return s.ready("vllme-a") == 1; })) << s.condition("OptimizationReady", "vllme-a") << s.log();
  fmt::print("requests at the gateway to a ready replica: {:.1f} s\n", seconds_since(waiting));
  s.all.waiting.queue(s.ns, "default", 0);
  const auto again = s.load(60, "vllme-a", {}, "default", scene::evenly);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.replicas("vllme-a"), 1) << s.log();
  EXPECT_EQ(s.replicas("vllme-m"), 0) << "one of the pool is enough\n" << s.log();
  EXPECT_TRUE(s.is("OptimizationReady", "True Optimized", "vllme-a")) << s.condition("OptimizationReady", "vllme-a");

  // More comes to it than it carries (165 requests a minute). The one at zero gets no request, and is what takes them cheapest.
  const auto rising = steady::now();
  const auto more = s.load(340, "vllme-a", {}, "default", scene::evenly);
  ASSERT_TRUE(eventually(30s, [&] { return s.ready("vllme-m") == 1; })) << s.condition("OptimizationReady", "vllme-m") << s.log();
  fmt::print("requests elsewhere in the pool to a ready replica: {:.1f} s\n", seconds_since(rising));
}

}  // namespace
}  // namespace inferno::test

// Rows of docs/conformance.md: replicas follow the load.
#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

TEST(Conformance, ScaleUp) {
  scene s;
  s.deployment({.random_lengths = true});
  s.variant();
  s.start_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  const auto load = s.load(240);
  const auto began = steady::now();
  ASSERT_TRUE(eventually(40s, [&] { return s.replicas() == 2; })) << s.log();
  fmt::print("load step to scale patch: {:.2f} s\n", seconds_since(began));
  ASSERT_TRUE(s.settles(2)) << s.log();
}

TEST(Conformance, ScaleOutAndBack) {
  scene s;
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  s.deployment({.replicas = 2});
  s.variant({.extra_spec = "  minReplicas: 2\n"});
  s.start_controller();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  // A replica carries 165 a minute.
  auto load = s.load(420, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(s.settles(3)) << s.log();
  load->stop();
  const auto off = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  ASSERT_TRUE(s.settles(2)) << s.log();
  const auto all = s.scalings();
  ASSERT_EQ(all.size(), 2u) << s.log();
  EXPECT_EQ(s.generation(), 3) << "nobody else scaled";
  EXPECT_EQ(all.back().to, 2);
  const auto waited = all.back().at - off;
  fmt::print("load off to scale patch: {:.2f} s\n", std::chrono::duration<double>(waited).count());
  EXPECT_GE(waited, 7s) << "SCALE_DOWN_STABILIZATION is 8 s, the newest sample at the end of the load was up to 1 s old";
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.replicas(), 2) << "not below minReplicas\n" << s.log();
}

TEST(Conformance, NoFlapping) {
  scene s;
  s.deployment({.random_lengths = true});
  s.variant();
  s.start_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  // Random arrivals around the 165 a minute that one replica carries: one or two replicas, but no back and forth.
  const auto load = s.load(165);
  const auto alternates = [&] {
    const auto all = s.scalings();
    for (std::size_t i = 1; i < all.size(); ++i)
      if (all[i].up() != all[i - 1].up() && all[i].at - all[i - 1].at < 8s) return true;
    return false;
  };
  EXPECT_FALSE(eventually(20s, alternates)) << s.log();
  EXPECT_LE(s.generation() - 1, 3) << s.log();
  EXPECT_NEAR(s.metric("inferno_arrival_rate_per_second").value_or(0) * 60, 165, 80) << "the load was there";
  fmt::print("scale patches at the threshold in 20 s: {}\n", s.generation() - 1);
}

}  // namespace
}  // namespace inferno::test

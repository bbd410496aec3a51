// The rows of docs/conformance.md, each a test of its name.
#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

TEST(Conformance, ScaleUp) {
  scene s;
  s.deployment();
  s.variant();
  s.start_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  const auto load = s.load(240);
  const auto began = steady::now();
  ASSERT_TRUE(eventually(40s, [&] { return s.replicas() == 2; })) << s.log();
  fmt::print("load step to scale patch: {:.2f} s\n", seconds_since(began));
  ASSERT_TRUE(s.settles(2)) << s.log();
}

}  // namespace
}  // namespace inferno::test

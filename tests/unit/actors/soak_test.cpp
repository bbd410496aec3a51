// A day of cycles in virtual time with random faults: in the end it is as if there had been none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <caf/actor_registry.hpp>

#include "soak_cluster.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::IsEmpty;

double heap_mib() { return static_cast<double>(::mallinfo2().uordblks) / (1 << 20); }

class Soak : public ::testing::TestWithParam<unsigned> {};

TEST_P(Soak, ADayOfFaultsEndsAsADayWithout) {
  std::string wanted;
  {
    soak_cluster calm(GetParam(), false);
    calm.live(soak_cluster::day_s);
    EXPECT_THAT(calm.violations, IsEmpty());
    EXPECT_EQ(calm.misbelief(), "");
    EXPECT_EQ(calm.reversals, 0);
    EXPECT_GT(calm.scale_patches, 50) << "a day with nothing to do shows nothing";
    wanted = calm.state();
  }
  soak_cluster c(GetParam(), true);
  c.live(4 * 3600);
  const auto early_mib = heap_mib();
  const auto early_actors = c.w.system().registry().running();
  c.live(soak_cluster::quiet_s);
  c.live(soak_cluster::day_s);
  const auto late_mib = heap_mib();
  std::string made;
  int number = 0;
  for (const auto& [kind, n] : c.faults_made) {
    made += fmt::format(", {} {}", n, kind);
    number += n;
  }
  fmt::print(
      "seed {}: {} faults{}; {} scale patches, {} of them down within a minute of up; heap {:.1f} MiB after 4 h, {:.1f} after 24 "
      "h\n",
      GetParam(), number, made, c.scale_patches, c.reversals, early_mib, late_mib);
  EXPECT_GT(number, 200);
  EXPECT_THAT(c.violations, IsEmpty());
  EXPECT_EQ(c.misbelief(), "") << "an event was lost";
  EXPECT_EQ(c.state(), wanted);
  EXPECT_EQ(c.w.system().registry().running(), early_actors);
  EXPECT_LT(late_mib, early_mib * 1.1 + 1) << "memory grows";
}

INSTANTIATE_TEST_SUITE_P(Seeds, Soak, ::testing::Values(1u, 2u, 20u));

}  // namespace
}  // namespace inferno::actors::testing

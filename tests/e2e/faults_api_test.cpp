// The API server and the way to it fail, and come back: nothing is lost, nothing is done twice.
#include <gmock/gmock.h>

#include <sstream>

#include "tests/e2e/scene.hpp"
#include "tests/e2e/tcp_proxy.hpp"

namespace inferno::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A variant with one replica, its controller behind a network that can be made bad.
struct behind_proxy : scene {
  behind_proxy() {
    deployment();
    variant();
    start_scraping_controller({}, line.url());
    settled = settles(1);
  }
  std::unique_ptr<testbed::load_generator> rise() { return load(240, "vllme", {}, "default", evenly); }
  bool lives(std::size_t controller = 0) { return !controllers.at(controller)->wait(0ms); }
  tcp_proxy line{cluster.url()};
  bool settled = false;
};

TEST(Faults, ApiServerKilledDuringAWatch) {
  scene s;
  s.deployment();
  s.variant();
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  s.cluster.kill_api_server();
  ASSERT_TRUE(eventually(10s, [&] { return s.logged("Watch is broken"); })) << s.log();
  // The load rises while nobody can be asked.
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  s.cluster.start_api_server();
  const auto up = steady::now();
  // And what changes right after the restart is seen.
  s.patch("VariantAutoscaling", "vllme", {{"spec", {{"minReplicas", 3}}}});
  ASSERT_TRUE(s.settles(3)) << s.condition("OptimizationReady") << s.log();
  fmt::print("API server back to new replicas ready: {:.1f} s\n", seconds_since(up));
  EXPECT_LT(seconds_since(up), 45);
  EXPECT_TRUE(s.logged("Watch is whole")) << s.log();
  EXPECT_FALSE(s.controllers[0]->wait(0ms)) << "the controller ended\n" << s.log();
}

TEST(Faults, ApiServerKilledDuringAPatch) {
  behind_proxy s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  // The patch arrives, its answer does not.
  s.line.set(network::answers_stalled);
  const auto load = s.rise();
  ASSERT_TRUE(eventually(20s, [&] { return s.replicas() == 2; })) << s.log();
  EXPECT_THAT(s.log(), Not(HasSubstr("Patched Deployment"))) << "nobody has told it yet";
  s.cluster.kill_api_server();
  s.line.set(network::pass);
  s.cluster.start_api_server();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << "applied once\n" << s.log();
  EXPECT_TRUE(s.lives()) << s.log();
}

TEST(Faults, ApiServerKilledBeforeAPatchArrives) {
  behind_proxy s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.line.set(network::stalled);
  const auto load = s.rise();
  ASSERT_TRUE(eventually(20s, [&] { return s.metric("inferno_desired_replicas") == 2.0; })) << s.log();
  EXPECT_EQ(s.replicas(), 1);
  s.cluster.kill_api_server();
  s.line.set(network::pass);
  s.cluster.start_api_server();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << s.log();
  EXPECT_TRUE(s.lives()) << s.log();
}

TEST(Faults, CompactionMakesTheControllerListAgain) {
  behind_proxy s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.deployment({.name = "other"});
  s.variant({.name = "other"});
  ASSERT_TRUE(s.settles(1, "other")) << s.condition("OptimizationReady", "other") << s.log();
  s.line.set(network::resets);
  ASSERT_TRUE(eventually(10s, [&] { return s.logged("Watch is broken"); })) << s.log();
  // What happens meanwhile is forgotten by etcd, and the API server's own memory of it goes with the restart.
  s.remove("VariantAutoscaling", "other");
  s.patch("VariantAutoscaling", "vllme", {{"spec", {{"minReplicas", 2}}}});
  s.cluster.compact();
  s.cluster.kill_api_server();
  s.cluster.start_api_server();
  s.line.set(network::pass);
  // The Deployments' controller, too, has to list again.
  ASSERT_TRUE(s.settles(2, "vllme", 90s)) << s.condition("OptimizationReady") << s.log();
  EXPECT_TRUE(eventually(10s, [&] { return !s.metric("inferno_desired_replicas", "other"); })) << "a deletion was missed";
  EXPECT_TRUE(s.logged("Variant is gone")) << s.log();
  EXPECT_TRUE(s.logged("too old resource version")) << s.log();
  EXPECT_TRUE(s.lives()) << s.log();
}

/// The network is bad while the load rises, then good again.
void outlives(network bad) {
  behind_proxy s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.line.set(bad);
  const auto load = s.rise();
  // It goes on to decide on what it knows.
  ASSERT_TRUE(eventually(20s, [&] { return s.metric("inferno_desired_replicas") == 2.0; })) << s.log();
  s.line.set(network::pass);
  const auto good = steady::now();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  fmt::print("network good to new replica ready: {:.1f} s\n", seconds_since(good));
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << "one patch\n" << s.log();
  // Its watches are whole: what changes now is seen at once.
  s.patch("VariantAutoscaling", "vllme", {{"spec", {{"minReplicas", 3}}}});
  EXPECT_TRUE(s.settles(3)) << s.condition("OptimizationReady") << s.log();
  EXPECT_TRUE(s.lives()) << s.log();
}

TEST(Faults, TheNetworkStalls) { outlives(network::stalled); }
TEST(Faults, TheNetworkResets) { outlives(network::resets); }
TEST(Faults, TheNetworkTruncates) { outlives(network::truncates); }

TEST(Faults, TheNetworkIsSlow) {
  behind_proxy s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.line.set(network::slow);
  const auto load = s.rise();
  ASSERT_TRUE(s.settles(2, "vllme", 60s)) << s.condition("OptimizationReady") << s.log();
  EXPECT_EQ(s.generation(), 2) << s.log();
  EXPECT_TRUE(s.lives()) << s.log();
}

TEST(Faults, ALeaderBehindAStalledNetworkDoesNotWrite) {
  scene s;
  tcp_proxy line(s.cluster.url());
  s.deployment();
  s.variant();
  const auto start = [&](const std::string& name, const std::string& url) {
    s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", name, "--leader-elect-lease-duration", "4s",
                                 "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "500ms"},
                                url);
  };
  start("cut-off", line.url());
  ASSERT_TRUE(eventually(10s, [&] { return s.logged("Became leader", 0); })) << s.log(0);
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(0);
  start("other", "");
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  line.set(network::stalled);
  const auto cut = steady::now();
  ASSERT_TRUE(eventually(15s, [&] { return s.logged("Lost leadership", 0); })) << s.log(0);
  EXPECT_LT(seconds_since(cut), 4.5) << "it must have stopped before its lease is over";
  ASSERT_TRUE(eventually(15s, [&] { return s.logged("Became leader", 1); })) << s.log(1);
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log(1);
  const auto before = s.scalings("vllme", {}, 0).size();
  load->stop();
  line.set(network::pass);
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(1);
  EXPECT_EQ(s.scalings("vllme", {}, 0).size(), before) << "what was held up in the network must not count\n" << s.log(0);
}

}  // namespace
}  // namespace inferno::test

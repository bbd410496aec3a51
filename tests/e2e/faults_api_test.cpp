// The API server and the way to it fail, and come back: nothing is lost, nothing is done twice.
#include <gmock/gmock.h>

#include <sstream>

#include "tests/e2e/evidence.hpp"
#include "tests/e2e/tcp_proxy.hpp"

namespace inferno::test {
namespace {

using ::testing::ElementsAre;
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
  EXPECT_TRUE(s.logged("Watch works again")) << s.log();
  EXPECT_FALSE(s.controllers[0]->wait(0ms)) << "the controller ended\n" << s.log();
}

TEST(Faults, ApiServerKilledDuringAPatch) {
  scene s;
  const auto own = s.cluster.server_certificate();
  tcp_proxy line(s.cluster.url(), own.cert, own.key);
  s.deployment();
  s.variant();
  s.start_scraping_controller({}, line.url());
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  // The patch arrives, its answer does not.
  line.set(network::scale_answers_stalled);
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(eventually(20s, [&] { return s.replicas() == 2; })) << s.log();
  EXPECT_THAT(s.log(), Not(HasSubstr("Patched Deployment"))) << "nobody has told it yet";
  s.cluster.kill_api_server();
  line.set(network::pass);
  s.cluster.start_api_server();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << "applied once\n" << s.log();
  EXPECT_EQ(line.scale_patches(), 1) << "and asked for once";
  EXPECT_EQ(s.scalings().size(), 1u) << "that it was done is told all the same\n" << s.log();
  EXPECT_FALSE(s.controllers[0]->wait(0ms)) << s.log();
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
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_INTERVAL", "2s"}});
  const auto own = s.cluster.server_certificate();
  tcp_proxy line(s.cluster.url(), own.cert, own.key);
  s.deployment();
  s.variant();
  const auto other_token = another_account(s, "other");
  const auto start = [&](const std::string& name, const std::string& url) {
    s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", name, "--leader-elect-lease-duration", "4s",
                                 "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "500ms"},
                                url);
  };
  const auto holder = [&] {
    return testbed::text_at(s.get("Lease", "inferno-autoscaler-leader", s.system_ns), {"spec", "holderIdentity"});
  };
  start("cut-off", line.url());
  ASSERT_TRUE(eventually(10s, [&] { return holder() == "cut-off"; })) << s.log(0);
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(0);
  s.token_file = other_token;
  start("other", "");
  const auto since = version_now(s, "Deployment");

  // The leader's patch to two replicas is on its way and does not arrive; then nothing does any more.
  line.set(network::scale_patches_stalled);
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(eventually(20s, [&] { return line.scale_patches() == 1; })) << s.log(0);
  line.set(network::stalled);
  const auto cut = steady::now();
  ASSERT_TRUE(eventually(15s, [&] { return s.logged("Lost leadership", 0); })) << s.log(0);
  EXPECT_LT(seconds_since(cut), 4.5) << "it must have stopped before its lease is over";
  ASSERT_TRUE(eventually(15s, [&] { return holder() == "other"; })) << s.log(1);
  // Another leader goes further.
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log(1);
  const auto more = s.load(180, "vllme", {}, "default", scene::evenly);
  ASSERT_TRUE(s.settles(3)) << s.condition("OptimizationReady") << s.log(1);

  // What was held up arrives now, and has been overtaken.
  const auto patches = [&] {
    auto all = requests_of(s, the_controller);
    std::erase_if(all, [](const audited& a) { return a.resource != "deployments/scale" || a.verb != "patch"; });
    return all;
  };
  ASSERT_EQ(patches().size(), 0u) << shown(patches());
  const auto released = now_text();
  line.set(network::pass);
  ASSERT_TRUE(eventually(15s, [&] { return !patches().empty(); })) << "it was to arrive";
  EXPECT_EQ(patches().front().code, 409) << shown(patches());
  ASSERT_TRUE(s.cycles_pass(1)) << s.log(1);
  EXPECT_THAT(replicas_since(s, since, 1), ElementsAre(2, 3)) << s.log(0) << s.log(1);
  EXPECT_EQ(s.generation(), 3) << s.log(0) << s.log(1);
  // It works again, sees what changes, and leaves it to the other.
  more->stop();
  load->stop();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log(1);
  ASSERT_TRUE(s.cycles_pass(0)) << s.log(0);
  const auto late = writes_of(s, the_controller, released);
  EXPECT_TRUE(late.empty()) << shown(late);
  EXPECT_EQ(holder(), "other");
}

}  // namespace
}  // namespace inferno::test

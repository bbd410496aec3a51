// Prometheus answers, but of what nobody scrapes any more; or it answers so slowly that it is no use.
#include <gmock/gmock.h>

#include "net/http/url.hpp"
#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::HasSubstr;

/// Two replicas that have something to do, and a Prometheus of their own that can be kept from scraping.
struct unscraped : scene {
  unscraped() {
    configure("inferno-autoscaler-variantautoscaling-config", {{"PROMETHEUS_BASE_URL", own.url},
                                                               {"GLOBAL_OPT_INTERVAL", "2s"},
                                                               {"SCALE_DOWN_STABILIZATION", "2s"},
                                                               {"RATE_WINDOW", "20s"}});
    deployment();
    variant();
    traffic = load(240, "vllme", {}, "default", evenly);
    start_controller();
    settled = settles(2, "vllme", 60s);
  }
  /// Both replicas stay for longer than a rate that is not renewed would last, and the condition says why.
  void holds() {
    EXPECT_TRUE(eventually(40s, [&] { return is("MetricsAvailable", "False MetricsMissing"); })) << condition("MetricsAvailable");
    EXPECT_THAT(condition("MetricsAvailable"), HasSubstr("not scraped since 20"));
    const auto until = steady::now() + 25s;
    while (steady::now() < until) ASSERT_TRUE(cycles_pass()) << log();
    EXPECT_TRUE(is("MetricsAvailable", "False MetricsMissing")) << condition("MetricsAvailable");
    EXPECT_TRUE(is("OptimizationReady", "False MetricsMissing")) << condition("OptimizationReady");
    stays();
  }
  void stays() {
    EXPECT_EQ(replicas(), 2) << log();
    EXPECT_EQ(generation(), 2) << "nothing was patched but the first step up\n" << log();
  }
  void found() {
    EXPECT_TRUE(eventually(60s, [&] { return is("MetricsAvailable", "True MetricsFound"); })) << condition("MetricsAvailable");
  }
  temp_folder place;
  prometheus own{all.where->io().executor(), all.servers, place};
  std::unique_ptr<testbed::load_generator> traffic;
  bool settled = false;
};

TEST(Faults, PrometheusScrapesNobodyAnyMore) {
  unscraped s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.own.feed(false);
  s.holds();
  // Until its window is full again a rate looks like a load that has fallen.
  s.own.feed(true);
  s.found();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  s.stays();

  s.own.feed(false);
  ASSERT_TRUE(eventually(40s, [&] { return s.is("MetricsAvailable", "False MetricsMissing"); }))
      << s.condition("MetricsAvailable");
  s.traffic.reset();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  s.stays();
  s.own.feed(true);
  EXPECT_TRUE(s.settles(1, "vllme", 90s)) << "what is known to be idle goes\n" << s.condition("OptimizationReady") << s.log();
}

TEST(Faults, PrometheusHasOldValuesOnly) {
  unscraped s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  // Killed, so that it cannot mark the ends of its series: for five minutes it answers with the last values of each.
  s.own.process.reset();
  s.own.feed(false);
  ASSERT_TRUE(s.own.start()) << s.own.process->output();
  s.holds();
  const auto old =
      s.own.get("/api/v1/query?query=" + net::percent_encoded("vllm:num_requests_running{namespace=\"" + s.ns + "\"}"));
  ASSERT_TRUE(old) << old.error().message;
  EXPECT_THAT(old->body, HasSubstr("\"pod\"")) << "it has none any more: this test shows nothing";
  s.own.feed(true);
  s.found();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  s.stays();
}

TEST(Faults, PrometheusHasLostItsData) {
  unscraped s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.own.process.reset();
  ASSERT_TRUE(eventually(20s, [&] { return s.is("MetricsAvailable", "False MetricsSourceFailed"); })) << s.log();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  std::filesystem::remove_all(s.place.file("tsdb"));
  ASSERT_TRUE(s.own.start()) << s.own.process->output();
  s.found();
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  s.stays();
}

}  // namespace
}  // namespace inferno::test

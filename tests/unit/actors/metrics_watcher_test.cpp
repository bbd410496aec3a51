// A metrics source that answers late, on the virtual clock.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/actors/cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

/// Answers a round this long after it was asked for, with what was true then.
struct slow_source {
  explicit slow_source(world& w) : w_(w) {}
  void advance(std::chrono::seconds by, std::chrono::seconds delay) {
    for (auto left = by; left > 0s; left -= 1s) {
      w_.advance(1s);
      for (; asked_.size() < static_cast<std::size_t>(w_.source->rounds - before_); asked_.push_back(w_.now_s())) {
      }
      most = std::max(most, w_.source->held.size());
      while (!w_.source->held.empty() && w_.now_s() >= asked_[answered_] + static_cast<double>(delay.count())) {
        ++answered_;
        auto answer = std::move(w_.source->held.front());
        w_.source->held.pop_front();
        answer();
        w_.run();
      }
    }
  }
  std::size_t most = 0;  ///< rounds at once
 private:
  world& w_;
  int before_ = w_.source->rounds;
  std::vector<double> asked_;
  std::size_t answered_ = 0;
};

TEST(SlowMetrics, ARoundThatTakesTooLongHasFailed) {
  world w;
  w.quickstart(2);
  w.load(44);
  w.advance(70s);
  ASSERT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound"));
  w.source->hold_answers = true;
  w.load(2.67);
  slow_source slow(w);
  slow.advance(120s, 25s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("False MetricsSourceFailed: too slow: no answer within 10 s"));
  slow.advance(480s, 25s);
  EXPECT_EQ(slow.most, 1u) << "never two rounds at once";
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "what comes that late is not believed";
  EXPECT_EQ(lines_with(w, "Metrics source fails"), 1);
  EXPECT_EQ(lines_with(w, "Metrics source answers again"), 0);
  EXPECT_THAT(w.view->metrics_text(), ::testing::HasSubstr("inferno_errors_total{component=\"metrics\",reason=\"fake\"} 1"));

  w.source->hold_answers = false;
  slow.advance(300s, 0s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound"));
  EXPECT_EQ(lines_with(w, "Metrics source answers again"), 1);
  EXPECT_THAT(w.scale_patches(), ElementsAre(1));
}

TEST(SlowMetrics, ALateAnswerWithinTheTimeIsGood) {
  world w;
  w.quickstart(2);
  w.load(44);
  w.advance(70s);
  w.source->hold_answers = true;
  slow_source slow(w);
  slow.advance(120s, 8s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound"));
  EXPECT_EQ(slow.most, 1u);
  EXPECT_FALSE(w.logged({"Metrics source fails"}));
}

TEST(SlowMetrics, ThreeIntervalsAreAllowedWhenTheyAreLonger) {
  world w([](supervisor_config& c) { c.scrape_interval = 30s; });
  w.quickstart(2);
  w.load(44, 178, 0, 30);
  w.advance(100s);
  w.source->hold_answers = true;
  slow_source slow(w);
  slow.advance(300s, 80s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound"));
  slow.advance(400s, 130s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("False MetricsSourceFailed: too slow: no answer within 90 s"));
}

TEST(SlowMetrics, ASampleIsOfTheTimeItIsAbout) {
  world w;
  w.quickstart(2);
  w.load(44);
  w.advance(70s);
  auto& watcher = state_of<metrics_watcher_state>(supervisor_of(w).metrics_handle);
  w.source->hold_answers = true;
  while (w.source->held.empty()) w.advance(10ms);
  const auto asked = watcher.asked_at_s;
  w.advance(5s);
  ASSERT_LE(asked + 4, watcher.now_s());
  w.source->held.front()();
  w.source->held.pop_front();
  w.run();
  EXPECT_EQ(watcher.variants.begin()->second.told_s, asked);
}

TEST(MetricsSettings, AreSaidToBeInvalidAndValidAgain) {
  world w;
  w.quickstart(2);
  std::string warning = "client certificate /tls.crt: cannot be read";
  w.source->respond = [&](const std::vector<scrape_target>& targets, double now) {
    auto out = std::make_shared<collected_metrics>();
    for (const auto& t : targets) out->pods.push_back(healthy_sample(t, now, 22));
    out->warning = warning;
    return out;
  };
  w.advance(70s);
  EXPECT_EQ(lines_with(w, "Metrics source has invalid settings"), 1);
  EXPECT_TRUE(w.logged({"Metrics source has invalid settings", warning}));
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound")) << "the last valid ones do";
  EXPECT_THAT(w.view->metrics_text(), ::testing::HasSubstr("reason=\"fake settings\"} 1"));
  warning.clear();
  w.advance(10s);
  EXPECT_EQ(lines_with(w, "Metrics source has valid settings again"), 1);
}

/// A cache in front of Prometheus repeats its answers, or its clock was set back: there are samples, but nothing new in them.
TEST(StaleMetrics, ReadingsThatDoNotGetNewerAreSilence) {
  world w;
  w.quickstart(2);
  w.load(44);
  w.advance(100s);
  w.load(44, 178, 0, 0);
  w.advance(50s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("True MetricsFound"));
  w.advance(150s);
  EXPECT_THAT(w.condition_of("MetricsAvailable"), StartsWith("False MetricsMissing: no new reading of the pods for "));
  EXPECT_THAT(w.scale_patches(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace inferno::actors::testing

// The model against measurements of real servers, and the page that says how well it holds.
#include "testbed/accuracy/accuracy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "testbed/accuracy/plot.hpp"
#include "testbed/accuracy/servers.hpp"
#include "testbed/page.hpp"

namespace inferno::testbed {
namespace {

using ::testing::HasSubstr;

const std::string measurements = std::string(TEST_DATA_DIR) + "/measurements";

TEST(Accuracy, HoldsItsAims) {
  const auto studies = run_accuracy(measurements);
  ASSERT_TRUE(studies) << studies.error();
  ASSERT_EQ(studies->size(), 6u);
  int aims = 0;
  for (const auto& s : *studies)
    for (const auto& f : s.figures) {
      EXPECT_GT(f.points, 2u) << s.name << ": " << f.what;
      if (!f.aim) continue;
      ++aims;
      EXPECT_LE(f.mean, *f.aim) << s.name << ": " << f.what;
    }
  EXPECT_EQ(aims, 10);
}

TEST(Accuracy, EveryMeasurementThatCountsIsAskedFor) {
  // A filter that grows too wide would flatter the figures.
  const auto studies = run_accuracy(measurements);
  ASSERT_TRUE(studies);
  const auto points = [&](std::size_t study, std::size_t figure) { return (*studies)[study].figures[figure].points; };
  EXPECT_EQ(points(0, 0), 43u) << "every other of 86 windows";
  EXPECT_EQ(points(1, 0), 24u) << "batches 2, 8 and 32 of eight servers";
  EXPECT_GE(points(2, 0), 290u);
  EXPECT_GE(points(2, 1), 440u);
  EXPECT_EQ(points(3, 0) + points(3, 1), 36u);
  EXPECT_EQ(points(4, 2), 8u);
  EXPECT_EQ(points(5, 0), 240u) << "four models, twenty targets, three demands";
}

TEST(Accuracy, ThePageHoldsWhatTheCommandPrints) {
  const auto studies = run_accuracy(measurements);
  ASSERT_TRUE(studies);
  const auto page = read_file(std::string(REPO_DIR) + "/docs/model.md");
  ASSERT_TRUE(page) << page.error();
  EXPECT_EQ(*with_part(*page, "accuracy", accuracy_tables(*studies)), *page) << "make accuracy writes it";
  const auto plots = accuracy_plots(measurements);
  ASSERT_TRUE(plots) << plots.error();
  for (const auto& p : *plots)
    EXPECT_EQ(*read_file(std::string(REPO_DIR) + "/docs/" + p.name), p.text) << "make accuracy writes it";
}

TEST(Accuracy, NamesTheFileThatCannotBeRead) {
  const auto none = run_accuracy("/nowhere");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error(), "cannot read /nowhere/a100-opt-125m.csv");
}

TEST(Accuracy, NamesFileLineAndColumnOfNonsense) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "measured.csv";
  ASSERT_EQ(write_file(path, "rate,concurrency,out_tokens,itl_ms\n1,2,30,fast\n"), std::nullopt);
  const auto t = read_measured(path);
  ASSERT_FALSE(t);
  EXPECT_THAT(t.error(), HasSubstr("measured.csv: line 2: itl_ms: expected a number >= 0, got \"fast\""));
  std::filesystem::remove(path);
}

TEST(Accuracy, TheKneeIsWhereTheFirstTokenTakesTwiceAsLong) {
  const model::replica_config r{model::linear_profile{20, 0.4, 100, 0.01, true}, {100, 100}, 16, 160};
  const auto idle = model::req_rate::per_sec(0.1);
  const auto knee = model::req_rate::per_sec(knee_of(r, idle));
  EXPECT_NEAR(analyze(r, knee).ttft_ms / analyze(r, idle).ttft_ms, 2, 1e-6);
}

TEST(Accuracy, AMeasuredKneeLiesBetweenTwoMeasurements) {
  const auto at = [](double rate, double ttft) {
    model::measurement m;
    m.rate_per_s = rate;
    m.ttft_ms = ttft;
    return m;
  };
  EXPECT_NEAR(*measured_knee({at(1, 100), at(2, 100), at(3, 400)}), 2.5, 1e-12)
      << "200 is halfway from 100 to 400 by the logarithm";
  EXPECT_EQ(measured_knee({at(1, 100), at(2, 199)}), std::nullopt);
}

TEST(Plot, DrawsInsideItsAxes) {
  const auto svg = svg_of({"t", "x", "y", 10, 100, {{"curve", {{0, 0}, {10, 1e9}}}}, {{"dots", {{5, 50}, {5, 101}}}}});
  EXPECT_EQ(svg.rfind("<svg ", 0), 0u);
  EXPECT_THAT(svg, HasSubstr("clip-path=\"url(#area)\""));
  std::size_t circles = 0;
  for (auto i = svg.find("<circle"); i != std::string::npos; i = svg.find("<circle", i + 1)) ++circles;
  EXPECT_EQ(circles, 2u) << "the one inside, and the one of the legend";
}

}  // namespace
}  // namespace inferno::testbed

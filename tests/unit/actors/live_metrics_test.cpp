// What the servers report is on /metrics and in /api/v1 when it is read, whatever the cycle.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/plan_text.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// The value of the only series of a family.
double series(const world& w, const std::string& family) {
  const auto text = w.view->metrics_text();
  const auto at = text.find("\n" + family + "{");
  if (at == std::string::npos) return -1;
  return std::stod(text.substr(text.find("} ", at) + 2));
}

double measured_rate(const world& w) {
  const auto text = variant_text(w.view->plan().get(), {"llm", "vllme"}, text_format::json);
  return json::parse(*text).at("arrivalRate").to_number<double>();
}

TEST(LiveMetrics, WhatIsMeasuredIsOfTheLastReading) {
  world w;
  w.load(22);
  w.quickstart();
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "600s"}}));
  w.advance(80s);
  const auto cycle = w.view->plan()->cycle;
  ASSERT_NEAR(series(w, "inferno_arrival_rate_per_second"), 22 / 60.0, 0.01);
  ASSERT_NEAR(measured_rate(w), 22, 0.5);
  w.load(18);
  w.advance(120s);
  ASSERT_EQ(w.view->plan()->cycle, cycle) << "no new plan";
  EXPECT_NEAR(series(w, "inferno_arrival_rate_per_second"), 18 / 60.0, 0.01);
  EXPECT_NEAR(measured_rate(w), 18, 0.5);
  EXPECT_THAT(plan_text(w.view->plan().get(), text_format::table, "", true), HasSubstr("18.0"));
}

TEST(LiveMetrics, WhatIsMeasuredEndsWithTheReadings) {
  world w;
  w.load(22);
  w.quickstart();
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "600s"}}));
  w.advance(80s);
  const auto cycle = w.view->plan()->cycle;
  ASSERT_GT(series(w, "inferno_measured_itl_seconds"), 0);
  w.source->respond = [](const std::vector<scrape_target>&, double) { return std::make_shared<collected_metrics>(); };
  w.advance(60s);
  ASSERT_EQ(w.view->plan()->cycle, cycle) << "no new plan";
  EXPECT_EQ(series(w, "inferno_measured_itl_seconds"), 0);
}

}  // namespace
}  // namespace inferno::actors::testing

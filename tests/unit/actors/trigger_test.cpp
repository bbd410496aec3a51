// GLOBAL_OPT_TRIGGER's way back to "false", and the ConfigMaps' coming and going.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::SizeIs;

struct triggered : world {
  triggered() {
    quickstart();
    advance(5s);
  }
  void set(const std::string& value) {
    changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"GLOBAL_OPT_TRIGGER", value}}));
  }
  std::vector<api_call> resets() const { return api->calls_to("patch", "configmaps"); }
  double errors() const {
    const auto text = view->metrics_text();
    const std::string series = R"(inferno_errors_total{component="config",reason="GLOBAL_OPT_TRIGGER"} )";
    const auto at = text.find(series);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + series.size()));
  }
};

TEST(Trigger, IsResetAgainAfterFailuresThatPass) {
  triggered w;
  w.api->fail("patch", "configmaps", 503, 2);
  w.api->fail("patch", "configmaps", 429, 1, 10s);
  w.set("true");
  w.advance(30s);
  const auto resets = w.resets();
  ASSERT_THAT(resets, SizeIs(4));
  EXPECT_GE(resets[1].at_s - resets[0].at_s, 0.5);
  EXPECT_LE(resets[1].at_s - resets[0].at_s, 0.63);
  EXPECT_GE(resets[2].at_s - resets[1].at_s, 1);
  EXPECT_GE(resets[3].at_s - resets[2].at_s, 10) << "the server has said when";
  EXPECT_TRUE(resets[3].succeeded);
  EXPECT_EQ(lines_with(w, "GLOBAL_OPT_TRIGGER could not be reset"), 1);
  EXPECT_EQ(lines_with(w, "GLOBAL_OPT_TRIGGER is reset"), 1);
  EXPECT_EQ(w.errors(), 3);
  w.set("false");
  w.set("true");
  w.advance(5s);
  EXPECT_THAT(w.resets(), SizeIs(5));
  EXPECT_EQ(lines_with(w, "GLOBAL_OPT_TRIGGER set: optimizing at once"), 2);
}

TEST(Trigger, IsTriedAgainUntilSomebodyElseResetsIt) {
  triggered w;
  w.api->fail("patch", "configmaps", 403, 100);
  w.set("true");
  w.advance(5min);
  const auto tried = w.resets().size();
  EXPECT_GE(tried, 10u) << "who may not now may later";
  EXPECT_LE(tried, 20u);
  w.set("false");
  w.advance(5min);
  EXPECT_EQ(w.resets().size(), tried);
  EXPECT_EQ(lines_with(w, "GLOBAL_OPT_TRIGGER is reset"), 1);
}

TEST(Trigger, IsGivenUpWhereNothingCanBeReset) {
  for (const int status : {404, 422}) {
    triggered w;
    w.api->fail("patch", "configmaps", status);
    w.set("true");
    w.advance(5min);
    EXPECT_THAT(w.resets(), SizeIs(1)) << status;
    w.set("false");
    w.set("true");
    w.advance(5s);
    EXPECT_THAT(w.resets(), SizeIs(2)) << "works again";
  }
}

TEST(Trigger, SetAgainBeforeTheAnswerItIsResetAgain) {
  triggered w;
  w.api->hold_answers = true;
  w.set("true");
  w.set("false");
  w.set("true");
  EXPECT_THAT(w.resets(), SizeIs(1)) << "one at a time";
  w.api->hold_answers = false;
  while (!w.api->held.empty()) w.release_one();
  EXPECT_THAT(w.resets(), SizeIs(2));
}

TEST(Trigger, OneWhoDoesNotLeadAnyMoreLeavesItToTheLeader) {
  triggered w;
  w.api->fail("patch", "configmaps", 503, 3);
  w.set("true");
  caf::anon_send(w.root, leadership{false});
  w.run();
  const auto tried = w.resets().size();
  w.advance(5min);
  EXPECT_EQ(w.resets().size(), tried);
  caf::anon_send(w.root, leadership{true});
  w.advance(30s);
  EXPECT_TRUE(w.resets().back().succeeded);
}

TEST(MissingConfigMap, IsSaidWhenItGoesAndWhenItIsBack) {
  triggered w;
  const auto listed = [&](bool whole) {
    std::vector<json::object> maps{settings_json(), config_json(std::string(classes_map), default_classes())};
    if (whole) maps.push_back(config_json(std::string(accelerators_map), default_accelerators()));
    w.replaced("configmaps", std::move(maps));
  };
  for (int i = 0; i < 3; ++i) listed(false);
  EXPECT_EQ(lines_with(w, "ConfigMap is missing"), 1) << "said once";
  EXPECT_FALSE(w.logged({"ConfigMap is there"}));
  for (int i = 0; i < 2; ++i) listed(true);
  EXPECT_EQ(lines_with(w, "ConfigMap is there"), 1);
  EXPECT_TRUE(w.logged({"ConfigMap is there", "accelerator-unit-costs"}));
  listed(false);
  EXPECT_EQ(lines_with(w, "ConfigMap is missing"), 2);
  EXPECT_THAT(w.view->metrics_text(), HasSubstr(R"(component="config",reason="missing accelerator-unit-costs"} 2)"));
}

}  // namespace
}  // namespace inferno::actors::testing

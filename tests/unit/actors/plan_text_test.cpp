// Plans as people read them.
#include "actors/plan_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;

using namespace std::chrono_literals;

/// Objectives of microseconds, as of an emulator, are not zero.
TEST(PlanText, SmallObjectivesAreShownWithTheirDigits) {
  auto classes = default_classes();
  classes["premium.yaml"] = "name: Premium\npriority: 1\ndata:\n  - model: default\n    slo-itl: 0.024\n    slo-ttw: 500.25\n";
  world w;
  w.load(22);
  populate(w, {"vllme"}, {va_json("llm", "vllme")}, 1,
           {settings_json(), config_json(std::string(accelerators_map), default_accelerators()),
            config_json(std::string(classes_map), classes)});
  w.advance(20s);
  const auto table = plan_text(w.view->plan().get(), text_format::table, "", true);
  EXPECT_THAT(table, HasSubstr("0.024"));
  EXPECT_THAT(table, HasSubstr("500.25"));
  EXPECT_THAT(w.condition_of("ObjectivesMet"), HasSubstr("the objective is mean 0.024 ms"));
}

}  // namespace
}  // namespace inferno::actors::testing

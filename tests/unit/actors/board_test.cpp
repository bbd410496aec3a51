// Series of the plan.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;

/// What one GPU more would change has a series as long as it is known.
TEST(Board, WhatAGpuIsWorthGoesWhenItIsNotKnown) {
  auto view = std::make_shared<board_view>();
  board_state s;
  s.config.view = view;
  s.registry = view->renew_registry();
  s.setup();
  plan_snapshot plan;
  plan.one_more["A100"] = {5, 1, 0, 0};
  plan.one_more["H100"] = {1, 0, 12.5, 0};
  s.show(plan);
  const auto text = view->metrics_text();
  EXPECT_THAT(text, HasSubstr(R"(inferno_one_more_gpu_satisfies{device="A100"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(inferno_gpu_shadow_price_cents_per_hour{device="H100"} 12.5)"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr(R"(inferno_gpu_shadow_price_cents_per_hour{device="A100"})")))
      << "a variant that would be satisfied is no saving, and 0 would be wrong";
  plan.one_more.erase("A100");
  plan.one_more["H100"] = {};
  s.show(plan);
  const auto later = view->metrics_text();
  EXPECT_THAT(later, ::testing::Not(HasSubstr(R"(device="A100")")));
  EXPECT_THAT(later, HasSubstr(R"(inferno_gpu_shadow_price_cents_per_hour{device="H100"} 0)"));
}

}  // namespace
}  // namespace inferno::actors::testing

// Objects that are deleted and made again under their names while their watch is down: only the next list tells, by their uids.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

json::object with_uid(json::object object, const std::string& uid) {
  object["metadata"].as_object()["uid"] = uid;
  return object;
}

std::size_t statuses(const world& w) { return w.api->calls_to("patch", "variantautoscalings", "status").size(); }

TEST(Recreation, AnIdleVariantGetsItsStatusAgain) {
  world w;
  w.load(0);
  w.quickstart();
  w.advance(5min);
  const auto before = w.status();
  ASSERT_THAT(w.condition_of("OptimizationReady"), HasSubstr("True Optimized"));
  const auto written = statuses(w);
  w.advance(10min);
  ASSERT_EQ(statuses(w), written) << "nothing is new";
  w.replaced("variantautoscalings", {va_json("llm", "vllme")});
  w.advance(2min);
  ASSERT_EQ(statuses(w), written) << "a list of the same object is no news";
  const auto began = w.now_s();
  w.replaced("variantautoscalings", {with_uid(va_json("llm", "vllme"), "another")});
  w.advance(2min);
  EXPECT_GT(statuses(w), written);
  EXPECT_EQ(w.status().at("desiredOptimizedAlloc").at("numReplicas"), before.at("desiredOptimizedAlloc").at("numReplicas"));
  EXPECT_THAT(w.condition_of("OptimizationReady"), HasSubstr("True Optimized"));
  // What it says of the object begins with the object.
  const auto status = w.status();
  for (const auto& c : status.at("conditions").as_array()) {
    const auto since = kube::parse_time(std::string(c.at("lastTransitionTime").as_string()));
    ASSERT_TRUE(since);
    EXPECT_GE(*since, std::chrono::system_clock::time_point(std::chrono::seconds(1700000000 + static_cast<long>(began))));
  }
  EXPECT_THAT(fleet_of(w).members, SizeIs(1));
}

TEST(Recreation, AVariantOfAnotherModelIsAnotherVariant) {
  world w;
  w.load(0);
  w.quickstart();
  w.advance(30s);
  w.replaced("variantautoscalings", {with_uid(va_json("llm", "vllme", "", "granite-13b"), "another")});
  w.advance(30s);
  ASSERT_THAT(w.source->last_targets, SizeIs(1));
  EXPECT_EQ(w.source->last_targets[0].model, "granite-13b");
}

TEST(Recreation, ADeploymentIsOwnerAndIsScaledAsTheNewOneItIs) {
  world w;
  w.load(44);
  w.quickstart();
  w.advance(20s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(2));
  const auto owners = [&w] {
    std::set<std::string> out;
    for (const auto& c : w.api->calls_to("patch", "variantautoscalings"))
      if (const auto* list = c.body.at("metadata").as_object().if_contains("ownerReferences"))
        out.emplace(list->at(0).at("uid").as_string());
    return out;
  };
  w.replaced("deployments", {with_uid(deployment_json("llm", "vllme", 2), "second")});
  w.advance(20s);
  EXPECT_THAT(owners(), Contains("second"));
  w.replaced("deployments", {with_uid(deployment_json("llm", "vllme", 1), "third")});
  w.replaced("pods", {pod_json("llm", "vllme-9", "vllme")});
  w.advance(2min);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2)) << "the new one has one replica";
  EXPECT_THAT(owners(), Contains("third"));
}

}  // namespace
}  // namespace inferno::actors::testing

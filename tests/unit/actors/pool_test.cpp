// Variants that share their demand, and why a variant got what it got, in the running controller.
#include <gmock/gmock.h>

#include <random>

#include "actors/plan_text.hpp"
#include "cluster.hpp"

namespace inferno::actors {
namespace {

using namespace testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

/// A variant on an accelerator, in the pool that its annotation says; "" = without the annotation.
json::object variant_on(const std::string& name, const std::string& accelerator, const std::string& pool = "") {
  auto o = va_json("llm", name);
  auto& meta = o["metadata"].as_object();
  meta["labels"].as_object()["inference.optimization/acceleratorName"] = accelerator;
  if (pool.empty()) {
    meta.erase("annotations");
  } else {
    meta["annotations"].as_object()["inference.optimization/pool"] = pool;
  }
  return o;
}

/// An A100 takes 25.3 requests a minute, an MI300X 86.7.
void two_variants(world& w, const std::string& pool_of_a, const std::string& pool_of_m, double load_of_a,
                  std::vector<json::object> configs = default_configs()) {
  load_each(w, {{"on-a", load_of_a}, {"on-m", 1}});
  populate(w, {"on-a", "on-m"}, {variant_on("on-a", "A100", pool_of_a), variant_on("on-m", "MI300X", pool_of_m)}, 1,
           std::move(configs));
  w.advance(std::chrono::seconds(20));
}

TEST(ModelPool, SharesDemandWithinANamespace) {
  world w;
  two_variants(w, "", "", 60);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "one of each covers 61 requests a minute";
  EXPECT_EQ(w.status("on-a").at("desiredOptimizedAlloc").at("numReplicas"), 1);
  EXPECT_EQ(w.status("on-m").at("desiredOptimizedAlloc").at("numReplicas"), 1);
}

TEST(ModelPool, AddsTheReplicaThatCoversMostForItsCost) {
  world w;
  two_variants(w, "", "", 150);
  EXPECT_THAT(w.scale_patches("on-m"), ElementsAre(2));
  EXPECT_THAT(w.scale_patches("on-a"), IsEmpty());
}

TEST(ModelPool, AVariantMayStayOut) {
  world w;
  two_variants(w, "off", "", 60);
  EXPECT_THAT(w.scale_patches("on-a"), ElementsAre(3));
  EXPECT_THAT(w.scale_patches("on-m"), IsEmpty());
}

TEST(ModelPool, NamesMakePoolsOfTheirOwn) {
  {
    world w;
    two_variants(w, "blue", "green", 60);
    EXPECT_THAT(w.scale_patches("on-a"), ElementsAre(3));
  }
  world w;
  two_variants(w, "blue", "blue", 60);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
}

TEST(ModelPool, MayBeSwitchedOffForAll) {
  world w;
  auto configs = default_configs();
  configs[0] = settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}, {"MODEL_POOLS", "false"}});
  two_variants(w, "", "", 60, configs);
  EXPECT_THAT(w.scale_patches("on-a"), ElementsAre(3));
}

TEST(ModelPool, AMemberThatLeavesTakesItsDemandWithIt) {
  world w;
  two_variants(w, "", "", 60);
  ASSERT_THAT(w.scale_patches(), IsEmpty());
  auto alone = variant_on("on-a", "A100", "off");
  alone["metadata"].as_object()["generation"] = 2;
  w.changed("variantautoscalings", alone);
  w.advance(std::chrono::seconds(20));
  EXPECT_THAT(w.scale_patches("on-a"), ElementsAre(3));
  EXPECT_THAT(w.scale_patches("on-m"), IsEmpty());
}

TEST(ModelPool, WhoIsLeftServesAll) {
  world w;
  two_variants(w, "", "", 60);
  w.changed("variantautoscalings", variant_on("on-m", "MI300X"), kube::watch_type::deleted);
  w.advance(std::chrono::seconds(20));
  EXPECT_THAT(w.scale_patches("on-a"), ElementsAre(3)) << "only the demand that its own pods see";
}

/// A replica that is Ready and of which nothing has been heard may serve nothing: its Service may not lead to it, or its pods
/// answer no scrape because they do not work.
TEST(ModelPool, WhatNobodyHasHeardOfReplacesNothingThatServes) {
  world w;
  auto configs = default_configs();
  configs[0] = settings_json({{"GLOBAL_OPT_INTERVAL", "2s"}, {"SCALE_DOWN_STABILIZATION", "2s"}, {"RATE_WINDOW", "5s"}});
  load_each(w, {{"on-a", 60}, {"on-m", 0}},
            [heard = 0](const pod_sample& s) mutable { return s.pod.name.find("on-m") == std::string::npos || heard++ == 0; });
  auto a = variant_on("on-a", "A100"), m = variant_on("on-m", "MI300X");
  for (auto* each : {&a, &m}) each->at("spec").as_object()["minReplicas"] = 0;
  populate(w, {"on-a", "on-m"}, {a, m}, 1, std::move(configs));
  w.advance(std::chrono::seconds(120));
  EXPECT_THAT(w.scale_patches("on-a"), Not(Contains(0)));
  EXPECT_EQ(w.status("on-a").at("desiredOptimizedAlloc").at("numReplicas"), 1);
}

TEST(Explain, TellsTheCandidatesOfARunningVariant) {
  world w;
  w.load(22.67);
  w.quickstart();
  w.advance(std::chrono::seconds(20));
  const auto text = explain_text(w.view->plan().get(), {"llm", "vllme"}, text_format::json);
  ASSERT_TRUE(text);
  const auto e = json::parse(*text);
  EXPECT_EQ(e.at("variant").as_string(), "llm/vllme");
  EXPECT_EQ(e.at("priority"), 1);
  EXPECT_EQ(e.at("targets").at("slo-itl"), 24);
  EXPECT_EQ(e.at("outcome").as_string(), "Optimized");
  EXPECT_EQ(e.at("desired").at("accelerator").as_string(), "A100");
  const auto& first = e.at("candidates").at(0);
  EXPECT_EQ(first.at("accelerator").as_string(), "A100");
  EXPECT_NEAR(first.at("maxRatePerReplica").to_number<double>(), 25.31, 0.01);
  EXPECT_EQ(first.at("binding").as_string(), "ttw");
  EXPECT_TRUE(first.at("chosen").as_bool());
  EXPECT_EQ(e.at("sloChanges").as_array().size(), 2u);
  EXPECT_FALSE(e.at("capacity").as_array().empty());
}

/// What the plan says of both members, and of the mix, is what each explanation says.
void explained_as_planned(world& w) {
  const auto plan = w.view->plan();
  ASSERT_TRUE(plan);
  for (const char* name : {"on-a", "on-m"}) {
    SCOPED_TRACE(name);
    const auto d = plan->decisions.find({"llm", name});
    ASSERT_TRUE(d);
    const auto text = explain_text(plan.get(), {"llm", name}, text_format::json);
    ASSERT_TRUE(text);
    const auto e = json::parse(*text).as_object();
    EXPECT_EQ(e.at("desired").at("numReplicas"), d->desired.num_replicas);
    int chosen = 0;
    for (const auto& c : e.at("candidates").as_array())
      if (c.at("chosen").as_bool()) chosen += static_cast<int>(c.at("numReplicas").as_int64());
    EXPECT_EQ(chosen, d->desired.num_replicas);
    const auto* pool = e.if_contains("pool");
    ASSERT_TRUE(pool) << *text;
    ASSERT_EQ(pool->at("members").as_array().size(), 2u);
    double able = 0;
    for (const auto& m : pool->at("members").as_array()) {
      const std::string full(m.at("variant").as_string());
      const auto other = plan->decisions.find({"llm", full.substr(4)});
      ASSERT_TRUE(other) << full;
      EXPECT_EQ(m.at("numReplicas"), other->desired.num_replicas) << full;
      able += m.at("numReplicas").to_number<double>() * m.at("maxRatePerReplica").to_number<double>();
    }
    EXPECT_GE(able, pool->at("demand").to_number<double>() * (1 - 1e-6));
    const auto table = explain_text(plan.get(), {"llm", name}, text_format::table);
    EXPECT_THAT(*table, ::testing::HasSubstr("llm/on-a")) << *table;
    EXPECT_THAT(*table, ::testing::HasSubstr("llm/on-m")) << *table;
  }
}

TEST(Explain, AMemberOfAPoolShowsTheMixOfThePlan) {
  std::mt19937 engine(3);
  for (int i = 0; i < 12; ++i) {
    SCOPED_TRACE(i);
    world w;
    two_variants(w, "", "", std::uniform_int_distribution<>(1, 140)(engine));
    explained_as_planned(w);
  }
}

TEST(Explain, AVariantsPredictionHasItsPercentiles) {
  world w;
  w.load(22.67);
  w.quickstart();
  w.advance(std::chrono::seconds(20));
  const auto text = variant_text(w.view->plan().get(), {"llm", "vllme"}, text_format::json);
  ASSERT_TRUE(text);
  const auto v = json::parse(*text);
  const auto at = [&](const char* p) { return v.at("predicted").at("ttftPercentiles").at(p).to_number<double>(); };
  EXPECT_EQ(at("p50"), 0) << "more than half find a place at once";
  EXPECT_NEAR(at("p95"), 535, 1);
  EXPECT_GT(at("p99"), at("p95"));
}

TEST(Explain, NobodyKnowsAStranger) {
  world w;
  w.quickstart();
  w.advance(std::chrono::seconds(2));
  EXPECT_EQ(explain_text(w.view->plan().get(), {"llm", "nobody"}, text_format::json), std::nullopt);
}

}  // namespace
}  // namespace inferno::actors

// What the actuators write, when, and what they do about answers that are not a success.
#include "actors/actuator.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::SizeIs;
using ::testing::StartsWith;

/// One actuator alone with the fake API; decisions are made by hand.
class ActuatorTest : public ::testing::Test {
 protected:
  ActuatorTest() {
    actuator_config c;
    c.key = {"llm", "chat"};
    c.api = w.api;
    c.now = [this] {
      return std::chrono::system_clock::time_point(std::chrono::seconds(1700000000) +
                                                   std::chrono::milliseconds(static_cast<long>(w.now_s() * 1000)));
    };
    c.board = supervisor_of(w).board_handle;
    c.logger = supervisor_of(w).config.logger;
    w.cluster_follows = false;
    hand = w.system().spawn(actuator, std::move(c));
  }
  ~ActuatorTest() override {
    caf::anon_send(hand, stop_request{});
    w.api->hold_answers = false;
    while (!w.api->held.empty()) w.release_one();
    w.advance(2s);
  }

  std::shared_ptr<decision> make(int from, int to) const {
    auto curve = std::make_shared<capacity_curve>();
    curve->key = {"llm", "chat"};
    curve->target_key = {"Deployment", "llm", "chat-deployment"};
    curve->actuate = true;
    curve->current.accelerator = "A100";
    curve->current.num_replicas = from;
    curve->current.load.arrival_rate = model::req_rate::per_min(44);
    curve->metrics = {"MetricsAvailable", true, "MetricsFound", "all pods of the variant report"};
    curve->target = {"TargetResolved", true, "TargetFound", "Deployment chat-deployment found"};
    auto d = std::make_shared<decision>();
    d->curve = curve;
    d->desired.accelerator = "A100";
    d->desired.num_replicas = to;
    d->reason = "Optimized";
    return d;
  }
  void decide(std::shared_ptr<const decision> d) {
    caf::anon_send(hand, decision_made{std::move(d)});
    w.run();
  }
  std::shared_ptr<decision> needs_owner() const {
    auto d = make(1, 1);
    auto curve = std::make_shared<capacity_curve>(*d->curve);
    curve->owner_uid_needed = "uid-7";
    d->curve = curve;
    return d;
  }
  void decide(int from, int to) {
    is(from);
    decide(make(from, to));
  }
  /// What the API server has.
  void is(int replicas) {
    auto& s = w.api->scales["deployments llm/chat-deployment"];
    if (s.replicas != replicas) s = {replicas, s.version + 1};
  }
  /// Seconds between the calls of a verb on a resource.
  std::vector<double> gaps(std::string_view subresource, std::string_view plural = "deployments") const {
    std::vector<double> out;
    const auto calls = w.api->calls_to("patch", plural, subresource);
    for (std::size_t i = 1; i < calls.size(); ++i) out.push_back(calls[i].at_s - calls[i - 1].at_s);
    return out;
  }

  world w;
  actuator_actor hand;
};

TEST_F(ActuatorTest, PatchesTheScaleThenTellsThenWritesTheStatus) {
  decide(1, 3);
  ASSERT_THAT(w.api->calls, SizeIs(4));
  for (const std::size_t i : {0, 1}) {
    EXPECT_EQ(w.api->calls[i].plural + "/" + w.api->calls[i].subresource, "deployments/scale");
    EXPECT_EQ(w.api->calls[i].key.name, "chat-deployment");
  }
  EXPECT_EQ(w.api->calls[0].verb, "get");
  EXPECT_EQ(w.api->calls[1].body, json::parse(R"({"metadata":{"resourceVersion":"2"},"spec":{"replicas":3}})"));
  EXPECT_EQ(w.api->calls[2].verb + " " + w.api->calls[2].plural, "create events");
  EXPECT_EQ(w.api->calls[3].plural + "/" + w.api->calls[3].subresource, "variantautoscalings/status");
  EXPECT_TRUE(w.status("chat").at("actuation").at("applied").as_bool());
  EXPECT_THAT(w.condition_of("OptimizationReady", "chat"), StartsWith("True Optimized"));
}

TEST_F(ActuatorTest, ConflictIsTriedAgain) {
  w.api->fail("patch", "deployments", 409, 2);
  decide(1, 2);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2)) << "at once, the first time";
  EXPECT_THAT(w.api->calls_to("create", "events"), IsEmpty()) << "nothing was scaled yet";
  EXPECT_THAT(w.api->calls_to("patch", "variantautoscalings", "status"), IsEmpty());
  w.advance(2s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2, 2));
  EXPECT_THAT(w.api->calls_to("create", "events"), SizeIs(1));
  EXPECT_TRUE(w.status("chat").at("actuation").at("applied").as_bool());
}

TEST_F(ActuatorTest, AfterAConflictTheNewestStateIsWritten) {
  w.api->fail("patch", "deployments", 409, 2);
  decide(1, 2);
  // Somebody scaled the Deployment to 4 meanwhile: the watch showed it, and the decision for it is 5.
  decide(4, 5);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2));
  w.advance(2s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2, 5));
  w.advance(60s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2, 5)) << "the decision that met the conflict is not repeated";
}

TEST_F(ActuatorTest, ServerErrorsAreRetriedWithGrowingPauses) {
  w.api->fail("patch", "deployments", 503, 4);
  decide(1, 2);
  w.advance(30s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2, 2, 2, 2));
  const auto pauses = gaps("scale");
  ASSERT_THAT(pauses, SizeIs(4));
  const double expected[] = {0.5, 1, 2, 4};
  for (std::size_t i = 0; i < 4; ++i) EXPECT_THAT(pauses[i], AllOf(Ge(expected[i] - 0.011), Le(expected[i] * 1.25 + 0.011))) << i;
  EXPECT_TRUE(w.logged({"API call failed", "\"call\":\"scale\"", "injected failure 503"}));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_errors_total{component=\"actuator\",reason=\"scale\"} 4"));
  EXPECT_THAT(w.api->calls_to("create", "events"), SizeIs(1));
}

TEST_F(ActuatorTest, PausesDoNotGrowBeyondTheirLimitAndStartAnewAfterASuccess) {
  w.api->fail("patch", "deployments", 500, 9);
  decide(1, 2);
  w.advance(190s);
  const auto pauses = gaps("scale");
  ASSERT_THAT(pauses, SizeIs(9));
  for (const auto i : {7, 8}) EXPECT_THAT(pauses[static_cast<std::size_t>(i)], AllOf(Ge(29.98), Le(37.52)));
  EXPECT_NE(pauses[7], pauses[8]) << "jitter";
  w.api->fail("patch", "deployments", 500);
  decide(2, 3);
  w.advance(1s);
  EXPECT_THAT(gaps("scale").back(), AllOf(Ge(0.489), Le(0.636)));
}

TEST_F(ActuatorTest, AStatusThatCouldNotBeWrittenIsWrittenLater) {
  w.api->fail("patch", "variantautoscalings", 500, 2);
  decide(1, 1);
  w.advance(10s);
  const auto writes = w.api->calls_to("patch", "variantautoscalings", "status");
  ASSERT_THAT(writes, SizeIs(3));
  EXPECT_FALSE(writes[1].succeeded);
  EXPECT_TRUE(writes[2].succeeded);
}

TEST_F(ActuatorTest, GoneIsNotAskedForAgain) {
  w.api->fail("patch", "deployments", 404);
  w.api->fail("patch", "variantautoscalings", 404);
  decide(1, 2);
  w.advance(120s);
  EXPECT_THAT(w.scale_patches(), SizeIs(1));
  EXPECT_THAT(w.api->calls_to("patch", "variantautoscalings", "status"), SizeIs(1));
  EXPECT_THAT(w.api->calls_to("create", "events"), IsEmpty());
}

TEST_F(ActuatorTest, ARefusedScaleIsToldInTheStatus) {
  w.api->fail("patch", "deployments", 403);
  decide(1, 2);
  w.advance(29s);
  EXPECT_THAT(w.scale_patches(), SizeIs(1)) << "what is refused is not asked for again soon";
  EXPECT_FALSE(w.status("chat").at("actuation").at("applied").as_bool());
  EXPECT_THAT(w.condition_of("OptimizationReady", "chat"), AllOf(StartsWith("False"), HasSubstr("injected failure 403")));
  // The right was given meanwhile; an idle variant gets no other decision.
  w.advance(10s);
  EXPECT_THAT(w.scale_patches(), SizeIs(2));
  EXPECT_TRUE(w.status("chat").at("actuation").at("applied").as_bool());
  EXPECT_THAT(w.condition_of("OptimizationReady", "chat"), StartsWith("True Optimized"));
  w.advance(300s);
  EXPECT_THAT(w.scale_patches(), SizeIs(2));
}

TEST_F(ActuatorTest, AStatusThatWasRefusedIsWrittenWhenItIsAllowed) {
  w.api->fail("patch", "variantautoscalings", 401, 2);
  decide(1, 1);
  w.advance(120s);
  const auto writes = w.api->calls_to("patch", "variantautoscalings", "status");
  ASSERT_THAT(writes, SizeIs(3));
  EXPECT_TRUE(writes[2].succeeded);
}

TEST_F(ActuatorTest, WhatSomebodyElseScaledMeanwhileIsNotOverruled) {
  is(3);
  decide(make(1, 2));
  w.advance(1s);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "the decision is about one replica, there are three";
  EXPECT_FALSE(w.status("chat").at("actuation").at("applied").as_bool());
  EXPECT_TRUE(w.logged({"Scale was changed by another writer", "\"found\":3"}));
  decide(3, 2);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

TEST_F(ActuatorTest, AWatchThatLagsDoesNotStopItFromRising) {
  decide(1, 2);
  // The watch still shows one replica.
  decide(make(1, 6));
  w.advance(1s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 6));
  EXPECT_THAT(std::string(w.api->calls_to("create", "events").back().body.at("message").as_string()),
              HasSubstr("from 2 to 6 replicas"));
  decide(make(1, 4));
  w.advance(1s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 6)) << "what is less was decided without knowing";
}

TEST_F(ActuatorTest, APatchThatComesLateTakesNoEffect) {
  bool late = true;
  w.api->judge = [&](const api_call& c) {
    // Between the look and the patch another leader scaled.
    if (c.subresource == "scale" && std::exchange(late, false)) is(5);
    return std::pair(fake_api::fate::carried_out, 0);
  };
  decide(1, 2);
  w.advance(20s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(2));
  EXPECT_FALSE(w.api->calls_to("patch", "deployments", "scale")[0].succeeded);
  EXPECT_EQ(w.api->scales.at("deployments llm/chat-deployment").replicas, 5);
}

TEST_F(ActuatorTest, APatchWhoseAnswerWasLostIsToldWhenTheWatchShowsIt) {
  bool lose = true;
  w.api->judge = [&](const api_call& c) {
    return std::pair(
        c.subresource == "scale" && std::exchange(lose, false) ? fake_api::fate::answer_lost : fake_api::fate::carried_out, 0);
  };
  decide(1, 2);
  decide(make(2, 2));  // before the next look
  w.advance(60s);
  EXPECT_THAT(w.scale_patches(), SizeIs(1));
  const auto events = w.api->calls_to("create", "events");
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_THAT(std::string(events[0].body.at("message").as_string()), HasSubstr("from 1 to 2 replicas"));
  // What somebody else does later is not ours.
  decide(2, 3);
  is(4);
  decide(make(4, 4));
  w.advance(60s);
  EXPECT_THAT(w.api->calls_to("create", "events"), SizeIs(2));
}

TEST_F(ActuatorTest, WhatSomebodyPutsBackIsPatchedAgainOnceTheWatchHasShownOurs) {
  decide(1, 2);
  decide(2, 2);
  w.advance(1s);
  decide(1, 2);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2, 2));
}

TEST_F(ActuatorTest, APatchWhoseAnswerWasLostIsNotSentAgain) {
  bool lose = true;
  w.api->judge = [&](const api_call& c) {
    return std::pair(
        c.subresource == "scale" && std::exchange(lose, false) ? fake_api::fate::answer_lost : fake_api::fate::carried_out, 0);
  };
  decide(1, 2);
  w.advance(60s);
  EXPECT_THAT(w.scale_patches(), SizeIs(1));
  EXPECT_THAT(w.api->calls_to("create", "events"), SizeIs(1)) << "it was scaled, and that is told once";
  EXPECT_TRUE(w.status("chat").at("actuation").at("applied").as_bool());
}

TEST_F(ActuatorTest, TheNewestDecisionWinsOverThoseThatCameMeanwhile) {
  w.api->hold_answers = true;
  decide(1, 2);
  decide(1, 3);
  decide(1, 4);
  decide(1, 5);
  EXPECT_THAT(w.api->calls, SizeIs(1)) << "one call at a time";
  while (!w.api->held.empty()) w.release_one();
  EXPECT_THAT(w.scale_patches(), ElementsAre(5));
  EXPECT_EQ(w.status("chat").at("desiredOptimizedAlloc").at("numReplicas").as_int64(), 5);
}

TEST_F(ActuatorTest, TheNewestDecisionReplacesOneThatIsBeingRetried) {
  w.api->fail("patch", "deployments", 500, 1);
  decide(1, 5);
  decide(1, 1);
  w.advance(60s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(5)) << "scaling is no longer wanted";
}

TEST_F(ActuatorTest, NothingIsWrittenWhenNothingChanges) {
  decide(2, 2);
  ASSERT_THAT(w.api->calls, SizeIs(1)) << "the first status";
  for (int i = 0; i < 5; ++i) {
    decide(2, 2);
    w.advance(60s);
  }
  EXPECT_THAT(w.api->calls, SizeIs(1));
}

TEST_F(ActuatorTest, APatchIsNotRepeatedUntilTheWatchHasHadTimeToShowIt) {
  decide(1, 2);
  w.advance(10s);
  decide(1, 2);
  EXPECT_THAT(w.scale_patches(), SizeIs(1));
  w.advance(25s);
  decide(1, 2);
  EXPECT_THAT(w.scale_patches(), SizeIs(2)) << "somebody put it back";
}

TEST_F(ActuatorTest, EventsSayWhatWasScaledAndWhy) {
  decide(1, 3);
  decide(3, 2);
  const auto events = w.api->calls_to("create", "events");
  ASSERT_THAT(events, SizeIs(2));
  const auto& up = events[0].body;
  EXPECT_EQ(events[0].key.ns, "llm");
  EXPECT_EQ(up.at("reason").as_string(), "ScaledUp");
  EXPECT_EQ(up.at("type").as_string(), "Normal");
  EXPECT_EQ(up.at("message").as_string(),
            "Scaled Deployment chat-deployment from 1 to 3 replicas for 44.00 requests/min on A100");
  EXPECT_EQ(up.at("involvedObject").at("kind").as_string(), "VariantAutoscaling");
  EXPECT_EQ(up.at("involvedObject").at("name").as_string(), "chat");
  EXPECT_EQ(events[1].body.at("reason").as_string(), "ScaledDown");
}

TEST_F(ActuatorTest, EventsOfOneVariantHaveDifferentNames) {
  decide(1, 3);
  w.advance(10ms);
  decide(3, 2);
  const auto events = w.api->calls_to("create", "events");
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_NE(events[0].body.at("metadata").at("name"), events[1].body.at("metadata").at("name"));
}

TEST_F(ActuatorTest, AnEventThatFailsIsNotRepeatedAndBlocksNothing) {
  w.api->fail("create", "events", 500);
  decide(1, 2);
  w.advance(60s);
  EXPECT_THAT(w.api->calls_to("create", "events"), SizeIs(1));
  EXPECT_THAT(w.api->calls_to("patch", "variantautoscalings", "status"), SizeIs(1));
}

TEST_F(ActuatorTest, SetsTheDeploymentAsControllingOwner) {
  w.api->stored["variantautoscalings"] = parse_object(R"({"metadata":{"resourceVersion":"41"}})");
  decide(needs_owner());
  const auto owners = w.api->calls_to("patch", "variantautoscalings");
  ASSERT_THAT(owners, SizeIs(1));
  EXPECT_EQ(owners[0].key.name, "chat");
  EXPECT_EQ(owners[0].body,
            json::parse(R"({"metadata":{"resourceVersion":"41","ownerReferences":[{"apiVersion":"apps/v1","kind":"Deployment",
    "name":"chat-deployment","uid":"uid-7","controller":true,"blockOwnerDeletion":false}]}})"));
}

TEST_F(ActuatorTest, OwnersOfOthersAreKeptInTheirOrder) {
  w.api->stored["variantautoscalings"] = parse_object(R"({"metadata":{"resourceVersion":"41","ownerReferences":[
    {"apiVersion":"argoproj.io/v1alpha1","kind":"Application","name":"llm","uid":"u1","controller":true},
    {"apiVersion":"apps/v1","kind":"Deployment","name":"chat-deployment","uid":"uid-6","controller":false},
    {"apiVersion":"v1","kind":"ConfigMap","name":"chat-deployment","uid":"u2"}]}})");
  decide(needs_owner());
  const auto owners = w.api->calls_to("patch", "variantautoscalings");
  ASSERT_THAT(owners, SizeIs(1));
  EXPECT_EQ(owners[0].body.at("metadata").at("ownerReferences"), json::parse(R"([
    {"apiVersion":"argoproj.io/v1alpha1","kind":"Application","name":"llm","uid":"u1","controller":true},
    {"apiVersion":"apps/v1","kind":"Deployment","name":"chat-deployment","uid":"uid-7","controller":false,
     "blockOwnerDeletion":false},
    {"apiVersion":"v1","kind":"ConfigMap","name":"chat-deployment","uid":"u2"}])"))
      << "the Deployment of before gives way to its successor, and an object has one controller";
}

TEST_F(ActuatorTest, OwnersWrittenMeanwhileAreReadAgain) {
  w.api->stored["variantautoscalings"] = parse_object(R"({"metadata":{"resourceVersion":"41"}})");
  bool first = true;
  w.api->judge = [&](const api_call& c) {
    if (c.plural != "variantautoscalings" || !c.subresource.empty() || !std::exchange(first, false))
      return std::pair(fake_api::fate::carried_out, 0);
    w.api->stored["variantautoscalings"] = parse_object(
        R"({"metadata":{"resourceVersion":"42","ownerReferences":[{"kind":"Application","name":"llm","uid":"u1"}]}})");
    return std::pair(fake_api::fate::refused, 409);
  };
  decide(needs_owner());
  const auto owners = w.api->calls_to("patch", "variantautoscalings");
  ASSERT_THAT(owners, SizeIs(2));
  EXPECT_EQ(owners[1].body.at("metadata").at("resourceVersion"), "42");
  EXPECT_EQ(owners[1].body.at("metadata").at("ownerReferences").as_array().size(), 2u);
  EXPECT_EQ(owners[1].body.at("metadata").at("ownerReferences").at(0).at("uid"), "u1");
  // Ours is there now: nothing is left to do.
  w.api->stored["variantautoscalings"] =
      parse_object(R"({"metadata":{"resourceVersion":"43","ownerReferences":[{"uid":"uid-7"}]}})");
  decide(needs_owner());
  EXPECT_THAT(w.api->calls_to("patch", "variantautoscalings"), SizeIs(2));
}

TEST_F(ActuatorTest, AScalePatchDoesNotWaitForTheStatusPatchBefore) {
  w.api->hold_answers = true;
  decide(1, 1);
  ASSERT_THAT(w.api->calls_to("patch", "variantautoscalings", "status"), SizeIs(1));
  decide(1, 3);
  ASSERT_THAT(w.api->held, SizeIs(2));
  // The scale is read and patched while the status waits, for a rate limit for example.
  const auto answer_last = [&] {
    auto f = std::move(w.api->held.back());
    w.api->held.pop_back();
    f();
    w.run();
  };
  answer_last();
  EXPECT_THAT(w.scale_patches(), ElementsAre(3));
  answer_last();
  EXPECT_THAT(w.api->calls_to("patch", "variantautoscalings", "status"), SizeIs(1)) << "one report at a time";
  while (!w.api->held.empty()) w.release_one();
  EXPECT_THAT(w.api->calls_to("create", "events"), SizeIs(1));
  ASSERT_THAT(w.api->calls_to("patch", "variantautoscalings", "status"), SizeIs(2));
  EXPECT_EQ(w.status("chat").at("desiredOptimizedAlloc").at("numReplicas").as_int64(), 3);
}

TEST_F(ActuatorTest, AStatusThatIsRefusedForTheMomentHoldsUpNoScalePatch) {
  w.api->fail("patch", "variantautoscalings", 503, 6);
  decide(1, 1);
  w.advance(8s);  // into a long pause
  decide(1, 3);
  EXPECT_THAT(w.scale_patches(), ElementsAre(3));
  w.advance(60s);
  EXPECT_EQ(w.status("chat").at("desiredOptimizedAlloc").at("numReplicas").as_int64(), 3);
  EXPECT_TRUE(w.api->calls_to("patch", "variantautoscalings", "status").back().succeeded);
}

TEST_F(ActuatorTest, EventsNameTheObjectByItsUid) {
  caf::anon_send(hand, variant_facts{"va-uid-5", {}});
  decide(1, 3);
  const auto events = w.api->calls_to("create", "events");
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].body.at("involvedObject").at("uid"), "va-uid-5");
}

TEST_F(ActuatorTest, TransitionTimesOfTheStatusThatIsThereGoOn) {
  const std::chrono::system_clock::time_point since{1600000000s};
  caf::anon_send(hand, variant_facts{"u", {{"OptimizationReady", "True", since}, {"MetricsAvailable", "False", since}}});
  decide(1, 1);
  const auto conditions = w.status("chat").at("conditions").as_array();
  EXPECT_EQ(conditions.at(1).at("lastTransitionTime").as_string(), kube::format_time(since)) << "True before and now";
  EXPECT_NE(conditions.at(0).at("lastTransitionTime").as_string(), kube::format_time(since)) << "False before, True now";
}

TEST_F(ActuatorTest, AHeldDecisionScalesNothing) {
  auto d = make(2, 1);
  d->hold = true;
  d->reason = "MetricsMissing";
  d->message = "no sample";
  decide(d);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("OptimizationReady", "chat"), StartsWith("False MetricsMissing: no sample"));
}

TEST_F(ActuatorTest, AChangeOfAcceleratorDoesNotScaleTheTarget) {
  auto d = make(2, 1);
  d->desired.accelerator = "MI300X";
  decide(d);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("OptimizationReady", "chat"), StartsWith("False ActuationFailed: deployments not found"));
  EXPECT_EQ(w.status("chat").at("desiredOptimizedAlloc").at("accelerator").as_string(), "MI300X");
}

TEST_F(ActuatorTest, TransitionTimesMoveOnlyWhenTheConditionDoes) {
  const auto since = [this](std::size_t i) {
    return std::string(w.status("chat").at("conditions").at(i).at("lastTransitionTime").as_string());
  };
  decide(1, 1);
  const auto first = since(1);
  w.advance(60s);
  auto other = make(2, 2);
  decide(other);
  EXPECT_EQ(since(1), first) << "still True";
  w.advance(60s);
  auto held = make(2, 2);
  held->hold = true;
  held->reason = "MetricsMissing";
  decide(held);
  EXPECT_NE(since(1), first);
  EXPECT_EQ(since(0), first) << "another condition has its own time";
}

TEST_F(ActuatorTest, WithoutTheLeaseNothingIsWritten) {
  caf::anon_send(hand, leadership{false, 1});
  decide(1, 2);
  w.advance(60s);
  EXPECT_THAT(w.api->calls, IsEmpty());
  // A decision says which term it is of, whether the news of it has come or not.
  caf::anon_send(hand, decision_made{make(1, 2), 2});
  w.run();
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
  // One of the term before comes late.
  caf::anon_send(hand, leadership{false, 2});
  caf::anon_send(hand, decision_made{make(2, 3), 2});
  w.advance(60s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

TEST_F(ActuatorTest, StoppingWaitsForTheAnswerAndBeginsNothing) {
  w.api->hold_answers = true;
  decide(1, 2);
  w.release_one();
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
  decide(1, 3);
  caf::anon_send(hand, stop_request{});
  w.release_one();
  w.advance(5s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
  EXPECT_THAT(w.api->calls_to("create", "events"), IsEmpty());
}

// ---- with the rest of the controller
// --------------------------------------------------------------------------------------------

TEST(Actuation, ScaleDownWaitsForTheStabilizationThatIsSet) {
  world w;
  auto configs = default_configs();
  configs[0] = settings_json({{"GLOBAL_OPT_INTERVAL", "10s"}, {"SCALE_DOWN_STABILIZATION", "120s"}, {"RATE_WINDOW", "10s"}});
  populate(w, {"chat"}, {va_json("llm", "chat")}, 2, configs);
  load_each(w, {{"chat", 44}});
  w.advance(60s);
  const double off_at = w.now_s();
  load_each(w, {{"chat", 3}});
  w.advance(110s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  w.advance(40s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(1));
  EXPECT_GE(w.api->calls_to("patch", "deployments", "scale")[0].at_s - off_at, 120);
}

TEST(Actuation, AfterASilenceNothingIsScaledDownAtOnce) {
  world w;
  populate(w, {"chat"}, {va_json("llm", "chat")}, 2);
  load_each(w, {{"chat", 44}});
  w.advance(130s);
  w.source->respond = [](const auto&, double) {
    auto out = std::make_shared<collected_metrics>();
    out->problem = "gone";
    return out;
  };
  w.advance(10min);
  const double back_at = w.now_s();
  load_each(w, {{"chat", 3}});
  w.advance(150s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(1));
  EXPECT_GE(w.api->calls_to("patch", "deployments", "scale")[0].at_s - back_at, 60) << "a stabilization time";
}

TEST(Actuation, ARestartScalesNothingDownAtOnce) {
  world w;
  populate(w, {"chat"}, {va_json("llm", "chat")}, 2);
  load_each(w, {{"chat", 3}});
  w.advance(150s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(1));
  EXPECT_GE(w.api->calls_to("patch", "deployments", "scale")[0].at_s, 60) << "what ran may have been needed a moment before";
}

TEST(Actuation, ADipShorterThanTheStabilizationScalesNothing) {
  world w;
  populate(w, {"chat"}, {va_json("llm", "chat")}, 2);
  load_each(w, {{"chat", 44}});
  w.advance(70s);
  load_each(w, {{"chat", 3}});
  w.advance(40s);
  load_each(w, {{"chat", 44}});
  w.advance(200s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
}

TEST(Actuation, ADeletedVariantIsWrittenNoMore) {
  world w;
  populate(w, {"chat", "other"}, {va_json("llm", "chat"), va_json("llm", "other")});
  load_each(w, {{"chat", 10}, {"other", 10}});
  w.advance(70s);
  w.changed("variantautoscalings", va_json("llm", "chat"), kube::watch_type::deleted);
  const auto before = w.api->calls.size();
  load_each(w, {{"chat", 80}, {"other", 44}});
  w.advance(120s);
  for (auto i = before; i < w.api->calls.size(); ++i) EXPECT_NE(w.api->calls[i].key.name, "chat");
  EXPECT_THAT(w.scale_patches("other"), ElementsAre(2));
  EXPECT_TRUE(w.logged({"Variant is gone", "chat"}));
}

}  // namespace
}  // namespace inferno::actors::testing

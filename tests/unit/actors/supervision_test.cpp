// Actors die; the controller goes on: what died comes back, what it knew is kept or rebuilt, and nothing is scaled meanwhile.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/death.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const variant_key chat{"llm", "chat"};
const variant_key other{"llm", "other"};

class Supervision : public ::testing::Test {
 protected:
  /// Two variants, two replicas each, at a load that needs both.
  void steady() {
    relist();
    load_each(w, {{"chat", 44}, {"other", 44}});
    w.advance(70s);
    ASSERT_THAT(w.scale_patches(), IsEmpty());
    ASSERT_EQ(decision_of(chat).reason, "Optimized");
  }
  void relist() { populate(w, {"chat", "other"}, {va_json("llm", "chat"), va_json("llm", "other")}, 2); }
  const decision& decision_of(const variant_key& key) const { return *w.view->plan()->decisions.find(key); }
  void solve_now() {
    caf::anon_send(supervisor_of(w).optimizer_handle, run_now{"test"});
    w.advance(4s);
  }
  const fleet_state::member& member(const variant_key& key) const { return fleet_of(w).members.at(key); }
  static constexpr int kinds = std::size(watch_kinds);
  int watches() const {
    int n = 0;
    for (const auto& [plural, count] : w.api->watches) n += count;
    return n;
  }

  world w;
};

TEST_F(Supervision, AKilledAnalyzerComesBackAndItsLastCurveIsKeptMeanwhile) {
  steady();
  fleet_of(w).config.respawn_min = 20s;
  solve_now();
  const auto before = member(chat);
  const auto curve = decision_of(chat).curve;
  kill(w, before.analyzer);
  EXPECT_TRUE(w.logged({"Actor of a variant died", "\"variant\":\"chat\""}));
  solve_now();
  EXPECT_EQ(decision_of(chat).curve, curve) << "the last curve stays in the plan";
  EXPECT_EQ(decision_of(chat).reason, "Optimized");
  EXPECT_EQ(decision_of(chat).desired.num_replicas, 2);
  w.advance(20s);
  EXPECT_NE(member(chat).analyzer, before.analyzer);
  EXPECT_NE(decision_of(chat).curve, curve);
  load_each(w, {{"chat", 90}, {"other", 44}});
  w.advance(70s);
  ASSERT_THAT(w.scale_patches("chat"), Not(IsEmpty()));
  EXPECT_GT(w.scale_patches("chat").back(), 2);
}

TEST_F(Supervision, OtherVariantsDoNotNoticeADeath) {
  steady();
  const auto untouched = member(other);
  kill(w, member(chat).analyzer);
  load_each(w, {{"chat", 44}, {"other", 90}});
  w.advance(70s);
  EXPECT_EQ(member(other).analyzer, untouched.analyzer);
  EXPECT_EQ(member(other).actuator, untouched.actuator);
  EXPECT_GT(w.scale_patches("other").back(), 2);
  EXPECT_THAT(w.scale_patches("chat"), IsEmpty()) << "nothing is scaled on half a knowledge";
  EXPECT_EQ(watches(), kinds);
}

TEST_F(Supervision, AKilledActuatorComesBackAndCarriesOut) {
  steady();
  kill(w, member(chat).actuator);
  w.advance(1s);
  load_each(w, {{"chat", 90}, {"other", 44}});
  w.advance(70s);
  ASSERT_THAT(w.scale_patches("chat"), Not(IsEmpty()));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_errors_total{component=\"supervision\",reason=\"actuator\"} 1"));
}

TEST_F(Supervision, APatchThatDiedWithItsActuatorIsMadeAgain) {
  steady();
  w.api->fail("patch", "deployments", 503, 1);
  load_each(w, {{"chat", 90}, {"other", 44}});
  while (w.scale_patches("chat").empty()) w.advance(100ms);
  kill(w, member(chat).actuator);  // it was about to try again
  w.advance(30s);
  ASSERT_GE(w.scale_patches("chat").size(), 2u);
  EXPECT_TRUE(w.logged({"Patched Deployment", "chat"}));
}

TEST_F(Supervision, PausesOfAVariantThatKeepsDyingGrow) {
  steady();
  kill(w, member(chat).analyzer);
  EXPECT_TRUE(w.logged({"Actor of a variant died", "\"restart_ms\":100}"}));
  w.advance(200ms);
  kill(w, member(chat).actuator);
  EXPECT_TRUE(w.logged({"Actor of a variant died", "\"restart_ms\":200}"}));
  w.advance(300ms);
  kill(w, member(chat).analyzer);
  EXPECT_TRUE(w.logged({"Actor of a variant died", "\"restart_ms\":400}"}));
}

TEST_F(Supervision, AVariantThatGoesWhileItsAnalyzerIsDownStaysGone) {
  steady();
  kill(w, member(chat).analyzer);
  w.changed("variantautoscalings", va_json("llm", "chat"), kube::watch_type::deleted);
  w.advance(60s);
  EXPECT_EQ(fleet_of(w).members.count(chat), 0u);
  EXPECT_EQ(w.view->plan()->decisions.find(chat), nullptr);
  EXPECT_EQ(decision_of(other).reason, "Optimized");
}

TEST_F(Supervision, ACurveOfAVariantThatIsGoneDoesNotBringItBack) {
  steady();
  const auto curve = decision_of(chat).curve;
  w.changed("variantautoscalings", va_json("llm", "chat"), kube::watch_type::deleted);
  // The analyzer had sent it before it heard that it is over.
  caf::anon_send(supervisor_of(w).optimizer_handle, curve_changed{curve});
  w.advance(70s);
  EXPECT_EQ(w.view->plan()->decisions.find(chat), nullptr);
  EXPECT_THAT(w.view->metrics_text(), Not(HasSubstr("variant_name=\"chat\"")));
}

TEST_F(Supervision, AKilledWatcherComesBackAloneAndItsListMakesGood) {
  steady();
  const auto fleet_before = supervisor_of(w).fleet_handle;
  const auto analyzer_before = member(other).analyzer;
  kill(w, supervisor_of(w).watchers.at(watch_kind::variants));
  EXPECT_EQ(w.api->sinks.count("variantautoscalings"), 0u) << "its watch ended with it";
  EXPECT_TRUE(w.logged({"Actor died", "kube_watcher"}));
  w.advance(1s);
  EXPECT_EQ(w.api->watches.at("variantautoscalings"), 2);
  EXPECT_EQ(watches(), kinds + 1) << "the other watches went on";
  EXPECT_EQ(supervisor_of(w).fleet_handle, fleet_before);
  solve_now();
  EXPECT_EQ(decision_of(chat).reason, "Optimized") << "what was known stays until the new list";
  // Meanwhile one was deleted and one was made.
  w.changed("deployments", deployment_json("llm", "third", 1), kube::watch_type::added);
  w.changed("pods", pod_json("llm", "third-0", "third"), kube::watch_type::added);
  load_each(w, {{"other", 44}, {"third", 10}});
  w.replaced("variantautoscalings", {va_json("llm", "other"), va_json("llm", "third")});
  w.advance(70s);
  EXPECT_EQ(w.view->plan()->decisions.find(chat), nullptr);
  EXPECT_EQ(decision_of({"llm", "third"}).reason, "Optimized");
  EXPECT_EQ(member(other).analyzer, analyzer_before);
}

/// One of the actors that live and die together.
class CoreDeath : public Supervision, public ::testing::WithParamInterface<const char*> {
 protected:
  void strike() {
    auto& s = supervisor_of(w);
    const std::string_view what = GetParam();
    if (what == "optimizer") kill(w, s.optimizer_handle);
    if (what == "fleet") kill(w, s.fleet_handle);
    if (what == "board") kill(w, s.board_handle);
    if (what == "metrics_watcher") kill(w, s.metrics_handle);
  }
};

TEST_P(CoreDeath, IsFollowedByANewCoreThatRebuildsItsState) {
  steady();
  const auto calls = w.api->calls.size();
  strike();
  EXPECT_TRUE(w.logged({"Actor died", GetParam()}));
  EXPECT_THAT(w.api->sinks, IsEmpty()) << "the watches of the old core are over";
  w.advance(1s);
  EXPECT_EQ(watches(), 2 * kinds) << "one new watch of each kind";
  EXPECT_FALSE(w.view->synced()) << "not ready before the lists are there";
  w.advance(60s);
  EXPECT_EQ(w.api->calls.size(), calls) << "nothing is written on no knowledge";
  relist();
  EXPECT_TRUE(w.view->synced());
  w.advance(70s);
  EXPECT_EQ(decision_of(chat).reason, "Optimized");
  EXPECT_EQ(decision_of(other).reason, "Optimized");
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  load_each(w, {{"chat", 90}, {"other", 44}});
  w.advance(70s);
  ASSERT_THAT(w.scale_patches("chat"), Not(IsEmpty()));
  EXPECT_GT(w.scale_patches("chat").back(), 2);
  EXPECT_THAT(w.scale_patches("other"), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Each, CoreDeath, ::testing::Values("optimizer", "fleet", "board", "metrics_watcher"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_F(Supervision, DeathsTogetherMakeOneNewCore) {
  steady();
  auto& s = supervisor_of(w);
  caf::anon_send_exit(s.optimizer_handle, caf::exit_reason::kill);
  caf::anon_send_exit(s.metrics_handle, caf::exit_reason::kill);
  caf::anon_send_exit(s.watchers.at(watch_kind::pods), caf::exit_reason::kill);
  w.run();
  w.advance(5s);
  EXPECT_EQ(watches(), 2 * kinds);
  relist();
  w.advance(70s);
  EXPECT_EQ(decision_of(chat).reason, "Optimized");
}

TEST_F(Supervision, PausesOfACoreThatKeepsDyingGrowToTheirLimit) {
  steady();
  for (int i = 0; i < 10; ++i) {
    kill(w, supervisor_of(w).optimizer_handle);
    w.advance(31s);
  }
  EXPECT_TRUE(w.logged({"Actor died", "\"restart_ms\":200}"}));
  EXPECT_TRUE(w.logged({"Actor died", "\"restart_ms\":400}"}));
  EXPECT_TRUE(w.logged({"Actor died", "\"restart_ms\":30000}"}));
  EXPECT_EQ(watches(), 11 * kinds);
}

TEST_F(Supervision, WhatHasLivedForLongIsRestartedSoonAgain) {
  steady();
  for (int i = 0; i < 6; ++i) {
    kill(w, supervisor_of(w).optimizer_handle);
    w.advance(10s);
  }
  EXPECT_EQ(lines_with(w, "\"restart_ms\":200}"), 1);
  w.advance(70s);
  kill(w, supervisor_of(w).optimizer_handle);
  EXPECT_EQ(lines_with(w, "\"restart_ms\":200}"), 2) << "a minute of health";
  // The same for what is restarted alone, which knows nothing of the core's deaths.
  w.advance(5s);
  kill(w, supervisor_of(w).watchers.at(watch_kind::pods));
  EXPECT_EQ(lines_with(w, "\"restart_ms\":200}"), 3);
}

TEST_F(Supervision, AVariantsActorsThatHaveLivedForLongAreRestartedSoonAgain) {
  steady();
  for (int i = 0; i < 4; ++i) {
    kill(w, member(chat).analyzer);
    w.advance(2s);
  }
  EXPECT_EQ(lines_with(w, "\"restart_ms\":100}"), 1);
  w.advance(70s);
  kill(w, member(chat).analyzer);
  EXPECT_EQ(lines_with(w, "\"restart_ms\":100}"), 2);
}

/// As an exception of this text would end it.
template <class Handle>
void die(const Handle& handle, const char* text) {
  caf::anon_send(caf::actor_cast<caf::actor>(handle),
                 caf::exit_msg{caf::actor_addr{}, caf::make_error(caf::sec::runtime_error, text)});
}

TEST_F(Supervision, ADeathIsLoggedWithItsReasonAndCountedByActor) {
  steady();
  die(member(chat).analyzer, "vector::_M_range_check");
  w.run();
  EXPECT_TRUE(w.logged({"Actor of a variant died", "\"actor\":\"analyzer\"", "vector::_M_range_check"})) << w.trace();
  die(supervisor_of(w).watchers.at(watch_kind::pods), "bad cast");
  w.run();
  EXPECT_TRUE(w.logged({"Actor died", "\"actor\":\"kube_watcher\"", "bad cast"}));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_errors_total{component=\"supervision\",reason=\"analyzer\"} 1"));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_errors_total{component=\"supervision\",reason=\"kube_watcher\"} 1"));
  // The board dies with the optimizer: the next one counts what it could not.
  kill(w, supervisor_of(w).optimizer_handle);
  w.advance(1s);
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("inferno_errors_total{component=\"supervision\",reason=\"optimizer\"} 1"));
}

TEST_F(Supervision, AnExceptionsTextIsTheReasonOfADeath) {
  struct {
    std::function<caf::error(std::exception_ptr&)> handler;
    void set_exception_handler(std::function<caf::error(std::exception_ptr&)> f) { handler = std::move(f); }
  } actor;
  keep_reason_of_death(&actor);
  auto known = std::make_exception_ptr(std::out_of_range("key 7 is not in the map"));
  EXPECT_THAT(w.system().render(actor.handler(known)), HasSubstr("key 7 is not in the map"));
  auto unknown = std::make_exception_ptr(7);
  EXPECT_THAT(w.system().render(actor.handler(unknown)), HasSubstr("unknown type"));
}

TEST_F(Supervision, AVariantThatWentWhileTheCoreWasDownLeavesNoSeries) {
  steady();
  kill(w, supervisor_of(w).fleet_handle);
  w.advance(1s);
  populate(w, {"chat", "other"}, {va_json("llm", "other")}, 2);
  w.advance(70s);
  EXPECT_THAT(w.view->metrics_text(), Not(HasSubstr("variant_name=\"chat\"")));
  EXPECT_THAT(w.view->metrics_text(), HasSubstr("variant_name=\"other\""));
}

TEST(SupervisionOfTheLeader, AKilledLeaderStopsWritesUntilItIsBack) {
  world w([](supervisor_config& s) {
    s.election.emplace();
    s.election->identity = "me";
    s.restart_min = std::chrono::seconds(20);
    std::dynamic_pointer_cast<fake_api>(s.api)->lists = true;
  });
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 10}});
  w.advance(70s);
  kill(w, supervisor_of(w).leader_handle);
  load_each(w, {{"chat", 44}});
  w.advance(19s);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "nobody renews the lease, so it is as good as lost";
  w.advance(10s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

TEST(SupervisionOfTheLeader, ANewCoreWithoutTheLeaseWritesNothing) {
  world w([](supervisor_config& s) {
    s.election.emplace();
    s.election->identity = "me";
    s.election->lease_duration = std::chrono::hours(1);
    std::dynamic_pointer_cast<fake_api>(s.api)->stored["leases"] =
        parse_object(R"({"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"other","renewTime":"now"}})");
  });
  w.advance(5s);
  kill(w, supervisor_of(w).optimizer_handle);
  w.advance(1s);
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 44}});
  w.advance(70s);
  EXPECT_EQ(w.view->plan()->decisions.find(chat)->desired.num_replicas, 2);
  for (const auto& c : w.api->calls) EXPECT_EQ(c.plural, "leases") << c.verb;
}

TEST(SupervisionAtTheEnd, NothingIsRestartedWhileStopping) {
  world w;
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 44}});
  caf::anon_send(w.root, stop_request{});
  w.advance(60s);
  EXPECT_EQ(w.api->watches.at("pods"), 1);
  EXPECT_THAT(w.api->sinks, IsEmpty());
  EXPECT_THAT(w.trace(), Not(HasSubstr("Actor died")));
}

}  // namespace
}  // namespace inferno::actors::testing

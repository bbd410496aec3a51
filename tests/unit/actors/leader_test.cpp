// Leader election: one holder at a time, nothing written without the lease, and the lease given back at the end.
#include "actors/leader.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

/// A candidate's own way to the API server, which may fail or hang while the others' works.
class own_line final : public kube_api {
 public:
  explicit own_line(std::shared_ptr<fake_api> to) : to_(std::move(to)) {}
  std::unique_ptr<subscription> watch(const kube::resource&, kube::list_options, kube::reflector_sink) override {
    return nullptr;
  }
  void get(const kube::resource& res, kube::object_key key, std::string subresource, kube::lane where,
           object_done done) override {
    if (passes(done)) to_->get(res, std::move(key), std::move(subresource), where, std::move(done));
  }
  void get_path(std::string, object_done) override {}
  void create(const kube::resource& res, std::string ns, json::object object, object_done done) override {
    if (passes(done)) to_->create(res, std::move(ns), std::move(object), std::move(done));
  }
  void replace(const kube::resource& res, kube::object_key key, json::object object, object_done done) override {
    if (passes(done)) to_->replace(res, std::move(key), std::move(object), std::move(done));
  }
  void merge_patch(const kube::resource&, kube::object_key, json::value, std::string, object_done) override {}
  void allow_writes(clock::time_point until) override { open_until = until; }
  void end_writes() override {}
  int writes_in_flight() const override { return 0; }

  clock::time_point open_until = never;
  bool hangs = false;
  int status = 0;  ///< not 0: every call fails with it

 private:
  bool passes(object_done& done) {
    if (hangs) return false;
    if (status == 0) return true;
    done(net::fail(net::error_kind::status, "line is down", status));
    return false;
  }
  std::shared_ptr<fake_api> to_;
};

struct change {
  double at_s;
  bool leading;
};

/// Remembers what the leader tells it.
supervisor_actor::behavior_type listener(supervisor_actor::pointer, std::shared_ptr<std::vector<change>> into,
                                         std::function<double()> now_s) {
  return {[=](const leadership& m) {
            into->push_back({now_s(), m.leading});
          },
          [](const error_noted&) {}, [](const tick&) {}, [](stop_request) {}};
}

class LeaderTest : public ::testing::Test {
 protected:
  struct candidate {
    std::shared_ptr<own_line> line;
    std::shared_ptr<std::vector<change>> heard = std::make_shared<std::vector<change>>();
    supervisor_actor ear;
    leader_actor actor;
    bool leading() const { return !heard->empty() && heard->back().leading; }
  };

  candidate& join(const std::string& identity, std::function<void(leader_config&)> adjust = {}) {
    auto& c = candidates.emplace_back();
    c.line = std::make_shared<own_line>(w.api);
    c.ear = w.system().spawn(listener, c.heard, [this] { return w.now_s(); });
    leader_config config;
    config.api = c.line;
    config.supervisor = c.ear;
    config.now = supervisor_of(w).config.now;
    config.logger = supervisor_of(w).config.logger;
    config.identity = identity;
    if (adjust) adjust(config);
    c.actor = w.system().spawn(leader, std::move(config));
    w.run();
    return c;
  }
  ~LeaderTest() override {
    w.api->hold_answers = false;
    while (!w.api->held.empty()) w.release_one();
    for (auto& c : candidates) {
      caf::anon_send_exit(c.actor, caf::exit_reason::kill);
      caf::anon_send_exit(c.ear, caf::exit_reason::kill);
    }
    w.run();
  }
  const json::object& lease() const { return w.api->stored.at("leases").at("spec").as_object(); }
  std::string holder() const { return std::string(lease().at("holderIdentity").as_string()); }
  /// Advances, and sees to it that never two lead.
  void advance(std::chrono::milliseconds by) {
    for (; by.count() > 0; by -= 100ms) {
      w.advance(100ms);
      EXPECT_LE(std::count_if(candidates.begin(), candidates.end(), [](const auto& c) { return c.leading(); }), 1)
          << "two leaders at " << w.now_s();
      const auto now = w.api->steady_now();
      EXPECT_LE(std::count_if(candidates.begin(), candidates.end(), [&](const auto& c) { return c.line->open_until > now; }), 1)
          << "two may write at " << w.now_s();
    }
  }

  world w;
  std::deque<candidate> candidates;
};

TEST_F(LeaderTest, AcquiresALeaseNobodyHasMade) {
  auto& a = join("a");
  EXPECT_TRUE(a.leading());
  EXPECT_EQ(holder(), "a");
  EXPECT_EQ(lease().at("leaseDurationSeconds").as_int64(), 15);
  EXPECT_EQ(lease().at("leaseTransitions").as_int64(), 0);
  EXPECT_EQ(lease().at("acquireTime"), lease().at("renewTime"));
  const auto made = w.api->calls_to("create", "leases");
  ASSERT_THAT(made, SizeIs(1));
  EXPECT_EQ(made[0].key.ns, "inferno-autoscaler-system");
  EXPECT_EQ(made[0].body.at("kind").as_string(), "Lease");
}

TEST_F(LeaderTest, RenewsAndKeepsWhatTheLeaseSays) {
  auto& a = join("a");
  const auto acquired = lease().at("acquireTime");
  auto renewed = lease().at("renewTime");
  advance(400ms);  // the first attempt's pause has jitter: it was a candidate's
  for (int i = 0; i < 5; ++i) {
    advance(2s);
    EXPECT_NE(lease().at("renewTime"), renewed);
    renewed = lease().at("renewTime");
  }
  EXPECT_EQ(lease().at("acquireTime"), acquired);
  EXPECT_EQ(lease().at("leaseTransitions").as_int64(), 0);
  EXPECT_THAT(*a.heard, SizeIs(1)) << "leadership is told once";
}

TEST_F(LeaderTest, OfTwoCandidatesOneLeads) {
  auto& a = join("a");
  auto& b = join("b");
  advance(120s);
  EXPECT_TRUE(a.leading());
  EXPECT_THAT(*b.heard, IsEmpty());
  EXPECT_EQ(holder(), "a");
}

TEST_F(LeaderTest, OfTwoThatFindNoLeaseTheSlowerOneLosesTheRace) {
  w.api->hold_answers = true;
  auto& a = join("a");
  auto& b = join("b");
  // Both have read that there is none; both create; the second create is refused.
  while (!w.api->held.empty()) w.release_one();
  EXPECT_THAT(w.api->calls_to("create", "leases"), SizeIs(2));
  EXPECT_TRUE(a.leading());
  EXPECT_FALSE(b.leading());
  EXPECT_FALSE(w.logged({"API call failed"})) << "a lost race is nothing to complain about";
}

TEST_F(LeaderTest, ReleasesOnShutdownAndTheOtherTakesOverAtOnce) {
  auto& a = join("a");
  auto& b = join("b");
  advance(5s);
  caf::anon_send(a.actor, stop_request{});
  w.run();
  EXPECT_EQ(holder(), "");
  a.heard->clear();
  advance(2s);
  EXPECT_TRUE(b.leading());
  EXPECT_EQ(holder(), "b");
  EXPECT_EQ(lease().at("leaseTransitions").as_int64(), 1);
}

TEST_F(LeaderTest, ReleasesALeaseItWasJustAboutToGet) {
  w.api->hold_answers = true;
  auto& a = join("a");
  w.release_one();  // there is none: it creates one
  caf::anon_send(a.actor, stop_request{});
  w.run();
  while (!w.api->held.empty()) w.release_one();
  EXPECT_EQ(holder(), "");
}

TEST_F(LeaderTest, DoesNotReleaseWhatAnotherHolds) {
  join("a");
  auto& b = join("b");
  caf::anon_send(b.actor, stop_request{});
  advance(2s);
  EXPECT_EQ(holder(), "a");
}

TEST_F(LeaderTest, ACrashedHolderIsSucceededWhenItsLeaseHasRunOut) {
  auto& a = join("a");
  auto& b = join("b");
  advance(6s);
  const double crashed_at = w.now_s();
  caf::anon_send_exit(a.actor, caf::exit_reason::kill);
  a.heard->clear();
  advance(12s);
  EXPECT_FALSE(b.leading());
  advance(6s);
  ASSERT_TRUE(b.leading());
  EXPECT_GE(b.heard->front().at_s - crashed_at, 12.5);
  EXPECT_EQ(lease().at("leaseTransitions").as_int64(), 1);
}

TEST_F(LeaderTest, ACandidateWaitsForAsLongAsTheRecordSaysNotAsItsOwnSettingsDo) {
  auto& a = join("a", [](leader_config& c) {
    c.lease_duration = 60s;
    c.renew_deadline = 40s;
    c.retry_period = 5s;
  });
  auto& b = join("b");
  advance(6s);
  ASSERT_TRUE(a.leading());
  ASSERT_EQ(lease().at("leaseDurationSeconds").as_int64(), 60);
  // Stopped in its tracks, as by SIGSTOP: it neither renews nor hears that it is over, and its gate is open until its deadline.
  const double stopped_at = w.now_s();
  a.line->hangs = true;
  caf::anon_send_exit(a.actor, caf::exit_reason::kill);
  w.run();
  a.heard->clear();
  advance(50s);
  EXPECT_FALSE(b.leading());
  advance(20s);
  ASSERT_TRUE(b.leading());
  EXPECT_GE(b.heard->front().at_s - stopped_at, 54);
}

TEST_F(LeaderTest, TheRecordNeverPromisesOthersLessThanTheHolderCountsOn) {
  join("a", [](leader_config& c) {
    c.lease_duration = 1900ms;
    c.renew_deadline = 1500ms;
    c.retry_period = 500ms;
  });
  EXPECT_EQ(lease().at("leaseDurationSeconds").as_int64(), 2);
}

TEST_F(LeaderTest, AHolderThatCannotRenewGivesUpBeforeAnotherTakesOver) {
  for (const bool hangs : {false, true}) {
    SCOPED_TRACE(hangs ? "calls hang" : "calls fail");
    w.api->stored.clear();
    auto& a = join("a" + std::to_string(hangs));
    auto& b = join("b" + std::to_string(hangs));
    ASSERT_TRUE(a.leading());
    advance(6s);
    const double broken_at = w.now_s();
    a.line->hangs = hangs;
    a.line->status = 500;
    advance(30s);
    EXPECT_FALSE(a.leading());
    ASSERT_TRUE(b.leading());
    EXPECT_LE(a.heard->back().at_s - broken_at, 10.2);
    EXPECT_GT(b.heard->back().at_s, a.heard->back().at_s);
    for (auto* c : {&a, &b}) {
      caf::anon_send_exit(c->actor, caf::exit_reason::kill);
      c->heard->clear();
      c->line->open_until = kube_api::never;
    }
    w.run();
  }
}

TEST_F(LeaderTest, GivesUpInTimeHoweverLongTheRetryPeriodIs) {
  const auto tight = [](leader_config& c) {
    c.lease_duration = 3000ms;
    c.renew_deadline = 2500ms;
    c.retry_period = 2000ms;
  };
  auto& a = join("a", tight);
  join("b", tight);
  a.line->hangs = true;
  advance(6s);
  ASSERT_FALSE(a.leading());
  EXPECT_LE(a.heard->back().at_s, 2.6);
}

TEST_F(LeaderTest, TakesTheLeaseBackWhenTheLineIsWholeAgain) {
  auto& a = join("a");
  a.line->status = 503;
  advance(20s);
  EXPECT_FALSE(a.leading());
  EXPECT_EQ(lines_with(w, "Leader election: API call failed"), 1) << "said once";
  a.line->status = 0;
  advance(20s);
  EXPECT_TRUE(a.leading());
}

TEST_F(LeaderTest, ALeaseTakenByForceIsGivenUpAtTheNextLook) {
  auto& a = join("a");
  w.api->stored["leases"]["spec"].as_object()["holderIdentity"] = "intruder";
  advance(3s);
  EXPECT_FALSE(a.leading());
}

TEST_F(LeaderTest, ExpiryIsToldByTheOwnClockNotByTheHoldersStamp) {
  // The record claims to be from 1970, as a holder with a wrong clock would write.
  w.api->stored["leases"] = parse_object(
      R"({"metadata":{"resourceVersion":"0"},"spec":{"holderIdentity":"old","renewTime":"1970-01-01T00:00:00.000000Z","leaseTransitions":4}})");
  auto& b = join("b");
  advance(14s);
  EXPECT_FALSE(b.leading());
  advance(4s);
  EXPECT_TRUE(b.leading());
  EXPECT_EQ(lease().at("leaseTransitions").as_int64(), 5);
}

TEST(LeaderSettings, AreChecked) {
  leader_config c;
  EXPECT_THAT(validate(c), HasSubstr("identity"));
  c.identity = "a";
  EXPECT_EQ(validate(c), "");
  c.renew_deadline = c.lease_duration;
  EXPECT_THAT(validate(c), HasSubstr("renew deadline"));
  c.renew_deadline = c.retry_period;
  EXPECT_THAT(validate(c), HasSubstr("retry period"));
  c = {};
  c.identity = "a";
  c.retry_period = 0ms;
  EXPECT_THAT(validate(c), HasSubstr("retry period"));
}

// ---- the controller as a candidate
// ----------------------------------------------------------------------------------------------

void with_election(supervisor_config& s) {
  s.election.emplace();
  s.election->identity = "me";
}
void hold_lease(world& w, const std::string& identity, int stamp) {
  w.api->stored["leases"] = parse_object(
      fmt::format(R"({{"metadata":{{"resourceVersion":"x{1}"}},"spec":{{"holderIdentity":"{0}","renewTime":"stamp {1}"}}}})",
                  identity, stamp));
}
std::size_t writes(const world& w) {
  return static_cast<std::size_t>(std::count_if(w.api->calls.begin(), w.api->calls.end(),
                                                [](const auto& c) { return c.verb != "get" && c.plural != "leases"; }));
}

TEST(Election, ALostLeaseStopsWritesAndARegainedOneResumesThem) {
  world w(with_election);
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 44}});
  w.advance(70s);
  ASSERT_THAT(w.scale_patches(), ElementsAre(2));
  w.api->lists = true;
  // Another candidate has it now, and renews it.
  int stamp = 0;
  hold_lease(w, "other", ++stamp);
  w.advance(3s);
  EXPECT_TRUE(w.logged({"Lost leadership"}));
  const auto before = writes(w);
  load_each(w, {{"chat", 90}});
  for (int i = 0; i < 30; ++i) {
    hold_lease(w, "other", ++stamp);
    w.advance(4s);
  }
  EXPECT_EQ(writes(w), before) << "without the lease nothing is written";
  ASSERT_TRUE(w.view->plan());
  EXPECT_GT(w.view->plan()->decisions.find({"llm", "chat"})->desired.num_replicas, 2) << "it goes on thinking";
  hold_lease(w, "", ++stamp);
  w.advance(10s);
  EXPECT_GT(w.scale_patches().back(), 2);
}

TEST(Election, AControllerWithoutTheLeaseWritesNothingFromTheStart) {
  world w([](supervisor_config& s) {
    with_election(s);
    auto api = std::dynamic_pointer_cast<fake_api>(s.api);
    api->lists = true;
    api->stored["leases"] =
        parse_object(R"({"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"other","renewTime":"now"}})");
  });
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 44}});
  w.advance(14s);
  w.changed("configmaps", settings_json({{"GLOBAL_OPT_TRIGGER", "true"}}));
  EXPECT_EQ(writes(w), 0u);
  w.advance(10s);  // the other one is dead
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

/// Two replicas are known and carry their part of the load; then the lease is another's, and nothing is heard of the cluster.
struct behind : world {
  behind() : world(with_election) {
    populate(*this, {"chat"}, {va_json("llm", "chat")}, 2);
    source->respond = [](const std::vector<scrape_target>& targets, double now) {
      auto out = std::make_shared<collected_metrics>();
      for (const auto& t : targets) out->pods.push_back(healthy_sample(t, now, 24));
      return out;
    };
    advance(130s);
    EXPECT_THAT(scale_patches(), IsEmpty());
    for (int stamp = 1; stamp < 40; ++stamp) {
      hold_lease(*this, "other", stamp);
      advance(2s);
    }
    EXPECT_FALSE(view->leading());
    // The other one scaled to eight meanwhile, and they are busy.
    api->scales.at("deployments llm/chat") = {8, 7};
    hold_lease(*this, "", 50);
    advance(5s);
    EXPECT_TRUE(view->leading());
  }
  void list(const std::string& plural) {
    std::vector<json::object> pods;
    for (int i = 0; i < 8; ++i) pods.push_back(pod_json("llm", fmt::format("chat-{}", i), "chat"));
    if (plural == "pods") replaced(plural, std::move(pods));
    if (plural == "deployments") replaced(plural, {deployment_json("llm", "chat", 8)});
    if (plural == "nodes") replaced(plural, roomy_nodes());
    if (plural == "configmaps") replaced(plural, default_configs());
    if (plural == "variantautoscalings") replaced(plural, {va_json("llm", "chat")});
  }
};

TEST(NewTerm, NothingIsScaledBeforeEveryWatchHasListedInIt) {
  for (const std::string last : {"pods", "deployments", "nodes", "configmaps", "variantautoscalings"}) {
    SCOPED_TRACE(last);
    behind w;
    const auto before = writes(w);
    for (const std::string plural : {"nodes", "configmaps", "deployments", "pods", "variantautoscalings"})
      if (plural != last) w.list(plural);
    w.advance(120s);
    EXPECT_EQ(writes(w), before);
    w.list(last);
    w.advance(2s);
    EXPECT_GT(writes(w), before) << "a new leader writes the status at least";
    EXPECT_THAT(w.scale_patches(), IsEmpty());
  }
}

TEST(NewTerm, TheLoadOfThePodsKnownBeforeIsNotTakenForAll) {
  behind w;
  for (const std::string plural : {"nodes", "configmaps", "deployments", "variantautoscalings", "pods"}) w.list(plural);
  w.advance(300s);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "eight replicas at 24 a minute each are what is needed";
  // Later it is scaled down as ever.
  load_each(w, {{"chat", 22}});
  w.advance(200s);
  ASSERT_FALSE(w.scale_patches().empty());
  EXPECT_LT(w.scale_patches().back(), 8);
}

TEST(NewTerm, ADecisionSentBeforeTheActuatorsHearOfTheTermIsCarriedOut) {
  world w([](supervisor_config& s) {
    with_election(s);
    s.election->lease_duration = std::chrono::hours(1);
    std::dynamic_pointer_cast<fake_api>(s.api)->stored["leases"] =
        parse_object(R"({"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"other","renewTime":"now"}})");
  });
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 44}});
  w.advance(70s);
  ASSERT_EQ(writes(w), 0u);
  // The optimizer is told first; nothing else is.
  w.api->allow_writes(kube_api::always);
  const auto& optimizer = supervisor_of(w).optimizer_handle;
  caf::anon_send(optimizer, inventory_synced{7});
  caf::anon_send(optimizer, leadership{true, 7});
  w.advance(2s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

TEST(NewTerm, ConditionsKeepTheTimesThatAnotherLeaderWrote) {
  world w([](supervisor_config& s) {
    with_election(s);
    auto api = std::dynamic_pointer_cast<fake_api>(s.api);
    api->lists = true;
    api->stored["leases"] =
        parse_object(R"({"metadata":{"resourceVersion":"1"},"spec":{"holderIdentity":"other","renewTime":"now"}})");
  });
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 10}});
  w.advance(5s);
  // The other leader's status comes while this one stands by, without any change of the spec.
  auto va = va_json("llm", "chat");
  va["status"] =
      json::parse(R"({"conditions":[{"type":"MetricsAvailable","status":"True","lastTransitionTime":"2023-01-02T03:04:05Z"}]})");
  w.changed("variantautoscalings", va);
  w.advance(60s);
  ASSERT_TRUE(w.view->leading());
  const auto conditions = w.status("chat").at("conditions").as_array();
  EXPECT_EQ(conditions.at(0).at("type"), "MetricsAvailable");
  EXPECT_EQ(conditions.at(0).at("lastTransitionTime"), "2023-01-02T03:04:05Z");
}

TEST(Election, ShutdownDoesNotWaitForWritesThatAreNotAnswered) {
  world w(with_election);
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 44}});
  w.api->hold_answers = true;
  w.advance(1s);
  ASSERT_FALSE(w.api->held.empty());
  w.cluster_follows = false;
  caf::anon_send(w.root, stop_request{});
  w.advance(2s);
  EXPECT_TRUE(w.logged({"the lease is not given back"}));
  const auto calls = w.api->calls.size();
  w.advance(60s);
  EXPECT_EQ(w.api->calls.size(), calls) << "the leader has ended too: nothing renews the lease";
}

TEST(Election, ShutdownGivesTheLeaseBackAfterTheWritesUnderWay) {
  world w(with_election);
  populate(w, {"chat"}, {va_json("llm", "chat")});
  load_each(w, {{"chat", 10}});
  w.advance(70s);
  w.api->hold_answers = true;
  load_each(w, {{"chat", 44}});
  while (w.scale_patches().empty()) {
    w.advance(100ms);
    // Every other call is answered.
    while (w.api->held.size() > 1 || (!w.api->held.empty() && w.scale_patches().empty())) w.release_one();
  }
  ASSERT_FALSE(w.api->held.empty());
  w.cluster_follows = false;
  caf::anon_send(w.root, stop_request{});
  w.advance(200ms);
  EXPECT_EQ(w.api->stored.at("leases").at("spec").at("holderIdentity").as_string(), "me") << "a write is still under way";
  while (!w.api->held.empty()) w.release_one();
  w.api->hold_answers = false;
  w.advance(200ms);
  EXPECT_EQ(w.api->stored.at("leases").at("spec").at("holderIdentity").as_string(), "");
  EXPECT_EQ(w.api->calls.back().plural, "leases") << "giving it back is the last thing done";
}

TEST(LeaderErrors, AreSaidAtTheirBeginningAndTheirEndAndAreCounted) {
  for (const bool standby : {false, true}) {
    world w([](supervisor_config& s) {
      s.election.emplace();
      s.election->identity = "a";
    });
    w.advance(5s);
    ASSERT_TRUE(w.view->leading());
    if (standby) {
      w.api->stored["leases"]["spec"].as_object()["holderIdentity"] = "b";
      w.advance(5s);
      ASSERT_FALSE(w.view->leading());
    }
    w.api->fail("get", "leases", 503, 3);
    w.advance(5s);
    EXPECT_EQ(lines_with(w, "Leader election: API call failed"), 1);
    EXPECT_EQ(lines_with(w, "Leader election: API calls succeed again"), 0);
    w.advance(6s);
    EXPECT_EQ(lines_with(w, "Leader election: API calls succeed again"), 1) << standby;
    EXPECT_NE(w.view->metrics_text().find(R"(inferno_errors_total{component="leader",reason="api"} 3)"), std::string::npos);
  }
}

}  // namespace
}  // namespace inferno::actors::testing

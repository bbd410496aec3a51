// Targets of kinds the controller does not know by itself: found by discovery, followed by watch and scale.
#include "actors/scale_watcher.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "actors/decode.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

constexpr auto discovery_path = "/apis/leaderworkerset.x-k8s.io/v1";
constexpr auto target = R"(,"scaleTargetRef":{"apiVersion":"leaderworkerset.x-k8s.io/v1","kind":"LeaderWorkerSet","name":"big"})";

json::object discovery(bool with_scale = true) {
  return parse_object(fmt::format(
      R"({{"kind":"APIResourceList","resources":[{{"name":"leaderworkersets","kind":"LeaderWorkerSet","namespaced":true}}{}]}})",
      with_scale ? R"(,{"name":"leaderworkersets/scale","kind":"Scale","namespaced":true})" : ""));
}
json::object scale_json(int replicas, const std::string& selector =
                                          "leaderworkerset.sigs.k8s.io/name=big,"
                                          "leaderworkerset.sigs.k8s.io/worker-index=0") {
  return parse_object(fmt::format(R"({{"kind":"Scale","spec":{{"replicas":{0}}},"status":{{"replicas":{0},"selector":"{1}"}}}})",
                                  replicas, selector));
}
json::object set_json(const std::string& uid = "lws-1") {
  return parse_object(fmt::format(R"({{"metadata":{{"namespace":"llm","name":"big","uid":"{}"}}}})", uid));
}
/// A pod of group `group` of the set: number 0 leads.
json::object member_json(int group, int number) {
  auto pod = pod_json("llm", fmt::format("big-{}-{}", group, number), "x");
  pod["metadata"].as_object()["labels"] = json::object{{"leaderworkerset.sigs.k8s.io/name", "big"},
                                                       {"leaderworkerset.sigs.k8s.io/worker-index", std::to_string(number)}};
  return pod;
}

struct scale_target : world {
  scale_target() {
    load(88);  // of two variants, each of which needs two replicas
    quickstart();
    replaced("nodes", {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 8)});
    api->stored[discovery_path] = discovery();
    api->stored["leaderworkersets/scale"] = scale_json(1);
  }
  /// One replica of a leader and a worker, named by a VariantAutoscaling.
  void install() {
    changed("variantautoscalings", va_json("llm", "giant", target));
    if (api->sinks.count("leaderworkersets")) replaced("leaderworkersets", {set_json()});
    changed("pods", member_json(0, 0));
    changed("pods", member_json(0, 1));
  }
  std::vector<int> set_patches() const {
    std::vector<int> out;
    for (const auto& c : api->calls_to("patch", "leaderworkersets", "scale"))
      out.push_back(static_cast<int>(c.body.at("spec").at("replicas").as_int64()));
    return out;
  }
};

TEST(ScaleWatcher, ScalesAKindFoundByDiscovery) {
  scale_target w;
  w.install();
  w.advance(10s);
  EXPECT_THAT(w.set_patches(), ElementsAre(2));
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("True TargetFound: LeaderWorkerSet big found"));
  const auto owners = w.api->calls_to("patch", "variantautoscalings");
  ASSERT_THAT(owners, ::testing::Not(IsEmpty()));
  bool owned = false;
  for (const auto& c : owners)
    if (c.key.name == "giant") {
      const auto& owner = c.body.at("metadata").at("ownerReferences").at(0);
      owned = owner.at("apiVersion") == "leaderworkerset.x-k8s.io/v1" && owner.at("kind") == "LeaderWorkerSet" &&
              owner.at("uid") == "lws-1";
    }
  EXPECT_TRUE(owned);
}

TEST(ScaleWatcher, TheLeaderOfAGroupServesAndAllOfItHoldsGpus) {
  scale_target w;
  w.install();
  w.advance(3s);
  int asked = 0;
  for (const auto& t : w.source->last_targets) {
    EXPECT_NE(t.pod.name, "big-0-1") << "a worker serves nothing";
    asked += t.pod.name == "big-0-0" ? 1 : 0;
  }
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(fleet_of(w).cluster.capacity().by_device.at("NVIDIA-A100-PCIE-80GB"), 8) << "none of them is foreign";
}

TEST(ScaleWatcher, TheScaleIsReadAgainWhenTheObjectChanges) {
  scale_target w;
  w.install();
  w.advance(5s);
  w.api->stored["leaderworkersets/scale"] = scale_json(2);
  w.changed("leaderworkersets", set_json());
  w.advance(5s);
  EXPECT_EQ(w.status("giant").at("currentAlloc").at("numReplicas"), 2);
  EXPECT_THAT(w.set_patches(), ElementsAre(2)) << "two are there as decided";
}

TEST(ScaleWatcher, ChangesWhileTheScaleIsAskedForAreNotLost) {
  scale_target w;
  w.install();
  w.advance(5s);
  w.api->hold_answers = true;
  w.changed("leaderworkersets", set_json());
  const auto asked = w.api->calls_to("get", "leaderworkersets", "scale").size();
  w.api->stored["leaderworkersets/scale"] = scale_json(5);
  for (int i = 0; i < 50; ++i) w.changed("leaderworkersets", set_json());
  EXPECT_THAT(w.api->calls_to("get", "leaderworkersets", "scale"), SizeIs(asked)) << "one question at a time";
  w.api->hold_answers = false;
  while (!w.api->held.empty()) w.release_one();
  EXPECT_THAT(w.api->calls_to("get", "leaderworkersets", "scale"), SizeIs(asked + 1));
  w.advance(2s);
  EXPECT_EQ(w.status("giant").at("currentAlloc").at("numReplicas"), 5);
}

TEST(ScaleWatcher, SaysThatTheApiHasNoSuchKindAndFindsItWhenItComes) {
  scale_target w;
  w.api->stored.erase(discovery_path);
  w.install();
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("the API has no leaderworkerset.x-k8s.io/v1"));
  EXPECT_THAT(w.condition_of("OptimizationReady", "giant"), HasSubstr("False TargetNotFound"));
  w.api->stored[discovery_path] = discovery(false);
  w.advance(10s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("has no scale subresource"));
  w.api->stored[discovery_path] = discovery();
  w.advance(60s);
  ASSERT_TRUE(w.api->sinks.count("leaderworkersets"));
  w.replaced("leaderworkersets", {set_json()});
  w.advance(10s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("True TargetFound"));
  EXPECT_EQ(w.status("giant").at("currentAlloc").at("numReplicas"), 1);
}

TEST(ScaleWatcher, NothingIsSaidBeforeTheFirstListIsRead) {
  scale_target w;
  w.changed("variantautoscalings", va_json("llm", "giant", target));
  w.advance(5s);
  EXPECT_TRUE(w.status("giant").empty()) << "not there yet is not the same as not there";
  w.replaced("leaderworkersets", {});
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("False TargetNotFound: LeaderWorkerSet big not found"));
}

TEST(ScaleWatcher, SaysThatTheScaleMayNotBeRead) {
  scale_target w;
  w.api->fail("get", "leaderworkersets", 403);
  w.install();
  w.advance(500ms);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("scale of LeaderWorkerSet llm/big cannot be read"));
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("True TargetFound"));
}

TEST(ScaleWatcher, KeepsWhatItKnowsWhileTheScaleCannotBeRead) {
  scale_target w;
  w.install();
  w.advance(5s);
  w.api->fail("get", "leaderworkersets", 500, 2);
  w.changed("leaderworkersets", set_json());
  w.advance(500ms);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("True TargetFound"));
  w.api->stored["leaderworkersets/scale"] = scale_json(2);
  w.advance(10s);
  EXPECT_EQ(w.status("giant").at("currentAlloc").at("numReplicas"), 2) << "asked for again";
}

TEST(ScaleWatcher, SaysThatASelectorCannotBeFollowed) {
  scale_target w;
  w.api->stored["leaderworkersets/scale"] = scale_json(1, "tier in (a, b)");
  w.install();
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("got \"tier in (a, b)\""));
  EXPECT_THAT(w.set_patches(), IsEmpty());
}

TEST(ScaleWatcher, DeletedAndMadeAgainItIsAnotherObject) {
  scale_target w;
  w.install();
  w.advance(5s);
  w.changed("leaderworkersets", set_json(), kube::watch_type::deleted);
  w.advance(2s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("False TargetNotFound"));
  w.changed("leaderworkersets", set_json("lws-2"), kube::watch_type::added);
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("True TargetFound"));
  EXPECT_EQ(w.api->calls_to("patch", "variantautoscalings").back().body.at("metadata").at("ownerReferences").at(0).at("uid"),
            "lws-2");
}

TEST(ScaleWatcher, AKindNobodyNamesIsNotWatched) {
  scale_target w;
  w.install();
  EXPECT_EQ(w.api->sinks.count("leaderworkersets"), 1u);
  w.changed("variantautoscalings", va_json("llm", "giant", target), kube::watch_type::deleted);
  EXPECT_EQ(w.api->sinks.count("leaderworkersets"), 0u);
  w.install();
  EXPECT_EQ(w.api->sinks.count("leaderworkersets"), 1u) << "and again when it is";
}

TEST(ScaleWatcher, ADeadWatcherIsReplaced) {
  scale_target w;
  w.install();
  w.advance(5s);
  kill(w, fleet_of(w).kinds.begin()->second.watcher);
  EXPECT_EQ(w.api->sinks.count("leaderworkersets"), 0u);
  w.advance(2s);
  ASSERT_EQ(w.api->sinks.count("leaderworkersets"), 1u);
  w.replaced("leaderworkersets", {});
  w.advance(2s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("False TargetNotFound")) << "deleted while nobody watched";
}

TEST(ScaleWatcher, AKindNeedsItsApiVersion) {
  world w;
  w.quickstart();
  w.changed("variantautoscalings", va_json("llm", "giant", R"(,"scaleTargetRef":{"kind":"LeaderWorkerSet","name":"big"})"));
  w.advance(5s);
  EXPECT_THAT(w.condition_of("OptimizationReady", "giant"),
              HasSubstr("False InvalidSpec: spec.scaleTargetRef.apiVersion: required for kind \"LeaderWorkerSet\""));
  EXPECT_THAT(w.api->calls_to("get", "/apis/apps/v1"), IsEmpty());
}

TEST(ScaleWatcher, AnAutoscalerOfTheTargetIsFoundByItsGroup) {
  scale_target w;
  w.install();
  w.changed("horizontalpodautoscalers",
            parse_object(R"({"metadata":{"namespace":"llm","name":"hpa"},"spec":{"scaleTargetRef":{"apiVersion":
            "leaderworkerset.x-k8s.io/v1","kind":"LeaderWorkerSet","name":"big"},"maxReplicas":3}})"));
  w.advance(5s);
  EXPECT_THAT(w.condition_of("TargetResolved", "giant"), HasSubstr("False ConflictingAutoscaler"));
}

/// Times at which scales were asked for since the test last looked.
struct many_targets : scale_target {
  explicit many_targets(int number) {
    load(3);  // nothing is to be scaled: that would look at the scale too
    install();
    std::vector<json::object> sets{set_json()};
    for (int i = 1; i < number; ++i) {
      sets.push_back(set_json());
      sets.back()["metadata"].as_object()["name"] = fmt::format("big{}", i);
      sets.back()["metadata"].as_object()["uid"] = fmt::format("uid{}", i);
    }
    replaced("leaderworkersets", sets);
    advance(1s);
    list = std::move(sets);
    asked();
  }
  std::vector<double> asked() {
    std::vector<double> out;
    const auto all = api->calls_to("get", "leaderworkersets", "scale");
    for (; seen < all.size(); ++seen) out.push_back(all[seen].at_s);
    return out;
  }
  std::vector<json::object> list;
  std::size_t seen = 0;
};

TEST(ScaleWatcher, ThoseThatFailTogetherAreNotAskedForTogether) {
  many_targets w(100);
  w.api->fail("get", "leaderworkersets", 503, 100);
  w.replaced("leaderworkersets", w.list);
  ASSERT_THAT(w.asked(), SizeIs(100));
  // The server is still in trouble: a few try, and their failures stop the others.
  w.api->fail("get", "leaderworkersets", 503, 8);
  w.advance(1260ms);
  EXPECT_THAT(w.asked(), SizeIs(8));
  w.api->hold_answers = true;
  w.advance(3s);
  EXPECT_THAT(w.asked(), SizeIs(8)) << "no more before an answer";
  for (auto n = w.api->held.size(); n > 0; --n) w.release_one();
  EXPECT_THAT(w.asked(), SizeIs(8)) << "another for each answer";
  w.api->hold_answers = false;
  while (!w.api->held.empty()) w.release_one();
  w.advance(5min);
  EXPECT_THAT(w.asked(), SizeIs(84)) << "each of them once";
}

TEST(ScaleWatcher, WaitsAsLongAsTheServerSays) {
  many_targets w(3);
  w.api->fail("get", "leaderworkersets", 429, 1, 40s);
  w.changed("leaderworkersets", set_json());
  ASSERT_THAT(w.asked(), SizeIs(1));
  w.advance(20s);
  w.changed("leaderworkersets", w.list[1]);
  w.advance(19s);
  EXPECT_THAT(w.asked(), IsEmpty()) << "for others neither";
  w.advance(12s);
  EXPECT_THAT(w.asked(), SizeIs(2));
}

TEST(ScaleWatcher, PausesGrowAndDifferFromTryToTry) {
  many_targets w(1);
  w.api->fail("get", "leaderworkersets", 500, 6);
  w.changed("leaderworkersets", set_json());
  w.advance(3min);
  const auto at = w.asked();
  ASSERT_THAT(at, SizeIs(7));
  std::set<double> shares;
  double pause = 1;
  for (std::size_t i = 1; i < at.size(); ++i, pause *= 2) {
    const double share = (at[i] - at[i - 1]) / pause;
    EXPECT_GE(share, 0.999) << i;
    EXPECT_LE(share, 1.26) << i;
    shares.insert(std::round(share * 100));
  }
  EXPECT_GT(shares.size(), 2u);
}

TEST(ScaleWatcher, OneThatIsRefusedDoesNotStandInTheWayOfOthers) {
  many_targets w(30);
  w.api->fail("get", "leaderworkersets", 403, 30);
  w.replaced("leaderworkersets", w.list);
  ASSERT_THAT(w.asked(), SizeIs(30));
  w.api->fail("get", "leaderworkersets", 403, 20);
  w.advance(1260ms);
  EXPECT_THAT(w.asked(), SizeIs(30)) << "all, however many are refused";
  w.advance(5s);
  EXPECT_THAT(w.asked(), SizeIs(20));
}

TEST(ScaleWatcher, OneThatGoesWhileItIsAskedForDoesNotStopTheOthers) {
  many_targets w(30);
  w.api->fail("get", "leaderworkersets", 503, 30);
  w.replaced("leaderworkersets", w.list);
  w.asked();
  w.api->hold_answers = true;
  w.advance(1260ms);
  ASSERT_THAT(w.asked(), SizeIs(8));
  for (const auto& set : std::vector(w.list.begin(), w.list.begin() + 20))
    w.changed("leaderworkersets", set, kube::watch_type::deleted);
  w.api->hold_answers = false;
  while (!w.api->held.empty()) w.release_one();
  w.advance(5min);
  const auto& s = state_of<scale_watcher_state>(fleet_of(w).kinds.begin()->second.watcher);
  EXPECT_THAT(s.entries, SizeIs(10));
  EXPECT_THAT(s.unanswered, IsEmpty());
  EXPECT_THAT(s.waiting, IsEmpty());
  EXPECT_THAT(s.retrying, IsEmpty());
}

TEST(ScaleWatcher, TroubleIsSaidAtItsBeginningAndItsEndAndIsCounted) {
  scale_target w;
  w.api->stored.erase(discovery_path);
  w.install();
  w.advance(20s);
  EXPECT_EQ(lines_with(w, "Targets of a kind cannot be followed"), 1);
  EXPECT_THAT(w.view->metrics_text(), HasSubstr(R"(component="scale_watcher",reason="LeaderWorkerSet"} 1)"));
  w.api->stored[discovery_path] = discovery();
  w.advance(60s);
  w.api->fail("get", "leaderworkersets", 403, 3);
  w.replaced("leaderworkersets", {set_json()});
  EXPECT_EQ(lines_with(w, "Targets of a kind can be followed again"), 1);
  w.advance(30s);
  EXPECT_EQ(lines_with(w, "Target cannot be followed"), 1) << "once, not with each try";
  EXPECT_EQ(lines_with(w, "Target can be followed again"), 1);
  EXPECT_THAT(w.view->metrics_text(), HasSubstr(R"(component="scale_watcher",reason="scale"} 3)"));
}

TEST(ScaleDecoding, SelectorsAreEqualities) {
  const target_kind kind{"g", "K"};
  const auto read = [&](const std::string& selector) { return decode_scale(scale_json(3, selector), kind, {"n", "x"}); };
  EXPECT_THAT(read("a=b, c == d,e=").value().selector, ElementsAre(Pair("a", "b"), Pair("c", "d"), Pair("e", "")));
  EXPECT_EQ(read("a=b").value().replicas, 3);
  EXPECT_EQ(read("a=b").value().ref, (target_ref{"K", "n", "x", "g"}));
  for (const auto* bad : {"a!=b", "!a", "a", "a in (b)", "=b", "a=b,"})
    EXPECT_EQ(read(bad).has_value(), std::string_view(bad) == "a=b,") << bad;
  EXPECT_THAT(read("").value().selector, IsEmpty());
}

}  // namespace
}  // namespace inferno::actors::testing

// The load during a move to another accelerator: it is followed, and no old replica goes that it needs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/accelerator_change.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

void merge(json::value& into, const json::value& patch) {
  if (!patch.is_object()) {
    into = patch;
    return;
  }
  if (!into.is_object()) into = json::object{};
  for (const auto& [name, value] : patch.get_object()) {
    if (value.is_null()) {
      into.get_object().erase(name);
    } else {
      merge(into.get_object()[name], value);
    }
  }
}

/// A Deployment under Kubernetes' own controller: rolling updates with maxSurge and maxUnavailable, replicas in proportion when
/// their number changes in the middle of one, pods that take their time, the progress deadline. Whatever is Ready shares the load
/// in proportion to its rate.
class rolling : public world {
 public:
  rolling(int replicas, double load_per_min, std::vector<json::object> nodes = roomy_nodes()) : per_min(load_per_min) {
    cluster_follows = false;
    source->respond = [this](const std::vector<scrape_target>& targets, double now) {
      auto out = std::make_shared<collected_metrics>();
      double sum = 0;
      for (const auto& t : targets) sum += rate_of(t.pod.name);
      for (const auto& t : targets)
        if (!silent) out->pods.push_back(healthy_sample(t, now, per_min * rate_of(t.pod.name) / sum));
      return out;
    };
    deployment = parse_object(fmt::format(
        R"({{"metadata":{{"namespace":"llm","name":"v","uid":"dep-llm-v","generation":1,"resourceVersion":"1"}},
        "spec":{{"replicas":{},"strategy":{{"type":"RollingUpdate","rollingUpdate":{{"maxSurge":1,"maxUnavailable":0}}}},
          "selector":{{"matchLabels":{{"app":"v"}}}},"template":{{"metadata":{{"labels":{{"app":"v"}}}},
          "spec":{{"nodeSelector":{{"gpu":"A100"}},"containers":[{{"name":"vllm","resources":{{
            "limits":{{"nvidia.com/gpu":"1"}},"requests":{{"nvidia.com/gpu":"1"}}}}}}]}}}}}}}})",
        replicas));
    scaled_to_ = replicas;
    for (int i = 0; i < replicas; ++i) add_pod("A100", now_s());
    configs_[0] = settings_json({{"GLOBAL_OPT_INTERVAL", "10s"}, {"RATE_WINDOW", "20s"}, {"SCALE_DOWN_STABILIZATION", "30s"}});
    configs_[1] = prices(400);
    nodes_ = std::move(nodes);
    observe();
    tell_all();
    go(60s);
  }

  void mi300x_costs(int cents) {
    configs_[1] = prices(cents);
    changed("configmaps", configs_[1]);
  }

  void go(std::chrono::seconds time) {
    for (auto t = 0s; t < time; t += 2s) {
      const double before = serves();
      advance(2s);
      for (; seen_ < api->calls.size(); ++seen_) carry_out(api->calls[seen_]);
      // One step of the Deployment's controller follows another until nothing is left to do.
      while (reconcile()) {
      }
      lost = std::max(lost, std::min(per_min, before) - serves());
      observe();
    }
  }

  /// Another controller in this one's place.
  void new_leader() {
    kill(*this, supervisor_of(*this).fleet_handle);
    advance(2s);
    tell_all();
  }

  int ready(const std::string& accelerator) {
    return static_cast<int>(std::count_if(pods_.begin(), pods_.end(),
                                          [&](const pod& p) { return p.accelerator == accelerator && p.ready_at <= now_s(); }));
  }
  int size(const std::string& accelerator) const {
    return static_cast<int>(
        std::count_if(pods_.begin(), pods_.end(), [&](const pod& p) { return p.accelerator == accelerator; }));
  }
  /// Requests/min within the targets.
  double serves() { return 25.3 * ready("A100") + 86.7 * ready("MI300X"); }
  std::string phase() const {
    const auto change = decode_change(deployment);
    if (!change) return "none";
    return change->phase == accelerator_change::step::surge   ? "surge"
           : change->phase == accelerator_change::step::drain ? "drain"
                                                              : "failed";
  }
  std::vector<std::string> events(std::string_view about = "Accelerator") const {
    std::vector<std::string> out;
    for (const auto& c : api->calls_to("create", "events"))
      if (std::string reason(c.body.at("reason").as_string()); reason.rfind(about, 0) == 0) out.push_back(std::move(reason));
    return out;
  }

  json::object deployment;
  double per_min;
  double lost = 0;  ///< most that was taken away, between two steps, of what served and was needed
  std::map<std::string, double> start_s{{"A100", 6}, {"MI300X", 120}};
  double progress_deadline_s = 600;
  bool silent = false;

 private:
  struct pod {
    std::string name, accelerator;
    double ready_at;
  };

  static json::object prices(int mi300x) {
    return config_json(
        std::string(accelerators_map),
        {{"A100", R"({"device":"NVIDIA-A100-PCIE-80GB","cost":"40.00","nodeSelector":{"gpu":"A100"}})"},
         {"MI300X",
          fmt::format(R"({{"device":"AMD-MI300X-192G","cost":"{}","nodeSelector":{{"gpu":"MI300X"}},"resource":"amd.com/gpu"}})",
                      mi300x)}});
  }
  json::object variant() const {
    auto va = va_json("llm", "v", R"(,"keepAccelerator":false)", "default", "20.58", 1);
    va["metadata"].as_object()["labels"].as_object()["inference.optimization/acceleratorName"] = label_;
    return va;
  }
  double rate_of(const std::string& pod_name) const { return pod_name.rfind("v-m", 0) == 0 ? 86.7 : 25.3; }
  json::object shown(const pod& p) {
    return pod_json("llm", p.name, "v", p.ready_at <= now_s(), p.accelerator == "A100" ? "n1" : "n2");
  }
  void tell_all() {
    replaced("nodes", nodes_);
    replaced("configmaps", configs_);
    std::vector<json::object> pods;
    for (const auto& p : pods_) pods.push_back(shown(p));
    replaced("pods", std::move(pods));
    replaced("deployments", {deployment});
    replaced("variantautoscalings", {variant()});
  }

  void add_pod(const std::string& accelerator, double ready_at) {
    pods_.push_back({fmt::format("v-{}{}", accelerator == "A100" ? "a" : "m", ++made_), accelerator, ready_at});
    changed("pods", shown(pods_.back()));
  }
  /// Those that are not Ready go first.
  void resize(const std::string& accelerator, int to) {
    for (int n = size(accelerator); n < to; ++n) add_pod(accelerator, now_s() + start_s.at(accelerator));
    for (int n = size(accelerator); n > to; --n) {
      auto victim = pods_.end();
      for (auto it = pods_.begin(); it != pods_.end(); ++it)
        if (it->accelerator == accelerator && (victim == pods_.end() || it->ready_at > victim->ready_at)) victim = it;
      changed("pods", shown(*victim), kube::watch_type::deleted);
      pods_.erase(victim);
    }
  }

  std::string template_accelerator() const {
    return std::string(deployment.at("spec").at("template").at("spec").at("nodeSelector").at("gpu").as_string());
  }
  int replicas() const { return static_cast<int>(deployment.at("spec").at("replicas").as_int64()); }

  bool reconcile() {
    const auto to = template_accelerator();
    const std::string from = to == "A100" ? "MI300X" : "A100";
    const int wanted = replicas();
    const auto& update = deployment.at("spec").at("strategy").at("rollingUpdate");
    const int surge = static_cast<int>(update.at("maxSurge").as_int64());
    const int unavailable = static_cast<int>(update.at("maxUnavailable").as_int64());
    const int updated = size(to), old = size(from), all = updated + old;
    if (scaled_to_ != wanted) {
      scaled_to_ = wanted;
      if (old == 0 || updated == 0) {
        resize(old == 0 ? to : from, wanted);
      } else {
        const int more = wanted + surge - all;
        const int share = more * old / all;
        resize(from, old + share);
        resize(to, updated + more - share);
      }
      return true;
    }
    if (updated > wanted) return resize(to, wanted), true;
    if (old == 0) return updated < wanted ? (resize(to, wanted), true) : false;
    if (const int more = std::min(wanted - updated, wanted + surge - all); more > 0) return resize(to, updated + more), true;
    const int least = wanted - unavailable;
    const int unready = std::min(old - ready(from), all - least - (updated - ready(to)));
    if (unready > 0) return resize(from, old - unready), true;
    const int spare = std::min(ready(from), ready(from) + ready(to) - least);
    if (spare > 0) return resize(from, old - spare), true;
    return false;
  }

  /// The status of the Deployment, and what the controller sees of it.
  void observe() {
    const auto to = template_accelerator();
    for (const auto& p : pods_)
      if (p.ready_at <= now_s() && shown_ready_.insert(p.name).second) changed("pods", shown(p));
    const int all = static_cast<int>(pods_.size()), serving = ready("A100") + ready("MI300X");
    json::object status{{"observedGeneration", deployment.at("metadata").at("generation")},
                        {"replicas", all},
                        {"updatedReplicas", size(to)},
                        {"readyReplicas", serving}};
    const auto progress = std::pair(size(to), ready(to));
    if (std::exchange(progress_, progress) != progress || size(to) == all) progressed_s_ = now_s();
    if (now_s() - progressed_s_ > progress_deadline_s)
      status["conditions"] =
          json::array{json::object{{"type", "Progressing"}, {"status", "False"}, {"reason", "ProgressDeadlineExceeded"}}};
    if (const auto* before = deployment.if_contains("status"); before && *before == json::value(status)) return;
    deployment["status"] = std::move(status);
    show();
  }
  void show() {
    api->stored["deployments"] = deployment;
    changed("deployments", deployment);
  }

  void carry_out(const api_call& call) {
    if (call.verb != "patch" || !call.succeeded || call.subresource == "status") return;
    if (call.plural == "variantautoscalings") {
      if (const auto* labels = call.body.at("metadata").as_object().if_contains("labels")) {
        label_ = std::string(labels->at("inference.optimization/acceleratorName").as_string());
        changed("variantautoscalings", variant());
      }
      return;
    }
    if (call.plural != "deployments") return;
    json::value v(std::move(deployment));
    merge(v, call.subresource == "scale" ? json::value(json::object{{"spec", call.body.at("spec")}}) : call.body);
    deployment = std::move(v.get_object());
    auto& meta = deployment["metadata"].as_object();
    meta["generation"] = meta["generation"].as_int64() + 1;
    meta["resourceVersion"] = std::to_string(meta["generation"].as_int64());
    show();
  }

  std::vector<pod> pods_;
  std::vector<json::object> nodes_;
  std::vector<json::object> configs_ = default_configs();
  std::string label_ = "A100";
  std::set<std::string> shown_ready_;
  std::pair<int, int> progress_{-1, -1};
  double progressed_s_ = 0;
  int made_ = 0, scaled_to_ = 0;
  std::size_t seen_ = 0;
};

TEST(LoadDuringAChange, WithoutAChangeOfTheLoadTheMoveIsMade) {
  rolling w(4, 80);
  w.mi300x_costs(15);
  w.go(20s);
  ASSERT_EQ(w.phase(), "surge");
  w.go(300s);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.size("A100"), 0);
  EXPECT_EQ(w.ready("MI300X"), 1);
  EXPECT_EQ(w.lost, 0);
  EXPECT_THAT(w.events(), ElementsAre("AcceleratorChangeStarted", "AcceleratorChanged"));
}

/// 20 requests a minute rise to 200 before a pod is Ready on the MI300X: an A100 carries 25.3, an MI300X 86.7.
TEST(LoadDuringAChange, ARiseBeforeAPodIsReadyTakesTheMoveBack) {
  for (const double start : {120.0, 1e9}) {
    SCOPED_TRACE(start);
    rolling w(1, 20);
    w.start_s["MI300X"] = start;
    w.mi300x_costs(15);
    w.go(20s);
    ASSERT_EQ(w.phase(), "surge");
    w.per_min = 200;
    w.go(60s);
    EXPECT_EQ(w.phase(), "failed");
    EXPECT_EQ(w.ready("A100"), 8) << "the load is followed where pods are there soon";
    EXPECT_EQ(w.size("MI300X"), 0);
    EXPECT_EQ(w.lost, 0);
    EXPECT_THAT(w.events(), ElementsAre("AcceleratorChangeStarted", "AcceleratorChangeGivenUp"));
    EXPECT_THAT(w.condition_of("OptimizationReady", "v"),
                AllOf(HasSubstr("True Optimized"), HasSubstr("not moved to MI300X for half an hour: the load needed")));
    w.go(1600s);
    EXPECT_EQ(w.size("MI300X"), 0) << "not tried again at once";
    w.go(400s);
    if (start > 1e6) continue;
    EXPECT_EQ(w.ready("MI300X"), 3) << "but later, for the load there is now";
    EXPECT_EQ(w.size("A100"), 0);
    EXPECT_EQ(w.phase(), "none");
    EXPECT_EQ(w.lost, 0);
  }
}

TEST(LoadDuringAChange, ARiseThatThePlannedReplicasWouldCarryIsFollowedToo) {
  rolling w(1, 20);
  w.start_s["MI300X"] = 1e9;
  w.mi300x_costs(15);
  w.go(20s);
  ASSERT_EQ(w.phase(), "surge");
  w.per_min = 70;
  w.go(60s);
  EXPECT_EQ(w.ready("A100"), 3);
}

/// Eight A100 carry 190 a minute; three MI300X are on their way, and some are Ready when the load becomes 340.
TEST(LoadDuringAChange, ARiseAfterTheFirstPodIsReadyBringsMoreOfThem) {
  rolling w(8, 190);
  w.mi300x_costs(15);
  w.go(60s);
  ASSERT_EQ(w.phase(), "surge");
  ASSERT_EQ(decode_change(w.deployment)->replicas, 3);
  w.go(66s);
  ASSERT_GT(w.ready("MI300X"), 0);
  w.per_min = 340;
  w.lost = 0;
  w.go(400s);
  EXPECT_EQ(w.lost, 0);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.size("A100"), 0);
  EXPECT_EQ(w.ready("MI300X"), 4);
  EXPECT_THAT(w.events(), ElementsAre("AcceleratorChangeStarted", "AcceleratorChanged"));
}

/// All that were planned become Ready at the moment when they are too few.
TEST(LoadDuringAChange, TheOldReplicasStayUntilTheNewOnesCarryTheLoad) {
  rolling w(4, 80);
  w.mi300x_costs(15);
  w.go(100s);
  ASSERT_EQ(w.phase(), "surge");
  ASSERT_EQ(w.ready("MI300X"), 0);
  w.per_min = 95;  // four A100 carry 101, one MI300X 87
  w.go(60s);
  EXPECT_GE(w.ready("MI300X"), 1);
  EXPECT_EQ(w.lost, 0);
  EXPECT_GE(w.serves(), 95);
  w.go(400s);
  EXPECT_EQ(w.lost, 0);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.ready("MI300X"), 2);
  EXPECT_EQ(w.size("A100"), 0);
}

TEST(LoadDuringAChange, ARiseWhileTheOldOnesDrainIsFollowed) {
  rolling w(4, 80);
  w.mi300x_costs(15);
  while (w.phase() != "drain" && w.now_s() < 600) w.go(2s);
  ASSERT_EQ(w.phase(), "drain");
  w.per_min = 400;
  w.go(60s);
  EXPECT_EQ(w.size("MI300X"), 5);
  EXPECT_EQ(w.lost, 0);
  w.go(300s);
  EXPECT_EQ(w.ready("MI300X"), 5);
  EXPECT_EQ(w.phase(), "none");
}

TEST(LoadDuringAChange, AFallingLoadHarmsNothing) {
  rolling w(8, 190);
  w.mi300x_costs(15);
  w.go(40s);
  ASSERT_EQ(w.phase(), "surge");
  w.per_min = 20;
  w.go(400s);
  EXPECT_EQ(w.lost, 0);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.size("A100"), 0);
  EXPECT_EQ(w.ready("MI300X"), 1);
}

/// The accelerator it leaves has no GPU more: the only way is forward, with as many replicas as the load needs now.
TEST(LoadDuringAChange, WhereTheOldAcceleratorIsFullTheMoveGoesOnWithMore) {
  rolling w(1, 20, {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 1), node_json("n2", "amd", "AMD-MI300X-192G", 4)});
  w.mi300x_costs(15);
  w.go(20s);
  ASSERT_EQ(w.phase(), "surge");
  w.per_min = 200;
  w.go(40s);
  EXPECT_EQ(w.phase(), "surge");
  EXPECT_EQ(w.size("MI300X"), 3);
  EXPECT_THAT(w.condition_of("OptimizationReady", "v"), HasSubstr("moving from A100 to 3 x MI300X: 0 of them ready"));
  w.go(300s);
  EXPECT_EQ(w.ready("MI300X"), 3);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.lost, 0);
}

/// Two MI300X are all there are.
TEST(LoadDuringAChange, MoreReplicasThanThereAreGpusAreNotAskedFor) {
  rolling w(1, 20, {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 1), node_json("n2", "amd", "AMD-MI300X-192G", 2)});
  w.mi300x_costs(15);
  w.go(20s);
  ASSERT_EQ(w.phase(), "surge");
  w.per_min = 400;
  w.go(60s);
  EXPECT_EQ(decode_change(w.deployment)->replicas, 2);
  w.go(300s);
  EXPECT_EQ(w.ready("MI300X"), 2);
  EXPECT_EQ(w.lost, 0);
}

TEST(LoadDuringAChange, ANewLeaderDrainsNothingBeforeItKnowsTheLoad) {
  rolling w(4, 80);
  w.mi300x_costs(15);
  w.go(110s);
  ASSERT_EQ(w.phase(), "surge");
  w.per_min = 95;
  w.go(4s);
  w.new_leader();
  w.go(60s);
  EXPECT_EQ(w.lost, 0);
  EXPECT_GE(w.serves(), 95);
  w.go(400s);
  EXPECT_EQ(w.lost, 0);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.ready("MI300X"), 2);
}

/// Without metrics nothing is scaled down, and the move comes to its end all the same.
TEST(LoadDuringAChange, AnUnknownLoadKeepsTheNumberOfReplicas) {
  rolling w(4, 80);
  w.mi300x_costs(15);
  w.go(60s);
  ASSERT_EQ(w.phase(), "surge");
  w.silent = true;
  w.go(600s);
  EXPECT_EQ(w.lost, 0);
  EXPECT_EQ(w.phase(), "none");
  EXPECT_EQ(w.ready("MI300X"), 4);
  w.silent = false;
  w.go(200s);
  EXPECT_EQ(w.ready("MI300X"), 1);
}

TEST(LoadDuringAChange, AStuckMoveTakesNoReplicaAwayThatTheLoadNeeds) {
  rolling w(2, 40);
  w.start_s["MI300X"] = 1e9;
  w.mi300x_costs(15);
  w.go(20s);
  ASSERT_EQ(w.phase(), "surge");
  w.go(700s);
  EXPECT_EQ(w.phase(), "failed");
  EXPECT_EQ(w.lost, 0);
  EXPECT_THAT(w.events(), ElementsAre("AcceleratorChangeStarted", "AcceleratorChangeFailed"));
}

}  // namespace
}  // namespace inferno::actors::testing

// From one mix of a pool to another: make before break, by rule and in closed loop with pods that take their time.
#include "actors/pool_change.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using replicas = std::vector<int>;

pool_step step(int has, int ready, int wanted, double rate, double cost = 40, int type = 0) {
  return {has, ready, wanted, false, rate, cost, type, 1, 4};
}

TEST(MakeBeforeBreak, OldReplicasStayUntilTheirSuccessorsAreReady) {
  EXPECT_EQ(make_before_break({step(3, 3, 1, 80), step(0, 0, 1, 722, 100, 1)}, {235, 1, 0}, {}), (replicas{3, 1}));
  EXPECT_EQ(make_before_break({step(3, 3, 1, 80), step(1, 0, 1, 722, 100, 1)}, {235, 1, 0}, {}), (replicas{3, 1}));
  EXPECT_EQ(make_before_break({step(3, 3, 1, 80), step(1, 1, 1, 722, 100, 1)}, {235, 1, 0}, {}), (replicas{1, 1}));
}

TEST(MakeBeforeBreak, FallingDemandDoesNotWaitForWhatNeverBecomesReady) {
  EXPECT_EQ(make_before_break({step(3, 3, 1, 80), step(1, 0, 1, 722, 100, 1)}, {80, 1, 0}, {}), (replicas{1, 1}));
  EXPECT_EQ(make_before_break({step(3, 3, 0, 80), step(1, 0, 1, 722, 100, 1)}, {0, 1, 0}, {}), (replicas{1, 1})) << "one serves";
}

/// Batches of 4: ten requests in flight keep three replicas busy though nothing completes, wherever they are.
TEST(MakeBeforeBreak, BusyServersStayThoughNothingCompletes) {
  EXPECT_EQ(make_before_break({step(5, 5, 1, 80)}, {0, 1, 10}, {}), (replicas{3}));
  EXPECT_EQ(make_before_break({step(5, 5, 0, 80), step(2, 2, 2, 722, 100, 1)}, {0, 1, 10}, {}), (replicas{1, 2}));
  EXPECT_EQ(make_before_break({step(2, 2, 0, 80)}, {0, 1, 100}, {}), (replicas{2})) << "what does not fit is no reason to buy";
}

TEST(MakeBeforeBreak, UnderOverloadWhatIsThereStays) {
  EXPECT_EQ(make_before_break({step(3, 2, 0, 80), step(0, 0, 5, 722, 100, 1)}, {1000, 1, 0}, {}), (replicas{3, 5}))
      << "one of the three is starting";
}

// Replicas of the other kind would start no sooner than those that are about to be Ready.
TEST(MakeBeforeBreak, WhatStartsInOverloadIsNotGivenUpForWhatWouldHaveToStart) {
  EXPECT_EQ(make_before_break({step(6, 2, 2, 80), step(1, 1, 2, 300, 100, 1)}, {760, 1, 0}, {}), (replicas{6, 2}));
  EXPECT_EQ(make_before_break({step(6, 6, 2, 80), step(2, 1, 2, 300, 100, 1)}, {760, 1, 0}, {}), (replicas{6, 2}));
  EXPECT_EQ(make_before_break({step(6, 6, 2, 80), step(2, 2, 2, 300, 100, 1)}, {760, 1, 0}, {}), (replicas{2, 2}));
  EXPECT_EQ(make_before_break({step(6, 2, 2, 80), step(2, 2, 2, 300, 100, 1)}, {760, 1, 0}, {}), (replicas{2, 2}))
      << "what is Ready carries it";
  EXPECT_EQ(make_before_break({step(6, 2, 2, 80), step(1, 1, 2, 300, 100, 1)}, {760, 1, 0}, {6, 1}), (replicas{6, 1}))
      << "no GPU of the other kind";
}

/// Both on GPUs of one type, of which 20 are there and used: one at a time.
TEST(MakeBeforeBreak, WithoutGpusForBothOneGoesForOneThatComes) {
  EXPECT_EQ(make_before_break({step(20, 20, 0, 10), step(0, 0, 20, 10)}, {200, 1, 0}, {20}), (replicas{19, 1}));
  EXPECT_EQ(make_before_break({step(19, 19, 0, 10), step(1, 0, 20, 10)}, {200, 1, 0}, {20}), (replicas{19, 1}))
      << "one is on its way";
  EXPECT_EQ(make_before_break({step(19, 19, 0, 10), step(1, 1, 20, 10)}, {200, 1, 0}, {20}), (replicas{18, 2}));
  EXPECT_EQ(make_before_break({step(20, 20, 0, 10), step(0, 0, 20, 10)}, {200, 1, 0}, {25}), (replicas{20, 5}))
      << "five fit beside";
}

TEST(MakeBeforeBreak, WhatOthersAreToHaveIsGivenAway) {
  EXPECT_EQ(make_before_break({step(5, 5, 2, 10), step(0, 0, 1, 30, 40, 1)}, {50, 1, 0}, {3, 1}), (replicas{3, 1}));
}

/// Random pools with GPUs enough, replicas becoming Ready in random order: what serves is never less than the demand, or than
/// what served before, and the plan is reached.
TEST(MakeBeforeBreak, NeverServesLessAndAlwaysArrives) {
  std::mt19937 engine(11);
  const auto upto = [&](int n) { return std::uniform_int_distribution<>(0, n)(engine); };
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    const bool scarce = i % 2 == 1;
    std::vector<pool_step> pool;
    double planned = 0;
    std::vector<int> at_first(3), at_last(3), gpus(3);
    for (int m = 0; m < 2 + upto(2); ++m) {
      const int has = upto(8);
      pool.push_back({has, has, upto(8), false, 1.0 + upto(20), 10.0 + upto(50), upto(2), 1 + upto(1), 4});
      const auto& s = pool.back();
      planned += s.wanted * s.rate;
      at_first[static_cast<std::size_t>(s.type)] += s.has * s.units;
      at_last[static_cast<std::size_t>(s.type)] += s.wanted * s.units;
    }
    for (std::size_t t = 0; t < 3; ++t) gpus[t] = scarce ? std::max(at_first[t], at_last[t]) : at_first[t] + at_last[t];
    if (planned == 0) continue;  // one of them stays for that
    const double demand = planned * std::uniform_real_distribution<>(0.2, 1)(engine);
    const auto serves = [&] {
      double sum = 0;
      for (const auto& s : pool) sum += s.ready * s.rate;
      return sum;
    };
    bool arrived = false;
    for (int round = 0; round < 200 && !arrived; ++round) {
      const double before = serves();
      const auto now = make_before_break(pool, {demand, 1, 0}, gpus);
      std::vector<int> held(3);
      arrived = true;
      for (std::size_t m = 0; m < pool.size(); ++m) {
        auto& s = pool[m];
        arrived = arrived && now[m] == s.wanted && s.ready == s.wanted;
        s.has = now[m];
        s.ready = std::min(s.ready, s.has);
        held[static_cast<std::size_t>(s.type)] += s.has * s.units;
      }
      for (std::size_t t = 0; t < 3; ++t) EXPECT_LE(held[t], gpus[t]);
      if (!scarce) {
        EXPECT_GE(serves(), std::min(demand, before) * (1 - 1e-9));
      }
      for (auto& s : pool) s.ready = std::min(s.has, s.ready + upto(2));
    }
    EXPECT_TRUE(arrived);
  }
}

// ---- closed loop --------------------------------------------------------------------------------------------------------------

/// Deployments whose pods are Ready `start` after they are asked for; one load balancer shares the requests among those that are,
/// in proportion to their rates.
class slow_pods : public world {
 public:
  struct deployment {
    double rate = 0;  ///< requests/min of a pod within the targets
    int replicas = 0;
    std::vector<double> ready_at;  ///< of each pod
  };

  void begin(const std::map<std::string, int>& replicas_of, std::vector<json::object> variants,
             std::chrono::seconds interval = 10s) {
    cluster_follows = false;
    source->respond = [this](const std::vector<scrape_target>& targets, double now) {
      auto out = std::make_shared<collected_metrics>();
      double sum = 0;
      for (const auto& t : targets) sum += all.at(app_of(t)).rate;
      for (const auto& t : targets) out->pods.push_back(healthy_sample(t, now, per_min * all.at(app_of(t)).rate / sum));
      return out;
    };
    std::vector<json::object> deployments, pods;
    for (const auto& [name, n] : replicas_of) {
      auto& d = all[name];
      d.rate = name.rfind("on-m", 0) == 0 ? 86.7 : 25.3;
      d.replicas = n;
      d.ready_at.assign(static_cast<std::size_t>(n), now_s());
      deployments.push_back(object_of(name));
      for (int i = 0; i < n; ++i) pods.push_back(pod_of(name, i));
    }
    auto configs = default_configs();
    const auto seconds = fmt::format("{}s", interval.count());
    configs[0] = settings_json({{"GLOBAL_OPT_INTERVAL", seconds}});
    configs[1] = config_json(
        std::string(accelerators_map),
        {{"A100", R"({"device":"NVIDIA-A100-PCIE-80GB","cost":"40.00","nodeSelector":{"gpu":"A100"}})"},
         {"MI300X", R"({"device":"AMD-MI300X-192G","cost":"65.00","nodeSelector":{"gpu":"MI300X"},"resource":"amd.com/gpu"})"}});
    replaced("nodes", nodes);
    replaced("configmaps", std::move(configs));
    replaced("deployments", std::move(deployments));
    replaced("pods", std::move(pods));
    replaced("variantautoscalings", std::move(variants));
  }

  static json::object pod_of(const std::string& name, int i) {
    return pod_json("llm", fmt::format("{}-{}", name, i), name, true, name.rfind("on-m", 0) == 0 ? "n2" : "n1");
  }
  json::object object_of(const std::string& name) {
    auto o = deployment_json("llm", name, all.at(name).replicas);
    o["status"].as_object()["readyReplicas"] = ready(name);
    return o;
  }
  int ready(const std::string& name) {
    const auto& d = all.at(name);
    const auto cap = most_ready.count(name) ? most_ready.at(name) : std::numeric_limits<int>::max();
    return std::min(
        cap, static_cast<int>(std::count_if(d.ready_at.begin(), d.ready_at.end(), [&](double at) { return at <= now_s(); })));
  }
  double serves() {
    double sum = 0;
    for (const auto& [name, d] : all) sum += ready(name) * d.rate;
    return sum;
  }

  /// Time goes by; the least that served relative to what was there at the beginning, or is wanted, is kept in `least`.
  void go(std::chrono::seconds time) {
    for (auto t = 0s; t < time; t += 2s) {
      std::map<std::string, int> before;
      for (const auto& [name, d] : all) before[name] = ready(name);
      advance(2s);
      for (; seen_ < api->calls.size(); ++seen_) carry_out(api->calls[seen_]);
      for (auto& [name, d] : all)
        if (ready(name) != before[name] || d.replicas != shown_[name]) show(name, before[name]);
      least = std::min(least, serves());
      for (const auto& [name, d] : all) most[name] = std::max(most[name], d.replicas);
    }
  }

  /// Its pods fail, and none is Ready for so long.
  void fail(const std::string& name, double for_s) {
    const int before = ready(name);
    for (auto& at : all.at(name).ready_at) at = now_s() + for_s;
    show(name, before);
  }
  void remove_deployment(const std::string& name) {
    const auto gone = object_of(name);
    fail(name, 1e9);
    all.at(name) = {all.at(name).rate, 0, {}};
    changed("deployments", gone, kube::watch_type::deleted);
    shown_[name] = 0;
  }

  /// No more than so many of its pods ever become Ready.
  void limit(const std::string& name, int pods) { most_ready[name] = pods; }

  std::map<std::string, deployment> all;
  std::map<std::string, int> most_ready;
  std::vector<json::object> nodes = roomy_nodes();
  std::map<std::string, int> most;
  double per_min = 0;
  double start_s = 180;
  double least = INFINITY;

 private:
  void carry_out(const api_call& call) {
    if (call.verb != "patch" || call.plural != "deployments" || call.subresource != "scale" || !call.succeeded) return;
    auto& d = all.at(call.key.name);
    d.replicas = static_cast<int>(call.body.at("spec").at("replicas").as_int64());
    // Those that are not Ready go first.
    std::sort(d.ready_at.begin(), d.ready_at.end());
    d.ready_at.resize(static_cast<std::size_t>(d.replicas), now_s() + start_s);
  }
  void show(const std::string& name, int before) {
    const int now = ready(name);
    for (int i = 0; i < std::max(now, before); ++i)
      changed("pods", pod_of(name, i), i < now ? kube::watch_type::modified : kube::watch_type::deleted);
    shown_[name] = all.at(name).replicas;
    changed("deployments", object_of(name));
  }

  std::size_t seen_ = 0;
  std::map<std::string, int> shown_;
};

json::object pooled(const std::string& name, const std::string& accelerator, int least = 0) {
  auto o = va_json("llm", name, fmt::format(R"(,"minReplicas":{})", least));
  o["metadata"].as_object()["labels"].as_object()["inference.optimization/acceleratorName"] = accelerator;
  o["metadata"].as_object().erase("annotations");
  return o;
}

/// 70 requests a minute: three A100 (25.3 each) cost 120 cents/h, one MI300X (86.7) 65.
TEST(PoolInClosedLoop, ServesTheDemandThroughAChangeOfItsMix) {
  slow_pods w;
  w.per_min = 70;
  w.begin({{"on-a", 3}, {"on-m", 0}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
  w.go(100s);
  EXPECT_EQ(w.all["on-m"].replicas, 1) << "the cheaper one is started";
  EXPECT_EQ(w.all["on-a"].replicas, 3);
  w.go(500s);
  EXPECT_GE(w.least, 70) << "what is Ready never serves less than what arrives";
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_EQ(w.all["on-a"].replicas, 0) << "once the other is Ready, the old ones go";
  // While traffic moves, the rate of those that lose it falls later than that of the others rises.
  EXPECT_EQ(w.most["on-a"], 3);
  EXPECT_LE(w.most["on-m"], 2);
  const auto patches = w.scale_patches();
  w.go(600s);
  EXPECT_EQ(w.scale_patches(), patches) << "and that is all";
}

/// 80 a minute: an MI300X beside the A100 there is costs 105 cents/h, three A100 more 120.
TEST(PoolInClosedLoop, AMemberThatIsStartingCounts) {
  slow_pods w;
  w.per_min = 20;
  w.begin({{"on-a", 1}, {"on-m", 0}}, {pooled("on-a", "A100", 1), pooled("on-m", "MI300X")});
  w.go(200s);
  w.per_min = 80;
  w.most.clear();
  w.go(170s);
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_LE(w.most["on-a"], 2) << "two serve what is seen of the step at first; more would start no sooner";
  w.go(430s);
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_EQ(w.all["on-a"].replicas, 1);
  // While traffic moves, it is counted at both for a moment.
  EXPECT_LE(w.most["on-a"], 2);
  EXPECT_LE(w.most["on-m"], 2);
}

TEST(PoolInClosedLoop, AMemberThatDoesNotStartIsDoneWithout) {
  slow_pods w;
  w.per_min = 20;
  w.begin({{"on-a", 1}, {"on-m", 0}}, {pooled("on-a", "A100", 1), pooled("on-m", "MI300X")});
  w.go(200s);
  w.start_s = 1e9;
  w.per_min = 80;
  w.go(300s);
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_EQ(w.all["on-a"].replicas, 1);
  w.go(500s);
  EXPECT_EQ(w.all["on-a"].replicas, 4) << "after ten minutes";
}

/// Nothing tells what arrives any more; what did is known.
TEST(PoolInClosedLoop, WhatIsLeftOfAPoolServesWhatTheLastServerOfItServed) {
  slow_pods w;
  w.per_min = 70;
  w.begin({{"on-a", 0}, {"on-m", 1}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
  w.go(200s);
  ASSERT_EQ(w.all["on-a"].replicas, 0);
  w.remove_deployment("on-m");
  w.go(60s);
  EXPECT_EQ(w.all["on-a"].replicas, 3) << "of 25.3 requests a minute";
  w.go(600s);
  EXPECT_EQ(w.all["on-a"].replicas, 3) << "now they are measured";
  EXPECT_EQ(w.most["on-a"], 3);
  w.per_min = 20;
  w.go(300s);
  EXPECT_EQ(w.all["on-a"].replicas, 1) << "and what was before counts no more";
}

TEST(PoolInClosedLoop, PodsThatFailAreWaitedForAndThenReplaced) {
  for (const double down_s : {200.0, 1e9}) {
    SCOPED_TRACE(down_s);
    slow_pods w;
    w.per_min = 70;
    w.begin({{"on-a", 0}, {"on-m", 1}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
    w.go(200s);
    w.fail("on-m", down_s);
    w.go(500s);
    EXPECT_EQ(w.all["on-a"].replicas, 0) << "another would start no sooner";
    EXPECT_EQ(w.all["on-m"].replicas, 1);
    w.go(400s);
    EXPECT_EQ(w.all["on-a"].replicas, down_s < 600 ? 0 : 3);
    EXPECT_EQ(w.all["on-m"].replicas, 1);
    EXPECT_EQ(w.serves() >= 70, true);
  }
}

/// One MI300X serves 86.7 a minute and no node takes a second one; A100s of 25.3 there are. 200 a minute need three or four of
/// them beside it.
TEST(PoolInClosedLoop, WhatNoNodeTakesIsServedByOthers) {
  slow_pods w;
  w.per_min = 60;
  w.begin({{"on-a", 1}, {"on-m", 1}}, {pooled("on-a", "A100", 1), pooled("on-m", "MI300X")});
  w.limit("on-m", 1);
  w.go(200s);
  w.per_min = 200;
  w.go(500s);
  EXPECT_GE(w.all["on-m"].replicas, 2) << "it may come yet";
  w.go(500s);
  EXPECT_GE(w.serves(), 200) << "after ten minutes";
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_LE(w.most["on-a"], 6);
  // Half an hour later a node takes more.
  w.most_ready.clear();
  w.go(2400s);
  EXPECT_GE(w.serves(), 200);
  EXPECT_GE(w.all["on-m"].replicas, 2);
  EXPECT_LE(w.all["on-a"].replicas, 2);
}

/// There are two A100 beside the MI300X: where all that is counted on does not carry the load, more is asked for.
TEST(PoolInClosedLoop, WhatDidNotBecomeReadyIsTriedAgainWhereOthersAreTooFew) {
  slow_pods w;
  w.nodes = {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 2), node_json("n2", "amd", "AMD-MI300X-192G", 64)};
  w.per_min = 220;
  w.begin({{"on-a", 0}, {"on-m", 3}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
  w.limit("on-m", 2);
  w.go(700s);
  EXPECT_EQ(w.all["on-m"].replicas, 2) << "a sick pod is done without";
  w.go(200s);
  EXPECT_GE(w.serves(), 220);
  w.most_ready.clear();
  w.per_min = 480;
  w.go(300s);
  EXPECT_GE(w.serves(), 480);
  EXPECT_LE(w.all["on-m"].replicas, 7);
}

/// In metric mode, and no HorizontalPodAutoscaler reads the metric, or one that does not act.
TEST(PoolInClosedLoop, WhatNobodyScalesIsServedByOthers) {
  for (const bool autoscaler : {false, true}) {
    SCOPED_TRACE(autoscaler);
    slow_pods w;
    w.per_min = 60;
    auto m = pooled("on-m", "MI300X");
    m["spec"].as_object()["actuationMode"] = "metric";
    w.begin({{"on-a", 1}, {"on-m", 1}}, {pooled("on-a", "A100", 1), m});
    if (autoscaler)
      w.changed("horizontalpodautoscalers",
                json::object{{"metadata", {{"namespace", "llm"}, {"name", "h"}}},
                             {"spec",
                              {{"scaleTargetRef", {{"apiVersion", "apps/v1"}, {"kind", "Deployment"}, {"name", "on-m"}}},
                               {"minReplicas", 1},
                               {"maxReplicas", 10}}}});
    w.go(200s);
    w.per_min = 200;
    w.go(autoscaler ? 900s : 400s);
    EXPECT_EQ(w.all["on-m"].replicas, 1);
    EXPECT_GE(w.serves(), 200);
    w.least = INFINITY;
    w.go(1200s);
    EXPECT_GE(w.least, 200) << "and goes on being so";
    EXPECT_LE(w.most["on-a"], 6);
  }
}

TEST(PoolInClosedLoop, ALoweredMaximumIsFollowed) {
  slow_pods w;
  w.per_min = 170;
  w.begin({{"on-a", 1}, {"on-m", 2}}, {pooled("on-a", "A100", 1), pooled("on-m", "MI300X")});
  w.go(200s);
  auto changed = pooled("on-m", "MI300X");
  changed["spec"].as_object()["maxReplicas"] = 1;
  changed["metadata"].as_object()["generation"] = 2;
  w.changed("variantautoscalings", changed);
  w.go(600s);
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_EQ(w.all["on-a"].replicas, 4);
  EXPECT_GE(w.serves(), 170);
}

/// Requests arrive at random at a constant rate, in whose minutes now one mix is the cheapest and now the other: an MI300X and an
/// A100 carry 112 a minute for 105 cents/h, two MI300X 173 for 130.
TEST(PoolInClosedLoop, ChanceDoesNotChangeTheMix) {
  int starts = 0;
  for (const double mean : {95, 100, 110, 115}) {
    SCOPED_TRACE(mean);
    slow_pods w;
    std::mt19937 random(static_cast<unsigned>(mean));
    w.per_min = mean;
    w.start_s = 90;
    w.begin({{"on-a", 1}, {"on-m", 1}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
    const auto go = [&](double seconds) {
      for (double t = 0; t < seconds; t += 2) {
        w.per_min = 30 * std::poisson_distribution<>(mean / 30)(random);
        w.go(2s);
      }
    };
    go(900);
    std::map<std::string, int> had;
    for (const auto& [name, d] : w.all) had[name] = d.replicas;
    double cents = 0;
    for (int second = 0; second < 7200; second += 10) {
      go(10);
      for (const auto& [name, d] : w.all) {
        starts += std::max(0, d.replicas - had[name]);
        had[name] = d.replicas;
        cents += d.replicas * (name == "on-a" ? 40 : 65) * 10 / 3600.0;
      }
    }
    EXPECT_LE(cents, 2 * 131) << "no dearer than two MI300X for two hours";
  }
  EXPECT_LE(starts, 40) << "in eight hours: peaks that what is there does not carry";
}

TEST(PoolInClosedLoop, AReplacementThatNeverBecomesReadyHoldsNothingUp) {
  slow_pods w;
  w.per_min = 70;
  w.start_s = 1e9;
  w.begin({{"on-a", 3}, {"on-m", 0}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
  w.go(400s);
  EXPECT_EQ(w.all["on-a"].replicas, 3);
  EXPECT_GE(w.least, 70);
  w.per_min = 20;
  w.go(300s);
  EXPECT_EQ(w.all["on-a"].replicas, 1) << "falling demand scales down";
  EXPECT_THAT(w.scale_patches("on-m"), ElementsAre(1));
  const auto patches = w.scale_patches("on-a");
  EXPECT_TRUE(std::is_sorted(patches.rbegin(), patches.rend())) << "and never up again";
}

/// Eight hours of a little traffic: one replica, the cheapest, and not one of each type.
TEST(PoolInClosedLoop, KeepsOneReplicaNotOneOfEachType) {
  slow_pods w;
  w.per_min = 10;
  w.begin({{"on-a", 1}, {"on-m", 1}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X")});
  w.go(300s);
  EXPECT_EQ(w.all["on-a"].replicas, 1);
  EXPECT_EQ(w.all["on-m"].replicas, 0);
  w.go(1200s);
  EXPECT_THAT(w.scale_patches("on-m"), ElementsAre(0)) << "it does not come back";
  EXPECT_THAT(w.scale_patches("on-a"), IsEmpty());
  EXPECT_GE(w.least, 10);
  const auto events = w.api->calls_to("create", "events");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_THAT(std::string(events[0].body.at("message").as_string()),
              HasSubstr("from 1 to 0 replicas on MI300X, for its part of the"));
  const auto none = w.view->plan()->decisions.find({"llm", "on-m"});
  EXPECT_EQ(none->desired.accelerator, "MI300X");
  EXPECT_EQ(none->desired.itl_ms + none->desired.ttft_ms, 0) << "nothing is predicted for nothing";
}

TEST(PoolInClosedLoop, MinReplicasOfAMemberIsWhatItsSpecSays) {
  slow_pods w;
  w.per_min = 10;
  w.begin({{"on-a", 1}, {"on-m", 1}}, {pooled("on-a", "A100"), pooled("on-m", "MI300X", 1)});
  w.go(600s);
  EXPECT_EQ(w.all["on-m"].replicas, 1);
  EXPECT_EQ(w.all["on-a"].replicas, 0) << "the other one serves all";
}

/// 500 requests a minute: 20 A100 cost 800 cents/h, six MI300X 390. The member that may move does, through the machinery that
/// keeps the old replicas until the new ones are Ready.
TEST(PoolInClosedLoop, AMemberThatMayMoveGoesToItsBestAccelerator) {
  slow_pods w;
  w.per_min = 500;
  auto moves = pooled("on-a1", "A100");
  moves["spec"].as_object()["keepAccelerator"] = false;
  w.begin({{"on-a1", 20}, {"on-a2", 0}}, {moves, pooled("on-a2", "A100")});
  w.go(120s);
  const auto desired = w.status("on-a1").at("desiredOptimizedAlloc").as_object();
  EXPECT_EQ(desired.at("accelerator"), "MI300X");
  EXPECT_EQ(desired.at("numReplicas"), 6);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "not by scaling the old ones";
  EXPECT_GE(w.least, 500);
}

/// Members that differ in nothing: nobody starts what another one has.
TEST(PoolInClosedLoop, EqualMembersKeepTheirReplicas) {
  slow_pods w;
  w.per_min = 240;
  w.begin({{"on-a1", 10}, {"on-a2", 1}}, {pooled("on-a1", "A100"), pooled("on-a2", "A100")});
  w.go(600s);
  EXPECT_EQ(w.all["on-a1"].replicas, 9);
  EXPECT_EQ(w.all["on-a2"].replicas, 1);
  EXPECT_GE(w.least, 240);
}

}  // namespace
}  // namespace inferno::actors::testing

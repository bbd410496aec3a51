// To zero and back: after the retention without a request, and for requests that wait at the gateway.
#include <gmock/gmock.h>

#include "cluster.hpp"

namespace inferno::actors {
namespace {

using namespace testing;
using namespace std::chrono_literals;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::vector<json::object> configs(const std::string& retention = "120s") {
  auto all = default_configs();
  all[0] = settings_json(
      {{"GLOBAL_OPT_INTERVAL", "10s"}, {"SCALE_DOWN_STABILIZATION", "10s"}, {"SCALE_TO_ZERO_RETENTION", retention}});
  return all;
}

json::object zero_variant(const std::string& name, const std::string& accelerator = "A100", bool pooled = false) {
  auto o = va_json("llm", name, R"(,"minReplicas":0)");
  auto& meta = o["metadata"].as_object();
  meta["labels"].as_object()["inference.optimization/acceleratorName"] = accelerator;
  if (pooled) meta.erase("annotations");
  return o;
}

/// Requests that wait at the gateway for the model `default` in namespace llm, besides what the servers say.
struct gateway {
  explicit gateway(world& w) : w_(w) {}
  void queue(double size, const std::string& ns = "llm", const std::string& model = "default") {
    w_.source->respond = [this, size, ns, model](const std::vector<scrape_target>& targets, double now) {
      auto out = std::make_shared<collected_metrics>();
      out->queues.push_back({ns, model, size});
      for (const auto& t : targets) out->pods.push_back(healthy_sample(t, now, rate));
      for (auto& p : out->pods) {
        p.load.running = running;
        p.load.waiting = waiting;
      }
      return out;
    };
  }
  /// The source knows no queue of any gateway.
  void gone() {
    w_.source->respond = [this](const std::vector<scrape_target>& targets, double now) {
      auto out = std::make_shared<collected_metrics>();
      for (const auto& t : targets) out->pods.push_back(healthy_sample(t, now, rate));
      return out;
    };
  }
  double rate = 0, running = 0, waiting = 0;

 private:
  world& w_;
};

TEST(Zero, GoesAfterTheRetentionAndNoSooner) {
  world w;
  gateway g(w);
  g.queue(0);
  populate(w, {"a"}, {zero_variant("a")}, 1, configs());
  w.advance(100s);
  EXPECT_THAT(w.scale_patches("a"), IsEmpty());
  w.advance(40s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(0));
  w.advance(300s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(0));
  const auto status = w.status("a");
  const auto& desired = status.at("desiredOptimizedAlloc").as_object();
  EXPECT_EQ(desired.at("numReplicas"), 0);
  EXPECT_EQ(desired.at("accelerator").as_string(), "A100");
}

TEST(Zero, NeverWithoutMinReplicasZero) {
  world w;
  gateway g(w);
  g.queue(0);
  populate(w, {"a"}, {va_json("llm", "a")}, 1, configs("0s"));
  w.advance(300s);
  EXPECT_THAT(w.scale_patches("a"), IsEmpty());
}

TEST(Zero, ARequestBeginsTheRetentionAnew) {
  world w;
  gateway g(w);
  g.queue(0);
  populate(w, {"a"}, {zero_variant("a")}, 1, configs());
  w.advance(100s);
  g.rate = 1;
  w.advance(4s);
  g.rate = 0;
  w.advance(100s);
  EXPECT_THAT(w.scale_patches("a"), IsEmpty());
  w.advance(60s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(0));
}

TEST(Zero, NeverWithRequestsRunningOrQueued) {
  for (const bool running : {true, false}) {
    world w;
    gateway g(w);
    (running ? g.running : g.waiting) = 1;
    g.queue(0);
    populate(w, {"a"}, {zero_variant("a")}, 1, configs());
    w.advance(600s);
    EXPECT_THAT(w.scale_patches("a"), IsEmpty()) << (running ? "running" : "waiting");
  }
  world w;
  gateway g(w);
  g.queue(1);
  populate(w, {"a"}, {zero_variant("a")}, 1, configs());
  w.advance(600s);
  EXPECT_THAT(w.scale_patches("a"), IsEmpty()) << "at the gateway";
}

TEST(Zero, NeverOnSilence) {
  world w;
  w.source->respond = [](const auto&, double) { return std::make_shared<collected_metrics>(); };
  populate(w, {"a"}, {zero_variant("a")}, 1, configs());
  w.advance(600s);
  EXPECT_THAT(w.scale_patches("a"), IsEmpty());
  // One of two pods is silent: it may be the one that is busy.
  world half;
  load_each(half, {{"a", 0}}, [](pod_sample& s) { return s.pod.name != "a-1"; });
  populate(half, {"a"}, {zero_variant("a")}, 2, configs());
  half.advance(600s);
  EXPECT_THAT(half.scale_patches("a"), Not(Contains(0)));
}

// At zero replicas only the gateway's queue tells of requests. Where none is known the last replica stays.
TEST(Zero, NeverWhereNothingCouldWakeIt) {
  for (const bool scraped : {false, true}) {
    world w;
    w.source->gateways = !scraped;
    gateway g(w);
    g.gone();
    populate(w, {"a"}, {zero_variant("a")}, 2, configs());
    w.advance(600s);
    EXPECT_THAT(w.scale_patches("a"), ElementsAre(1)) << "it follows its load, down to the last replica";
    const auto said = w.condition_of("MetricsAvailable", "a");
    EXPECT_THAT(said, HasSubstr("True NoWakeUpSource"));
    EXPECT_THAT(said, HasSubstr("not scaled to zero because nothing could wake it"));
    EXPECT_THAT(said, HasSubstr(scraped ? "--metrics-source prometheus" : "llm_d_epp_flow_control_queue_size"));
  }
}

TEST(Zero, GoesOnceTheGatewaysQueueIsKnown) {
  world w;
  gateway g(w);
  g.queue(0, "llm", "another-model");
  populate(w, {"a"}, {zero_variant("a")}, 1, configs());
  w.advance(300s);
  EXPECT_THAT(w.scale_patches("a"), IsEmpty());
  EXPECT_THAT(w.condition_of("MetricsAvailable", "a"), HasSubstr("no llm_d_epp_flow_control_queue_size of model default"));
  g.queue(0);
  w.advance(30s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(0));
  EXPECT_THAT(w.condition_of("MetricsAvailable", "a"), Not(HasSubstr("NoWakeUpSource")));
}

TEST(Zero, SaysThatNothingCanWakeIt) {
  for (const bool scraped : {false, true}) {
    world w;
    w.source->gateways = !scraped;
    gateway g(w);
    g.gone();
    populate(w, {"a", "b"}, {zero_variant("a"), va_json("llm", "b")}, 0, configs());
    w.changed("deployments", deployment_json("llm", "b", 1));
    w.changed("pods", pod_json("llm", "b-0", "b"));
    w.advance(60s);
    EXPECT_THAT(w.scale_patches("a"), IsEmpty());
    const auto said = w.condition_of("MetricsAvailable", "a");
    EXPECT_THAT(said, HasSubstr("False NoWakeUpSource: at zero replicas"));
    EXPECT_THAT(said, HasSubstr(scraped ? "--metrics-source prometheus" : "llm_d_epp_flow_control_queue_size"));
    if (scraped) continue;
    g.queue(0);
    w.advance(30s);
    EXPECT_THAT(w.condition_of("MetricsAvailable", "a"), HasSubstr("False NoReadyPods"));
    g.queue(2);
    w.advance(10s);
    EXPECT_THAT(w.scale_patches("a"), ElementsAre(1));
  }
}

TEST(Zero, WakesForRequestsAtTheGateway) {
  world w;
  gateway g(w);
  g.queue(0);
  populate(w, {"a"}, {zero_variant("a")}, 0, configs());
  w.advance(60s);
  ASSERT_THAT(w.scale_patches("a"), IsEmpty());
  g.queue(3, "elsewhere");
  w.advance(20s);
  ASSERT_THAT(w.scale_patches("a"), IsEmpty()) << "another namespace's requests";
  g.queue(3, "llm", "another-model");
  w.advance(20s);
  ASSERT_THAT(w.scale_patches("a"), IsEmpty()) << "another model's requests";
  g.queue(3);
  w.advance(4s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(1)) << "within two looks at the metrics, not at the next cycle";
  g.queue(0);
  w.advance(60s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(1)) << "the retention begins when it has woken";
  w.advance(100s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(1, 0));
}

TEST(Zero, AQueueOfUnknownNamespaceIsEverybodys) {
  world w;
  gateway g(w);
  g.queue(1, "");
  populate(w, {"a"}, {zero_variant("a")}, 0, configs());
  w.advance(10s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(1));
}

TEST(Zero, AFullQueueWakesMoreThanOne) {
  world w;
  gateway g(w);
  g.queue(0);
  populate(w, {"a"}, {zero_variant("a")}, 1, configs());
  g.rate = 5;  // the lengths of its requests are known from before
  w.advance(30s);
  g.rate = 0;
  w.advance(250s);
  ASSERT_THAT(w.scale_patches("a"), ElementsAre(0));
  g.queue(60);
  w.advance(4s);
  EXPECT_THAT(w.scale_patches("a"), ElementsAre(0, 3)) << "60 requests within a minute, 25.3 a replica";
}

/// An A100 costs 40, an MI300X 65; a G2, of which there is none, 23.
TEST(Zero, TheCheapestOfAPoolWakesAlone) {
  world w;
  gateway g(w);
  g.queue(0);
  w.cluster_follows = false;  // its pods take their time
  populate(w, {"on-a", "on-m"}, {zero_variant("on-a", "A100", true), zero_variant("on-m", "MI300X", true)}, 0, configs());
  w.advance(30s);
  g.queue(4);
  w.advance(4s);
  EXPECT_THAT(w.scale_patches("on-a"), ElementsAre(1));
  EXPECT_THAT(w.condition_of("OptimizationReady", "on-a"), HasSubstr("requests wait at the gateway"));
  EXPECT_THAT(w.scale_patches("on-m"), IsEmpty());
  // The Deployment has its replica, the pod is not ready yet, and requests still wait.
  w.changed("deployments", deployment_json("llm", "on-a", 1));
  w.advance(200s);
  EXPECT_THAT(w.scale_patches("on-m"), IsEmpty()) << "one is starting";
  w.advance(200s);
  EXPECT_THAT(w.scale_patches("on-m"), ElementsAre(1)) << "it takes too long";
}

TEST(Zero, WithoutCardsForTheCheapestTheNextWakes) {
  world w;
  gateway g(w);
  g.queue(4);
  populate(w, {"on-a", "on-m"}, {zero_variant("on-a", "A100", true), zero_variant("on-m", "MI300X", true)}, 0, configs());
  w.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 0));
  w.advance(20s);
  EXPECT_THAT(w.scale_patches("on-a"), IsEmpty());
  EXPECT_THAT(w.scale_patches("on-m"), ElementsAre(1));
}

TEST(Zero, ArrivalsElsewhereInThePoolWakeTheOther) {
  world w;
  load_each(w, {{"on-a", 80}});
  auto small = zero_variant("on-a", "A100", true);
  small["spec"].as_object()["maxReplicas"] = 1;
  small["spec"].as_object()["minReplicas"] = 1;
  populate(w, {"on-a"}, {small, zero_variant("on-m", "MI300X", true)}, 1, configs());
  w.changed("deployments", deployment_json("llm", "on-m", 0));
  w.advance(30s);
  EXPECT_THAT(w.scale_patches("on-m"), ElementsAre(1)) << "80 a minute are more than an A100 can take";
}

TEST(Zero, ABadRetentionIsRefusedByName) {
  world w;
  gateway g(w);
  g.queue(0);
  populate(w, {"a"}, {zero_variant("a")}, 1, configs("soon"));
  w.advance(10s);
  EXPECT_TRUE(w.logged({"SCALE_TO_ZERO_RETENTION", "soon"}));
}

}  // namespace
}  // namespace inferno::actors

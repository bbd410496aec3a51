// The join of Deployments, pods and variants, and the GPUs that are left for the variants.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/cluster_state.hpp"
#include "actors/decode.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

const std::string a100 = "NVIDIA-A100-PCIE-80GB";
const variant_key chat{"llm", "chat"};

/// A cluster_state fed with Kubernetes JSON; `last` holds what the newest event changed.
struct cluster {
  template <class Object>
  void put(const Object& o) {
    last = {};
    state.upsert(o, last);
  }
  void variant(const std::string& name, const std::string& extra = "", int generation = 1) {
    put(decode_variant(va_json("llm", name, extra, "default", "20.58", generation)));
  }
  void deployment(const std::string& name, int replicas = 1) {
    put(decode_workload(deployment_json("llm", name, replicas), "Deployment"));
  }
  void pod(const std::string& name, const std::string& app, bool ready = true, const std::string& node = "n1", int gpus = 1,
           const std::string& ns = "llm") {
    put(decode_pod(pod_json(ns, name, app, ready, node, gpus)));
  }
  void node(const std::string& name, int gpus, const std::string& product = a100) {
    put(decode_node(node_json(name, "nvidia", product, gpus)));
  }
  int left(const std::string& product = a100) const { return state.capacity().by_device.at(product); }

  cluster_state state;
  state_changes last;
};

TEST(ClusterState, JoinsPodsToVariantsWhateverComesFirst) {
  const std::vector<std::function<void(cluster&)>> events{[](cluster& c) { c.variant("chat"); },
                                                          [](cluster& c) { c.deployment("chat"); },
                                                          [](cluster& c) { c.pod("chat-0", "chat"); }};
  std::vector<std::size_t> order{0, 1, 2};
  do {
    cluster c;
    c.node("n1", 4);
    for (const auto i : order) events[i](c);
    ASSERT_THAT(c.state.serving_pods(chat), SizeIs(1)) << order[0] << order[1] << order[2];
    EXPECT_EQ(c.state.serving_pods(chat)[0].pod.name, "chat-0");
    EXPECT_TRUE(c.state.target_of(chat));
    EXPECT_EQ(c.left(), 4) << "the variant's own pods take nothing from it";
    EXPECT_TRUE(c.last.pods.count(chat)) << "the last event made the pod known";
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(ClusterState, OnlyReadyPodsAreAsked) {
  cluster c;
  c.variant("chat");
  c.deployment("chat");
  c.pod("chat-0", "chat", false);
  EXPECT_THAT(c.state.serving_pods(chat), IsEmpty());
  c.pod("chat-0", "chat", true);
  EXPECT_THAT(c.last.pods, ElementsAre(chat));
  EXPECT_THAT(c.state.serving_pods(chat), SizeIs(1));
  c.pod("chat-0", "chat", true);
  EXPECT_THAT(c.last.pods, IsEmpty()) << "the same again is no news";
  state_changes changes;
  c.state.remove_pod({"llm", "chat-0"}, changes);
  EXPECT_THAT(changes.pods, ElementsAre(chat));
  EXPECT_THAT(c.state.serving_pods(chat), IsEmpty());
}

// A readiness probe that fails under load does not end what a server does; a container that ends, does.
TEST(ClusterState, PodsThatWereReadyAreAskedWhileTheirContainersRun) {
  cluster c;
  c.variant("chat");
  c.deployment("chat");
  const auto pod = [&](bool ready, const std::string& container, bool running = true, bool deleting = false) {
    auto p = pod_json("llm", "chat-0", "chat", ready);
    json::object state{{running ? "running" : "waiting", json::object{}}};
    p["status"].as_object()["containerStatuses"] =
        json::array{json::object{{"name", "vllm"}, {"containerID", container}, {"state", std::move(state)}}};
    if (deleting) p["metadata"].as_object()["deletionTimestamp"] = "2026-01-01T00:00:00Z";
    c.put(decode_pod(p));
    return c.state.serving_pods(chat).size();
  };
  EXPECT_EQ(pod(false, "containerd://1"), 0u) << "it has not begun to serve";
  EXPECT_EQ(pod(true, "containerd://1"), 1u);
  EXPECT_EQ(pod(false, "containerd://1"), 1u);
  EXPECT_EQ(pod(false, "containerd://2"), 0u) << "another process, which has to start";
  EXPECT_EQ(pod(true, "containerd://2"), 1u);
  EXPECT_EQ(pod(false, "containerd://2", false), 0u) << "it crashes";
  EXPECT_EQ(pod(false, "containerd://2"), 0u);
  EXPECT_EQ(pod(true, "containerd://3"), 1u);
  EXPECT_EQ(pod(false, "containerd://3", true, true), 0u) << "it is on its way out";
}

TEST(ClusterState, PodsOfAnotherNamespaceAreNotOurs) {
  cluster c;
  c.variant("chat");
  c.deployment("chat");
  c.pod("chat-0", "chat", true, "n1", 1, "elsewhere");
  EXPECT_THAT(c.state.serving_pods(chat), IsEmpty());
}

TEST(ClusterState, AllLabelsOfTheSelectorMustMatch) {
  cluster c;
  c.variant("chat");
  auto d = decode_workload(deployment_json("llm", "chat", 1), "Deployment");
  d.selector = {{"app", "chat"}, {"tier", "gold"}};
  c.put(d);
  c.pod("chat-0", "chat");
  EXPECT_THAT(c.state.serving_pods(chat), IsEmpty());
  auto p = decode_pod(pod_json("llm", "chat-1", "chat"));
  p.labels["tier"] = "gold";
  c.put(p);
  EXPECT_THAT(c.state.serving_pods(chat), SizeIs(1));
  d.selector = {{"app", "chat"}};
  c.put(d);
  EXPECT_THAT(c.last.pods, ElementsAre(chat));
  EXPECT_THAT(c.state.serving_pods(chat), SizeIs(2)) << "a new selector is looked up anew";
}

TEST(ClusterState, FollowsScaleTargetRef) {
  cluster c;
  c.variant("chat", R"(,"scaleTargetRef":{"kind":"Deployment","name":"one"})");
  c.deployment("one");
  c.deployment("two", 5);
  EXPECT_EQ(c.state.target_of(chat)->ref.name, "one");
  c.variant("chat", R"(,"scaleTargetRef":{"kind":"Deployment","name":"two"})", 2);
  EXPECT_THAT(c.last.inputs, ElementsAre(chat));
  EXPECT_EQ(c.state.target_of(chat)->replicas, 5);
  c.deployment("one", 9);
  EXPECT_THAT(c.last.inputs, IsEmpty()) << "the old target is none of its business";
  state_changes changes;
  c.state.remove_workload({"Deployment", "llm", "two"}, changes);
  EXPECT_THAT(changes.inputs, ElementsAre(chat));
  EXPECT_FALSE(c.state.target_of(chat));
}

TEST(ClusterState, OurOwnStatusWritesAreNoNews) {
  cluster c;
  c.variant("chat");
  EXPECT_THAT(c.last.added, ElementsAre(chat));
  c.variant("chat");
  EXPECT_THAT(c.last.added, IsEmpty());
  EXPECT_THAT(c.last.inputs, IsEmpty());
  c.variant("chat", "", 2);
  EXPECT_THAT(c.last.inputs, ElementsAre(chat));
}

// ---- GPUs
// -----------------------------------------------------------------------------------------------------------------------

TEST(Capacity, AddsUpNodesByProduct) {
  cluster c;
  EXPECT_FALSE(c.state.capacity().known) << "without GPU nodes capacity does not limit";
  c.node("n1", 4);
  c.node("n2", 2);
  c.node("n3", 8, "NVIDIA-H100");
  EXPECT_TRUE(c.last.capacity);
  EXPECT_TRUE(c.state.capacity().known);
  EXPECT_THAT(c.state.capacity().by_device, ElementsAre(Pair(a100, 6), Pair("NVIDIA-H100", 8)));
  c.node("n3", 8, "NVIDIA-H100");
  EXPECT_FALSE(c.last.capacity) << "heartbeats of a node are no news";
  state_changes changes;
  c.state.remove_node("n3", changes);
  EXPECT_TRUE(changes.capacity);
  EXPECT_THAT(c.state.capacity().by_device, ElementsAre(Pair(a100, 6)));
}

TEST(DecodeWorkload, FollowsExpressionsThatAskForOneValue) {
  const auto of = [](const char* selector) {
    auto d = deployment_json("llm", "v", 1);
    d["spec"].as_object()["selector"] = parse_object(selector);
    return decode_workload(d, "Deployment");
  };
  const auto one = of(R"({"matchLabels":{"a":"b"},"matchExpressions":[{"key":"app","operator":"In","values":["v"]}]})");
  EXPECT_THAT(one.selector, ElementsAre(Pair("a", "b"), Pair("app", "v")));
  EXPECT_EQ(one.selector_problem, "");
  for (const auto* other : {R"({"key":"app","operator":"In","values":["v","w"]})", R"({"key":"app","operator":"Exists"})",
                            R"({"key":"app","operator":"NotIn","values":["v"]})", "3"}) {
    const auto none = of(fmt::format(R"({{"matchLabels":{{"a":"b"}},"matchExpressions":[{}]}})", other).c_str());
    EXPECT_TRUE(none.selector.empty()) << other;
    EXPECT_EQ(none.selector_problem, "Deployment llm/v: spec.selector.matchExpressions: only In with one value is followed");
  }
}

// A label that goes, a device plugin that restarts, or nodes that are all replaced make no GPUs.
TEST(Capacity, OnceNodesHaveReportedGpusTheyLimit) {
  cluster c;
  c.node("n1", 4);
  c.node("n1", 0);
  EXPECT_TRUE(c.state.capacity().known);
  state_changes changes;
  c.state.remove_node("n1", changes);
  EXPECT_TRUE(c.state.capacity().known);
  EXPECT_EQ(c.state.capacity().by_device.count(a100), 0u);
}

TEST(Capacity, ForeignPodsTakeTheirCards) {
  cluster c;
  c.node("n1", 4);
  c.pod("training-0", "training", true, "n1", 3);
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 1);
  c.pod("training-1", "training", true, "n1", 3);
  EXPECT_EQ(c.left(), 0) << "never negative";
  state_changes changes;
  c.state.remove_pod({"llm", "training-0"}, changes);
  EXPECT_TRUE(changes.capacity);
  EXPECT_EQ(c.left(), 1);
}

TEST(Capacity, PodsThatHoldNoCardTakeNone) {
  cluster c;
  c.node("n1", 4);
  c.pod("web", "web", true, "n1", 0);
  EXPECT_FALSE(c.last.capacity);
  c.pod("pending", "x", false, "", 2);
  c.pod("lost", "x", true, "no-such-node", 2);
  auto done = decode_pod(pod_json("llm", "done", "x", true, "n1", 2));
  done.terminal = true;
  c.put(done);
  EXPECT_EQ(c.left(), 4);
}

TEST(Capacity, AForeignPodThatEndsGivesItsCardsBack) {
  cluster c;
  c.node("n1", 4);
  c.pod("job", "job", true, "n1", 2);
  ASSERT_EQ(c.left(), 2);
  auto done = decode_pod(pod_json("llm", "job", "job", true, "n1", 2));
  done.terminal = true;
  c.put(done);
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 4);
}

TEST(Capacity, PodsChangeSidesWithTheirVariant) {
  cluster c;
  c.node("n1", 4);
  c.deployment("chat");
  c.pod("chat-0", "chat", true, "n1", 2);
  EXPECT_EQ(c.left(), 2) << "no variant yet: foreign";
  c.variant("chat");
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 4);
  state_changes changes;
  c.state.remove_variant(chat, changes);
  EXPECT_TRUE(changes.capacity);
  EXPECT_EQ(c.left(), 2);
}

TEST(Capacity, ACordonedNodeKeepsTheCardsOfItsPodsOnly) {
  cluster c;
  c.node("n1", 4);
  c.node("n2", 2);
  c.pod("chat-0", "chat", true, "n1", 1);
  c.deployment("chat");
  c.variant("chat");
  c.pod("training", "training", true, "n1", 1);
  EXPECT_EQ(c.left(), 5);
  auto o = node_json("n1", "nvidia", a100, 4);
  o["spec"] = json::object{{"unschedulable", true}};
  c.put(decode_node(o));
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 3) << "the two of n2, and the one that serves on n1 until it is evicted";
  state_changes changes;
  c.state.remove_pod({"llm", "chat-0"}, changes);
  EXPECT_TRUE(changes.capacity);
  EXPECT_EQ(c.left(), 2);
  o["spec"] = json::object{};
  c.put(decode_node(o));
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 5);
}

// ---- with the rest of the controller
// --------------------------------------------------------------------------------------------

/// A node that is not ready may come back with its pods running, so they keep their GPUs until they are evicted; nothing new
/// fits.
TEST(Capacity, ANodeThatIsNotReadyHoldsOnlyItsPodsUntilTheyAreEvicted) {
  cluster c;
  c.node("n1", 4);
  c.node("n2", 2);
  c.deployment("chat");
  c.variant("chat");
  c.pod("chat-0", "chat", true, "n1", 2);
  c.pod("training", "training", true, "n1", 1);
  ASSERT_EQ(c.left(), 5);
  auto o = node_json("n1", "nvidia", a100, 4);
  o["status"].as_object()["conditions"] = json::array{json::object{{"type", "Ready"}, {"status", "Unknown"}}};
  c.put(decode_node(o));
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 4);
  c.pod("chat-0", "chat", false, "n1", 2);
  EXPECT_EQ(c.left(), 4) << "its pods go not ready with it";
  auto evicted = pod_json("llm", "chat-0", "chat", false, "n1", 2);
  evicted["metadata"].as_object()["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  c.put(decode_pod(evicted));
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 2) << "a pod on a node that does not answer may be Terminating for ever";
  c.put(decode_node(node_json("n1", "nvidia", a100, 4)));
  EXPECT_TRUE(c.last.capacity);
  EXPECT_EQ(c.left(), 5);
}

TEST(Inventory, AProductNoAcceleratorIsMadeOfIsSaidOnce) {
  world w;
  w.quickstart();
  w.load(10);
  for (int i = 0; i < 3; ++i) {
    w.changed("nodes", node_json(fmt::format("odd-{}", i), "nvidia", "Tesla-T4", 2), kube::watch_type::added);
    w.changed("nodes", node_json("n1", "nvidia", a100, 3 + i));
    w.advance(60s);
  }
  EXPECT_EQ(lines_with(w, "GPU product of a node matches no device"), 1);
  EXPECT_TRUE(w.logged({"GPU product of a node matches no device in accelerator-unit-costs", "Tesla-T4", "odd-0"}));
  w.changed("nodes", node_json("other", "nvidia", "Tesla-P4", 2), kube::watch_type::added);
  EXPECT_EQ(lines_with(w, "GPU product of a node matches no device"), 2) << "another product is another line";
}

TEST(Inventory, ForeignPodsLimitWhatVariantsGetAndTheLimitIsNamed) {
  world w;
  w.quickstart();
  w.changed("pods", pod_json("lab", "training-0", "training", true, "n1", 1), kube::watch_type::added);
  w.load(44);
  w.advance(70s);
  EXPECT_THAT(w.scale_patches(), IsEmpty()) << "two cards, one of them taken";
  EXPECT_THAT(w.condition_of("OptimizationReady"), ::testing::StartsWith("False CapacityLimited: wanted 2 x A100, 1 granted"));
  w.changed("pods", pod_json("lab", "training-0", "training", true, "n1", 1), kube::watch_type::deleted);
  w.advance(70s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

TEST(Inventory, NothingIsOrderedForANodeThatIsNotReady) {
  world w;
  w.quickstart();
  auto node = node_json("n2", "nvidia", a100, 4);
  node["status"].as_object()["conditions"] = json::array{json::object{{"type", "Ready"}, {"status", "False"}}};
  w.changed("nodes", node_json("n1", "nvidia", a100, 1));
  w.changed("nodes", node, kube::watch_type::added);
  w.load(44);
  w.advance(70s);
  EXPECT_THAT(w.scale_patches(), IsEmpty());
  EXPECT_THAT(w.condition_of("OptimizationReady"), ::testing::StartsWith("False CapacityLimited: wanted 2 x A100, 1 granted"));
  w.changed("nodes", node_json("n2", "nvidia", a100, 4));
  w.advance(70s);
  EXPECT_THAT(w.scale_patches(), ElementsAre(2));
}

/// A device plugin restarts: its node reports no GPU for a while, and the pods go on.
TEST(Inventory, ReadyReplicasHaveTheirGpusWhateverNodesReport) {
  world w;
  w.quickstart(2);
  w.load(44);
  w.advance(130s);
  ASSERT_EQ(w.scale_patches(), std::vector<int>());
  w.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 0));
  w.advance(120s);
  EXPECT_EQ(w.scale_patches(), std::vector<int>());
  w.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 2), kube::watch_type::deleted);
  w.advance(120s);
  EXPECT_EQ(w.scale_patches(), std::vector<int>());
}

}  // namespace
}  // namespace inferno::actors::testing

// Deployments, the GPU scheduler and the kubelet of the emulated cluster.
#include <mutex>
#include <sstream>

#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

/// One node of two A100, one of one MI300X.
constexpr const char* nodes = R"(
apiVersion: v1
kind: Node
metadata: {name: nvidia, labels: {pool: a, nvidia.com/gpu.product: A100}}
status: {allocatable: {nvidia.com/gpu: "2"}}
---
apiVersion: v1
kind: Node
metadata: {name: amd, labels: {pool: b, amd.com/gpu.product: MI300X}}
status: {allocatable: {amd.com/gpu: "1"}}
)";

class Workloads : public cluster_test {
 protected:
  Workloads() { apply(nodes); }
  void deploy(const std::string& name, int replicas, const std::string& resource = "nvidia.com/gpu", int cards = 1,
              const std::string& selector = {}) {
    apply(fmt::format(R"(apiVersion: apps/v1
kind: Deployment
metadata: {{name: {0}, namespace: default}}
spec:
  replicas: {1}
  selector: {{matchLabels: {{app: {0}}}}}
  template:
    metadata: {{labels: {{app: {0}}}}}
    spec:
      {4}
      containers: [{{name: c, image: i, resources: {{limits: {{{2}: "{3}"}}}}}}]
)",
                      name, replicas, resource, cards, selector.empty() ? "" : "nodeSelector: " + selector));
  }
  api_reply pods(const std::string& app) { return get("/api/v1/namespaces/default/pods?labelSelector=app%3D" + app); }
  static std::map<std::string, int> phases(const api_reply& list) {
    std::map<std::string, int> out;
    for (const auto& p : list.object.at("items").as_array()) ++out[text_at(p.as_object(), {"status", "phase"})];
    return out;
  }
  bool becomes(const std::string& app, std::map<std::string, int> wanted) {
    return eventually("/api/v1/namespaces/default/pods?labelSelector=app%3D" + app,
                      [&](const api_reply& r) { return phases(r) == wanted; });
  }
  void scale(const std::string& name, int replicas) {
    ASSERT_EQ(merge(path(name) + "/scale", fmt::format(R"({{"spec":{{"replicas":{}}}}})", replicas)).status, 200);
  }
  /// The states that objects of a collection have had since a revision.
  std::vector<json::object> history(const std::string& collection, const std::string& from) {
    std::vector<json::object> out;
    std::istringstream lines(get(collection + "?watch=true&timeoutSeconds=1&resourceVersion=" + from).text);
    for (std::string line; std::getline(lines, line);) out.push_back(json::parse(line).at("object").as_object());
    return out;
  }
  static std::string path(const std::string& name) { return "/apis/apps/v1/namespaces/default/deployments/" + name; }
};

TEST_F(Workloads, ADeploymentHasItsPodsAndSaysSo) {
  deploy("d", 2);
  EXPECT_TRUE(becomes("d", {{"Running", 2}}));
  EXPECT_TRUE(eventually(path("d"), [](const api_reply& r) {
    return r.number({"status", "readyReplicas"}) == 2 && r.number({"status", "replicas"}) == 2 &&
           r.number({"status", "observedGeneration"}) == r.number({"metadata", "generation"});
  }));
  const auto all = pods("d");
  for (const auto& p : all.object.at("items").as_array()) {
    EXPECT_EQ(text_at(p.as_object(), {"spec", "nodeName"}), "nvidia");
    EXPECT_EQ(text_at(p.at("metadata").at("ownerReferences").at(0).as_object(), {"kind"}), "ReplicaSet");
    EXPECT_EQ(text_at(p.as_object(), {"status", "podIP"}).rfind("127.", 0), 0u);
  }
}

TEST_F(Workloads, APodWithoutACardWaitsAndSaysForWhat) {
  deploy("d", 3);
  EXPECT_TRUE(becomes("d", {{"Running", 2}, {"Pending", 1}}));
  bool said = false;
  const auto all = pods("d");
  for (const auto& p : all.object.at("items").as_array()) {
    if (text_at(p.as_object(), {"status", "phase"}) != "Pending") continue;
    const auto& condition = p.at("status").at("conditions").at(0).as_object();
    EXPECT_EQ(text_at(condition, {"type"}), "PodScheduled");
    EXPECT_EQ(text_at(condition, {"reason"}), "Unschedulable");
    EXPECT_NE(text_at(condition, {"message"}).find("Insufficient nvidia.com/gpu"), std::string::npos);
    said = true;
  }
  EXPECT_TRUE(said);
}

TEST_F(Workloads, AFreedCardGoesToWhoWaits) {
  deploy("first", 2);
  ASSERT_TRUE(becomes("first", {{"Running", 2}}));
  deploy("second", 1);
  ASSERT_TRUE(becomes("second", {{"Pending", 1}}));
  scale("first", 1);
  EXPECT_TRUE(becomes("second", {{"Running", 1}}));
  EXPECT_TRUE(becomes("first", {{"Running", 1}}));
}

TEST_F(Workloads, APodOfTwoCardsNeedsTwo) {
  deploy("small", 1);
  ASSERT_TRUE(becomes("small", {{"Running", 1}}));
  deploy("big", 1, "nvidia.com/gpu", 2);
  EXPECT_TRUE(becomes("big", {{"Pending", 1}}));
  scale("small", 0);
  EXPECT_TRUE(becomes("big", {{"Running", 1}}));
  EXPECT_TRUE(becomes("small", {}));
}

TEST_F(Workloads, CardsOfAnotherKindAreNoHelp) {
  deploy("d", 2, "amd.com/gpu");
  EXPECT_TRUE(becomes("d", {{"Running", 1}, {"Pending", 1}}));
  deploy("elsewhere", 1, "nvidia.com/gpu", 1, "{pool: b}");
  EXPECT_TRUE(becomes("elsewhere", {{"Pending", 1}}));
}

TEST_F(Workloads, ANewNodeIsUsed) {
  deploy("d", 3);
  ASSERT_TRUE(becomes("d", {{"Running", 2}, {"Pending", 1}}));
  apply("apiVersion: v1\nkind: Node\nmetadata: {name: more}\nstatus: {allocatable: {nvidia.com/gpu: \"1\"}}\n");
  EXPECT_TRUE(becomes("d", {{"Running", 3}}));
}

TEST_F(Workloads, ADeletedPodIsReplaced) {
  deploy("d", 1);
  ASSERT_TRUE(becomes("d", {{"Running", 1}}));
  const auto before = names(pods("d")).at(0);
  ASSERT_EQ(call("DELETE", "/api/v1/namespaces/default/pods/" + before).status, 200);
  EXPECT_TRUE(eventually("/api/v1/namespaces/default/pods?labelSelector=app%3Dd", [&](const api_reply& r) {
    return phases(r) == std::map<std::string, int>{{"Running", 1}} && names(r).at(0) != before;
  }));
}

/// "True reason", "" without such a condition.
std::string condition(const json::object& object, const std::string& type) {
  const auto* all = find(object, {"status", "conditions"});
  if (all && all->is_array())
    for (const auto& c : all->get_array())
      if (text_at(c.as_object(), {"type"}) == type)
        return text_at(c.as_object(), {"status"}) + " " + text_at(c.as_object(), {"reason"});
  return {};
}

TEST_F(Workloads, APodIsReadyWhenItsStartUpTimeIsOver) {
  cluster_config config;
  config.start_delay = 300ms;
  start(std::move(config));
  apply(nodes);
  const std::string all = "/api/v1/namespaces/default/pods", every = "/apis/apps/v1/namespaces/default/deployments";
  const auto from = get(all).at({"metadata", "resourceVersion"});
  const auto began = std::chrono::steady_clock::now();
  deploy("d", 1);
  ASSERT_TRUE(eventually(path("d"), [](const api_reply& r) { return r.number({"status", "readyReplicas"}) == 1; }));
  EXPECT_GE(std::chrono::steady_clock::now() - began, 300ms);
  // What it was meanwhile, however late this looks.
  bool was_starting = false;
  for (const auto& pod : history(all, from)) {
    const auto* containers = find(pod, {"status", "containerStatuses"});
    if (!containers || condition(pod, "Ready") == "True ") continue;
    EXPECT_EQ(text_at(pod, {"status", "phase"}), "Pending");
    EXPECT_EQ(text_at(containers->at(0).as_object(), {"state", "waiting", "reason"}), "ContainerCreating");
    EXPECT_EQ(condition(pod, "PodScheduled"), "True ");
    EXPECT_EQ(condition(pod, "Ready"), "False ContainersNotReady");
    was_starting = true;
  }
  EXPECT_TRUE(was_starting);
  bool was_unavailable = false;
  for (const auto& d : history(every, from))
    if (condition(d, "Available") == "False MinimumReplicasUnavailable") {
      EXPECT_EQ(integer_at(d, {"status", "unavailableReplicas"}, 0), 1);
      EXPECT_EQ(find(d, {"status", "readyReplicas"}), nullptr);
      was_unavailable = true;
    }
  EXPECT_TRUE(was_unavailable);
  EXPECT_EQ(condition(get(path("d")).object, "Available"), "True MinimumReplicasAvailable");
}

TEST_F(Workloads, ScaledToNothingADeploymentHasNoPodsAndSaysSo) {
  deploy("d", 2);
  ASSERT_TRUE(becomes("d", {{"Running", 2}}));
  scale("d", 0);
  EXPECT_TRUE(becomes("d", {}));
  EXPECT_TRUE(eventually(path("d"), [](const api_reply& r) {
    return r.number({"status", "replicas"}) == -1 && r.number({"status", "readyReplicas"}) == -1 &&
           r.number({"status", "observedGeneration"}) == 2;
  }));
  scale("d", 1);
  EXPECT_TRUE(becomes("d", {{"Running", 1}}));
}

TEST_F(Workloads, ANodeSelectorChoosesAmongNodesOfTheSameCards) {
  apply(
      "apiVersion: v1\nkind: Node\nmetadata: {name: last, labels: {pool: c}}\nstatus: {allocatable: {nvidia.com/gpu: \"2\"}}\n");
  deploy("d", 2, "nvidia.com/gpu", 1, "{pool: c}");
  ASSERT_TRUE(becomes("d", {{"Running", 2}}));
  const auto all = pods("d");
  for (const auto& p : all.object.at("items").as_array()) EXPECT_EQ(text_at(p.as_object(), {"spec", "nodeName"}), "last");
  scale("d", 3);
  EXPECT_TRUE(becomes("d", {{"Running", 2}, {"Pending", 1}})) << "the other node has cards, but is not meant";
}

TEST_F(Workloads, AnotherTemplateReplacesThePods) {
  deploy("d", 1);
  ASSERT_TRUE(becomes("d", {{"Running", 1}}));
  const auto before = names(pods("d")).at(0);
  ASSERT_EQ(merge(path("d"), R"({"spec":{"template":{"metadata":{"annotations":{"v":"2"}}}}})").status, 200);
  EXPECT_TRUE(eventually("/api/v1/namespaces/default/pods?labelSelector=app%3Dd", [&](const api_reply& r) {
    return phases(r) == std::map<std::string, int>{{"Running", 1}} && names(r).at(0) != before;
  }));
}

/// Runs nothing: the first start of every pod fails, the second is well. Remembers what it was asked.
class moody_runtime final : public pod_runtime {
 public:
  void start(pod_spec spec, std::function<void(bool ok, std::string error)> done) override {
    const bool first = [&] {
      const std::lock_guard lock(mutex_);
      started_.push_back(spec);
      return started_.size() == 1;
    }();
    done(!first, first ? "no room for the model" : "");
  }
  void stop(const std::string&, const std::string& name, std::chrono::milliseconds, std::function<void()> ended) override {
    {
      const std::lock_guard lock(mutex_);
      stopped_.push_back(name);
    }
    ended();
  }
  std::optional<std::vector<log_line>> log(const std::string&, const std::string&) const override { return std::nullopt; }
  std::vector<pod_spec> started() const {
    const std::lock_guard lock(mutex_);
    return started_;
  }
  std::vector<std::string> stopped() const {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<pod_spec> started_;
  std::vector<std::string> stopped_;
};

TEST_F(Workloads, AServerThatCannotStartIsTriedAgainAndItsEndIsTold) {
  const auto runtime = std::make_shared<moody_runtime>();
  cluster_config config;
  config.start_delay = 20ms;
  config.runtime = runtime;
  start(std::move(config));
  apply(nodes);
  apply(R"(apiVersion: v1
kind: Pod
metadata: {name: p, namespace: default}
spec:
  containers:
  - name: server
    image: vllm
    env: [{name: MODEL_NAME, value: m}, {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    ports: [{name: metrics, containerPort: 9}, {name: http, containerPort: 8123}]
    resources: {limits: {nvidia.com/gpu: "1"}}
)");
  const std::string pod = "/api/v1/namespaces/default/pods/p";
  const auto container = [](const api_reply& r) {
    const auto* all = find(r.object, {"status", "containerStatuses"});
    return all ? all->at(0).as_object() : json::object();
  };
  ASSERT_TRUE(eventually(pod, [&](const api_reply& r) {
    return text_at(container(r), {"state", "waiting", "reason"}) == "CrashLoopBackOff";
  }));
  const auto failed = container(get(pod));
  EXPECT_EQ(integer_at(failed, {"restartCount"}, 0), 1);
  EXPECT_EQ(text_at(failed, {"state", "waiting", "message"}), "no room for the model");
  ASSERT_TRUE(eventually(pod, [&](const api_reply& r) { return condition(r.object, "Ready") == "True "; }));
  const auto asked = runtime->started();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[1].name, "p");
  EXPECT_EQ(asked[1].port, 8123);
  EXPECT_EQ(asked[1].env.at("MODEL_NAME"), "m");
  EXPECT_EQ(asked[1].env.at("ME"), "p");
  EXPECT_EQ(asked[1].node, "nvidia");
  EXPECT_EQ(asked[1].accelerator, "A100");
  EXPECT_EQ(asked[1].ip, get(pod).at({"status", "podIP"}));
  EXPECT_EQ(call("DELETE", pod).status, 200);
  ASSERT_TRUE(eventually(pod, [](const api_reply& r) { return r.status == 404; }));
  EXPECT_EQ(runtime->stopped(), (std::vector<std::string>{"p"}));
}

TEST_F(Workloads, WhatADeploymentOwnsGoesWithIt) {
  deploy("d", 2);
  ASSERT_TRUE(becomes("d", {{"Running", 2}}));
  ASSERT_EQ(call("DELETE", path("d")).status, 200);
  EXPECT_TRUE(becomes("d", {}));
  EXPECT_TRUE(names(get("/apis/apps/v1/namespaces/default/replicasets")).empty());
}

}  // namespace
}  // namespace inferno::testbed

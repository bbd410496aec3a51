// Deployments, the GPU scheduler and the kubelet of the emulated cluster.
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

TEST_F(Workloads, WhatADeploymentOwnsGoesWithIt) {
  deploy("d", 2);
  ASSERT_TRUE(becomes("d", {{"Running", 2}}));
  ASSERT_EQ(call("DELETE", path("d")).status, 200);
  EXPECT_TRUE(becomes("d", {}));
  EXPECT_TRUE(names(get("/apis/apps/v1/namespaces/default/replicasets")).empty());
}

}  // namespace
}  // namespace inferno::testbed

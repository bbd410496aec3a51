// deploy/rbac/rbac.yaml holds the rights the controller uses, each of them, and no other: the API server's audit log tells which.
#include <gmock/gmock.h>

#include <set>

#include "tests/e2e/workloads.hpp"

namespace inferno::test {
namespace {

using testbed::find;
using testbed::integer_at;
using testbed::text_at;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

std::vector<std::string> words(const json::value* list) {
  std::vector<std::string> out;
  if (list && list->is_array())
    for (const auto& w : list->get_array()) out.emplace_back(w.as_string());
  return out;
}

/// "list apps/deployments/scale" of each rule: verb, group, resource.
void add_rights(const json::value& rules, std::set<std::string>& out) {
  for (const auto& rule : rules.as_array())
    for (const auto& verb : words(find(rule.as_object(), {"verbs"})))
      for (const auto& group : words(find(rule.as_object(), {"apiGroups"})))
        for (const auto& resource : words(find(rule.as_object(), {"resources"})))
          out.insert(fmt::format("{} {}/{}", verb, group, resource));
}

constexpr auto group_crd = R"(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: leaderworkersets.leaderworkerset.x-k8s.io, annotations: {api-approved.kubernetes.io: "unapproved, a test's"}}
spec:
  group: leaderworkerset.x-k8s.io
  scope: Namespaced
  names: {kind: LeaderWorkerSet, plural: leaderworkersets, singular: leaderworkerset}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {replicas: {type: integer}}}
            status: {type: object, properties: {replicas: {type: integer}, hpaPodSelector: {type: string}}}
      subresources:
        status: {}
        scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.hpaPodSelector}
)";

TEST(Rights, EachIsUsedAndNoOtherIsAskedFor) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 12}, {"amd", "AMD-MI300X-192G", 1, 2}});
  allow_moves(s);
  s.cluster.apply(group_crd);
  s.cluster.apply(fmt::format("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: stranger, namespace: {}}}\n", s.ns));
  // One that moves, with its Deployment...
  s.cluster.apply(movable_deployment(s, 3));
  s.variant({.extra_spec = "  keepAccelerator: false\n  minReplicas: 1\n"});
  // ... one that only scales, a StatefulSet and a group, all to two replicas.
  s.deployment({.name = "plain", .model = "llama0-70b"});
  s.variant({.name = "plain", .model = "llama0-70b", .extra_spec = "  minReplicas: 2\n"});
  auto set = with(with(movable_deployment(s, 1), "kind: Deployment", "kind: StatefulSet"), "name: vllme", "name: set");
  for (int label = 0; label < 3; ++label) set = with(set, "app: vllme", "app: set");
  s.cluster.apply(with(set, "spec:", "spec:\n  serviceName: set\n  podManagementPolicy: Parallel"));
  s.variant({.name = "set",
             .extra_spec = "  minReplicas: 2\n  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: set}\n",
             .annotations = "inference.optimization/pool: \"off\""});
  const auto groups = fmt::format("/apis/leaderworkerset.x-k8s.io/v1/namespaces/{}/leaderworkersets", s.ns);
  ASSERT_TRUE(eventually(10s, [&] { return s.cluster.call("GET", groups).ok(); }));
  s.cluster.apply(
      fmt::format("apiVersion: leaderworkerset.x-k8s.io/v1\nkind: LeaderWorkerSet\nmetadata: {{name: group, namespace: {}}}\n"
                  "spec: {{replicas: 1}}\n",
                  s.ns));
  ASSERT_TRUE(s.cluster
                  .call("PATCH", groups + "/group/status",
                        json::parse(R"({"status":{"replicas":1,"hpaPodSelector":"app=group"}})"), "application/merge-patch+json")
                  .ok());
  s.cluster.apply(group_pod(s));
  s.variant(
      {.name = "group",
       .extra_spec =
           "  minReplicas: 2\n  scaleTargetRef: {apiVersion: leaderworkerset.x-k8s.io/v1, kind: LeaderWorkerSet, name: group}\n",
       .annotations = "inference.optimization/pool: \"off\""});
  s.configure("inferno-autoscaler-variantautoscaling-config", {{"GLOBAL_OPT_TRIGGER", "true"}});
  const auto load = s.load(360, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller({"--leader-elect", "--metrics-secure=true"});

  const auto copies = [&](const std::string& path) { return integer_at(s.cluster.get(path), {"spec", "replicas"}, 0); };
  EXPECT_TRUE(eventually(60s, [&] { return s.logged("AcceleratorChanged"); })) << s.log();
  EXPECT_TRUE(eventually(30s, [&] { return s.replicas("plain") == 2; })) << s.condition("OptimizationReady", "plain") << s.log();
  EXPECT_TRUE(eventually(30s, [&] { return copies(api_path("apps/v1", "StatefulSet", s.ns, "set")) == 2; }))
      << s.condition("OptimizationReady", "set") << s.log();
  EXPECT_TRUE(eventually(30s, [&] { return copies(groups + "/group") == 2; }))
      << s.condition("OptimizationReady", "group") << s.log();
  EXPECT_TRUE(eventually(10s, [&] {
    return text_at(s.get("ConfigMap", "inferno-autoscaler-variantautoscaling-config", s.system_ns),
                   {"data", "GLOBAL_OPT_TRIGGER"}) == "false";
  }));
  net::http_request request;
  request.url = "https://" + s.address("metrics").substr(7) + "/metrics";
  request.headers.push_back({"Authorization", "Bearer " + s.cluster.token(s.ns, "stranger")});
  net::tls_options tls;
  tls.insecure_skip_verify = true;
  const auto answer = http_send(request, tls);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 403) << "a service account without the role";

  std::set<std::string> granted;
  const auto manifests = testbed::parse_manifests(repository_file("deploy/rbac/rbac.yaml")).value();
  for (const auto& o : manifests)
    if (const auto* rules = find(o, {"rules"}); rules && text_at(o, {"metadata", "name"}) != "inferno-autoscaler-metrics-reader")
      add_rights(*rules, granted);
  EXPECT_GE(granted.size(), 30u);

  const auto account = "system:serviceaccount:" + s.system_ns + ":inferno-autoscaler-controller-manager";
  const auto used_of = [&](std::vector<std::string>* refused) {
    std::set<std::string> used;
    std::istringstream in(s.cluster.log("audit"));
    for (std::string line; std::getline(in, line);) {
      boost::system::error_code ec;
      const auto parsed = json::parse(line, ec);
      // The line that is being written.
      if (ec || text_at(parsed.as_object(), {"user", "username"}) != account) continue;
      const auto& e = parsed.as_object();
      if (!find(e, {"objectRef"})) continue;  // discovery of a group
      const auto sub = text_at(e, {"objectRef", "subresource"});
      const auto right = fmt::format("{} {}/{}{}", text_at(e, {"verb"}), text_at(e, {"objectRef", "apiGroup"}),
                                     text_at(e, {"objectRef", "resource"}), sub.empty() ? "" : "/" + sub);
      const auto code = integer_at(e, {"responseStatus", "code"}, 0);
      if (code == 403 && refused) refused->push_back(line);
      if (code < 300) used.insert(right);
    }
    return used;
  };
  // A watch is told of when it ends or its answer begins, whichever the log's stage is.
  EXPECT_TRUE(eventually(20s, [&] { return used_of(nullptr) == granted; }));
  std::vector<std::string> refused;
  EXPECT_THAT(used_of(&refused), ElementsAreArray(granted)) << "left: asked for; right: granted";
  EXPECT_THAT(refused, IsEmpty());

  // What the API server itself says the account may do, beside what everybody may.
  const auto may = [&](const std::string& token, const std::string& ns) {
    net::http_request ask;
    ask.method = "POST";
    ask.url = s.cluster.url() + "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    ask.headers.push_back({"Authorization", "Bearer " + token});
    ask.content_type = "application/json";
    ask.body = fmt::format(
        R"({{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectRulesReview","spec":{{"namespace":"{}"}}}})", ns);
    net::tls_options ca;
    ca.ca_pem = s.cluster.ca_pem();
    const auto told = http_send(ask, ca);
    std::set<std::string> out;
    const auto body = json::parse(told->body);
    add_rights(body.at("status").at("resourceRules"), out);
    return out;
  };
  const auto token = s.cluster.token(s.system_ns, "inferno-autoscaler-controller-manager");
  auto everywhere = may(token, s.system_ns);
  for (const auto& common : may(s.cluster.token(s.ns, "stranger"), s.system_ns)) everywhere.erase(common);
  EXPECT_THAT(everywhere, ElementsAreArray(granted));
  auto elsewhere = may(token, s.ns);
  for (const auto* own : {"configmaps", "leases"})
    for (const auto& right : elsewhere) EXPECT_EQ(right.find(own), std::string::npos) << right;
  s.cluster.remove("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/leaderworkersets.leaderworkerset.x-k8s.io");
}

}  // namespace
}  // namespace inferno::test

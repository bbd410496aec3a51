// What a VariantAutoscaling may scale: StatefulSets, any kind with a scale subresource, and a Deployment that changes its
// accelerator.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "tests/e2e/evidence.hpp"
#include "tests/e2e/workloads.hpp"

namespace inferno::test {
namespace {

using testbed::integer_at;
using testbed::text_at;
using ::testing::HasSubstr;

bool on_mi300x(const scene& s) {
  const auto d = s.get("Deployment", "vllme");
  return text_at(d, {"spec", "template", "spec", "nodeSelector", "amd.com/gpu.product"}) == "AMD-MI300X-192G";
}

/// Ready pods by the accelerator of their node selector.
struct serving {
  long a100 = 0, mi300x = 0;
};

/// What served at each moment since then, as the states of the pods tell it; at first these A100s did.
std::vector<serving> serving_since(const scene& s, const std::string& version, const std::set<std::string>& at_first) {
  std::map<std::string, bool> ready;  // by name; true: on an MI300X
  for (const auto& name : at_first) ready[name] = false;
  std::vector<serving> out;
  for (const auto& pod : states_since(s, "Pod", version)) {
    const auto name = text_at(pod, {"metadata", "name"});
    bool serves = false;
    if (const auto* conditions = testbed::find(pod, {"status", "conditions"}); conditions && conditions->is_array())
      for (const auto& c : conditions->get_array())
        if (c.at("type") == "Ready") serves = c.at("status") == "True";
    if (pod.contains("deleted") || testbed::find(pod, {"metadata", "deletionTimestamp"})) serves = false;
    if (serves) {
      ready[name] = !text_at(pod, {"spec", "nodeSelector", "amd.com/gpu.product"}).empty();
    } else {
      ready.erase(name);
    }
    serving now;
    for (const auto& [of, amd] : ready) ++(amd ? now.mi300x : now.a100);
    out.push_back(now);
  }
  return out;
}

/// Lets a variant with minReplicas go down to one replica once the load is known. A pod's first sample is of its whole life, of
/// which a part was without load.
bool may_shrink_at(const scene& s, double per_min) {
  const bool known = eventually(60s, [&] {
    return std::atof(text_at(s.va(), {"status", "currentAlloc", "load", "arrivalRate"}).c_str()) > 0.96 * per_min;
  });
  s.patch("VariantAutoscaling", "vllme", {{"spec", {{"minReplicas", 1}}}});
  return known;
}

TEST(Targets, MovesToAnotherAcceleratorWithoutAGap) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 4}, {"amd", "AMD-MI300X-192G", 1, 2}});
  allow_moves(s);
  s.cluster.apply(movable_deployment(s, 3));
  ASSERT_TRUE(eventually(30s, [&] { return s.ready() == 3; }));
  std::set<std::string> old_pods;
  const auto pods = s.cluster.get(api_path("v1", "Pod", s.ns, ""));
  for (const auto& p : pods.at("items").as_array()) old_pods.insert(text_at(p.as_object(), {"metadata", "name"}));
  ASSERT_EQ(old_pods.size(), 3u);
  const auto since = version_now(s, "Pod");
  s.variant({.extra_spec = "  keepAccelerator: false\n  minReplicas: 3\n"});
  const auto load = s.load(360, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller();
  ASSERT_TRUE(may_shrink_at(s, 360)) << s.log();

  ASSERT_TRUE(eventually(60s,
                         [&] {
                           const auto d = s.get("Deployment", "vllme");
                           return on_mi300x(s) && integer_at(d, {"spec", "replicas"}, 0) != 3 &&
                                  s.va().at("metadata").at("labels").at("inference.optimization/acceleratorName") == "MI300X";
                         }))
      << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(eventually(40s, [&] { return s.is("OptimizationReady", "True Optimized") && s.ready() == s.replicas(); }))
      << s.condition("OptimizationReady") << s.log();
  const auto d = s.get("Deployment", "vllme");
  EXPECT_EQ(text_at(d, {"metadata", "annotations", "inference.optimization/accelerator-change"}), "");
  EXPECT_EQ(text_at(d, {"spec", "template", "spec", "nodeSelector", "nvidia.com/gpu.product"}), "");
  const auto& limits = d.at("spec").at("template").at("spec").at("containers").at(0).at("resources").at("limits");
  EXPECT_EQ(json::serialize(limits), R"({"amd.com/gpu":"1"})");
  EXPECT_EQ(text_at(s.va(), {"status", "currentAlloc", "accelerator"}), "MI300X");
  const auto events = s.cluster.get(fmt::format("/api/v1/namespaces/{}/events", s.ns));
  EXPECT_THAT(json::serialize(events), HasSubstr("AcceleratorChangeStarted"));
  EXPECT_THAT(json::serialize(events), HasSubstr("\"AcceleratorChanged\""));

  // At every moment up to the end of the last old pod: all of the old ones, or as many of the new ones as were decided on.
  const auto pods_left = [&] {
    const auto left = s.cluster.get(api_path("v1", "Pod", s.ns, ""));
    long n = 0;
    for (const auto& p : left.at("items").as_array())
      n += static_cast<long>(old_pods.count(text_at(p.as_object(), {"metadata", "name"})));
    return n;
  };
  ASSERT_TRUE(eventually(20s, [&] { return pods_left() == 0; })) << pods_left();
  const auto decided = s.replicas();
  const auto moments = serving_since(s, since, old_pods);
  long gone = 0;
  for (const auto& m : moments) {
    EXPECT_TRUE(m.a100 == 3 || m.mi300x >= decided) << m.a100 << " old and " << m.mi300x << " new ones serve, of " << decided;
    if (m.a100 == 0) ++gone;
  }
  EXPECT_GT(gone, 0) << "the drain has been seen";

  load->stop();
  EXPECT_TRUE(eventually(20s, [&] { return load->statistics().outstanding() == 0; }));
  EXPECT_GT(load->statistics().ok, 20);
  EXPECT_EQ(load->statistics().failed, 0) << load->statistics().first_error;
}

TEST(Targets, AMoveThatGetsStuckIsTakenBack) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 4}, {"amd", "AMD-MI300X-192G", 1, 2}});
  s.cluster.apply(with(movable_deployment(s, 3), "  replicas: 3", "  progressDeadlineSeconds: 4\n  replicas: 3"));
  ASSERT_TRUE(eventually(30s, [&] { return s.ready() == 3; }));
  // Nothing tells the controller that no node is there for such pods.
  s.configure(
      "accelerator-unit-costs",
      {{"MI300X", R"({"device":"AMD-MI300X-192G","cost":"65.00","nodeSelector":{"zone":"nowhere"},"resource":"amd.com/gpu"})"}});
  s.variant({.extra_spec = "  keepAccelerator: false\n  minReplicas: 3\n"});
  const auto load = s.load(360, "vllme", {}, "default", scene::evenly);
  s.start_scraping_controller();
  ASSERT_TRUE(may_shrink_at(s, 360)) << s.log();
  ASSERT_TRUE(eventually(40s, [&] { return s.logged("AcceleratorChangeFailed"); })) << s.log();
  EXPECT_TRUE(eventually(20s, [&] {
    return s.condition("OptimizationReady").find("not moved to MI300X for half an hour") != std::string::npos;
  })) << s.condition("OptimizationReady");
  EXPECT_EQ(text_at(s.get("Deployment", "vllme"), {"spec", "template", "spec", "nodeSelector", "zone"}), "");
  EXPECT_TRUE(eventually(20s, [&] { return s.ready() == s.replicas() && s.replicas() >= 3; })) << s.ready() << s.log();
  EXPECT_EQ(text_at(s.va(), {"metadata", "labels", "inference.optimization/acceleratorName"}), "A100");
}

TEST(Targets, ScalesAStatefulSet) {
  scene s;
  auto text = with(with(movable_deployment(s, 1), "kind: Deployment", "kind: StatefulSet"),
                   "spec:", "spec:\n  serviceName: vllme\n  podManagementPolicy: Parallel");
  s.cluster.apply(text);
  s.variant({.extra_spec = "  scaleTargetRef: {apiVersion: apps/v1, kind: StatefulSet, name: vllme}\n"});
  s.start_scraping_controller();
  ASSERT_TRUE(eventually(30s, [&] { return s.is("OptimizationReady", "True Optimized"); }))
      << s.condition("OptimizationReady") << s.log();
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  EXPECT_TRUE(eventually(30s, [&] {
    const auto set = s.get("StatefulSet", "vllme");
    return integer_at(set, {"spec", "replicas"}, 0) == 2 && integer_at(set, {"status", "readyReplicas"}, 0) == 2;
  })) << s.log();
}

constexpr auto group_crd = R"(
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servinggroups.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: ServingGroup, plural: servinggroups, singular: servinggroup}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {copies: {type: integer}}}
            status: {type: object, properties: {copies: {type: integer}, selector: {type: string}}}
      subresources:
        status: {}
        scale: {specReplicasPath: .spec.copies, statusReplicasPath: .status.copies, labelSelectorPath: .status.selector}
)";

TEST(Targets, ScalesAnyKindWithAScaleSubresource) {
  scene s;
  const std::string path = fmt::format("/apis/example.com/v1/namespaces/{}/servinggroups", s.ns);
  s.variant({.extra_spec = "  scaleTargetRef: {apiVersion: example.com/v1, kind: ServingGroup, name: group}\n"});
  s.start_scraping_controller();
  EXPECT_TRUE(
      eventually(10s, [&] { return s.condition("TargetResolved").find("the API has no example.com/v1") != std::string::npos; }))
      << s.condition("TargetResolved") << s.log();

  // The kind comes, but the controller may not read it yet.
  s.cluster.apply(group_crd);
  ASSERT_TRUE(eventually(10s, [&] {
    return s.cluster
        .call("POST", path,
              json::parse(
                  R"({"apiVersion":"example.com/v1","kind":"ServingGroup","metadata":{"name":"group"},"spec":{"copies":1}})"))
        .ok();
  }));
  const auto status =
      s.cluster.call("PATCH", path + "/group/status", json::parse(R"({"status":{"copies":1,"selector":"app=group"}})"),
                     "application/merge-patch+json");
  ASSERT_TRUE(status.ok()) << status.problem;
  EXPECT_TRUE(eventually(30s, [&] { return s.condition("TargetResolved").find("forbidden") != std::string::npos; }))
      << s.condition("TargetResolved") << s.log();
  const auto role = s.system_ns + "-groups";
  s.cluster.apply(fmt::format(R"(
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {0}}}
rules:
  - {{apiGroups: [example.com], resources: [servinggroups], verbs: [list, watch]}}
  - {{apiGroups: [example.com], resources: [servinggroups/scale], verbs: [get, patch]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {0}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}}}
subjects: [{{kind: ServiceAccount, name: inferno-autoscaler-controller-manager, namespace: {1}}}]
)",
                              role, s.system_ns));

  // Its one copy, a pod as a sample Deployment's.
  s.cluster.apply(group_pod(s));
  ASSERT_TRUE(eventually(60s, [&] { return s.is("OptimizationReady", "True Optimized"); }))
      << s.condition("OptimizationReady") << s.log();
  const auto load = s.load(240, "group", {}, "default", scene::evenly);
  EXPECT_TRUE(eventually(30s, [&] { return integer_at(s.cluster.get(path + "/group"), {"spec", "copies"}, 0) >= 2; })) << s.log();
  const auto owners = s.va().at("metadata").as_object();
  EXPECT_THAT(json::serialize(owners), HasSubstr("\"kind\":\"ServingGroup\""));

  s.cluster.remove("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/servinggroups.example.com");
  // The group owns the variant: a garbage collector that knows the kind by now takes the variant along.
  EXPECT_TRUE(eventually(30s, [&] { return s.is("TargetResolved", "False TargetNotFound") || s.va().empty(); }))
      << s.condition("TargetResolved") << s.log();
  for (const auto* kind : {"clusterroles", "clusterrolebindings"})
    s.cluster.remove(fmt::format("/apis/rbac.authorization.k8s.io/v1/{}/{}", kind, role));
}

}  // namespace
}  // namespace inferno::test

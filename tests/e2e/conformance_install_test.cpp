// Rows of docs/conformance.md: the manifests of deploy/ and the objects of the quick start on a real API server.
#include <gmock/gmock.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

/// kubectl apply --server-side: the resource versions of what there is then, in the order of the documents.
std::vector<std::string> apply_server_side(const real_cluster& cluster, const std::string& yaml) {
  const auto documents = testbed::parse_manifests(yaml);
  if (!documents) throw std::runtime_error(documents.error());
  std::vector<std::string> versions;
  for (const auto& o : *documents) {
    const auto path = api_path(testbed::text_at(o, {"apiVersion"}), testbed::text_at(o, {"kind"}),
                               testbed::text_at(o, {"metadata", "namespace"}), testbed::text_at(o, {"metadata", "name"}));
    const auto done = cluster.call("PATCH", path + "?fieldManager=install&force=true", o, "application/apply-patch+yaml");
    if (!done.ok()) throw std::runtime_error(path + ": " + done.problem);
    versions.push_back(path + " " + testbed::text_at(done.body.as_object(), {"metadata", "resourceVersion"}));
  }
  return versions;
}

bool allowed(const scene& s, const std::string& verb, const std::string& group, const std::string& resource,
             const std::string& ns) {
  const json::object review{
      {"apiVersion", "authorization.k8s.io/v1"},
      {"kind", "SubjectAccessReview"},
      {"spec", json::object{{"user", fmt::format("system:serviceaccount:{}:inferno-autoscaler-controller-manager", s.system_ns)},
                            {"resourceAttributes",
                             json::object{{"verb", verb}, {"group", group}, {"resource", resource}, {"namespace", ns}}}}}};
  const auto done = s.cluster.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review);
  if (!done.ok()) throw std::runtime_error("SubjectAccessReview: " + done.problem);
  return done.body.at("status").at("allowed").as_bool();
}

TEST(Conformance, Install) {
  scene s;
  const auto manifests = repository_file("deploy/crd/variantautoscalings.yaml") + "\n---\n" +
                         s.replaced(repository_file("deploy/rbac/rbac.yaml")) + "\n---\n" +
                         s.replaced(repository_file("deploy/config/configmaps.yaml"));
  const auto once = apply_server_side(s.cluster, manifests);
  EXPECT_GE(once.size(), 10u);
  EXPECT_EQ(apply_server_side(s.cluster, manifests), once) << "applied twice, something changed";

  s.start_controller();
  ASSERT_TRUE(eventually(10s, [&] { return s.http("probes", "/readyz").status == 200; })) << s.log();
  EXPECT_EQ(s.http("probes", "/healthz").status, 200);
  EXPECT_EQ(s.http("metrics", "/metrics").status, 200);
  ASSERT_TRUE(eventually(10s, [&] { return s.logged("Reconciliation completed"); })) << s.log();
  EXPECT_THAT(s.log(), AllOf(Not(HasSubstr("\"level\":\"WARN\"")), Not(HasSubstr("\"level\":\"ERROR\""))));

  EXPECT_TRUE(allowed(s, "list", "llmd.ai", "variantautoscalings", s.ns));
  EXPECT_TRUE(allowed(s, "list", "", "configmaps", s.system_ns));
  EXPECT_FALSE(allowed(s, "list", "", "configmaps", s.ns));
  EXPECT_FALSE(allowed(s, "list", "", "secrets", s.system_ns));
  EXPECT_FALSE(allowed(s, "create", "", "pods", s.ns));
  EXPECT_FALSE(allowed(s, "delete", "", "pods", s.ns));
  EXPECT_FALSE(allowed(s, "delete", "apps", "deployments", s.ns));
  EXPECT_FALSE(allowed(s, "delete", "llmd.ai", "variantautoscalings", s.ns));
  EXPECT_FALSE(allowed(s, "patch", "", "nodes", ""));

  // What the CRD refuses: a change of the sample, and the field the refusal names.
  struct wrong {
    std::string from, to, field;
  };
  for (const auto& w :
       {wrong{"alpha: \"20.58\"", "alpha: \"fast\"", "spec.modelProfile.accelerators[0].alpha"},
        wrong{"alpha: \"20.58\"", "alpha: 20.58", "spec.modelProfile.accelerators[0].alpha"},
        wrong{"accCount: 1", "accCount: 0", "spec.modelProfile.accelerators[0].accCount"},
        wrong{"maxBatchSize: 4, ", "", "spec.modelProfile.accelerators[0].maxBatchSize"},
        wrong{"modelID: default", "modelID: \"\"", "spec.modelID"}, wrong{"    key: default\n", "", "spec.sloClassRef.key"},
        wrong{"spec:", "spec:\n  minReplicas: -1", "spec.minReplicas"},
        wrong{"spec:", "spec:\n  actuationMode: sometimes", "spec.actuationMode"},
        wrong{"spec:", "spec:\n  scaleTargetRef: {kind: Deployment}", "spec.scaleTargetRef.name"},
        wrong{"spec:", "spec:\n  minReplicas: 3\n  maxReplicas: 2", "maxReplicas must not be less than minReplicas"},
        wrong{"spec:", "spec:\n  scaleTargetRef: {kind: LeaderWorkerSet, name: x}", "need an apiVersion"},
        wrong{"alpha: \"20.58\"", "perfParms: {decodeParms: {alpha: \"1\", beta: \"1\"}}, alpha: \"20.58\"",
              "a profile has one form"},
        wrong{"alpha: \"20.58\", ", "", "needs alpha and beta, or perfParms"},
        wrong{"alpha: \"20.58\"", "kvCacheGiB: \"40\", alpha: \"20.58\"", "need each other"},
        wrong{"alpha: \"20.58\", beta: \"0.41\"",
              "perfParms: {decodeParms: {alpha: \"1\", beta: \"1\"}, iterationParms: {alpha: \"1\", beta: \"1\", gamma: \"1\"}}",
              "a profile has one form"},
        wrong{"    accelerators:\n",
              "    accelerators:\n      - {acc: A100, accCount: 1, alpha: \"1\", beta: \"1\", maxBatchSize: 4}\n",
              "each acc must be there once"}}) {
    auto text = s.variant_yaml({});
    const auto at = text.find(w.from);
    ASSERT_NE(at, std::string::npos) << w.from;
    const auto documents = testbed::parse_manifests(text.replace(at, w.from.size(), w.to));
    ASSERT_TRUE(documents) << documents.error();
    const auto refused = s.cluster.call("POST", api_path("llmd.ai/v1alpha1", "VariantAutoscaling", s.ns, ""), documents->at(0));
    EXPECT_EQ(refused.status, 422) << w.to << refused.problem;
    EXPECT_THAT(refused.problem, HasSubstr(w.field));
  }
}

/// The fields of a schema that `value` has not, by their path. What an actuation not yet attempted lacks is left out.
void missing(const json::object& schema, const json::value& value, const std::string& path, std::vector<std::string>& out) {
  const auto* properties = testbed::find(schema, {"properties"});
  if (!properties) return;
  for (const auto& [name, inner] : properties->as_object()) {
    const auto here = fmt::format("{}.{}", path, std::string_view(name));
    const auto* there = value.is_object() ? value.get_object().if_contains(name) : nullptr;
    if (there) missing(inner.as_object(), *there, here, out);
    if (!there && name != "lastAttemptTime" && name != "lastSuccessTime") out.push_back(here);
  }
}

TEST(Conformance, SeedFormatObjects) {
  scene s;
  s.deployment({.name = "vllme-deployment", .tokens = 178, .random_lengths = true});
  s.variant({.name = "vllme-deployment"});
  // The newer form of the profiles.
  s.deployment({.name = "vllme-perf", .model = "llama0-70b"});
  s.cluster.apply(fmt::format(R"(
apiVersion: llmd.ai/v1alpha1
kind: VariantAutoscaling
metadata:
  name: vllme-perf
  namespace: {}
  labels:
    inference.optimization/acceleratorName: A100
spec:
  modelID: llama0-70b
  sloClassRef:
    name: premium
    key: premium.yaml
  modelProfile:
    accelerators:
      - acc: A100
        accCount: 1
        perfParms:
          decodeParms: {{alpha: "20.58", beta: "0.41"}}
          prefillParms: {{gamma: "200.5", delta: "0.0041"}}
        maxBatchSize: 8
)",
                              s.ns));
  s.start_controller();
  ASSERT_TRUE(s.settles(1, "vllme-deployment")) << s.condition("OptimizationReady", "vllme-deployment") << s.log();
  ASSERT_TRUE(s.settles(1, "vllme-perf")) << s.condition("OptimizationReady", "vllme-perf") << s.log();

  const auto crd = testbed::parse_manifests(repository_file("deploy/crd/variantautoscalings.yaml")).value().at(0);
  const auto& schema = crd.at("spec").at("versions").at(0).at("schema").at("openAPIV3Schema").at("properties").at("status");
  for (const std::string name : {"vllme-deployment", "vllme-perf"}) {
    std::vector<std::string> lacking;
    missing(schema.as_object(), s.va(name).at("status"), "status", lacking);
    EXPECT_THAT(lacking, ElementsAre()) << json::serialize(s.va(name));
    EXPECT_TRUE(s.is("MetricsAvailable", "True MetricsFound", name)) << s.condition("MetricsAvailable", name);
    EXPECT_TRUE(s.is("OptimizationReady", "True Optimized", name)) << s.condition("OptimizationReady", name);
    EXPECT_TRUE(s.is("TargetResolved", "True TargetFound", name)) << s.condition("TargetResolved", name);
  }
  const auto status = s.va("vllme-deployment").at("status");
  EXPECT_EQ(status.at("currentAlloc").at("accelerator"), "A100");
  EXPECT_EQ(status.at("currentAlloc").at("maxBatch"), 4);
  EXPECT_EQ(status.at("currentAlloc").at("variantCost"), "40.00");
  EXPECT_EQ(s.va("vllme-perf").at("status").at("desiredOptimizedAlloc").at("maxBatch"), 8);

  // What kubectl get shows.
  const auto path = api_path("llmd.ai/v1alpha1", "VariantAutoscaling", s.ns, "");
  const auto table =
      s.cluster.call("GET", path, nullptr, "application/json", "application/json;as=Table;v=v1;g=meta.k8s.io").body.as_object();
  ASSERT_EQ(table.at("kind"), "Table");
  std::vector<std::string> columns, cells;
  for (const auto& c : table.at("columnDefinitions").as_array()) columns.emplace_back(c.at("name").as_string());
  EXPECT_THAT(columns, ElementsAre("Name", "Model", "Accelerator", "CurrentReplicas", "Ready", "Optimized", "Age"));
  ASSERT_EQ(table.at("rows").as_array().size(), 2u);
  for (const auto& c : table.at("rows").at(0).at("cells").as_array()) cells.push_back(json::serialize(c));
  ASSERT_EQ(cells.size(), 7u);
  cells.pop_back();
  EXPECT_THAT(cells, ElementsAre("\"vllme-deployment\"", "\"default\"", "\"A100\"", "1", "1", "1"));
  std::vector<std::string> short_names;
  const auto discovery = s.cluster.get("/apis/llmd.ai/v1alpha1");
  for (const auto& r : discovery.at("resources").as_array())
    if (r.at("name") == "variantautoscalings") short_names.push_back(json::serialize(r.at("shortNames")));
  EXPECT_THAT(short_names, Contains("[\"va\"]"));
}

}  // namespace
}  // namespace inferno::test

// The real kubectl against the emulated cluster: what a user types, and what comes back.
#include "tests/integration/rig.hpp"

namespace inferno::test {
namespace {

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

/// Runs of spaces as one: columns without their widths.
std::string squeezed(const std::string& line) {
  std::string out;
  for (const char c : line)
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out += c;
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

class Kubectl : public ::testing::Test {
 protected:
  rig r;
  const std::string deployment = testbed::sample_deployment();
  outcome ok(std::vector<std::string> args, const std::string& input = {}) {
    const auto said = fmt::format("kubectl {}", fmt::join(args, " "));
    auto o = r.kubectl(std::move(args), input);
    EXPECT_EQ(o.exit_code, 0) << said << "\n" << o.err;
    return o;
  }
  /// Versions of kubectl word it in their ways, but all name these.
  outcome refused(std::vector<std::string> args, const std::vector<std::string>& named, const std::string& input = {}) {
    auto o = r.kubectl(std::move(args), input);
    EXPECT_NE(o.exit_code, 0);
    for (const auto& what : named) EXPECT_NE(o.err.find(what), std::string::npos) << what << "\n" << o.err;
    return o;
  }
  void apply_samples() {
    ok({"apply", "-f", "-"}, deployment);
    ok({"apply", "-f", "-"}, testbed::embedded::sample_variant);
  }
};

TEST_F(Kubectl, ListsNodesWithTheirGpus) {
  const auto table = lines(ok({"get", "nodes"}).out);
  ASSERT_EQ(table.size(), 4u);
  EXPECT_EQ(squeezed(table[0]), "NAME STATUS ROLES AGE VERSION");
  EXPECT_EQ(squeezed(table[1]).rfind("kind-inferno-gpu-cluster-control-plane Ready control-plane ", 0), 0u) << table[1];
  EXPECT_EQ(ok({"get", "nodes", "-l", "amd.com/gpu.product=AMD-MI300X-192G", "-o", "name"}).out,
            "node/kind-inferno-gpu-cluster-worker\n");
  EXPECT_EQ(ok({"get", "nodes", "-o", "jsonpath={.items[*].status.allocatable.nvidia\\.com/gpu}"}).out, "2");
}

TEST_F(Kubectl, KnowsTheServerAndItsResources) {
  EXPECT_NE(ok({"version"}).out.find("v1.32.0"), std::string::npos);
  const auto resources = ok({"api-resources", "--no-headers"}).out;
  for (const auto* line : {"variantautoscalings va llmd.ai/v1alpha1 true VariantAutoscaling",
                           "deployments deploy apps/v1 true Deployment", "nodes no v1 false Node"}) {
    bool found = false;
    for (const auto& l : lines(resources)) found = found || squeezed(l) == line;
    EXPECT_TRUE(found) << line << "\n" << resources;
  }
}

TEST_F(Kubectl, AppliesAndAppliesAgain) {
  EXPECT_EQ(ok({"apply", "-f", "-"}, deployment).out, "deployment.apps/vllme-deployment created\n");
  EXPECT_EQ(ok({"apply", "-f", "-"}, deployment).out, "deployment.apps/vllme-deployment unchanged\n");
  std::string two = deployment;
  two.replace(two.find("replicas: 1"), 11, "replicas: 2");
  EXPECT_EQ(ok({"apply", "-f", "-"}, two).out, "deployment.apps/vllme-deployment configured\n");
  EXPECT_EQ(r.replicas(), 2);
  EXPECT_EQ(ok({"apply", "-f", "-"}, testbed::embedded::sample_variant).out,
            "variantautoscaling.llmd.ai/vllme-deployment created\n");
  std::string other = testbed::embedded::sample_variant;
  other.replace(other.find("modelID: default"), 16, "modelID: another");
  EXPECT_EQ(ok({"apply", "-f", "-"}, other).out, "variantautoscaling.llmd.ai/vllme-deployment configured\n");
  EXPECT_EQ(ok({"get", "va", "vllme-deployment", "-n", "llm-d-sim", "-o", "jsonpath={.spec.modelID}"}).out, "another");
  EXPECT_EQ(ok({"diff", "-f", "-"}, other).out, "");
}

TEST_F(Kubectl, PrintsTheColumnsOfTheQuickStart) {
  apply_samples();
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  ASSERT_TRUE(eventually(10s, [&] {
    return squeezed(lines(ok({"get", "deploy", "-n", "llm-d-sim"}).out).at(1)).rfind("vllme-deployment 1/1 1 1 ", 0) == 0;
  }));
  EXPECT_EQ(squeezed(lines(ok({"get", "deployments", "-n", "llm-d-sim"}).out)[0]), "NAME READY UP-TO-DATE AVAILABLE AGE");
  const auto va = lines(ok({"get", "variantautoscalings.llmd.ai", "-n", "llm-d-sim"}).out);
  ASSERT_EQ(va.size(), 2u);
  EXPECT_EQ(squeezed(va[0]), "NAME MODEL ACCELERATOR CURRENTREPLICAS READY OPTIMIZED AGE");
  EXPECT_EQ(squeezed(va[1]).rfind("vllme-deployment default ", 0), 0u);
  const auto pods = lines(ok({"get", "pods", "-n", "llm-d-sim", "-o", "wide"}).out);
  EXPECT_EQ(squeezed(pods[0]), "NAME READY STATUS RESTARTS AGE IP NODE");
  EXPECT_NE(squeezed(pods[1]).find(" 1/1 Running 0 "), std::string::npos) << pods[1];
  EXPECT_NE(pods[1].find("kind-inferno-gpu-cluster-control-plane"), std::string::npos) << "only there is an A100";
  EXPECT_NE(ok({"get", "va", "-A", "-o", "yaml"}).out.find("modelID: default"), std::string::npos);
}

TEST_F(Kubectl, ScalesUntilTheGpusAreGone) {
  apply_samples();
  EXPECT_EQ(ok({"scale", "deployment/vllme-deployment", "-n", "llm-d-sim", "--replicas=3"}).out,
            "deployment.apps/vllme-deployment scaled\n");
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 2; })) << "two A100";
  const auto pending = ok({"get", "pods", "-n", "llm-d-sim", "--field-selector", "status.phase=Pending", "-o", "name"}).out;
  ASSERT_EQ(lines(pending).size(), 1u) << pending;
  EXPECT_NE(ok({"describe", lines(pending)[0], "-n", "llm-d-sim"}).out.find("Insufficient nvidia.com/gpu"), std::string::npos);
  // A GPU that becomes free is taken at once.
  ok({"scale", "deployment/vllme-deployment", "-n", "llm-d-sim", "--replicas=1"});
  ASSERT_TRUE(eventually(10s, [&] {
    return r.servers->urls().size() == 1 && lines(ok({"get", "pods", "-n", "llm-d-sim", "-o", "name"}).out).size() == 1;
  }));
  refused({"scale", "deployment/vllme-deployment", "-n", "llm-d-sim", "--replicas=1", "--current-replicas=7"},
          {"Expected replicas to be 7"});
}

TEST_F(Kubectl, PatchesInThreeWays) {
  apply_samples();
  const std::vector<std::string> target{"deployment", "vllme-deployment", "-n", "llm-d-sim"};
  const auto patch = [&](const std::string& type, const std::string& text) {
    std::vector<std::string> args{"patch"};
    args.insert(args.end(), target.begin(), target.end());
    args.insert(args.end(), {"--type", type, "-p", text});
    return ok(args).out;
  };
  EXPECT_EQ(patch("merge", R"({"metadata":{"labels":{"team":"a"}}})"), "deployment.apps/vllme-deployment patched\n");
  EXPECT_EQ(patch("json", R"([{"op":"replace","path":"/metadata/labels/team","value":"b"}])"),
            "deployment.apps/vllme-deployment patched\n");
  // Strategic: the list of containers is merged by name, the image stays.
  patch("strategic",
        R"({"spec":{"template":{"spec":{"containers":[{"name":"vllme","env":[{"name":"AVG_TOKENS","value":"50"}]}]}}}})");
  const auto d = r.object("/apis/apps/v1/namespaces/llm-d-sim/deployments/vllme-deployment");
  EXPECT_EQ(testbed::text_at(d, {"metadata", "labels", "team"}), "b");
  const auto& container = testbed::find(d, {"spec", "template", "spec", "containers"})->at(0);
  EXPECT_EQ(container.at("image").as_string(), "inferno-testbed:latest");
  EXPECT_EQ(container.at("env").as_array().size(), 5u);
  refused({"patch", "va", "vllme-deployment", "-n", "llm-d-sim", "--type", "merge", "-p", R"({"spec":{"modelID":7}})"},
          {"spec.modelID"});
}

TEST_F(Kubectl, WatchesFromTheTableOn) {
  apply_samples();
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  child watch("kubectl",
              {"--kubeconfig", r.folder.file("kubeconfig"), "--cache-dir", r.folder.file("kube-cache"), "get", "deployments",
               "-n", "llm-d-sim", "-w", "--no-headers"},
              r.folder.file("watch.out"));
  ASSERT_TRUE(eventually(10s, [&] { return !watch.output().empty(); }));
  ok({"scale", "deployment/vllme-deployment", "-n", "llm-d-sim", "--replicas=2"});
  ASSERT_TRUE(eventually(10s, [&] { return squeezed(watch.output()).find("vllme-deployment 2/2 2 2 ") != std::string::npos; }))
      << watch.output();
  ok({"delete", "deployment", "vllme-deployment", "-n", "llm-d-sim"});
  watch.signal(SIGTERM);
}

TEST_F(Kubectl, DeletesAndWaitsForTheEnd) {
  apply_samples();
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  EXPECT_EQ(ok({"delete", "va", "vllme-deployment", "-n", "llm-d-sim"}).out,
            "variantautoscaling.llmd.ai \"vllme-deployment\" deleted\n");
  EXPECT_EQ(ok({"delete", "deployment", "vllme-deployment", "-n", "llm-d-sim"}).out,
            "deployment.apps \"vllme-deployment\" deleted\n");
  EXPECT_TRUE(eventually(10s, [&] { return r.servers->urls().empty(); })) << "its pods go with it";
  refused({"get", "deployment", "vllme-deployment", "-n", "llm-d-sim"},
          {"Error from server (NotFound): deployments.apps \"vllme-deployment\" not found"});
  EXPECT_TRUE(eventually(10s, [&] {
    return ok({"get", "pods", "-n", "llm-d-sim"}).err == "No resources found in llm-d-sim namespace.\n";
  }));
}

TEST_F(Kubectl, IsToldWhatIsWrongWithAVariantAutoscaling) {
  const auto with = [](const std::string& from, const std::string& to) {
    std::string text = testbed::embedded::sample_variant;
    const auto at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  refused({"apply", "-f", "-"}, {"spec.modelProfile.accelerators[0].alpha"}, with(R"(alpha: "20.58")", R"(alpha: "a lot")"));
  refused({"apply", "-f", "-"}, {"spec.modelProfile.accelerators[0].maxBatchSize"}, with("maxBatchSize: 4", "maxBatchSize: 0"));
  refused({"apply", "-f", "-"}, {"spec.sloClassRef", "name"}, with("    name: Premium\n", ""));
  refused({"apply", "-f", "-"}, {"unknown field \"", "spec", "modelId\""},
          with("modelID: default", "modelID: default\n  modelId: twice"));
  refused({"apply", "-f", "-"}, {"namespaces \"nowhere\" not found"}, with("namespace: llm-d-sim", "namespace: nowhere"));
}

TEST_F(Kubectl, DescribesEventsAndConfigMaps) {
  apply_samples();
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  const auto text = ok({"describe", "deployment", "vllme-deployment", "-n", "llm-d-sim"}).out;
  EXPECT_NE(text.find("Scaled up replica set"), std::string::npos) << text;
  EXPECT_NE(text.find("nvidia.com/gpu:"), std::string::npos) << text;
  EXPECT_NE(ok({"get", "cm", "-n", "inferno-autoscaler-system"}).out.find("service-classes-config"), std::string::npos);
  EXPECT_NE(ok({"get", "events", "-n", "llm-d-sim"}).out.find("Scheduled"), std::string::npos);
  EXPECT_EQ(ok({"rollout", "status", "deployment/vllme-deployment", "-n", "llm-d-sim", "--timeout=10s"}).out,
            "deployment \"vllme-deployment\" successfully rolled out\n");
}

/// The client's own version: commands that it does not have cannot be tested with it.
int minor_version(const rig& r) {
  const auto version = json::parse(r.kubectl({"version", "--client", "-o", "json"}).out);
  return std::atoi(std::string(version.at("clientVersion").at("minor").as_string()).c_str());
}

TEST_F(Kubectl, ExplainsVariantsAndPods) {
  const auto spec = ok({"explain", "va.spec"}).out;
  for (const auto* part : {"modelProfile", "sloClassRef", "minReplicas", "-required-"})
    EXPECT_NE(spec.find(part), std::string::npos) << part << "\n" << spec;
  // Older ones know built-in kinds only from /openapi/v2, where they are objects of any content.
  if (minor_version(r) < 27) return;
  EXPECT_NE(squeezed(ok({"explain", "pods.spec.terminationGracePeriodSeconds"}).out).find("requests it has."), std::string::npos);
  EXPECT_NE(ok({"explain", "deploy.spec.template.spec.containers.env"}).out.find("emulated vLLM server"), std::string::npos);
  EXPECT_NE(ok({"explain", "va.metadata.labels"}).out.find("selectors"), std::string::npos);
}

TEST_F(Kubectl, AppliesOnTheServer) {
  const std::vector<std::string> apply{"apply", "--server-side", "-f", "-"};
  EXPECT_EQ(ok(apply, deployment).out, "deployment.apps/vllme-deployment serverside-applied\n");
  EXPECT_EQ(ok(apply, testbed::embedded::sample_variant).out, "variantautoscaling.llmd.ai/vllme-deployment serverside-applied\n");
  EXPECT_EQ(ok(apply, deployment).out, "deployment.apps/vllme-deployment serverside-applied\n");
  // Somebody else scales; applying the old number is a conflict that names both, and can be forced.
  ok({"scale", "deployment/vllme-deployment", "-n", "llm-d-sim", "--replicas=2"});
  refused(apply, {"conflict", "kubectl", ".spec.replicas", "--force-conflicts"}, deployment);
  EXPECT_EQ(r.replicas(), 2);
  ok({"apply", "--server-side", "--force-conflicts", "-f", "-"}, deployment);
  EXPECT_EQ(r.replicas(), 1);
}

TEST_F(Kubectl, ShowsWhatAServerLogs) {
  apply_samples();
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  // A Deployment's log is that of one of its pods.
  ASSERT_TRUE(eventually(10s, [&] {
    return r.kubectl({"logs", "deployment/vllme-deployment", "-n", "llm-d-sim"}).exit_code == 0;
  }));
  EXPECT_NE(ok({"logs", "deployment/vllme-deployment", "-n", "llm-d-sim"}).out.find("serving model default at http://127."),
            std::string::npos);
  EXPECT_EQ(lines(ok({"logs", "-l", "app=vllme", "-n", "llm-d-sim", "--tail=1"}).out).size(), 1u);
  refused({"logs", "nobody", "-n", "llm-d-sim"}, {"pods \"nobody\" not found"});
}

TEST_F(Kubectl, AsksForRightsAndTokens) {
  EXPECT_EQ(ok({"auth", "can-i", "patch", "deployments", "--subresource=scale", "-n", "llm-d-sim"}).out, "yes\n");
  EXPECT_NE(ok({"auth", "can-i", "--list"}).out.find("*.*"), std::string::npos);
  // Nothing measures CPU and memory of an emulated pod, and nothing pretends to.
  refused({"top", "pods", "-n", "llm-d-sim"}, {"Metrics API not available"});
  if (minor_version(r) < 24) return;
  // kubectl sends what it makes itself as protobuf, which is not emulated but for reviews and tokens.
  ok({"create", "-f", "-"},
     R"({"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"reader","namespace":"llm-d-sim"}})");
  auto token = ok({"create", "token", "reader", "-n", "llm-d-sim", "--duration=20m"}).out;
  // A terminal gets a newline too.
  if (token.ends_with('\n')) token.pop_back();
  const auto review =
      fmt::format(R"({{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{{"token":"{}"}}}})", token);
  const auto known = ok({"create", "-f", "-", "-o", "json"}, review).out;
  EXPECT_NE(known.find(R"("username": "system:serviceaccount:llm-d-sim:reader")"), std::string::npos) << known;
  // The controller lets the token's owner in by that review.
  r.start_controller({"--metrics-source", "scrape", "--metrics-secure=true"});
  if (HasFatalFailure()) return;
  const auto url = "https" + r.metrics_url.substr(4);
  std::ofstream(r.folder.file("token")) << token;
  const auto got =
      run_program(INFERNO_BIN, {"get", "--url", url, "--insecure-skip-tls-verify", "--token-file", r.folder.file("token")});
  EXPECT_EQ(got.exit_code, 0) << got.err;
  EXPECT_EQ(run_program(INFERNO_BIN, {"get", "--url", url, "--insecure-skip-tls-verify"}).exit_code, 1);
}

}  // namespace
}  // namespace inferno::test

// deploy/ and the Makefile's targets for it on a real API server: what kustomize and Helm render, how kubectl applies it.
#include <gmock/gmock.h>

#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using testbed::find;
using testbed::text_at;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

std::string tool(const std::string& name) {
  const char* folder = std::getenv("INFERNO_DEPLOY_TOOLS");
  if (!folder || !*folder) throw std::runtime_error("INFERNO_DEPLOY_TOOLS is not set; tools/deploy-tools.sh prints it");
  return std::string(folder) + "/" + name;
}

std::string in_repository(const std::string& path) { return std::string(REPO_DIR) + "/" + path; }

outcome kustomize(const std::string& folder) { return run_program(tool("kubectl"), {"kustomize", in_repository(folder)}); }

outcome helm_template(std::vector<std::string> values, const std::string& ns = "inferno-autoscaler-system") {
  std::vector<std::string> args{"template", "inferno", in_repository("deploy/chart/inferno"), "--namespace", ns};
  for (auto& v : values) args.insert(args.end(), {"--set", std::move(v)});
  return run_program(tool("helm"), args);
}

/// The objects of a text by kind, namespace and name. The entries of ConfigMaps are told apart by what they mean: YAML and JSON
/// can be written in many ways.
std::map<std::string, json::object> objects_of(const std::string& text) {
  std::map<std::string, json::object> out;
  auto documents = testbed::parse_manifests(text);
  if (!documents) throw std::runtime_error(documents.error());
  for (auto& o : *documents) {
    auto* data = o.if_contains("data");
    if (text_at(o, {"kind"}) == "ConfigMap" && data && data->is_object())
      for (auto& entry : data->get_object())
        if (const auto value = std::string(entry.value().as_string()); value.find(':') != std::string::npos)
          if (const auto inner = testbed::parse_manifests(value); inner && inner->size() == 1) entry.value() = inner->front();
    const auto name =
        fmt::format("{} {}/{}", text_at(o, {"kind"}), text_at(o, {"metadata", "namespace"}), text_at(o, {"metadata", "name"}));
    if (!out.emplace(name, std::move(o)).second) throw std::runtime_error("twice: " + name);
  }
  return out;
}

TEST(Deploy, KustomizeAndHelmRenderTheSameObjects) {
  for (const bool monitoring : {false, true}) {
    const auto ours = kustomize(monitoring ? "deploy/overlays/monitoring" : "deploy/default");
    ASSERT_EQ(ours.exit_code, 0) << ours.err;
    const auto charts =
        helm_template(monitoring ? std::vector<std::string>{"serviceMonitor.enabled=true", "prometheusRule.enabled=true"}
                                 : std::vector<std::string>{});
    ASSERT_EQ(charts.exit_code, 0) << charts.err;
    auto want = objects_of(ours.out), have = objects_of(charts.out);
    // Helm makes the namespace itself; it is told to leave the CRD when the chart goes.
    EXPECT_EQ(want.erase("Namespace /inferno-autoscaler-system"), 1u);
    auto& crd = have.at("CustomResourceDefinition /variantautoscalings.llmd.ai").at("metadata").as_object();
    EXPECT_EQ(json::serialize(crd.at("annotations")), R"({"helm.sh/resource-policy":"keep"})");
    crd.erase("annotations");
    for (const auto& [name, object] : want) {
      ASSERT_TRUE(have.count(name)) << name;
      EXPECT_EQ(have.at(name), object) << name << "\n" << json::serialize(have.at(name)) << "\n" << json::serialize(object);
      have.erase(name);
    }
    for (const auto& [name, object] : have) ADD_FAILURE() << "only in the chart: " << name;
  }
}

TEST(Deploy, TheChartTakesItsValues) {
  const auto rendered =
      helm_template({"controllerInstance=blue", "watchNamespace=team-a", "metrics.certSecret=mine",
                     "image.repository=registry/inferno", "image.tag=v2", "leaderElection=false", "replicas=1",
                     "crd.install=false", "networkPolicy.enabled=false", "podDisruptionBudget.enabled=false",
                     "grafanaDashboard.enabled=true", "settings.SOLVER=exact", "extraArgs[0]=--log-level=debug"},
                    "blue-system");
  ASSERT_EQ(rendered.exit_code, 0) << rendered.err;
  const auto all = objects_of(rendered.out);
  const auto& pod = all.at("Deployment blue-system/inferno-autoscaler-controller-manager").at("spec").at("template").at("spec");
  const auto& container = pod.at("containers").at(0);
  EXPECT_EQ(container.at("image"), "registry/inferno:v2");
  EXPECT_EQ(json::serialize(container.at("args")), R"(["controller","--watch-namespace=team-a","--controller-instance=blue",)"
                                                   R"("--metrics-cert-path=/etc/inferno/metrics","--log-level=debug"])");
  EXPECT_EQ(pod.at("volumes").at(0).at("secret").at("secretName"), "mine");
  EXPECT_EQ(all.at("ConfigMap blue-system/inferno-autoscaler-variantautoscaling-config").at("data").at("SOLVER"), "exact");
  EXPECT_TRUE(all.count("ConfigMap blue-system/inferno-autoscaler-dashboard"));
  EXPECT_TRUE(all.count("ClusterRole /inferno-autoscaler-blue-variants")) << "two instances do not share names";
  for (const auto& [name, object] : all) {
    EXPECT_THAT(name, Not(HasSubstr("inferno-autoscaler-system")));
    EXPECT_THAT(json::serialize(object), Not(HasSubstr("\"inferno-autoscaler-variants\""))) << name;
  }
  for (const auto* gone : {"CustomResourceDefinition", "NetworkPolicy", "PodDisruptionBudget"})
    EXPECT_THAT(rendered.out, Not(HasSubstr(std::string("kind: ") + gone)));

  // The probe port is open to nobody but the pod's own node, unless the values say so.
  const auto rules = [](const std::string& text) {
    return objects_of(text)
        .at("NetworkPolicy inferno-autoscaler-system/inferno-autoscaler-controller-manager")
        .at("spec")
        .at("ingress");
  };
  EXPECT_THAT(json::serialize(rules(helm_template({}).out)), Not(HasSubstr("probes")));
  EXPECT_EQ(json::serialize(rules(helm_template({"networkPolicy.probesFrom[0].ipBlock.cidr=10.0.0.0/16"}).out).at(1)),
            R"({"from":[{"ipBlock":{"cidr":"10.0.0.0/16"}}],"ports":[{"port":"probes","protocol":"TCP"}]})");

  struct wrong {
    std::string set, named;
  };
  for (const auto& w :
       {wrong{"replicas=-1", "/replicas"}, wrong{"image.tag=", "/image/tag"}, wrong{"imag.tag=1", "imag"},
        wrong{"acceleratorUnitCosts.A100.cost=cheap", "/acceleratorUnitCosts/A100/cost"},
        wrong{"prometheus.url=ftp://x", "/prometheus/url"}, wrong{"extraArgs[0]=debug", "/extraArgs/0"},
        wrong{"settings.RATE_WINDW=60s", "RATE_WINDW"}, wrong{"settings.RATE_WINDOW=60sec", "/settings/RATE_WINDOW"},
        wrong{"settings.ACTUATION_MODE=dryrun", "/settings/ACTUATION_MODE"}, wrong{"leaderElection=false", "/replicas"}}) {
    const auto refused = helm_template({w.set});
    EXPECT_NE(refused.exit_code, 0) << w.set;
    EXPECT_THAT(refused.err, HasSubstr(w.named));
  }
}

/// make with these targets and variables, against the cluster, as an operator runs it.
outcome make(const stage& all, std::vector<std::string> args) {
  const auto file = all.folder.file("deploy.kubeconfig");
  std::ofstream(file) << all.cluster.kubeconfig();
  args.insert(args.begin(),
              {"-C", REPO_DIR, "--no-print-directory", "-s", "KUBECTL=" + tool("kubectl") + " --kubeconfig=" + file});
  return run_program("make", args);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);)
    if (!line.empty()) out.push_back(line);
  return out;
}

TEST(Deploy, MakeDeployAppliesEverythingAndASecondTimeNothing) {
  auto& all = stage::get();
  // The definitions that the Prometheus Operator and KEDA bring with them.
  const auto kubeconfig = all.folder.file("definitions.kubeconfig");
  std::ofstream(kubeconfig) << all.cluster.kubeconfig();
  for (const auto* name : {"monitoring.coreos.com_servicemonitors.yaml", "monitoring.coreos.com_prometheusrules.yaml",
                           "keda.sh_scaledobjects.yaml"}) {
    const auto done = run_program(tool("kubectl"), {"--kubeconfig=" + kubeconfig, "apply", "--server-side", "-f", tool(name)});
    ASSERT_EQ(done.exit_code, 0) << name << done.err;
  }
  ASSERT_TRUE(eventually(20s, [&] {
    return all.cluster.call("GET", "/apis/monitoring.coreos.com/v1/prometheusrules").ok() &&
           all.cluster.call("GET", "/apis/monitoring.coreos.com/v1/servicemonitors").ok() &&
           all.cluster.call("GET", "/apis/keda.sh/v1alpha1/scaledobjects").ok();
  }));

  const std::vector<std::string> deploy{"deploy", "OVERLAY=deploy/overlays/monitoring", "IMG=registry.example/inferno:v7"};
  const auto first = make(all, deploy);
  ASSERT_EQ(first.exit_code, 0) << first.err;
  const auto objects = kustomize("deploy/overlays/monitoring").out;
  EXPECT_EQ(lines_of(first.out).size(), objects_of(objects).size()) << first.out;
  const auto path = "/apis/apps/v1/namespaces/inferno-autoscaler-system/deployments/inferno-autoscaler-controller-manager";
  const auto deployed = all.cluster.get(path);
  EXPECT_EQ(deployed.at("spec").at("template").at("spec").at("containers").at(0).at("image"), "registry.example/inferno:v7");
  // The namespace enforces the restricted security standard: pods that break it would not be made.
  EXPECT_TRUE(eventually(20s, [&] {
    const auto pods = all.cluster.get("/api/v1/namespaces/inferno-autoscaler-system/pods");
    const auto* items = pods.if_contains("items");
    return items && items->as_array().size() == 2;
  })) << json::serialize(all.cluster.get(path));

  // What was applied, as far as it is ours: others write the status of what has one.
  const auto as_it_is = [&] {
    std::map<std::string, std::string> out;
    for (const auto& [name, o] : objects_of(objects)) {
      const auto meta = all.cluster.get(api_path(text_at(o, {"apiVersion"}), text_at(o, {"kind"}),
                                                 text_at(o, {"metadata", "namespace"}), text_at(o, {"metadata", "name"})));
      const auto* generation = find(meta, {"metadata", "generation"});
      out[name] = generation ? json::serialize(*generation) : text_at(meta, {"metadata", "resourceVersion"});
      EXPECT_NE(out[name], "") << name;
    }
    return out;
  };
  const auto before = as_it_is();
  const auto second = make(all, deploy);
  ASSERT_EQ(second.exit_code, 0) << second.err;
  EXPECT_EQ(make(all, {"install"}).exit_code, 0);
  EXPECT_EQ(as_it_is(), before) << "applied twice, something changed";

  // The samples, and those for autoscalers that read the metric.
  for (int round = 0; round < 2; ++round)
    for (const auto* sample : {"00-namespace.yaml", "vllme-deployment.yaml", "vllme-variantautoscaling.yaml",
                               "autoscalers/hpa.yaml", "autoscalers/scaledobject.yaml"}) {
      const auto done = run_program(tool("kubectl"), {"--kubeconfig=" + kubeconfig, "apply", "--validate=strict", "-f",
                                                      in_repository(std::string("deploy/samples/") + sample)});
      ASSERT_EQ(done.exit_code, 0) << sample << done.err;
      EXPECT_THAT(done.out, HasSubstr(round == 0 ? "created" : "unchanged")) << sample;
    }

  const auto file = make(all, {"build-installer", "IMG=registry.example/inferno:v7", "OVERLAY=deploy/overlays/monitoring"});
  ASSERT_EQ(file.exit_code, 0) << file.err;
  EXPECT_EQ(objects_of(repository_file("build/install.yaml")).size(), objects_of(objects).size());
  EXPECT_THAT(repository_file("build/install.yaml"), HasSubstr("image: registry.example/inferno:v7"));

  const auto gone = make(all, {"undeploy", "OVERLAY=deploy/overlays/monitoring"});
  EXPECT_EQ(gone.exit_code, 0) << gone.err;
  EXPECT_EQ(all.cluster.get("/api/v1/namespaces/inferno-autoscaler-system"), json::object());
  EXPECT_EQ(all.cluster.get("/apis/rbac.authorization.k8s.io/v1/clusterroles/inferno-autoscaler-variants"), json::object());
  EXPECT_EQ(make(all, {"undeploy", "OVERLAY=deploy/overlays/monitoring"}).exit_code, 0) << "nothing left to remove is no error";
  all.cluster.remove("/api/v1/namespaces/llm-d-sim");
  EXPECT_TRUE(eventually(60s, [&] { return all.cluster.get("/api/v1/namespaces/llm-d-sim").empty(); }));
  // Others need it.
  EXPECT_EQ(make(all, {"install"}).exit_code, 0);
  EXPECT_TRUE(eventually(20s, [&] { return all.cluster.call("GET", "/apis/llmd.ai/v1alpha1/variantautoscalings").ok(); }));
}

/// A script of deploy/kind, against the cluster.
outcome script(const stage& all, const std::string& name, std::vector<std::string> args) {
  const auto file = all.folder.file("kind.kubeconfig");
  std::ofstream(file) << all.cluster.kubeconfig();
  args.insert(args.begin(), {"KUBECTL=" + tool("kubectl") + " --kubeconfig=" + file, in_repository("deploy/kind/" + name)});
  return run_program("env", args);
}

TEST(Deploy, TheQuickStartsScriptsBringAFleetThatIsOptimized) {
  auto& all = stage::get();
  auto& cluster = all.cluster;
  for (int i = 0; i < 4; ++i)
    cluster.apply(
        fmt::format("apiVersion: v1\nkind: Node\nmetadata: {{name: kind-{0}}}\nstatus: {{capacity: {{cpu: \"8\", memory: 32Gi, "
                    "pods: \"110\"}}, allocatable: {{cpu: \"8\", memory: 32Gi, pods: \"110\"}}, "
                    "conditions: [{{type: Ready, status: \"True\"}}]}}\n",
                    i));
  const auto labelled = script(all, "nodes.sh", {"-t", "mix", "-n", "3", "-g", "4"});
  ASSERT_EQ(labelled.exit_code, 0) << labelled.err;
  EXPECT_THAT(labelled.out,
              HasSubstr("Summary: GPU resource capacities and allocatables for cluster 'kind-inferno-gpu-cluster':"));
  const auto line = [&](const std::string& node) {
    std::string out;
    for (const auto& l : lines_of(labelled.out)) {
      std::istringstream in(l);
      if (!l.starts_with(node + " ")) continue;
      for (std::string w; in >> w;) out += (out.empty() ? "" : " ") + w;
    }
    return out;
  };
  EXPECT_EQ(line("kind-0"), "kind-0 nvidia.com/gpu 4 4 NVIDIA-A100-PCIE-80GB 81920");
  EXPECT_EQ(line("kind-1"), "kind-1 amd.com/gpu 4 4 AMD-MI300X-192G 196608");
  EXPECT_EQ(line("kind-2"), "kind-2 intel.com/gpu 4 4 Intel-Gaudi-2-96GB 98304");
  EXPECT_EQ(line("kind-3"), "") << "three nodes were asked for";
  const auto node = cluster.get("/api/v1/nodes/kind-1");
  EXPECT_EQ(text_at(node, {"status", "allocatable", "amd.com/gpu"}), "4");
  EXPECT_EQ(text_at(node, {"metadata", "labels", "amd.com/gpu.product"}), "AMD-MI300X-192G");
  const auto own = script(all, "nodes.sh", {"-t", "nvidia", "-n", "1", "-g", "8", "-d", "NVIDIA-A100-PCIE-80GB", "-m", "40960"});
  EXPECT_THAT(own.out, AllOf(HasSubstr("8          8"), HasSubstr("40960"))) << own.err;

  const auto deployed = script(all, "deploy-emulated.sh", {"registry.example/inferno:v7", "registry.example/testbed:v7"});
  ASSERT_EQ(deployed.exit_code, 0) << deployed.err;
  const auto vllme = [&] { return cluster.get("/apis/apps/v1/namespaces/llm-d-sim/deployments/vllme-deployment"); };
  EXPECT_EQ(vllme().at("spec").at("template").at("spec").at("containers").at(0).at("image"), "registry.example/testbed:v7");
  EXPECT_TRUE(eventually(30s, [&] {
    return testbed::integer_at(vllme(), {"status", "readyReplicas"}, 0) == 1;
  })) << json::serialize(vllme());
  EXPECT_EQ(script(all, "deploy-emulated.sh", {"registry.example/inferno:v7", "registry.example/testbed:v7"}).exit_code, 0)
      << "again";

  // What its pod would run, with the rights and the ConfigMaps that were deployed.
  const auto token = all.folder.file("deployed.token"), config = all.folder.file("deployed.kubeconfig");
  std::ofstream(token) << cluster.token("inferno-autoscaler-system", "inferno-autoscaler-controller-manager");
  std::ofstream(config) << cluster.kubeconfig(token);
  child controller(INFERNO_BIN,
                   {"controller", "--kubeconfig", config, "--leader-elect", "--metrics-source", "scrape",
                    "--metrics-bind-address", "127.0.0.1:0", "--health-probe-bind-address", "127.0.0.1:0"},
                   all.folder.file("deployed.log"));
  const auto ready = [&] {
    const auto va = cluster.get("/apis/llmd.ai/v1alpha1/namespaces/llm-d-sim/variantautoscalings/vllme-deployment");
    return json::serialize(va).find("\"reason\":\"Optimized\"") != std::string::npos;
  };
  EXPECT_TRUE(eventually(60s, ready)) << controller.output();
  controller.signal(SIGTERM);
  EXPECT_EQ(controller.wait(5s), 0);

  // Behind llm-d's endpoint picker, whose gateway somebody else brings.
  setenv("LLM_D_CRDS", tool("llm-d").c_str(), 1);
  setenv("LLM_D_GATEWAY", "none", 1);
  for (int round = 0; round < 2; ++round) {
    const auto in_front = script(all, "deploy-llm-d.sh", {});
    ASSERT_EQ(in_front.exit_code, 0) << in_front.err;
    EXPECT_THAT(in_front.out, HasSubstr("port-forward -n llm-d-sim service/infra-sim-inference-gateway 8000:80"));
  }
  const auto pool = cluster.get("/apis/inference.networking.k8s.io/v1/namespaces/llm-d-sim/inferencepools/gaie-sim");
  EXPECT_EQ(text_at(pool, {"spec", "selector", "matchLabels", "app"}), "vllme") << "the emulated servers' label";
  EXPECT_EQ(text_at(pool, {"spec", "endpointPickerRef", "name"}), "gaie-sim-epp");
  EXPECT_FALSE(cluster.get("/api/v1/namespaces/llm-d-sim/services/gaie-sim-epp").empty());
  EXPECT_FALSE(cluster.get("/apis/gateway.networking.k8s.io/v1/namespaces/llm-d-sim/httproutes/llm-d-sim").empty());
  const auto alone = script(all, "undeploy-llm-d.sh", {});
  EXPECT_EQ(alone.exit_code, 0) << alone.err;
  EXPECT_TRUE(cluster.get("/api/v1/namespaces/llm-d-sim/services/gaie-sim-epp").empty());
  EXPECT_TRUE(eventually(20s, [&] { return cluster.get("/apis/gateway.networking.k8s.io").empty(); })) << "its APIs go with it";
  EXPECT_FALSE(vllme().empty()) << "the servers stay";

  const auto gone = script(all, "undeploy-emulated.sh", {});
  EXPECT_EQ(gone.exit_code, 0) << gone.err;
  for (const auto* ns : {"llm-d-sim", "inferno-autoscaler-system", "inferno-autoscaler-monitoring"})
    EXPECT_EQ(cluster.get(std::string("/api/v1/namespaces/") + ns), json::object()) << ns;
  // Without Docker a stand-in for kind tells what it is asked for: three nodes of the version that is wanted.
  const auto fake = all.folder.file("bin");
  std::filesystem::create_directory(fake);
  for (const auto* name : {"kind", "docker"}) {
    std::ofstream(fake + "/" + name) << "#!/bin/bash\n[ \"$1\" = create ] || exit 0\necho \"$@\" > " << fake
                                     << "/asked\ncat \"${@: -1}\" > " << fake << "/config\n";
    std::filesystem::permissions(fake + "/" + name, std::filesystem::perms(0755));
  }
  const auto file = all.folder.file("created.kubeconfig");
  auto access = cluster.kubeconfig();
  for (const std::string was : {"current-context: test", "{name: test, context"}) {
    const auto at = access.find(was);
    ASSERT_NE(at, std::string::npos) << access;
    access.replace(access.find("test", at), 4, "kind-some");
  }
  std::ofstream(file) << access;
  const auto made = run_program("env", {"PATH=" + fake + ":" + std::getenv("PATH"), "K8S_VERSION=v1.33.1",
                                        "KUBECTL=" + tool("kubectl") + " --kubeconfig=" + file,
                                        in_repository("deploy/kind/create-cluster.sh"), "-c", "some", "-n", "3", "-t", "amd"});
  EXPECT_EQ(made.exit_code, 0) << made.err << made.out;
  const auto read = [](const std::string& path) {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_THAT(read(fake + "/asked"), HasSubstr("create cluster --name some --image kindest/node:v1.33.1 --config"));
  EXPECT_EQ(testbed::parse_manifests(read(fake + "/config")).value().front().at("nodes").as_array().size(), 3u);
  EXPECT_THAT(made.out, HasSubstr("AMD-MI300X-192G"));
  for (const auto& w : {std::pair<const char*, const char*>{"-n", "0"}, {"-t", "tpu"}, {"-d", "a b"}, {"-m", "x"}, {"-q", ""}}) {
    const auto refused = script(all, "nodes.sh", {w.first, w.second});
    EXPECT_EQ(refused.exit_code, 2) << w.first;
    EXPECT_THAT(refused.err, HasSubstr(w.first));
  }
  for (int i = 0; i < 4; ++i) cluster.remove(fmt::format("/api/v1/nodes/kind-{}", i));
  EXPECT_EQ(make(all, {"install"}).exit_code, 0);
  EXPECT_TRUE(eventually(20s, [&] { return cluster.call("GET", "/apis/llmd.ai/v1alpha1/variantautoscalings").ok(); }));
}

}  // namespace
}  // namespace inferno::test

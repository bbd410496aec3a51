// The controller as its users run it: scaling with either source of metrics, reaction times, signals, wrong input.
#include <boost/json/serialize.hpp>

#include "tests/integration/rig.hpp"
#include "tests/support/prometheus.hpp"

namespace inferno::test {
namespace {

/// The quick start's story: idle at 1, load to 2 or more, no flapping, back to 1.
void story(rig& r, double per_minute, std::chrono::seconds steady_for) {
  ASSERT_TRUE(eventually(30s, [&] { return r.condition("OptimizationReady").rfind("True", 0) == 0; }))
      << r.condition("OptimizationReady") << r.controller->output();
  EXPECT_EQ(r.desired(), 1);
  EXPECT_EQ(r.replicas(), 1);

  testbed::load_generator load(r.where->io().executor(), r.load_of(per_minute));
  load.start();
  const auto began = steady::now();
  ASSERT_TRUE(eventually(30s, [&] { return r.replicas() == 2; })) << r.controller->output();
  fmt::print("load step to scale patch: {:.2f} s\n", seconds_since(began));
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 2; }));
  EXPECT_FALSE(eventually(steady_for, [&] { return r.replicas() != 2; })) << "flapping:\n" << r.controller->output();
  EXPECT_EQ(r.condition("MetricsAvailable").rfind("True", 0), 0u) << r.condition("MetricsAvailable");
  const auto seen = load.statistics(5s);
  EXPECT_EQ(seen.failed, 0) << seen.first_error;
  EXPECT_LE(seen.itl.mean, 24);

  load.stop();
  ASSERT_TRUE(eventually(60s, [&] { return r.replicas() == 1; })) << r.controller->output();
  EXPECT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
}

TEST(Controller, ScalesTheQuickStartWithDirectScraping) {
  rig r({.manifests = {settings("60s", "20s", "8s"), testbed::sample_deployment(40)}});
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "500ms"});
  if (HasFatalFailure()) return;
  const auto applied = steady::now();
  r.apply(testbed::embedded::sample_variant);
  ASSERT_TRUE(eventually(10s, [&] { return r.desired() == 1 && r.condition("OptimizationReady").rfind("True", 0) == 0; }))
      << r.controller->output();
  fmt::print("new VariantAutoscaling to first decision: {:.2f} s\n", seconds_since(applied));
  story(r, 240, 10s);
}

TEST(Controller, ReactsSoonerToALargerStep) {
  rig r({.manifests = {settings("60s", "20s", "8s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  ASSERT_TRUE(eventually(10s, [&] { return r.servers->urls().size() == 1; }));
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "500ms"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(10s, [&] { return r.desired() == 1; }));
  const auto began = steady::now();
  testbed::load_generator load(r.where->io().executor(), r.load_of(420));
  load.start();
  ASSERT_TRUE(eventually(10s, [&] { return r.replicas() == 2; })) << r.controller->output();
  fmt::print("load step of twice a replica's capacity to scale patch: {:.2f} s\n", seconds_since(began));
}

TEST(Controller, ScalesTheQuickStartWithARealPrometheus) {
  rig r({.manifests = {settings("5s", "10s", "10s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  prometheus p(r.where->io().executor(), r.servers, r.folder);
  r.start_controller({"--prometheus-url", p.url, "--scrape-interval", "1s"});
  if (HasFatalFailure()) return;
  story(r, 240, 15s);
}

TEST(Controller, SaysWhenPrometheusIsGoneAndHolds) {
  rig r({.manifests = {settings("2s", "10s", "2s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  auto p = std::make_unique<prometheus>(r.where->io().executor(), r.servers, r.folder);
  r.start_controller({"--prometheus-url", p->url, "--scrape-interval", "500ms"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(30s, [&] { return r.condition("MetricsAvailable").rfind("True", 0) == 0; })) << r.controller->output();
  ASSERT_EQ(r.kubectl({"scale", "deployment/vllme-deployment", "-n", "llm-d-sim", "--replicas=2"}).exit_code, 0);
  p.reset();
  ASSERT_TRUE(eventually(20s, [&] { return r.condition("MetricsAvailable").rfind("False", 0) == 0; })) << r.controller->output();
  EXPECT_NE(r.condition("MetricsAvailable").find("127.0.0.1"), std::string::npos) << r.condition("MetricsAvailable");
}

TEST(Controller, StopsWithinTwoSecondsOfSigterm) {
  rig r({.manifests = {settings("1s", "10s", "2s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "200ms", "--leader-elect"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(10s, [&] { return r.desired() == 1; })) << r.controller->output();
  const auto told = steady::now();
  r.controller->signal(SIGTERM);
  const auto code = r.controller->wait(5s);
  const double took = seconds_since(told);
  ASSERT_TRUE(code) << "still running\n" << r.controller->output();
  EXPECT_EQ(*code, 0);
  EXPECT_LT(took, 2.0);
  fmt::print("SIGTERM to exit: {:.2f} s\n", took);
  EXPECT_TRUE(r.logged("\"msg\":\"Stopped\""));
  const auto lease =
      r.object("/apis/coordination.k8s.io/v1/namespaces/inferno-autoscaler-system/leases/inferno-autoscaler-leader");
  EXPECT_EQ(testbed::text_at(lease, {"spec", "holderIdentity"}), "") << "the lease is given back";
}

TEST(Controller, StopsWithinTwoSecondsOfSigtermWhateverWaitsForTheRateLimit) {
  std::vector<std::string> manifests{settings("1s", "10s", "2s")};
  const auto renamed = [](std::string text, int number) {
    const std::string name = "vllme-deployment";
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + name.size()))
      text.replace(at, name.size(), fmt::format("many-{}", number));
    return text;
  };
  for (int i = 0; i < 5; ++i) manifests.push_back(renamed(testbed::embedded::sample_variant, i));
  rig r({.manifests = std::move(manifests)});
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "200ms", "--leader-elect", "--kube-api-qps", "1",
                      "--kube-api-burst", "1"});
  if (HasFatalFailure()) return;
  // Five statuses wait for a call a second.
  ASSERT_TRUE(eventually(20s, [&] { return r.logged("Updated status"); })) << r.controller->output();
  const auto told = steady::now();
  r.controller->signal(SIGTERM);
  const auto code = r.controller->wait(5s);
  const double took = seconds_since(told);
  ASSERT_TRUE(code) << "still running\n" << r.controller->output();
  EXPECT_EQ(*code, 0);
  EXPECT_LT(took, 2.0);
  const auto lease =
      r.object("/apis/coordination.k8s.io/v1/namespaces/inferno-autoscaler-system/leases/inferno-autoscaler-leader");
  EXPECT_EQ(testbed::text_at(lease, {"spec", "holderIdentity"}), "") << "the lease is given back\n" << r.controller->output();
  int written = 0;
  for (int i = 0; i < 5; ++i) written += r.desired(fmt::format("many-{}", i)) >= 0 ? 1 : 0;
  EXPECT_LT(written, 5) << "what waited is dropped";
}

TEST(Controller, ServesMetricsProbesAndTheFleet) {
  rig r({.manifests = {settings("60s", "10s", "2s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "200ms"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(10s, [&] { return r.condition("OptimizationReady").rfind("True", 0) == 0; })) << r.controller->output();
  const auto metrics = http_get(r.metrics_url + "/metrics");
  ASSERT_TRUE(metrics);
  const std::string labels = R"({accelerator_type="A100",namespace="llm-d-sim",variant_name="vllme-deployment"})";
  for (const auto* name : {"inferno_desired_replicas", "inferno_current_replicas", "inferno_desired_ratio"})
    EXPECT_NE(metrics->body.find(name + labels + " 1\n"), std::string::npos) << name << "\n" << metrics->body;
  EXPECT_EQ(http_get(r.probes_url + "/healthz")->status, 200);
  EXPECT_EQ(http_get(r.probes_url + "/readyz")->status, 200);
  const auto one = http_get(r.metrics_url + "/api/v1/variants/llm-d-sim/vllme-deployment");
  ASSERT_EQ(one->status, 200);
  EXPECT_EQ(json::parse(one->body).at("accelerator").as_string(), "A100");
  const auto why = http_get(r.metrics_url + "/api/v1/variants/llm-d-sim/vllme-deployment/explain");
  ASSERT_EQ(why->status, 200);
  EXPECT_EQ(json::parse(why->body).at("variant").as_string(), "llm-d-sim/vllme-deployment");
  EXPECT_EQ(json::parse(why->body).at_pointer("/candidates/0/accelerator").as_string(), "A100");
  EXPECT_EQ(http_get(r.metrics_url + "/api/v1/variants/llm-d-sim/nobody")->status, 404);
  EXPECT_EQ(http_get(r.metrics_url + "/api/v1/variants/llm-d-sim/nobody/explain")->status, 404);
  EXPECT_EQ(http_get(r.metrics_url + "/api/v1/variants//explain")->status, 404);
  EXPECT_EQ(http_get(r.metrics_url + "/nowhere")->status, 404);
  ASSERT_EQ(r.kubectl({"delete", "va", "vllme-deployment", "-n", "llm-d-sim"}).exit_code, 0);
  EXPECT_TRUE(eventually(5s, [&] {
    return http_get(r.metrics_url + "/metrics")->body.find("vllme-deployment") == std::string::npos;
  })) << "series of a deleted variant vanish";
}

TEST(Controller, OwnsWhatItScalesAndSaysSo) {
  rig r({.manifests = {settings("60s", "10s", "2s"), testbed::sample_deployment(40), testbed::embedded::sample_variant}});
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "200ms"});
  if (HasFatalFailure()) return;
  const auto deployment = r.object("/apis/apps/v1/namespaces/llm-d-sim/deployments/vllme-deployment");
  ASSERT_TRUE(eventually(10s, [&] { return testbed::find(r.variant(), {"metadata", "ownerReferences"}) != nullptr; }));
  const auto v = r.variant();
  EXPECT_EQ(testbed::find(v, {"metadata", "ownerReferences"})->at(0).at("uid"), *testbed::find(deployment, {"metadata", "uid"}));
  // The owner goes, and with it what it owns.
  ASSERT_EQ(r.kubectl({"delete", "deployment", "vllme-deployment", "-n", "llm-d-sim"}).exit_code, 0);
  EXPECT_TRUE(eventually(10s, [&] { return r.variant().empty(); }));
}

TEST(Controller, WrongFlagsAreRefusedByName) {
  const auto refused = [](std::vector<std::string> args, const std::string& what) {
    args.insert(args.begin(), "controller");
    const auto r = run_program(INFERNO_BIN, args);
    EXPECT_EQ(r.exit_code, 2) << r.err;
    EXPECT_NE(r.err.find(what), std::string::npos) << r.err;
  };
  refused({"--kube-api-url", "http://127.0.0.1:1", "--metrics-bind-address", "nonsense"}, "nonsense");
  refused({"--kube-api-url", "http://127.0.0.1:1", "--scrape-interval", "soon"}, "soon");
  refused({"--kubeconfig", "/nowhere/kubeconfig"}, "/nowhere/kubeconfig");
  refused({"--metrics-source", "guessing"}, "guessing");
  refused({"--no-such-flag"}, "--no-such-flag");
  const std::vector<std::string> api{"--kube-api-url", "http://127.0.0.1:1"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), api.begin(), api.end());
    return more;
  };
  refused(with({"--prometheus-url", "ftp://x"}), "--prometheus-url: \"ftp://x\" is neither http nor https");
  refused(with({"--prometheus-url", "http://x:99999"}), "--prometheus-url: \"http://x:99999\" has a port outside 1 to 65535");
  refused({"--kube-api-url", "https://x:0"}, "--kube-api-url: \"https://x:0\" has a port outside 1 to 65535");
  for (const char* name : {"A_B", "../x", "-a", "a-", "a.b", "a b"}) {
    refused(with({fmt::format("--namespace={}", name)}), fmt::format("--namespace: expected the name of a namespace"));
    refused(with({fmt::format("--watch-namespace={}", name)}), fmt::format("got \"{}\"", name));
  }
  refused(with({"--watch-namespace", std::string(64, 'a')}), "--watch-namespace: ");
  refused(with({"--controller-instance=-a"}), "--controller-instance: expected a label value, got \"-a\"");
  // A token in the clear goes to this host only.
  refused({"--kube-api-url", "http://192.0.2.1:1", "--kube-token-file", "/etc/hostname"}, "--kube-token-file: ");
  // KUBECONFIG is a list of files, the flag is one file.
  refused({"--kubeconfig", "/nowhere/a:/nowhere/b"}, "kubeconfig /nowhere/a:/nowhere/b: cannot be read");
  const auto listed = run_program("/usr/bin/env", {"KUBECONFIG=/nowhere/a:/nowhere/b", INFERNO_BIN, "controller"});
  EXPECT_EQ(listed.exit_code, 2);
  EXPECT_NE(listed.err.find("kubeconfig /nowhere/a:/nowhere/b: there is nothing in any of these files"), std::string::npos)
      << listed.err;
}

}  // namespace
}  // namespace inferno::test

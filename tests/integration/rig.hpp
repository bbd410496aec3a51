#pragma once
// An emulated cluster with emulated servers, and the real programs against it: inferno controller, kubectl, Prometheus.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <cmath>
#include <sstream>

#include "testbed/cluster/cluster.hpp"
#include "testbed/cluster/embedded.hpp"
#include "testbed/cluster/json_tools.hpp"
#include "testbed/load/load_generator.hpp"
#include "testbed/samples.hpp"
#include "testbed/vllm/vllm_runtime.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace inferno::test {

namespace json = boost::json;
struct rig_options {
  bool quickstart = true;
  std::vector<std::string> manifests{};
  std::chrono::milliseconds start_delay{300};
};

class rig {
 public:
  explicit rig(rig_options options = {}) {
    testbed::cluster_config config;
    config.quickstart = options.quickstart;
    config.manifests = std::move(options.manifests);
    config.start_delay = options.start_delay;
    config.runtime = servers;
    config.seed = 1;
    auto started = testbed::emulated_cluster::start(config);
    if (!started) throw std::runtime_error(started.error());
    cluster = std::move(*started);
    std::ofstream(folder.file("kubeconfig")) << cluster->kubeconfig();
  }

  /// `inferno controller` against the cluster; its log goes to the file "controller.log".
  void start_controller(std::vector<std::string> more, const std::string& metrics_address = "127.0.0.1:0") {
    std::vector<std::string> args{"controller",
                                  "--kubeconfig",
                                  folder.file("kubeconfig"),
                                  "--metrics-bind-address",
                                  metrics_address,
                                  "--metrics-secure=false",
                                  "--log-level",
                                  "debug",
                                  "--health-probe-bind-address",
                                  "127.0.0.1:0"};
    args.insert(args.end(), more.begin(), more.end());
    controller = std::make_unique<child>(INFERNO_BIN, std::move(args), folder.file("controller.log"));
    ASSERT_TRUE(eventually(10s, [&] { return logged("Watches synced"); })) << controller->output();
    const auto started = json::parse(log_line("Controller started"));
    metrics_url = "http://" + std::string(started.at("metrics").as_string());
    probes_url = "http://" + std::string(started.at("probes").as_string());
  }
  std::string log_line(const std::string& part) const {
    std::istringstream in(controller->output());
    for (std::string line; std::getline(in, line);)
      if (line.find(part) != std::string::npos) return line;
    return {};
  }
  bool logged(const std::string& part) const { return !log_line(part).empty(); }

  outcome kubectl(std::vector<std::string> args, const std::string& input = {}) const {
    args.insert(args.begin(), {"--kubeconfig", folder.file("kubeconfig"), "--cache-dir", folder.file("kube-cache")});
    return run_program("kubectl", std::move(args), input);
  }
  void apply(const std::string& yaml) {
    const auto done = cluster->apply(yaml);
    ASSERT_TRUE(done) << done.error();
  }
  /// An object by its API path, {} when it is not there.
  json::object object(const std::string& path) const {
    const auto got = http_get(cluster->url() + path);
    if (!got || got->status != 200) return {};
    return json::parse(got->body).as_object();
  }
  json::object variant(const std::string& name = "vllme-deployment") const {
    return object("/apis/llmd.ai/v1alpha1/namespaces/llm-d-sim/variantautoscalings/" + name);
  }
  long replicas(const std::string& name = "vllme-deployment") const {
    return testbed::integer_at(object("/apis/apps/v1/namespaces/llm-d-sim/deployments/" + name), {"spec", "replicas"}, -1);
  }
  long desired(const std::string& name = "vllme-deployment") const {
    return testbed::integer_at(variant(name), {"status", "desiredOptimizedAlloc", "numReplicas"}, -1);
  }
  /// "True reason: message" of a condition, "" when it is not there.
  std::string condition(const std::string& type, const std::string& name = "vllme-deployment") const {
    const auto v = variant(name);
    const auto* all = testbed::find(v, {"status", "conditions"});
    if (all && all->is_array())
      for (const auto& c : all->get_array())
        if (testbed::text_at(c.get_object(), {"type"}) == type)
          return fmt::format("{} {}: {}", testbed::text_at(c.get_object(), {"status"}),
                             testbed::text_at(c.get_object(), {"reason"}), testbed::text_at(c.get_object(), {"message"}));
    return {};
  }

  testbed::load_config load_of(double per_minute) const {
    testbed::load_config load;
    load.targets = [s = servers] { return s->urls(); };
    load.phases = {{0, per_minute}};
    load.route = testbed::routing::random;
    return load;
  }

  temp_folder folder;
  std::shared_ptr<testbed::host> where = std::make_shared<testbed::host>();
  std::shared_ptr<testbed::vllm_runtime> servers = std::make_shared<testbed::vllm_runtime>(where);
  std::unique_ptr<testbed::emulated_cluster> cluster;
  std::unique_ptr<child> controller;
  std::string metrics_url, probes_url;
};

inline std::string settings(const std::string& interval, const std::string& window, const std::string& stabilization,
                            const std::string& more = {}) {
  return fmt::format(
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: inferno-autoscaler-variantautoscaling-config, namespace: "
      "inferno-autoscaler-system}}\n"
      "data: {{GLOBAL_OPT_INTERVAL: \"{}\", RATE_WINDOW: \"{}\", SCALE_DOWN_STABILIZATION: \"{}\"{}}}\n",
      interval, window, stabilization, more);
}

}  // namespace inferno::test

// `inferno-testbed cluster`: the emulated Kubernetes cluster on its own.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <sstream>

#include "actors/config_maps.hpp"
#include "testbed/cluster/cluster.hpp"
#include "testbed/cluster/embedded.hpp"
#include "testbed/commands.hpp"
#include "testbed/signals.hpp"
#include "testbed/vllm/vllm_runtime.hpp"

namespace inferno::testbed {
namespace {

struct flags {
  cluster_config config;
  std::vector<std::string> manifests;
  std::string start_delay = "2s";
  std::string kubeconfig;
  bool no_servers = false;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed cluster: " << message << "\n";
  throw CLI::RuntimeError(2);
}

void run(flags f) {
  // The variants' kind is there in any case; a manifest may replace it.
  if (!f.config.quickstart) f.config.manifests.emplace_back(embedded::crd);
  for (const auto& path : f.manifests) {
    std::ifstream in(path);
    std::stringstream text;
    text << in.rdbuf();
    if (!in) refuse(fmt::format("--manifest: cannot read {}", path));
    f.config.manifests.push_back(text.str());
  }
  const auto delay = actors::parse_duration(f.start_delay);
  if (!delay || delay->count() < 0)
    refuse(fmt::format("--start-delay: expected a duration such as \"2s\", got \"{}\"", f.start_delay));
  f.config.start_delay = *delay;
  const stop_signals signals;
  const auto where = std::make_shared<host>();
  if (!f.no_servers) f.config.runtime = std::make_shared<vllm_runtime>(where);
  auto cluster = emulated_cluster::start(f.config);
  if (!cluster) refuse(cluster.error());
  if (!f.kubeconfig.empty()) {
    std::ofstream out(f.kubeconfig);
    out << (*cluster)->kubeconfig();
    if (!out.flush()) refuse(fmt::format("--kubeconfig: cannot write {}", f.kubeconfig));
  }
  std::cout << fmt::format("serving Kubernetes at {}\n", (*cluster)->url()) << std::flush;
  signals.wait();
}

}  // namespace

void add_cluster(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand(
      "cluster",
      "An emulated Kubernetes cluster: API server with the VariantAutoscaling kind, deployment controller, GPU scheduler, pods");
  command->add_option("--address", f->config.address, "IP address to listen on")->capture_default_str();
  command->add_option("--port", f->config.port, "port; 0 = a free one")->capture_default_str();
  command->add_flag("--quickstart", f->config.quickstart, "with the namespaces, nodes and ConfigMaps of the quick start");
  command->add_option("--manifest", f->manifests, "YAML files to create, in order");
  command->add_option("--start-delay", f->start_delay, "time from scheduled to Ready")->capture_default_str();
  command->add_option("--kubeconfig", f->kubeconfig, "file to write a kubeconfig to");
  command->add_option("--seed", f->config.seed, "of names, uids and addresses; 0 = from the system")->capture_default_str();
  command->add_flag("--no-servers", f->no_servers, "pods become Ready without an emulated vLLM server behind them");
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

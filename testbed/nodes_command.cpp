// `inferno-testbed nodes`: scheduler and kubelets for an API server that has none.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "actors/config_maps.hpp"
#include "net/kube/kubeconfig.hpp"
#include "testbed/commands.hpp"
#include "testbed/nodes/node_emulator.hpp"
#include "testbed/signals.hpp"
#include "testbed/vllm/vllm_runtime.hpp"

namespace inferno::testbed {
namespace {

struct flags {
  std::string kubeconfig;
  std::string context;
  std::string start_delay = "2s";
  node_emulator_config config;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed nodes: " << message << "\n";
  throw CLI::RuntimeError(2);
}

void run(flags f) {
  const auto access = net::kube::load_kubeconfig(f.kubeconfig, f.context);
  if (!access) refuse(access.error().message);
  const auto delay = actors::parse_duration(f.start_delay);
  if (!delay) refuse(fmt::format("--start-delay: {}", delay.error()));
  const stop_signals signals;
  const auto where = std::make_shared<host>();
  f.config.api = access->conn;
  f.config.start_delay = *delay;
  f.config.runtime = std::make_shared<vllm_runtime>(where);
  const node_emulator nodes(*where, f.config);
  std::cout << fmt::format("running the pods of {}\n", f.config.api.url) << std::flush;
  signals.wait();
}

}  // namespace

void add_nodes(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command =
      app.add_subcommand("nodes",
                         "Scheduler and kubelets for a real API server without any: binds pods to its nodes and runs them "
                         "as emulated vLLM servers");
  command->add_option("--kubeconfig", f->kubeconfig, "the API server")->required();
  command->add_option("--context", f->context, "context of the kubeconfig (default: its current-context)");
  command->add_option("--namespace", f->config.ns, "only pods of this namespace (default: all)");
  command->add_option("--start-delay", f->start_delay, "time from bound to Ready")->capture_default_str();
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

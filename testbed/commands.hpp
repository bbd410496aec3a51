#pragma once
// The subcommands of `inferno-testbed`. Each adds itself to the app; its callback throws CLI::RuntimeError(code) to end with an
// exit code.
namespace CLI {
class App;
}

namespace inferno::testbed {

void add_cluster(CLI::App& app);
void add_vllm(CLI::App& app);
void add_load(CLI::App& app);
void add_sweep(CLI::App& app);
void add_accuracy(CLI::App& app);
void add_nodes(CLI::App& app);
void add_docs(CLI::App& app);
void add_demo(CLI::App& app);

}  // namespace inferno::testbed

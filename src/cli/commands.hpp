#pragma once
// The subcommands of `inferno`. Each adds itself to the app; its callback throws CLI::RuntimeError(code) to end with an exit
// code.
namespace CLI {
class App;
}

namespace inferno::cli {

void add_solve(CLI::App& app);
void add_fit(CLI::App& app);
void add_controller(CLI::App& app);
void add_get(CLI::App& app);
void add_explain(CLI::App& app);
void add_version(CLI::App& app);
/// Knows the commands that are there when it runs.
void add_completion(CLI::App& app);

}  // namespace inferno::cli

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

}  // namespace inferno::cli

// inferno: flags and wiring only.
#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/suggest.hpp"
#include "net/open_files.hpp"

int main(int argc, char** argv) {
  inferno::net::raise_open_file_limit();
  CLI::App app{"Inferno: an autoscaler for LLM inference on Kubernetes"};
  app.set_version_flag("--version", std::string("inferno ") + INFERNO_VERSION);
  app.require_subcommand(1);
  inferno::cli::add_solve(app);
  inferno::cli::add_fit(app);
  inferno::cli::add_controller(app);
  inferno::cli::add_get(app);
  inferno::cli::add_explain(app);
  inferno::cli::add_version(app);
  inferno::cli::add_completion(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const bool wrong = e.get_exit_code() != 0 && dynamic_cast<const CLI::RuntimeError*>(&e) == nullptr;
    if (const auto message = wrong ? inferno::cli::unknown_word(app, argc, argv) : std::nullopt) {
      std::cerr << *message << "\n";
      return 2;
    }
    const int code = app.exit(e);
    // A wrong flag is wrong input: exit code 2, like every other wrong input. Help and version end with 0; RuntimeError carries
    // its own.
    return code == 0 || dynamic_cast<const CLI::RuntimeError*>(&e) != nullptr ? code : 2;
  }
  return 0;
}

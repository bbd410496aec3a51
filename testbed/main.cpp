// inferno-testbed: flags and wiring only.
#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/suggest.hpp"
#include "net/open_files.hpp"
#include "testbed/commands.hpp"

int main(int argc, char** argv) {
  inferno::net::raise_open_file_limit();
  CLI::App app{"Inferno testbed: emulated Kubernetes, emulated vLLM servers, load generator, demo"};
  app.set_version_flag("--version", std::string("inferno-testbed ") + INFERNO_VERSION);
  app.require_subcommand(1);
  inferno::testbed::add_cluster(app);
  inferno::testbed::add_nodes(app);
  inferno::testbed::add_vllm(app);
  inferno::testbed::add_load(app);
  inferno::testbed::add_sweep(app);
  inferno::testbed::add_accuracy(app);
  inferno::testbed::add_docs(app);
  inferno::testbed::add_demo(app);
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

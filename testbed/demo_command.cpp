// `inferno-testbed demo`: the quick start in one command.
#include <CLI/CLI.hpp>
#include <memory>

#include "testbed/commands.hpp"
#include "testbed/demo/demo.hpp"

namespace inferno::testbed {

void add_demo(CLI::App& app) {
  auto options = std::make_shared<demo_options>();
  auto* command = app.add_subcommand("demo", "The quick start on this machine: load up, scale up, load off, scale down");
  command->add_option("--rate", options->per_minute, "requests per minute of the load phase")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  command->add_option("--load-seconds", options->load_s, "how long the load lasts")
      ->check(CLI::Range(20.0, 3600.0))
      ->capture_default_str();
  command->add_option("--seed", options->seed, "of the arrivals")->capture_default_str();
  command->add_flag("--plain", options->plain, "lines instead of the live view, also on a terminal");
  command->add_flag("--keep", options->keep, "stay up afterwards until Ctrl-C");
  command->callback([options] {
    if (const int code = run_demo(*options); code != 0) throw CLI::RuntimeError(code);
  });
}

}  // namespace inferno::testbed

// `inferno-testbed sweep`: the queueing model against the emulator's core.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "testbed/commands.hpp"
#include "testbed/page.hpp"
#include "testbed/sweep/sweep.hpp"

namespace inferno::testbed {
namespace {

struct flags {
  std::string page;
  sweep_options sweep;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed sweep: " << message << "\n";
  throw CLI::RuntimeError(2);
}

void run(const flags& f) {
  // A page without its place for the tables is noticed before the work, not after it.
  std::string page;
  if (!f.page.empty()) {
    const auto text = read_file(f.page);
    if (!text) refuse("--write: " + text.error());
    page = *text;
    if (const auto fits = with_part(page, "sweep", {}); !fits) refuse(fmt::format("--write: {}: {}", f.page, fits.error()));
  }
  const auto results = run_sweep(f.sweep, [](const std::string& name) { std::cerr << name << "\n"; });
  const auto tables = sweep_tables(results);
  if (f.page.empty()) {
    std::cout << tables;
    return;
  }
  if (const auto wrong = write_file(f.page, *with_part(page, "sweep", tables))) refuse("--write: " + *wrong);
}

}  // namespace

void add_sweep(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("sweep", "The queueing model against the emulator's core, as Markdown tables");
  command->add_option("--write", f->page, "page to write the tables into, between its markers; otherwise they are printed");
  command->add_option("--load", f->sweep.loads, "shares of the capacity")->check(CLI::Range(0.001, 0.999))->capture_default_str();
  command->add_option("--runs", f->sweep.runs, "runs of each load")->check(CLI::Range(2, 1000))->capture_default_str();
  command->add_option("--requests", f->sweep.requests, "requests of a run at a high load")
      ->check(CLI::Range(1000, 100'000'000))
      ->capture_default_str();
  command->add_option("--seed", f->sweep.seed, "of the first run")->capture_default_str();
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

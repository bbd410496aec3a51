// `inferno-testbed sweep`: the queueing model against the emulator's core.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <sstream>

#include "testbed/commands.hpp"
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

std::string read(const std::string& path) {
  std::ifstream in(path);
  if (!in) refuse(fmt::format("--write: cannot read {}", path));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void run(const flags& f) {
  // A page without its place for the tables is noticed before the work, not after it.
  const auto page = f.page.empty() ? std::string() : read(f.page);
  if (!f.page.empty())
    if (const auto fits = with_tables(page, {}); !fits) refuse(fmt::format("--write: {}: {}", f.page, fits.error()));
  const auto results = run_sweep(f.sweep, [](const std::string& name) { std::cerr << name << "\n"; });
  const auto tables = sweep_tables(results);
  if (f.page.empty()) {
    std::cout << tables;
    return;
  }
  std::ofstream out(f.page);
  out << *with_tables(page, tables);
  if (!out.flush()) refuse(fmt::format("--write: cannot write {}", f.page));
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

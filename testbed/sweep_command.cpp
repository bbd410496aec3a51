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
  std::string summary;
  sweep_options sweep;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed sweep: " << message << "\n";
  throw CLI::RuntimeError(2);
}

/// A page of which a part is to be written.
struct target {
  const char* flag;
  std::string path, part;

  /// One without its place is noticed before the work, not after it.
  std::string filled(const std::string& text) const {
    const auto page = read_file(path);
    if (!page) refuse(fmt::format("{}: {}", flag, page.error()));
    const auto whole = with_part(*page, part, text);
    if (!whole) refuse(fmt::format("{}: {}: {}", flag, path, whole.error()));
    return *whole;
  }
  void check() const {
    if (!path.empty()) filled({});
  }
  void write(const std::string& text) const {
    if (path.empty()) return;
    if (const auto wrong = write_file(path, filled(text))) refuse(fmt::format("{}: {}", flag, *wrong));
  }
};

void run(const flags& f) {
  const target page{"--write", f.page, "sweep"}, summary{"--write-summary", f.summary, "sweep summary"};
  page.check();
  summary.check();
  const auto results = run_sweep(f.sweep, [](const std::string& name) { std::cerr << name << "\n"; });
  page.write(sweep_tables(results));
  summary.write(sweep_summary(results));
  if (f.page.empty() && f.summary.empty()) std::cout << sweep_tables(results);
}

}  // namespace

void add_sweep(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("sweep", "The queueing model against the emulator's core, as Markdown tables");
  command->add_option("--write", f->page, "page to write the tables into, between its markers; otherwise they are printed");
  command->add_option("--write-summary", f->summary, "page to write the short table into, likewise");
  command->add_option("--load", f->sweep.loads, "shares of the capacity")->check(CLI::Range(0.001, 0.999))->capture_default_str();
  command->add_option("--runs", f->sweep.runs, "runs of each load")->check(CLI::Range(2, 1000))->capture_default_str();
  command->add_option("--requests", f->sweep.requests, "requests of a run at a high load")
      ->check(CLI::Range(1000, 100'000'000))
      ->capture_default_str();
  command->add_option("--seed", f->sweep.seed, "of the first run")->capture_default_str();
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

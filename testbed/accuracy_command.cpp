// `inferno-testbed accuracy`: the model against measurements of real servers.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "testbed/accuracy/accuracy.hpp"
#include "testbed/accuracy/plot.hpp"
#include "testbed/commands.hpp"
#include "testbed/page.hpp"

namespace inferno::testbed {
namespace {

struct flags {
  std::string folder = "tests/data/measurements";
  std::string page;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed accuracy: " << message << "\n";
  throw CLI::RuntimeError(2);
}

void run(const flags& f) {
  const auto studies = run_accuracy(f.folder);
  if (!studies) refuse(studies.error());
  const auto tables = accuracy_tables(*studies);
  if (f.page.empty()) {
    std::cout << tables;
    return;
  }
  const auto page = read_file(f.page);
  if (!page) refuse("--write: " + page.error());
  const auto written = with_part(*page, "accuracy", tables);
  if (!written) refuse(fmt::format("--write: {}: {}", f.page, written.error()));
  const auto plots = accuracy_plots(f.folder);
  if (!plots) refuse(plots.error());
  std::vector<plot_file> files = *plots;
  files.push_back({std::filesystem::path(f.page).filename(), *written});
  for (const auto& file : files)
    if (const auto wrong = write_file(std::filesystem::path(f.page).parent_path() / file.name, file.text))
      refuse("--write: " + *wrong);
}

}  // namespace

void add_accuracy(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("accuracy", "The model against measurements of real servers, as Markdown tables");
  command->add_option("FOLDER", f->folder, "of the measurements")->capture_default_str();
  command->add_option(
      "--write", f->page,
      "page to write the tables into, between its markers, and pictures beside it; otherwise the tables are printed");
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

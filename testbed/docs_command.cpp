// `inferno-testbed docs`: pages that are made from what they describe.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "testbed/cluster/embedded.hpp"
#include "testbed/commands.hpp"
#include "testbed/crd_docs.hpp"
#include "testbed/page.hpp"

namespace inferno::testbed {
namespace {

void run(const std::string& file) {
  const auto refuse = [](const std::string& message) {
    std::cerr << "inferno-testbed docs: " << message << "\n";
    throw CLI::RuntimeError(2);
  };
  const auto text = crd_docs(embedded::crd);
  if (!text) return refuse(text.error());
  if (file.empty()) {
    std::cout << *text << std::flush;
  } else if (const auto wrong = write_file(file, *text)) {
    refuse("--write: " + *wrong);
  }
}

}  // namespace

void add_docs(CLI::App& app) {
  auto file = std::make_shared<std::string>();
  auto* command = app.add_subcommand("docs", "The fields of VariantAutoscaling, from its CustomResourceDefinition, as Markdown");
  command->add_option("--write", *file, "file to write it into; otherwise it is printed");
  command->callback([file] { run(*file); });
}

}  // namespace inferno::testbed

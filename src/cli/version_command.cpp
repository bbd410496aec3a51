// `inferno version`: what to name in a report.
#include <fmt/format.h>
#include <openssl/crypto.h>

#include <CLI/CLI.hpp>
#include <boost/version.hpp>
#include <caf/config.hpp>
#include <iostream>

#include "cli/commands.hpp"
#include "model/system_json_write.hpp"

namespace inferno::cli {
namespace {

std::vector<std::pair<const char*, std::string>> facts() {
  return {{"version", INFERNO_VERSION},
          {"commit", INFERNO_COMMIT},
          {"compiler", fmt::format("GCC {}", __VERSION__)},
          {"caf", fmt::format("{}.{}.{}", CAF_VERSION / 10000, CAF_VERSION / 100 % 100, CAF_VERSION % 100)},
          {"boost", fmt::format("{}.{}.{}", BOOST_VERSION / 100000, BOOST_VERSION / 100 % 1000, BOOST_VERSION % 100)},
          // The library of this machine, not the headers'.
          {"openssl", OpenSSL_version(OPENSSL_VERSION_STRING)}};
}

}  // namespace

void add_version(CLI::App& app) {
  auto output = std::make_shared<std::string>("text");
  auto* command = app.add_subcommand("version", "Version of this program and of what it is built with");
  command->add_option("-o,--output", *output, "text, json or yaml")
      ->check(CLI::IsMember({"text", "json", "yaml"}))
      ->capture_default_str();
  command->callback([output] {
    boost::json::object all;
    std::string text = fmt::format("inferno {}\n", INFERNO_VERSION);
    for (const auto& [name, value] : facts()) {
      all[name] = value;
      if (std::string_view(name) != "version") text += fmt::format("{:<9} {}\n", name, value);
    }
    std::cout << (*output == "json"   ? model::write_json(all) + "\n"
                  : *output == "yaml" ? model::write_yaml(all)
                                      : text)
              << std::flush;
  });
}

}  // namespace inferno::cli

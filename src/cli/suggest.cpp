#include "cli/suggest.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "model/nearest.hpp"

namespace inferno::cli {
namespace {

std::string message(const std::string& command, const char* what, const std::string& word,
                    const std::vector<std::string>& candidates) {
  const auto meant = model::nearest(word, candidates);
  return fmt::format("{}: unknown {} \"{}\".{} \"{} --help\" lists them all.", command, what, word,
                     meant ? fmt::format(" Did you mean \"{}\"?", *meant) : "", command);
}

}  // namespace

std::optional<std::string> unknown_word(CLI::App& app, int argc, const char* const* argv) {
  const std::string program = argc > 0 ? std::string(argv[0]).substr(std::string(argv[0]).rfind('/') + 1) : "";
  CLI::App* command = &app;
  std::string name = program;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--") return std::nullopt;
    if (word.starts_with("--")) {
      const auto flag = word.substr(0, word.find('='));
      if (const auto* known = command->get_option_no_throw(flag)) {
        // Its value, unless that is in the same word, is no word to look up.
        if (known->get_items_expected_max() > 0 && flag == word) ++i;
        continue;
      }
      std::vector<std::string> flags;
      for (const auto* o : command->get_options())
        for (const auto& n : o->get_lnames()) flags.push_back("--" + n);
      return message(name, "flag", flag, flags);
    }
    if (word.starts_with("-")) {
      if (const auto* known = command->get_option_no_throw(word); known && known->get_items_expected_max() > 0) ++i;
      continue;
    }
    if (command != &app) continue;
    std::vector<std::string> names;
    for (auto* s : app.get_subcommands([](CLI::App*) { return true; })) {
      names.push_back(s->get_name());
      if (s->check_name(word)) command = s;
    }
    if (command == &app) return message(program, "subcommand", word, names);
    name = program + " " + word;
  }
  return std::nullopt;
}

}  // namespace inferno::cli

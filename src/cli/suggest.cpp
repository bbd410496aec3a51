#include "cli/suggest.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>

namespace inferno::cli {
namespace {

/// Edits between two words, an exchange of neighbours being one (optimal string alignment).
std::size_t edits(const std::string& a, const std::string& b) {
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

std::string message(const std::string& command, const char* what, const std::string& word,
                    const std::vector<std::string>& candidates) {
  const auto meant = nearest(word, candidates);
  return fmt::format("{}: unknown {} \"{}\".{} \"{} --help\" lists them all.", command, what, word,
                     meant ? fmt::format(" Did you mean \"{}\"?", *meant) : "", command);
}

}  // namespace

std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr std::size_t longest = 64;  // what is longer is no slip of the finger
  std::optional<std::string> best;
  auto least = std::max<std::size_t>(2, word.size() / 3) + 1;
  if (word.size() > longest) return best;
  for (const auto& c : candidates) {
    const auto distance = edits(word, c);
    if (distance >= least || distance >= c.size()) continue;
    least = distance;
    best = c;
  }
  return best;
}

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

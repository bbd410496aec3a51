// `inferno completion`: scripts for shells, made of the flags there are.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/commands.hpp"

namespace inferno::cli {
namespace {

struct flag {
  std::vector<std::string> names;  ///< with their dashes, short ones first
  std::string description;
  bool has_value = false;
  std::vector<std::string> choices;  ///< of the value; empty = anything, a file for one
};
struct command {
  std::string name, description;
  std::vector<flag> flags;
  std::vector<std::string> choices;  ///< of its argument
};

/// CLI11 tells the choices of a value as "TEXT:{table,json,yaml}", those of an enum as "{auto->0,exact->2}".
std::vector<std::string> choices_of(const CLI::Option& o) {
  const auto type = o.get_type_name();
  const auto begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  auto all = CLI::detail::split(type.substr(begin + 1, end - begin - 1), ',');
  for (auto& c : all) c = c.substr(0, c.find("->"));
  return all;
}

command describe(const CLI::App& app) {
  command out{app.get_name(), app.get_description(), {}, {}};
  for (const auto* o : app.get_options()) {
    flag f{{}, o->get_description(), o->get_items_expected_max() > 0, choices_of(*o)};
    for (const auto& n : o->get_snames()) f.names.push_back("-" + n);
    for (const auto& n : o->get_lnames()) f.names.push_back("--" + n);
    if (f.names.empty()) {
      out.choices = std::move(f.choices);
    } else {
      out.flags.push_back(std::move(f));
    }
  }
  return out;
}

std::string joined(const std::vector<std::string>& words, const char* between = " ") { return CLI::detail::join(words, between); }

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

std::string bash(const command& top, const std::vector<command>& commands) {
  const auto words = [](const command& c) {
    auto all = c.choices;
    for (const auto& f : c.flags) all.insert(all.end(), f.names.begin(), f.names.end());
    return all;
  };
  auto first = words(top);
  std::string values, cases;
  for (const auto& c : commands) {
    first.push_back(c.name);
    cases += fmt::format("    {}) words=\"{}\" ;;\n", c.name, joined(words(c)));
    for (const auto& f : c.flags) {
      if (!f.has_value) continue;
      std::vector<std::string> patterns;
      for (const auto& n : f.names) patterns.push_back(fmt::format("\"{} {}\"", c.name, n));
      // Without choices: a file, by `complete -o default`.
      values += fmt::format("    {}) words=\"{}\" ;;\n", joined(patterns, "|"), joined(f.choices));
    }
  }
  return fmt::format(R"(# bash completion of inferno; source <(inferno completion bash)
_inferno() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} command="" words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${{COMP_WORDS[i]}} in -*) ;; *) command=${{COMP_WORDS[i]}}; break ;; esac
  done
  case "$command $prev" in
{1}    *) case $command in
    "") words="{0}" ;;
{2}    esac ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}}
complete -o default -F _inferno inferno
)",
                     joined(first), values, cases);
}

std::string zsh(const std::vector<command>& commands) {
  // Inside '...': quotes; inside _describe and _arguments: colons and brackets.
  const auto text = [](std::string s) {
    for (const auto* c : {":", "[", "]"}) s = replaced(s, c, std::string("\\") + c);
    return replaced(s, "'", "'\\''");
  };
  std::string names, cases;
  for (const auto& c : commands) {
    names += fmt::format("    '{}:{}'\n", c.name, text(c.description));
    cases += fmt::format("    {})\n      _arguments \\\n", c.name);
    for (const auto& f : c.flags) {
      const auto value = !f.has_value        ? std::string()
                         : f.choices.empty() ? ":value:_files"
                                             : fmt::format(":value:({})", joined(f.choices));
      if (f.names.size() == 1) {
        cases += fmt::format("        '{}[{}]{}' \\\n", f.names[0], text(f.description), value);
      } else {
        cases +=
            fmt::format("        '({})'{{{}}}'[{}]{}' \\\n", joined(f.names), joined(f.names, ","), text(f.description), value);
      }
    }
    cases += fmt::format("        '*:argument:{}' ;;\n", c.choices.empty() ? "_files" : "(" + joined(c.choices) + ")");
  }
  return fmt::format(R"(#compdef inferno
# zsh completion of inferno; source <(inferno completion zsh), or a file _inferno in $fpath
_inferno() {{
  local -a commands
  commands=(
{}  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  (( CURRENT-- ))
  case $command in
{}  esac
}}
if [[ $funcstack[1] == _inferno ]]; then _inferno "$@"; else compdef _inferno inferno; fi
)",
                     names, cases);
}

std::string fish(const std::vector<command>& commands) {
  const auto text = [](std::string s) { return replaced(replaced(std::move(s), "\\", "\\\\"), "'", "\\'"); };
  std::string out = "# fish completion of inferno; inferno completion fish | source\n";
  for (const auto& c : commands)
    out += fmt::format("complete -c inferno -n __fish_use_subcommand -f -a {} -d '{}'\n", c.name, text(c.description));
  for (const auto& c : commands) {
    const auto when = fmt::format("complete -c inferno -n '__fish_seen_subcommand_from {}'", c.name);
    if (!c.choices.empty()) out += fmt::format("{} -f -a '{}'\n", when, joined(c.choices));
    for (const auto& f : c.flags) {
      out += when;
      for (const auto& n : f.names) out += n.starts_with("--") ? " -l " + n.substr(2) : " -s " + n.substr(1);
      if (f.has_value) out += f.choices.empty() ? " -r" : fmt::format(" -x -a '{}'", joined(f.choices));
      out += fmt::format(" -d '{}'\n", text(f.description));
    }
  }
  return out;
}

}  // namespace

void add_completion(CLI::App& app) {
  auto shell = std::make_shared<std::string>();
  auto* added = app.add_subcommand("completion", "Completion script for a shell: bash, zsh or fish");
  added->add_option("shell", *shell, "bash, zsh or fish")->required()->check(CLI::IsMember({"bash", "zsh", "fish"}));
  added->callback([&app, shell] {
    std::vector<command> commands;
    for (const auto* sub : app.get_subcommands({})) commands.push_back(describe(*sub));
    std::cout << (*shell == "bash"  ? bash(describe(app), commands)
                  : *shell == "zsh" ? zsh(commands)
                                    : fish(commands))
              << std::flush;
  });
}

}  // namespace inferno::cli

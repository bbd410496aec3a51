// `inferno get` and `inferno explain`: what a running controller decided, and why.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/remote.hpp"

namespace inferno::cli {
namespace {

struct flags {
  remote_flags remote;
  std::string variant;
  std::string ns;
  std::string output = "table";
};

[[noreturn]] void refuse(const char* command, const std::string& message, int code) {
  std::cerr << "inferno " << command << ": " << message << "\n";
  throw CLI::RuntimeError(code);
}

void show(const char* command, const flags& f, const std::string& path) {
  const auto text = fetch(f.remote, path + "output=" + f.output);
  if (!text) refuse(command, text.error(), 1);
  std::cout << *text << std::flush;
  if (!std::cout) refuse(command, "standard output: cannot be written", 1);
}

/// The names of a Kubernetes object need no escapes in a URL; what has other characters is none.
bool is_name(const std::string& text) {
  return !text.empty() && text.size() <= 253 &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == std::string::npos;
}

std::string path_of(const char* command, const flags& f) {
  const auto slash = f.variant.find('/');
  if (slash == std::string::npos || !is_name(f.variant.substr(0, slash)) || !is_name(f.variant.substr(slash + 1)))
    refuse(command, fmt::format("expected NAMESPACE/NAME, got \"{}\"", f.variant), 2);
  return "/api/v1/variants/" + f.variant;
}

void add_common(CLI::App& command, flags& f) {
  add_remote_flags(command, f.remote);
  command.add_option("-o,--output", f.output, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
}

}  // namespace

void add_get(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("get", "The fleet as a running controller sees it, or one variant of it");
  command->add_option("variant", f->variant, "NAMESPACE/NAME (default: all)");
  command->add_option("-n,--namespace", f->ns, "only the variants of this namespace");
  add_common(*command, *f);
  command->callback([f] {
    if (!f->variant.empty()) {
      if (!f->ns.empty()) refuse("get", fmt::format("--namespace: {} has one already", f->variant), 2);
      return show("get", *f, path_of("get", *f) + "?");
    }
    if (!f->ns.empty() && !is_name(f->ns)) refuse("get", fmt::format("--namespace: not a namespace: \"{}\"", f->ns), 2);
    show("get", *f, "/api/v1/variants?" + (f->ns.empty() ? "" : "namespace=" + f->ns + "&"));
  });
}

void add_explain(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand(
      "explain", "Why a variant got what it got: candidates, what denied them, what cards are worth, the next best choice");
  command->add_option("variant", f->variant, "NAMESPACE/NAME")->required();
  add_common(*command, *f);
  command->callback([f] { show("explain", *f, path_of("explain", *f) + "/explain?"); });
}

}  // namespace inferno::cli

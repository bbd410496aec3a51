// `inferno get` and `inferno explain`: what a running controller decided, and why.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <thread>
#include <utility>

#include "cli/commands.hpp"
#include "cli/remote.hpp"
#include "cli/table_watch.hpp"

namespace inferno::cli {
namespace {

struct flags {
  remote_flags remote;
  std::string variant;
  std::string ns;
  std::string output = "table";
  bool watch = false;
};

constexpr std::chrono::seconds watch_period{2};

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

/// The table, then the rows that change, until a signal ends the program. A controller that goes away later is waited for.
[[noreturn]] void watch(const flags& f, const std::string& path) {
  table_watch table;
  std::string trouble;
  for (bool first = true;; first = false, std::this_thread::sleep_for(watch_period)) {
    const auto text = fetch(f.remote, path + "output=table");
    if (!text && first) refuse("get", text.error(), 1);
    if (!text) {
      if (trouble != text.error()) std::cerr << "inferno get: " << text.error() << "; trying again\n";
      trouble = text.error();
      continue;
    }
    if (!std::exchange(trouble, {}).empty()) std::cerr << "inferno get: the controller answers again\n";
    std::cout << table.see(*text) << std::flush;
    if (!std::cout) refuse("get", "standard output: cannot be written", 1);
  }
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
  command->add_flag("-w,--watch", f->watch, "after the table every row that changes, looked for every 2 s, until interrupted");
  add_common(*command, *f);
  command->callback([f] {
    if (f->watch && f->output != "table") refuse("get", fmt::format("--watch: only as a table, not as {}", f->output), 2);
    if (f->watch && f->remote.token_file == "-")
      refuse("get", "--watch: standard input can be read only once; --token-file needs a file", 2);
    if (!f->variant.empty()) {
      if (!f->ns.empty()) refuse("get", fmt::format("--namespace: {} has one already", f->variant), 2);
      const auto path = path_of("get", *f) + "?";
      return f->watch ? watch(*f, path) : show("get", *f, path);
    }
    if (!f->ns.empty() && !is_name(f->ns)) refuse("get", fmt::format("--namespace: not a namespace: \"{}\"", f->ns), 2);
    const auto path = "/api/v1/variants?" + (f->ns.empty() ? "" : "namespace=" + f->ns + "&");
    if (f->watch) watch(*f, path);
    show("get", *f, path);
  });
}

void add_explain(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand(
      "explain",
      "Why a variant got what it got: candidates, what denied them, what one GPU more would change, the next best choice");
  command->add_option("variant", f->variant, "NAMESPACE/NAME")->required();
  add_common(*command, *f);
  command->callback([f] { show("explain", *f, path_of("explain", *f) + "/explain?"); });
}

}  // namespace inferno::cli

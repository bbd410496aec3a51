// `inferno fit`: a profile from measurements.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>

#include "cli/commands.hpp"
#include "cli/input.hpp"
#include "model/measurements_csv.hpp"
#include "model/system_json.hpp"

namespace inferno::cli {
namespace {

struct flags {
  std::string file;
  std::string kind = "linear";
  int max_batched_tokens = 8192;
  std::string output = "table";
};

/// Six digits that count, never with an exponent: what a VariantAutoscaling takes.
std::string decimal(double x) {
  const int before = x > 0 ? static_cast<int>(std::floor(std::log10(x))) + 1 : 1;
  auto out = fmt::format("{:.{}f}", x, std::max(0, 6 - before));
  if (out.find('.') != std::string::npos) out.erase(out.find_last_not_of('0') + 1);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

std::string table(const model::profile_fit& fit) {
  std::string out;
  for (const auto& p : fit.parameters)
    out += fmt::format("{:<6} {:>14}{}\n", p.name, decimal(p.value),
                       p.half_width ? fmt::format("  +- {}", decimal(*p.half_width)) : "");
  if (!fit.parameters.empty() &&
      std::none_of(fit.parameters.begin(), fit.parameters.end(), [](const auto& p) { return p.half_width.has_value(); }))
    out += "no more measurements than parameters: nothing tells how far off they are\n";
  const auto line = [&](const char* name, const model::fit_error& e) {
    if (e.rows > 0)
      out += fmt::format("{:<5} error: {:.1f} % on average, {:.1f} % at worst, {} rows\n", name, 100 * e.mean, 100 * e.worst,
                         e.rows);
  };
  line("ITL", fit.itl);
  line("TTFT", fit.ttft);
  return out;
}

void run(const flags& f) {
  const auto refuse = [&](const std::string& message) {
    std::cerr << "inferno fit: " << input_name(f.file) << ": " << message << "\n";
    throw CLI::RuntimeError(2);
  };
  const auto text = read_input(f.file);
  if (!text) return refuse(text.error());
  const auto rows = model::parse_measurements(*text);
  if (!rows) return refuse(rows.error());
  const auto kind = f.kind == "iteration" ? model::profile_kind::iteration : model::profile_kind::linear;
  const auto fit = model::fit_profile(*rows, kind, f.max_batched_tokens);
  if (!fit) return refuse(fit.error());
  std::cout << (f.output == "json" ? model::fit_json(*fit) + "\n" : table(*fit)) << std::flush;
}

}  // namespace

void add_fit(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("fit", "Profile parameters from measurements, with 95 % confidence intervals");
  command
      ->add_option("FILE", f->file,
                   "CSV, - = standard input. Columns: out_tokens, concurrency or rate (requests/s), and as measured in_tokens, "
                   "itl_ms, ttft_ms; others are ignored. Measure steady loads without a queue")
      ->required();
  command->add_option("--profile", f->kind, "linear: decode and prefill; iteration: chunked prefill (docs/model.md)")
      ->check(CLI::IsMember({"linear", "iteration"}))
      ->capture_default_str();
  command->add_option("--max-batched-tokens", f->max_batched_tokens, "of the server measured, for the iteration profile")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command->add_option("-o,--output", f->output, "table, or json: as a model of SystemData takes it")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->callback([f] { run(*f); });
}

}  // namespace inferno::cli

// `inferno solve`: the allocation for a SystemData file.
#include <CLI/CLI.hpp>
#include <chrono>
#include <iostream>
#include <thread>

#include "cli/commands.hpp"
#include "cli/input.hpp"
#include "model/system_json.hpp"

namespace inferno::cli {
namespace {

struct flags {
  std::string file;
  std::string output = "table";
  std::string explain;
  model::solver_kind solver = model::solver_kind::automatic;
};

void run(const flags& f) {
  const auto refuse = [&](const std::string& message) {
    std::cerr << "inferno solve: " << input_name(f.file) << ": " << message << "\n";
    throw CLI::RuntimeError(2);
  };
  const auto text = read_input(f.file);
  if (!text) return refuse(text.error());
  auto system = model::parse_system(*text);
  if (!system) refuse(system.error());
  system->optimizer.solver = f.solver;
  const auto began = std::chrono::steady_clock::now();
  auto solution = model::solve_system(*system, std::thread::hardware_concurrency());
  solution.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (!f.explain.empty()) {
    const auto explained = model::explain_server(*system, solution, f.explain);
    if (!explained) refuse("serverData.servers: no server \"" + f.explain + "\" to explain");
    if (!*explained) refuse(f.explain + ": " + explained->error());
    const auto& e = **explained;
    std::cout << (f.output == "json"   ? model::explanation_json(e) + "\n"
                  : f.output == "yaml" ? model::explanation_yaml(e)
                                       : model::explanation_table(e))
              << std::flush;
    return;
  }
  std::cout << (f.output == "json"   ? model::solution_json(solution) + "\n"
                : f.output == "yaml" ? model::solution_yaml(solution)
                                     : model::solution_table(solution))
            << std::flush;
  if (!std::cout) {
    std::cerr << "inferno solve: standard output: cannot be written\n";
    throw CLI::RuntimeError(1);
  }
  if (!solution.satisfied()) throw CLI::RuntimeError(3);
}

}  // namespace

void add_solve(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command =
      app.add_subcommand("solve", "The allocation for a system: accelerator, replicas, batch, cost, predicted latencies");
  command->footer(
      "Exit codes: 0 every variant meets its objectives (or --explain has explained); 1 the output cannot be written;\n"
      "2 wrong input or flag; 3 the plan is printed, but a variant is infeasible, unallocated or degraded.");
  command->add_option("FILE", f->file, "SystemData JSON; - = standard input")->required();
  command->add_option("-o,--output", f->output, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  command
      ->add_option(
          "--solver", f->solver,
          "for limited capacity: auto (best plan with a bound), exact (the same, searching far longer for a proof) or greedy "
          "(as the Go autoscaler)")
      ->transform(CLI::CheckedTransformer(std::map<std::string, model::solver_kind>{
          {"auto", model::solver_kind::automatic}, {"greedy", model::solver_kind::greedy}, {"exact", model::solver_kind::exact}}))
      ->default_str("auto");
  command->add_option("--explain", f->explain,
                      "instead of the plan, why this variant got what it got: candidates, bounds, prices, next best, other SLOs");
  command->callback([f] { run(*f); });
}

}  // namespace inferno::cli

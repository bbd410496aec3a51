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
  std::string solver = "auto";
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
  system->optimizer.solver = f.solver == "exact"    ? model::solver_kind::exact
                             : f.solver == "greedy" ? model::solver_kind::greedy
                                                    : model::solver_kind::automatic;
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
      "Solvers: auto serves more important classes first, in each as many variants as possible, and these at the least value, "
      "which\n"
      "is what the change costs (docs/model.md); it stops when at most 0.02 % of the cost could still be saved. exact does the "
      "same\n"
      "and looks up to 40 times as long for the very best plan. greedy decides as the Go autoscaler does, and does not know how\n"
      "good its plan is. Where GPUs are not limited (\"unlimited\": true) there is nothing to share out, and all three agree.\n"
      "Columns: RATE/MIN requests that arrive at the variant; ITL, WAIT and TTFT predicted means at a replica's share of them;\n"
      "WAIT P95 the wait's 95th percentile as slo-ttw takes it (2.996 means); TTFT P95 the predicted 95th percentile; UTIL the\n"
      "share of the time in which a replica has a request; MAX RATE/MIN what one replica takes within the objectives; COST "
      "cents\n"
      "per hour. Last line: how many variants are satisfied, and how far the plan's value may be above that of the best plan.\n"
      "Exit codes: 0 every variant meets its objectives (or --explain has explained); 1 the output cannot be written;\n"
      "2 wrong input or flag; 3 the plan is printed, but a variant is infeasible, unallocated or degraded.");
  command->add_option("FILE", f->file, "SystemData JSON; - = standard input")->required();
  command->add_option("-o,--output", f->output, "table, json or yaml")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  command->add_option("--solver", f->solver, "how GPUs are shared out when there are too few: auto, exact or greedy, see below")
      ->check(CLI::IsMember({"auto", "exact", "greedy"}))
      ->capture_default_str();
  command->add_option("--explain", f->explain,
                      "instead of the plan, why this variant got what it got: candidates, what limits them, what one GPU more "
                      "would change, next best, other SLOs");
  command->callback([f] { run(*f); });
}

}  // namespace inferno::cli

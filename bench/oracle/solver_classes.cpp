// Solves synthetic systems and prints every class as an integer program with the plan's answer, for tools/solver-oracle.
// Arguments: variants, per cent of the GPUs that are wanted, seed. Per class: a line `class PRIORITY MEMBERS TYPES SATISFIED
// VALUE COST`, the GPUs left by the more important classes, and per member a line with its candidates: `VALUE USES (TYPE UNITS)*`
// each. First comes `system SATISFIABLE LOWER_BOUND GAP SECONDS`; the bound is nan where there is none.
#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>

#include "bench/make_system.hpp"
#include "model/gpu_room.hpp"
#include "model/solve_system.hpp"

namespace inferno {
namespace {

using namespace model;

void print_candidate(const solver_candidate& c) {
  std::map<int, double> units;
  for_each_part(c, [&](int type, int each, int replicas) {
    if (type >= 0 && each * replicas > 0) units[type] += static_cast<double>(each) * replicas;
  });
  fmt::print(" {:.17g} {}", c.alloc.value, units.size());
  for (const auto& [type, sum] : units) fmt::print(" {} {}", type, sum);
}

void print_classes(const solver_input& in, const solver_result& plan) {
  std::map<int, std::vector<std::size_t>> classes;
  for (std::size_t i = 0; i < in.variants.size(); ++i) classes[in.variants[i].priority].push_back(i);
  gpu_room room(in.capacity);
  for (const auto& [priority, members] : classes) {
    int satisfied = 0;
    double value = 0, cost = 0;
    auto after = room;
    for (const auto i : members) {
      const auto& choice = plan.choices[i];
      if (choice.candidate < 0 || choice.partial) continue;
      const auto& c = in.variants[i].candidates[static_cast<std::size_t>(choice.candidate)];
      ++satisfied;
      value += c.alloc.value;
      cost += c.alloc.cost.cents;
      if (!after.take_all(c)) {
        fmt::print(stderr, "{}: more GPUs than there are\n", in.variants[i].name);
        std::exit(1);
      }
    }
    fmt::print("class {} {} {} {} {:.17g} {:.17g}\n", priority, members.size(), in.capacity.size(), satisfied, value, cost);
    for (std::size_t t = 0; t < in.capacity.size(); ++t) fmt::print("{} ", room.left(t));
    fmt::print("\n");
    for (const auto i : members) {
      fmt::print("{}", in.variants[i].candidates.size());
      for (const auto& c : in.variants[i].candidates) print_candidate(c);
      fmt::print("\n");
    }
    room = after;
  }
}

}  // namespace
}  // namespace inferno

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  using namespace inferno;
  const auto system =
      bench::make_system({std::atoi(argv[1]), 8, std::strtoull(argv[3], nullptr, 10), std::strtod(argv[2], nullptr) / 100});
  auto prepared = model::analyze_system(system);
  // The integer program knows of values alone.
  prepared.input.keep_present = false;
  const auto start = std::chrono::steady_clock::now();
  const auto plan = model::solve(prepared.input);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  fmt::print("system {} {:.17g} {:.17g} {}\n", plan.report.satisfiable, plan.report.lower_bound.value_or(NAN),
             plan.report.gap.value_or(NAN), took.count());
  print_classes(prepared.input, plan);
}

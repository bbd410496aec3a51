#pragma once
// From candidate tables to one plan.
#include <map>
#include <string>
#include <vector>

#include "model/allocation.hpp"

namespace inferno::model {

/// One variant as the solver sees it. `units(candidate)` of a type = replicas * units_per_replica of that candidate's
/// accelerator.
struct solver_candidate {
  allocation alloc;
  int type = -1;  ///< index into solver_input::capacity; -1 = not limited
  int units_per_replica = 1;
};
struct solver_variant {
  std::string name;
  int priority = 0;
  std::vector<solver_candidate> candidates;  ///< by value, as make_candidates gives them
};
struct solver_input {
  std::vector<solver_variant> variants;
  std::vector<type_capacity> capacity;
  optimizer_spec optimizer;
};

/// Result for one variant, same order as the input.
struct solver_choice {
  int candidate = -1;    ///< index, -1 = nothing
  int num_replicas = 0;  ///< fewer than the candidate's when `partial`
  bool partial = false;
};
struct solver_result {
  std::vector<solver_choice> choices;
  std::vector<int> used;  ///< cards by capacity index
};

/// Least value per variant (unlimited), or greedy by priority and regret with the saturation policies (limited).
solver_result solve(const solver_input&);

/// The plan for a whole system.
struct type_usage {
  std::string type;
  int count = 0;
  int limit = -1;  ///< -1 = not limited
  cost_per_hour cost;
};
struct system_solution {
  std::map<std::string, allocation> allocations;  ///< by server name; partial ones with cost and value scaled
  std::map<std::string, server_load> loads;
  std::map<std::string, std::string> infeasible;   ///< no candidate meets the targets: why
  std::map<std::string, std::string> unallocated;  ///< had candidates, got none: why
  std::map<std::string, std::string> degraded;     ///< allocated, but too few replicas to meet the targets: by how much
  std::vector<type_usage> by_type;                 ///< sorted by type
  cost_per_hour total_cost;
};
system_solution solve_system(const system_data&);

}  // namespace inferno::model

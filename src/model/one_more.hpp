#pragma once
// What one GPU more of a type would change.
#include <optional>
#include <vector>

#include "model/solver.hpp"

namespace inferno::model {

/// How the plan with one GPU more of a type is better than the plan as it is, in the most important class in which they differ.
/// Only one of the three is not 0; none: nothing changes.
struct gpu_gain {
  int priority = 0;   ///< of that class
  int satisfied = 0;  ///< variants more that have a full allocation
  double saving = 0;  ///< as many have one, at so much less transition value, cents/hour
  int replicas = 0;   ///< nor that, but the saturation policy gives so many replicas more to variants that are short
  bool any() const { return satisfied > 0 || saving > 0 || replicas > 0; }
};

/// By capacity index, from another solution with one GPU more of each type that there might be too few of. nullopt: not known.
/// That is so where either solution is not proven far enough to tell that the GPU is what makes the difference, of plans without
/// bounds (greedy, unlimited), and where the system is so large that the solutions would take too long.
/// `result`: of solve(input).
std::vector<std::optional<gpu_gain>> gains_of_one_more(const solver_input& input, const solver_result& result);

}  // namespace inferno::model

#pragma once
// The greedy solver for limited capacity, compatible with the autoscaler Inferno replaces.
#include "model/solver.hpp"

namespace inferno::model {

/// By priority, then regret: the variant that would lose most by its next-best candidate chooses first. Variants no candidate of
/// which fits get what the saturation policy leaves, per priority group or, with delayed_best_effort, after all groups.
solver_result solve_greedy(const solver_input& input);

}  // namespace inferno::model

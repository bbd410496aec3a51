#pragma once
// The default solver for limited capacity.
#include "model/solver.hpp"

namespace inferno::model {

/// Lexicographic by priority: each class in its turn, within what the more important ones leave, first satisfies the most
/// variants and then has the least total value. Never worse than solve_greedy() in that order. Two assignment problems a class:
/// the count, then the value with at most as many unsatisfied; each with a lower bound. `exact` searches up to 40 times longer
/// for a proof.
solver_result solve_lexicographic(const solver_input& input);

}  // namespace inferno::model

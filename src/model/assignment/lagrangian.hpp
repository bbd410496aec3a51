#pragma once
// What prices of the types tell of an assignment problem.
#include <limits>
#include <vector>

#include "model/assignment.hpp"

namespace inferno::model {

/// Lower bound L(price) = sum_i min_o (value + price * uses) - price * capacity for prices >= 0, less what rounding may have
/// added to it: -infinity where that is all that can be said. `fixed`: per item its only option, or `unfixed`; empty = none is
/// fixed.
inline constexpr std::size_t unfixed = std::numeric_limits<std::size_t>::max();
double lagrangian_bound(const assignment_problem& problem, const std::vector<double>& price,
                        const std::vector<std::size_t>& fixed = {});

/// The values of all options, each raised by less than 1e-7 of the average spread of an item's values, by a fixed pattern: no two
/// options tie by chance.
std::vector<double> perturbed_values(const assignment_problem& problem);

}  // namespace inferno::model

#include "model/assignment.hpp"

#include <algorithm>
#include <cmath>

#include "model/assignment/branch_and_bound.hpp"

namespace inferno::model {

void assignment_problem::add_option(double option_value) {
  value.push_back(option_value);
  use_begin.push_back(uses.size());
}

void assignment_problem::add_use(int type, double units) {
  if (units == 0) return;
  for (auto u = use_begin[use_begin.size() - 2]; u < uses.size(); ++u)
    if (uses[u].type == type) {
      uses[u].units += units;
      return;
    }
  uses.push_back({type, units});
  use_begin.back() = uses.size();
}

assignment_solution solve_assignment(const assignment_problem& problem, std::vector<std::size_t> start,
                                     const assignment_effort& effort) {
  double scale = 0;
  for (const auto o : start) scale += problem.value[o];
  scale = std::abs(scale);
  for (const double v : problem.value) scale = std::max(scale, std::abs(v));
  branch_and_bound search(problem, std::move(start), effort, 1e-9 * scale);
  search.run();
  return {search.best(), search.best_value(), search.lower_bound(), search.lower_bound() >= search.best_value(), search.price()};
}

}  // namespace inferno::model

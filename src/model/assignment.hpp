#pragma once
// The optimizer's core: every item takes exactly one of its options, within capacities shared by all.
#include <cstdint>
#include <vector>

namespace inferno::model {

/// minimize sum of values, one option per item, sum of units per type <= capacity (a generalized assignment problem). Options lie
/// flat: those of item i are [item_begin[i], item_begin[i+1]), the uses of option o [use_begin[o], use_begin[o+1]).
struct assignment_problem {
  struct use {
    int type;
    double units;
  };
  std::vector<std::size_t> item_begin{0};
  std::vector<double> value;
  std::vector<std::size_t> use_begin{0};
  std::vector<use> uses;
  std::vector<double> capacity;

  std::size_t items() const { return item_begin.size() - 1; }
  /// Appends to the last item.
  void add_option(double option_value);
  void add_use(int type, double units);
  /// Closes the last item.
  void end_item() { item_begin.push_back(value.size()); }
};

struct assignment_effort {
  double enough = 0;      ///< stop when value - lower bound is no more
  std::int64_t work = 0;  ///< stop the search after so many options looked at
  bool integral = false;  ///< all values are whole numbers: the bound is rounded up
  /// Options looked at in a large neighbourhood search. It starts when branch and bound has looked at as many, and again each
  /// time that has done three times as much; 0 = there is none.
  std::int64_t neighbourhoods = 0;
};

struct assignment_solution {
  std::vector<std::size_t> choice;  ///< option per item
  double value = 0;
  double lower_bound = 0;     ///< no solution has less
  bool proven = false;        ///< value is the least there is
  std::vector<double> price;  ///< shadow price of a unit of each type (Lagrangian multiplier), >= 0
};

/// Linear relaxation, repair and local improvement of its split, branch and bound with a large neighbourhood search. `start` is a
/// feasible choice; the answer is never worse. Deterministic; ties go to the option that comes first.
assignment_solution solve_assignment(const assignment_problem& problem, std::vector<std::size_t> start,
                                     const assignment_effort& effort);

}  // namespace inferno::model

#pragma once
// One priority class against the room that the more important ones leave.
#include <cstdint>
#include <vector>

#include "model/assignment.hpp"
#include "model/gpu_room.hpp"

namespace inferno::model {

/// Satisfied variants of a class, their total value and cost.
struct standing {
  int satisfied = 0;
  double value = 0;
  double cost = 0;
  /// Better than `other` beyond rounding.
  bool better(const standing& other) const;
  void count(const solver_variant& variant, const solver_choice& choice);
};

class class_solver {
 public:
  /// All of it must outlive this object. `members` are indices into input.variants.
  class_solver(const solver_input& input, const std::vector<std::size_t>& members, const gpu_room& room)
      : input_(input), members_(members), room_(room) {}

  /// Chooses for the members. Returns those that got nothing, in the order in which best effort is to serve them. `follow`: where
  /// the greedy solver's choice is as good, it is taken.
  std::vector<std::size_t> solve(std::vector<solver_choice>& choices, bool follow);

  /// Against what the greedy solver makes of the class in the same room.
  enum class comparison { same, better, unknown } against_greedy = comparison::unknown;
  double lower_bound = 0;     ///< of the value in this room, with as many satisfied, and of these as many that were before
  int least_unsatisfied = 0;  ///< no choice in this room leaves fewer
  std::vector<double> price;  ///< shadow prices by capacity index; empty when there is room for all

 private:
  bool take_the_best(std::vector<solver_choice>& choices);
  assignment_problem build();
  assignment_problem counting(assignment_problem p) const;
  assignment_problem displacing(assignment_problem p) const;
  assignment_problem valued(const assignment_problem& p, int unsatisfied, int displaced) const;
  std::vector<std::size_t> start_of(const std::vector<solver_choice>& greedy, const assignment_problem& p) const;
  int displaced(const std::vector<std::size_t>& options) const;
  assignment_effort effort(const assignment_problem& p, double enough, bool integral) const;
  std::vector<std::size_t> options_of(const std::vector<solver_choice>& choices, const assignment_problem& p) const;
  std::vector<std::size_t> without(const std::vector<solver_choice>& choices) const;
  standing standing_of(const std::vector<solver_choice>& choices) const;

  const solver_input& input_;
  const std::vector<std::size_t>& members_;
  const gpu_room& room_;
  std::vector<int> candidate_of_;  ///< by option; -1 = none
  /// By option: a satisfied member loses by it what it has. Empty: what runs does not count.
  std::vector<bool> displaces_;
};

}  // namespace inferno::model

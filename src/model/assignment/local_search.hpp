#pragma once
// Plans from choices that are not feasible or not good yet: repair, single moves, exchanges of two.
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "model/assignment.hpp"

namespace inferno::model {

/// What a choice leaves of each capacity; below 0 = over-used.
std::vector<double> room_of(const assignment_problem& problem, const std::vector<std::size_t>& choice);
bool feasible(const std::vector<double>& room);
double value_of(const assignment_problem& problem, const std::vector<std::size_t>& choice);

/// At given prices of the types. Deterministic; ties go to the item and the option that come first.
class local_search {
 public:
  /// `tolerance`: what a value must gain to count.
  local_search(const assignment_problem& problem, std::vector<double> price, double tolerance);

  /// Moves items off the types that are used beyond capacity, those that lose the least reduced value per unit first. false: some
  /// type is still over-used.
  bool repair(std::vector<std::size_t>& choice, std::vector<double>& room) const;
  /// Every item to the best option there is room for, the largest gains first, until nothing moves.
  void improve(std::vector<std::size_t>& choice, std::vector<double>& room) const;
  /// Single changes and pairs of them, the best first, as long as reduced value and over-use together fall. Returns how many of
  /// them were looked at.
  std::int64_t exchange(std::vector<std::size_t>& choice, std::vector<double>& room) const;

 private:
  struct move {
    double loss;  ///< reduced value lost, for each unit set free where that is what counts
    std::size_t item, option;
  };
  /// An item's change of option: what it costs, and what it takes of the types it touches.
  struct change {
    double reduced;
    std::size_t item, option;
    std::vector<assignment_problem::use> takes;
  };
  using pair = std::pair<std::size_t, std::size_t>;

  static bool earlier(const move& a, const move& b);
  bool fits(const std::vector<double>& room, std::size_t option, int except) const;
  double units(std::size_t option, int type) const;
  std::vector<move> moves_off(int type, double excess, const std::vector<std::size_t>& choice) const;
  std::vector<change> promising(const std::vector<std::size_t>& choice, std::size_t most) const;
  change make_change(const std::vector<std::size_t>& choice, std::size_t item, std::size_t option) const;
  double penalty(std::size_t type, double room) const;
  double effect(const change& c, const std::vector<double>& room) const;
  std::optional<pair> best_pair(const std::vector<change>& changes, std::vector<double>& room) const;

  const assignment_problem& p_;
  std::vector<double> price_;
  std::vector<double> reduced_;  ///< per option: value + price * uses
  double tolerance_;
  double scale_ = 0;  ///< the largest value of an option
};

}  // namespace inferno::model

#pragma once
// Plans from a plan of which most items stay as they are.
#include <cstdint>
#include <vector>

#include "model/assignment.hpp"
#include "model/assignment/chance.hpp"

namespace inferno::model {

/// Large neighbourhood search (Shaw 1998): 40 to 80 items are set free, all others keep their options, and what that makes is
/// solved by branch and bound for something better than the plan. Set free are the items whose change of option costs least at
/// the prices of the linear relaxation (least regret); those that the relaxation would choose otherwise than the plan (as in
/// RINS: Danna, Rothberg, Le Pape 2005) cost less than nothing and so come first. Deterministic: chance comes from a fixed seed,
/// effort is counted in options looked at.
class large_neighbourhood {
 public:
  /// `problem` must outlive this object. `price`: of the types, from the relaxation. `tolerance`: what a value must gain to
  /// count.
  large_neighbourhood(const assignment_problem& problem, const std::vector<double>& price, double tolerance, bool integral);

  /// Improves a feasible choice until it is no more than `enough`, or about `work` options have been looked at. Returns how many
  /// were. Goes on where the last call ended.
  std::int64_t improve(std::vector<std::size_t>& choice, double enough, std::int64_t work);

 private:
  /// An item, and by how much its cheapest change of option raises the reduced value.
  struct regret {
    double of;
    std::size_t item;
  };

  std::vector<std::size_t> items_to_free(const std::vector<std::size_t>& choice);
  std::vector<regret> regrets(const std::vector<std::size_t>& choice, int type, std::size_t most) const;
  double units(std::size_t option, int type) const;
  bool improve_within(std::vector<std::size_t>& choice, const std::vector<std::size_t>& items, std::int64_t work);

  const assignment_problem& p_;
  std::vector<double> reduced_;  ///< per option: value + price * uses
  std::vector<int> scarce_;      ///< types with a price
  double tolerance_;
  bool integral_;
  chance chance_;
  std::size_t size_;            ///< items in a neighbourhood
  std::size_t turn_ = 0;        ///< neighbourhoods so far
  std::size_t failed_ = 0;      ///< those since the last better plan
  std::size_t unfinished_ = 0;  ///< of those, searches that ended without a proof
  std::int64_t effort_ = 0;     ///< work for one neighbourhood
  std::int64_t work_ = 0;
};

}  // namespace inferno::model

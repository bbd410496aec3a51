#pragma once
// The linear relaxation of an assignment problem: items may be split among their options. Its dual has one price per type only.
#include <cstdint>
#include <limits>
#include <vector>

#include "model/assignment/lagrangian.hpp"

namespace inferno::model {

/// A hyperplane in the space of prices on which the present prices lie.
struct price_row {
  enum class kind : std::uint8_t {
    floor,  ///< the price of `type` is 0
    tie,    ///< options `from` and `to` of `item` cost the same, and no option of it costs less
    loose   ///< no kink of the bound: it only keeps the system square
  };
  kind is = kind::floor;
  int type = -1;  ///< of a floor
  std::size_t item = 0, from = 0, to = 0;
};

/// Prices and the rows, one per type, that pin them down.
struct price_basis {
  std::vector<double> price;  ///< cents per unit, >= 0
  std::vector<price_row> rows;
  std::vector<double> normals;  ///< by row, then type
};

/// Maximizes L over prices >= 0: the dual simplex method in as many dimensions as there are types. A vertex is left along the
/// edge of steepest ascent, and the line search passes every kink as long as L rises (the long-step ratio test), so that an
/// iteration settles many items at once. Values are perturbed by a fixed pattern against degeneracy; bounds are those of the true
/// values.
class linear_relaxation {
 public:
  enum class outcome {
    optimal,
    beyond,  ///< the bound has reached the cutoff, as it does when there is no solution
    stopped  ///< out of iterations or of numerical precision: the bound holds, the split is not that of an optimum
  };

  /// `problem` must outlive this object. `values`: perturbed_values(problem), or the part of it that belongs to these options.
  linear_relaxation(const assignment_problem& problem, std::vector<double> values);
  /// All prices 0.
  price_basis origin() const;

  /// Ascends from `basis` and leaves the last one there. `fixed`: per item its only option, or `unfixed`.
  outcome solve(price_basis& basis, const std::vector<std::size_t>& fixed, double cutoff);

  /// Of the last solve(): the best bound, and the one at the prices that reduced() is about.
  double bound() const { return bound_; }
  double bound_of_reduced() const { return raw_bound_; }
  /// An item that is split.
  struct split {
    std::size_t item;
    std::vector<std::pair<std::size_t, double>> parts;  ///< option and part of the item, the largest first
  };
  const std::vector<split>& splits() const { return splits_; }
  /// Perturbed value plus price of the uses, of the last solve().
  double reduced(std::size_t option) const { return reduced_[option]; }
  std::size_t key(std::size_t item) const { return key_[item]; }
  std::int64_t work() const { return work_; }  ///< options looked at so far

 private:
  struct leaving {
    std::size_t row = 0;
    double sign = 0;  ///< 0 = none: optimal
  };
  struct kink {
    double at;
    std::size_t item, to;
  };

  void set_normal(price_basis& basis, std::size_t row) const;
  double dot_uses(std::size_t option, const std::vector<double>& v) const;
  void add_uses(std::vector<double>& to, std::size_t option, double sign) const;
  void choose_keys(price_basis& basis);
  bool invert(const price_basis& basis);
  void weigh(const price_basis& basis);
  bool change_key(price_basis& basis);
  leaving steepest(const price_basis& basis) const;
  kink next_kink(std::size_t item, double from) const;
  bool ascend(price_basis& basis, leaving row);
  bool rises_to(double cutoff, const price_basis& basis);
  void polish(price_basis& basis);
  void collect_splits(const price_basis& basis);

  const assignment_problem& p_;
  std::vector<double> values_;
  std::vector<std::size_t> fixed_;
  std::vector<std::size_t> key_;         ///< per item the option of least reduced value
  std::vector<int> ties_;                ///< per item the rows that are ties of it
  std::vector<double> reduced_, slope_;  ///< per option: value + price * uses, and its change along the edge
  std::vector<double> over_;             ///< per type: uses of the keys less capacity, the gradient of L
  std::vector<double> inverse_;          ///< of the matrix of the rows' normals
  std::vector<double> weight_;           ///< per row: the part of the item, or the room, that makes the gradient vanish
  std::vector<double> edge_;
  std::vector<kink> kinks_;
  std::vector<split> splits_;
  double bound_ = 0, raw_bound_ = 0;
  std::int64_t work_ = 0;
};

}  // namespace inferno::model

#pragma once
// Search of an assignment problem by bounds from its linear relaxation.
#include <cstdint>
#include <memory>
#include <optional>
#include <queue>
#include <vector>

#include "model/assignment/large_neighbourhood.hpp"
#include "model/assignment/linear_relaxation.hpp"

namespace inferno::model {

/// Best first, with dives: a node is an assignment of some items; its bound comes from the linear relaxation, solved from its
/// parent's prices; it branches on the split item with the most at stake, a child for each option. Options whose reduced value
/// alone lifts the bound to that of the best plan are out (reduced-cost fixing), and a node in which little is left open goes on
/// as a smaller problem. What is not settled early gets a large neighbourhood search for a better plan.
class branch_and_bound {
 public:
  /// `start` is feasible and the first incumbent. `tolerance`: below it two values are the same.
  branch_and_bound(const assignment_problem& problem, std::vector<std::size_t> start, const assignment_effort& effort,
                   double tolerance);
  void run();
  /// In small problems, searched by the dozen, rounding and repairing take longer than they are worth.
  void leave_out_repair() { repairs_ = false; }

  const std::vector<std::size_t>& best() const { return best_; }
  double best_value() const { return best_value_; }
  double lower_bound() const { return lower_; }                ///< no plan has less; at most best_value()
  const std::vector<double>& price() const { return price_; }  ///< of the relaxation of the whole problem
  std::int64_t work() const { return work_; }                  ///< options looked at

 private:
  /// What is left of the problem when some items are settled and some options are out.
  struct remainder {
    explicit remainder(assignment_problem p, std::vector<double> values)
        : problem(std::move(p)), relaxation(problem, std::move(values)) {}
    assignment_problem problem;
    linear_relaxation relaxation;
    std::vector<std::size_t> item_of, option_of;  ///< in the whole problem
    std::vector<std::size_t> settled;             ///< per item of the whole problem its option, or `unfixed`
    double constant = 0;                          ///< value of the settled
  };
  struct node {
    double bound;
    std::int64_t number;  ///< in order of creation
    std::shared_ptr<remainder> of;
    std::shared_ptr<const price_basis> basis;
    std::vector<std::pair<std::size_t, std::size_t>> fixed;  ///< item and option, of the remainder
  };
  struct later {
    bool operator()(const node& a, const node& b) const { return a.bound != b.bound ? a.bound > b.bound : a.number > b.number; }
  };

  double target() const;
  double rounded_up(double bound) const;
  /// A small problem is searched to the end all the same.
  bool good_enough(double bound) const { return work_ >= 200'000 && best_value_ - bound <= effort_.enough; }
  bool spent() const { return work_ >= effort_.work; }
  bool offer(const remainder& of, std::vector<std::size_t> choice);
  void mend(const remainder& of, const std::vector<double>& price, std::vector<std::size_t> choice);
  std::shared_ptr<remainder> reduce(const node& n, const price_basis& basis, price_basis& reduced_basis);
  void search_neighbourhoods();
  void visit(node n);
  void branch(const node& n, std::shared_ptr<const price_basis> basis);
  std::size_t item_to_branch_on(const remainder& of, const std::vector<std::size_t>& fixed) const;
  double surplus(const remainder& of, std::size_t item, std::size_t option) const;

  const assignment_problem& p_;
  assignment_effort effort_;
  double tolerance_;
  double perturbation_;  ///< no value was raised by more
  std::vector<double> values_;
  std::vector<std::size_t> best_;
  double best_value_;
  double lower_;
  double unresolved_ = std::numeric_limits<double>::infinity();  ///< the least bound of nodes that were given up
  std::vector<double> price_;
  std::priority_queue<node, std::vector<node>, later> open_;
  std::vector<node> dive_;  ///< where to go on before the best of the open ones; the last first
  std::int64_t work_ = 0, nodes_ = 0;
  bool repairs_ = true;
  std::optional<large_neighbourhood> neighbourhoods_;
  std::int64_t neighbourhoods_at_;  ///< work after which they are searched next
};

}  // namespace inferno::model

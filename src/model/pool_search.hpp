#pragma once
// The search for the mixes of one pool; mix_maker is what others use.
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include "model/pool_mixes.hpp"

namespace inferno::model {

constexpr std::size_t nobody = std::numeric_limits<std::size_t>::max();
/// Rounding in sums of rates must not cost a replica.
constexpr double rate_slack = 1e-9;

/// Options that are worth the same: replicas of members that differ in nothing, or an option of a member that has several.
struct pool_kind {
  double rate = 0;   ///< requests/s of a replica
  double value = 0;  ///< cents/hour of a replica: its cost, a tenth more where it is another accelerator
  int type = -1;
  int units = 1;
  int least = 0;
  int most = 0;
  std::vector<std::size_t> options;
  std::size_t member = nobody;  ///< whose limits count besides, when it has several options
};

/// Replicas that a member may have.
inline int most_of(const pool_member& m) { return m.max_replicas > 0 ? m.max_replicas : most_replicas; }

/// The pool with one assignment of accelerators.
class pool_search {
 public:
  /// Replicas by kind.
  using counts = std::vector<int>;

  pool_search(const std::vector<pool_option>& options, const std::vector<pool_member>& members, double demand,
              const mix_rules& rules, const std::vector<std::size_t>& active, const gpu_limits& limits);

  /// Every mix without a replica too many goes to found(); false: there are too many to try.
  bool enumerate(int tries);

  /// The mix of least value + price * GPUs, as far as so many nodes find it. `limits` replace those of the pool.
  std::optional<counts> cheapest(const gpu_limits& limits, const std::vector<double>& price, int tries);

  /// As many as the limits allow, and what the demand needs beyond them from the best kind: for a demand that nothing covers.
  counts everything();

  /// Requests/s that the replicas carry for which there are GPUs.
  double carried_within_limits(const counts& n);

  const std::set<counts>& found() const { return found_; }
  bool enough(const counts& n) const;
  /// GPUs by type.
  gpu_limits use_of(const counts& n) const;
  solver_candidate candidate(const counts& n) const;

 private:
  void add(std::size_t i, bool one_of_several);

  void by_price(const std::vector<double>& price);

  bool enough(double sum) const { return sum >= demand_; }
  double covered() const;
  bool limited(std::size_t k) const;
  /// Replicas for which there are GPUs.
  int fitting(std::size_t k) const;
  /// Replicas that the members may have besides those they have in `now_`.
  int allowed(std::size_t k) const;
  int needed(std::size_t k) const;
  void put(std::size_t k, int n);

  /// No less than what the kinds from `depth` on can add to the rate within the GPUs that are left.
  double addable(std::size_t depth) const;

  /// Fewer of the kind at `depth` give those after it nothing: neither GPUs nor replicas of a member.
  bool independent(std::size_t depth) const;

  /// Depth first over the kinds, the cheapest per request first. false: too many.
  bool fill(std::size_t depth);

  /// Raises members with several options to their minimum, and all to `least_total`, then keeps what covers the demand with
  /// nothing to spare.
  void keep();

  bool raise();

  /// From the dearest on: a replica that can go, goes.
  counts trimmed(counts n) const;

  /// No more than what covering `rate` with the kinds from `depth` on costs.
  double bound(std::size_t depth, double rate) const;

  /// Branch and bound over the kinds.
  void dive(std::size_t depth, double rate, double cost);

  std::vector<int> shared(const pool_kind& k, int n) const;

  const std::vector<pool_option>& options_;
  const std::vector<pool_member>& members_;
  double demand_;   ///< with the slack
  double planned_;  ///< without
  const mix_rules& rules_;
  const gpu_limits& limits_;
  std::vector<pool_kind> kinds_;
  std::vector<std::size_t> order_;
  std::vector<double> cost_;  ///< of a replica by kind, GPUs' prices included
  counts now_;
  gpu_limits left_;
  std::set<counts> found_;
  int tries_ = 0;
  std::optional<counts> best_;
  double best_value_ = 0;
};

}  // namespace inferno::model

#pragma once
// Mixes of replicas that cover one demand within the GPUs there are.
#include <optional>
#include <vector>

#include "model/solver.hpp"

namespace inferno::model {

/// One way to add replicas to a pool: a member on an accelerator.
struct pool_option {
  std::size_t member = 0;
  allocation per_replica;  ///< of one replica: cost, batch, highest rate within the targets
  int type = -1;           ///< as in solver_candidate
  int units_per_replica = 1;
};

/// What a member has, and may have.
struct pool_member {
  current_allocation current;
  int min_replicas = 0;
  int max_replicas = 0;  ///< 0 = no limit
};

struct mix_rules {
  int least_total = 0;           ///< replicas that the members keep together, whatever the demand
  bool one_accelerator = false;  ///< a member runs on one accelerator at a time
};

/// GPUs that a mix may take, by type; empty = there is no limit. A type beyond the end has none.
using gpu_limits = std::vector<int>;

struct mix_set {
  /// By value, then by replicas to start, then by cost. Each covers the demand, sum of replicas * rate >= demand, as far as
  /// `covers` says so, and none has a replica that could be left out. Dominated mixes (another one is worth no more and takes no
  /// more GPUs of any type) are absent.
  std::vector<solver_candidate> mixes;
  /// Every undominated mix is in `mixes`. Otherwise they are a choice of diverse ones that has the one of least value, as far as
  /// a bounded search finds it, and no bound follows from them.
  bool complete = true;
  /// The mixes cover the demand. Otherwise there is one, of all that the limits allow: the members' `max_replicas` (then it is
  /// all there is to have) or the GPUs (then it asks for more than there are).
  bool covers = true;
};

/// The mixes of one pool. Traffic is taken to go to each replica in proportion to its highest rate; the caller predicts the
/// latencies.
class mix_maker {
 public:
  mix_maker(std::vector<pool_option> options, std::vector<pool_member> members, req_rate demand, mix_rules rules = {});

  mix_set all(const gpu_limits& limits = {}) const;

  /// The mix of least value + sum of price * GPUs within the limits, as far as a bounded search finds it; nullopt: it finds none
  /// that covers the demand. `price` in cents/hour of a GPU by type; a type beyond its end costs nothing.
  std::optional<solver_candidate> best(const gpu_limits& limits, const std::vector<double>& price = {}) const;

  const std::vector<pool_option>& options() const { return options_; }
  const mix_rules& rules() const { return rules_; }

 private:
  std::vector<pool_option> options_;
  std::vector<pool_member> members_;
  double demand_;
  mix_rules rules_;
  /// The options that may be used together: where a member runs on one accelerator at a time, one of its options.
  std::vector<std::vector<std::size_t>> assignments_;
  bool all_assignments_ = true;
};

/// mix_maker::all() without limits.
std::vector<solver_candidate> make_mixes(const std::vector<pool_option>& options, const std::vector<pool_member>& members,
                                         req_rate demand);

}  // namespace inferno::model

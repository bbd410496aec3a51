#pragma once
// Mixes of accelerators for servers that share their demand.
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

/// Mixes of replicas that cover the demand, sum of replicas * rate >= demand, none of whose replicas could be left out; by value,
/// then cost. Dominated ones (another costs no more and takes no more cards of any type) are left out. All of them while there are
/// few enough to count (exact), else those of at most two options. Traffic is taken to go to each replica in proportion to its
/// highest rate; the caller predicts the latencies. Empty: no mix covers the demand.
std::vector<solver_candidate> make_mixes(const std::vector<pool_option>& options, const std::vector<pool_member>& members,
                                         req_rate demand);

}  // namespace inferno::model

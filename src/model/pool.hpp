#pragma once
// Mixes of accelerators for servers that share their demand.
#include <deque>
#include <functional>
#include <tl/expected.hpp>
#include <utility>
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
/// then cost. Dominated ones (another costs no more and takes no more cards of any type) are left out. All of them while there
/// are few enough to count (exact), else those of at most two options. Traffic is taken to go to each replica in proportion to
/// its highest rate; the caller predicts the latencies. Empty: no mix covers the demand.
std::vector<solver_candidate> make_mixes(const std::vector<pool_option>& options, const std::vector<pool_member>& members,
                                         req_rate demand);

/// Servers that serve one model for one class together: each sees the load of all, lengths weighted by rate.
class model_pool {
 public:
  explicit model_pool(const std::vector<variant_view>& members);
  model_pool(const model_pool&) = delete;
  model_pool& operator=(const model_pool&) = delete;

  /// The members, with the pool's load.
  const std::vector<variant_view>& members() const { return members_; }

  /// Type (index, -1 = not limited) and cards per replica of a member on an accelerator; error: it has no cards at all.
  using placement = std::function<tl::expected<std::pair<int, int>, std::string>(const variant_view&, const allocation&)>;
  /// Mixes with predictions. `one_accelerator`: a member keeps the accelerator in use, or takes its best one when it has none.
  /// Error: why there is no mix.
  tl::expected<std::vector<solver_candidate>, std::string> mixes(const placement& place, bool one_accelerator) const;

 private:
  std::deque<server_spec> servers_;
  std::vector<variant_view> members_;
};

}  // namespace inferno::model

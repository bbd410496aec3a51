#pragma once
// Mixes of accelerators for servers that share their demand.
#include <deque>
#include <functional>
#include <optional>
#include <tl/expected.hpp>
#include <utility>
#include <vector>

#include "model/pool_mixes.hpp"

namespace inferno::model {

/// Servers that serve one model for one class together: each sees the load of all, lengths weighted by rate.
class model_pool {
 public:
  /// `load`: of all together, where it is known better than as the sum of what each reports.
  explicit model_pool(const std::vector<variant_view>& members, std::optional<server_load> load = std::nullopt);
  model_pool(const model_pool&) = delete;
  model_pool& operator=(const model_pool&) = delete;

  /// The members, with the pool's load.
  const std::vector<variant_view>& members() const { return members_; }

  /// Type (index, -1 = not limited) and GPUs per replica of a member on an accelerator; error: it has no GPUs at all.
  using placement = std::function<tl::expected<std::pair<int, int>, std::string>(const variant_view&, const allocation&)>;
  /// Mixes with predictions. A member with `keep_accelerator` keeps the one in use, if it has one. Error: why there is no mix at
  /// all.
  tl::expected<mix_set, std::string> mixes(const placement& place, mix_rules rules = {}, const gpu_limits& limits = {});

  /// Another mix for the room and the prices that others leave; see mix_maker::best(). Only after mixes().
  std::optional<solver_candidate> another(const gpu_limits& limits, const std::vector<double>& price) const;

  /// A replica of a member on an accelerator; nullptr: it cannot run there. Only after mixes().
  const pool_option* option(std::size_t member, const std::string& accelerator) const;
  const mix_rules& rules() const { return maker_->rules(); }

  /// What the members have to serve together.
  req_rate demand() const;

 private:
  std::deque<server_spec> servers_;
  std::vector<variant_view> members_;
  std::optional<mix_maker> maker_;

  void predict(solver_candidate& mix) const;
};

server_load together(const std::vector<variant_view>& members);

/// A variant of a solver's input that stands for a pool of which not every mix is a candidate.
struct open_pool {
  std::size_t variant = 0;
  const model_pool* pool = nullptr;
};

/// solve(), and for each of `open` again with mixes for the GPUs and prices that the others leave it, which become candidates,
/// until none helps. As long as there are any such pools the report claims no bound.
solver_result solve_with_pools(solver_input& input, const std::vector<open_pool>& open);

}  // namespace inferno::model

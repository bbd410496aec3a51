#pragma once
// Why a variant got what it got, and what else there was.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/one_more.hpp"
#include "model/solver.hpp"

namespace inferno::model {

/// How the GPUs of a type stand after the plan.
struct type_standing {
  std::string type;
  int limit = -1;  ///< -1 = not limited
  int used = 0;
  std::optional<gpu_gain> one_more;  ///< what one GPU more would change; nullopt = not known
};

struct explained_candidate {
  allocation alloc;  ///< percentiles included
  int units_per_replica = 1;
  std::string type;
  int cards = 0;  ///< of that type
  bool chosen = false;
  bool allowed = true;                     ///< false: keepAccelerator forbids it
  std::string denied;                      ///< by what; "" = it was not
  std::optional<batch_choice> best_batch;  ///< the batch the search would take
};

/// The best candidate when every latency target is scaled; `reason` says what cannot be met, or that
/// maxReplicas are too few.
struct slo_change {
  double factor = 1;
  std::optional<allocation> best;
  double extra_cost = 0;  ///< against the best candidate at the SLO as it is, cents/hour
  std::string reason;
};

/// A variant of a pool, and what the plan gives it.
struct pool_member_plan {
  std::string variant;
  std::vector<allocation> parts;  ///< one for each accelerator it is to have; `max_rate_per_replica` set
  int least = 0;                  ///< replicas it has whatever the others have
};

/// The demand that the variants of a pool share, and the mix that the plan serves it with.
struct pool_plan {
  std::string name;
  server_load load;  ///< of all together
  req_rate demand;   ///< planned for: the rate of `load`, or the target's tokens per second if those are more
  std::vector<pool_member_plan> members;
  /// The most demand of the last minutes, which other replicas have to carry too before they are started; 0 = no such condition.
  req_rate lasting{};
  /// What the mix takes within the targets.
  req_rate able() const;
};

struct explanation {
  std::string name;
  std::string model;
  int priority = 0;
  std::optional<pool_plan> pool;  ///< that it is planned with; nullopt = it is planned by itself
  std::string share;              ///< of a pool: why the variant has as many replicas of the mix as it has
  slo_targets slo;
  server_load load;
  current_allocation current;
  std::optional<allocation> desired;  ///< nullopt: nothing was allocated
  std::vector<allocation> also;       ///< of a pool: what it is to have on other accelerators besides
  std::string outcome;                ///< in words
  /// By value; those that are not allowed last. Of a pool those that are chosen are the variant's part of the mix, and the others
  /// would carry the whole demand of the pool.
  std::vector<explained_candidate> candidates;
  std::vector<refusal> refused;
  std::vector<type_standing> types;     ///< of the candidates
  std::optional<allocation> next_best;  ///< none of a pool, as `slo_changes`: both are about a variant by itself
  double next_best_extra_cost = 0;      ///< cost of next_best less that of the desired one
  std::vector<slo_change> slo_changes;  ///< 10 % tighter, 10 % looser
};

/// What the plan says of the variant; `standing` of an accelerator's type. Analyses every accelerator anew: about 100 sizings
/// each.
explanation explain_variant(const variant_view& view, const std::optional<allocation>& desired, std::string outcome,
                            const std::function<type_standing(const accelerator&)>& standing);

/// The same of a variant that shares the demand of a pool, of which it is a member. Where its part is empty, nothing was
/// allocated.
explanation explain_member(const variant_view& view, pool_plan pool, const std::optional<allocation>& desired,
                           std::string outcome, const std::function<type_standing(const accelerator&)>& standing);

}  // namespace inferno::model

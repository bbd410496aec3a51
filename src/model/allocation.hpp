#pragma once
// Candidates of a variant and their transition values.
#include <map>
#include <string>
#include <vector>

#include "model/system.hpp"

namespace inferno::model {

/// One way to serve a variant: `replicas` on one accelerator, with what the model predicts for it.
struct allocation {
  std::string accelerator;  ///< "" with 0 replicas: none
  int num_replicas = 0;
  int max_batch = 0;
  cost_per_hour cost;
  double value = 0;  ///< transition value against the current allocation, cents/hour
  double itl_ms = 0;
  double wait_ms = 0;
  double ttft_ms = 0;
  double busy = 0;  ///< 1 - p(0)
  double rho = 0;   ///< in service / N
  req_rate max_rate_per_replica;
  std::string_view binding{};  ///< the target that limits the rate, "" when none
};

/// Where one variant stands: its candidates by value (ties: cost, accelerator name), or why it has none.
struct candidate_set {
  std::vector<allocation> candidates;
  std::string infeasible;  ///< empty when there is a candidate; else names every refused accelerator and why
};

/// Everything about a variant that its candidates depend on. Pointers live as long as the system they come from.
struct variant_view {
  const server_spec* server = nullptr;
  slo_targets slo;
  int priority = 0;
  /// the accelerators with a profile for the server's model
  std::vector<std::pair<const accelerator*, const model_profile*>> options;
};

/// What the replicas have to serve: the arrival rate, or the tokens per second of the SLO if those are more. `avg_out_tokens` >
/// 0.
req_rate demand_of(const server_load& load, const slo_targets& slo);

/// Candidates of one variant. Only the current accelerator when keep_accelerator and one is in use.
candidate_set make_candidates(const variant_view&);

/// 0 if nothing changes; cost difference on the same accelerator; else that + 0.1 (new + old cost).
double transition_value(const current_allocation& from, std::string_view to_accelerator, int to_replicas, cost_per_hour to_cost);

}  // namespace inferno::model

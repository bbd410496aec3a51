#pragma once
// Candidates of a variant and their transition values.
#include <map>
#include <optional>
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
  double busy = 0;            ///< 1 - p(0)
  double rho = 0;             ///< in service / N
  req_rate rate_per_replica;  ///< planned for
  req_rate max_rate_per_replica;
  std::string_view binding{};    ///< the target that limits the rate, "" when none
  ttft_percentiles ttft_at;      ///< only where add_percentiles() was asked for them
  double ttft_objective_ms = 0;  ///< likewise: the TTFT that the objective is about, mean or percentile
};

/// An accelerator that cannot serve a variant: a target it misses, or what is wrong with its profile or demand.
struct refusal {
  std::string accelerator;
  std::optional<infeasible> verdict;
  std::string problem;  ///< when there is no verdict
  std::string reason() const { return verdict ? verdict->reason() : problem; }
};

/// Where one variant stands: its candidates by value (ties: cost, accelerator name), and the accelerators that are none.
struct candidate_set {
  std::vector<allocation> candidates;
  std::vector<refusal> refused;
  std::string problem;  ///< of the variant itself: why there is nothing to choose from
  /// Why there is no candidate; names every refused accelerator.
  std::string reason() const;
};

/// Everything about a variant that its candidates depend on. Pointers live as long as the system they come from.
struct variant_view {
  const server_spec* server = nullptr;
  slo_targets slo;
  int priority = 0;
  bool search_batch = false;  ///< the profile's batch is a limit, and the best below it is searched for
  /// the accelerators with a profile for the server's model
  std::vector<std::pair<const accelerator*, const model_profile*>> options;
};

/// What the replicas have to serve: the arrival rate, or the tokens per second of the SLO if those are more. `avg_out_tokens` >
/// 0.
req_rate demand_of(const server_load& load, const slo_targets& slo);

/// Candidates of one variant. Only the current accelerator when keep_accelerator and one is in use; with `all`, every one.
candidate_set make_candidates(const variant_view&, bool all = false);

/// The one of another accelerator that would cost the least if the variant might move; nullopt: none meets the targets either.
std::optional<allocation> cheapest_elsewhere(const variant_view&);

/// Fills `ttft_at` for the load each replica of `a` gets.
void add_percentiles(const variant_view&, allocation& a);

/// Predicts the latencies of `a` when each of its replicas gets `rate`.
void predict_at(const variant_view&, allocation& a, req_rate rate);

/// 0 if nothing changes; cost difference on the same accelerator; else that + 0.1 (new + old cost).
double transition_value(const current_allocation& from, std::string_view to_accelerator, int to_replicas, cost_per_hour to_cost);

}  // namespace inferno::model

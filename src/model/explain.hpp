#pragma once
// Why a variant got what it got, and what else there was.
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "model/solver.hpp"

namespace inferno::model {

/// How the GPUs of a type stand after the plan.
struct type_standing {
  std::string type;
  int limit = -1;  ///< -1 = not limited
  int used = 0;
  double price = 0;  ///< shadow price of a GPU, cents/hour: what one more would save, by the solver's bound
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

struct explanation {
  std::string name;
  std::string model;
  int priority = 0;
  std::string pool;  ///< that it is planned with, "" = it is planned by itself
  slo_targets slo;
  server_load load;
  current_allocation current;
  std::optional<allocation> desired;            ///< nullopt: nothing was allocated
  std::string outcome;                          ///< in words
  std::vector<explained_candidate> candidates;  ///< by value; those that are not allowed last
  std::vector<refusal> refused;
  std::vector<type_standing> types;  ///< of the candidates
  std::optional<allocation> next_best;
  double next_best_extra_cost = 0;      ///< cost of next_best less that of the desired one
  std::vector<slo_change> slo_changes;  ///< 10 % tighter, 10 % looser
};

/// What the plan says of the variant; `standing` of an accelerator's type. Analyses every accelerator anew: about 100 sizings
/// each.
explanation explain_variant(const variant_view& view, const std::optional<allocation>& desired, std::string outcome,
                            const std::function<type_standing(const accelerator&)>& standing);

}  // namespace inferno::model

#pragma once
// What the files of the planner share.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "actors/messages.hpp"

namespace inferno::actors {

/// Order of the classes for the solver, lower first. Variants on hold that yield their GPUs rank one before their class.
inline int rank_of(const capacity_curve& c) { return 2 * c.priority; }

/// Of those whose class is not known.
inline constexpr int last_rank = 1 << 20;

/// Whether somebody carries out what is decided.
inline bool carried_out(const capacity_curve& c) { return c.actuate && c.mode != actuation_mode::dry_run; }

/// Identifies the pool among all namespaces and classes; "" = the variant is in none.
std::string pool_name(const capacity_curve& c);

/// Replicas that have their GPUs for certain.
inline int running_of(const capacity_curve& c) {
  return std::min(c.ready.value_or(c.current.num_replicas), c.current.num_replicas);
}

/// Nothing to decide on.
inline bool held(const capacity_curve& c) { return c.hold || c.candidates.empty(); }
/// The class of a rank; that of those who yield is theirs.
inline int class_of_rank(int rank) { return rank >= 0 ? (rank + 1) / 2 : rank / 2; }

/// `candidate` with another number of replicas: cost and value in proportion.
inline model::allocation with_replicas(model::allocation candidate, int replicas) {
  if (candidate.num_replicas > 0 && replicas != candidate.num_replicas) {
    const double share = static_cast<double>(replicas) / candidate.num_replicas;
    candidate.cost.cents *= share;
    candidate.value *= share;
    candidate.num_replicas = replicas;
  }
  return candidate;
}

/// Replicas that the load of a candidate needs, whatever minReplicas and maxReplicas made of them.
inline int replicas_needed(const model::allocation& candidate) {
  const double load = candidate.num_replicas * candidate.rate_per_replica.per_sec();
  const double each = candidate.max_rate_per_replica.per_sec();
  if (load <= 0) return 0;
  return each > 0 ? static_cast<int>(std::min(std::ceil(load / each * (1 - 1e-9)), 1e9)) : candidate.num_replicas;
}

/// What is said of the variant besides what was decided comes first.
inline std::string with_remark(const capacity_curve& c, const std::string& message) {
  return c.hold_message.empty() ? message : c.hold_message + "; " + message;
}

}  // namespace inferno::actors

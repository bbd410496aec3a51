#pragma once
// What the files of the planner share.
#include <utility>

#include "actors/messages.hpp"

namespace inferno::actors {

/// Order of the classes for the solver, lower first. Variants on hold that yield their GPUs rank one before their class.
inline int rank_of(const capacity_curve& c) { return 2 * c.priority; }

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

}  // namespace inferno::actors

#pragma once
// From the replicas that the members of a pool have to those that are planned for them: make before break.
#include <vector>

#include "model/pool_mixes.hpp"

namespace inferno::actors {

/// A member of a pool, on the accelerator in use.
struct pool_step {
  int has = 0;         ///< replicas asked for at present
  int ready = 0;       ///< of those, Ready
  int wanted = 0;      ///< planned
  bool moves = false;  ///< planned on another accelerator: what it has stays until the replicas there are Ready
  double rate = 0;     ///< requests/s that a replica serves within the targets
  double cost = 0;     ///< of a replica, cents/hour
  int type = -1;       ///< of its GPUs, -1 = not limited
  int units = 1;       ///< GPUs per replica
  int batch = 0;       ///< requests that a replica serves at once
};

/// What a pool keeps through a change.
struct pool_aim {
  double demand = 0;     ///< requests/s
  int least_ready = 0;   ///< replicas
  double in_flight = 0;  ///< requests that run or wait at the members: busy servers stay though nothing completes
};

/// The replicas to ask for now, by member; of one that moves those that are planned.
/// - What is Ready serves no less than min(demand, what is Ready serves at present), and `least_ready` replicas stay where there
/// are
///   so many: members shrink as far as others have become Ready. The cheapest capacity is kept.
/// - As long as what is Ready does not carry the demand, what has been asked for serves no less than it could: no replica that
///   starts is given up for another that would have to.
/// - `gpus`: what the pool may hold by type; empty = there is no limit. Where the old and the new replicas do not fit together,
/// the
///   new ones wait for GPUs; where not one of them fits and none is on its way, as many old ones go as one new one needs. What
///   others are to have (`gpus` less than the old ones hold) is given away.
std::vector<int> make_before_break(const std::vector<pool_step>& members, const pool_aim& aim, const model::gpu_limits& gpus);

}  // namespace inferno::actors

#pragma once
// What is left of the GPUs of each type, and what a candidate takes of them.
#include <algorithm>
#include <limits>

#include "model/solver.hpp"

namespace inferno::model {

/// Calls f(type, units_per_replica, replicas) for each accelerator of a candidate.
template <class F>
void for_each_part(const solver_candidate& c, F f) {
  if (c.mix.empty()) return f(c.type, c.units_per_replica, c.alloc.num_replicas);
  for (const auto& p : c.mix) f(p.type, p.units_per_replica, p.alloc.num_replicas);
}

class gpu_room {
 public:
  explicit gpu_room(const std::vector<type_capacity>& capacity) {
    for (const auto& c : capacity) left_.push_back(c.count);
  }
  int left(std::size_t type) const { return left_[type]; }

  /// Replicas of `units` GPUs each there is room for.
  int fitting(int type, int units) const {
    if (type < 0 || units <= 0) return std::numeric_limits<int>::max();
    return left_[static_cast<std::size_t>(type)] / units;
  }
  void take(int type, int units, int replicas) {
    if (type >= 0) left_[static_cast<std::size_t>(type)] -= replicas * units;
  }
  /// Takes the whole candidate, or nothing.
  bool take_all(const solver_candidate& c) {
    if (c.mix.empty()) {
      const bool ok = fitting(c.type, c.units_per_replica) >= c.alloc.num_replicas;
      if (ok) take(c.type, c.units_per_replica, c.alloc.num_replicas);
      return ok;
    }
    const auto before = left_;
    bool ok = true;
    for_each_part(c, [&](int type, int units, int replicas) {
      ok = ok && fitting(type, units) >= replicas;
      if (ok) take(type, units, replicas);
    });
    if (!ok) left_ = before;
    return ok;
  }

 private:
  std::vector<int> left_;
};

/// The choice of a whole candidate.
inline solver_choice whole(const solver_variant& v, std::size_t candidate) {
  const auto& c = v.candidates[candidate];
  solver_choice out{static_cast<int>(candidate), c.alloc.num_replicas, false, {}};
  for (const auto& p : c.mix) out.part_replicas.push_back(p.alloc.num_replicas);
  return out;
}

}  // namespace inferno::model

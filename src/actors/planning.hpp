#pragma once
// The optimizer's thinking without its actor: latest curves and capacity in, plan out. Deterministic.
#include <map>

#include "actors/messages.hpp"

namespace inferno::actors {

class planner {
 public:
  void set_curve(std::shared_ptr<const capacity_curve> curve) { curves_[curve->key] = std::move(curve); }
  void remove(const variant_key& key) { curves_.erase(key); }
  void set_capacity(std::shared_ptr<const capacity_view> capacity) { capacity_ = std::move(capacity); }
  void set_saturation(model::saturation_policy policy) { saturation_ = policy; }
  std::size_t size() const { return curves_.size(); }

  /// One joint plan over all variants. `solve_seconds` is left 0: the planner has no clock.
  std::shared_ptr<plan_snapshot> plan(std::uint64_t cycle, std::string trigger) const;

 private:
  std::map<variant_key, std::shared_ptr<const capacity_curve>> curves_;
  std::shared_ptr<const capacity_view> capacity_;
  model::saturation_policy saturation_ = model::saturation_policy::priority_exhaustive;
};

}  // namespace inferno::actors

#include "actors/planning.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace inferno::actors {
namespace {

model::allocation present(const capacity_curve& c) {
  model::allocation a;
  a.accelerator = c.current.accelerator;
  a.num_replicas = c.current.num_replicas;
  a.max_batch = c.current.max_batch;
  a.cost = c.current.cost;
  a.itl_ms = c.current.itl_ms;
  a.ttft_ms = c.current.ttft_ms;
  a.wait_ms = c.current.wait_ms;
  return a;
}

/// `candidate` with another number of replicas: cost and value in proportion.
model::allocation with_replicas(model::allocation candidate, int replicas) {
  if (candidate.num_replicas > 0 && replicas != candidate.num_replicas) {
    const double share = static_cast<double>(replicas) / candidate.num_replicas;
    candidate.cost.cents *= share;
    candidate.value *= share;
    candidate.num_replicas = replicas;
  }
  return candidate;
}

class table_of_types {
 public:
  explicit table_of_types(const capacity_view* capacity) : limited_(capacity && capacity->known) {
    if (capacity)
      for (const auto& [device, count] : capacity->by_device) add(device, count);
  }
  bool limited() const { return limited_; }
  /// A device no node has: known to have no cards when capacity limits.
  int index(const std::string& device) {
    const auto it = index_.find(device);
    return it != index_.end() ? it->second : add(device, 0);
  }
  std::vector<model::type_capacity> list;

 private:
  int add(const std::string& device, int count) {
    const int i = static_cast<int>(list.size());
    index_.emplace(device, i);
    list.push_back({device, count});
    return i;
  }
  bool limited_;
  std::map<std::string, int> index_;
};

/// What a variant gets when the solver left it without a full allocation: what the policy gave, at least minReplicas of what it
/// has.
decision denied(const std::shared_ptr<const capacity_curve>& curve, int granted) {
  decision d;
  d.curve = curve;
  const auto same = std::find_if(curve->candidates.begin(), curve->candidates.end(),
                                 [&](const auto& c) { return c.alloc.accelerator == curve->current.accelerator; });
  const auto& wanted = same != curve->candidates.end() ? *same : curve->candidates.front();
  const int floor = std::min(curve->min_replicas, wanted.alloc.num_replicas);
  d.desired = with_replicas(wanted.alloc, std::max(granted, floor));
  d.reason = "CapacityLimited";
  d.message = fmt::format("wanted {} x {}, {} granted: not enough GPUs", wanted.alloc.num_replicas, wanted.alloc.accelerator,
                          d.desired.num_replicas);
  return d;
}

}  // namespace

std::shared_ptr<plan_snapshot> planner::plan(std::uint64_t cycle, std::string trigger) const {
  auto snapshot = std::make_shared<plan_snapshot>();
  snapshot->cycle = cycle;
  snapshot->trigger = std::move(trigger);
  table_of_types types(capacity_.get());
  model::solver_input input;
  input.optimizer.unlimited = !types.limited();
  input.optimizer.saturation = saturation_;
  std::vector<std::shared_ptr<const capacity_curve>> solved;
  for (const auto& [key, curve] : curves_) {
    if (curve->hold || curve->candidates.empty()) {
      // What a held variant has is not to be given to others.
      if (!curve->current_device.empty()) {
        auto& room = types.list[static_cast<std::size_t>(types.index(curve->current_device))].count;
        room = std::max(0, room - curve->current.num_replicas * curve->current_units);
      }
      continue;
    }
    model::solver_variant v;
    v.name = fmt::format("{}/{}", key.ns, key.name);
    v.priority = curve->priority;
    v.candidates = curve->candidates;
    for (std::size_t i = 0; i < v.candidates.size(); ++i)
      v.candidates[i].type = curve->device_of[i].empty() ? -1 : types.index(curve->device_of[i]);
    input.variants.push_back(std::move(v));
    solved.push_back(curve);
  }
  input.capacity = types.list;
  const auto result = model::solve(input);

  std::map<std::string, model::type_usage> usage;
  const auto count_in = [&](const decision& d) {
    const auto& c = *d.curve;
    std::string device = c.current_device;
    int units = c.current_units;
    for (std::size_t i = 0; i < c.candidates.size(); ++i)
      if (c.candidates[i].alloc.accelerator == d.desired.accelerator) {
        device = c.device_of[i];
        units = c.candidates[i].units_per_replica;
      }
    snapshot->total_cost.cents += d.desired.cost.cents;
    if (device.empty() || d.desired.num_replicas == 0) return;
    auto& u = usage[device];
    u.type = device;
    u.count += d.desired.num_replicas * units;
    u.cost.cents += d.desired.cost.cents;
  };
  const auto put = [&](decision d) {
    d.cycle = cycle;
    count_in(d);
    auto key = d.curve->key;
    snapshot->decisions.emplace(std::move(key), std::make_shared<const decision>(std::move(d)));
  };
  for (std::size_t i = 0; i < solved.size(); ++i) {
    const auto& choice = result.choices[i];
    const auto& curve = solved[i];
    if (choice.candidate < 0 || choice.partial) {
      put(denied(curve, choice.candidate < 0 ? 0 : choice.num_replicas));
      continue;
    }
    decision d;
    d.curve = curve;
    d.desired = curve->candidates[static_cast<std::size_t>(choice.candidate)].alloc;
    d.reason = "Optimized";
    d.message = curve->hold_message;
    put(std::move(d));
  }
  for (const auto& [key, curve] : curves_) {
    if (snapshot->decisions.count(key)) continue;
    decision d;
    d.curve = curve;
    d.desired = present(*curve);
    d.hold = true;
    d.reason = curve->hold ? curve->hold_reason : "Pending";
    d.message = curve->hold_message;
    put(std::move(d));
  }
  for (auto& [device, u] : usage) {
    if (capacity_ && capacity_->known) {
      const auto it = capacity_->by_device.find(device);
      u.limit = it == capacity_->by_device.end() ? 0 : it->second;
    }
    snapshot->by_type.push_back(u);
  }
  return snapshot;
}

}  // namespace inferno::actors

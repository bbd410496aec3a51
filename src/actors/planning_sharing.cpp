// The planner's part in shortage: variants of a class keep what they have been granted, and when one gives way to another.
#include <algorithm>
#include <iterator>

#include "actors/planning.hpp"
#include "actors/planning_parts.hpp"

namespace inferno::actors {
namespace {

/// Replicas are taken from one variant for another of its class only if the same variant would gain at so many looks in a row.
/// Pods start and stop for it, large models load for minutes, and demand that varies by a replica shows some gain most of the
/// time.
constexpr double look_every_s = 60;
constexpr int looks_needed = 5;

/// What a class has of a plan.
struct class_share {
  int satisfied = 0;
  std::vector<int> shares;  ///< replicas of those that are short, the fewest first
};

bool whole(const model::solver_choice& choice) { return choice.candidate >= 0 && !choice.partial; }

std::map<int, class_share> shares_of(const model::solver_input& input, const model::solver_result& result) {
  std::map<int, class_share> out;
  for (std::size_t i = 0; i < input.variants.size(); ++i) {
    if (input.variants[i].candidates.empty()) continue;
    auto& one = out[input.variants[i].priority];
    const auto& choice = result.choices[i];
    if (whole(choice)) {
      ++one.satisfied;
    } else {
      one.shares.push_back(choice.num_replicas);
    }
  }
  for (auto& [rank, one] : out) std::sort(one.shares.begin(), one.shares.end());
  return out;
}

bool takes_turns(model::saturation_policy policy) {
  return policy == model::saturation_policy::round_robin || policy == model::saturation_policy::priority_round_robin;
}

/// Those of a class that `after` satisfies, or gives more replicas of what they are short of.
std::set<std::size_t> gainers_of(const model::solver_input& input, int rank, const model::solver_result& before,
                                 const model::solver_result& after) {
  std::set<std::size_t> out;
  for (std::size_t i = 0; i < input.variants.size(); ++i) {
    const auto &a = before.choices[i], &b = after.choices[i];
    if (input.variants[i].priority != rank || input.variants[i].candidates.empty() || whole(a)) continue;
    if (whole(b) || b.num_replicas > a.num_replicas) out.insert(i);
  }
  return out;
}

bool short_of_gpus(const model::solver_input& input, const model::solver_result& result) {
  for (std::size_t i = 0; i < input.variants.size(); ++i)
    if (!input.variants[i].candidates.empty() && !whole(result.choices[i])) return true;
  return false;
}

}  // namespace

/// What runs, for the solver. Of variants that act it is what they were granted: the plan that takes replicas from one for
/// another is not to be reversed because the one after it comes before it has been carried out.
void planner::note_present(model::solver_input& input, bool acts) const {
  const auto replicas_on = [&](const slot& s, const std::string& accelerator) {
    const bool granted = acts && s.granted;
    const auto& now = s.curve->current;
    if ((granted ? s.granted_on : now.accelerator) != accelerator) return 0;
    return granted ? *s.granted : now.num_replicas;
  };
  for (const auto& [key, s] : slots_) {
    if (s.acts != acts || held(*s.curve) || planned_together(s)) continue;
    auto& line = input.variants[s.line];
    const auto& c = *s.curve;
    bool stays = c.current.num_replicas == 0;
    for (auto& each : line.candidates) {
      each.present = replicas_on(s, each.alloc.accelerator);
      stays = stays || each.alloc.accelerator == c.current.accelerator;
    }
    line.floor = stays ? c.min_replicas : 0;
    line.floor_running = std::max(std::min(line.floor, running_of(c)), immovable(c));
    line.floor = std::max(line.floor, line.floor_running);
  }
  for (const auto& [name, p] : pools_) {
    if (!p.demand || p.acts != acts) continue;
    auto& line = input.variants[*p.line];
    line.floor = line.floor_running = 0;
    for (const auto& key : p.order) {
      const auto& c = *slots_.at(key).curve;
      line.floor += c.least_in_pool;
      line.floor_running += std::max(std::min(c.least_in_pool, running_of(c)), immovable(c));
    }
    line.floor = std::max(line.floor, line.floor_running);
    for (auto& each : line.candidates)
      for (auto& one : each.mix) one.present = replicas_on(slots_.at(p.order[one.member]), one.alloc.accelerator);
  }
}

void planner::note_grant(slot& s, const pool* p) const {
  s.granted_on = s.last->desired.accelerator;
  s.granted = s.last->desired.num_replicas;
  if (!p || held(*s.curve)) return;
  const auto m = static_cast<std::size_t>(std::lower_bound(p->order.begin(), p->order.end(), s.curve->key) - p->order.begin());
  s.granted_on = p->parts[m].accelerator;
  s.granted = p->parts[m].granted;
}

/// Of variants that act, all keep what they have before others of their class get more, but for those of one class.
void planner::keep_all(std::optional<int> except) {
  for (auto& v : input_.variants) v.keeps = v.priority != except;
}

/// The class in which replicas are now to be taken from one variant for another: more of them would be satisfied, or turns would
/// be more equal. `result`: of the plan in which all keep what they have.
std::optional<int> planner::exchange(const model::solver_result& result, double now_s) {
  if (input_.optimizer.unlimited || !short_of_gpus(input_, result)) {
    watch_ = {watch_.next_look_s};
    return std::nullopt;
  }
  if (now_s < watch_.next_look_s) return std::nullopt;
  auto input = input_;
  for (auto& v : input.variants) v.keeps = false;
  const auto known = one_more_;
  const auto other = solve(input, true);
  one_more_ = known;
  const auto kept = shares_of(input_, result), free = shares_of(input, other);
  std::optional<int> gains;
  for (const auto& [rank, now] : kept) {
    const auto& then = free.at(rank);
    const bool fairer = takes_turns(input_.optimizer.saturation) && then.satisfied == now.satisfied && then.shares > now.shares;
    if (then.satisfied > now.satisfied || fairer) gains = rank;
    if (gains || then.satisfied != now.satisfied) break;
  }
  watch_.next_look_s = now_s + look_every_s;
  auto gainers = gains ? gainers_of(input_, *gains, result, other) : std::set<std::size_t>{};
  if (gains == watch_.rank) {
    std::set<std::size_t> still;
    std::set_intersection(gainers.begin(), gainers.end(), watch_.gainers.begin(), watch_.gainers.end(),
                          std::inserter(still, still.end()));
    if (!still.empty()) {
      watch_.gainers = std::move(still);
      if (++watch_.looks < looks_needed) return std::nullopt;
      watch_ = {watch_.next_look_s};
      return gains;
    }
  }
  watch_ = {watch_.next_look_s, gains, std::move(gainers), gains ? 1 : 0};
  return std::nullopt;
}

}  // namespace inferno::actors

#pragma once
// The greedy solver for limited capacity, compatible with the autoscaler Inferno replaces, and the saturation policies.
#include "model/gpu_room.hpp"
#include "model/sharing.hpp"

namespace inferno::model {

/// By priority, then regret: the variant that would lose most by its next-best candidate chooses first. Variants no candidate of
/// which fits get what the saturation policy leaves, per priority group or, with delayed_best_effort, after all groups. Where
/// what runs counts (solver_input::keep_present), satisfied variants of a group choose before the others.
solver_result solve_greedy(const solver_input& input);

/// Full allocations for `members` (indices into input.variants) by regret; returns those that got none, in the order in which
/// they ran out of candidates.
std::vector<std::size_t> allocate_greedily(const solver_input& input, const std::vector<std::size_t>& members, gpu_room& room,
                                           std::vector<solver_choice>& choices);

/// The same by values alone, whatever runs.
std::vector<std::size_t> allocate_by_value(const solver_input& input, const std::vector<std::size_t>& members, gpu_room& room,
                                           std::vector<solver_choice>& choices);

/// What the saturation policy gives to variants without a full allocation.
void allocate_best_effort(const solver_input& input, const std::vector<std::size_t>& without, gpu_room& room,
                          std::vector<solver_choice>& choices);

/// The groups by priority, each through `allocate` (same signature and meaning as allocate_greedily), with best effort in between
/// or, delayed, at the end. What runs of the floors of those to come is kept.
template <class Allocate>
solver_result solve_by_priority(const solver_input& input, Allocate allocate) {
  std::map<int, std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < input.variants.size(); ++i) groups[input.variants[i].priority].push_back(i);
  solver_result out;
  out.choices.resize(input.variants.size());
  gpu_room room(input.capacity);
  floors_to_come floors(input, room);
  for (const auto& [priority, members] : groups) floors.keep(members);
  std::vector<std::size_t> left;
  for (const auto& [priority, members] : groups) {
    floors.release(members);
    const auto without = allocate(input, members, room, out.choices);
    if (input.optimizer.delayed_best_effort) {
      left.insert(left.end(), without.begin(), without.end());
      floors.keep(without);
    } else {
      allocate_best_effort(input, without, room, out.choices);
    }
  }
  floors.release(left);
  allocate_best_effort(input, left, room, out.choices);
  for (std::size_t t = 0; t < input.capacity.size(); ++t) out.used.push_back(input.capacity[t].count - room.left(t));
  return out;
}

}  // namespace inferno::model

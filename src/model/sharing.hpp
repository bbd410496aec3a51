#pragma once
// What variants that get no full allocation get of the GPUs, when what runs counts (solver_input::keep_present).
#include <optional>
#include <vector>

#include "model/gpu_room.hpp"

namespace inferno::model {

/// The first candidate of which all replicas run already; nullopt: there is none, so the variant is not satisfied now.
std::optional<std::size_t> satisfied_by(const solver_variant& v);

/// The order in which variants of a class share: by what they want, the most first, then by name. Nothing in it depends on what
/// they have, so no grant changes it.
void sort_for_sharing(const solver_input& input, std::vector<std::size_t>& members);

/// Parts of candidates, taken from a room.
class gpu_shares {
 public:
  /// All of it must outlive this object. `choices` are by index into input.variants.
  gpu_shares(const solver_input& input, gpu_room& room, std::vector<solver_choice>& choices)
      : input_(input), room_(room), choices_(choices) {}

  /// For each member its floor and, of those that keep, the replicas that run and are wanted. Where there is no room for all of
  /// it: the floors, then those that are satisfied, the smallest first, then a replica at a time of those that have most to lose.
  void reserve(const std::vector<std::size_t>& members);
  /// Of the floors, what runs.
  void reserve_running_floors(const std::vector<std::size_t>& members);
  void take(std::size_t v, solver_choice choice);
  solver_choice give_back(std::size_t v);

  /// What the saturation policy gives to variants of one group, after a replica for each of them with solver_input::one_each:
  /// - none: the floors, and what those that keep have;
  /// - priority_exhaustive: what runs and is still wanted stays; what is left goes to one after the other in their order;
  /// - the round robins: turns, of which those that a variant keeps have been taken.
  /// At last each looks whether the GPUs that are left carry more of its load on another accelerator.
  void share_out(const std::vector<std::size_t>& group);

 private:
  enum class limit { one, running_floor, floor, present, wanted };
  int growing(const solver_candidate& c, const solver_choice& choice, limit upto) const;
  bool add(std::size_t v, limit upto);
  void take_turns(std::vector<std::size_t> active, limit upto);
  void grow(const std::vector<std::size_t>& group);
  void fill(std::size_t v);
  bool move(std::size_t v);
  bool reserve_all(const std::vector<std::size_t>& members, bool running_floors);
  void keep_largest_parts(const std::vector<std::size_t>& members);
  solver_choice kept(std::size_t v, bool running_floors) const;
  solver_choice filled(std::size_t v, std::size_t candidate) const;
  bool settle(std::size_t v, limit upto);

  const solver_input& input_;
  gpu_room& room_;
  std::vector<solver_choice>& choices_;
};

/// Keeps what runs of the floors of variants whose turn is still to come out of a room, when what runs counts: their GPUs would
/// be there for others on paper only.
class floors_to_come {
 public:
  /// All of it must outlive this object.
  floors_to_come(const solver_input& input, gpu_room& room)
      : input_(input), floors_(input.keep_present ? input.variants.size() : 0), shares_(input, room, floors_) {}

  /// As far as there is room, after those kept before.
  void keep(std::vector<std::size_t> members);
  /// It is their turn.
  void release(const std::vector<std::size_t>& members);

 private:
  const solver_input& input_;
  std::vector<solver_choice> floors_;
  gpu_shares shares_;
};

}  // namespace inferno::model

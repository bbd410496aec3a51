#include "model/sharing.hpp"

#include <algorithm>
#include <string_view>
#include <tuple>
#include <utility>

namespace inferno::model {
namespace {

/// Calls f(part, type, units_per_replica, wanted, has) for each accelerator of a candidate.
template <class F>
void for_each_share(const solver_candidate& c, F f) {
  if (c.mix.empty()) return f(std::size_t{0}, c.type, c.units_per_replica, c.alloc.num_replicas, c.present);
  for (std::size_t i = 0; i < c.mix.size(); ++i)
    f(i, c.mix[i].type, c.mix[i].units_per_replica, c.mix[i].alloc.num_replicas, c.mix[i].present);
}

int granted(const solver_candidate& c, const solver_choice& choice, std::size_t part) {
  return c.mix.empty() ? choice.num_replicas : part < choice.part_replicas.size() ? choice.part_replicas[part] : 0;
}

int present(const solver_candidate& c) {
  int sum = 0;
  for_each_share(c, [&](auto, int, int, int wanted, int has) { sum += std::min(wanted, has); });
  return sum;
}

solver_choice nothing_of(const solver_variant& v, std::size_t candidate) {
  return {static_cast<int>(candidate), 0, true, std::vector<int>(v.candidates[candidate].mix.size())};
}

void put(const solver_candidate& c, solver_choice& choice, std::size_t part, int more) {
  choice.num_replicas += more;
  if (!c.mix.empty()) choice.part_replicas[part] += more;
  choice.partial = choice.num_replicas < c.alloc.num_replicas;
}

/// Requests/s that a part of a candidate carries; where no rate is known, the part that it is.
double carried(const solver_variant& v, const solver_choice& choice) {
  if (choice.candidate < 0 || choice.num_replicas == 0) return 0;
  const auto& c = v.candidates[static_cast<std::size_t>(choice.candidate)];
  double rate = c.mix.empty() ? choice.num_replicas * c.alloc.max_rate_per_replica.per_sec() : 0;
  for (std::size_t p = 0; p < c.mix.size(); ++p) rate += choice.part_replicas[p] * c.mix[p].alloc.max_rate_per_replica.per_sec();
  return rate > 0 ? rate : 1.0 * choice.num_replicas / std::max(c.alloc.num_replicas, 1);
}

/// The candidate on the accelerator in use: of mixes the one of which most runs; the first of equals.
std::optional<std::size_t> in_use(const solver_variant& v) {
  std::optional<std::size_t> best;
  double most = 0;
  for (std::size_t i = 0; i < v.candidates.size(); ++i) {
    const auto& c = v.candidates[i];
    solver_choice there = nothing_of(v, i);
    for_each_share(c, [&](std::size_t part, int, int, int wanted, int has) { put(c, there, part, std::min(wanted, has)); });
    const double rate = carried(v, there);
    if (rate <= most * (1 + 1e-9)) continue;
    best = i;
    most = rate;
  }
  return best;
}

bool takes_turns(saturation_policy policy) {
  return policy == saturation_policy::round_robin || policy == saturation_policy::priority_round_robin;
}

/// Rounds in which variants that are short look for other accelerators. What they would still find then, the next plan finds.
constexpr int most_rounds = 3;

}  // namespace

std::optional<std::size_t> satisfied_by(const solver_variant& v) {
  for (std::size_t i = 0; i < v.candidates.size(); ++i) {
    const auto& c = v.candidates[i];
    if (c.alloc.num_replicas > 0 && present(c) == c.alloc.num_replicas) return i;
  }
  return std::nullopt;
}

void sort_for_sharing(const solver_input& input, std::vector<std::size_t>& members) {
  const auto want = [&](std::size_t v) {
    double least = 0;
    for (const auto& c : input.variants[v].candidates)
      if (&c == &input.variants[v].candidates.front() || c.alloc.cost.cents < least) least = c.alloc.cost.cents;
    return least;
  };
  std::vector<std::tuple<int, double, std::string_view, std::size_t>> keys;
  keys.reserve(members.size());
  for (const auto v : members) keys.emplace_back(input.variants[v].priority, -want(v), input.variants[v].name, v);
  std::sort(keys.begin(), keys.end());
  for (std::size_t i = 0; i < keys.size(); ++i) members[i] = std::get<3>(keys[i]);
}

void gpu_shares::take(std::size_t v, solver_choice choice) {
  if (choice.candidate >= 0) {
    const auto& c = input_.variants[v].candidates[static_cast<std::size_t>(choice.candidate)];
    for_each_share(c,
                   [&](std::size_t part, int type, int units, int, int) { room_.take(type, units, granted(c, choice, part)); });
  }
  choices_[v] = std::move(choice);
}

solver_choice gpu_shares::give_back(std::size_t v) {
  auto out = std::exchange(choices_[v], {});
  if (out.candidate < 0) return out;
  const auto& c = input_.variants[v].candidates[static_cast<std::size_t>(out.candidate)];
  for_each_share(c, [&](std::size_t part, int type, int units, int, int) { room_.take(type, units, -granted(c, out, part)); });
  return out;
}

/// The part of a candidate that can grow by a replica, one that runs first; -1 = none.
int gpu_shares::growing(const solver_candidate& c, const solver_choice& choice, limit upto) const {
  int running = -1, any = -1;
  for_each_share(c, [&](std::size_t part, int type, int units, int wanted, int has) {
    const int now = granted(c, choice, part);
    if (now >= wanted || room_.fitting(type, units) <= 0) return;
    if (running < 0 && now < has) running = static_cast<int>(part);
    if (any < 0) any = static_cast<int>(part);
  });
  return running >= 0 || upto == limit::present || upto == limit::running_floor ? running : any;
}

/// Chooses the candidate of which a variant without any replica gets the first.
bool gpu_shares::settle(std::size_t v, limit upto) {
  const auto& variant = input_.variants[v];
  const auto used = in_use(variant);
  const auto at = [&](std::size_t i) {
    if (growing(variant.candidates[i], {}, upto) < 0) return false;
    choices_[v] = nothing_of(variant, i);
    return true;
  };
  if (used && at(*used)) return true;
  if (upto == limit::present || upto == limit::running_floor) return false;
  // minReplicas are asked for where the variant is, or where it would best be.
  if (upto == limit::floor) return !used && !variant.candidates.empty() && at(0);
  for (std::size_t i = 0; i < variant.candidates.size(); ++i)
    if (at(i)) return true;
  return false;
}

/// One replica more. False: it has what the limit allows, or there is no room.
bool gpu_shares::add(std::size_t v, limit upto) {
  const auto& variant = input_.variants[v];
  auto& choice = choices_[v];
  if (upto == limit::one && choice.num_replicas > 0) return false;
  if (upto == limit::floor && choice.num_replicas >= variant.floor) return false;
  if (upto == limit::running_floor && choice.num_replicas >= variant.floor_running) return false;
  if (choice.candidate < 0 && !settle(v, upto)) return false;
  const auto& c = variant.candidates[static_cast<std::size_t>(choice.candidate)];
  const int part = growing(c, choice, upto);
  if (part < 0) return false;
  const auto p = static_cast<std::size_t>(part);
  room_.take(c.mix.empty() ? c.type : c.mix[p].type, c.mix.empty() ? c.units_per_replica : c.mix[p].units_per_replica, 1);
  put(c, choice, p, 1);
  return true;
}

/// A replica at a time, those with fewest first; of these, those that have had one more before the others.
void gpu_shares::take_turns(std::vector<std::size_t> active, limit upto) {
  std::vector<int> had;
  had.reserve(active.size());
  for (const auto v : active) {
    const auto used = in_use(input_.variants[v]);
    had.push_back(used ? present(input_.variants[v].candidates[*used]) : 0);
  }
  std::vector<std::size_t> at(active.size());
  for (std::size_t i = 0; i < at.size(); ++i) at[i] = i;
  while (!at.empty()) {
    int turn = choices_[active[at.front()]].num_replicas;
    for (const auto i : at) turn = std::min(turn, choices_[active[i]].num_replicas);
    std::vector<bool> out(active.size());
    for (const bool before : {true, false})
      for (const auto i : at)
        if ((had[i] > turn) == before && choices_[active[i]].num_replicas == turn && !out[i]) out[i] = !add(active[i], upto);
    at.erase(std::remove_if(at.begin(), at.end(), [&](std::size_t i) { return out[i]; }), at.end());
  }
}

/// What a variant is to keep of the GPUs when there is room for all.
solver_choice gpu_shares::kept(std::size_t v, bool running_floors) const {
  const auto& variant = input_.variants[v];
  const auto used = in_use(variant);
  const int floor = running_floors ? variant.floor_running : variant.floor;
  if (variant.candidates.empty() || (!used && (running_floors || floor <= 0))) return {};
  const auto i = used.value_or(0);
  const auto& c = variant.candidates[i];
  auto out = nothing_of(variant, i);
  if (variant.keeps && !running_floors)
    for_each_share(c, [&](std::size_t part, int, int, int wanted, int has) { put(c, out, part, std::min(wanted, has)); });
  for (const bool running : {true, false})
    for_each_share(c, [&](std::size_t part, int, int, int wanted, int has) {
      const int most = (running ? std::min(wanted, has) : wanted) - granted(c, out, part);
      put(c, out, part, std::clamp(floor - out.num_replicas, 0, std::max(most, 0)));
    });
  if (out.num_replicas == 0) return {};
  return out;
}

/// False, and nothing is taken: there is no room for all that is to be kept.
bool gpu_shares::reserve_all(const std::vector<std::size_t>& members, bool running_floors) {
  const auto before = room_;
  bool ok = true;
  for (const auto v : members) {
    take(v, kept(v, running_floors));
    if (choices_[v].candidate < 0) continue;
    for_each_share(
        input_.variants[v].candidates[static_cast<std::size_t>(choices_[v].candidate)],
        [&](std::size_t, int type, int, int, int) { ok = ok && (type < 0 || room_.left(static_cast<std::size_t>(type)) >= 0); });
    if (!ok) break;
  }
  if (ok) return true;
  room_ = before;
  for (const auto v : members) choices_[v] = {};
  return false;
}

/// What runs of those that keep it, as far as there is room, besides what they have been given.
void gpu_shares::keep_largest_parts(const std::vector<std::size_t>& members) {
  std::vector<std::tuple<int, std::string_view, std::size_t, std::size_t>> whole_now;
  std::vector<std::size_t> others;
  for (const auto v : members) {
    const auto& variant = input_.variants[v];
    if (!variant.keeps) continue;
    if (const auto whole = satisfied_by(variant)) {
      whole_now.emplace_back(variant.candidates[*whole].alloc.num_replicas, variant.name, v, *whole);
    } else {
      others.push_back(v);
    }
  }
  std::sort(whole_now.begin(), whole_now.end());
  for (const auto& [replicas, name, v, candidate] : whole_now) {
    auto part = give_back(v);
    if (room_.take_all(input_.variants[v].candidates[candidate])) {
      choices_[v] = whole(input_.variants[v], candidate);
    } else {
      take(v, std::move(part));
      others.push_back(v);
    }
  }
  take_turns(std::move(others), limit::present);
}

void gpu_shares::reserve(const std::vector<std::size_t>& members) {
  if (reserve_all(members, false)) return;
  take_turns(members, limit::floor);
  keep_largest_parts(members);
}

void gpu_shares::reserve_running_floors(const std::vector<std::size_t>& members) {
  if (!reserve_all(members, true)) take_turns(members, limit::running_floor);
}

void floors_to_come::keep(std::vector<std::size_t> members) {
  if (!input_.keep_present) return;
  members.erase(std::remove_if(members.begin(), members.end(), [&](auto v) { return input_.variants[v].floor_running <= 0; }),
                members.end());
  sort_for_sharing(input_, members);
  shares_.reserve_running_floors(members);
}

void floors_to_come::release(const std::vector<std::size_t>& members) {
  if (!input_.keep_present) return;
  for (const auto v : members) shares_.give_back(v);
}

/// As many replicas as fit of what it has been given a part of, else of the first candidate that has room.
void gpu_shares::fill(std::size_t v) {
  if (choices_[v].candidate < 0 && !settle(v, limit::wanted)) return;
  auto& choice = choices_[v];
  const auto& c = input_.variants[v].candidates[static_cast<std::size_t>(choice.candidate)];
  for (const bool running : {true, false})
    for_each_share(c, [&](std::size_t part, int type, int units, int wanted, int has) {
      const int most = (running ? std::min(wanted, has) : wanted) - granted(c, choice, part);
      const int more = std::min(room_.fitting(type, units), std::max(most, 0));
      room_.take(type, units, more);
      put(c, choice, part, more);
    });
  if (choice.num_replicas == 0) choice = {};
}

/// As much of a candidate as there is room for.
solver_choice gpu_shares::filled(std::size_t v, std::size_t candidate) const {
  const auto& c = input_.variants[v].candidates[candidate];
  auto out = nothing_of(input_.variants[v], candidate);
  auto room = room_;
  for_each_share(c, [&](std::size_t part, int type, int units, int wanted, int) {
    const int replicas = std::max(0, std::min(room.fitting(type, units), wanted));
    room.take(type, units, replicas);
    put(c, out, part, replicas);
  });
  return out;
}

/// To another candidate of which there is room for what carries more.
bool gpu_shares::move(std::size_t v) {
  const auto& variant = input_.variants[v];
  auto best = give_back(v);
  const int before = best.candidate;
  for (std::size_t i = 0; i < variant.candidates.size(); ++i) {
    if (static_cast<int>(i) == before) continue;
    auto other = filled(v, i);
    if (carried(variant, other) > carried(variant, best) * (1 + 1e-9)) best = std::move(other);
  }
  const bool moved = best.candidate != before;
  take(v, std::move(best));
  return moved;
}

void gpu_shares::grow(const std::vector<std::size_t>& group) {
  if (takes_turns(input_.optimizer.saturation)) return take_turns(group, limit::wanted);
  take_turns(group, limit::present);
  for (const auto v : group) fill(v);
}

void gpu_shares::share_out(const std::vector<std::size_t>& group) {
  reserve(group);
  if (input_.optimizer.saturation == saturation_policy::none) return;
  if (input_.one_each) take_turns(group, limit::one);
  if (input_.one_each && std::any_of(group.begin(), group.end(), [&](auto v) { return choices_[v].num_replicas == 0; })) {
    // What others keep gives way to a first replica.
    for (const auto v : group) give_back(v);
    take_turns(group, limit::floor);
    take_turns(group, limit::one);
    keep_largest_parts(group);
  }
  grow(group);
  for (int round = 0; round < most_rounds; ++round) {
    bool moved = false;
    for (const auto v : group) moved = move(v) || moved;
    if (!moved) return;
    grow(group);
  }
}

}  // namespace inferno::model

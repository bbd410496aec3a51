#include "model/greedy.hpp"

#include <algorithm>
#include <limits>
#include <queue>
#include <tuple>

#include "model/sharing.hpp"

namespace inferno::model {
namespace {

const std::vector<solver_candidate>& candidates(const solver_input& input, std::size_t v) { return input.variants[v].candidates; }

/// A variant at one of its candidates. Ordered by regret, then value (both descending); ties by cost, accelerator, variant.
struct entry {
  double regret;
  double value;
  std::size_t variant;
  std::size_t at;
};

entry make_entry(const solver_input& input, std::size_t v, std::size_t at) {
  const auto& list = candidates(input, v);
  const double value = list[at].alloc.value;
  return {at + 1 < list.size() ? list[at + 1].alloc.value - value : std::numeric_limits<double>::infinity(), value, v, at};
}

struct less_urgent {
  const solver_input* input;
  bool operator()(const entry& b, const entry& a) const {
    if (a.regret != b.regret) return a.regret > b.regret;
    if (a.value != b.value) return a.value > b.value;
    const auto& va = input->variants[a.variant];
    const auto& vb = input->variants[b.variant];
    const auto& ca = va.candidates[a.at].alloc;
    const auto& cb = vb.candidates[b.at].alloc;
    // The index last: two variants of one name must not pass for one.
    return std::tie(ca.cost.cents, ca.accelerator, va.name, a.variant) <
           std::tie(cb.cost.cents, cb.accelerator, vb.name, b.variant);
  }
};

class best_effort {
 public:
  best_effort(const solver_input& input, gpu_room& room, std::vector<solver_choice>& choices)
      : input_(input), room_(room), choices_(choices) {}

  void exhaust(const std::vector<std::size_t>& without) {
    for (const auto v : without) {
      if (const auto& list = candidates(input_, v); !list.empty() && !list.front().mix.empty()) {
        fill(v, widest(v));
        continue;
      }
      for (std::size_t i = 0; i < candidates(input_, v).size() && choices_[v].num_replicas == 0; ++i) fill(v, i);
    }
  }

  void take_turns(const std::vector<std::size_t>& without) {
    auto active = without;
    while (!active.empty()) {
      std::vector<std::size_t> again;
      for (const auto v : active)
        if (take_one(v)) again.push_back(v);
      active = std::move(again);
    }
  }

 private:
  /// The mix of which the GPUs that are left carry most requests; the first of equals.
  std::size_t widest(std::size_t v) const {
    std::size_t best = 0;
    double most = 0;
    for (std::size_t i = 0; i < candidates(input_, v).size(); ++i) {
      auto room = room_;
      double carried = 0;
      for (const auto& p : candidates(input_, v)[i].mix) {
        const int replicas = std::min(room.fitting(p.type, p.units_per_replica), p.alloc.num_replicas);
        room.take(p.type, p.units_per_replica, replicas);
        carried += replicas * p.alloc.max_rate_per_replica.per_sec();
      }
      if (carried > most * (1 + 1e-9)) {
        best = i;
        most = carried;
      }
    }
    return best;
  }

  /// As many replicas of a candidate as fit.
  void fill(std::size_t v, std::size_t i) {
    const auto& c = candidates(input_, v)[i];
    solver_choice choice{static_cast<int>(i), 0, false, {}};
    for_each_part(c, [&](int type, int units, int wanted) {
      const int replicas = std::min(room_.fitting(type, units), wanted);
      room_.take(type, units, replicas);
      choice.num_replicas += replicas;
      if (!c.mix.empty()) choice.part_replicas.push_back(replicas);
    });
    if (choice.num_replicas == 0) return;
    choice.partial = choice.num_replicas < c.alloc.num_replicas;
    choices_[v] = std::move(choice);
  }

  /// The part of a candidate that can grow by a replica, -1 = none. `choice` says what it has.
  int growing(const solver_candidate& c, const solver_choice& choice) const {
    int at = 0, found = -1;
    for_each_part(c, [&](int type, int units, int wanted) {
      const auto part = static_cast<std::size_t>(at);
      const int has = c.mix.empty() ? choice.num_replicas : part < choice.part_replicas.size() ? choice.part_replicas[part] : 0;
      if (found < 0 && has < wanted && room_.fitting(type, units) > 0) found = at;
      ++at;
    });
    return found;
  }

  /// One more replica; the first one settles on the candidate. False: there is no room, or it has all.
  bool take_one(std::size_t v) {
    auto& choice = choices_[v];
    const auto& list = candidates(input_, v);
    for (std::size_t i = 0; choice.candidate < 0 && i < list.size(); ++i)
      if (growing(list[i], {}) >= 0) {
        choice.candidate = static_cast<int>(i);
        choice.part_replicas.assign(list[i].mix.size(), 0);
      }
    if (choice.candidate < 0) return false;
    const auto& c = list[static_cast<std::size_t>(choice.candidate)];
    const int part = growing(c, choice);
    if (part < 0) return false;
    if (c.mix.empty()) {
      room_.take(c.type, c.units_per_replica, 1);
    } else {
      const auto& p = c.mix[static_cast<std::size_t>(part)];
      room_.take(p.type, p.units_per_replica, 1);
      ++choice.part_replicas[static_cast<std::size_t>(part)];
    }
    ++choice.num_replicas;
    choice.partial = choice.num_replicas < c.alloc.num_replicas;
    return true;
  }

  const solver_input& input_;
  gpu_room& room_;
  std::vector<solver_choice>& choices_;
};

/// As allocate_greedily(), where what runs counts: satisfied variants choose first, and none chooses what others are to keep.
std::vector<std::size_t> allocate_and_keep(const solver_input& input, const std::vector<std::size_t>& unsorted, gpu_room& room,
                                           std::vector<solver_choice>& choices) {
  auto members = unsorted;
  sort_for_sharing(input, members);
  std::vector<solver_choice> held(input.variants.size());
  gpu_shares shares(input, room, held);
  if (input.optimizer.delayed_best_effort) {
    shares.reserve_running_floors(members);
  } else {
    shares.reserve(members);
  }
  using entries = std::priority_queue<entry, std::vector<entry>, less_urgent>;
  entries satisfied(less_urgent{&input}), others(less_urgent{&input});
  std::vector<std::pair<std::size_t, std::size_t>> whole_now;
  for (const auto v : members) {
    if (candidates(input, v).empty()) continue;
    const auto at = satisfied_by(input.variants[v]);
    if (at) whole_now.emplace_back(v, *at);
    (at ? satisfied : others).push(make_entry(input, v, 0));
  }
  std::stable_sort(whole_now.begin(), whole_now.end(), [&](const auto& a, const auto& b) {
    return candidates(input, a.first)[a.second].alloc.num_replicas < candidates(input, b.first)[b.second].alloc.num_replicas;
  });
  for (const auto& [v, at] : whole_now) {
    auto part = shares.give_back(v);
    if (room.take_all(candidates(input, v)[at])) {
      held[v] = whole(input.variants[v], at);
    } else {
      shares.take(v, std::move(part));
    }
  }
  std::vector<std::size_t> without;
  for (auto* queue : {&satisfied, &others})
    while (!queue->empty()) {
      const auto top = queue->top();
      queue->pop();
      auto part = shares.give_back(top.variant);
      if (room.take_all(candidates(input, top.variant)[top.at])) {
        choices[top.variant] = whole(input.variants[top.variant], top.at);
        continue;
      }
      shares.take(top.variant, std::move(part));
      if (top.at + 1 < candidates(input, top.variant).size()) {
        queue->push(make_entry(input, top.variant, top.at + 1));
      } else {
        without.push_back(top.variant);
      }
    }
  for (const auto v : without) shares.give_back(v);
  return without;
}

}  // namespace

std::vector<std::size_t> allocate_greedily(const solver_input& input, const std::vector<std::size_t>& members, gpu_room& room,
                                           std::vector<solver_choice>& choices) {
  return (input.keep_present ? allocate_and_keep : allocate_by_value)(input, members, room, choices);
}

std::vector<std::size_t> allocate_by_value(const solver_input& input, const std::vector<std::size_t>& members, gpu_room& room,
                                           std::vector<solver_choice>& choices) {
  std::priority_queue<entry, std::vector<entry>, less_urgent> queue(less_urgent{&input});
  std::vector<std::size_t> without;
  for (const auto v : members)
    if (!candidates(input, v).empty()) queue.push(make_entry(input, v, 0));
  while (!queue.empty()) {
    const auto top = queue.top();
    queue.pop();
    if (room.take_all(candidates(input, top.variant)[top.at])) {
      choices[top.variant] = whole(input.variants[top.variant], top.at);
    } else if (top.at + 1 < candidates(input, top.variant).size()) {
      queue.push(make_entry(input, top.variant, top.at + 1));
    } else {
      without.push_back(top.variant);
    }
  }
  return without;
}

namespace {

void share_out(const solver_input& input, std::vector<std::size_t> without, gpu_room& room, std::vector<solver_choice>& choices) {
  sort_for_sharing(input, without);
  gpu_shares shares(input, room, choices);
  if (input.optimizer.saturation == saturation_policy::round_robin) return shares.share_out(without);
  std::map<int, std::vector<std::size_t>> groups;
  for (const auto v : without) groups[input.variants[v].priority].push_back(v);
  floors_to_come floors(input, room);
  for (const auto& [priority, members] : groups) floors.keep(members);
  for (const auto& [priority, members] : groups) {
    floors.release(members);
    shares.share_out(members);
  }
}

}  // namespace

void allocate_best_effort(const solver_input& input, const std::vector<std::size_t>& without, gpu_room& room,
                          std::vector<solver_choice>& choices) {
  if (input.keep_present) return share_out(input, without, room, choices);
  best_effort policy(input, room, choices);
  switch (input.optimizer.saturation) {
    case saturation_policy::none:
      return;
    case saturation_policy::priority_exhaustive:
      return policy.exhaust(without);
    case saturation_policy::priority_round_robin: {
      std::map<int, std::vector<std::size_t>> groups;
      for (const auto v : without) groups[input.variants[v].priority].push_back(v);
      for (const auto& [priority, members] : groups) policy.take_turns(members);
      return;
    }
    case saturation_policy::round_robin:
      return policy.take_turns(without);
  }
}

solver_result solve_greedy(const solver_input& input) { return solve_by_priority(input, allocate_greedily); }

}  // namespace inferno::model

#include "model/greedy.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <queue>
#include <tuple>

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

  /// What a variant has and still wants stays its own: what is left over goes to the first. In the order of the class alone, in
  /// which those that have least come first, each plan would take back what the one before gave.
  void exhaust(const std::vector<std::size_t>& without) {
    if (sticky())
      for (const auto v : without) set_aside(v, -1);
    for (const auto v : without) {
      set_aside(v, 1);
      if (const auto& list = candidates(input_, v); !list.empty() && !list.front().mix.empty()) {
        fill(v, widest(v));
        continue;
      }
      for (std::size_t i = 0; i < candidates(input_, v).size() && choices_[v].num_replicas == 0; ++i) fill(v, i);
    }
  }

  /// Those that have most come first: what the last turn cannot give to all stays where it is.
  void take_turns(const std::vector<std::size_t>& without) {
    auto active = without;
    if (sticky()) std::stable_sort(active.begin(), active.end(), [&](auto a, auto b) { return present(a) > present(b); });
    while (!active.empty()) {
      std::vector<std::size_t> again;
      for (const auto v : active)
        if (take_one(v)) again.push_back(v);
      active = std::move(again);
    }
  }

 private:
  /// The greedy solver gives what the Go autoscaler gives, whoever has what.
  bool sticky() const { return input_.optimizer.solver != solver_kind::greedy; }

  /// Replicas that a variant has on any accelerator it may run on.
  int present(std::size_t v) const {
    int most = 0;
    for (const auto& c : candidates(input_, v)) {
      int there = c.present;
      for (const auto& p : c.mix) there += p.present;
      most = std::max(most, there);
    }
    return most;
  }

  /// Takes (sign -1), as far as there is room, what a variant has and wants in some plan, or gives the same back (sign 1).
  void set_aside(std::size_t v, int sign) {
    auto& aside = aside_[v];
    if (sign < 0) {
      for (const auto& c : candidates(input_, v)) {
        const auto keep = [&](int type, int units, int replicas) {
          if (type < 0 || units <= 0 || replicas <= 0) return;
          auto& gpus = aside[type];
          gpus = std::max(gpus, units * replicas);
        };
        if (c.mix.empty()) keep(c.type, c.units_per_replica, std::min(c.present, c.alloc.num_replicas));
        for (const auto& p : c.mix) keep(p.type, p.units_per_replica, std::min(p.present, p.alloc.num_replicas));
      }
      for (auto& [type, gpus] : aside) {
        gpus = std::min(gpus, room_.left(static_cast<std::size_t>(type)));
        room_.take(type, 1, gpus);
      }
      return;
    }
    for (const auto& [type, gpus] : aside) room_.take(type, 1, -gpus);
  }

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

  /// One more replica; the first one settles on the candidate, the accelerator in use before others. False: there is no room, or
  /// it has all.
  bool take_one(std::size_t v) {
    auto& choice = choices_[v];
    const auto& list = candidates(input_, v);
    for (const bool there : {sticky(), false})
      for (std::size_t i = 0; choice.candidate < 0 && i < list.size(); ++i)
        if ((!there || list[i].present > 0) && growing(list[i], {}) >= 0) {
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
  std::map<std::size_t, std::map<int, int>> aside_;  ///< GPUs by type, for each variant without an allocation
};

}  // namespace

std::vector<std::size_t> allocate_greedily(const solver_input& input, const std::vector<std::size_t>& members, gpu_room& room,
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

void allocate_best_effort(const solver_input& input, const std::vector<std::size_t>& without, gpu_room& room,
                          std::vector<solver_choice>& choices) {
  best_effort policy(input, room, choices);
  std::map<int, std::vector<std::size_t>> groups;
  for (const auto v : without) groups[input.variants[v].priority].push_back(v);
  switch (input.optimizer.saturation) {
    case saturation_policy::none:
      return;
    case saturation_policy::priority_exhaustive:
      for (const auto& [priority, members] : groups) policy.exhaust(members);
      return;
    case saturation_policy::priority_round_robin:
      for (const auto& [priority, members] : groups) policy.take_turns(members);
      return;
    case saturation_policy::round_robin:
      return policy.take_turns(without);
  }
}

solver_result solve_greedy(const solver_input& input) { return solve_by_priority(input, allocate_greedily); }

}  // namespace inferno::model

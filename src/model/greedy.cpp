#include "model/greedy.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <tuple>

namespace inferno::model {
namespace {

class greedy {
 public:
  explicit greedy(const solver_input& input) : input_(input), available_(input.capacity.size()) {
    for (std::size_t i = 0; i < available_.size(); ++i) available_[i] = input.capacity[i].count;
    out_.choices.resize(input.variants.size());
  }

  solver_result run() {
    std::map<int, std::vector<std::size_t>> groups;
    for (std::size_t i = 0; i < input_.variants.size(); ++i) groups[input_.variants[i].priority].push_back(i);
    std::vector<std::size_t> left;
    for (const auto& [priority, members] : groups) {
      auto without = allocate(members);
      if (input_.optimizer.delayed_best_effort) {
        left.insert(left.end(), without.begin(), without.end());
      } else {
        best_effort(without);
      }
    }
    best_effort(left);
    for (std::size_t i = 0; i < available_.size(); ++i) out_.used.push_back(input_.capacity[i].count - available_[i]);
    return std::move(out_);
  }

 private:
  /// A variant at one of its candidates. Ordered by regret, then value (both descending); ties by cost, accelerator, variant.
  struct entry {
    double regret;
    double value;
    std::size_t variant;
    std::size_t at;
  };
  struct more_urgent {
    const solver_input* input;
    bool operator()(const entry& a, const entry& b) const {
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

  const std::vector<solver_candidate>& candidates(std::size_t v) const { return input_.variants[v].candidates; }

  entry make_entry(std::size_t v, std::size_t at) const {
    const auto& list = candidates(v);
    const double value = list[at].alloc.value;
    return {at + 1 < list.size() ? list[at + 1].alloc.value - value : std::numeric_limits<double>::infinity(), value, v, at};
  }

  int fitting(const solver_candidate& c) const {
    if (c.type < 0 || c.units_per_replica <= 0) return std::numeric_limits<int>::max();
    return available_[static_cast<std::size_t>(c.type)] / c.units_per_replica;
  }
  void take(const solver_candidate& c, int replicas) {
    if (c.type >= 0) available_[static_cast<std::size_t>(c.type)] -= replicas * c.units_per_replica;
  }

  /// Full allocations; returns the variants that got none, in the order in which they ran out of candidates.
  std::vector<std::size_t> allocate(const std::vector<std::size_t>& members) {
    std::set<entry, more_urgent> queue(more_urgent{&input_});
    std::vector<std::size_t> without;
    for (const auto v : members)
      if (!candidates(v).empty()) queue.insert(make_entry(v, 0));
    while (!queue.empty()) {
      const auto top = *queue.begin();
      queue.erase(queue.begin());
      const auto& c = candidates(top.variant)[top.at];
      if (fitting(c) >= c.alloc.num_replicas) {
        take(c, c.alloc.num_replicas);
        out_.choices[top.variant] = {static_cast<int>(top.at), c.alloc.num_replicas, false};
      } else if (top.at + 1 < candidates(top.variant).size()) {
        queue.insert(make_entry(top.variant, top.at + 1));
      } else {
        without.push_back(top.variant);
      }
    }
    return without;
  }

  void best_effort(const std::vector<std::size_t>& without) {
    switch (input_.optimizer.saturation) {
      case saturation_policy::none:
        return;
      case saturation_policy::priority_exhaustive:
        return exhaust(without);
      case saturation_policy::priority_round_robin: {
        std::map<int, std::vector<std::size_t>> groups;
        for (const auto v : without) groups[input_.variants[v].priority].push_back(v);
        for (const auto& [priority, members] : groups) take_turns(members);
        return;
      }
      case saturation_policy::round_robin:
        return take_turns(without);
    }
  }

  void exhaust(const std::vector<std::size_t>& without) {
    for (const auto v : without)
      for (std::size_t i = 0; i < candidates(v).size(); ++i) {
        const auto& c = candidates(v)[i];
        const int replicas = std::min(fitting(c), c.alloc.num_replicas);
        if (replicas <= 0) continue;
        take(c, replicas);
        out_.choices[v] = {static_cast<int>(i), replicas, replicas < c.alloc.num_replicas};
        break;
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

  /// One more replica; the first one settles on the candidate. False: there is no room, or it has all.
  bool take_one(std::size_t v) {
    auto& choice = out_.choices[v];
    for (std::size_t i = 0; choice.candidate < 0 && i < candidates(v).size(); ++i)
      if (fitting(candidates(v)[i]) > 0 && candidates(v)[i].alloc.num_replicas > 0) choice.candidate = static_cast<int>(i);
    if (choice.candidate < 0) return false;
    const auto& c = candidates(v)[static_cast<std::size_t>(choice.candidate)];
    if (choice.num_replicas >= c.alloc.num_replicas || fitting(c) <= 0) return false;
    take(c, 1);
    ++choice.num_replicas;
    choice.partial = choice.num_replicas < c.alloc.num_replicas;
    return true;
  }

  const solver_input& input_;
  std::vector<int> available_;
  solver_result out_;
};

}  // namespace

solver_result solve_greedy(const solver_input& input) { return greedy(input).run(); }

}  // namespace inferno::model

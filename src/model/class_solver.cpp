#include "model/class_solver.hpp"

#include <algorithm>
#include <cmath>

#include "model/greedy.hpp"

namespace inferno::model {
namespace {

/// Options looked at in the search for the least value: so many, and so many for each option there is.
constexpr std::int64_t least_work = 800'000, work_per_option = 400;
/// A variant more counts for more than any value; few classes need all of it.
constexpr std::int64_t for_the_count = 2;
/// The part of the search for the least value that one large neighbourhood search takes.
constexpr std::int64_t neighbourhood_part = 4;
/// The exact solver's factor on all of it.
constexpr std::int64_t exactly = 40;
/// Of the cost: the automatic solver stops looking where less can be saved.
constexpr double enough_gap = 2e-4;

}  // namespace

bool standing::better(const standing& other) const {
  if (satisfied != other.satisfied) return satisfied > other.satisfied;
  return value < other.value - 1e-9 * std::max(std::abs(other.cost), std::abs(other.value));
}

void standing::count(const solver_variant& variant, const solver_choice& choice) {
  if (choice.candidate < 0 || choice.partial) return;
  const auto& a = variant.candidates[static_cast<std::size_t>(choice.candidate)].alloc;
  ++satisfied;
  value += a.value;
  cost += a.cost.cents;
}

std::vector<std::size_t> class_solver::solve(std::vector<solver_choice>& choices, bool follow) {
  if (take_the_best(choices)) {
    against_greedy = comparison::same;
    return {};
  }
  auto greedy_room = room_;
  std::vector<solver_choice> greedy(choices.size());
  const auto greedy_without = allocate_greedily(input_, members_, greedy_room, greedy);
  int unsatisfied = 0;
  for (const auto v : members_) unsatisfied += greedy[v].candidate < 0;
  const auto least = build();
  auto start = options_of(greedy, least);
  if (unsatisfied > 0) {
    const auto counted = solve_assignment(counting(least), start, effort(least, 0, true));
    least_unsatisfied = static_cast<int>(std::ceil(counted.lower_bound - 1e-6));
    unsatisfied = static_cast<int>(std::lround(counted.value));
    // Equal counts leave the start as it is: greedy cared for the value too.
    start = counted.choice;
  }
  double cost = 0;
  for (const auto v : members_)
    if (greedy[v].candidate >= 0)
      cost += input_.variants[v].candidates[static_cast<std::size_t>(greedy[v].candidate)].alloc.cost.cents;
  const double enough = input_.optimizer.solver == solver_kind::exact ? 0 : enough_gap * cost;
  const auto solved = solve_assignment(valued(least, unsatisfied), start, effort(least, enough, false));
  lower_bound = solved.lower_bound;
  price.assign(solved.price.begin(), solved.price.end() - 1);
  for (std::size_t i = 0; i < members_.size(); ++i) {
    const int candidate = candidate_of_[solved.choice[i]];
    auto& choice = choices[members_[i]];
    choice = candidate < 0 ? solver_choice{} : whole(input_.variants[members_[i]], static_cast<std::size_t>(candidate));
  }
  if (standing_of(choices).better(standing_of(greedy))) {
    against_greedy = comparison::better;
  } else if (follow) {
    for (const auto v : members_) choices[v] = greedy[v];
    return greedy_without;
  }
  return without(choices);
}

standing class_solver::standing_of(const std::vector<solver_choice>& choices) const {
  standing out;
  for (const auto v : members_) out.count(input_.variants[v], choices[v]);
  return out;
}

assignment_effort class_solver::effort(const assignment_problem& p, double enough, bool integral) const {
  const auto once = least_work + work_per_option * static_cast<std::int64_t>(p.value.size());
  const auto work = integral ? for_the_count * once : once;
  return {enough, input_.optimizer.solver == solver_kind::exact ? exactly * work : work, integral, once / neighbourhood_part};
}

/// The most valuable first, as in the greedy solver.
std::vector<std::size_t> class_solver::without(const std::vector<solver_choice>& choices) const {
  std::vector<std::size_t> out;
  for (const auto v : members_)
    if (choices[v].candidate < 0 && !input_.variants[v].candidates.empty()) out.push_back(v);
  std::stable_sort(out.begin(), out.end(), [&](auto a, auto b) {
    return input_.variants[a].candidates.front().alloc.value > input_.variants[b].candidates.front().alloc.value;
  });
  return out;
}

/// Every member's first candidate, when there is room for all: nothing can be better, and greedy does the same.
bool class_solver::take_the_best(std::vector<solver_choice>& choices) {
  auto room = room_;
  double value = 0;
  int none = 0;
  for (const auto v : members_) {
    const auto& list = input_.variants[v].candidates;
    none += list.empty();
    if (list.empty()) continue;
    if (!room.take_all(list.front())) return false;
    value += list.front().alloc.value;
  }
  for (const auto v : members_)
    if (!input_.variants[v].candidates.empty()) choices[v] = whole(input_.variants[v], 0);
  lower_bound = value;
  least_unsatisfied = none;
  return true;
}

/// The candidates that fit the room by themselves, and last, for each member, none.
assignment_problem class_solver::build() {
  assignment_problem p;
  for (std::size_t t = 0; t < input_.capacity.size(); ++t) p.capacity.push_back(room_.left(t));
  for (const auto v : members_) {
    const auto& list = input_.variants[v].candidates;
    for (std::size_t c = 0; c < list.size(); ++c) {
      auto alone = room_;
      if (!list[c].mix.empty() ? !alone.take_all(list[c])
                               : room_.fitting(list[c].type, list[c].units_per_replica) < list[c].alloc.num_replicas)
        continue;
      p.add_option(list[c].alloc.value);
      for_each_part(list[c], [&](int type, int units, int replicas) {
        if (type >= 0) p.add_use(type, static_cast<double>(units) * replicas);
      });
      candidate_of_.push_back(static_cast<int>(c));
    }
    p.add_option(0);
    candidate_of_.push_back(-1);
    p.end_item();
  }
  return p;
}

std::vector<std::size_t> class_solver::options_of(const std::vector<solver_choice>& choices, const assignment_problem& p) const {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < members_.size(); ++i) {
    auto o = p.item_begin[i];
    while (candidate_of_[o] != choices[members_[i]].candidate) ++o;
    out.push_back(o);
  }
  return out;
}

/// An unsatisfied member costs 1, everything else nothing.
assignment_problem class_solver::counting(assignment_problem p) const {
  for (std::size_t o = 0; o < p.value.size(); ++o) p.value[o] = candidate_of_[o] < 0 ? 1 : 0;
  return p;
}

/// At most so many unsatisfied: being it takes one unit of a type of its own.
assignment_problem class_solver::valued(const assignment_problem& p, int unsatisfied) const {
  const int none = static_cast<int>(p.capacity.size());
  assignment_problem out;
  out.item_begin = p.item_begin;
  out.capacity = p.capacity;
  out.capacity.push_back(unsatisfied);
  for (std::size_t o = 0; o < p.value.size(); ++o) {
    out.add_option(p.value[o]);
    for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u) out.add_use(p.uses[u].type, p.uses[u].units);
    if (candidate_of_[o] < 0) out.add_use(none, 1);
  }
  return out;
}

}  // namespace inferno::model

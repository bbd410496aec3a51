#include "model/class_solver.hpp"

#include <algorithm>
#include <cmath>

#include "model/greedy.hpp"
#include "model/sharing.hpp"

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

/// GPUs of a part of a candidate, as uses of the last option.
void add_uses(assignment_problem& p, const solver_variant& v, const solver_choice& choice) {
  if (choice.candidate < 0) return;
  std::size_t part = 0;
  const auto& c = v.candidates[static_cast<std::size_t>(choice.candidate)];
  for_each_part(c, [&](int type, int units, int) {
    const int replicas = c.mix.empty() ? choice.num_replicas : choice.part_replicas[part++];
    if (type >= 0) p.add_use(type, static_cast<double>(units) * replicas);
  });
}

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
  const auto least = build();
  auto start = start_of(greedy, least);
  int unsatisfied = 0;
  for (const auto o : start) unsatisfied += candidate_of_[o] < 0;
  if (unsatisfied > 0) {
    const auto counted = solve_assignment(counting(least), start, effort(least, 0, true));
    least_unsatisfied = static_cast<int>(std::ceil(counted.lower_bound - 1e-6));
    unsatisfied = static_cast<int>(std::lround(counted.value));
    // Equal counts leave the start as it is: greedy cared for the value too.
    start = counted.choice;
  }
  int lost = displaced(start);
  if (lost > 0) {
    const auto fewest = solve_assignment(displacing(valued(least, unsatisfied, lost)), start, effort(least, 0, true));
    lost = static_cast<int>(std::lround(fewest.value));
    start = fewest.choice;
  }
  double cost = 0;
  for (const auto v : members_)
    if (greedy[v].candidate >= 0)
      cost += input_.variants[v].candidates[static_cast<std::size_t>(greedy[v].candidate)].alloc.cost.cents;
  const double enough = input_.optimizer.solver == solver_kind::exact ? 0 : enough_gap * cost;
  const auto solved = solve_assignment(valued(least, unsatisfied, lost), start, effort(least, enough, false));
  lower_bound = solved.lower_bound;
  price.assign(solved.price.begin(), solved.price.begin() + static_cast<std::ptrdiff_t>(input_.capacity.size()));
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

/// The candidates that fit the room by themselves, and last, for each member, none: with what it is to keep, where what runs
/// counts.
assignment_problem class_solver::build() {
  assignment_problem p;
  std::vector<solver_choice> kept(input_.keep_present ? input_.variants.size() : 0);
  if (input_.keep_present) {
    auto order = members_;
    sort_for_sharing(input_, order);
    auto room = room_;
    gpu_shares shares(input_, room, kept);
    input_.optimizer.delayed_best_effort ? shares.reserve_running_floors(order) : shares.reserve(order);
  }
  for (std::size_t t = 0; t < input_.capacity.size(); ++t) p.capacity.push_back(room_.left(t));
  for (const auto v : members_) {
    const auto& list = input_.variants[v].candidates;
    const auto satisfied = input_.keep_present ? satisfied_by(input_.variants[v]) : std::nullopt;
    bool stays = false;
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
      stays = stays || c == satisfied;
    }
    p.add_option(0);
    if (input_.keep_present) {
      add_uses(p, input_.variants[v], kept[v]);
      displaces_.resize(candidate_of_.size());
      displaces_.push_back(stays);
    }
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

/// The greedy solver's choice; where what runs counts, the one by values alone if that satisfies more.
std::vector<std::size_t> class_solver::start_of(const std::vector<solver_choice>& greedy, const assignment_problem& p) const {
  auto out = options_of(greedy, p);
  if (!input_.keep_present) return out;
  auto room = room_;
  std::vector<solver_choice> choices(greedy.size());
  allocate_by_value(input_, members_, room, choices);
  auto other = options_of(choices, p);
  const auto satisfied = [&](const auto& options) {
    return std::count_if(options.begin(), options.end(), [&](auto o) { return candidate_of_[o] >= 0; });
  };
  if (satisfied(other) <= satisfied(out)) return out;
  auto left = p.capacity;
  for (const auto o : other)
    for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u) left[static_cast<std::size_t>(p.uses[u].type)] -= p.uses[u].units;
  const bool fits = std::none_of(left.begin(), left.end(), [](double units) { return units < 0; });
  return fits ? other : out;
}

/// An unsatisfied member costs 1, everything else nothing.
assignment_problem class_solver::counting(assignment_problem p) const {
  for (std::size_t o = 0; o < p.value.size(); ++o) p.value[o] = candidate_of_[o] < 0 ? 1 : 0;
  return p;
}

/// A satisfied member that is no longer satisfied costs 1, everything else nothing.
assignment_problem class_solver::displacing(assignment_problem p) const {
  for (std::size_t o = 0; o < p.value.size(); ++o) p.value[o] = displaces_[o] ? 1 : 0;
  return p;
}

int class_solver::displaced(const std::vector<std::size_t>& options) const {
  if (displaces_.empty()) return 0;
  return static_cast<int>(std::count_if(options.begin(), options.end(), [&](auto o) { return displaces_[o]; }));
}

/// At most so many unsatisfied, and of these so many that are satisfied now: being it takes one unit of a type of its own.
assignment_problem class_solver::valued(const assignment_problem& p, int unsatisfied, int displaced) const {
  const int none = static_cast<int>(p.capacity.size());
  assignment_problem out;
  out.item_begin = p.item_begin;
  out.capacity = p.capacity;
  out.capacity.push_back(unsatisfied);
  const bool counts = std::find(displaces_.begin(), displaces_.end(), true) != displaces_.end();
  if (counts) out.capacity.push_back(displaced);
  for (std::size_t o = 0; o < p.value.size(); ++o) {
    out.add_option(p.value[o]);
    for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u) out.add_use(p.uses[u].type, p.uses[u].units);
    if (candidate_of_[o] < 0) out.add_use(none, 1);
    if (counts && displaces_[o]) out.add_use(none + 1, 1);
  }
  return out;
}

}  // namespace inferno::model

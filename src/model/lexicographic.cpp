#include "model/lexicographic.hpp"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "model/assignment.hpp"
#include "model/greedy.hpp"

namespace inferno::model {
namespace {

constexpr std::int64_t automatic_nodes = 20'000;
/// Of the cost: the automatic solver stops looking where less can be saved.
constexpr double enough_gap = 2e-4;
constexpr std::int64_t exact_nodes = 20'000'000;

/// Satisfied variants and their total value of one class.
struct standing {
  int satisfied = 0;
  double value = 0;
  double cost = 0;
  /// Better than `other` beyond rounding.
  bool better(const standing& other) const {
    if (satisfied != other.satisfied) return satisfied > other.satisfied;
    return value < other.value - 1e-9 * std::max(std::abs(other.cost), std::abs(other.value));
  }
  void count(const solver_variant& variant, const solver_choice& choice) {
    if (choice.candidate < 0 || choice.partial) return;
    const auto& a = variant.candidates[static_cast<std::size_t>(choice.candidate)].alloc;
    ++satisfied;
    value += a.value;
    cost += a.cost.cents;
  }
};

std::map<int, standing> standings(const solver_input& input, const std::vector<solver_choice>& choices) {
  std::map<int, standing> out;
  for (std::size_t i = 0; i < choices.size(); ++i) out[input.variants[i].priority].count(input.variants[i], choices[i]);
  return out;
}

/// Whether `a` comes before `b`: better in the most important class in which they differ.
bool before(const std::map<int, standing>& a, const std::map<int, standing>& b) {
  for (const auto& [priority, mine] : a) {
    const auto& other = b.at(priority);
    if (mine.better(other)) return true;
    if (other.better(mine)) return false;
  }
  return false;
}

/// One class against the room that is left.
class class_solver {
 public:
  class_solver(const solver_input& input, const std::vector<std::size_t>& members, const gpu_room& room, std::int64_t nodes)
      : input_(input), members_(members), room_(room), nodes_(nodes) {}

  void solve(std::vector<solver_choice>& choices) {
    if (take_the_best(choices)) {
      against_greedy = comparison::same;
      return;
    }
    auto greedy_room = room_;
    std::vector<solver_choice> greedy(choices.size());
    allocate_greedily(input_, members_, greedy_room, greedy);
    int unsatisfied = 0;
    for (const auto v : members_) unsatisfied += greedy[v].candidate < 0;
    const auto least = build();
    auto start = options_of(greedy, least);
    if (unsatisfied > 0) {
      const auto counted = solve_assignment(counting(least), start, {0, nodes_, true});
      least_unsatisfied = static_cast<int>(std::lround(counted.lower_bound));
      unsatisfied = static_cast<int>(std::lround(counted.value));
      // Equal counts leave the start as it is: greedy cared for the value too.
      start = counted.choice;
    }
    double cost = 0;
    for (const auto v : members_)
      if (greedy[v].candidate >= 0)
        cost += input_.variants[v].candidates[static_cast<std::size_t>(greedy[v].candidate)].alloc.cost.cents;
    const double enough = input_.optimizer.solver == solver_kind::exact ? 0 : enough_gap * cost;
    const auto solved = solve_assignment(valued(least, unsatisfied), start, {enough, nodes_, false});
    lower_bound = solved.lower_bound;
    price.assign(solved.price.begin(), solved.price.end() - 1);
    for (std::size_t i = 0; i < members_.size(); ++i) {
      const int candidate = candidate_of_[solved.choice[i]];
      auto& choice = choices[members_[i]];
      choice = candidate < 0 ? solver_choice{} : whole(input_.variants[members_[i]], static_cast<std::size_t>(candidate));
    }
    if (standing_of(choices).better(standing_of(greedy))) against_greedy = comparison::better;
  }

  /// Against what the greedy solver makes of the class in the same room.
  enum class comparison { same, better, unknown } against_greedy = comparison::unknown;
  double lower_bound = 0;  ///< of the value, with as many satisfied
  int least_unsatisfied = 0;
  std::vector<double> price;

 private:
  standing standing_of(const std::vector<solver_choice>& choices) const {
    standing out;
    for (const auto v : members_) out.count(input_.variants[v], choices[v]);
    return out;
  }

  /// Every member's first candidate, when there is room for all: nothing can be better, and greedy does the same.
  bool take_the_best(std::vector<solver_choice>& choices) {
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
  assignment_problem build() {
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

  std::vector<std::size_t> options_of(const std::vector<solver_choice>& choices, const assignment_problem& p) const {
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < members_.size(); ++i) {
      auto o = p.item_begin[i];
      while (candidate_of_[o] != choices[members_[i]].candidate) ++o;
      out.push_back(o);
    }
    return out;
  }

  /// An unsatisfied member costs 1, everything else nothing.
  assignment_problem counting(assignment_problem p) const {
    for (std::size_t o = 0; o < p.value.size(); ++o) p.value[o] = candidate_of_[o] < 0 ? 1 : 0;
    return p;
  }

  /// At most so many unsatisfied: being it takes one unit of a type of its own.
  assignment_problem valued(const assignment_problem& p, int unsatisfied) const {
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

  const solver_input& input_;
  const std::vector<std::size_t>& members_;
  const gpu_room& room_;
  std::int64_t nodes_;
  std::vector<int> candidate_of_;  ///< by option; -1 = none
};

}  // namespace

namespace {

/// Room for the first choice of everybody: no plan is better, and there is nothing to search for.
std::optional<solver_result> everybody_first(const solver_input& input) {
  solver_result out;
  gpu_room room(input.capacity);
  out.choices.reserve(input.variants.size());
  auto& r = out.report;
  for (const auto& v : input.variants) {
    out.choices.push_back(v.candidates.empty() ? solver_choice{} : whole(v, 0));
    if (v.candidates.empty()) continue;
    if (!room.take_all(v.candidates.front())) return std::nullopt;
    ++r.satisfied;
    r.value += v.candidates.front().alloc.value;
  }
  for (std::size_t t = 0; t < input.capacity.size(); ++t) out.used.push_back(input.capacity[t].count - room.left(t));
  r.satisfiable = r.satisfied;
  r.lower_bound = r.value;
  r.gap = 0;
  out.price.assign(input.capacity.size(), 0);
  return out;
}

}  // namespace

solver_result solve_lexicographic(const solver_input& input) {
  const char* name = input.optimizer.solver == solver_kind::exact ? "exact" : "auto";
  if (auto first = everybody_first(input)) {
    first->report.name = name;
    return std::move(*first);
  }
  const auto nodes = input.optimizer.solver == solver_kind::exact ? exact_nodes : automatic_nodes;
  double bound = 0;
  int unsatisfiable = 0;
  std::vector<double> price(input.capacity.size());
  auto against_greedy = class_solver::comparison::same;
  auto out = solve_by_priority(
      input, [&](const solver_input&, std::vector<std::size_t> members, gpu_room& room, std::vector<solver_choice>& choices) {
        // The order of the input must not decide between equals.
        std::sort(members.begin(), members.end(),
                  [&](auto a, auto b) { return std::tie(input.variants[a].name, a) < std::tie(input.variants[b].name, b); });
        class_solver one(input, members, room, nodes);
        one.solve(choices);
        // As long as all classes before got the same from both, so does the room.
        if (against_greedy == class_solver::comparison::same) against_greedy = one.against_greedy;
        bound += one.lower_bound;
        unsatisfiable += one.least_unsatisfied;
        for (std::size_t t = 0; t < one.price.size(); ++t) price[t] = std::max(price[t], one.price[t]);
        std::vector<std::size_t> without;
        for (const auto v : members) {
          if (choices[v].candidate >= 0) {
            room.take_all(input.variants[v].candidates[static_cast<std::size_t>(choices[v].candidate)]);
          } else if (!input.variants[v].candidates.empty()) {
            without.push_back(v);
          }
        }
        // What is left goes to the most valuable first, as in the greedy solver.
        std::stable_sort(without.begin(), without.end(), [&](auto a, auto b) {
          return input.variants[a].candidates.front().alloc.value > input.variants[b].candidates.front().alloc.value;
        });
        return without;
      });
  auto chosen = standings(input, out.choices);
  // What a class leaves to those below it can make the greedy plan the better one further down. Where the first class that
  // differs is better already, it cannot.
  if (against_greedy != class_solver::comparison::better) {
    auto other = solve_greedy(input);
    if (auto theirs = standings(input, other.choices); before(theirs, chosen)) {
      chosen = std::move(theirs);
      out.choices = std::move(other.choices);
      out.used = std::move(other.used);
    }
  }
  auto& report = out.report;
  report.name = name;
  report.satisfiable = static_cast<int>(input.variants.size()) - unsatisfiable;
  double cost = 0;
  for (const auto& [priority, s] : chosen) {
    report.satisfied += s.satisfied;
    report.value += s.value;
    cost += s.cost;
  }
  report.lower_bound = std::min(bound, report.value);
  report.gap = (report.value - *report.lower_bound) / std::max(cost, 1e-9);
  if (*report.gap < 1e-9) report.gap = 0;
  out.price = std::move(price);
  return out;
}

}  // namespace inferno::model

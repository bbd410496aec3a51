#include "model/lexicographic.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <tuple>

#include "model/class_solver.hpp"
#include "model/greedy.hpp"

namespace inferno::model {
namespace {

std::map<int, standing> standings(const solver_input& input, const std::vector<solver_choice>& choices) {
  std::map<int, standing> out;
  for (std::size_t i = 0; i < choices.size(); ++i) out[input.variants[i].priority].count(input.variants[i], choices[i]);
  return out;
}

/// The class, by its place in the order of priorities, in which `a` is the first to be better; none where `b` is first, or
/// nobody.
std::optional<std::size_t> ahead_at(const std::map<int, standing>& a, const std::map<int, standing>& b) {
  std::size_t place = 0;
  for (const auto& [priority, mine] : a) {
    const auto& other = b.at(priority);
    if (mine.better(other)) return place;
    if (other.better(mine)) return std::nullopt;
    ++place;
  }
  return std::nullopt;
}

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

/// The plan, class after class, and what is known of it.
struct composed {
  solver_result result;
  double bound = 0;
  int unsatisfiable = 0;
  class_solver::comparison against_greedy = class_solver::comparison::same;  ///< in the first class that is not the same
};

/// In the first `follow` classes the greedy solver's choice is taken where it is as good.
composed compose(const solver_input& input, std::size_t follow) {
  composed out;
  std::vector<double> price(input.capacity.size());
  std::vector<class_bound> classes;
  std::size_t place = 0;
  out.result = solve_by_priority(
      input, [&](const solver_input&, std::vector<std::size_t> members, gpu_room& room, std::vector<solver_choice>& choices) {
        // The order of the input must not decide between equals.
        std::sort(members.begin(), members.end(),
                  [&](auto a, auto b) { return std::tie(input.variants[a].name, a) < std::tie(input.variants[b].name, b); });
        class_solver one(input, members, room);
        auto without = one.solve(choices, place++ < follow);
        // As long as all classes before got the same from both, so does the room.
        if (out.against_greedy == class_solver::comparison::same) out.against_greedy = one.against_greedy;
        out.bound += one.lower_bound;
        out.unsatisfiable += one.least_unsatisfied;
        if (!members.empty())
          classes.push_back({input.variants[members.front()].priority, static_cast<int>(members.size()) - one.least_unsatisfied,
                             one.lower_bound});
        for (std::size_t t = 0; t < one.price.size(); ++t) price[t] = std::max(price[t], one.price[t]);
        for (const auto v : members)
          if (choices[v].candidate >= 0)
            room.take_all(input.variants[v].candidates[static_cast<std::size_t>(choices[v].candidate)]);
        return without;
      });
  out.result.price = std::move(price);
  out.result.classes = std::move(classes);
  return out;
}

/// The plan, which greedy's is not ahead of.
composed compose_beyond_greedy(const solver_input& input) {
  auto out = compose(input, 0);
  // Where the first class that differs is better, greedy cannot be ahead.
  if (out.against_greedy == class_solver::comparison::better) return out;
  const auto greedy = standings(input, solve_greedy(input).choices);
  // A class can use other GPUs to the same effect and so leave less to those below it: then greedy is followed down to where it
  // is ahead. The bounds are those of the classes in the room that they then have.
  for (std::size_t follow = 0; follow < greedy.size(); ++follow) {
    const auto place = ahead_at(greedy, standings(input, out.result.choices));
    if (!place) break;
    follow = std::max(follow, *place);
    out = compose(input, follow + 1);
  }
  return out;
}

}  // namespace

solver_result solve_lexicographic(const solver_input& input) {
  const char* name = input.optimizer.solver == solver_kind::exact ? "exact" : "auto";
  if (auto first = everybody_first(input)) {
    first->report.name = name;
    return std::move(*first);
  }
  auto plan = compose_beyond_greedy(input);
  auto out = std::move(plan.result);
  auto& report = out.report;
  report.name = name;
  report.satisfiable = static_cast<int>(input.variants.size()) - plan.unsatisfiable;
  double cost = 0;
  for (const auto& [priority, s] : standings(input, out.choices)) {
    report.satisfied += s.satisfied;
    report.value += s.value;
    cost += s.cost;
  }
  // A bound above the value is none, but for rounding.
  const double rounding = 1e-9 * std::max({cost, std::abs(report.value), std::abs(plan.bound)});
  if (plan.bound > report.value + rounding) {
    out.classes.clear();
    return out;
  }
  report.lower_bound = std::min(plan.bound, report.value);
  report.gap = (report.value - *report.lower_bound) / std::max(cost, 1e-9);
  if (*report.gap < 1e-9) report.gap = 0;
  return out;
}

}  // namespace inferno::model

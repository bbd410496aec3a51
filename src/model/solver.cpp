#include "model/solver.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

#include "model/greedy.hpp"
#include "model/lexicographic.hpp"

namespace inferno::model {
namespace {

/// GPUs of absurd systems add up beyond int; the sum then stays at its end.
void add_cards(int& sum, int replicas, int units) {
  const auto cards = static_cast<std::int64_t>(replicas) * units;
  sum = static_cast<int>(std::min<std::int64_t>(sum + cards, std::numeric_limits<int>::max()));
}

solver_result least_value(const solver_input& input) {
  solver_result out;
  out.used.assign(input.capacity.size(), 0);
  for (const auto& v : input.variants) {
    // They come by value.
    out.choices.push_back(v.candidates.empty() ? solver_choice{} : whole(v, 0));
    if (v.candidates.empty()) continue;
    for_each_part(v.candidates.front(), [&](int type, int units, int replicas) {
      if (type >= 0) add_cards(out.used[static_cast<std::size_t>(type)], replicas, units);
    });
  }
  return out;
}

void report_full(solver_result& result, const solver_input& input, std::string name) {
  auto& r = result.report;
  r.name = std::move(name);
  for (std::size_t i = 0; i < input.variants.size(); ++i) {
    const auto& choice = result.choices[i];
    if (choice.candidate < 0 || choice.partial) continue;
    ++r.satisfied;
    r.value += input.variants[i].candidates[static_cast<std::size_t>(choice.candidate)].alloc.value;
  }
  r.satisfiable = static_cast<int>(
      std::count_if(input.variants.begin(), input.variants.end(), [](const auto& v) { return !v.candidates.empty(); }));
}

}  // namespace

solver_result solve(const solver_input& input) {
  if (input.optimizer.unlimited) {
    auto out = least_value(input);
    report_full(out, input, "unlimited");
    out.report.lower_bound = out.report.value;
    out.report.gap = 0;
    return out;
  }
  if (input.optimizer.solver != solver_kind::greedy) return solve_lexicographic(input);
  auto out = solve_greedy(input);
  report_full(out, input, "greedy");
  return out;
}

}  // namespace inferno::model

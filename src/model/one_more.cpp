#include "model/one_more.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <utility>

#include "model/gpu_room.hpp"

namespace inferno::model {
namespace {

/// Candidates in all the solutions together beyond which none is looked for.
constexpr std::size_t most_candidates = 4'000;

/// What a class has of a plan.
struct class_plan {
  int satisfied = 0;
  double value = 0;
  double cost = 0;
  int replicas_of_short = 0;  ///< of variants without a full allocation
};

std::map<int, class_plan> classes_of(const solver_input& input, const solver_result& result) {
  std::map<int, class_plan> out;
  for (std::size_t i = 0; i < input.variants.size(); ++i) {
    auto& one = out[input.variants[i].priority];
    const auto& choice = result.choices[i];
    if (choice.candidate < 0) continue;
    const auto& a = input.variants[i].candidates[static_cast<std::size_t>(choice.candidate)].alloc;
    if (choice.partial) {
      one.replicas_of_short += choice.num_replicas;
      continue;
    }
    ++one.satisfied;
    one.value += a.value;
    one.cost += a.cost.cents;
  }
  return out;
}

bool everybody_first(const solver_input& input, const solver_result& result) {
  for (std::size_t i = 0; i < input.variants.size(); ++i) {
    const auto& choice = result.choices[i];
    if (!input.variants[i].candidates.empty() && (choice.candidate != 0 || choice.partial)) return false;
  }
  return true;
}

/// GPUs by capacity index that are taken when each variant takes most of the type.
std::vector<std::int64_t> most_use(const solver_input& input) {
  std::vector<std::int64_t> out(input.capacity.size());
  std::vector<std::int64_t> most(input.capacity.size()), one(input.capacity.size());
  for (const auto& v : input.variants) {
    std::fill(most.begin(), most.end(), 0);
    for (const auto& c : v.candidates) {
      const auto each = [&](auto f) {
        for_each_part(c, [&](int type, int units, int replicas) {
          if (type >= 0) f(static_cast<std::size_t>(type), static_cast<std::int64_t>(units) * replicas);
        });
      };
      each([&](std::size_t t, std::int64_t n) { one[t] += n; });
      each([&](std::size_t t, std::int64_t) { most[t] = std::max(most[t], std::exchange(one[t], 0)); });
    }
    for (std::size_t t = 0; t < out.size(); ++t) out[t] += most[t];
  }
  return out;
}

/// What is certain of the difference between two plans.
class comparison {
 public:
  comparison(const solver_input& input, const solver_result& before, const solver_result& after)
      : before_(classes_of(input, before)), after_(classes_of(input, after)), had_(before.classes), has_(after.classes) {
    delayed_ = input.optimizer.delayed_best_effort;
  }

  std::optional<gpu_gain> gain() const {
    for (std::size_t k = 0; k < had_.size(); ++k) {
      const int priority = had_[k].priority;
      const auto &a = before_.at(priority), &b = after_.at(priority);
      // More satisfied, of which the GPU is the reason only if there could not have been as many before.
      if (b.satisfied > had_[k].satisfiable) return gpu_gain{priority, b.satisfied - a.satisfied, 0, 0};
      if (a.satisfied != b.satisfied || (!has_.empty() && has_[k].satisfiable > a.satisfied)) return std::nullopt;
      const double rounding = 1e-9 * std::max({a.cost, b.cost, std::abs(a.value), std::abs(b.value)});
      if (b.value < had_[k].lower_bound - rounding) return gpu_gain{priority, 0, a.value - b.value, 0};
      const double bound = has_.empty() ? b.value : has_[k].lower_bound;
      if (bound < a.value - rounding || b.value > a.value + rounding) return std::nullopt;
      if (delayed_ || a.replicas_of_short == b.replicas_of_short) continue;
      return more_replicas(priority, a, b);
    }
    for (const auto& c : had_)
      if (before_.at(c.priority).replicas_of_short != after_.at(c.priority).replicas_of_short)
        return more_replicas(c.priority, before_.at(c.priority), after_.at(c.priority));
    return gpu_gain{};
  }

 private:
  /// Fewer may be of another accelerator, of which one carries more.
  static std::optional<gpu_gain> more_replicas(int priority, const class_plan& a, const class_plan& b) {
    if (b.replicas_of_short < a.replicas_of_short) return std::nullopt;
    return gpu_gain{priority, 0, 0, b.replicas_of_short - a.replicas_of_short};
  }

  std::map<int, class_plan> before_, after_;
  const std::vector<class_bound>&had_, &has_;  ///< none of the plan after: every variant has its first candidate
  bool delayed_ = false;
};

}  // namespace

std::vector<std::optional<gpu_gain>> gains_of_one_more(const solver_input& input, const solver_result& result) {
  std::vector<std::optional<gpu_gain>> out(input.capacity.size());
  if (input.optimizer.unlimited || input.optimizer.solver == solver_kind::greedy) return out;
  if (everybody_first(input, result)) {
    std::fill(out.begin(), out.end(), gpu_gain{});
    return out;
  }
  const auto use = most_use(input);
  std::size_t candidates = 0, few = 0;
  for (const auto& v : input.variants) candidates += v.candidates.size();
  for (std::size_t t = 0; t < out.size(); ++t) {
    if (use[t] <= input.capacity[t].count) {
      out[t] = gpu_gain{};
    } else {
      ++few;
    }
  }
  if (result.classes.empty() || candidates * few > most_candidates) return out;
  auto other = input;
  for (std::size_t t = 0; t < out.size(); ++t) {
    if (out[t]) continue;
    ++other.capacity[t].count;
    const auto after = solve(other);
    if (after.report.lower_bound) out[t] = comparison(other, result, after).gain();
    --other.capacity[t].count;
  }
  return out;
}

}  // namespace inferno::model

#include "model/assignment/large_neighbourhood.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

#include "model/assignment/branch_and_bound.hpp"
#include "model/assignment/local_search.hpp"

namespace inferno::model {
namespace {

/// Items set free at once, and how many more after a round of neighbourhoods without a better plan.
constexpr std::size_t smallest = 40, largest = 80, growth = 8;
/// Items of least regret for each one that is drawn from them.
constexpr std::size_t drawn_from = 4;
/// One neighbourhood's part of the work.
constexpr std::int64_t part = 16;

}  // namespace

large_neighbourhood::large_neighbourhood(const assignment_problem& problem, const std::vector<double>& price, double tolerance,
                                         bool integral)
    : p_(problem), reduced_(problem.value), tolerance_(tolerance), integral_(integral), size_(smallest) {
  for (std::size_t o = 0; o < reduced_.size(); ++o)
    for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u)
      reduced_[o] += price[static_cast<std::size_t>(p_.uses[u].type)] * p_.uses[u].units;
  for (std::size_t t = 0; t < price.size(); ++t)
    if (price[t] > 0) scarce_.push_back(static_cast<int>(t));
}

double large_neighbourhood::units(std::size_t option, int type) const {
  double sum = 0;
  for (auto u = p_.use_begin[option]; u < p_.use_begin[option + 1]; ++u)
    if (p_.uses[u].type == type) sum += p_.uses[u].units;
  return sum;
}

/// Of the items that have a change, `most` of least regret, in that order. `type`: changes count that take or free some of it; -1
/// = all do.
std::vector<large_neighbourhood::regret> large_neighbourhood::regrets(const std::vector<std::size_t>& choice, int type,
                                                                      std::size_t most) const {
  constexpr double none = std::numeric_limits<double>::infinity();
  std::vector<regret> out;
  for (std::size_t i = 0; i < p_.items(); ++i) {
    double least = none;
    const double held = type < 0 ? 0 : units(choice[i], type);
    for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o)
      if (o != choice[i] && (type < 0 || units(o, type) != held)) least = std::min(least, reduced_[o] - reduced_[choice[i]]);
    if (least < none) out.push_back({least, i});
  }
  most = std::min(most, out.size());
  std::partial_sort(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(most), out.end(),
                    [](const regret& a, const regret& b) { return std::tie(a.of, a.item) < std::tie(b.of, b.item); });
  out.resize(most);
  return out;
}

/// In turn: those of least regret; those of least regret in one scarce type; some drawn from those of least regret.
std::vector<std::size_t> large_neighbourhood::items_to_free(const std::vector<std::size_t>& choice) {
  const auto turn = turn_++;
  const bool draws = turn % 3 == 2;
  const int type = turn % 3 == 1 && !scarce_.empty() ? scarce_[turn / 3 % scarce_.size()] : -1;
  auto list = regrets(choice, type, draws ? drawn_from * size_ : size_);
  work_ += static_cast<std::int64_t>(p_.value.size());
  const auto size = std::min(size_, list.size());
  // Part of a shuffle (Fisher and Yates); the standard's distributions differ between libraries.
  for (std::size_t k = 0; draws && k < size; ++k) std::swap(list[k], list[k + chance_() % (list.size() - k)]);
  std::vector<std::size_t> out;
  for (std::size_t k = 0; k < size; ++k) out.push_back(list[k].item);
  std::sort(out.begin(), out.end());
  return out;
}

/// true: a better plan was found.
bool large_neighbourhood::improve_within(std::vector<std::size_t>& choice, const std::vector<std::size_t>& items,
                                         std::int64_t work) {
  assignment_problem small;
  small.capacity = room_of(p_, choice);
  work_ += static_cast<std::int64_t>(choice.size());
  std::vector<std::size_t> option_of, start;
  for (const auto i : items) {
    for (auto u = p_.use_begin[choice[i]]; u < p_.use_begin[choice[i] + 1]; ++u)
      small.capacity[static_cast<std::size_t>(p_.uses[u].type)] += p_.uses[u].units;
    for (auto o = p_.item_begin[i]; o < p_.item_begin[i + 1]; ++o) {
      if (o == choice[i]) start.push_back(option_of.size());
      option_of.push_back(o);
      small.add_option(p_.value[o]);
      for (auto u = p_.use_begin[o]; u < p_.use_begin[o + 1]; ++u) small.add_use(p_.uses[u].type, p_.uses[u].units);
    }
    small.end_item();
  }
  assignment_effort effort;
  effort.work = work;
  effort.integral = integral_;
  branch_and_bound search(small, std::move(start), effort, tolerance_);
  search.leave_out_repair();
  const double before = search.best_value();
  search.run();
  work_ += search.work();
  unfinished_ += search.lower_bound() < search.best_value();
  if (search.best_value() >= before - tolerance_) return false;
  for (std::size_t k = 0; k < items.size(); ++k) choice[items[k]] = option_of[search.best()[k]];
  return true;
}

std::int64_t large_neighbourhood::improve(std::vector<std::size_t>& choice, double enough, std::int64_t work) {
  work_ = 0;
  if (effort_ == 0) effort_ = work / part;
  // Of three neighbourhoods one is of a type.
  const std::size_t round = 3 * std::max<std::size_t>(1, scarce_.size());
  while (work_ < work && value_of(p_, choice) > enough) {
    const auto items = items_to_free(choice);
    if (improve_within(choice, items, std::min(work - work_, effort_))) {
      failed_ = unfinished_ = 0;
      continue;
    }
    if (++failed_ % round != 0) continue;
    // Larger neighbourhoods where those so far are known to hold nothing, else a longer look.
    if (2 * unfinished_ > round) {
      effort_ *= 2;
    } else {
      size_ = std::min(largest, size_ + growth);
    }
    unfinished_ = 0;
  }
  return work_;
}

}  // namespace inferno::model

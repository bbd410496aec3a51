#include "model/assignment/branch_and_bound.hpp"

#include <algorithm>
#include <cmath>

#include "model/assignment/local_search.hpp"

namespace inferno::model {

branch_and_bound::branch_and_bound(const assignment_problem& problem, std::vector<std::size_t> start,
                                   const assignment_effort& effort, double tolerance)
    : p_(problem),
      effort_(effort),
      tolerance_(tolerance),
      perturbation_(0),
      values_(perturbed_values(problem)),
      best_(std::move(start)),
      best_value_(value_of(problem, best_)),
      lower_(lagrangian_bound(problem, std::vector<double>(problem.capacity.size()))),
      price_(problem.capacity.size()),
      neighbourhoods_at_(effort.neighbourhoods) {
  for (std::size_t o = 0; o < values_.size(); ++o) perturbation_ = std::max(perturbation_, values_[o] - p_.value[o]);
}

/// What a plan must stay below to be of use.
double branch_and_bound::target() const { return effort_.integral ? best_value_ - 1 + 1e-6 : best_value_ - tolerance_; }

double branch_and_bound::rounded_up(double bound) const { return effort_.integral ? std::ceil(bound - 1e-6) : bound; }

/// A feasible choice of the remainder becomes the best plan if it is. true: feasible.
bool branch_and_bound::offer(const remainder& of, std::vector<std::size_t> choice) {
  if (!feasible(room_of(of.problem, choice))) return false;
  auto plan = of.settled;
  for (std::size_t i = 0; i < choice.size(); ++i) plan[of.item_of[i]] = of.option_of[choice[i]];
  if (const double value = value_of(p_, plan); value < best_value_ - tolerance_) {
    best_value_ = value;
    best_ = std::move(plan);
  }
  return true;
}

/// A plan from a choice that need not be feasible.
void branch_and_bound::mend(const remainder& of, const std::vector<double>& price, std::vector<std::size_t> choice) {
  const local_search search(of.problem, price, tolerance_);
  auto room = room_of(of.problem, choice);
  search.repair(choice, room);
  // A pair takes about half of the time of an option in the relaxation.
  work_ += search.exchange(choice, room) / 2;
  search.improve(choice, room);
  work_ += 8 * static_cast<std::int64_t>(of.problem.value.size());
  offer(of, std::move(choice));
}

/// How much more than the item's cheapest option this one costs at the relaxation's prices: at least so much above the bound is
/// every plan that takes it.
double branch_and_bound::surplus(const remainder& of, std::size_t item, std::size_t option) const {
  const auto& r = of.relaxation;
  return std::max(0.0, r.reduced(option) - r.reduced(r.key(item)) - perturbation_);
}

void branch_and_bound::run() {
  auto whole = std::make_shared<remainder>(p_, values_);
  for (std::size_t o = 0; o < p_.value.size(); ++o) whole->option_of.push_back(o);
  for (std::size_t i = 0; i < p_.items(); ++i) whole->item_of.push_back(i);
  whole->settled.assign(p_.items(), unfixed);
  auto origin = std::make_shared<const price_basis>(whole->relaxation.origin());
  dive_.push_back({lower_, nodes_++, std::move(whole), std::move(origin), {}});
  while (!dive_.empty() || !open_.empty()) {
    if (dive_.empty()) {
      // The best of the open ones bounds them all.
      if (open_.top().bound >= target()) break;
      if (good_enough(std::min(unresolved_, open_.top().bound))) break;
      dive_.push_back(open_.top());
      open_.pop();
    }
    if (spent() && nodes_ > 1) break;
    search_neighbourhoods();
    auto next = std::move(dive_.back());
    dive_.pop_back();
    if (next.bound < target()) visit(std::move(next));
  }
  double least = unresolved_;
  if (!open_.empty()) least = std::min(least, open_.top().bound);
  for (const auto& n : dive_) least = std::min(least, n.bound);
  // Whatever is at or above the target cannot be told from the best plan.
  lower_ = least >= target() ? best_value_ : std::max(lower_, least);
}

/// A better plan lets more of the search be left out, so it is looked for early, and again as long as there is none.
void branch_and_bound::search_neighbourhoods() {
  if (effort_.neighbourhoods == 0 || nodes_ < 2 || work_ < neighbourhoods_at_) return;
  if (!neighbourhoods_) neighbourhoods_.emplace(p_, price_, tolerance_, effort_.integral);
  work_ += neighbourhoods_->improve(best_, lower_ + std::max(effort_.enough, tolerance_), effort_.neighbourhoods);
  best_value_ = value_of(p_, best_);
  neighbourhoods_at_ = work_ + 3 * effort_.neighbourhoods;
}

void branch_and_bound::visit(node n) {
  auto& of = *n.of;
  std::vector<std::size_t> fixed(of.problem.items(), unfixed);
  for (const auto& [item, option] : n.fixed) fixed[item] = option;
  auto basis = std::make_shared<price_basis>(*n.basis);
  constexpr std::int64_t overhead = 200;
  const auto before = of.relaxation.work() - overhead;
  const auto outcome = of.relaxation.solve(*basis, fixed, target() - of.constant);
  work_ += of.relaxation.work() - before;
  const bool root = n.number == 0;
  // The first incumbent is a plan: a bound above it is none, whatever went wrong.
  if (root && of.relaxation.bound() > best_value_ + tolerance_) {
    unresolved_ = lower_;
    return;
  }
  if (outcome == linear_relaxation::outcome::beyond) {
    if (root) price_ = basis->price;
    return;
  }
  n.bound = std::max(n.bound, rounded_up(of.constant + of.relaxation.bound()));
  if (root) {
    lower_ = std::max(lower_, n.bound);
    price_ = basis->price;
  }
  if (n.bound >= target()) return;

  std::vector<std::size_t> choice(of.problem.items());
  for (std::size_t i = 0; i < choice.size(); ++i) choice[i] = of.relaxation.key(i);
  const bool whole = of.relaxation.splits().empty() && offer(of, choice);
  if (!whole && n.fixed.empty() && repairs_) {
    mend(of, basis->price, choice);
    if (root) mend(of, basis->price, best_);
  }
  if (n.bound >= target()) return;
  if (good_enough(n.bound)) {
    unresolved_ = std::min(unresolved_, n.bound);
    return;
  }
  price_basis reduced_basis;
  if (auto smaller = reduce(n, *basis, reduced_basis)) {
    dive_.push_back({n.bound, nodes_++, std::move(smaller), std::make_shared<const price_basis>(std::move(reduced_basis)), {}});
    return;
  }
  branch(n, std::move(basis));
}

/// Settled are the items with one option that can still be part of a better plan. None if that leaves more than half of the
/// options.
std::shared_ptr<branch_and_bound::remainder> branch_and_bound::reduce(const node& n, const price_basis& basis,
                                                                      price_basis& reduced_basis) {
  const auto& of = *n.of;
  const auto& p = of.problem;
  const double spare = target() - of.constant - of.relaxation.bound_of_reduced();
  std::vector<std::size_t> fixed(p.items(), unfixed);
  for (const auto& [item, option] : n.fixed) fixed[item] = option;
  std::vector<std::size_t> new_item(p.items(), unfixed), new_option(p.value.size(), unfixed);
  assignment_problem small;
  small.capacity = p.capacity;
  std::vector<double> values;
  std::vector<std::size_t> item_of, option_of;
  auto settled = of.settled;
  double constant = of.constant;
  for (std::size_t i = 0; i < p.items(); ++i) {
    std::vector<std::size_t> left;
    for (auto o = p.item_begin[i]; o < p.item_begin[i + 1]; ++o)
      if (fixed[i] == o || (fixed[i] == unfixed && (o == of.relaxation.key(i) || surplus(of, i, o) < spare))) left.push_back(o);
    if (left.size() == 1) {
      settled[of.item_of[i]] = of.option_of[left.front()];
      constant += p.value[left.front()];
      for (auto u = p.use_begin[left.front()]; u < p.use_begin[left.front() + 1]; ++u)
        small.capacity[static_cast<std::size_t>(p.uses[u].type)] -= p.uses[u].units;
      continue;
    }
    new_item[i] = item_of.size();
    item_of.push_back(of.item_of[i]);
    for (const auto o : left) {
      new_option[o] = small.value.size();
      small.add_option(p.value[o]);
      for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u) small.add_use(p.uses[u].type, p.uses[u].units);
      option_of.push_back(of.option_of[o]);
      values.push_back(values_[of.option_of[o]]);
    }
    small.end_item();
  }
  if (2 * small.value.size() > p.value.size()) return nullptr;
  reduced_basis = basis;
  for (auto& row : reduced_basis.rows) {
    if (row.is != price_row::kind::tie) continue;
    if (new_option[row.from] == unfixed || new_option[row.to] == unfixed) {
      row = {price_row::kind::loose, -1, 0, 0, 0};
    } else {
      row = {price_row::kind::tie, -1, new_item[row.item], new_option[row.from], new_option[row.to]};
    }
  }
  auto out = std::make_shared<remainder>(std::move(small), std::move(values));
  out->item_of = std::move(item_of);
  out->option_of = std::move(option_of);
  out->settled = std::move(settled);
  out->constant = constant;
  return out;
}

/// Of the split items the one whose parts lie furthest apart in value, weighted with how undecided it is. Without split items
/// that which comes closest to another option.
std::size_t branch_and_bound::item_to_branch_on(const remainder& of, const std::vector<std::size_t>& fixed) const {
  std::size_t best = unfixed;
  double most = -1;
  for (const auto& s : of.relaxation.splits()) {
    double low = of.problem.value[s.parts.front().first], high = low;
    for (const auto& [option, part] : s.parts) {
      low = std::min(low, of.problem.value[option]);
      high = std::max(high, of.problem.value[option]);
    }
    const double score = (1 - s.parts.front().second) * (high - low + tolerance_);
    if (score > most) {
      most = score;
      best = s.item;
    }
  }
  if (best != unfixed) return best;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < fixed.size(); ++i)
    for (auto o = of.problem.item_begin[i]; fixed[i] == unfixed && o < of.problem.item_begin[i + 1]; ++o)
      if (o != of.relaxation.key(i) && (best == unfixed || surplus(of, i, o) < least)) {
        least = surplus(of, i, o);
        best = i;
      }
  return best;
}

void branch_and_bound::branch(const node& n, std::shared_ptr<const price_basis> basis) {
  const auto& of = *n.of;
  std::vector<std::size_t> fixed(of.problem.items(), unfixed);
  for (const auto& [item, option] : n.fixed) fixed[item] = option;
  const auto item = item_to_branch_on(of, fixed);
  if (item == unfixed) return;  // nothing is left to choose: the only plan has been offered
  const auto part = [&](std::size_t option) {
    for (const auto& s : of.relaxation.splits())
      if (s.item == item)
        for (const auto& [o, p] : s.parts)
          if (o == option) return p;
    return option == of.relaxation.key(item) ? 1.0 : 0.0;
  };
  std::vector<node> children;
  for (auto o = of.problem.item_begin[item]; o < of.problem.item_begin[item + 1]; ++o) {
    const double bound = std::max(n.bound, rounded_up(of.constant + of.relaxation.bound_of_reduced() + surplus(of, item, o)));
    if (bound >= target()) continue;
    children.push_back({bound, nodes_++, n.of, basis, n.fixed});
    children.back().fixed.emplace_back(item, o);
  }
  if (children.empty()) return;
  // The dive goes on with the largest part.
  std::stable_sort(children.begin(), children.end(),
                   [&](const node& a, const node& b) { return part(a.fixed.back().second) < part(b.fixed.back().second); });
  dive_.push_back(std::move(children.back()));
  children.pop_back();
  // Nodes take memory: where too many are open, it is depth first.
  constexpr std::size_t most_open = 20'000;
  for (auto& child : children)
    if (open_.size() < most_open) {
      open_.push(std::move(child));
    } else {
      dive_.insert(dive_.end() - 1, std::move(child));
    }
}

}  // namespace inferno::model

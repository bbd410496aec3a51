#include "model/pool_mixes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>

#include "model/pool_search.hpp"

namespace inferno::model {
namespace {

/// Nodes of an enumeration before it is given up for single searches.
constexpr int most_tries = 20'000;
/// Nodes of the search for the best mix, and for one that does with less of a type.
constexpr int search_tries = 20'000;
constexpr int glance_tries = 1'000;
/// Mixes handed to the solver.
constexpr std::size_t most_mixes = 200;
/// Choices of an accelerator for each member that are looked through.
constexpr std::size_t most_assignments = 64;

/// Replicas that a mix starts.
int starts(const solver_candidate& c, const std::vector<pool_member>& members) {
  int sum = 0;
  for (const auto& p : c.mix) {
    const auto& from = members[p.member].current;
    sum += std::max(0, p.alloc.num_replicas - (from.accelerator == p.alloc.accelerator ? from.num_replicas : 0));
  }
  return sum;
}

struct ranked {
  solver_candidate mix;
  double value = 0;  ///< without the rounding of its sum
  int starts = 0;
  std::vector<std::int64_t> use;  ///< GPUs by limited type
};

std::vector<ranked> by_value(std::vector<solver_candidate> all, const std::vector<pool_member>& members) {
  std::map<int, std::size_t> types;
  for (const auto& c : all)
    for (const auto& p : c.mix) types.try_emplace(p.type, types.size());
  std::vector<ranked> out;
  for (auto& c : all) {
    ranked r{{}, std::round(c.alloc.value * 1e6), starts(c, members), std::vector<std::int64_t>(types.size())};
    for (const auto& p : c.mix) r.use[types.at(p.type)] += static_cast<std::int64_t>(p.units_per_replica) * p.alloc.num_replicas;
    r.mix = std::move(c);
    out.push_back(std::move(r));
  }
  std::stable_sort(out.begin(), out.end(), [](const ranked& a, const ranked& b) {
    return std::tie(a.value, a.starts, a.mix.alloc.cost.cents, a.mix.alloc.accelerator) <
           std::tie(b.value, b.starts, b.mix.alloc.cost.cents, b.mix.alloc.accelerator);
  });
  return out;
}

/// Those that no other one dominates, by value.
std::vector<ranked> undominated(std::vector<ranked> all) {
  std::vector<ranked> out;
  for (auto& c : all) {
    const bool dominated = std::any_of(out.begin(), out.end(), [&](const ranked& other) {
      for (std::size_t t = 0; t < c.use.size(); ++t)
        if (other.use[t] > c.use[t]) return false;
      return true;
    });
    if (!dominated) out.push_back(std::move(c));
    // More than anybody looks at; the rest is not kept.
    if (out.size() > 10 * most_mixes) break;
  }
  return out;
}

/// Half of the places to the first by value, the others evenly to the rest, and those that take least of a type.
std::vector<solver_candidate> chosen(std::vector<ranked> all, bool& complete) {
  std::set<std::size_t> keep;
  if (all.size() > most_mixes) {
    complete = false;
    for (std::size_t i = 0; i < most_mixes / 2; ++i) keep.insert(i);
    for (std::size_t t = 0; t < all.front().use.size(); ++t)
      keep.insert(static_cast<std::size_t>(
          std::min_element(all.begin(), all.end(), [t](const auto& a, const auto& b) { return a.use[t] < b.use[t]; }) -
          all.begin()));
    const auto rest = all.size() - most_mixes / 2;
    for (std::size_t i = 0; keep.size() < most_mixes && i < most_mixes / 2; ++i)
      keep.insert(most_mixes / 2 + rest * (i + 1) / (most_mixes / 2) - 1);
  }
  std::vector<solver_candidate> out;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (all.size() <= most_mixes || keep.count(i)) out.push_back(std::move(all[i].mix));
  return out;
}

}  // namespace

mix_maker::mix_maker(std::vector<pool_option> options, std::vector<pool_member> members, req_rate demand, mix_rules rules)
    : options_(std::move(options)), members_(std::move(members)), demand_(demand.per_sec()), rules_(rules) {
  assignments_.emplace_back();
  if (!rules_.one_accelerator) {
    for (std::size_t i = 0; i < options_.size(); ++i) assignments_.front().push_back(i);
    return;
  }
  for (std::size_t m = 0; m < members_.size(); ++m) {
    std::vector<std::size_t> of_member;
    for (std::size_t i = 0; i < options_.size(); ++i)
      if (options_[i].member == m) of_member.push_back(i);
    // The accelerator in use first, then those given first.
    std::stable_partition(of_member.begin(), of_member.end(),
                          [&](std::size_t i) { return options_[i].per_replica.accelerator == members_[m].current.accelerator; });
    if (of_member.empty()) continue;
    std::vector<std::vector<std::size_t>> next;
    for (const auto option : of_member)
      for (const auto& before : assignments_) {
        if (next.size() == most_assignments) {
          all_assignments_ = false;
          break;
        }
        next.push_back(before);
        next.back().push_back(option);
      }
    assignments_ = std::move(next);
  }
}

mix_set mix_maker::all(const gpu_limits& limits) const {
  mix_set out;
  out.complete = all_assignments_;
  std::vector<solver_candidate> mixes;
  for (const auto& active : assignments_) {
    pool_search search(options_, members_, demand_, rules_, active, limits);
    const bool whole = search.enumerate(most_tries / static_cast<int>(assignments_.size()));
    for (const auto& n : search.found()) mixes.push_back(search.candidate(n));
    if (whole) continue;
    out.complete = false;
    const auto best = search.cheapest(limits, {}, search_tries);
    if (!best) continue;
    mixes.push_back(search.candidate(*best));
    // Those that do with less of a type than the best one.
    const auto use = search.use_of(*best);
    for (std::size_t t = 0; t < use.size(); ++t)
      for (int quarter = 0; quarter < 4 && use[t] > 0; ++quarter) {
        auto less = limits;
        less[t] = use[t] * quarter / 4;
        if (const auto other = search.cheapest(less, {}, glance_tries)) mixes.push_back(search.candidate(*other));
      }
  }
  out.covers = !mixes.empty();
  if (out.covers) {
    out.mixes = chosen(undominated(by_value(std::move(mixes), members_)), out.complete);
    return out;
  }
  if (options_.empty()) return out;
  double most = -1;
  for (const auto& active : assignments_) {
    pool_search search(options_, members_, demand_, rules_, active, limits);
    const auto n = search.everything();
    const double carried = search.carried_within_limits(n);
    if (carried <= most * (1 + rate_slack)) continue;
    most = carried;
    out.mixes.assign(1, search.candidate(n));
  }
  if (!out.mixes.empty() && out.mixes.front().mix.empty()) out.mixes.clear();
  return out;
}

std::optional<solver_candidate> mix_maker::best(const gpu_limits& limits, const std::vector<double>& price) const {
  std::optional<solver_candidate> out;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& active : assignments_) {
    pool_search search(options_, members_, demand_, rules_, active, limits);
    const auto found = search.cheapest(limits, price, search_tries);
    if (!found) continue;
    auto mix = search.candidate(*found);
    double value = mix.alloc.value;
    for (const auto& p : mix.mix)
      if (const auto t = static_cast<std::size_t>(p.type); p.type >= 0 && t < price.size())
        value += price[t] * p.units_per_replica * p.alloc.num_replicas;
    if (value >= least) continue;
    least = value;
    out = std::move(mix);
  }
  return out;
}

std::vector<solver_candidate> make_mixes(const std::vector<pool_option>& options, const std::vector<pool_member>& members,
                                         req_rate demand) {
  auto out = mix_maker(options, members, demand).all();
  return out.covers ? std::move(out.mixes) : std::vector<solver_candidate>{};
}

}  // namespace inferno::model

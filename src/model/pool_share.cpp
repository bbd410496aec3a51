// From replicas of kinds to those of members.
#include <algorithm>

#include "model/pool_search.hpp"

namespace inferno::model {
namespace {

void add_part(allocation& total, const allocation& part) {
  total.accelerator += (total.accelerator.empty() ? "" : "+") + part.accelerator;
  total.num_replicas += part.num_replicas;
  total.cost.cents += part.cost.cents;
  total.value += part.value;
  if (total.binding.empty()) total.binding = part.binding;
}

}  // namespace

/// Who of members that differ in nothing else has the replicas: each keeps what it has; the largest gives away first, and the
/// largest that may have more takes more, so that no member wakes without need.
std::vector<int> pool_search::shared(const pool_kind& k, int n) const {
  std::vector<int> out;
  int sum = 0;
  for (const auto i : k.options) {
    const auto& m = members_[options_[i].member];
    const int has = m.current.accelerator == options_[i].per_replica.accelerator ? m.current.num_replicas : 0;
    out.push_back(k.member == nobody ? std::clamp(has, m.min_replicas, std::max(most_of(m), m.min_replicas)) : n);
    sum += out.back();
  }
  const auto most = [&](std::size_t j) { return k.member == nobody ? most_of(members_[options_[k.options[j]].member]) : n; };
  const auto least = [&](std::size_t j) { return k.member == nobody ? members_[options_[k.options[j]].member].min_replicas : n; };
  const auto largest = [&](auto may) {
    std::size_t best = out.size();
    for (std::size_t j = 0; j < out.size(); ++j)
      if (may(j) && (best == out.size() || out[j] > out[best])) best = j;
    return best;
  };
  for (; sum > n; --sum) {
    const auto j = largest([&](std::size_t at) { return out[at] > least(at); });
    if (j == out.size()) break;
    --out[j];
  }
  while (sum < n) {
    const auto j = largest([&](std::size_t at) { return out[at] < most(at); });
    if (j == out.size()) break;
    const int more = std::min(n - sum, most(j) - out[j]);
    out[j] += more;
    sum += more;
  }
  return out;
}

solver_candidate pool_search::candidate(const counts& n) const {
  solver_candidate c;
  double sum = 0;
  for (std::size_t k = 0; k < n.size(); ++k) sum += n[k] * kinds_[k].rate;
  for (const auto k : order_) {
    if (n[k] == 0) continue;
    const auto each = shared(kinds_[k], n[k]);
    for (std::size_t j = 0; j < each.size(); ++j) {
      if (each[j] == 0) continue;
      const auto& o = options_[kinds_[k].options[j]];
      solver_candidate::part p{o.member, o.per_replica, o.type, o.units_per_replica, 0};
      const auto& from = members_[o.member].current;
      if (from.accelerator == p.alloc.accelerator) p.present = from.num_replicas;
      p.alloc.num_replicas = each[j];
      p.alloc.cost.cents *= each[j];
      p.alloc.rate_per_replica = req_rate::per_sec(sum > 0 ? planned_ * kinds_[k].rate / sum : 0);
      c.mix.push_back(std::move(p));
    }
  }
  // The part on the accelerator in use, else the first one, is what becomes of what a member has; further ones are new.
  for (std::size_t m = 0; m < members_.size(); ++m) {
    const auto& from = members_[m].current;
    std::size_t heir = c.mix.size();
    for (std::size_t p = 0; p < c.mix.size(); ++p)
      if (c.mix[p].member == m && (heir == c.mix.size() || c.mix[p].alloc.accelerator == from.accelerator)) heir = p;
    for (std::size_t p = 0; p < c.mix.size(); ++p) {
      auto& a = c.mix[p].alloc;
      if (c.mix[p].member == m)
        a.value = transition_value(p == heir ? from : current_allocation{}, a.accelerator, a.num_replicas, a.cost);
    }
    if (heir == c.mix.size()) c.alloc.value += transition_value(from, from.accelerator, 0, {});
  }
  for (const auto& p : c.mix) add_part(c.alloc, p.alloc);
  return c;
}

}  // namespace inferno::model

#include "model/pool_search.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <string_view>
#include <tuple>

namespace inferno::model {
namespace {

/// Value of a replica: one on an accelerator that its member does not use is worth as much as a new one.
double value_of(const pool_option& o, const pool_member& m) {
  return m.current.accelerator == o.per_replica.accelerator
             ? o.per_replica.cost.cents
             : transition_value({}, o.per_replica.accelerator, 1, o.per_replica.cost);
}

}  // namespace

pool_search::pool_search(const std::vector<pool_option>& options, const std::vector<pool_member>& members, double demand,
                         const mix_rules& rules, const std::vector<std::size_t>& active, const gpu_limits& limits)
    : options_(options), members_(members), demand_(demand * (1 - rate_slack)), planned_(demand), rules_(rules), limits_(limits) {
  std::map<std::size_t, int> options_of;
  for (const auto i : active) ++options_of[options[i].member];
  for (const auto i : active) add(i, options_of[options[i].member] > 1);
  for (std::size_t k = 0; k < kinds_.size(); ++k) order_.push_back(k);
  now_.resize(kinds_.size());
  by_price({});
}

bool pool_search::enumerate(int tries) {
  tries_ = tries;
  by_price({});
  left_ = limits_;
  return fill(0);
}

std::optional<pool_search::counts> pool_search::cheapest(const gpu_limits& limits, const std::vector<double>& price, int tries) {
  by_price(price);
  left_ = limits;
  best_.reset();
  best_value_ = std::numeric_limits<double>::infinity();
  tries_ = tries;
  dive(0, 0, 0);
  return best_;
}

pool_search::counts pool_search::everything() {
  left_ = limits_;
  by_price({});
  std::fill(now_.begin(), now_.end(), 0);
  for (const auto k : order_) put(k, std::max(0, std::min({allowed(k), fitting(k), std::max(needed(k), kinds_[k].least)})));
  for (const auto k : order_) now_[k] += std::max(0, std::min(allowed(k), std::max(needed(k), kinds_[k].least - now_[k])));
  return now_;
}

double pool_search::carried_within_limits(const counts& n) {
  left_ = limits_;
  std::fill(now_.begin(), now_.end(), 0);
  for (const auto k : order_) put(k, std::min(n[k], fitting(k)));
  return covered();
}

gpu_limits pool_search::use_of(const counts& n) const {
  gpu_limits out(limits_.size());
  for (std::size_t k = 0; k < n.size(); ++k)
    if (limited(k)) out[static_cast<std::size_t>(kinds_[k].type)] += n[k] * kinds_[k].units;
  return out;
}

void pool_search::add(std::size_t i, bool one_of_several) {
  const auto& o = options_[i];
  const auto& m = members_[o.member];
  pool_kind k{
      o.per_replica.max_rate_per_replica.per_sec(), value_of(o, m), o.type, o.units_per_replica, m.min_replicas, most_of(m), {i}};
  if (one_of_several) {
    k.least = 0;
    k.member = o.member;
  } else {
    const auto same = std::find_if(kinds_.begin(), kinds_.end(), [&](const pool_kind& other) {
      return other.member == nobody && other.type == k.type && other.units == k.units && other.rate == k.rate &&
             other.value == k.value && options_[other.options.front()].per_replica.accelerator == o.per_replica.accelerator;
    });
    if (same != kinds_.end()) {
      same->least += k.least;
      same->most = std::min(same->most + k.most, most_replicas);
      same->options.push_back(i);
      return;
    }
  }
  kinds_.push_back(std::move(k));
}

void pool_search::by_price(const std::vector<double>& price) {
  cost_.clear();
  for (const auto& k : kinds_) {
    const auto t = static_cast<std::size_t>(k.type);
    cost_.push_back(k.value + (k.type >= 0 && t < price.size() ? price[t] * k.units : 0));
  }
  const auto per_rate = [&](std::size_t k) { return cost_[k] / std::max(kinds_[k].rate, 1e-300); };
  const auto rank = [&](std::size_t k) {
    return std::tuple(per_rate(k), std::string_view(options_[kinds_[k].options.front()].per_replica.accelerator), k);
  };
  std::sort(order_.begin(), order_.end(), [&](auto a, auto b) { return rank(a) < rank(b); });
}

bool pool_search::enough(const counts& n) const {
  double sum = 0;
  for (std::size_t k = 0; k < n.size(); ++k) sum += n[k] * kinds_[k].rate;
  return enough(sum);
}

double pool_search::covered() const {
  double sum = 0;
  for (std::size_t k = 0; k < now_.size(); ++k) sum += now_[k] * kinds_[k].rate;
  return sum;
}

bool pool_search::limited(std::size_t k) const {
  return !limits_.empty() && kinds_[k].type >= 0 && static_cast<std::size_t>(kinds_[k].type) < limits_.size();
}

int pool_search::fitting(std::size_t k) const {
  if (limits_.empty() || kinds_[k].type < 0) return most_replicas;
  const auto t = static_cast<std::size_t>(kinds_[k].type);
  return t < left_.size() && kinds_[k].units > 0 ? std::max(0, left_[t]) / kinds_[k].units : 0;
}

int pool_search::allowed(std::size_t k) const {
  if (kinds_[k].member == nobody) return kinds_[k].most - now_[k];
  int held = 0;
  for (std::size_t j = 0; j < kinds_.size(); ++j)
    if (kinds_[j].member == kinds_[k].member) held += now_[j];
  return std::max(0, kinds_[k].most - held);
}

int pool_search::needed(std::size_t k) const {
  const double left = demand_ - covered();
  if (left <= 0 || kinds_[k].rate <= 0) return 0;
  return static_cast<int>(std::min(std::ceil(left / kinds_[k].rate), 1.0 * most_replicas));
}

void pool_search::put(std::size_t k, int n) {
  if (limited(k)) left_[static_cast<std::size_t>(kinds_[k].type)] -= (n - now_[k]) * kinds_[k].units;
  now_[k] = n;
}

double pool_search::addable(std::size_t depth) const {
  double sum = 0;
  for (std::size_t d = depth; d < order_.size(); ++d) {
    const auto k = order_[d];
    if (!limited(k)) {
      sum += std::min(kinds_[k].most, fitting(k)) * kinds_[k].rate;
      continue;
    }
    // Of a type as much as its best kind makes of it, counted once.
    bool first = true;
    double most = 0, best = 0;
    for (std::size_t e = 0; e < order_.size(); ++e) {
      const auto j = order_[e];
      if (kinds_[j].type != kinds_[k].type || e < depth) continue;
      if (e < d) first = false;
      most += kinds_[j].most * kinds_[j].rate;
      best = std::max(best, kinds_[j].rate / std::max(kinds_[j].units, 1));
    }
    if (first) sum += std::min(most, best * std::max(0, left_[static_cast<std::size_t>(kinds_[k].type)]));
  }
  return sum;
}

bool pool_search::independent(std::size_t depth) const {
  const auto& k = kinds_[order_[depth]];
  return std::none_of(order_.begin() + static_cast<std::ptrdiff_t>(depth) + 1, order_.end(), [&](std::size_t j) {
    return (k.type >= 0 && kinds_[j].type == k.type) || (k.member != nobody && kinds_[j].member == k.member);
  });
}

bool pool_search::fill(std::size_t depth) {
  if (--tries_ < 0) return false;
  if (depth == order_.size()) {
    keep();
    return true;
  }
  const auto k = order_[depth];
  const int most = std::min({allowed(k), fitting(k), std::max(needed(k), kinds_[k].least)});
  const int least = depth + 1 == order_.size() ? std::max(most, kinds_[k].least) : kinds_[k].least;
  bool ok = true;
  for (int n = most; ok && n >= least; --n) {
    put(k, n);
    if (enough((covered() + addable(depth + 1)) * (1 + rate_slack))) {
      ok = fill(depth + 1);
    } else if (independent(depth)) {
      break;
    }
  }
  put(k, 0);
  return ok;
}

void pool_search::keep() {
  const auto saved = now_;
  const auto left = left_;
  if (raise()) {
    int total = 0;
    for (const int n : now_) total += n;
    if (total >= rules_.least_total) {
      if (enough(covered())) found_.insert(trimmed(now_));
    } else {
      for (const auto k : order_) {
        auto one = now_;
        const int more = rules_.least_total - total;
        if (std::min(allowed(k), fitting(k)) < more) continue;
        one[k] += more;
        if (enough(one)) found_.insert(std::move(one));
      }
    }
  }
  now_ = saved;
  left_ = left;
}

bool pool_search::raise() {
  for (std::size_t m = 0; m < members_.size(); ++m) {
    int held = 0;
    bool several = false;
    for (std::size_t k = 0; k < kinds_.size(); ++k)
      if (kinds_[k].member == m) {
        several = true;
        held += now_[k];
      }
    if (!several) continue;
    for (const auto k : order_) {
      if (kinds_[k].member != m || held >= members_[m].min_replicas) continue;
      const int more = std::min(members_[m].min_replicas - held, fitting(k));
      put(k, now_[k] + more);
      held += more;
    }
    if (held < members_[m].min_replicas) return false;
  }
  return true;
}

pool_search::counts pool_search::trimmed(counts n) const {
  double left = 0;
  int total = 0;
  for (std::size_t k = 0; k < n.size(); ++k) {
    left += n[k] * kinds_[k].rate;
    total += n[k];
  }
  for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
    const auto& k = kinds_[*it];
    const auto held = [&] {
      int sum = 0;
      for (std::size_t j = 0; j < n.size(); ++j)
        if (kinds_[j].member == k.member) sum += n[j];
      return sum;
    };
    while (n[*it] > k.least && total > rules_.least_total && enough(left - k.rate) &&
           (k.member == nobody || held() > members_[k.member].min_replicas)) {
      --n[*it];
      --total;
      left -= k.rate;
    }
  }
  return n;
}

double pool_search::bound(std::size_t depth, double rate) const {
  double sum = 0;
  for (std::size_t d = depth; d < order_.size() && rate > 0; ++d) {
    const auto k = order_[d];
    const double most = std::min({1.0 * kinds_[k].most, 1.0 * fitting(k), kinds_[k].rate > 0 ? rate / kinds_[k].rate : 0});
    const double n = std::max(most, 1.0 * kinds_[k].least);
    sum += n * cost_[k];
    rate -= n * kinds_[k].rate;
  }
  return sum;
}

void pool_search::dive(std::size_t depth, double rate, double cost) {
  if (--tries_ < 0) return;
  if (depth == order_.size()) {
    const auto saved = now_;
    const auto left = left_;
    if (raise()) {
      int total = 0;
      double sum = 0;
      for (std::size_t k = 0; k < now_.size(); ++k) total += now_[k];
      for (std::size_t d = 0; d < order_.size() && total < rules_.least_total; ++d) {
        const int more = std::min({rules_.least_total - total, allowed(order_[d]), fitting(order_[d])});
        put(order_[d], now_[order_[d]] + more);
        total += more;
      }
      for (std::size_t k = 0; k < now_.size(); ++k) sum += now_[k] * cost_[k];
      if (total >= rules_.least_total && enough(covered()) && sum < best_value_ - rate_slack * std::abs(sum)) {
        best_ = trimmed(now_);
        best_value_ = sum;
      }
    }
    now_ = saved;
    left_ = left;
    return;
  }
  const auto k = order_[depth];
  const int most = std::min({allowed(k), fitting(k), std::max(needed(k), kinds_[k].least)});
  const int least = depth + 1 == order_.size() ? std::max(most, kinds_[k].least) : kinds_[k].least;
  for (int n = most; n >= least && tries_ > 0; --n) {
    put(k, n);
    const double with = rate + n * kinds_[k].rate;
    const bool coverable = enough((with + addable(depth + 1)) * (1 + rate_slack));
    if (coverable && cost + n * cost_[k] + bound(depth + 1, demand_ - with) < best_value_) {
      dive(depth + 1, with, cost + n * cost_[k]);
    } else if (independent(depth) && !(coverable && enough(with))) {
      break;  // fewer of the cheapest kind cover less, and make the rest dearer
    }
  }
  put(k, 0);
}

}  // namespace inferno::model

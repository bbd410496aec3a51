#include "model/pool.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

namespace inferno::model {
namespace {

/// Mixes tried before the search falls back to pairs of options.
constexpr int most_tries = 20'000;
/// Mixes handed to the solver.
constexpr std::size_t most_mixes = 200;

class mixer {
 public:
  mixer(const std::vector<pool_option>& options, const std::vector<pool_member>& members, req_rate demand)
      : options_(options), members_(members), demand_(demand.per_sec()), counts_(options.size()) {
    for (std::size_t i = 0; i < options.size(); ++i) order_.push_back(i);
    const auto price = [&](std::size_t i) { return options_[i].per_replica.cost.cents / std::max(rate(i), 1e-300); };
    std::sort(order_.begin(), order_.end(),
              [&](auto a, auto b) { return std::tuple(price(a), name(a), a) < std::tuple(price(b), name(b), b); });
  }

  std::vector<solver_candidate> run() {
    if (!fill(0)) {
      found_.clear();
      for (std::size_t a = 0; a < order_.size(); ++a) {
        alone(order_[a]);
        for (std::size_t b = 0; b < order_.size(); ++b)
          if (a != b) pair(order_[a], order_[b]);
      }
    }
    std::vector<solver_candidate> out;
    for (const auto& counts : found_) out.push_back(candidate(counts));
    return best_of(std::move(out));
  }

 private:
  double rate(std::size_t i) const { return options_[i].per_replica.max_rate_per_replica.per_sec(); }
  const std::string& name(std::size_t i) const { return options_[i].per_replica.accelerator; }
  int held(std::size_t member) const {
    int sum = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i)
      if (options_[i].member == member) sum += counts_[i];
    return sum;
  }
  double covered() const {
    double sum = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) sum += counts_[i] * rate(i);
    return sum;
  }
  bool enough(double sum) const { return sum >= demand_ * (1 - 1e-9); }
  /// Replicas of option i that its member may still have.
  int allowed(std::size_t i) const {
    const int most = members_[options_[i].member].max_replicas;
    return most > 0 ? std::max(0, most - held(options_[i].member)) : most_replicas;
  }
  int needed(std::size_t i) const {
    const double left = demand_ * (1 - 1e-9) - covered();
    if (left <= 0) return 0;
    return rate(i) > 0 ? static_cast<int>(std::min(std::ceil(left / rate(i)), 1.0 * most_replicas)) : most_replicas;
  }

  /// Depth first over the options, cheapest per request first. false: too many.
  bool fill(std::size_t depth) {
    if (++tries_ > most_tries) return false;
    if (depth == order_.size()) {
      keep();
      return true;
    }
    const auto i = order_[depth];
    const int most = std::min(allowed(i), needed(i));
    const int least = depth + 1 == order_.size() ? most : 0;
    for (int n = most; n >= least; --n) {
      counts_[i] = n;
      if (!fill(depth + 1)) return false;
    }
    counts_[i] = 0;
    return true;
  }

  void alone(std::size_t i) {
    counts_.assign(options_.size(), 0);
    counts_[i] = std::min(allowed(i), needed(i));
    keep();
  }
  void pair(std::size_t a, std::size_t b) {
    counts_.assign(options_.size(), 0);
    const int most = std::min({allowed(a), needed(a), 200});
    for (int n = 1; n < most; ++n) {
      counts_.assign(options_.size(), 0);
      // From the end: all but a few of the one, the rest by the other.
      counts_[a] = std::min(allowed(a), needed(a)) - n;
      counts_[b] = std::min(allowed(b), needed(b));
      keep();
    }
  }

  /// Raises members to their minimum (the cheapest option of each), then keeps what covers the demand with nothing to spare.
  void keep() {
    auto saved = counts_;
    for (std::size_t m = 0; m < members_.size(); ++m)
      for (const auto i : order_)
        if (options_[i].member == m && held(m) < members_[m].min_replicas) counts_[i] += members_[m].min_replicas - held(m);
    const double sum = covered();
    if (enough(sum)) {
      // From the dearest on: a replica that can go, goes.
      double left = sum;
      for (auto it = order_.rbegin(); it != order_.rend(); ++it) {
        const auto i = *it;
        while (counts_[i] > 0 && held(options_[i].member) > members_[options_[i].member].min_replicas && enough(left - rate(i))) {
          --counts_[i];
          left -= rate(i);
        }
      }
      found_.insert(counts_);
    }
    counts_ = std::move(saved);
  }

  solver_candidate candidate(const std::vector<int>& counts) const {
    solver_candidate c;
    std::vector<bool> has(members_.size());
    double sum = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) sum += counts[i] * rate(i);
    for (const auto i : order_) {
      if (counts[i] == 0) continue;
      const auto& o = options_[i];
      solver_candidate::part p{o.member, o.per_replica, o.type, o.units_per_replica};
      auto& a = p.alloc;
      const auto& from = members_[o.member].current;
      a.num_replicas = counts[i];
      a.cost.cents *= counts[i];
      // The first part of a member is what becomes of what it has; further ones are new.
      a.value = has[o.member] ? transition_value({}, a.accelerator, counts[i], a.cost)
                              : transition_value(from, a.accelerator, counts[i], a.cost);
      a.rate_per_replica = req_rate::per_sec(sum > 0 ? demand_ * rate(i) / sum : 0);
      has[o.member] = true;
      add(c.alloc, a);
      c.mix.push_back(std::move(p));
    }
    for (std::size_t m = 0; m < members_.size(); ++m)
      if (!has[m]) c.alloc.value += transition_value(members_[m].current, members_[m].current.accelerator, 0, {});
    return c;
  }

  static void add(allocation& total, const allocation& part) {
    total.accelerator += (total.accelerator.empty() ? "" : "+") + part.accelerator;
    total.num_replicas += part.num_replicas;
    total.cost.cents += part.cost.cents;
    total.value += part.value;
    if (total.binding.empty()) total.binding = part.binding;
  }

  /// Not dominated, the first by value.
  static std::vector<solver_candidate> best_of(std::vector<solver_candidate> all) {
    std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::tie(a.alloc.value, a.alloc.cost.cents, a.alloc.accelerator) <
             std::tie(b.alloc.value, b.alloc.cost.cents, b.alloc.accelerator);
    });
    const auto cards = [](const solver_candidate& c) {
      std::map<int, long> out;
      for (const auto& p : c.mix) out[p.type] += static_cast<long>(p.units_per_replica) * p.alloc.num_replicas;
      return out;
    };
    std::vector<solver_candidate> out;
    std::vector<std::map<int, long>> taken;
    for (auto& c : all) {
      auto mine = cards(c);
      const bool dominated = std::any_of(taken.begin(), taken.end(), [&](const auto& other) {
        return std::all_of(other.begin(), other.end(), [&](const auto& use) {
          const auto it = mine.find(use.first);
          return use.second <= (it == mine.end() ? 0 : it->second);
        });
      });
      if (dominated) continue;
      taken.push_back(std::move(mine));
      out.push_back(std::move(c));
      if (out.size() == most_mixes) break;
    }
    return out;
  }

  const std::vector<pool_option>& options_;
  const std::vector<pool_member>& members_;
  double demand_;
  std::vector<std::size_t> order_;
  std::vector<int> counts_;
  std::set<std::vector<int>> found_;
  int tries_ = 0;
};

}  // namespace

std::vector<solver_candidate> make_mixes(const std::vector<pool_option>& options, const std::vector<pool_member>& members,
                                         req_rate demand) {
  return mixer(options, members, demand).run();
}

namespace {

server_load together(const std::vector<variant_view>& members) {
  server_load sum;
  double rate = 0, in = 0, out = 0;
  for (const auto& m : members) {
    const auto& l = m.server->current.load;
    const double r = l.arrival_rate.per_sec();
    rate += r;
    in += r * l.avg_in_tokens;
    out += r * l.avg_out_tokens;
    sum.out_cv = std::max(sum.out_cv, l.out_cv);
  }
  sum.arrival_rate = req_rate::per_sec(rate);
  if (rate > 0) {
    sum.avg_in_tokens = in / rate;
    sum.avg_out_tokens = out / rate;
  }
  return sum;
}

void append(std::string& list, const std::string& text) { list += (list.empty() ? "" : "; ") + text; }

}  // namespace

model_pool::model_pool(const std::vector<variant_view>& members) {
  const auto load = together(members);
  for (const auto& m : members) {
    auto& server = servers_.emplace_back(*m.server);
    server.current.load = load;
    members_.push_back(m);
    members_.back().server = &server;
  }
}

tl::expected<std::vector<solver_candidate>, std::string> model_pool::mixes(const placement& place, bool one_accelerator) const {
  std::vector<pool_option> options;
  std::vector<pool_member> limits;
  std::string why_not;
  for (std::size_t m = 0; m < members_.size(); ++m) {
    const auto& server = servers_[m];
    limits.push_back({server.current, server.min_replicas, server.max_replicas});
    // A member need not be able to carry the whole demand by itself.
    auto unlimited = server;
    unlimited.max_replicas = 0;
    auto view = members_[m];
    view.server = &unlimited;
    auto set = make_candidates(view);
    if (set.candidates.empty() || !set.refused.empty()) append(why_not, set.reason());
    for (auto& c : set.candidates) {
      if (c.num_replicas == 0) continue;
      const bool other = !server.current.accelerator.empty() && c.accelerator != server.current.accelerator;
      if (one_accelerator && (other || (!options.empty() && options.back().member == m))) continue;
      const auto at = place(view, c);
      if (!at) {
        append(why_not, at.error());
        continue;
      }
      c.cost.cents /= c.num_replicas;
      c.num_replicas = 1;
      options.push_back({m, std::move(c), at->first, at->second});
    }
  }
  const auto& load = servers_.front().current.load;
  const auto demand = load.arrival_rate.per_sec() > 0 ? demand_of(load, members_.front().slo) : req_rate{};
  auto out = make_mixes(options, limits, demand);
  if (out.empty()) append(why_not, "the replicas allowed cannot carry the pool's demand");
  if (out.empty()) return tl::unexpected(why_not);
  for (auto& c : out)
    for (auto& p : c.mix) predict_at(members_[p.member], p.alloc, p.alloc.rate_per_replica);
  return out;
}

}  // namespace inferno::model

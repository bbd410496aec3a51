#include "model/solve_system.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <thread>

#include "model/pool.hpp"
#include "model/system_index.hpp"

namespace inferno::model {
namespace {

using member = prepared_system::member;

/// Calls f(0) ... f(n - 1) on `threads` threads, each with a contiguous share.
void in_parallel(std::size_t n, unsigned threads, const std::function<void(std::size_t, std::size_t)>& f) {
  if (threads <= 1 || n < 64) return f(0, n);
  std::vector<std::jthread> crew;
  for (unsigned t = 0; t < threads; ++t) crew.emplace_back(f, n * t / threads, n * (t + 1) / threads);
}

/// A partial allocation costs, and is worth, its share; its latencies stay those of the whole, as in the reference, and
/// system_solution::degraded says so.
allocation scaled(allocation a, int replicas) {
  if (a.num_replicas == replicas || a.num_replicas == 0) return a;
  const double share = static_cast<double>(replicas) / a.num_replicas;
  a.cost.cents *= share;
  a.value *= share;
  a.num_replicas = replicas;
  return a;
}

/// Why a variant that has candidates got none of them.
std::string denial(const solver_variant& v, const std::vector<type_capacity>& capacity, const std::vector<int>& used) {
  std::string out = "not enough GPUs:";
  const auto say = [&](const char* before, const allocation& a, int type_index, int units) {
    const auto type = static_cast<std::size_t>(type_index);
    out += fmt::format("{} {} x {} needs {} of type {}, {} of {} left", before, a.num_replicas, a.accelerator,
                       static_cast<std::int64_t>(a.num_replicas) * units, capacity[type].type, capacity[type].count - used[type],
                       capacity[type].count);
  };
  for (const auto& c : v.candidates) {
    const char* separator = &c == &v.candidates.front() ? "" : ";";
    if (c.mix.empty()) say(separator, c.alloc, c.type, c.units_per_replica);
    for (const auto& p : c.mix) say(&p == &c.mix.front() ? separator : " and", p.alloc, p.type, p.units_per_replica);
  }
  return out;
}

double demanded(const member& m) {
  const auto& load = m.view.server->current.load;
  return load.arrival_rate.per_sec() > 0 && load.avg_out_tokens > 0 ? demand_of(load, m.view.slo).per_min() : 0;
}

class preparation {
 public:
  preparation(const system_data& system, unsigned threads) : system_(system), index_(system), threads_(threads) {
    out_.input.optimizer = system.optimizer;
    out_.input.capacity = system.capacity;
    // The greedy solver stays the reference's.
    out_.input.keep_present = system.optimizer.solver != solver_kind::greedy;
  }

  prepared_system run() {
    collect();
    std::vector<candidate_set> sets(groups_.size());
    in_parallel(groups_.size(), threads_, [&](std::size_t from, std::size_t to) {
      for (auto i = from; i < to; ++i)
        if (!pooled(groups_[i])) sets[i] = make_candidates(groups_[i].front().view);
    });
    out_.input.variants.reserve(groups_.size());
    for (std::size_t i = 0; i < groups_.size(); ++i) {
      if (pooled(groups_[i])) {
        add_pool(groups_[i]);
      } else {
        add_single(groups_[i], std::move(sets[i]));
      }
    }
    return std::move(out_);
  }

 private:
  using group = std::vector<member>;
  static bool pooled(const group& g) { return !g.front().server->pool.empty(); }

  /// Servers by themselves, and pools where their first member stands.
  void collect() {
    std::map<std::tuple<std::string_view, std::string_view, std::string_view>, std::size_t> pools;
    groups_.reserve(system_.servers.size());
    for (const auto& server : system_.servers) {
      auto view = index_.view(server);
      if (!view) {
        out_.infeasible.emplace(server.name, view.error());
        continue;
      }
      if (!server.pool.empty()) {
        const auto [at, fresh] = pools.try_emplace({server.pool, server.model, server.class_name}, groups_.size());
        if (!fresh) {
          groups_[at->second].push_back({&server, std::move(*view)});
          continue;
        }
      }
      groups_.push_back({{&server, std::move(*view)}});
    }
  }

  struct placed {
    int type = -1;
    int units = 1;
  };
  /// Where a candidate's GPUs come from. Error: the capacities given do not name its type, so it has none.
  tl::expected<placed, std::string> place(const server_spec& server, const allocation& a) const {
    const auto* acc = index_.find(a.accelerator);
    if (!acc) return placed{};
    const int type = index_.type(acc->type);
    if (type < 0 && !system_.optimizer.unlimited)
      return tl::unexpected(fmt::format("{}: no capacity given for type {}", acc->name, acc->type));
    return placed{type, index_.profile(server.model, a.accelerator)->acc_count * acc->multiplicity};
  }

  void add_single(group& g, candidate_set set) {
    const auto& server = *g.front().server;
    if (set.candidates.empty()) return refuse(g, set);
    solver_variant v{server.name, g.front().view.priority, {}};
    v.candidates.reserve(set.candidates.size());
    std::string unknown;
    for (auto& c : set.candidates) {
      const auto at = place(server, c);
      if (at) {
        const int present = c.accelerator == server.current.accelerator ? server.current.num_replicas : 0;
        v.candidates.push_back({std::move(c), at->type, at->units, present, {}});
      } else {
        unknown += (unknown.empty() ? "" : "; ") + at.error();
      }
    }
    add(std::move(g), std::move(v), unknown);
  }

  void refuse(const group& g, const candidate_set& set) {
    auto why = set.reason();
    const auto& view = g.front().view;
    if (view.server->keep_accelerator && !set.refused.empty())
      if (const auto other = cheapest_elsewhere(view))
        why += fmt::format("; the cheapest that could: {} x {} at {:.6g} cents/h", other->num_replicas, other->accelerator,
                           other->cost.cents);
    out_.infeasible.emplace(view.server->name, why);
  }

  void add_pool(group& g) {
    std::vector<variant_view> views;
    for (const auto& m : g) views.push_back(m.view);
    auto& pool = out_.pools.emplace_back(views);
    gpu_limits limits;
    if (!system_.optimizer.unlimited)
      for (const auto& c : system_.capacity) limits.push_back(c.count);
    auto mixes = pool.mixes(
        [this](const variant_view& view, const allocation& a) -> tl::expected<std::pair<int, int>, std::string> {
          const auto at = place(*view.server, a);
          if (!at) return tl::unexpected(at.error());
          return std::pair(at->type, at->units);
        },
        {}, limits);
    if (!mixes) {
      for (const auto& m : g) out_.unallocated.emplace(m.server->name, mixes.error());
      return;
    }
    for (std::size_t m = 0; m < g.size(); ++m) g[m].view = pool.members()[m];
    if (!mixes->complete) out_.open.push_back({out_.input.variants.size(), &pool});
    solver_variant v{fmt::format("pool {}", g.front().server->pool), g.front().view.priority, std::move(mixes->mixes)};
    add(std::move(g), std::move(v), {});
  }

  void add(group g, solver_variant v, const std::string& why_not) {
    if (v.candidates.empty()) {
      for (const auto& m : g) out_.unallocated.emplace(m.server->name, why_not);
      return;
    }
    out_.input.variants.push_back(std::move(v));
    out_.members.push_back(std::move(g));
  }

  const system_data& system_;
  system_index index_;
  unsigned threads_;
  std::vector<group> groups_;
  prepared_system out_;
};

class planning {
 public:
  planning(const system_data& system, const prepared_system& prepared, const solver_result& result)
      : system_(system), prepared_(prepared), result_(result) {
    out_.infeasible = prepared.infeasible;
    out_.unallocated = prepared.unallocated;
    out_.solver = result.report;
    for (const auto& a : system.accelerators) types_.emplace(a.name, &a.type);
    for (const auto& c : system.capacity) limits_.emplace(c.type, c.count);
  }

  system_solution run() {
    for (const auto& server : system_.servers) out_.loads.emplace(server.name, server.current.load);
    for (std::size_t i = 0; i < prepared_.members.size(); ++i) put(i);
    for (auto& [type, u] : usage_) out_.by_type.push_back(std::move(u));
    out_.pools = !prepared_.pools.empty();
    return std::move(out_);
  }

 private:
  void put(std::size_t i) {
    const auto& choice = result_.choices[i];
    const auto& variant = prepared_.input.variants[i];
    const auto& members = prepared_.members[i];
    if (choice.candidate < 0) {
      const auto why = denial(variant, prepared_.input.capacity, result_.used);
      for (const auto& m : members) out_.unallocated.emplace(m.server->name, why);
      return;
    }
    const auto& c = variant.candidates[static_cast<std::size_t>(choice.candidate)];
    double able = 0;
    const double more = share_of_fewer(c, choice);
    if (c.mix.empty()) {
      able = give(members.front(), c.alloc, choice.num_replicas, c.units_per_replica, more);
    } else {
      for (std::size_t p = 0; p < c.mix.size(); ++p)
        able += give(members[c.mix[p].member], c.mix[p].alloc, choice.part_replicas[p], c.mix[p].units_per_replica, more);
      for (const auto& m : members) out_.allocations.emplace(m.server->name, allocation{});
    }
    const double wanted = demanded(members.front());
    if (wanted <= able * (1 + 1e-9) || able <= 0) return;
    const auto& load = members.front().view.server->current.load;
    const auto why =
        fmt::format("{} x {} meet the targets up to {:.2f} requests/min, {:.2f} {}", choice.num_replicas, c.alloc.accelerator,
                    able, wanted, wanted > load.arrival_rate.per_min() ? "are the target" : "arrive");
    for (const auto& m : members) out_.degraded.emplace(m.server->name, why);
  }

  /// What arrives at each replica of a part of a candidate, in terms of what arrives at each of the whole.
  static double share_of_fewer(const solver_candidate& c, const solver_choice& choice) {
    if (!choice.partial || choice.num_replicas == 0) return 1;
    if (c.mix.empty()) return 1.0 * c.alloc.num_replicas / choice.num_replicas;
    double wanted = 0, given = 0;
    for (std::size_t p = 0; p < c.mix.size(); ++p) {
      const double each = c.mix[p].alloc.max_rate_per_replica.per_sec();
      wanted += c.mix[p].alloc.num_replicas * each;
      given += choice.part_replicas[p] * each;
    }
    return given > 0 ? wanted / given : 1;
  }

  /// Returns the rate that is served within the targets, per minute. `more`: times what arrives at each replica of the whole.
  double give(const member& m, allocation whole, int replicas, int units, double more) {
    if (more > 1) predict_at(m.view, whole, req_rate::per_sec(whole.rate_per_replica.per_sec() * more));
    add_percentiles(m.view, whole);
    auto a = scaled(std::move(whole), replicas);
    const double able = a.num_replicas * a.max_rate_per_replica.per_min();
    out_.total_cost.cents += a.cost.cents;
    if (const auto type = types_.find(a.accelerator); type != types_.end()) {
      auto& u = usage_[*type->second];
      u.type = *type->second;
      // GPUs of absurd systems add up beyond int; the sum then stays at its end.
      u.count = static_cast<int>(
          std::min<std::int64_t>(u.count + static_cast<std::int64_t>(a.num_replicas) * units, std::numeric_limits<int>::max()));
      u.cost.cents += a.cost.cents;
      if (const auto limit = limits_.find(u.type); limit != limits_.end()) u.limit = limit->second;
    }
    const auto [at, fresh] = out_.allocations.try_emplace(m.server->name, a);
    if (!fresh) out_.also[m.server->name].push_back(std::move(a));
    return able;
  }

  const system_data& system_;
  const prepared_system& prepared_;
  const solver_result& result_;
  std::map<std::string_view, const std::string*> types_;
  std::map<std::string_view, int> limits_;
  std::map<std::string, type_usage> usage_;
  system_solution out_;
};

}  // namespace

prepared_system analyze_system(const system_data& system, unsigned threads) { return preparation(system, threads).run(); }

system_solution plan_system(const system_data& system, const prepared_system& prepared, const solver_result& result) {
  return planning(system, prepared, result).run();
}

namespace {

/// What the solution gives the servers of a pool, of which `one` is a view.
pool_plan pool_of(const system_data& system, const system_index& index, const system_solution& solution, const server_spec& one) {
  pool_plan out;
  out.name = one.pool;
  std::vector<variant_view> views;
  for (const auto& server : system.servers) {
    if (server.pool != one.pool || server.model != one.model || server.class_name != one.class_name) continue;
    auto view = index.view(server);
    if (!view) continue;
    auto& given = out.members.emplace_back(pool_member_plan{server.name, {}, server.min_replicas});
    if (const auto it = solution.allocations.find(server.name); it != solution.allocations.end())
      given.parts.push_back(it->second);
    if (const auto it = solution.also.find(server.name); it != solution.also.end())
      given.parts.insert(given.parts.end(), it->second.begin(), it->second.end());
    views.push_back(std::move(*view));
  }
  out.load = together(views);
  if (out.load.arrival_rate.per_sec() > 0 && out.load.avg_out_tokens > 0) out.demand = demand_of(out.load, views.front().slo);
  return out;
}

}  // namespace

std::optional<tl::expected<explanation, std::string>> explain_server(const system_data& system, const system_solution& solution,
                                                                     const std::string& name) {
  const auto server = std::find_if(system.servers.begin(), system.servers.end(), [&](const auto& s) { return s.name == name; });
  if (server == system.servers.end()) return std::nullopt;
  const system_index index(system);
  const auto view = index.view(*server);
  if (!view) return tl::unexpected(view.error());
  const auto standing = [&](const accelerator& acc) {
    type_standing t{acc.type, -1, 0, {}};
    const int at = index.type(acc.type);
    if (!system.optimizer.unlimited) t.limit = at < 0 ? 0 : system.capacity[static_cast<std::size_t>(at)].count;
    for (const auto& u : solution.by_type)
      if (u.type == acc.type) t.used = u.count;
    if (const auto gain = solution.one_more.find(acc.type); gain != solution.one_more.end()) t.one_more = gain->second;
    return t;
  };
  std::optional<allocation> desired;
  if (const auto it = solution.allocations.find(name); it != solution.allocations.end()) desired = it->second;
  std::string outcome = "satisfied";
  for (const auto* reasons : {&solution.infeasible, &solution.unallocated, &solution.degraded})
    if (const auto it = reasons->find(name); it != reasons->end()) outcome = it->second;
  if (!server->pool.empty())
    return explain_member(*view, pool_of(system, index, solution, *server), desired, std::move(outcome), standing);
  return explain_variant(*view, desired, std::move(outcome), standing);
}

system_solution solve_system(const system_data& system, unsigned threads) {
  auto prepared = analyze_system(system, threads);
  const auto result = solve_with_pools(prepared.input, prepared.open);
  auto out = plan_system(system, prepared, result);
  // Where not every mix of a pool is a candidate, the plan has no bounds.
  const auto gains = prepared.open.empty() ? gains_of_one_more(prepared.input, result) : std::vector<std::optional<gpu_gain>>{};
  for (std::size_t t = 0; t < gains.size(); ++t)
    if (gains[t]) out.one_more.emplace(system.capacity[t].type, *gains[t]);
  return out;
}

}  // namespace inferno::model

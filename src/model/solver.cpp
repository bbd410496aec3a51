#include "model/solver.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "model/greedy.hpp"

namespace inferno::model {
namespace {

/// Cards of absurd systems add up beyond int; the sum then stays at its end.
void add_cards(int& sum, int replicas, int units) {
  const auto cards = static_cast<std::int64_t>(replicas) * units;
  sum = static_cast<int>(std::min<std::int64_t>(sum + cards, std::numeric_limits<int>::max()));
}

solver_result least_value(const solver_input& input) {
  solver_result out;
  out.used.assign(input.capacity.size(), 0);
  for (const auto& v : input.variants) {
    solver_choice c;
    if (!v.candidates.empty()) {
      c.candidate = 0;  // they come by value
      const auto& best = v.candidates.front();
      c.num_replicas = best.alloc.num_replicas;
      if (best.type >= 0)
        add_cards(out.used[static_cast<std::size_t>(best.type)], best.alloc.num_replicas, best.units_per_replica);
    }
    out.choices.push_back(c);
  }
  return out;
}

const service_class* class_of(const system_data& system, const std::string& name) {
  for (const auto& c : system.classes)
    if (c.name == name) return &c;
  return nullptr;
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
  for (const auto& c : v.candidates) {
    const auto type = static_cast<std::size_t>(c.type);
    out +=
        fmt::format("{} {} x {} needs {} of type {}, {} of {} left", &c == &v.candidates.front() ? "" : ";", c.alloc.num_replicas,
                    c.alloc.accelerator, static_cast<std::int64_t>(c.alloc.num_replicas) * c.units_per_replica,
                    capacity[type].type, capacity[type].count - used[type], capacity[type].count);
  }
  return out;
}

/// Looks up what a system names, once per system.
class system_index {
 public:
  explicit system_index(const system_data& system) : system_(system) {
    for (const auto& a : system.accelerators) accelerators_.emplace(a.name, &a);
    for (const auto& p : system.profiles) profiles_[p.model].push_back(&p);
    for (std::size_t i = 0; i < system.capacity.size(); ++i) types_.emplace(system.capacity[i].type, static_cast<int>(i));
    for (const auto& c : system.classes)
      for (const auto& t : c.targets) targets_.emplace(std::pair(c.name, t.model), &t);
  }
  const accelerator* find(const std::string& name) const {
    const auto it = accelerators_.find(name);
    return it == accelerators_.end() ? nullptr : it->second;
  }
  const model_profile* profile(const std::string& model, const std::string& acc) const {
    const auto it = profiles_.find(model);
    if (it == profiles_.end()) return nullptr;
    for (const auto* p : it->second)
      if (p->acc == acc) return p;
    return nullptr;
  }
  /// -1: no capacity is given for the type.
  int type(const std::string& name) const {
    const auto it = types_.find(name);
    return it == types_.end() ? -1 : it->second;
  }
  /// Error: why the server cannot be planned for.
  tl::expected<variant_view, std::string> view(const server_spec& server) const {
    const auto* cls = class_of(system_, server.class_name);
    if (!cls) return tl::unexpected(fmt::format("unknown service class \"{}\"", server.class_name));
    const auto target = targets_.find({server.class_name, server.model});
    if (target == targets_.end())
      return tl::unexpected(fmt::format("service class \"{}\" has no target for model \"{}\"", cls->name, server.model));
    variant_view v;
    v.server = &server;
    v.slo = target->second->slo;
    v.priority = cls->priority;
    const auto it = profiles_.find(server.model);
    if (it != profiles_.end())
      for (const auto* p : it->second)
        if (const auto* acc = find(p->acc)) v.options.emplace_back(acc, p);
    return v;
  }

 private:
  const system_data& system_;
  std::map<std::string, const accelerator*> accelerators_;
  std::map<std::string, std::vector<const model_profile*>> profiles_;
  std::map<std::string, int> types_;
  std::map<std::pair<std::string, std::string>, const class_target*> targets_;
};

}  // namespace

solver_result solve(const solver_input& input) { return input.optimizer.unlimited ? least_value(input) : solve_greedy(input); }

system_solution solve_system(const system_data& system) {
  const system_index index(system);
  system_solution out;
  solver_input input;
  input.optimizer = system.optimizer;
  input.capacity = system.capacity;
  std::vector<std::pair<const server_spec*, slo_targets>> planned;
  for (const auto& server : system.servers) {
    out.loads.emplace(server.name, server.current.load);
    const auto view = index.view(server);
    if (!view) {
      out.infeasible.emplace(server.name, view.error());
      continue;
    }
    auto set = make_candidates(*view);
    if (set.candidates.empty()) {
      out.infeasible.emplace(server.name, set.infeasible);
      continue;
    }
    solver_variant v;
    v.name = server.name;
    v.priority = view->priority;
    std::string unknown;
    for (auto& c : set.candidates) {
      solver_candidate candidate;
      if (const auto* acc = index.find(c.accelerator)) {
        candidate.type = index.type(acc->type);
        // With capacities given, a type that is not among them has none.
        if (candidate.type < 0 && !system.optimizer.unlimited) {
          unknown += fmt::format("{}{}: no capacity given for type {}", unknown.empty() ? "" : "; ", acc->name, acc->type);
          continue;
        }
        candidate.units_per_replica = index.profile(server.model, c.accelerator)->acc_count * acc->multiplicity;
      }
      candidate.alloc = std::move(c);
      v.candidates.push_back(std::move(candidate));
    }
    if (v.candidates.empty()) {
      out.unallocated.emplace(server.name, std::move(unknown));
      continue;
    }
    input.variants.push_back(std::move(v));
    planned.emplace_back(&server, view->slo);
  }
  const auto result = solve(input);
  std::map<std::string, type_usage> usage;
  for (std::size_t i = 0; i < planned.size(); ++i) {
    const auto& choice = result.choices[i];
    const auto& [server, slo] = planned[i];
    const auto& name = server->name;
    if (choice.candidate < 0) {
      out.unallocated.emplace(name, denial(input.variants[i], input.capacity, result.used));
      continue;
    }
    const auto& candidate = input.variants[i].candidates[static_cast<std::size_t>(choice.candidate)];
    auto a = scaled(candidate.alloc, choice.num_replicas);
    const double able = a.num_replicas * a.max_rate_per_replica.per_min();
    const auto& load = server->current.load;
    const double wanted = load.arrival_rate.per_sec() > 0 && load.avg_out_tokens > 0 ? demand_of(load, slo).per_min() : 0;
    if (wanted > able * (1 + 1e-9) && able > 0)
      out.degraded.emplace(
          name, fmt::format("{} x {} meet the targets up to {:.2f} requests/min, {:.2f} {}", a.num_replicas, a.accelerator, able,
                            wanted, wanted > load.arrival_rate.per_min() ? "are the target" : "arrive"));
    out.total_cost.cents += a.cost.cents;
    if (const auto* acc = index.find(a.accelerator)) {
      auto& u = usage[acc->type];
      u.type = acc->type;
      add_cards(u.count, a.num_replicas, candidate.units_per_replica);
      u.cost.cents += a.cost.cents;
      const int type = index.type(acc->type);
      if (type >= 0) u.limit = system.capacity[static_cast<std::size_t>(type)].count;
    }
    out.allocations.emplace(name, std::move(a));
  }
  for (auto& [type, u] : usage) out.by_type.push_back(std::move(u));
  return out;
}

}  // namespace inferno::model

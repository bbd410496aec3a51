// The planner's part in pools: variants that serve one demand.
#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "actors/planning.hpp"
#include "actors/planning_parts.hpp"
#include "actors/pool_change.hpp"

namespace inferno::actors {
namespace {

/// Large models load for minutes. Deployments are given as long by default (progressDeadlineSeconds).
constexpr double start_patience_s = 600;

}  // namespace

void planner::leave_pool(const variant_key& key, slot& s) {
  if (s.pool.empty()) return;
  auto& p = pools_[s.pool];
  p.members.erase(key);
  p.changed = true;
  s.pool.clear();
}

bool planner::planned_together(const slot& s) const {
  const auto it = s.pool.empty() ? pools_.end() : pools_.find(s.pool);
  return it != pools_.end() && it->second.demand;
}

/// Members that do not become Ready: the others are to carry what they were to.
void planner::give_up(pool& p) {
  for (const auto& key : p.members) p.at_s = std::max(p.at_s, slots_.at(key).curve->sampled_s);
  const auto members = p.members;
  for (const auto& key : members) {
    auto& s = slots_.at(key);
    if (!s.curve->starting) continue;
    if (!s.starting_since_s) s.starting_since_s = p.at_s;
    if (p.at_s - *s.starting_since_s < start_patience_s) continue;
    s.given_up = true;
    leave_pool(key, s);
  }
}

/// What arrives at the members together: the largest sum of the recent past, so that traffic which moves from one to another is
/// counted once. Requests at the gateway are the same ones for all that are to wake for them.
model::server_load planner::load_of(pool& p) const {
  std::vector<model::server_spec> servers;
  std::optional<model::server_spec> waking;
  double horizon_s = 0;
  for (const auto& key : p.order) {
    const auto& c = *slots_.at(key).curve;
    auto server = c.basis->server;
    server.current.load = c.moment;
    p.at_s = std::max(p.at_s, c.sampled_s);
    horizon_s = std::max(horizon_s, c.horizon_s);
    if (!c.asleep) {
      servers.push_back(std::move(server));
    } else if (!waking || c.moment.arrival_rate.per_sec() > waking->current.load.arrival_rate.per_sec()) {
      waking = std::move(server);
    }
  }
  if (waking) servers.push_back(std::move(*waking));
  std::vector<model::variant_view> views;
  for (const auto& server : servers) {
    views.emplace_back();
    views.back().server = &server;
  }
  auto now = model::together(views);
  const double work = now.arrival_rate.per_sec() * std::max(now.avg_out_tokens, 1e-9);
  return p.recent.push(p.at_s, work, std::move(now), horizon_s);
}

/// GPUs that pools may take at most, by type; empty: they do not limit.
model::gpu_limits planner::gpus() {
  if (!capacity_ || !capacity_->known) return {};
  for (const auto& [device, count] : usable_) type_of(device);
  model::gpu_limits out(input_.capacity.size());
  for (const auto& [device, count] : usable_) out[static_cast<std::size_t>(type_of(device))] = count;
  return out;
}

/// One line for the members together, their own ones emptied.
void planner::share(pool& p, const model::server_load& load) {
  std::vector<model::variant_view> views;
  std::deque<model::server_spec> servers;
  model::mix_rules rules{0, true};
  for (const auto& key : p.order) {
    const auto& c = *slots_.at(key).curve;
    auto& server = servers.emplace_back(c.basis->server);
    server.min_replicas = server.max_replicas > 0 ? std::min(c.least_in_pool, server.max_replicas) : c.least_in_pool;
    if (c.starting) {
      server.min_replicas = server.max_replicas = c.current.num_replicas;
      server.keep_accelerator = true;
    }
    views.push_back(c.basis->view);
    views.back().server = &server;
    if (c.wakes_pool) rules.least_total = 1;
  }
  p.demand = std::make_unique<model::model_pool>(views, load);
  const auto limits = gpus();
  auto mixes = p.demand->mixes(
      [&](const model::variant_view& view, const model::allocation& a) -> tl::expected<std::pair<int, int>, std::string> {
        for (const auto& [acc, profile] : view.options)
          if (acc->name == a.accelerator) return std::pair(type_of(acc->type), profile->acc_count * acc->multiplicity);
        return std::pair(-1, 1);
      },
      rules, limits);
  // Where there is nothing to mix, each tries by itself.
  if (!mixes) {
    p.demand.reset();
    return;
  }
  const auto& first = *slots_.at(p.order.front()).curve;
  if (!p.line) p.line = add_line(fmt::format("{}/pool {}", first.key.ns, first.pool));
  auto& line = line_of(p.acts, *p.line);
  line.priority = rank_of(first);
  line.candidates = std::move(mixes->mixes);
  p.complete = mixes->complete;
  p.parts.clear();
  auto told = std::make_shared<pool_demand>(pool_demand{first.pool, load, p.demand->demand(), {}});
  for (std::size_t m = 0; m < p.order.size(); ++m) {
    const auto* here = p.demand->option(m, slots_.at(p.order[m]).curve->current.accelerator);
    told->members.push_back(
        {p.order[m], here ? here->per_replica.max_rate_per_replica : model::req_rate{}, servers[m].min_replicas});
  }
  p.told = std::move(told);
  for (const auto& key : p.order) line_of(p.acts, slots_.at(key).line).candidates.clear();
}

void planner::refresh_pools() {
  for (auto it = pools_.begin(); it != pools_.end();) {
    auto& p = it->second;
    if (p.changed) {
      give_up(p);
      for (const auto& key : p.members) {
        auto& s = slots_.at(key);
        s.fresh = true;
        if (p.demand) line_of(p.acts, s.line).candidates = candidates_of(*s.curve);
      }
      p.demand.reset();
      p.order.assign(p.members.begin(), p.members.end());
      const auto load = load_of(p);
      if (p.members.size() > 1) share(p, load);
      if (!p.demand && p.line) drop_line(*std::exchange(p.line, std::nullopt));
      p.changed = false;
    }
    it = p.members.empty() ? pools_.erase(it) : std::next(it);
  }
}

/// What each member gets of the mix chosen, before it is known what it has to wait for.
std::vector<planner::part> planner::parts_of(const pool& p, const model::solver_choice& choice) const {
  std::vector<part> out(p.order.size());
  for (std::size_t m = 0; m < out.size(); ++m) out[m].accelerator = slots_.at(p.order[m]).curve->current.accelerator;
  if (choice.candidate < 0) {
    // Denied: what minReplicas keep.
    for (std::size_t m = 0; m < out.size(); ++m) {
      const auto& c = *slots_.at(p.order[m]).curve;
      out[m].planned = std::max(1, c.least_in_pool);
      out[m].granted = c.least_in_pool;
    }
    return out;
  }
  const auto& mix = (p.acts ? input_ : advice_).variants[*p.line].candidates[static_cast<std::size_t>(choice.candidate)].mix;
  for (std::size_t i = 0; i < mix.size(); ++i) {
    auto& one = out[mix[i].member];
    one.mix = &mix[i];
    one.accelerator = mix[i].alloc.accelerator;
    one.planned = mix[i].alloc.num_replicas;
    one.granted = choice.part_replicas[i];
  }
  return out;
}

/// From the mixes chosen to what is asked for now: members shrink as far as others have become Ready.
void planner::settle(const model::solver_result& result) {
  std::vector<std::pair<int, pool*>> by_rank;
  for (auto& [name, p] : pools_)
    if (p.demand) by_rank.emplace_back((p.acts ? input_ : advice_).variants[*p.line].priority, &p);
  std::stable_sort(by_rank.begin(), by_rank.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  model::gpu_limits free;
  for (std::size_t t = 0; t < result.used.size() && !input_.optimizer.unlimited; ++t)
    free.push_back(input_.capacity[t].count - result.used[t]);
  for (auto& [rank, at] : by_rank) {
    auto& p = *at;
    auto parts = parts_of(p, result.choices[*p.line]);
    for (auto& one : parts) one.now = one.granted;
    if (p.acts) {
      pool_aim aim{p.demand->demand().per_sec(), p.demand->rules().least_total, 0};
      std::vector<pool_step> steps;
      auto room = free;
      for (std::size_t m = 0; m < parts.size(); ++m) {
        const auto& c = *slots_.at(p.order[m]).curve;
        const auto* option = p.demand->option(m, c.current.accelerator);
        pool_step step;
        aim.in_flight += c.basis->server.in_flight;
        step.has = c.current.num_replicas;
        step.ready = std::min(c.ready.value_or(step.has), step.has);
        step.wanted = parts[m].granted;
        step.moves = step.wanted > 0 && !c.current.accelerator.empty() && parts[m].accelerator != c.current.accelerator;
        if (option) {
          step.rate = option->per_replica.max_rate_per_replica.per_sec();
          step.cost = option->per_replica.cost.cents;
          step.type = option->type;
          step.units = option->units_per_replica;
          step.batch = option->per_replica.max_batch;
        }
        // Its own are counted as used; of a move, those that stay behind are not.
        if (!step.moves && parts[m].mix && step.type >= 0 && static_cast<std::size_t>(step.type) < room.size())
          room[static_cast<std::size_t>(step.type)] += step.wanted * step.units;
        steps.push_back(step);
      }
      const auto now = make_before_break(steps, aim, room);
      for (std::size_t m = 0; m < parts.size(); ++m) {
        parts[m].now = now[m];
        const auto t = static_cast<std::size_t>(steps[m].type);
        if (steps[m].type >= 0 && t < free.size()) free[t] -= std::max(0, now[m] - parts[m].granted) * steps[m].units;
      }
    }
    if (parts != p.parts)
      for (const auto& key : p.order) slots_.at(key).fresh = true;
    p.parts = std::move(parts);
  }
}

/// The part of a member in what its pool got.
decision planner::decide_part(const slot& s, const pool& p) const {
  const auto m = static_cast<std::size_t>(std::lower_bound(p.order.begin(), p.order.end(), s.curve->key) - p.order.begin());
  const auto& one = p.parts[m];
  decision d;
  d.curve = s.curve;
  d.desired.accelerator = one.accelerator;
  if (one.mix) {
    auto whole = one.mix->alloc;
    d.needed = replicas_needed(whole);
    model::add_percentiles(p.demand->members()[m], whole);
    d.desired = with_replicas(std::move(whole), one.now);
  } else if (const auto* option = p.demand->option(m, one.accelerator)) {
    d.desired = with_replicas(option->per_replica, one.now);
  } else {
    d.desired.num_replicas = one.now;
  }
  // Zero replicas need no accelerator; the current name is kept so that labels stay stable.
  if (one.now == 0) d.desired.accelerator = s.curve->current.accelerator;
  d.reason = "Optimized";
  d.message = fmt::format("shares {:.2f} requests/min with {} other variants of its model and class",
                          p.demand->members().front().server->current.load.arrival_rate.per_min(), p.order.size() - 1);
  double able = 0;
  bool whole = true;
  for (const auto& each : p.parts) {
    whole = whole && each.granted == each.planned;
    if (each.mix) able += each.planned * each.mix->alloc.max_rate_per_replica.per_min();
  }
  if (one.granted < one.planned) {
    d.reason = "CapacityLimited";
    d.message = fmt::format("wanted {} x {}, {} granted: not enough GPUs", one.planned, one.accelerator, one.granted);
  } else if (whole && able < p.demand->demand().per_min() * (1 - 1e-6)) {
    d.reason = "MaxReplicasReached";
    d.message = fmt::format("the pool meets the targets up to {:.2f} requests/min, {:.2f} are to be served: spec.maxReplicas",
                            able, p.demand->demand().per_min());
  }
  if (one.now > one.granted)
    d.message += fmt::format("; {} more stay until those that replace them are ready", one.now - one.granted);
  d.message = with_remark(*s.curve, d.message);
  if (one.now < one.granted) d.message += fmt::format("; {} more follow when GPUs are given back", one.granted - one.now);
  return d;
}

}  // namespace inferno::actors

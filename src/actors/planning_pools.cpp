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
/// For so long no more replicas are counted on than those that became Ready.
constexpr double bound_s = 1800;
/// Other replicas are started only where they would have carried what came in so long: chance makes another mix the cheapest
/// every few minutes, and each change pays for the old and the new ones until these are Ready.
constexpr double mix_horizon_s = 600;

model::server_load together_of(const std::vector<model::server_spec>& servers) {
  std::vector<model::variant_view> views;
  for (const auto& server : servers) {
    views.emplace_back();
    views.back().server = &server;
  }
  return model::together(views);
}

}  // namespace

/// Servers of one class and model share a pool, and only within a namespace. Those that do not act share one of their own;
/// without a target nothing can be carried out, and what is to be done about it is the others'.
std::string pool_name(const capacity_curve& c) {
  if (c.pool.empty()) return {};
  const bool acts = carried_out(c) || (c.orphaned && c.mode != actuation_mode::dry_run);
  return fmt::format("{}|{}|{}|{}{}", c.key.ns, c.pool, c.class_name, c.model, acts ? "" : "|dry");
}

/// As a member, or with what it served and cannot serve any more. Replicas that are starting count: they have been decided on,
/// and others would start no sooner.
void planner::join_pool(const variant_key& key, slot& s) {
  const auto& c = *s.curve;
  auto name = pool_name(c);
  const bool member = !s.given_up && (!held(c) || c.starting);
  const auto joined = member ? name : std::string();
  const auto orphaned_in = !member && c.orphaned ? std::move(name) : std::string();
  if (s.pool != joined) {
    leave_pool(key, s);
    s.pool = joined;
    if (!joined.empty()) {
      pools_[joined].members.insert(key);
      pools_[joined].acts = s.acts;
    }
  }
  if (s.orphaned_in != orphaned_in) {
    leave_orphans(key, s);
    s.orphaned_in = orphaned_in;
    if (!orphaned_in.empty()) pools_[orphaned_in].orphaned.insert(key);
  }
  for (const auto& each : {s.pool, s.orphaned_in})
    if (!each.empty()) pools_[each].changed = true;
}

void planner::leave_orphans(const variant_key& key, slot& s) {
  if (s.orphaned_in.empty()) return;
  auto& p = pools_[s.orphaned_in];
  p.orphaned.erase(key);
  p.changed = true;
  s.orphaned_in.clear();
}

/// What arrived where nobody serves any more. As soon as a member serves, what arrives at it is known.
std::optional<model::server_load> planner::orphaned(const pool& p) const {
  if (p.orphaned.empty()) return std::nullopt;
  for (const auto& key : p.members) {
    const auto& c = *slots_.at(key).curve;
    if (!held(c) && c.metrics.status && c.ready.value_or(c.current.num_replicas) > 0) return std::nullopt;
  }
  std::vector<model::server_spec> servers;
  for (const auto& key : p.orphaned) servers.emplace_back().current.load = *slots_.at(key).curve->orphaned;
  return together_of(servers);
}

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

/// Replicas of a member that its pool counts on; 0 = as many as it is given.
int planner::counted_on(const slot& s) {
  const auto& c = *s.curve;
  int most = s.bound;
  if (c.mode == actuation_mode::metric && !c.autoscaler) {
    const int there = std::max(c.current.num_replicas, 1);
    most = most > 0 ? std::min(most, there) : there;
  }
  return most > 0 ? most + s.beyond : 0;
}

/// For a while the pool counts on no more than `replicas` of the member.
void planner::count_on(slot& s, int replicas, double now_s) {
  const int most = std::max(replicas, 1);
  if (s.bound == most) return;
  s.bound = most;
  s.bound_at = running_of(*s.curve);
  s.bound_until_s = now_s + bound_s;
  pools_.at(s.pool).changed = true;
}

/// Where the others of a pool do not carry its demand, more is asked of a member than is counted on: it may come after all. The
/// others keep what they have until it is Ready.
bool planner::ask_beyond(const model::solver_result& result) {
  bool any = false;
  for (auto& [name, p] : pools_) {
    if (!p.demand || !p.acts) continue;
    const auto parts = parts_of(p, result.choices[*p.line]);
    double missing = p.demand->demand().per_sec() * (1 - 1e-6);
    slot* best = nullptr;
    double best_rate = 0, best_price = 0;
    for (std::size_t m = 0; m < parts.size(); ++m) {
      if (const auto* there = p.demand->option(m, parts[m].accelerator))
        missing -= parts[m].granted * there->per_replica.max_rate_per_replica.per_sec();
      auto& s = slots_.at(p.order[m]);
      const auto* here = p.demand->option(m, s.curve->current.accelerator);
      const int most = counted_on(s);
      if (!here || most == 0 || parts[m].granted < most) continue;
      const double rate = here->per_replica.max_rate_per_replica.per_sec();
      const double price = here->per_replica.cost.cents / rate;
      if (rate <= 0 || (best && price >= best_price)) continue;
      best = &s;
      best_rate = rate;
      best_price = price;
    }
    if (missing <= 0 || !best) continue;
    best->beyond += static_cast<int>(std::min(std::ceil(missing / best_rate), 1e6));
    p.extended = any = true;
  }
  return any;
}

/// Replicas of a member that do not become Ready, because no node takes them or because they crash, leave their part to the other
/// members. Some time later they are tried again.
void planner::bound_by_ready(slot& s, double now_s) {
  const auto& c = *s.curve;
  const int ready = running_of(c);
  if (s.bound > 0 && (now_s >= s.bound_until_s || ready > s.bound_at)) {
    s.bound = 0;
    pools_.at(s.pool).changed = true;
  }
  if (ready >= c.current.num_replicas || ready > s.ready) s.short_since_s.reset();
  if (!s.short_since_s) s.ready = ready;
  if (ready >= c.current.num_replicas || ready == 0) return;
  if (!s.short_since_s) s.short_since_s = now_s;
  if (now_s - *s.short_since_s >= start_patience_s) count_on(s, ready, now_s);
}

/// Members that do not become Ready: the others are to carry what they were to.
void planner::give_up(double now_s) {
  for (auto& [key, s] : slots_) {
    if (s.pool.empty()) continue;
    bound_by_ready(s, now_s);
    if (!s.curve->starting) continue;
    if (!s.starting_since_s) s.starting_since_s = now_s;
    if (now_s - *s.starting_since_s < start_patience_s) continue;
    s.given_up = true;
    join_pool(key, s);
  }
}

/// What arrives at the members together: the largest sum of the recent past, so that traffic which moves from one to another is
/// counted once. Requests at the gateway are the same ones for all that are to wake for them, and with what arrives at a member
/// that serves they have been counted.
planner::pool_load planner::load_of(pool& p, const std::optional<model::server_load>& orphaned) const {
  std::vector<model::server_spec> servers;
  std::optional<model::server_spec> waking;
  bool measured = false, insists = false;
  double horizon_s = 0;
  for (const auto& key : p.order) {
    const auto& c = *slots_.at(key).curve;
    auto server = c.basis->server;
    server.current.load = c.moment;
    p.at_s = std::max(p.at_s, c.sampled_s);
    horizon_s = std::max(horizon_s, c.horizon_s);
    insists = insists || c.insists;
    if (!c.asleep) {
      measured = measured || (!held(c) && c.metrics.status && c.current.num_replicas > 0);
      servers.push_back(std::move(server));
    } else if (!waking || c.moment.arrival_rate.per_sec() > waking->current.load.arrival_rate.per_sec()) {
      waking = std::move(server);
    }
  }
  if (waking && (!measured || insists)) servers.push_back(std::move(*waking));
  if (orphaned) servers.emplace_back().current.load = *orphaned;
  auto now = together_of(servers);
  const double work = now.arrival_rate.per_sec() * std::max(now.avg_out_tokens, 1e-9);
  const auto& longer = p.longer.push(p.at_s, work, now, std::max(horizon_s, mix_horizon_s));
  return {p.recent.push(p.at_s, work, std::move(now), horizon_s), longer};
}

/// GPUs that pools may take at most, by type; empty: they do not limit.
model::gpu_limits planner::gpus() {
  if (!capacity_ || !capacity_->known) return {};
  for (const auto& [device, count] : usable_) type_of(device);
  model::gpu_limits out(input_.capacity.size());
  for (const auto& [device, count] : usable_) out[static_cast<std::size_t>(type_of(device))] = count;
  return out;
}

tl::expected<model::mix_set, std::string> planner::mixes_of(model::model_pool& of, const model::mix_rules& rules) {
  const auto place = [&](const model::variant_view& view,
                         const model::allocation& a) -> tl::expected<std::pair<int, int>, std::string> {
    for (const auto& [acc, profile] : view.options)
      if (acc->name == a.accelerator) return std::pair(type_of(acc->type), profile->acc_count * acc->multiplicity);
    return std::pair(-1, 1);
  };
  return of.mixes(place, rules, gpus());
}

/// Mixes of the replicas that the members have; nullopt: these are not enough.
std::optional<model::mix_set> planner::mixes_there(const pool& p, const model::server_load& load,
                                                   const std::vector<model::variant_view>& views, const model::mix_rules& rules) {
  std::vector<std::size_t> running;
  std::deque<model::server_spec> servers;
  std::vector<model::variant_view> there;
  for (std::size_t m = 0; m < views.size(); ++m) {
    const auto& c = *slots_.at(p.order[m]).curve;
    if (views[m].server->min_replicas > c.current.num_replicas) return std::nullopt;
    if (c.current.num_replicas == 0) continue;
    auto& server = servers.emplace_back(*views[m].server);
    server.keep_accelerator = true;
    const int most = views[m].server->max_replicas;
    server.max_replicas = most > 0 ? std::min(most, c.current.num_replicas) : c.current.num_replicas;
    running.push_back(m);
    there.push_back(views[m]);
    there.back().server = &server;
  }
  if (there.empty()) return std::nullopt;
  model::model_pool present(there, load);
  auto mixes = mixes_of(present, rules);
  if (!mixes || !mixes->covers) return std::nullopt;
  for (auto& mix : mixes->mixes)
    for (auto& each : mix.mix) each.member = running[each.member];
  return std::move(*mixes);
}

/// One line for the members together, their own ones emptied.
void planner::share(pool& p, const pool_load& load) {
  std::vector<model::variant_view> views;
  std::deque<model::server_spec> servers;
  model::mix_rules rules{0, true};
  for (const auto& key : p.order) {
    const auto& c = *slots_.at(key).curve;
    auto& server = servers.emplace_back(c.basis->server);
    if (const int most = counted_on(slots_.at(key)); most > 0)
      server.max_replicas = server.max_replicas > 0 ? std::min(server.max_replicas, most) : most;
    if (c.candidates.size() == 1) {
      const auto& only = c.candidates.front();
      const int fits = fits_on_nodes(c, only.alloc.accelerator, c.device_of.front(), only.units_per_replica);
      if (fits < only.alloc.num_replicas) {
        const int most = server.max_replicas;
        server.max_replicas = std::max(1, most > 0 ? std::min(most, fits) : fits);
      }
    }
    server.min_replicas = server.max_replicas > 0 ? std::min(c.least_in_pool, server.max_replicas) : c.least_in_pool;
    if (c.starting) {
      server.min_replicas = server.max_replicas = c.current.num_replicas;
      server.keep_accelerator = true;
    }
    views.push_back(c.basis->view);
    views.back().server = &server;
    if (c.wakes_pool) rules.least_total = 1;
  }
  p.demand = std::make_unique<model::model_pool>(views, load.recent);
  auto mixes = mixes_of(*p.demand, rules);
  // Where there is nothing to mix, each tries by itself.
  if (!mixes) {
    p.demand.reset();
    return;
  }
  auto lasting = std::make_unique<model::model_pool>(views, load.longer);
  if (lasting->demand().per_sec() > p.demand->demand().per_sec())
    if (auto there = mixes_there(p, load.recent, views, rules)) {
      // What is there carries the load: others are started only where they carry the load of the last minutes too.
      p.lasting = std::move(lasting);
      if (auto others = mixes_of(*p.lasting, rules); others && others->covers) {
        there->complete = there->complete && others->complete;
        std::move(others->mixes.begin(), others->mixes.end(), std::back_inserter(there->mixes));
      }
      std::stable_sort(there->mixes.begin(), there->mixes.end(),
                       [](const auto& a, const auto& b) { return a.alloc.value < b.alloc.value; });
      *mixes = std::move(*there);
    }
  const auto& first = *slots_.at(p.order.front()).curve;
  if (!p.line) p.line = add_line(fmt::format("{}/pool {}", first.key.ns, first.pool));
  auto& line = line_of(p.acts, *p.line);
  line.priority = rank_of(first);
  line.candidates = std::move(mixes->mixes);
  p.complete = mixes->complete;
  p.parts.clear();
  auto told = std::make_shared<pool_demand>(
      pool_demand{first.pool, load.recent, p.demand->demand(), {}, p.lasting ? p.lasting->demand() : model::req_rate{}});
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
    if (p.changed || p.extended) {
      for (const auto& key : p.members) {
        auto& s = slots_.at(key);
        s.fresh = true;
        if (p.changed) s.beyond = 0;
        if (p.demand) line_of(p.acts, s.line).candidates = candidates_of(s);
      }
      p.demand.reset();
      p.lasting.reset();
      p.order.assign(p.members.begin(), p.members.end());
      const auto orphaned = this->orphaned(p);
      const auto load = load_of(p, orphaned);
      if (p.members.size() > 1 || (orphaned && !p.members.empty())) share(p, load);
      if (!p.demand && p.line) drop_line(*std::exchange(p.line, std::nullopt));
      p.changed = p.extended = false;
    }
    it = p.members.empty() && p.orphaned.empty() ? pools_.erase(it) : std::next(it);
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
        // What has not been heard of since it was started may serve nothing, Ready or not.
        step.ready = c.starting ? 0 : running_of(c);
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
    // Each replica serves in proportion to its highest rate, of what the pool was granted.
    double planned = 0, granted = 0;
    for (const auto& each : p.parts) {
      if (!each.mix) continue;
      planned += each.planned * each.mix->alloc.max_rate_per_replica.per_sec();
      granted += each.granted * each.mix->alloc.max_rate_per_replica.per_sec();
    }
    if (granted > 0 && granted < planned)
      model::predict_at(p.demand->members()[m], whole,
                        model::req_rate::per_sec(whole.rate_per_replica.per_sec() * planned / granted));
    model::add_percentiles(p.demand->members()[m], whole);
    d.desired = with_replicas(std::move(whole), one.now);
  } else if (const auto* option = p.demand->option(m, one.accelerator)) {
    d.desired = with_replicas(option->per_replica, one.now);
  } else {
    d.desired.num_replicas = one.now;
  }
  // Zero replicas need no accelerator; the current name is kept so that labels stay stable. Nor do they serve anything.
  if (one.now == 0) {
    model::allocation none;
    none.accelerator = s.curve->current.accelerator;
    none.max_batch = d.desired.max_batch;
    d.desired = std::move(none);
  }
  d.reason = "Optimized";
  const double per_min = p.demand->members().front().server->current.load.arrival_rate.per_min();
  if (p.order.size() > 1)
    d.message =
        fmt::format("shares {:.2f} requests/min with {} other variants of its model and class", per_min, p.order.size() - 1);
  if (orphaned(p)) {
    std::string from;
    for (const auto& key : p.orphaned) from += (from.empty() ? "" : ", ") + key.name;
    d.message +=
        fmt::format("{}serves what arrived at {}, of which nothing serves any more", d.message.empty() ? "" : "; ", from);
  }
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
  if (s.bound > 0)
    d.message += fmt::format("; no more than {} replicas are counted on here, as others did not become ready in time", s.bound);
  if (one.now > one.granted)
    d.message += fmt::format("; {} more stay until those that replace them are ready", one.now - one.granted);
  d.message = with_remark(*s.curve, d.message);
  if (one.now < one.granted) d.message += fmt::format("; {} more follow when GPUs are given back", one.granted - one.now);
  return d;
}

}  // namespace inferno::actors

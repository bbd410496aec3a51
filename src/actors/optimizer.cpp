#include "actors/optimizer.hpp"

#include <fmt/format.h>

#include <caf/actor_clock.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/death.hpp"

namespace inferno::actors {
namespace {

enum : int { interval_tick = 0, urgent_tick = 1 << 30 };

bool same_allocation(const decision& a, const decision& b) {
  return a.desired.accelerator == b.desired.accelerator && a.desired.num_replicas == b.desired.num_replicas &&
         a.desired.max_batch == b.desired.max_batch && a.hold == b.hold;
}

/// A variant that just appeared waits for its pods and metrics: nothing to wake anyone for.
bool waits_for_pods(const decision& d) { return d.reason == "NoReadyPods" || d.reason == "MetricsPending"; }

/// Whether an actuator would do anything else with `b` than it did with `a`.
bool same_decision(const decision& a, const decision& b) {
  return same_allocation(a, b) && a.reason == b.reason && a.message == b.message && a.curve == b.curve;
}

}  // namespace

void optimizer_state::arm_interval() {
  // Ticks of an earlier interval are told apart by their number.
  timer_epoch = (timer_epoch + 1) % urgent_tick;
  self->delayed_send(self, settings.opt_interval, tick{static_cast<int>(timer_epoch)});
}

void optimizer_state::urgent(std::string cause) {
  if (!synced || stopping || !pending_cause.empty()) return;
  pending_cause = std::move(cause);
  const auto now = self->clock().now();
  const auto gap_left = std::chrono::duration_cast<std::chrono::milliseconds>(last_run + config.urgent_gap - now);
  self->delayed_send(self, std::max(config.urgent_delay, cycle == 0 ? config.urgent_delay : gap_left), tick{urgent_tick});
}

void optimizer_state::tell(const plan_snapshot& plan) {
  for (const auto& d : plan.changed) {
    const auto& c = *d->curve;
    const auto& key = c.key;
    const auto id = fmt::format("{}/{}", key.ns, key.name);
    auto& known = logged[key];
    const auto before = std::exchange(known, d);
    const auto* last = before.get();
    // A solution that changes nothing is told for those who look for it.
    const auto level = last && same_allocation(*last, *d) ? spdlog::level::debug : spdlog::level::info;
    if (!d->hold)
      config.logger.at(level, "Optimization solution",
                       {{"variant", id},
                        {"class", c.class_name},
                        {"model", c.model},
                        {"rate", c.current.load.arrival_rate.per_min()},
                        {"inTokens", c.current.load.avg_in_tokens},
                        {"outTokens", c.current.load.avg_out_tokens},
                        {"accelerator", d->desired.accelerator},
                        {"numReplicas", d->desired.num_replicas},
                        {"maxBatch", d->desired.max_batch},
                        {"cost", d->desired.cost.cents},
                        {"value", d->desired.value},
                        {"itl", d->desired.itl_ms},
                        {"wait", d->desired.wait_ms},
                        {"ttft", d->desired.ttft_ms},
                        {"utilization", d->desired.busy},
                        {"sloItl", c.slo.itl_ms},
                        {"sloTtft", c.slo.ttft_ms},
                        {"sloTtftPercentile", model::percentile_name(c.slo.ttft_percentile)},
                        {"ttftAtPercentile", d->desired.ttft_objective_ms},
                        {"sloTtw", c.slo.wait_p95_ms},
                        {"sloTps", c.slo.tps}});
    // A hold is said when it begins and when its reason changes, not each cycle.
    const bool news = !last || last->reason != d->reason || last->message != d->message;
    if (news && d->reason != "Optimized")
      config.logger.at(waits_for_pods(*d) ? spdlog::level::info : spdlog::level::warn,
                       d->hold ? "Holding present allocation" : "Not served in full",
                       {{"variant", id}, {"reason", d->reason}, {"message", d->message}});
    if (news && d->reason == "Optimized" && last && last->reason != "Optimized")
      config.logger.info("Optimizing again", {{"variant", id}, {"was", last->reason}});
  }
  for (const auto& t : plan.by_type)
    config.logger.debug("Allocation by type", {{"name", t.type}, {"count", t.count}, {"limit", t.limit}, {"cost", t.cost.cents}});
  config.logger.debug("Optimization completed", {{"cycle", plan.cycle},
                                                 {"trigger", plan.trigger},
                                                 {"variants", plan.decisions.size()},
                                                 {"totalCost", plan.total_cost.cents},
                                                 {"seconds", plan.solve_seconds}});
}

void optimizer_state::run(std::string cause) {
  if (!synced || stopping) return;
  const auto began = self->clock().now();
  last_run = began;
  const auto snapshot = plans.plan(++cycle, std::move(cause), std::chrono::duration<double>(began.time_since_epoch()).count());
  snapshot->solve_seconds = std::chrono::duration<double>(self->clock().now() - began).count();
  tell(*snapshot);
  std::size_t dispatched = 0;
  const auto dispatch = [&](const std::shared_ptr<const decision>& d) {
    const auto& key = d->curve->key;
    const auto it = actuators.find(key);
    // A curve that an analyzer has not renewed since the term began may be of a load that nobody saw in full.
    if (it == actuators.end() || !acts() || d->curve->observed_since < observed_since) return;
    auto& last = sent[key];
    if (last && same_decision(*last, *d)) return;
    last = d;
    self->send(it->second, decision_made{d, term});
    ++dispatched;
  };
  // After a change of leader, or for an actuator that started anew, what is not news is dispatched too.
  if (std::exchange(resend, false)) {
    for (const auto& d : snapshot->decisions) dispatch(d);
  } else {
    for (const auto& d : snapshot->changed) dispatch(d);
  }
  self->send(config.board, plan_made{snapshot});
  config.logger.debug("Emitted metrics", {{"variants", snapshot->decisions.size()}});
  config.logger.info("Reconciliation completed", {{"cycle", cycle},
                                                  {"trigger", snapshot->trigger},
                                                  {"variants_processed", snapshot->decisions.size()},
                                                  {"decisions", dispatched}});
}

/// A new leader sends every decision: the one before may have died in the middle.
void optimizer_state::begin_acting() {
  if (!acts()) return;
  sent.clear();
  resend = true;
  urgent("leadership");
}

optimizer_actor::behavior_type optimizer(optimizer_actor::stateful_pointer<optimizer_state> self, optimizer_config config) {
  keep_reason_of_death(self);
  auto& s = self->state;
  s.self = self;
  s.term = config.term;
  s.config = std::move(config);
  return {
      [self](const variant_added& m) {
        self->state.actuators[m.key] = m.actuator;
        self->state.sent.erase(m.key);
        self->state.resend = true;
      },
      [self](const variant_gone& m) {
        self->state.actuators.erase(m.key);
        self->state.sent.erase(m.key);
        self->state.logged.erase(m.key);
        self->state.stale.erase(m.key);
        self->state.plans.remove(m.key);
      },
      [self](const curve_changed& m) {
        // A variant's last curve may come after the word that the variant is gone.
        if (!self->state.actuators.count(m.curve->key)) return;
        self->state.stale.erase(m.curve->key);
        self->state.plans.set_curve(m.curve);
        if (m.curve->urgent) self->state.urgent(fmt::format("variant {}/{}", m.curve->key.ns, m.curve->key.name));
      },
      [self](const curve_stale& m) { self->state.stale.insert(m.key); },
      [self](const capacity_changed& m) {
        self->state.plans.set_capacity(m.capacity);
        self->state.urgent("capacity");
      },
      [self](const settings_changed& m) {
        self->state.settings = m.settings;
        self->state.plans.set_saturation(m.settings.saturation);
        self->state.plans.set_solver(m.settings.solver);
        if (self->state.synced) self->state.arm_interval();
      },
      [self](const run_now& m) { self->state.urgent(m.cause); },
      [self](const inventory_synced& m) {
        auto& state = self->state;
        if (m.term != 0) {
          state.synced_term = m.term;
          state.observed_since = m.observed_since;
        }
        if (!std::exchange(state.synced, true)) {
          state.arm_interval();
          state.urgent("start");
        }
        if (m.term != 0) state.begin_acting();
      },
      [self](const leadership& m) {
        self->state.term = m.leading ? m.term : 0;
        self->state.begin_acting();
      },
      [self](stop_request) { self->state.stopping = true; },
      [self](const tick& t) {
        auto& state = self->state;
        if (t.what == urgent_tick) {
          state.run(std::exchange(state.pending_cause, {}));
        } else if (t.what == static_cast<int>(state.timer_epoch)) {
          state.arm_interval();
          state.run("interval");
        }
      },
  };
}

}  // namespace inferno::actors

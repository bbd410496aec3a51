#include "actors/board.hpp"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <array>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/death.hpp"
#include "actors/variant_metrics.hpp"

namespace inferno::actors {

std::shared_ptr<const plan_snapshot> board_view::plan() const {
  const std::lock_guard lock(mutex_);
  return plan_;
}

void board_view::set_plan(std::shared_ptr<const plan_snapshot> plan) {
  const std::lock_guard lock(mutex_);
  plan_ = std::move(plan);
  gone_.clear();
}

void board_view::forget(const variant_key& key) {
  const std::lock_guard lock(mutex_);
  gone_.insert(key);
}

void board_view::set_trouble(watch_kind kind, std::string problem) {
  const std::lock_guard lock(mutex_);
  if (problem.empty()) {
    trouble_.erase(kind);
  } else {
    trouble_[kind] = std::move(problem);
  }
}

std::string board_view::trouble() const {
  const std::lock_guard lock(mutex_);
  std::string out;
  for (const auto& [kind, problem] : trouble_) out += fmt::format("{}{}: {}", out.empty() ? "" : "; ", to_string(kind), problem);
  return out;
}

namespace {

/// Gauges of the last plan, which only the leader shows.
constexpr std::array plan_gauges{"inferno_variants",
                                 "inferno_variants_held",
                                 "inferno_solver_gap_ratio",
                                 "inferno_variants_unsatisfied",
                                 "inferno_variants_by_reason",
                                 "inferno_gpu_shadow_price_cents_per_hour",
                                 "inferno_one_more_gpu_satisfies",
                                 "inferno_one_more_gpu_replicas",
                                 "inferno_total_cost_cents_per_hour",
                                 "inferno_gpus_planned"};

}  // namespace

std::string board_view::metrics_text() const {
  std::shared_ptr<prometheus::Registry> registry;
  std::shared_ptr<const plan_snapshot> plan;
  std::set<variant_key> gone;
  bool leading = false;
  {
    const std::lock_guard lock(mutex_);
    registry = registry_;
    plan = plan_;
    gone = gone_;
    leading = leading_;
  }
  auto families = registry->Collect();
  if (!leading)
    std::erase_if(families,
                  [](const auto& f) { return std::find(plan_gauges.begin(), plan_gauges.end(), f.name) != plan_gauges.end(); });
  return (plan && leading ? variant_metrics_text(*plan, gone) : std::string()) +
         prometheus::TextSerializer().Serialize(families) +
         fmt::format(
             "# HELP inferno_leader 1 in the controller that acts on its plans, 0 in those that stand by\n"
             "# TYPE inferno_leader gauge\ninferno_leader {}\n",
             leading ? 1 : 0);
}

std::shared_ptr<prometheus::Registry> board_view::renew_registry() {
  const std::lock_guard lock(mutex_);
  synced_ = false;
  trouble_.clear();  // that of watches that are no more
  registry_ = std::make_shared<prometheus::Registry>();
  return registry_;
}

bool board_view::synced() const {
  const std::lock_guard lock(mutex_);
  return synced_;
}

void board_view::set_synced(bool synced) {
  const std::lock_guard lock(mutex_);
  synced_ = synced;
}

bool board_view::leading() const {
  const std::lock_guard lock(mutex_);
  return leading_;
}

void board_view::set_leading(bool leading) {
  const std::lock_guard lock(mutex_);
  leading_ = leading;
}

void board_state::setup() {
  auto& r = *registry;
  const auto gauge = [&r](const char* metric, const char* help) {
    return &prometheus::BuildGauge().Name(metric).Help(help).Register(r);
  };
  const auto counter = [&r](const char* metric, const char* help) {
    return &prometheus::BuildCounter().Name(metric).Help(help).Register(r);
  };
  family.variants = gauge("inferno_variants", "Variants in the last plan");
  family.held = gauge("inferno_variants_held", "Variants that keep their allocation because nothing can be decided");
  family.by_reason = gauge("inferno_variants_by_reason", "Variants by what the last plan says of them, as in OptimizationReady");
  family.gap = gauge("inferno_solver_gap_ratio", "Proven distance of the last plan from the best one, over its cost");
  family.unsatisfied = gauge("inferno_variants_unsatisfied", "Variants without a full allocation for lack of GPUs");
  family.price = gauge("inferno_gpu_shadow_price_cents_per_hour",
                       "What one more GPU of the device would save, absent when not known or when it would satisfy variants");
  family.more_satisfied =
      gauge("inferno_one_more_gpu_satisfies", "Variants that one more GPU of the device would satisfy, absent when not known");
  family.more_replicas =
      gauge("inferno_one_more_gpu_replicas", "Replicas that one more GPU of the device would give to variants that stay short");
  family.cost = gauge("inferno_total_cost_cents_per_hour", "Cost of the last plan");
  family.gpus = gauge("inferno_gpus_planned", "GPUs the last plan uses, by device");
  family.scalings = counter("inferno_replica_scaling_total", "Scalings carried out");
  family.cycles = counter("inferno_optimization_cycles_total", "Optimization cycles");
  family.errors = counter("inferno_errors_total", "Errors by component and reason");
  family.seconds =
      &prometheus::BuildHistogram().Name("inferno_optimization_seconds").Help("Time of an optimization cycle").Register(r);
}

void board_state::forget(const variant_key& key) {
  config.view->forget(key);
  const auto it = scalings.find(key);
  if (it == scalings.end()) return;
  for (auto* counter : it->second) family.scalings->Remove(counter);
  scalings.erase(it);
}

void board_state::show(const plan_snapshot& plan) {
  double held = 0;
  for (const auto& d : plan.decisions) held += d->hold ? 1 : 0;
  family.variants->Add({}).Set(static_cast<double>(plan.decisions.size()));
  family.held->Add({}).Set(held);
  family.cost->Add({}).Set(plan.total_cost.cents);
  // Without a bound there is no gap; 0 would read as proven.
  if (auto& gap = family.gap->Add({}); plan.solver.gap) {
    gap.Set(*plan.solver.gap);
  } else {
    family.gap->Remove(&gap);
  }
  std::map<std::string, double> by_reason;
  for (const auto& d : plan.decisions) ++by_reason[d->reason];
  for (const auto& [reason, number] : by_reason) {
    auto*& g = reasons[reason];
    if (!g) g = &family.by_reason->Add({{"reason", reason}});
  }
  for (auto& [reason, g] : reasons) g->Set(by_reason[reason]);
  family.unsatisfied->Add({}).Set(by_reason["CapacityLimited"]);
  show_gains(plan);
  for (auto& [device, g] : gpus_of) g->Set(0);
  for (const auto& t : plan.by_type) {
    auto*& g = gpus_of[t.type];
    if (!g) g = &family.gpus->Add({{"device", t.type}});
    g->Set(t.count);
  }
  family.cycles->Add({{"trigger", plan.trigger == "interval" ? "interval" : "urgent"}}).Increment();
  family.seconds->Add({}, prometheus::Histogram::BucketBoundaries{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5})
      .Observe(plan.solve_seconds);
}

/// A series of a device for which nothing is known would read as no gain: it goes.
void board_state::show_gains(const plan_snapshot& plan) {
  const auto show = [&](prometheus::Family<prometheus::Gauge>& to, std::map<std::string, prometheus::Gauge*>& gauges,
                        auto value) {
    for (const auto& [device, g] : gauges)
      if (!plan.one_more.count(device)) to.Remove(g);
    std::erase_if(gauges, [&](const auto& entry) { return !plan.one_more.count(entry.first); });
    for (const auto& [device, gain] : plan.one_more) {
      const std::optional<double> shown = value(gain);
      auto*& g = gauges[device];
      if (!g && shown) g = &to.Add({{"device", device}});
      if (shown) {
        g->Set(*shown);
      } else {
        if (g) to.Remove(g);
        gauges.erase(device);
      }
    }
  };
  using gain = model::gpu_gain;
  show(*family.price, price_of,
       [](const gain& g) { return g.satisfied > 0 || g.replicas > 0 ? std::nullopt : std::optional(g.saving); });
  show(*family.more_satisfied, satisfied_of, [](const gain& g) { return std::optional(1.0 * g.satisfied); });
  show(*family.more_replicas, replicas_of, [](const gain& g) { return std::optional(1.0 * g.replicas); });
}

void board_state::scaled(const scaling_done& m) {
  auto& counter = family.scalings->Add({{"variant_name", m.key.name},
                                        {"namespace", m.key.ns},
                                        {"direction", m.to > m.from ? "up" : "down"},
                                        {"reason", m.reason}});
  scalings[m.key].insert(&counter);
  counter.Increment();
}

board_actor::behavior_type board(board_actor::stateful_pointer<board_state> self, board_config config) {
  keep_reason_of_death(self);
  self->state.config = std::move(config);
  self->state.registry = self->state.config.view->renew_registry();
  self->state.setup();
  return {
      [self](const plan_made& m) {
        self->state.config.view->set_plan(m.plan);
        self->state.show(*m.plan);
      },
      [self](const scaling_done& m) { self->state.scaled(m); },
      [self](const error_noted& m) {
        self->state.family.errors->Add({{"component", m.component}, {"reason", m.reason}}).Increment();
      },
      [self](const variant_gone& m) { self->state.forget(m.key); },
      [self](const watch_health& m) {
        self->state.config.view->set_trouble(m.kind, m.problem);
        if (!m.problem.empty())
          self->state.family.errors->Add({{"component", "watch"}, {"reason", std::string(to_string(m.kind))}}).Increment();
      },
      [self](inventory_synced) { self->state.config.view->set_synced(true); },
  };
}

}  // namespace inferno::actors

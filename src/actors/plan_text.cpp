#include "actors/plan_text.hpp"

#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "model/system_json.hpp"
#include "model/system_json_write.hpp"

namespace inferno::actors {
namespace {

json::object latencies(double itl_ms, double ttft_ms, double wait_ms) {
  return {{"itl", itl_ms}, {"ttft", ttft_ms}, {"wait", wait_ms}, {"waitP95", wait_ms * model::wait_p95_of_mean}};
}

/// On hold nothing is predicted: the allocation has what was measured.
model::allocation predicted_by(const decision& d) { return d.hold || d.curve->hold ? model::allocation{} : d.desired; }

json::object to_json(const decision& d) {
  const auto& c = *d.curve;
  const auto measured = c.measured_now();
  const auto plan = predicted_by(d);
  auto predicted = latencies(plan.itl_ms, plan.ttft_ms, plan.wait_ms);
  predicted["ttftObjective"] = plan.ttft_objective_ms;
  predicted["ttftPercentiles"] = model::percentiles_object(plan.ttft_at);
  json::object slo{{"itl", c.slo.itl_ms},
                   {"ttft", c.slo.ttft_ms},
                   {"ttftPercentile", model::percentile_name(c.slo.ttft_percentile)},
                   {"ttw", c.slo.wait_p95_ms},
                   {"tps", c.slo.tps}};
  return {{"namespace", c.key.ns},
          {"name", c.key.name},
          {"model", c.model},
          {"class", c.class_name},
          {"accelerator", d.desired.accelerator},
          {"currentReplicas", c.current.num_replicas},
          {"readyReplicas", c.ready ? json::value(*c.ready) : json::value()},
          {"desiredReplicas", d.desired.num_replicas},
          {"maxBatch", d.desired.max_batch},
          {"cost", d.desired.cost.cents},
          {"arrivalRate", measured.arrival_rate.per_min()},
          {"plannedRate", c.current.load.arrival_rate.per_min()},
          {"predicted", std::move(predicted)},
          {"measured", latencies(measured.itl_ms, measured.ttft_ms, measured.wait_ms)},
          {"slo", std::move(slo)},
          {"objectives", json::object{{"met", c.objectives.unknown ? json::value() : json::value(c.objectives.status)},
                                      {"reason", c.objectives.reason},
                                      {"message", c.objectives.message}}},
          {"actuationMode", to_string(c.mode)},
          {"hold", d.hold},
          {"reason", d.reason},
          {"message", d.message}};
}

json::object to_json(const plan_snapshot* plan, const std::string& ns, bool leading) {
  json::object out{{"leading", leading}};
  json::array list;
  if (plan) {
    out["cycle"] = plan->cycle;
    out["trigger"] = plan->trigger;
    out["totalCost"] = plan->total_cost.cents;
    out["solver"] = model::solver_object(plan->solver, plan->solve_seconds);
    for (const auto& d : plan->decisions)
      if (ns.empty() || d->curve->key.ns == ns) list.push_back(to_json(*d));
  }
  out["variants"] = std::move(list);
  return out;
}

std::string to_text(const json::object& o, text_format f) {
  return f == text_format::yaml ? model::write_yaml(o) : model::write_json(o) + "\n";
}

const model::row titles{"NAMESPACE", "NAME",    "MODEL",   "CLASS",    "ACCELERATOR", "REASON", "REPLICAS",
                        "READY",     "DESIRED", "CENTS/H", "RATE/MIN", "ITL ms",      "PLAN",   "TARGET",
                        "TTFT ms",   "PLAN",    "TARGET",  "WAIT P95", "PLAN",        "TARGET"};
constexpr std::size_t text_columns = 6;

/// As many digits as somebody looks at; "-" for what is not known.
std::string ms(double value) { return value > 0 ? model::shown_ms(value) : "-"; }
std::string objective_ms(double value) { return value > 0 ? model::shown_objective_ms(value) : "-"; }

/// A TTFT that a percentile's objective is about is named; one without a name is a mean, as what is measured.
std::string named(const model::slo_targets& slo, double value, const std::string& shown) {
  return slo.ttft_percentile > 0 && value > 0 ? fmt::format("{} {}", model::percentile_name(slo.ttft_percentile), shown) : shown;
}

model::row table_row(const decision& d) {
  const auto& c = *d.curve;
  const auto measured = c.measured_now();
  const auto plan = predicted_by(d);
  const double ttft = plan.ttft_objective_ms > 0 ? plan.ttft_objective_ms : plan.ttft_ms;
  return {c.key.ns,
          c.key.name,
          c.model.empty() ? "-" : c.model,
          c.class_name.empty() ? "-" : c.class_name,
          d.desired.accelerator.empty() ? "-" : d.desired.accelerator,
          d.reason,
          std::to_string(c.current.num_replicas),
          c.ready ? std::to_string(*c.ready) : "-",
          std::to_string(d.desired.num_replicas),
          fmt::format("{:.2f}", d.desired.cost.cents),
          fmt::format("{:.1f}", measured.arrival_rate.per_min()),
          ms(measured.itl_ms),
          ms(plan.itl_ms),
          objective_ms(c.slo.itl_ms),
          ms(measured.ttft_ms),
          named(c.slo, ttft, ms(ttft)),
          named(c.slo, c.slo.ttft_ms, objective_ms(c.slo.ttft_ms)),
          ms(measured.wait_ms * model::wait_p95_of_mean),
          ms(plan.wait_ms * model::wait_p95_of_mean),
          objective_ms(c.slo.wait_p95_ms)};
}

std::string table(const plan_snapshot* plan, const std::string& ns, bool leading) {
  if (!plan) return "no plan yet\n";
  std::vector<model::row> rows{titles};
  double cents = 0;
  int dry = 0;
  for (const auto& d : plan->decisions)
    if (ns.empty() || d->curve->key.ns == ns) {
      rows.push_back(table_row(*d));
      cents += d->desired.cost.cents;
      dry += d->curve->mode == actuation_mode::dry_run;
    }
  if (rows.size() == 1) return ns.empty() ? "no variants\n" : fmt::format("no variants in namespace {}\n", ns);
  return model::aligned(rows, text_columns) +
         fmt::format("{} variants, {:.2f} cents/h; cycle {} ({}){}{}\n", rows.size() - 1, cents, plan->cycle, plan->trigger,
                     dry > 0 ? fmt::format("; {} in dry-run, where nothing is written", dry) : "",
                     leading ? "" : "; this controller stands by: another one acts");
}

std::string table(const decision& d) {
  auto out = model::aligned({titles, table_row(d)}, text_columns);
  if (!d.message.empty()) out += fmt::format("{}: {}\n", d.reason, d.message);
  const auto& objectives = d.curve->objectives;
  if (!objectives.type.empty() && !objectives.status && !objectives.unknown)
    out += fmt::format("{}: {}\n", objectives.reason, objectives.message);
  return out;
}

/// What the plan gives the members of a decision's pool.
model::pool_plan pool_of(const plan_snapshot& plan, const pool_demand& pool) {
  model::pool_plan out{pool.name, pool.load, pool.demand, {}, pool.lasting};
  for (const auto& m : pool.members) {
    auto& member = out.members.emplace_back(model::pool_member_plan{fmt::format("{}/{}", m.key.ns, m.key.name), {}, m.least});
    const auto d = plan.decisions.find(m.key);
    if (!d) continue;
    member.parts.push_back(d->desired);
    // Of what is kept as it is the decision says nothing more.
    if (auto& each = member.parts.back().max_rate_per_replica; each.per_sec() <= 0) each = m.max_rate;
  }
  return out;
}

}  // namespace

std::optional<text_format> parse_text_format(std::string_view text) {
  if (text == "json") return text_format::json;
  if (text == "yaml") return text_format::yaml;
  if (text == "table") return text_format::table;
  return std::nullopt;
}

std::string plan_text(const plan_snapshot* plan, text_format f, const std::string& ns, bool leading) {
  return f == text_format::table ? table(plan, ns, leading) : to_text(to_json(plan, ns, leading), f);
}

std::optional<std::string> variant_text(const plan_snapshot* plan, const variant_key& key, text_format f) {
  const auto d = plan ? plan->decisions.find(key) : nullptr;
  if (!d) return std::nullopt;
  return f == text_format::table ? table(*d) : to_text(to_json(*d), f);
}

std::optional<std::string> explain_text(const plan_snapshot* plan, const variant_key& key, text_format f) {
  const auto d = plan ? plan->decisions.find(key) : nullptr;
  if (!d) return std::nullopt;
  // Nothing could be evaluated: the reason is all there is to explain.
  if (!d->curve->basis) return variant_text(plan, key, f);
  const auto standing = [&](const model::accelerator& acc) {
    model::type_standing t{acc.type, -1, 0, {}};
    if (plan->capacity && plan->capacity->known) {
      const auto it = plan->capacity->by_device.find(acc.type);
      t.limit = it == plan->capacity->by_device.end() ? 0 : it->second;
    }
    for (const auto& u : plan->by_type)
      if (u.type == acc.type) t.used = u.count;
    if (const auto gain = plan->one_more.find(acc.type); gain != plan->one_more.end()) t.one_more = gain->second;
    return t;
  };
  const auto outcome = d->message.empty() ? d->reason : fmt::format("{}: {}", d->reason, d->message);
  const auto& view = d->curve->basis->view;
  const auto e = d->pool ? model::explain_member(view, pool_of(*plan, *d->pool), d->desired, outcome, standing)
                         : model::explain_variant(view, d->desired, outcome, standing);
  return f == text_format::table  ? model::explanation_table(e)
         : f == text_format::yaml ? model::explanation_yaml(e)
                                  : model::explanation_json(e) + "\n";
}

}  // namespace inferno::actors

// An explanation as JSON, YAML and table.
#include <fmt/format.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "model/system_json.hpp"
#include "model/system_json_write.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;

json::object target_object(const slo_targets& t) {
  json::object out;
  const std::pair<const char*, double> targets[] = {
      {"slo-itl", t.itl_ms}, {"slo-ttft", t.ttft_ms}, {"slo-ttw", t.wait_p95_ms}, {"slo-tps", t.tps}};
  for (const auto& [name, value] : targets)
    if (value > 0) out[name] = value;
  if (t.ttft_ms > 0) {
    out["slo-ttft-percentile"] = "mean";
    if (t.ttft_percentile > 0) out["slo-ttft-percentile"] = fmt::format("p{:g}", t.ttft_percentile);
  }
  return out;
}

json::object candidate_object(const explained_candidate& c) {
  auto out = allocation_object(c.alloc);
  out["value"] = c.alloc.value;
  out["ratePerReplica"] = c.alloc.rate_per_replica.per_min();
  out["binding"] = c.alloc.binding;
  out["type"] = c.type;
  out["gpus"] = c.cards;
  out["chosen"] = c.chosen;
  if (!c.denied.empty()) out["denied"] = c.denied;
  if (c.best_batch)
    out["bestBatch"] =
        json::object{{"maxBatch", c.best_batch->max_batch}, {"maxRatePerReplica", c.best_batch->sizing.at.throughput.per_min()}};
  return out;
}

json::object refusal_object(const refusal& r) {
  json::object out{{"accelerator", r.accelerator}, {"reason", r.reason()}};
  if (r.verdict) {
    out["target"] = r.verdict->target;
    out["wanted"] = r.verdict->wanted_ms;
    out["best"] = r.verdict->best_ms;
  }
  return out;
}

json::object change_object(const slo_change& c) {
  json::object out{{"factor", c.factor}};
  if (c.best) {
    out["accelerator"] = c.best->accelerator;
    out["numReplicas"] = c.best->num_replicas;
    out["cost"] = c.best->cost.cents;
    out["extraCost"] = c.extra_cost;
    if (!c.reason.empty()) out["limited"] = c.reason;
  } else {
    out["infeasible"] = c.reason;
  }
  return out;
}

/// A row for each member and accelerator; one that has nothing has one too.
json::object pool_object(const explanation& e) {
  const auto& p = *e.pool;
  json::array members;
  for (const auto& m : p.members) {
    const auto add = [&](const allocation& a) {
      members.push_back(json::object{{"variant", m.variant},
                                     {"accelerator", a.accelerator},
                                     {"numReplicas", a.num_replicas},
                                     {"maxRatePerReplica", a.max_rate_per_replica.per_min()},
                                     {"cost", a.cost.cents}});
    };
    for (const auto& a : m.parts) add(a);
    if (m.parts.empty()) add({});
  }
  json::object out{{"name", p.name},
                   {"demand", rounded_per_min(p.demand)},
                   {"maxRate", p.able().per_min()},
                   {"why", e.share},
                   {"members", std::move(members)}};
  if (p.lasting.per_sec() > 0) out["otherMixesMustCarry"] = rounded_per_min(p.lasting);
  return out;
}

std::string pool_table(const explanation& e) {
  const auto& p = *e.pool;
  std::vector<row> rows{{"", "VARIANT", "ACCELERATOR", "REPLICAS", "MAX RATE/MIN", "TOGETHER", "COST"}};
  for (const auto& m : p.members) {
    const auto add = [&](const allocation& a) {
      const double each = a.max_rate_per_replica.per_min();
      rows.push_back({m.variant == e.name ? "*" : "", m.variant, a.accelerator.empty() ? "-" : a.accelerator,
                      std::to_string(a.num_replicas), each > 0 ? fmt::format("{:.2f}", each) : "-",
                      fmt::format("{:.2f}", a.num_replicas * each), fmt::format("{:.2f}", a.cost.cents)});
    };
    for (const auto& a : m.parts) add(a);
    if (m.parts.empty()) add({});
  }
  return fmt::format("pool {}: {:.2f} requests/min are to be served together; this mix takes {:.2f} within the targets\n",
                     p.name.empty() ? "of the model and class" : fmt::format("\"{}\"", p.name), p.demand.per_min(),
                     p.able().per_min()) +
         aligned(rows, 3) + fmt::format("{} has its replicas of the mix because {}.\n", e.name, e.share) +
         (p.lasting.per_sec() > 0 ? fmt::format("What runs is enough. Other replicas are started, though the mix be cheaper, "
                                                "once it carries {:.2f} requests/min\n"
                                                "as well, the most of the last ten minutes.\n\n",
                                                p.lasting.per_min())
                                  : "\n");
}

json::object gain_object(const gpu_gain& g) {
  json::object out{{"satisfies", g.satisfied}, {"saves", g.saving}, {"replicas", g.replicas}, {"priority", nullptr}};
  if (g.any()) out["priority"] = g.priority;
  return out;
}

json::object explanation_object(const explanation& e) {
  json::object out{{"variant", e.name}, {"model", e.model}, {"priority", e.priority}, {"outcome", e.outcome}};
  out["targets"] = target_object(e.slo);
  out["load"] = json::object{{"arrivalRate", rounded_per_min(e.load.arrival_rate)},
                             {"avgInTokens", e.load.avg_in_tokens},
                             {"avgOutTokens", e.load.avg_out_tokens}};
  out["current"] = json::object{
      {"accelerator", e.current.accelerator}, {"numReplicas", e.current.num_replicas}, {"cost", e.current.cost.cents}};
  out["desired"] = nullptr;
  if (e.desired) {
    auto desired = allocation_object(*e.desired);
    json::array also;
    for (const auto& a : e.also) also.push_back(allocation_object(a));
    if (!also.empty()) desired["also"] = std::move(also);
    out["desired"] = std::move(desired);
  }
  if (e.pool) out["pool"] = pool_object(e);
  json::array candidates, refused, types, changes;
  for (const auto& c : e.candidates) candidates.push_back(candidate_object(c));
  for (const auto& r : e.refused) refused.push_back(refusal_object(r));
  for (const auto& t : e.types) {
    json::object type{{"type", t.type}, {"used", t.used}, {"limit", nullptr}, {"oneMore", nullptr}};
    if (t.limit >= 0) type["limit"] = t.limit;
    if (t.limit >= 0 && t.one_more) type["oneMore"] = gain_object(*t.one_more);
    types.push_back(std::move(type));
  }
  for (const auto& c : e.slo_changes) changes.push_back(change_object(c));
  out["candidates"] = std::move(candidates);
  out["refused"] = std::move(refused);
  out["capacity"] = std::move(types);
  out["nextBest"] = nullptr;
  if (e.next_best)
    out["nextBest"] = json::object{{"accelerator", e.next_best->accelerator},
                                   {"numReplicas", e.next_best->num_replicas},
                                   {"cost", e.next_best->cost.cents},
                                   {"extraCost", e.next_best_extra_cost}};
  out["sloChanges"] = std::move(changes);
  return out;
}

std::string gain_text(const std::optional<gpu_gain>& g) {
  if (!g) return "what one more would change is not known";
  const auto counted = [](int n, const char* one, const char* several) {
    return fmt::format("{} {}", n, n == 1 ? one : several);
  };
  if (g->satisfied > 0)
    return fmt::format("one more would satisfy {} more of priority {}", counted(g->satisfied, "variant", "variants"),
                       g->priority);
  if (g->saving > 0) return fmt::format("one more would save {:.2f} cents/h of value in priority {}", g->saving, g->priority);
  if (g->replicas > 0)
    return fmt::format("one more would give {} more to variants of priority {} that are short",
                       counted(g->replicas, "replica", "replicas"), g->priority);
  return "one more would change nothing";
}

std::string named(const allocation& a) {
  return a.num_replicas == 0 ? "nothing" : fmt::format("{} x {}", a.num_replicas, a.accelerator);
}

}  // namespace

std::string explanation_json(const explanation& e) { return write_json(explanation_object(e)); }
std::string explanation_yaml(const explanation& e) { return write_yaml(explanation_object(e)); }

std::string explanation_table(const explanation& e) {
  std::string out = fmt::format("{}: {}, priority {}\n", e.name, e.model, e.priority);
  out += fmt::format("load     {:.2f} requests/min, {:g} tokens in, {:g} out\n", e.load.arrival_rate.per_min(),
                     e.load.avg_in_tokens, e.load.avg_out_tokens);
  out += "targets ";
  for (const auto& [name, value] : target_object(e.slo))
    out += fmt::format(" {} {}", std::string_view(name), value.is_string() ? std::string(value.get_string()) : write_json(value));
  allocation now;
  now.accelerator = e.current.accelerator;
  now.num_replicas = e.current.num_replicas;
  auto desired = e.desired ? named(*e.desired) : "nothing";
  for (const auto& a : e.also) desired += " and " + named(a);
  out += fmt::format("\nnow      {}\ndesired  {}: {}\n\n", named(now), desired, e.outcome);
  if (e.pool) out += pool_table(e);

  std::vector<row> rows{{"", "CANDIDATE", "BOUND BY", "MAX RATE/MIN", "REPLICAS", "GPUS", "COST", "VALUE", "ITL ms", "WAIT P95",
                         "TTFT ms", "TTFT P95", "BATCH", "BEST"}};
  for (const auto& c : e.candidates)
    rows.push_back({c.chosen ? "*" : "", c.alloc.accelerator.empty() ? "-" : c.alloc.accelerator,
                    c.alloc.binding.empty() ? "-" : std::string(c.alloc.binding),
                    fmt::format("{:.2f}", c.alloc.max_rate_per_replica.per_min()), std::to_string(c.alloc.num_replicas),
                    std::to_string(c.cards), fmt::format("{:.2f}", c.alloc.cost.cents), fmt::format("{:.2f}", c.alloc.value),
                    fmt::format("{:.2f}", c.alloc.itl_ms), fmt::format("{:.1f}", c.alloc.wait_ms * wait_p95_of_mean),
                    fmt::format("{:.1f}", c.alloc.ttft_ms), fmt::format("{:.1f}", c.alloc.ttft_at.p95),
                    std::to_string(c.alloc.max_batch), c.best_batch ? std::to_string(c.best_batch->max_batch) : "-"});
  if (rows.size() > 1)
    out +=
        aligned(rows, 3) +
        (e.pool ? "* is chosen: the variant's part of the mix. The other candidates are what the whole demand of the pool would "
                  "need there\n"
                  "alone. MAX RATE/MIN is what one replica takes within the targets, BEST the batch that a search would choose.\n"
                : "* is chosen. MAX RATE/MIN is what one replica takes within the targets, REPLICAS what the load needs then, "
                  "BEST the batch\n"
                  "that a search would choose.\n");
  for (const auto& c : e.candidates)
    if (!c.denied.empty()) out += fmt::format("{}: {}\n", c.alloc.accelerator, c.denied);
  for (const auto& r : e.refused) out += fmt::format("{}: {}\n", r.accelerator, r.reason());
  for (const auto& t : e.types)
    if (t.limit >= 0) out += fmt::format("GPUs of type {}: {} of {} used, {}\n", t.type, t.used, t.limit, gain_text(t.one_more));
  if (e.next_best) out += fmt::format("next best: {}, {:+.2f} cents/h\n", named(*e.next_best), e.next_best_extra_cost);
  for (const auto& c : e.slo_changes)
    out += fmt::format(
        "targets {:+.0f} %: {}\n", 100 * (c.factor - 1),
        c.best ? fmt::format("{}, {:+.2f} cents/h{}{}", named(*c.best), c.extra_cost, c.reason.empty() ? "" : "; ", c.reason)
               : c.reason);
  return out;
}

}  // namespace inferno::model

#include "model/explain.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace inferno::model {
namespace {

const std::pair<const accelerator*, const model_profile*>* option_of(const variant_view& view, std::string_view name) {
  for (const auto& o : view.options)
    if (o.first->name == name) return &o;
  return nullptr;
}

void add_type(std::vector<type_standing>& types, type_standing standing) {
  const auto same = [&](const type_standing& t) { return t.type == standing.type; };
  if (std::none_of(types.begin(), types.end(), same)) types.push_back(std::move(standing));
}

explained_candidate explain_candidate(const variant_view& view, allocation a, bool allowed, const explanation& e,
                                      const std::function<type_standing(const accelerator&)>& standing,
                                      std::vector<type_standing>& types) {
  explained_candidate c;
  add_percentiles(view, a);
  c.alloc = std::move(a);
  c.allowed = allowed;
  const auto* option = option_of(view, c.alloc.accelerator);
  if (!option) {
    c.chosen = e.desired && e.desired->accelerator.empty();
    return c;
  }
  c.units_per_replica = option->second->acc_count * option->first->multiplicity;
  c.type = option->first->type;
  c.cards = c.units_per_replica * c.alloc.num_replicas;
  c.chosen = e.desired && e.desired->accelerator == c.alloc.accelerator;
  const auto at = standing(*option->first);
  const int held = c.chosen ? e.desired->num_replicas * c.units_per_replica : 0;
  if (!allowed) {
    c.denied = "keepAccelerator";
  } else if (at.limit >= 0 && c.cards > at.limit - at.used + held) {
    c.denied = fmt::format("needs {} GPUs of type {}, {} of {} are left", c.cards, at.type, at.limit - at.used + held, at.limit);
  }
  add_type(types, at);
  c.best_batch = [&]() -> std::optional<batch_choice> {
    const replica_config replica{option->second->params, view.server->current.load.shape(), std::max(c.alloc.max_batch, 1), 0};
    if (validate(replica)) return std::nullopt;
    const auto found = best_batch(replica, view.slo, 10);
    return found ? std::optional(*found) : std::nullopt;
  }();
  return c;
}

slo_change scaled_slo(const variant_view& view, double factor, const std::optional<allocation>& now) {
  auto other = view;
  other.slo.itl_ms *= factor;
  other.slo.ttft_ms *= factor;
  other.slo.wait_p95_ms *= factor;
  auto set = make_candidates(other);
  slo_change out{factor, std::nullopt, 0, {}};
  if (set.candidates.empty()) {
    out.reason = set.reason();
    return out;
  }
  out.best = std::move(set.candidates.front());
  // maxReplicas cuts a candidate without a word.
  const auto& best = *out.best;
  if (view.server->max_replicas > 0 && best.rate_per_replica.per_sec() > best.max_rate_per_replica.per_sec() * (1 + 1e-6))
    out.reason = fmt::format(
        "not met: maxReplicas allows {}, {:.0f} are needed", view.server->max_replicas,
        std::ceil(best.num_replicas * best.rate_per_replica.per_sec() / best.max_rate_per_replica.per_sec() * (1 - 1e-9)));
  if (now) out.extra_cost = out.best->cost.cents - now->cost.cents;
  return out;
}

/// What is known of the variant before its candidates are looked at.
explanation begin(const variant_view& view, const std::optional<allocation>& desired, std::string outcome) {
  explanation e;
  const auto& server = *view.server;
  e.name = server.name;
  e.model = server.model;
  e.priority = view.priority;
  e.slo = view.slo;
  e.load = server.current.load;
  e.current = server.current;
  e.desired = desired;
  e.outcome = std::move(outcome);
  return e;
}

/// Fills the candidates; those that keepAccelerator forbids come last.
candidate_set add_candidates(explanation& e, const variant_view& view,
                             const std::function<type_standing(const accelerator&)>& standing) {
  auto allowed = make_candidates(view);
  auto all = make_candidates(view, true);
  if (!allowed.problem.empty()) e.outcome += (e.outcome.empty() ? "" : "; ") + allowed.problem;
  const auto is_allowed = [&](const allocation& a) {
    return std::any_of(allowed.candidates.begin(), allowed.candidates.end(),
                       [&](const allocation& b) { return b.accelerator == a.accelerator; });
  };
  std::stable_partition(all.candidates.begin(), all.candidates.end(), is_allowed);
  for (auto& a : all.candidates) {
    const bool may = is_allowed(a);
    e.candidates.push_back(explain_candidate(view, std::move(a), may, e, standing, e.types));
  }
  e.refused = std::move(all.refused);
  return allowed;
}

/// The variant's part of the mix in the place of the candidates on the same accelerators.
void choose_parts(explanation& e, const std::vector<allocation>& parts) {
  for (auto& c : e.candidates) {
    const auto part = std::find_if(parts.begin(), parts.end(), [&](const allocation& a) {
      return a.num_replicas > 0 && a.accelerator == c.alloc.accelerator;
    });
    c.chosen = part != parts.end();
    if (!c.chosen) continue;
    c.alloc = *part;
    c.cards = c.units_per_replica * c.alloc.num_replicas;
    c.denied.clear();
  }
}

int total(const std::vector<allocation>& parts) {
  int n = 0;
  for (const auto& a : parts) n += a.num_replicas;
  return n;
}

std::string share_of(const pool_member_plan& m, const pool_plan& pool) {
  const double able = pool.able().per_min(), demand = pool.demand.per_min();
  const int n = total(m.parts);
  if (n == 0)
    return able > 0 ? fmt::format("the others of the pool take {:.2f} requests/min, {:.2f} are to be served", able, demand)
                    : "nothing of the pool runs";
  double least_rate = 0;
  for (const auto& a : m.parts)
    if (const double each = a.max_rate_per_replica.per_min(); a.num_replicas > 0 && (least_rate <= 0 || each < least_rate))
      least_rate = each;
  if (const double rest = able - least_rate; rest < demand * (1 - 1e-6))
    return fmt::format("with one replica less the pool takes {:.2f} requests/min, {:.2f} are to be served", rest, demand);
  if (n <= m.least) return fmt::format("minReplicas keeps {}", n);
  if (demand <= 0) return "the pool keeps one replica without any load";
  return "the demand alone does not need all of them";
}

}  // namespace

req_rate pool_plan::able() const {
  double sum = 0;
  for (const auto& m : members)
    for (const auto& a : m.parts) sum += a.num_replicas * a.max_rate_per_replica.per_sec();
  return req_rate::per_sec(sum);
}

explanation explain_variant(const variant_view& view, const std::optional<allocation>& desired, std::string outcome,
                            const std::function<type_standing(const accelerator&)>& standing) {
  auto e = begin(view, desired, std::move(outcome));
  const auto allowed = add_candidates(e, view, standing);
  for (const auto& c : e.candidates)
    if (c.allowed && !c.chosen && !e.next_best) {
      e.next_best = c.alloc;
      e.next_best_extra_cost = c.alloc.cost.cents - (desired ? desired->cost.cents : 0);
    }
  const auto best = allowed.candidates.empty() ? std::nullopt : std::optional(allowed.candidates.front());
  for (const double factor : {0.9, 1.1}) e.slo_changes.push_back(scaled_slo(view, factor, best));
  return e;
}

explanation explain_member(const variant_view& view, pool_plan pool, const std::optional<allocation>& desired,
                           std::string outcome, const std::function<type_standing(const accelerator&)>& standing) {
  auto e = begin(view, desired, std::move(outcome));
  const auto self =
      std::find_if(pool.members.begin(), pool.members.end(), [&](const auto& m) { return m.variant == view.server->name; });
  const auto mine = self == pool.members.end() ? pool_member_plan{} : *self;
  for (std::size_t i = 1; i < mine.parts.size(); ++i) e.also.push_back(mine.parts[i]);
  // As the pool sees its members: with the load of all, and not bound to carry it alone.
  auto server = *view.server;
  server.current.load = pool.load;
  server.max_replicas = 0;
  server.min_replicas = 1;
  server.in_flight = 0;
  auto member = view;
  member.server = &server;
  add_candidates(e, member, standing);
  choose_parts(e, mine.parts);
  e.share = share_of(mine, pool);
  e.pool = std::move(pool);
  return e;
}

}  // namespace inferno::model

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "model/allocation.hpp"

namespace inferno::model {
namespace {

/// Share of both costs that a change of accelerator is taken to cost: pods restart and the model is loaded anew.
constexpr double accelerator_change_penalty = 0.1;
/// Requests that may queue at a replica, in batches.
constexpr long queue_per_batch = 10;

int batch_of(const server_spec& server, const model_profile& profile) {
  if (server.max_batch > 0) return server.max_batch;
  const double out = std::floor(server.current.load.avg_out_tokens);
  if (profile.at_tokens <= 0 || out <= 0) return profile.max_batch;
  const double batch = std::floor(static_cast<double>(profile.max_batch) * profile.at_tokens / out);
  return static_cast<int>(std::clamp(batch, 1.0, static_cast<double>(max_batch_limit)));
}

cost_per_hour cost_of(const accelerator& acc, const model_profile& profile, int replicas) {
  return {acc.cost.cents * profile.acc_count * replicas};
}

allocation idle_allocation(const variant_view& view, const accelerator& acc, const model_profile& profile) {
  allocation a;
  a.num_replicas = view.server->min_replicas;
  if (a.num_replicas == 0) return a;
  a.accelerator = acc.name;
  a.max_batch = view.server->max_batch > 0 ? view.server->max_batch : profile.max_batch;
  a.cost = cost_of(acc, profile, a.num_replicas);
  const auto alone = times_at(profile.params, {1, 1}, 1);
  a.itl_ms = alone.itl_ms;
  a.ttft_ms = alone.first_token_ms;
  const auto& load = view.server->current.load;
  if (load.avg_out_tokens > 0) {
    replica_config c{profile.params, {load.avg_in_tokens, load.avg_out_tokens}, a.max_batch, queue_per_batch * a.max_batch};
    if (!validate(c))
      if (const auto sized = size_replica(c, view.slo)) a.max_rate_per_replica = sized->at.throughput;
  }
  return a;
}

tl::expected<allocation, std::string> loaded_allocation(const variant_view& view, const accelerator& acc,
                                                        const model_profile& profile) {
  const auto& load = view.server->current.load;
  replica_config c{profile.params, {load.avg_in_tokens, load.avg_out_tokens}, batch_of(*view.server, profile), 0};
  c.max_queue = queue_per_batch * c.max_batch;
  if (const auto problem = validate(c)) return tl::unexpected(*problem);
  const auto sized = size_replica(c, view.slo);
  if (!sized) return tl::unexpected(sized.error().reason());
  const double per_replica = sized->at.throughput.per_sec();
  const double demand = demand_of(load, view.slo).per_sec();
  // A demand that is a whole multiple must not cost a replica more by a rounding error.
  double replicas =
      std::max(std::ceil(demand / per_replica * (1 - 1e-12)), static_cast<double>(std::max(view.server->min_replicas, 1)));
  if (replicas > most_replicas) return tl::unexpected(fmt::format("would need {:.0f} replicas", replicas));
  if (view.server->max_replicas > 0) replicas = std::min(replicas, static_cast<double>(view.server->max_replicas));
  const auto at = analyze(c, req_rate::per_sec(demand / replicas));
  allocation a;
  a.accelerator = acc.name;
  a.num_replicas = static_cast<int>(replicas);
  a.max_batch = c.max_batch;
  a.cost = cost_of(acc, profile, a.num_replicas);
  a.itl_ms = at.itl_ms;
  a.wait_ms = at.wait_ms;
  a.ttft_ms = at.ttft_ms;
  a.busy = at.busy;
  a.rho = at.rho;
  a.max_rate_per_replica = sized->at.throughput;
  a.binding = sized->binding;
  return a;
}

/// A number that is none would pass every comparison below unnoticed.
std::optional<std::string> bad_input(const variant_view& view) {
  const auto& load = view.server->current.load;
  const std::pair<const char*, double> numbers[] = {{"arrival rate", load.arrival_rate.per_sec()},
                                                    {"input tokens", load.avg_in_tokens},
                                                    {"output tokens", load.avg_out_tokens}};
  for (const auto& [name, value] : numbers)
    if (!std::isfinite(value) || value < 0) return fmt::format("{}: expected a finite number >= 0, got {}", name, value);
  return validate(view.slo);
}

}  // namespace

double transition_value(const current_allocation& from, std::string_view to_accelerator, int to_replicas, cost_per_hour to_cost) {
  if (from.accelerator == to_accelerator) {
    if (from.num_replicas == to_replicas) return 0;
    return to_cost.cents - from.cost.cents;
  }
  return to_cost.cents - from.cost.cents + accelerator_change_penalty * (to_cost.cents + from.cost.cents);
}

req_rate demand_of(const server_load& load, const slo_targets& slo) {
  return req_rate::per_sec(std::max(load.arrival_rate.per_sec(), slo.tps / load.avg_out_tokens));
}

candidate_set make_candidates(const variant_view& view) {
  candidate_set out;
  const auto& server = *view.server;
  if (auto problem = bad_input(view)) {
    out.infeasible = std::move(*problem);
    return out;
  }
  const bool zero_load = server.current.load.arrival_rate.per_sec() <= 0 || server.current.load.avg_out_tokens <= 0;
  const bool bound = server.keep_accelerator && !server.current.accelerator.empty();
  const auto refuse = [&](std::string_view acc, std::string_view why) {
    out.infeasible += fmt::format("{}{}: {}", out.infeasible.empty() ? "" : "; ", acc, why);
  };
  for (const auto& [acc, profile] : view.options) {
    if (bound && acc->name != server.current.accelerator) continue;
    auto a = zero_load ? tl::expected<allocation, std::string>(idle_allocation(view, *acc, *profile))
                       : loaded_allocation(view, *acc, *profile);
    if (!a) {
      refuse(acc->name, a.error());
      continue;
    }
    // Scaled to zero is one candidate, whatever the accelerator.
    if (a->num_replicas == 0 && !out.candidates.empty()) continue;
    a->value = transition_value(server.current, a->accelerator, a->num_replicas, a->cost);
    out.candidates.push_back(std::move(*a));
  }
  if (out.candidates.empty() && out.infeasible.empty())
    out.infeasible = bound ? fmt::format("no profile for the accelerator in use, {}", server.current.accelerator)
                           : "no accelerator has a profile for the model";
  std::sort(out.candidates.begin(), out.candidates.end(), [](const allocation& a, const allocation& b) {
    return std::tie(a.value, a.cost.cents, a.accelerator) < std::tie(b.value, b.cost.cents, b.accelerator);
  });
  if (!out.candidates.empty()) out.infeasible.clear();
  return out;
}

}  // namespace inferno::model

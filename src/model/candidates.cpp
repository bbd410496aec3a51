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

/// The most requests a replica serves at once: override, or the profile's, for its length of outputs, within the KV memory.
int batch_limit(const server_spec& server, const model_profile& profile) {
  const auto& load = server.current.load;
  int limit = server.max_batch > 0 ? server.max_batch : profile.max_batch;
  const double out = std::floor(load.avg_out_tokens);
  if (server.max_batch <= 0 && profile.at_tokens > 0 && out > 0) {
    const double scaled = std::floor(static_cast<double>(profile.max_batch) * profile.at_tokens / out);
    limit = static_cast<int>(std::clamp(scaled, 1.0, static_cast<double>(max_batch_limit)));
  }
  const auto fits = out > 0 ? kv_batch_limit(profile.kv, load.shape()) : std::nullopt;
  return fits ? std::min(limit, *fits) : limit;
}

/// One replica on an accelerator as the variant's server is run there, without search.
replica_config replica_of(const variant_view& view, const model_profile& profile, int batch) {
  return {profile.params, view.server->current.load.shape(), batch, queue_per_batch * batch};
}

cost_per_hour cost_of(const accelerator& acc, const model_profile& profile, int replicas) {
  return {acc.cost.cents * profile.acc_count * replicas};
}

struct sized_batch {
  int max_batch;
  replica_sizing sizing;
};

tl::expected<sized_batch, infeasible> size(const variant_view& view, const replica_config& c) {
  if (view.search_batch) {
    const auto found = best_batch(c, view.slo, queue_per_batch);
    if (!found) return tl::unexpected(found.error());
    return sized_batch{found->max_batch, found->sizing};
  }
  const auto sized = size_replica(c, view.slo);
  if (!sized) return tl::unexpected(sized.error());
  return sized_batch{c.max_batch, *sized};
}

/// The fewest replicas a server may have: its minimum, and room for what is in flight.
double least_replicas(const server_spec& server, int batch) {
  double least = std::max(static_cast<double>(server.min_replicas), std::ceil(server.in_flight / std::max(batch, 1)));
  if (server.max_replicas > 0) least = std::min(least, static_cast<double>(std::max(server.max_replicas, server.min_replicas)));
  return least;
}

allocation idle_allocation(const variant_view& view, const accelerator& acc, const model_profile& profile) {
  allocation a;
  a.max_batch = view.server->max_batch > 0 ? view.server->max_batch : profile.max_batch;
  a.num_replicas = static_cast<int>(std::min(least_replicas(*view.server, a.max_batch), 1.0 * most_replicas));
  if (a.num_replicas == 0) return {};
  a.accelerator = acc.name;
  a.cost = cost_of(acc, profile, a.num_replicas);
  const auto alone = times_at(profile.params, {1, 1}, 1);
  a.itl_ms = alone.itl_ms;
  a.ttft_ms = alone.first_token_ms;
  if (view.server->current.load.avg_out_tokens > 0) {
    const auto c = replica_of(view, profile, a.max_batch);
    if (!validate(c))
      if (const auto sized = size_replica(c, view.slo)) a.max_rate_per_replica = sized->at.throughput;
  }
  return a;
}

/// Why no request of the load fits into a replica's KV memory; "" = it does, or nothing is known of the memory.
std::string kv_shortage(const model_profile& profile, const server_load& load) {
  const auto& kv = profile.kv;
  const double tokens = load.avg_in_tokens + load.avg_out_tokens;
  if (kv.bytes <= 0 || kv.bytes >= kv.bytes_per_token * tokens) return {};
  return fmt::format("kvCacheGiB: {:.6g} GiB hold {:.0f} tokens, and a request has {:.0f}", kv.bytes / (1 << 30),
                     std::floor(kv.bytes / kv.bytes_per_token), tokens);
}

tl::expected<allocation, refusal> loaded_allocation(const variant_view& view, const accelerator& acc,
                                                    const model_profile& profile) {
  const auto& server = *view.server;
  if (auto problem = kv_shortage(profile, server.current.load); !problem.empty())
    return tl::unexpected(refusal{acc.name, {}, std::move(problem)});
  auto c = replica_of(view, profile, batch_limit(server, profile));
  const double least = std::max(least_replicas(server, c.max_batch), 1.0);
  if (auto problem = validate(c)) return tl::unexpected(refusal{acc.name, {}, std::move(*problem)});
  const auto sized = size(view, c);
  if (!sized) return tl::unexpected(refusal{acc.name, sized.error(), {}});
  c.max_batch = sized->max_batch;
  c.max_queue = queue_per_batch * c.max_batch;
  const double per_replica = sized->sizing.at.throughput.per_sec();
  const double demand = demand_of(server.current.load, view.slo).per_sec();
  // A demand that is a whole multiple must not cost a replica more by a rounding error.
  double replicas = std::max(std::ceil(demand / per_replica * (1 - 1e-9)), least);
  if (replicas > most_replicas)
    return tl::unexpected(refusal{acc.name, {}, fmt::format("would need {:.6g} replicas, {} at most", replicas, most_replicas)});
  if (server.max_replicas > 0) replicas = std::min(replicas, static_cast<double>(server.max_replicas));
  const auto rate = req_rate::per_sec(demand / replicas);
  const auto at = analyze(c, rate);
  allocation a;
  a.accelerator = acc.name;
  a.num_replicas = static_cast<int>(replicas);
  a.rate_per_replica = rate;
  a.max_batch = c.max_batch;
  a.cost = cost_of(acc, profile, a.num_replicas);
  a.itl_ms = at.itl_ms;
  a.wait_ms = at.wait_ms;
  a.ttft_ms = at.ttft_ms;
  a.busy = at.busy;
  a.rho = at.rho;
  a.max_rate_per_replica = sized->sizing.at.throughput;
  a.binding = sized->sizing.binding;
  return a;
}

/// A number that is none would pass every comparison below unnoticed.
std::optional<std::string> bad_input(const variant_view& view) {
  const auto& load = view.server->current.load;
  const std::tuple<const char*, double, number_limits> numbers[] = {
      {"requests per minute", load.arrival_rate.per_min(), limits::rate_per_min},
      {"input tokens", load.avg_in_tokens, limits::tokens},
      {"output tokens", load.avg_out_tokens, limits::tokens},
      {"minReplicas", view.server->min_replicas, limits::replicas},
      {"maxReplicas", view.server->max_replicas, limits::replicas}};
  for (const auto& [name, value, limits] : numbers)
    if (!limits.hold(value)) return fmt::format("{}: expected {}, got {}", name, limits.text(), value);
  return validate(view.slo);
}

/// Refuses an allocation of more GPUs than there can be of a type, so that numbers of GPUs are ints.
tl::expected<allocation, refusal> within_gpus(allocation a, const accelerator& acc, const model_profile& profile) {
  const double gpus = 1.0 * a.num_replicas * profile.acc_count * acc.multiplicity;
  if (limits::gpus.hold(gpus)) return a;
  return tl::unexpected(refusal{acc.name, {}, fmt::format("would need {:.6g} GPUs, {:.0f} at most", gpus, limits::gpus.most)});
}

const model_profile* profile_of(const variant_view& view, const std::string& accelerator) {
  for (const auto& [acc, profile] : view.options)
    if (acc->name == accelerator) return profile;
  return nullptr;
}

bool idle(const server_spec& server) {
  return server.current.load.arrival_rate.per_sec() <= 0 || server.current.load.avg_out_tokens <= 0;
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

std::string candidate_set::reason() const {
  std::string out = problem;
  for (const auto& r : refused) out += fmt::format("{}{}: {}", out.empty() ? "" : "; ", r.accelerator, r.reason());
  return out;
}

candidate_set make_candidates(const variant_view& view, bool all) {
  candidate_set out;
  const auto& server = *view.server;
  if (auto problem = bad_input(view)) {
    out.problem = std::move(*problem);
    return out;
  }
  const bool bound = !all && server.keep_accelerator && !server.current.accelerator.empty();
  out.candidates.reserve(bound ? 1 : view.options.size());
  for (const auto& [acc, profile] : view.options) {
    if (bound && acc->name != server.current.accelerator) continue;
    auto a = idle(server) ? tl::expected<allocation, refusal>(idle_allocation(view, *acc, *profile))
                          : loaded_allocation(view, *acc, *profile);
    if (a) a = within_gpus(std::move(*a), *acc, *profile);
    if (!a) {
      out.refused.push_back(std::move(a.error()));
      continue;
    }
    // Scaled to zero is one candidate, whatever the accelerator.
    if (a->num_replicas == 0 && !out.candidates.empty()) continue;
    a->value = transition_value(server.current, a->accelerator, a->num_replicas, a->cost);
    out.candidates.push_back(std::move(*a));
  }
  if (out.candidates.empty() && out.refused.empty())
    out.problem = bound ? fmt::format("no profile for the accelerator in use, {}", server.current.accelerator)
                        : "no accelerator has a profile for the model";
  std::sort(out.candidates.begin(), out.candidates.end(), [](const allocation& a, const allocation& b) {
    return std::tie(a.value, a.cost.cents, a.accelerator) < std::tie(b.value, b.cost.cents, b.accelerator);
  });
  return out;
}

std::optional<allocation> cheapest_elsewhere(const variant_view& view) {
  auto set = make_candidates(view, true);
  std::optional<allocation> best;
  for (auto& c : set.candidates) {
    if (c.accelerator == view.server->current.accelerator) continue;
    if (!best || std::tie(c.cost.cents, c.accelerator) < std::tie(best->cost.cents, best->accelerator)) best = std::move(c);
  }
  return best;
}

void add_percentiles(const variant_view& view, allocation& a) {
  const auto* profile = profile_of(view, a.accelerator);
  if (!profile) return;
  if (a.rate_per_replica.per_sec() > 0) {
    a.ttft_at = ttft_percentiles_at(replica_of(view, *profile, a.max_batch), a.rate_per_replica);
  } else {
    a.ttft_at = {a.ttft_ms, a.ttft_ms, a.ttft_ms, a.ttft_ms};
  }
  a.ttft_objective_ms = a.ttft_ms;
  const double percentile = view.slo.ttft_percentile;
  if (percentile > 0 && a.rate_per_replica.per_sec() > 0)
    a.ttft_objective_ms = ttft_quantile_ms(replica_of(view, *profile, a.max_batch), a.rate_per_replica, percentile / 100);
}

void predict_at(const variant_view& view, allocation& a, req_rate rate) {
  const auto* profile = profile_of(view, a.accelerator);
  if (!profile || rate.per_sec() <= 0) return;
  const auto at = analyze(replica_of(view, *profile, a.max_batch), rate);
  a.rate_per_replica = rate;
  a.itl_ms = at.itl_ms;
  a.wait_ms = at.wait_ms;
  a.ttft_ms = at.ttft_ms;
  a.busy = at.busy;
  a.rho = at.rho;
}

}  // namespace inferno::model

#include "actors/leader.hpp"

#include <fmt/format.h>

#include <caf/actor_clock.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/backoff.hpp"
#include "actors/death.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

enum : int { retry_tick = 0, give_up = 1, deadline_tick = 2 };

std::string text(const json::object& o, std::string_view field) {
  const auto* v = o.if_contains(field);
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

json::object& spec_of(json::object& lease) {
  auto& spec = lease["spec"];
  if (!spec.is_object()) spec = json::object{};
  return spec.get_object();
}

/// Rounded up: whoever reads it must not wait for less than we count on.
std::int64_t in_seconds(std::chrono::milliseconds d) {
  return std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(d).count());
}

}  // namespace

std::string validate(const leader_config& c) {
  if (c.identity.empty()) return "leader election: identity must not be empty";
  if (c.renew_deadline >= c.lease_duration) return "leader election: the renew deadline must be shorter than the lease duration";
  if (c.retry_period >= c.renew_deadline) return "leader election: the retry period must be shorter than the renew deadline";
  if (c.retry_period.count() <= 0) return "leader election: the retry period must be positive";
  return {};
}

kube_api::object_done leader_state::completion(call kind) {
  pending = kind;
  asked = self->clock().now();
  return [handle = leader_actor{self}, at = ++epoch](net::result<json::object> r) {
    caf::anon_send(handle, api_result{0, at, std::make_shared<const net::result<json::object>>(std::move(r))});
  };
}

void leader_state::set_leading(bool now) {
  if (std::exchange(leading, now) == now) return;
  // At once: words to the actors take their time, and a cycle may be in its middle.
  if (!now) config.api->allow_writes(kube_api::never);
  config.logger.info(now ? "Became leader" : "Lost leadership", {{"lease", config.lease.name}, {"identity", config.identity}});
  self->send(config.supervisor, leadership{now});
}

/// A holder that cannot renew stops before others may take over, whatever its API calls are doing.
void leader_state::check_deadline() {
  if (leading && self->clock().now() - renewed >= config.renew_deadline) set_leading(false);
}

void leader_state::arm_retry() {
  // A holder keeps its rhythm: the time it has is short enough.
  if (leading) return self->delayed_send(self, config.retry_period, tick{retry_tick});
  // Candidates do not ask in step.
  self->delayed_send(self, jittered(config.retry_period, fmt::format("{} {}", config.identity, epoch)), tick{retry_tick});
}

void leader_state::attempt() {
  if (pending != call::none) {
    // A call that does not come back must not block the election for ever.
    if (self->clock().now() - asked < config.renew_deadline) return;
    pending = call::none;
  }
  if (self->clock().now() < not_before) return;
  config.api->get(kube::resources::leases, config.lease, "", kube::lane::scale, completion(call::read));
}

void leader_state::write(json::object lease, call kind) {
  if (kind == call::create) {
    config.api->create(kube::resources::leases, config.lease.ns, std::move(lease), completion(kind));
  } else {
    config.api->replace(kube::resources::leases, config.lease, std::move(lease), completion(kind));
  }
}

/// How long the holder's renewals count, as the record says: the holder may run with other settings. At most a year.
std::chrono::milliseconds leader_state::duration_of(std::int64_t seconds) const {
  if (seconds <= 0) return config.lease_duration;
  return std::chrono::seconds(std::min<std::int64_t>(seconds, 365 * 86400));
}

void leader_state::consider(json::object lease) {
  auto& spec = spec_of(lease);
  const auto holder = text(spec, "holderIdentity");
  const auto theirs = kube::integer_at(spec, {"leaseDurationSeconds"}, 0);
  const auto record = fmt::format("{}|{}|{}", holder, text(spec, "renewTime"), theirs);
  const auto now = self->clock().now();
  if (record != seen_record) {
    seen_record = record;
    observed = now;
  }
  const bool ours = holder == config.identity;
  if (!ours && !holder.empty() && now - observed < duration_of(theirs)) {
    whole_again();
    set_leading(false);
    return;
  }
  const auto stamp = kube::format_micro_time(config.now());
  if (!ours) {
    const auto* transitions = spec.if_contains("leaseTransitions");
    const auto count = transitions && transitions->is_int64() ? transitions->get_int64() : 0;
    const bool held_before = !holder.empty() || spec.contains("acquireTime");
    spec["leaseTransitions"] = held_before ? count + 1 : count;
    spec["holderIdentity"] = config.identity;
    spec["acquireTime"] = stamp;
  }
  spec["leaseDurationSeconds"] = in_seconds(config.lease_duration);
  spec["renewTime"] = stamp;
  write(std::move(lease), call::update);
}

void leader_state::whole_again() {
  if (!std::exchange(told_problem, {}).empty())
    config.logger.info("Leader election: API calls succeed again", {{"lease", config.lease.name}});
}

void leader_state::answered(const net::result<json::object>& r) {
  const auto kind = std::exchange(pending, call::none);
  if (stopping) {
    // The lease may just have become ours: that too is to be given back.
    const bool acquired = r && (kind == call::create || kind == call::update);
    if (kind == call::release || (!leading && !acquired)) return self->quit();
    return release();
  }
  const bool missing = !r && r.error().kind == net::error_kind::status && r.error().status == 404;
  if (kind == call::read && missing) {
    const auto stamp = kube::format_micro_time(config.now());
    json::object spec{{"holderIdentity", config.identity},
                      {"leaseDurationSeconds", in_seconds(config.lease_duration)},
                      {"acquireTime", stamp},
                      {"renewTime", stamp},
                      {"leaseTransitions", 0}};
    json::object lease{{"apiVersion", "coordination.k8s.io/v1"},
                       {"kind", "Lease"},
                       {"metadata", json::object{{"name", config.lease.name}, {"namespace", config.lease.ns}}},
                       {"spec", std::move(spec)}};
    return write(std::move(lease), call::create);
  }
  if (!r) {
    // 409: somebody was faster; the next attempt reads what there is.
    if (r.error().status != 409 && told_problem != r.error().message) {
      told_problem = r.error().message;
      config.logger.warn("Leader election: API call failed", {{"lease", config.lease.name}, {"error", told_problem}});
    }
    // A holder asks again before its deadline all the same, a candidate while a lease may run out: one that is lost to patience
    // helps nobody.
    if (r.error().retry_after)
      not_before =
          self->clock().now() + std::min(*r.error().retry_after, leading ? config.renew_deadline / 4 : config.lease_duration);
    if (r.error().status != 409) self->send(config.supervisor, error_noted{"leader", "api"});
    return check_deadline();
  }
  if (kind == call::read) return consider(*r);
  whole_again();
  // The lease counts from before the call: the renewal may have taken effect at any time since.
  renewed = asked;
  // The gate closes by itself, even when nobody gets to run here in time.
  config.api->allow_writes(renewed + config.renew_deadline);
  // The retry ticks alone may fall after the deadline, when others already take over.
  self->delayed_send(self, asked + config.renew_deadline - self->clock().now(), tick{deadline_tick});
  set_leading(true);
}

void leader_state::release() {
  // From the moment it is given back the next leader may write.
  config.api->allow_writes(kube_api::never);
  config.api->get(
      kube::resources::leases, config.lease, "", kube::lane::scale,
      [handle = leader_actor{self}, api = config.api, lease = config.lease, identity = config.identity,
       at = ++epoch](net::result<json::object> r) {
        const auto finish = [handle, at](net::result<json::object> done) {
          caf::anon_send(handle, api_result{0, at, std::make_shared<const net::result<json::object>>(std::move(done))});
        };
        if (!r) return finish(std::move(r));
        auto& spec = spec_of(*r);
        if (text(spec, "holderIdentity") != identity) return finish(std::move(r));
        spec["holderIdentity"] = "";
        spec["leaseDurationSeconds"] = 1;
        api->replace(kube::resources::leases, lease, std::move(*r), finish);
      });
  pending = call::release;
}

leader_actor::behavior_type leader(leader_actor::stateful_pointer<leader_state> self, leader_config config) {
  keep_reason_of_death(self);
  auto& s = self->state;
  s.self = self;
  s.config = std::move(config);
  s.attempt();
  s.arm_retry();
  return {
      [self](const api_result& r) {
        auto& state = self->state;
        if (r.epoch == state.epoch) state.answered(*r.result);
      },
      [self](const tick& t) {
        auto& state = self->state;
        if (t.what == give_up) return self->quit();
        if (state.stopping) return;
        if (t.what == deadline_tick) return state.check_deadline();
        state.arm_retry();
        state.check_deadline();
        state.attempt();
      },
      [self](stop_request) {
        auto& state = self->state;
        if (std::exchange(state.stopping, true)) return;
        if (!state.leading && state.pending == leader_state::call::none) return self->quit();
        self->delayed_send(self, state.config.stop_patience, tick{give_up});
        if (state.pending == leader_state::call::none) state.release();
      },
  };
}

}  // namespace inferno::actors

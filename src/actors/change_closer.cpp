#include "actors/change_closer.hpp"

#include <algorithm>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/accelerator_change.hpp"
#include "actors/death.hpp"
#include "actors/decode.hpp"

namespace inferno::actors {
namespace {

enum : int { retry_tick = 0, look_again_tick = 1 };

bool not_found(const net::result<json::object>& r) {
  return !r && r.error().kind == net::error_kind::status && r.error().status == 404;
}

}  // namespace

kube_api::object_done change_closer_state::completion(call what) {
  pending = what;
  return [handle = change_closer_actor{self}, at = ++epoch](net::result<json::object> r) {
    caf::anon_send(handle, api_result{0, at, std::make_shared<const net::result<json::object>>(std::move(r))});
  };
}

void change_closer_state::proceed() {
  if (pending != call::none || paused) return;
  const auto next = std::find_if(orphans->begin(), orphans->end(), [&](const auto& o) { return !settled.count(o.target); });
  if (next == orphans->end()) return;
  current = *next;
  config.api->get(kube::resources::variantautoscalings, {current->target.ns, current->variant}, "", kube::lane::status,
                  completion(call::variant));
}

/// Whether nothing has the Deployment as its target: the variant is deleted, excluded, or scales another one now.
bool change_closer_state::still_orphaned(const net::result<json::object>& variant) const {
  if (not_found(variant)) return true;
  const auto v = decode_variant(*variant);
  return v.excluded || v.target != current->target;
}

/// Done with the present one.
void change_closer_state::settle(bool look_again) {
  settled.insert(current->target);
  if (look_again) self->delayed_send(self, config.retry_max, tick{look_again_tick});
  proceed();
}

void change_closer_state::answered(const net::result<json::object>& r) {
  const auto what = std::exchange(pending, call::none);
  const auto& target = current->target;
  const bool wanted = std::any_of(orphans->begin(), orphans->end(), [&](const auto& o) { return o.target == target; });
  if (!wanted) return proceed();
  if (not_found(r) && what != call::variant) return settle(false);
  if (!r && !not_found(r)) {
    // Written meanwhile: all is asked for again.
    if (r.error().kind != net::error_kind::cancelled && r.error().status != 409) {
      config.logger.warn("A move without a variant could not be ended",
                         {{"deployment", target.name}, {"namespace", target.ns}, {"error", r.error().message}});
      self->send(config.board, error_noted{"change_closer", "api"});
    }
    paused = true;
    return self->delayed_send(self, pause.next(config.retry_min, config.retry_max, &r.error()), tick{retry_tick});
  }
  pause.reset();
  if (what == call::variant) {
    if (!still_orphaned(r)) return settle(true);
    return config.api->get(kube::resources::deployments, {target.ns, target.name}, "", kube::lane::scale,
                           completion(call::deployment));
  }
  if (what == call::deployment) {
    const auto change = decode_change(*r);
    if (!change || change->phase == accelerator_change::step::failed || change->variant != current->variant) return settle(false);
    return config.api->merge_patch(kube::resources::deployments, {target.ns, target.name}, abandon_change(*r), "",
                                   completion(call::patch));
  }
  config.logger.info("Ended a move to another accelerator whose variant is gone",
                     {{"deployment", target.name}, {"namespace", target.ns}, {"variant", current->variant}});
  settle(false);
}

change_closer_actor::behavior_type change_closer(change_closer_actor::stateful_pointer<change_closer_state> self,
                                                 change_closer_config config) {
  keep_reason_of_death(self);
  self->state.self = self;
  self->state.config = std::move(config);
  return {
      [self](const orphans_changed& m) {
        auto& s = self->state;
        s.orphans = m.all;
        std::erase_if(s.settled, [&](const target_ref& t) {
          return std::none_of(m.all->begin(), m.all->end(), [&](const auto& o) { return o.target == t; });
        });
        s.proceed();
      },
      [self](const api_result& r) {
        if (r.epoch == self->state.epoch) self->state.answered(*r.result);
      },
      [self](const tick& t) {
        if (t.what == look_again_tick) {
          self->state.settled.clear();
        } else {
          self->state.paused = false;
        }
        self->state.proceed();
      },
  };
}

}  // namespace inferno::actors

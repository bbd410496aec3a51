#include "actors/kube_watcher.hpp"

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/death.hpp"
#include "actors/decode.hpp"

namespace inferno::actors {
namespace {

const kube::resource& resource_of(watch_kind kind) {
  switch (kind) {
    case watch_kind::variants:
      return kube::resources::variantautoscalings;
    case watch_kind::deployments:
      return kube::resources::deployments;
    case watch_kind::statefulsets:
      return kube::resources::statefulsets;
    case watch_kind::autoscalers:
      return kube::resources::horizontalpodautoscalers;
    case watch_kind::pods:
      return kube::resources::pods;
    case watch_kind::nodes:
      return kube::resources::nodes;
    case watch_kind::configs:
      break;
  }
  return kube::resources::configmaps;
}

kube_object decode(watch_kind kind, const json::object& object) {
  switch (kind) {
    case watch_kind::variants:
      return decode_variant(object);
    case watch_kind::deployments:
    case watch_kind::statefulsets:
      return decode_workload(object, workload_kind(kind));
    case watch_kind::autoscalers:
      return decode_autoscaler(object);
    case watch_kind::pods:
      return decode_pod(object);
    case watch_kind::nodes:
      return decode_node(object);
    case watch_kind::configs:
      break;
  }
  return decode_config(object);
}

/// Calls come on the port's thread; large JSON is reduced there and never enters a mailbox. The handle is weak: a sink must not
/// keep its own subscription's owner alive.
kube::reflector_sink make_sink(watch_kind kind, std::uint64_t number, const kube_watcher_actor& self) {
  const caf::actor_addr address = self.address();
  const auto forward = [address](auto message) {
    if (const auto strong = caf::actor_cast<kube_watcher_actor>(address)) caf::anon_send(strong, std::move(message));
  };
  kube::reflector_sink sink;
  sink.replaced = [=](std::vector<json::object> objects) {
    auto decoded = std::make_shared<std::vector<kube_object>>();
    decoded->reserve(objects.size());
    for (const auto& o : objects) decoded->push_back(decode(kind, o));
    forward(objects_replaced{kind, std::move(decoded), number});
  };
  sink.changed = [=](const kube::watch_event& e) {
    if (e.type == kube::watch_type::deleted) {
      forward(object_removed{kind, key_of(e.object)});
    } else {
      forward(object_upserted{kind, std::make_shared<const kube_object>(decode(kind, e.object))});
    }
  };
  sink.health = [=](std::optional<net::error> e) { forward(watch_health{kind, e ? e->message : std::string()}); };
  return sink;
}

}  // namespace

void kube_watcher_state::subscribe() {
  kube::list_options options;
  options.ns = config.ns;
  options.label_selector = config.label_selector;
  listed = false;
  subscription.reset();
  subscription =
      config.api->watch(resource_of(config.kind), std::move(options), make_sink(config.kind, ++number, kube_watcher_actor{self}));
}

/// A first list that is still to come is as fresh as another one.
void kube_watcher_state::begin_term(std::uint64_t term) {
  config.term = term;
  if (listed) subscribe();
}

kube_watcher_actor::behavior_type kube_watcher(kube_watcher_actor::stateful_pointer<kube_watcher_state> self,
                                               kube_watcher_config config) {
  keep_reason_of_death(self);
  auto& s = self->state;
  s.self = self;
  s.config = std::move(config);
  s.subscribe();
  return {
      [self](const objects_replaced& m) {
        auto& state = self->state;
        // What an earlier subscription had on its way is older than what the fleet is waiting for.
        if (m.term != state.number) return;
        state.listed = true;
        self->send(state.config.fleet, objects_replaced{m.kind, m.objects, state.config.term});
      },
      [self](const object_upserted& m) { self->send(self->state.config.fleet, m); },
      [self](const object_removed& m) { self->send(self->state.config.fleet, m); },
      [self](const watch_health& m) { self->send(self->state.config.fleet, m); },
      [self](const leadership& m) {
        if (m.leading) self->state.begin_term(m.term);
      },
  };
}

}  // namespace inferno::actors

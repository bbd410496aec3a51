#include "actors/kube_watcher.hpp"

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

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
kube::reflector_sink make_sink(watch_kind kind, const kube_watcher_actor& self) {
  const caf::actor_addr address = self.address();
  const auto forward = [address](auto message) {
    if (const auto strong = caf::actor_cast<kube_watcher_actor>(address)) caf::anon_send(strong, std::move(message));
  };
  kube::reflector_sink sink;
  sink.replaced = [=](std::vector<json::object> objects) {
    auto decoded = std::make_shared<std::vector<kube_object>>();
    decoded->reserve(objects.size());
    for (const auto& o : objects) decoded->push_back(decode(kind, o));
    forward(objects_replaced{kind, std::move(decoded)});
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

kube_watcher_actor::behavior_type kube_watcher(kube_watcher_actor::stateful_pointer<kube_watcher_state> self,
                                               kube_watcher_config config) {
  auto& s = self->state;
  s.config = std::move(config);
  kube::list_options options;
  options.ns = s.config.ns;
  options.label_selector = s.config.label_selector;
  s.subscription = s.config.api->watch(resource_of(s.config.kind), std::move(options), make_sink(s.config.kind, self));
  return {
      [self](const objects_replaced& m) { self->send(self->state.config.fleet, m); },
      [self](const object_upserted& m) { self->send(self->state.config.fleet, m); },
      [self](const object_removed& m) { self->send(self->state.config.fleet, m); },
      [self](const watch_health& m) { self->send(self->state.config.fleet, m); },
  };
}

}  // namespace inferno::actors

#include "testbed/cluster/actors.hpp"

#include <fmt/format.h>

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "testbed/cluster/workloads.hpp"

namespace inferno::testbed {
namespace {

/// The name of the controlling owner of this kind, "" when there is none.
std::string owner_of(const json::object& o, std::string_view kind) {
  const auto* owners = find(o, {"metadata", "ownerReferences"});
  if (owners && owners->is_array())
    for (const auto& owner : owners->get_array())
      if (owner.is_object() && text_at(owner.get_object(), {"kind"}) == kind) return text_at(owner.get_object(), {"name"});
  return {};
}

}  // namespace

store_actor::behavior_type api_store(store_actor::stateful_pointer<store_state> self, object_store::settings settings,
                                     kubelet_config config) {
  auto& s = self->state;
  s.objects = std::make_unique<object_store>(std::move(settings));
  const store_actor me{self};
  s.deployments = self->spawn(deployment_controller, me);
  s.scheduler = self->spawn(gpu_scheduler, me);
  s.nodes = self->spawn(kubelet, me, std::move(config));
  s.objects->subscribe([self](const change& c) {
    const auto& plural = c.kind->plural;
    const bool pods = plural == "pods";
    if (!pods && plural != "deployments" && plural != "replicasets" && plural != "nodes") return;
    const object_changed m{std::make_shared<const change>(c)};
    if (plural != "nodes") self->send(self->state.deployments, m);
    if (pods || plural == "nodes") self->send(self->state.scheduler, m);
    if (pods) self->send(self->state.nodes, m);
  });
  return {
      [self](const store_call& m) {
        // One object that a controller cannot cope with must not end the API server.
        try {
          m.run(*self->state.objects);
        } catch (const std::exception& e) {
          fmt::print(stderr, "emulated cluster: {}\n", e.what());
        }
      },
      [self](stop_cluster m) {
        auto& state = self->state;
        self->send(state.deployments, m);
        self->send(state.scheduler, m);
        self->send(state.nodes, m);
        // The controllers hold this actor's handle and it holds theirs.
        state.deployments = state.scheduler = nullptr;
        state.nodes = nullptr;
        self->quit();
      },
  };
}

controller_actor::behavior_type deployment_controller(controller_actor::stateful_pointer<controller_state> self,
                                                      store_actor store) {
  self->state.store = std::move(store);
  const auto reconcile = [self](auto function, object_name name) {
    self->send(self->state.store, store_call{[function, name = std::move(name)](object_store& s) { function(s, name); }});
  };
  return {
      [=](const object_changed& m) {
        const auto& c = *m.what;
        const auto& object = c.after ? *c.after : *c.last;
        if (c.kind->plural == "deployments") return reconcile(reconcile_deployment, c.name);
        if (c.kind->plural == "replicasets") {
          if (c.after) reconcile(reconcile_replicaset, c.name);
          if (const auto owner = owner_of(object, "Deployment"); !owner.empty())
            reconcile(reconcile_deployment, {c.name.ns, owner});
          return;
        }
        if (const auto owner = owner_of(object, "ReplicaSet"); !owner.empty())
          reconcile(reconcile_replicaset, {c.name.ns, owner});
      },
      [](controller_wake) {},
      [self](stop_cluster) {
        self->state.store = nullptr;
        self->quit();
      },
  };
}

controller_actor::behavior_type gpu_scheduler(controller_actor::stateful_pointer<controller_state> self, store_actor store) {
  self->state.store = std::move(store);
  return {
      [self](const object_changed& m) {
        // Many changes, one look: pods that wait are all considered together.
        const auto& c = *m.what;
        const bool unbound = c.after && c.kind->plural == "pods" && text_at(*c.after, {"spec", "nodeName"}).empty() && !c.before;
        const bool room = !c.after || c.kind->plural == "nodes" || text_at(*c.after, {"status", "phase"}) == "Failed";
        if ((!unbound && !room) || std::exchange(self->state.pending, true)) return;
        self->send(self, controller_wake{});
      },
      [self](controller_wake) {
        self->state.pending = false;
        self->send(self->state.store, store_call{[](object_store& s) { schedule_pods(s); }});
      },
      [self](stop_cluster) {
        self->state.store = nullptr;
        self->quit();
      },
  };
}

}  // namespace inferno::testbed

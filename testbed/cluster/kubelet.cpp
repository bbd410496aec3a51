// The kubelet of every node: starts what is bound, tells how it is, ends what is deleted.
#include <fmt/format.h>

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "testbed/cluster/actors.hpp"
#include "testbed/cluster/pod_status.hpp"
#include "testbed/cluster/workloads.hpp"

namespace inferno::testbed {
namespace {

void write_status(object_store& store, const object_name& name, const std::string& uid,
                  const std::function<json::object(const json::object&)>& make) {
  const auto kind = store.kind_named("Pod");
  const auto pod = store.get(*kind, name);
  if (!pod || text_at(**pod, {"metadata", "uid"}) != uid) return;
  json::object next = **pod;
  next["status"] = make(**pod);
  object_at(next, {"metadata"}).erase("resourceVersion");
  (void)store.update(kind, name, std::move(next), "status");
}

}  // namespace

std::string kubelet_state::new_address() {
  constexpr unsigned all = 250 * 250;
  for (unsigned tried = 0; tried < all; ++tried) {
    const unsigned n = next_address++;
    auto ip = fmt::format("127.{}.{}.{}", config.second_octet, n / 250 % 250, 1 + n % 250);
    if (addresses.insert(ip).second) return ip;
  }
  throw std::runtime_error(fmt::format("all {} pod addresses are in use", all));
}

void kubelet_state::changed(const change& c) {
  const auto& object = c.after ? *c.after : *c.last;
  const auto uid = text_at(object, {"metadata", "uid"});
  const bool deleted = !c.after || find(object, {"metadata", "deletionTimestamp"});
  const auto it = pods.find(uid);
  if (it == pods.end()) {
    if (deleted || text_at(object, {"spec", "nodeName"}).empty()) return;
    running r;
    r.name = c.name;
    r.ip = new_address();
    pods.emplace(uid, r);
    self->send(store, store_call{[name = c.name, uid, ip = r.ip](object_store& s) {
                 write_status(s, name, uid, [&](const json::object& pod) {
                   return pod_status(pod, {ip, false, 0, "ContainerCreating", "starting"}, s.timestamp());
                 });
               }});
    self->delayed_send(self, config.start_delay, start_pod{c.name, uid});
    return;
  }
  if (!deleted) return;
  // Without the object, or with a period of 0, the pod is killed.
  const std::chrono::seconds grace(c.after ? integer_at(object, {"metadata", "deletionGracePeriodSeconds"}, 30) : 0);
  auto& r = it->second;
  if (r.ending && grace >= *r.ending) return;
  const bool again = r.ending.has_value();
  r.ending = grace;
  if (!again && c.after)
    self->send(store, store_call{[name = c.name, uid](object_store& s) {
                 write_status(s, name, uid, [&](const json::object& pod) { return terminating_status(pod, s.timestamp()); });
               }});
  const auto ended = [name = c.name, uid, me = kubelet_actor{self}] { caf::anon_send(me, pod_stopped{name, uid}); };
  if (!config.runtime) return ended();
  config.runtime->stop(c.name.ns, c.name.name, grace, ended);
}

void kubelet_state::start(const start_pod& m) {
  const auto it = pods.find(m.uid);
  if (it == pods.end() || it->second.ending) return;
  // The newest spec is with the store; what comes back goes to this actor again.
  self->send(store, store_call{[m, ip = it->second.ip, runtime = config.runtime, me = kubelet_actor{self}](object_store& s) {
               const auto pod = s.peek("pods", m.name);
               if (!pod || text_at(*pod, {"metadata", "uid"}) != m.uid || find(*pod, {"metadata", "deletionTimestamp"})) return;
               auto spec = runtime ? server_of(*pod, ip) : std::nullopt;
               const auto done = [m, me](bool ok, std::string error) {
                 caf::anon_send(me, pod_started{m.name, m.uid, ok, std::move(error)});
               };
               if (!spec) return done(true, {});
               if (const auto node = s.peek("nodes", {"", spec->node})) spec->accelerator = gpu_product(*node);
               runtime->start(std::move(*spec), done);
             }});
}

void kubelet_state::started(const pod_started& m) {
  const auto it = pods.find(m.uid);
  // Deleted while it was starting: what has been started has to end.
  if (it == pods.end() || it->second.ending) {
    if (m.ok && config.runtime) config.runtime->stop(m.name.ns, m.name.name, std::chrono::milliseconds(0), [] {});
    return;
  }
  auto& r = it->second;
  if (!m.ok) ++r.restarts;
  r.started = m.ok;
  self->send(store, store_call{[m, ip = r.ip, restarts = r.restarts](object_store& s) {
               write_status(s, m.name, m.uid, [&](const json::object& pod) {
                 return pod_status(pod, {ip, m.ok, restarts, "CrashLoopBackOff", m.error}, s.timestamp());
               });
               if (const auto pod = s.peek("pods", m.name))
                 record_event(s, *pod, "kubelet", m.ok ? "Started" : "BackOff",
                              m.ok ? "Started container" : "Back-off restarting failed container: " + m.error, !m.ok);
             }});
  if (!m.ok)
    self->delayed_send(self, std::chrono::seconds(std::min(300, 1 << std::min(r.restarts, 8))), start_pod{m.name, m.uid});
}

void kubelet_state::end(const end_pod& m) {
  const auto it = pods.find(m.uid);
  if (it == pods.end()) return;
  addresses.erase(it->second.ip);
  pods.erase(it);
  self->send(store, store_call{[m](object_store& s) {
               const auto pod = s.peek("pods", m.name);
               if (pod && text_at(*pod, {"metadata", "uid"}) == m.uid)
                 (void)s.remove(s.kind_named("Pod"), m.name, {.at_once = true, .orphan = false});
             }});
}

kubelet_actor::behavior_type kubelet(kubelet_actor::stateful_pointer<kubelet_state> self, store_actor store,
                                     kubelet_config config) {
  auto& s = self->state;
  s.self = self;
  s.store = std::move(store);
  s.config = std::move(config);
  return {
      [self](const object_changed& m) { self->state.changed(*m.what); },
      [self](const start_pod& m) { self->state.start(m); },
      [self](const pod_started& m) { self->state.started(m); },
      [self](const pod_stopped& m) {
        self->delayed_send(self, self->state.config.stop_delay, end_pod{m.name, m.uid});
      },
      [self](const end_pod& m) { self->state.end(m); },
      [self](stop_cluster) {
        auto& state = self->state;
        if (state.config.runtime)
          for (const auto& [uid, r] : state.pods)
            state.config.runtime->stop(r.name.ns, r.name.name, std::chrono::milliseconds(0), [] {});
        state.store = nullptr;
        self->quit();
      },
  };
}

}  // namespace inferno::testbed

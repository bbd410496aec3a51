// The GPU scheduler of the emulated cluster.
#include <fmt/format.h>

#include "testbed/cluster/placement.hpp"
#include "testbed/cluster/workloads.hpp"

namespace inferno::testbed {
namespace {

void refuse(object_store& store, const json::object& pod, const std::string& why) {
  json::object next = pod;
  if (!set_condition(store, object_at(next, {"status"}), "PodScheduled", false, "Unschedulable", why)) return;
  object_at(next, {"metadata"}).erase("resourceVersion");
  (void)store.update(store.kind_named("Pod"), {text_at(pod, {"metadata", "namespace"}), text_at(pod, {"metadata", "name"})},
                     std::move(next), "status");
  record_event(store, pod, "default-scheduler", "FailedScheduling", why, true);
}

void bind_to_node(object_store& store, const json::object& pod, const std::string& node) {
  const auto kind = store.kind_named("Pod");
  const object_name name{text_at(pod, {"metadata", "namespace"}), text_at(pod, {"metadata", "name"})};
  (void)store.patch(kind, name, json::object{{"spec", json::object{{"nodeName", node}}}}, patch_kind::merge);
  const auto bound = store.get(*kind, name);
  if (!bound) return;
  json::object next = **bound;
  set_condition(store, object_at(next, {"status"}), "PodScheduled", true, "", "");
  (void)store.update(kind, name, std::move(next), "status");
  record_event(store, pod, "default-scheduler", "Scheduled",
               fmt::format("Successfully assigned {}/{} to {}", name.ns, name.name, node));
}

}  // namespace

void schedule_pods(object_store& store) {
  for (const auto& p : place_pods(store.all("nodes"), store.all("pods"))) {
    if (p.node.empty()) {
      refuse(store, *p.pod, p.problem);
    } else {
      bind_to_node(store, *p.pod, p.node);
    }
  }
}

}  // namespace inferno::testbed

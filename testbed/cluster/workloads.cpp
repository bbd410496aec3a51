#include "testbed/cluster/workloads.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "testbed/cluster/pod_status.hpp"

namespace inferno::testbed {
namespace {

constexpr const char* hash_label = "pod-template-hash";

object_name name_of(const json::object& o) { return {text_at(o, {"metadata", "namespace"}), text_at(o, {"metadata", "name"})}; }

json::object owner_reference(const json::object& owner) {
  return {{"apiVersion", text_at(owner, {"apiVersion"})},
          {"kind", text_at(owner, {"kind"})},
          {"name", text_at(owner, {"metadata", "name"})},
          {"uid", text_at(owner, {"metadata", "uid"})},
          {"controller", true},
          {"blockOwnerDeletion", true}};
}

std::vector<object_ptr> owned(const object_store& store, const std::string& plural, const json::object& owner) {
  return store.dependents(plural, text_at(owner, {"metadata", "uid"}));
}

std::string template_hash(const json::object& deployment) {
  const auto* t = find(deployment, {"spec", "template"});
  std::uint64_t h = 1469598103934665603ull;
  for (const char c : t ? json::serialize(*t) : std::string()) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  static constexpr std::string_view letters = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  for (int i = 0; i < 9; ++i, h /= letters.size()) out += letters[h % letters.size()];
  return out;
}

void set_replicas(object_store& store, const json::object& set, long replicas) {
  if (integer_at(set, {"spec", "replicas"}, 0) == replicas) return;
  (void)store.patch(store.kind_named("ReplicaSet"), name_of(set), json::object{{"spec", json::object{{"replicas", replicas}}}},
                    patch_kind::merge);
}

object_ptr make_replicaset(object_store& store, const json::object& d, const std::string& hash) {
  json::object labels;
  if (const auto* l = find(d, {"spec", "template", "metadata", "labels"}); l && l->is_object()) labels = l->get_object();
  labels[hash_label] = hash;
  json::object spec;
  spec["replicas"] = 0;
  spec["selector"] = json::object{{"matchLabels", labels}};
  spec["template"] = *find(d, {"spec", "template"});
  object_at(spec, {"template", "metadata"})["labels"] = labels;
  json::object set{{"metadata", json::object{{"name", fmt::format("{}-{}", text_at(d, {"metadata", "name"}), hash)},
                                             {"labels", labels},
                                             {"annotations", json::object{{"deployment.kubernetes.io/revision", "1"}}},
                                             {"ownerReferences", json::array{owner_reference(d)}}}},
                   {"spec", std::move(spec)}};
  auto made = store.create(store.kind_named("ReplicaSet"), text_at(d, {"metadata", "namespace"}), std::move(set));
  return made ? *made : nullptr;
}

void write_status(object_store& store, const kind_ptr& kind, const json::object& o, json::object status) {
  json::object next = o;
  next["status"] = std::move(status);
  object_at(next, {"metadata"}).erase("resourceVersion");
  (void)store.update(kind, name_of(o), std::move(next), "status");
}

json::object pod_from(const json::object& set) {
  json::object pod;
  pod["metadata"] = json::object{};
  if (const auto* meta = find(set, {"spec", "template", "metadata"}); meta && meta->is_object()) pod["metadata"] = *meta;
  auto& meta = object_at(pod, {"metadata"});
  meta["generateName"] = text_at(set, {"metadata", "name"}) + "-";
  meta["ownerReferences"] = json::array{owner_reference(set)};
  if (const auto* spec = find(set, {"spec", "template", "spec"})) pod["spec"] = *spec;
  auto& spec = object_at(pod, {"spec"});
  spec.emplace("restartPolicy", "Always");
  spec.emplace("schedulerName", "default-scheduler");
  spec.emplace("terminationGracePeriodSeconds", 30);
  object_at(pod, {"status"})["phase"] = "Pending";
  return pod;
}

}  // namespace

bool is_ready(const json::object& pod) {
  const auto* conditions = find(pod, {"status", "conditions"});
  return conditions && conditions->is_array() &&
         std::any_of(conditions->get_array().begin(), conditions->get_array().end(), [](const json::value& c) {
           return c.is_object() && text_at(c.get_object(), {"type"}) == "Ready" && text_at(c.get_object(), {"status"}) == "True";
         });
}

bool set_condition(object_store& store, json::object& status, std::string_view type, bool value, std::string_view reason,
                   const std::string& message) {
  return set_condition(status, type, value, reason, message, store.timestamp());
}

void record_event(object_store& store, const json::object& about, std::string_view component, std::string_view reason,
                  const std::string& message, bool warning) {
  const auto kind = store.kind_named("Event");
  const auto ns =
      text_at(about, {"metadata", "namespace"}).empty() ? std::string("default") : text_at(about, {"metadata", "namespace"});
  const auto uid = text_at(about, {"metadata", "uid"});
  const auto hash = std::hash<std::string>{}(fmt::format("{}|{}|{}", uid, reason, message)) & 0xffffffffffff;
  const object_name name{ns, fmt::format("{}.{:012x}", text_at(about, {"metadata", "name"}), hash)};
  if (const auto before = store.get(*kind, name)) {
    (void)store.patch(kind, name,
                      json::object{{"count", integer_at(**before, {"count"}, 1) + 1}, {"lastTimestamp", store.timestamp()}},
                      patch_kind::merge);
    return;
  }
  json::object object{{"apiVersion", text_at(about, {"apiVersion"})},
                      {"kind", text_at(about, {"kind"})},
                      {"name", text_at(about, {"metadata", "name"})},
                      {"uid", uid}};
  if (const auto own = text_at(about, {"metadata", "namespace"}); !own.empty()) object["namespace"] = own;
  (void)store.create(kind, ns,
                     {{"metadata", json::object{{"name", name.name}}},
                      {"involvedObject", std::move(object)},
                      {"reason", reason},
                      {"message", message},
                      {"type", warning ? "Warning" : "Normal"},
                      {"count", 1},
                      {"firstTimestamp", store.timestamp()},
                      {"lastTimestamp", store.timestamp()},
                      {"source", json::object{{"component", component}}},
                      {"reportingComponent", component}});
}

void reconcile_deployment(object_store& store, const object_name& name) {
  const auto kind = store.kind_named("Deployment");
  const auto found = store.get(*kind, name);
  if (!found) return;
  const auto& d = **found;
  const long want = integer_at(d, {"spec", "replicas"}, 1);
  const auto hash = template_hash(d);
  object_ptr newest;
  std::vector<object_ptr> older;
  for (const auto& set : owned(store, "replicasets", d)) {
    if (text_at(*set, {"metadata", "labels", hash_label}) == hash) {
      newest = set;
    } else {
      older.push_back(set);
    }
  }
  if (!newest) newest = make_replicaset(store, d, hash);
  if (!newest) return;
  const long had = integer_at(*newest, {"spec", "replicas"}, 0);
  if (had != want) {
    record_event(store, d, "deployment-controller", "ScalingReplicaSet",
                 fmt::format("Scaled {} replica set {} from {} to {}", want > had ? "up" : "down",
                             text_at(*newest, {"metadata", "name"}), had, want));
    set_replicas(store, *newest, want);
    newest = *store.get(*store.kind_named("ReplicaSet"), name_of(*newest));
  }
  // Old pods go as new ones become ready: the new set is there in full first, so capacity never drops (maxSurge 100%).
  long ready_new = integer_at(*newest, {"status", "readyReplicas"}, 0);
  long total = integer_at(*newest, {"status", "replicas"}, 0);
  long ready = ready_new;
  for (const auto& set : older) {
    const long keep = std::max(0l, std::min(integer_at(*set, {"spec", "replicas"}, 0), want - ready_new));
    set_replicas(store, *set, keep);
    total += integer_at(*set, {"status", "replicas"}, 0);
    ready += integer_at(*set, {"status", "readyReplicas"}, 0);
  }
  json::object status;
  if (const auto* s = d.if_contains("status"); s && s->is_object()) status = s->get_object();
  status["observedGeneration"] = integer_at(d, {"metadata", "generation"}, 1);
  const auto put = [&](const char* field, long n) {
    if (n > 0) {
      status[field] = n;
    } else {
      status.erase(field);
    }
  };
  put("replicas", total);
  put("updatedReplicas", integer_at(*newest, {"status", "replicas"}, 0));
  put("readyReplicas", ready);
  put("availableReplicas", ready);
  put("unavailableReplicas", std::max(0l, want - ready));
  const bool available = ready >= std::min(want, std::max(1l, want));
  set_condition(store, status, "Available", available, available ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
                available ? "Deployment has minimum availability." : "Deployment does not have minimum availability.");
  set_condition(store, status, "Progressing", true, available ? "NewReplicaSetAvailable" : "ReplicaSetUpdated",
                fmt::format("ReplicaSet \"{}\" {}.", text_at(*newest, {"metadata", "name"}),
                            available ? "has successfully progressed" : "is progressing"));
  write_status(store, kind, d, std::move(status));
}

void reconcile_replicaset(object_store& store, const object_name& name) {
  const auto kind = store.kind_named("ReplicaSet");
  const auto found = store.get(*kind, name);
  if (!found) return;
  const auto& set = **found;
  const auto pods_kind = store.kind_named("Pod");
  const long want = integer_at(set, {"spec", "replicas"}, 1);
  std::vector<object_ptr> pods;
  for (const auto& p : owned(store, "pods", set)) {
    const auto phase = text_at(*p, {"status", "phase"});
    if (!find(*p, {"metadata", "deletionTimestamp"}) && phase != "Succeeded" && phase != "Failed") pods.push_back(p);
  }
  long count = static_cast<long>(pods.size());
  for (; count < want; ++count) {
    auto made = store.create(pods_kind, name.ns, pod_from(set));
    if (!made) break;
    record_event(store, set, "replicaset-controller", "SuccessfulCreate",
                 "Created pod: " + text_at(**made, {"metadata", "name"}));
  }
  if (count > want) {
    std::sort(pods.begin(), pods.end(), [](const object_ptr& a, const object_ptr& b) {
      const auto rank = [](const json::object& p) {
        return std::tuple(text_at(p, {"spec", "nodeName"}).empty() ? 0 : is_ready(p) ? 2 : 1);
      };
      if (rank(*a) != rank(*b)) return rank(*a) < rank(*b);
      const auto ta = text_at(*a, {"metadata", "creationTimestamp"}), tb = text_at(*b, {"metadata", "creationTimestamp"});
      if (ta != tb) return ta > tb;
      return text_at(*a, {"metadata", "name"}) < text_at(*b, {"metadata", "name"});
    });
    for (const auto& p : pods) {
      if (count == want) break;
      record_event(store, set, "replicaset-controller", "SuccessfulDelete", "Deleted pod: " + text_at(*p, {"metadata", "name"}));
      (void)store.remove(pods_kind, name_of(*p));
      --count;
    }
  }
  const auto now = store.get(*kind, name);
  if (!now) return;
  long replicas = 0, ready = 0;
  for (const auto& p : owned(store, "pods", set)) {
    if (find(*p, {"metadata", "deletionTimestamp"})) continue;
    ++replicas;
    ready += is_ready(*p) ? 1 : 0;
  }
  json::object status{{"replicas", replicas}, {"observedGeneration", integer_at(**now, {"metadata", "generation"}, 1)}};
  if (replicas > 0) status["fullyLabeledReplicas"] = replicas;
  if (ready > 0) {
    status["readyReplicas"] = ready;
    status["availableReplicas"] = ready;
  }
  write_status(store, kind, **now, std::move(status));
}

}  // namespace inferno::testbed

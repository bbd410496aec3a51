#include "testbed/cluster/pod_status.hpp"

#include <boost/json/array.hpp>

namespace inferno::testbed {
namespace {

const json::object* container_with_model(const json::object& pod) {
  const auto* containers = find(pod, {"spec", "containers"});
  if (!containers || !containers->is_array()) return nullptr;
  for (const auto& c : containers->get_array()) {
    const auto* env = find(c, {"env"});
    if (!env || !env->is_array()) continue;
    for (const auto& e : env->get_array())
      if (e.is_object() && text_at(e.get_object(), {"name"}) == "MODEL_NAME") return &c.get_object();
  }
  return nullptr;
}

std::string field_of(const json::object& pod, const std::string& path, const std::string& ip) {
  if (path == "metadata.name") return text_at(pod, {"metadata", "name"});
  if (path == "metadata.namespace") return text_at(pod, {"metadata", "namespace"});
  if (path == "spec.nodeName") return text_at(pod, {"spec", "nodeName"});
  if (path == "status.podIP") return ip;
  return {};
}

}  // namespace

std::string server_container(const json::object& pod) {
  const auto* found = container_with_model(pod);
  return found ? text_at(*found, {"name"}) : std::string();
}

std::optional<pod_spec> server_of(const json::object& pod, const std::string& ip) {
  const auto* found = container_with_model(pod);
  if (!found) return std::nullopt;
  const auto& container = *found;
  pod_spec s;
  s.ns = text_at(pod, {"metadata", "namespace"});
  s.name = text_at(pod, {"metadata", "name"});
  s.ip = ip;
  s.node = text_at(pod, {"spec", "nodeName"});
  s.image = text_at(container, {"image"});
  bool named = false, any = false;
  if (const auto* ports = find(container, {"ports"}); ports && ports->is_array())
    for (const auto& p : ports->get_array()) {
      if (!p.is_object() || named) continue;
      named = text_at(p.get_object(), {"name"}) == "http";
      if (named || !any) s.port = static_cast<int>(integer_at(p.get_object(), {"containerPort"}, s.port));
      any = true;
    }
  if (const auto* env = find(container, {"env"}); env && env->is_array())
    for (const auto& e : env->get_array()) {
      if (!e.is_object()) continue;
      const auto& o = e.get_object();
      const auto from = text_at(o, {"valueFrom", "fieldRef", "fieldPath"});
      s.env[text_at(o, {"name"})] = from.empty() ? text_at(o, {"value"}) : field_of(pod, from, ip);
    }
  return s;
}

std::string gpu_product(const json::object& node) {
  std::string out;
  for (const auto* vendor : {"nvidia.com", "amd.com", "intel.com"})
    if (auto product = text_at(node, {"metadata", "labels", std::string(vendor) + "/gpu.product"}); !product.empty())
      out = std::move(product);
  return out;
}

json::object pod_status(const json::object& pod, const pod_state& state, const std::string& now) {
  json::object status;
  if (const auto* s = pod.if_contains("status"); s && s->is_object()) status = s->get_object();
  status["phase"] = state.ready || state.restarts > 0 ? "Running" : "Pending";
  status["podIP"] = state.ip;
  status["podIPs"] = json::array{json::object{{"ip", state.ip}}};
  status["hostIP"] = "127.0.0.1";
  if (!status.contains("startTime")) status["startTime"] = now;
  json::array containers;
  if (const auto* list = find(pod, {"spec", "containers"}); list && list->is_array())
    for (const auto& c : list->get_array()) {
      json::object of;
      if (state.ready) {
        of["running"] = json::object{{"startedAt", now}};
      } else {
        of["waiting"] = json::object{{"reason", state.waiting}, {"message", state.message}};
      }
      containers.push_back(json::object{{"name", text_at(c.get_object(), {"name"})},
                                        {"image", text_at(c.get_object(), {"image"})},
                                        {"imageID", ""},
                                        {"ready", state.ready},
                                        {"started", state.ready},
                                        {"restartCount", state.restarts},
                                        {"state", std::move(of)}});
    }
  status["containerStatuses"] = std::move(containers);
  const auto* why = state.ready ? "" : "ContainersNotReady";
  const auto& message = state.ready ? std::string() : state.message;
  set_condition(status, "Initialized", true, "", "", now);
  set_condition(status, "ContainersReady", state.ready, why, message, now);
  set_condition(status, "Ready", state.ready, why, message, now);
  return status;
}

json::object terminating_status(const json::object& pod, const std::string& now) {
  json::object status;
  if (const auto* s = pod.if_contains("status"); s && s->is_object()) status = s->get_object();
  if (auto* containers = status.if_contains("containerStatuses"); containers && containers->is_array())
    for (auto& c : containers->get_array())
      if (c.is_object()) c.get_object()["ready"] = false;
  for (const auto* type : {"ContainersReady", "Ready"})
    set_condition(status, type, false, "ContainersNotReady", "the pod is being deleted", now);
  return status;
}

bool set_condition(json::object& status, std::string_view type, bool value, std::string_view reason, const std::string& message,
                   const std::string& now) {
  auto& list = status["conditions"];
  if (!list.is_array()) list.emplace_array();
  const auto* text = value ? "True" : "False";
  for (auto& c : list.get_array()) {
    if (text_at(c.get_object(), {"type"}) != type) continue;
    auto& o = c.get_object();
    const bool same = text_at(o, {"status"}) == text && text_at(o, {"reason"}) == reason && text_at(o, {"message"}) == message;
    if (same) return false;
    if (text_at(o, {"status"}) != text) o["lastTransitionTime"] = now;
    o["status"] = text;
    o["reason"] = reason;
    o["message"] = message;
    return true;
  }
  list.get_array().push_back(
      json::object{{"type", type}, {"status", text}, {"reason", reason}, {"message", message}, {"lastTransitionTime", now}});
  return true;
}

}  // namespace inferno::testbed

#include "testbed/cluster/admission.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "testbed/cluster/schema.hpp"

namespace inferno::testbed {
namespace {

constexpr const char* preserve = "x-kubernetes-preserve-unknown-fields";

json::object open_object(json::object properties) {
  return {{"type", "object"}, {preserve, true}, {"properties", std::move(properties)}};
}
json::object list_of(json::object items) { return {{"type", "array"}, {"items", std::move(items)}}; }
json::object text() { return {{"type", "string"}}; }
json::object texts_by_name() { return {{"type", "object"}, {"additionalProperties", text()}}; }

json::object metadata() {
  auto owner = open_object({{"uid", text()}, {"kind", text()}, {"name", text()}});
  owner["required"] = json::array{"uid", "kind", "name"};
  return open_object({{"name", text()},
                      {"namespace", text()},
                      {"labels", texts_by_name()},
                      {"annotations", texts_by_name()},
                      {"ownerReferences", list_of(std::move(owner))}});
}

json::object status() { return open_object({{"conditions", list_of(open_object({}))}}); }

json::object pod_spec() {
  auto named = open_object({{"name", text()}});
  named["required"] = json::array{"name"};
  auto container =
      open_object({{"name", text()}, {"image", text()}, {"env", list_of(named)}, {"ports", list_of(open_object({}))}});
  container["required"] = json::array{"name"};
  return open_object({{"nodeName", text()}, {"nodeSelector", texts_by_name()}, {"containers", list_of(std::move(container))}});
}

json::object object_of(json::object spec) {
  return open_object({{"metadata", metadata()}, {"spec", std::move(spec)}, {"status", status()}});
}

json::object pods_from_template() {
  auto made = open_object({{"metadata", metadata()}, {"spec", pod_spec()}});
  auto spec = open_object({{"replicas", json::object{{"type", "integer"}, {"minimum", 0}}},
                           {"selector", open_object({{"matchLabels", texts_by_name()}})},
                           {"template", std::move(made)}});
  spec["required"] = json::array{"selector", "template"};
  auto out = object_of(std::move(spec));
  out["required"] = json::array{"spec"};
  return out;
}

/// By plural name; "" is that of all other kinds.
const json::object& shape_of(const kind_info& kind) {
  static const std::map<std::string, json::object> shapes{
      {"", object_of(open_object({}))},
      {"pods", object_of(pod_spec())},
      {"deployments", pods_from_template()},
      {"replicasets", pods_from_template()},
      {"configmaps", open_object({{"metadata", metadata()}, {"data", texts_by_name()}})},
  };
  const auto it = kind.schema ? shapes.end() : shapes.find(kind.plural);
  return it == shapes.end() ? shapes.at("") : it->second;
}

}  // namespace

api_result<void> admit(const kind_info& kind, const std::string& name, json::object& object) {
  auto problems = apply_schema(shape_of(kind), object).problems;
  if (kind.schema) {
    auto more = apply_schema(*kind.schema, object).problems;
    problems.insert(problems.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }
  if (problems.empty()) return {};
  std::string all;
  json::array causes;
  for (const auto& p : problems) {
    all += fmt::format("{}{}: {}", all.empty() ? "" : ", ", p.field, p.message);
    causes.push_back({{"reason", p.reason}, {"message", p.message}, {"field", p.field}});
  }
  if (problems.size() > 1) all = "[" + all + "]";
  const auto what = kind.group.empty() ? kind.kind : kind.kind + "." + kind.group;
  return tl::unexpected(api_error{422,
                                  "Invalid",
                                  fmt::format("{} \"{}\" is invalid: {}", what, name, all),
                                  {{"name", name}, {"group", kind.group}, {"kind", kind.kind}, {"causes", std::move(causes)}}});
}

void complete_node(json::object& node, const std::string& now) {
  auto& status = object_at(node, {"status"});
  auto& info = object_at(status, {"nodeInfo"});
  const auto id = fmt::format("{:016x}", std::hash<std::string>{}(text_at(node, {"metadata", "name"})));
  const std::initializer_list<std::pair<const char*, std::string>> usual{{"architecture", "amd64"},
                                                                         {"operatingSystem", "linux"},
                                                                         {"osImage", "emulated"},
                                                                         {"kernelVersion", "emulated"},
                                                                         {"containerRuntimeVersion", "emulated://0"},
                                                                         {"kubeletVersion", "v1.32.0"},
                                                                         {"kubeProxyVersion", ""},
                                                                         {"machineID", id},
                                                                         {"systemUUID", id},
                                                                         {"bootID", id}};
  for (const auto& [field, value] : usual)
    if (!info.contains(field)) info[field] = value;
  if (find(status, {"conditions"})) return;
  status["conditions"] = json::array{json::object{{"type", "Ready"},
                                                  {"status", "True"},
                                                  {"reason", "KubeletReady"},
                                                  {"message", "the emulated kubelet runs"},
                                                  {"lastHeartbeatTime", now},
                                                  {"lastTransitionTime", now}}};
}

}  // namespace inferno::testbed

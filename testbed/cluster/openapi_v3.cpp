// /openapi/v3: per group and version the kinds with their fields, and what a PATCH takes.
#include <fmt/format.h>

#include "testbed/cluster/api.hpp"
#include "testbed/cluster/core_fields.hpp"

namespace inferno::testbed {
namespace {

constexpr const char* kind_extension = "x-kubernetes-group-version-kind";
constexpr const char* meta_name = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

json::object gvk_of(const kind_info& k) { return {{"group", k.group}, {"version", k.version}, {"kind", k.kind}}; }

json::object schema_of(const kind_info& k) {
  auto out = k.schema ? *k.schema : core_schema(k);
  auto& properties = object_at(out, {"properties"});
  const auto standard = [&](const char* name, const char* description) {
    auto& property = properties[name];
    if (!property.is_object()) property = json::object{{"type", "string"}, {"description", description}};
  };
  standard("apiVersion", "Group and version of the object's kind.");
  standard("kind", "Kind of the object.");
  properties["metadata"] =
      json::object{{"description", "Standard object's metadata."},
                   {"allOf", json::array{json::object{{"$ref", fmt::format("#/components/schemas/{}", meta_name)}}}}};
  out[kind_extension] = json::array{gvk_of(k)};
  return out;
}

json::array parameters() {
  json::array out;
  for (const auto* name : {"dryRun", "fieldManager", "fieldValidation", "force"})
    out.push_back(
        json::object{{"name", name}, {"in", "query"}, {"schema", json::object{{"type", "string"}, {"uniqueItems", true}}}});
  return out;
}

}  // namespace

json::object openapi_v3(const object_store& store, const std::string& group, const std::string& version) {
  json::object paths, schemas{{meta_name, object_meta_schema()}};
  for (const auto& k : store.kinds()) {
    if (k->group != group || k->version != version) continue;
    schemas[fmt::format("{}.{}.{}", group.empty() ? "core" : group, version, k->kind)] = schema_of(*k);
    const auto list = fmt::format("{}/{}{}", group.empty() ? "/api/" + version : "/apis/" + group + "/" + version,
                                  k->namespaced ? "namespaces/{namespace}/" : "", k->plural);
    const auto operation = [&](const char* action, json::array with) {
      return json::object{{"x-kubernetes-action", action},
                          {kind_extension, gvk_of(*k)},
                          {"parameters", std::move(with)},
                          {"responses", json::object{}}};
    };
    paths[list] = json::object{{"get", operation("list", {})}};
    paths[list + "/{name}"] = json::object{{"get", operation("get", {})}, {"patch", operation("patch", parameters())}};
  }
  return {{"openapi", "3.0.0"},
          {"info", json::object{{"title", "Kubernetes"}, {"version", version}}},
          {"paths", std::move(paths)},
          {"components", json::object{{"schemas", std::move(schemas)}}}};
}

}  // namespace inferno::testbed

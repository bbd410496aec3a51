// Discovery: which groups, versions and resources there are, as kubectl asks before anything else.
#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "testbed/cluster/api.hpp"
#include "testbed/cluster/reviews.hpp"

namespace inferno::testbed {
namespace {

json::object resource_entry(const kind_info& k) {
  json::array verbs;
  for (const auto* v : {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
    verbs.push_back(json::value(v));
  json::object out{{"name", k.plural},
                   {"singularName", k.singular},
                   {"namespaced", k.namespaced},
                   {"kind", k.kind},
                   {"verbs", std::move(verbs)}};
  if (!k.short_names.empty()) {
    json::array names;
    for (const auto& n : k.short_names) names.push_back(json::value(n));
    out["shortNames"] = std::move(names);
  }
  if (k.in_all) out["categories"] = json::array{"all"};
  return out;
}

json::object subresource_entry(const kind_info& k, const char* name, const char* kind) {
  json::object out{{"name", k.plural + "/" + name},
                   {"singularName", ""},
                   {"namespaced", k.namespaced},
                   {"kind", kind},
                   {"verbs", json::array{"get", "patch", "update"}}};
  return out;
}

/// What is answered without being stored.
json::object virtual_entry(const char* name, const char* kind, bool namespaced, const char* verb) {
  return {{"name", name}, {"singularName", ""}, {"namespaced", namespaced}, {"kind", kind}, {"verbs", json::array{verb}}};
}

json::object resource_list(const object_store& store, const std::string& group, const std::string& version) {
  json::array resources;
  std::string group_version = group.empty() ? version : group + "/" + version;
  for (const auto& k : store.kinds()) {
    if (k->group != group || k->version != version) continue;
    resources.push_back(resource_entry(*k));
    if (k->has_status) resources.push_back(subresource_entry(*k, "status", k->kind.c_str()));
    if (k->has_scale) {
      auto scale = subresource_entry(*k, "scale", "Scale");
      scale["group"] = "autoscaling";
      scale["version"] = "v1";
      resources.push_back(std::move(scale));
    }
    if (k->group.empty() && k->kind == "Pod") resources.push_back(virtual_entry("pods/log", "Pod", true, "get"));
    if (k->group.empty() && k->kind == "ServiceAccount") {
      auto token = virtual_entry("serviceaccounts/token", "TokenRequest", true, "create");
      token["group"] = "authentication.k8s.io";
      token["version"] = "v1";
      resources.push_back(std::move(token));
    }
  }
  for (const auto& r : review_kinds())
    if (group == r.group && version == "v1") resources.push_back(virtual_entry(r.plural, r.kind, r.namespaced, "create"));
  return {
      {"kind", "APIResourceList"}, {"apiVersion", "v1"}, {"groupVersion", group_version}, {"resources", std::move(resources)}};
}

std::map<std::string, std::set<std::string>> groups_of(const object_store& store) {
  std::map<std::string, std::set<std::string>> out;
  for (const auto& k : store.kinds())
    if (!k->group.empty()) out[k->group].insert(k->version);
  for (const auto& r : review_kinds()) out[r.group].insert("v1");
  return out;
}

json::object group_entry(const std::string& group, const std::set<std::string>& versions) {
  json::array list;
  for (const auto& v : versions) list.push_back(json::object{{"groupVersion", group + "/" + v}, {"version", v}});
  auto preferred = list.front();
  return {{"name", group}, {"versions", std::move(list)}, {"preferredVersion", std::move(preferred)}};
}

json::object version_of(const std::string& git_version) {
  const auto dot = git_version.find('.');
  const auto end = git_version.find('.', dot + 1);
  return {{"major", git_version.substr(1, dot - 1)},
          {"minor", git_version.substr(dot + 1, end - dot - 1)},
          {"gitVersion", git_version},
          {"gitCommit", ""},
          {"gitTreeState", ""},
          {"buildDate", "1970-01-01T00:00:00Z"},
          {"goVersion", ""},
          {"compiler", ""},
          {"platform", "linux/amd64"}};
}

api_answer ok(const json::object& o) { return {200, json::serialize(o)}; }

}  // namespace

std::optional<api_answer> discovery(const object_store& store, const api_request& request, const std::string& git_version) {
  auto path = request.path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path == "/healthz" || path == "/livez" || path == "/readyz") return api_answer{200, "ok", "text/plain"};
  if (path == "/version") return ok(version_of(git_version));
  if (path == "/api")
    return ok({{"kind", "APIVersions"}, {"versions", json::array{"v1"}}, {"serverAddressByClientCIDRs", json::array{}}});
  const auto groups = groups_of(store);
  if (path == "/apis") {
    json::array list;
    for (const auto& [group, versions] : groups) list.push_back(group_entry(group, versions));
    return ok({{"kind", "APIGroupList"}, {"apiVersion", "v1"}, {"groups", std::move(list)}});
  }
  if (path == "/openapi/v3") {
    json::object paths{{"api/v1", json::object{{"serverRelativeURL", "/openapi/v3/api/v1"}}}};
    for (const auto& [group, versions] : groups)
      for (const auto& v : versions)
        paths["apis/" + group + "/" + v] = json::object{{"serverRelativeURL", "/openapi/v3/apis/" + group + "/" + v}};
    return ok({{"paths", std::move(paths)}});
  }
  if (path == "/openapi/v2") return openapi_v2(store);
  if (path == "/api/v1") return ok(resource_list(store, "", "v1"));
  if (path == "/openapi/v3/api/v1") return ok(openapi_v3(store, "", "v1"));
  for (const auto& [group, versions] : groups) {
    if (path == "/apis/" + group) {
      auto entry = group_entry(group, versions);
      entry["kind"] = "APIGroup";
      entry["apiVersion"] = "v1";
      return ok(entry);
    }
    for (const auto& v : versions) {
      if (path == "/apis/" + group + "/" + v) return ok(resource_list(store, group, v));
      if (path == "/openapi/v3/apis/" + group + "/" + v) return ok(openapi_v3(store, group, v));
    }
  }
  return std::nullopt;
}

}  // namespace inferno::testbed

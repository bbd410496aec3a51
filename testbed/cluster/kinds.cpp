#include "testbed/cluster/kinds.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "testbed/cluster/schema.hpp"

namespace inferno::testbed {

std::vector<kind_ptr> built_in_kinds() {
  std::vector<kind_ptr> out;
  const auto add = [&](kind_info k) {
    k.singular = k.kind;
    std::transform(k.singular.begin(), k.singular.end(), k.singular.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    out.push_back(std::make_shared<const kind_info>(std::move(k)));
  };
  const auto kind = [](const char* group, const char* plural, const char* name, std::vector<std::string> short_names,
                       bool namespaced) {
    kind_info k;
    k.group = group;
    k.version = "v1";
    k.plural = plural;
    k.kind = name;
    k.short_names = std::move(short_names);
    k.namespaced = namespaced;
    return k;
  };
  const auto with = [](kind_info k, bool status, bool scale, bool all) {
    k.has_status = status;
    k.has_scale = scale;
    k.in_all = all;
    return k;
  };
  add(with(kind("", "nodes", "Node", {"no"}, false), true, false, false));
  add(with(kind("", "namespaces", "Namespace", {"ns"}, false), true, false, false));
  add(with(kind("", "pods", "Pod", {"po"}, true), true, false, true));
  add(kind("", "configmaps", "ConfigMap", {"cm"}, true));
  add(kind("", "events", "Event", {"ev"}, true));
  add(with(kind("", "services", "Service", {"svc"}, true), true, false, true));
  add(kind("", "secrets", "Secret", {}, true));
  add(kind("", "serviceaccounts", "ServiceAccount", {"sa"}, true));
  add(with(kind("apps", "deployments", "Deployment", {"deploy"}, true), true, true, true));
  add(with(kind("apps", "statefulsets", "StatefulSet", {"sts"}, true), true, true, true));
  add(with(kind("apps", "replicasets", "ReplicaSet", {"rs"}, true), true, true, true));
  auto hpa = with(kind("autoscaling", "horizontalpodautoscalers", "HorizontalPodAutoscaler", {"hpa"}, true), true, false, true);
  hpa.version = "v2";
  add(std::move(hpa));
  add(kind("coordination.k8s.io", "leases", "Lease", {}, true));
  add(with(kind("apiextensions.k8s.io", "customresourcedefinitions", "CustomResourceDefinition", {"crd", "crds"}, false), true,
           false, false));
  return out;
}

tl::expected<kind_ptr, std::string> kind_from_definition(const json::object& crd) {
  kind_info k;
  k.group = text_at(crd, {"spec", "group"});
  k.plural = text_at(crd, {"spec", "names", "plural"});
  k.singular = text_at(crd, {"spec", "names", "singular"});
  k.kind = text_at(crd, {"spec", "names", "kind"});
  k.namespaced = text_at(crd, {"spec", "scope"}) != "Cluster";
  if (const auto* names = find(crd, {"spec", "names", "shortNames"}); names && names->is_array())
    for (const auto& n : names->get_array())
      if (n.is_string()) k.short_names.emplace_back(n.get_string());
  if (k.group.empty() || k.plural.empty() || k.kind.empty())
    return tl::unexpected(std::string("spec.group, spec.names.plural and spec.names.kind are required"));
  const auto wanted = k.plural + "." + k.group;
  if (text_at(crd, {"metadata", "name"}) != wanted) return tl::unexpected(fmt::format("metadata.name: must be {}", wanted));
  const auto* versions = find(crd, {"spec", "versions"});
  if (!versions || !versions->is_array() || versions->get_array().empty())
    return tl::unexpected(std::string("spec.versions: at least one is required"));
  // One version is served, the stored one.
  const auto& list = versions->get_array();
  auto stored = std::find_if(list.begin(), list.end(), [](const json::value& v) {
    const auto* storage = find(v, {"storage"});
    return storage && *storage == json::value(true);
  });
  if (stored == list.end()) stored = list.begin();
  const auto& version = *stored;
  if (!version.is_object()) return tl::unexpected(std::string("spec.versions[0]: expected an object"));
  k.version = text_at(version.get_object(), {"name"});
  k.has_status = find(version, {"subresources", "status"}) != nullptr;
  if (const auto* schema = find(version, {"schema", "openAPIV3Schema"})) {
    if (const auto flaw = schema_flaw(*schema, "schema.openAPIV3Schema"); !flaw.empty()) return tl::unexpected(flaw);
    k.schema = std::make_shared<const json::object>(schema->get_object());
  }
  if (const auto* columns = find(version, {"additionalPrinterColumns"}); columns && columns->is_array())
    for (const auto& c : columns->get_array())
      if (c.is_object())
        k.columns.push_back(
            {text_at(c.get_object(), {"name"}), text_at(c.get_object(), {"type"}), text_at(c.get_object(), {"jsonPath"})});
  return std::make_shared<const kind_info>(std::move(k));
}

}  // namespace inferno::testbed

#pragma once
// The resource kinds the emulated API serves: built in, and those that CustomResourceDefinitions add.
#include <memory>

#include "testbed/cluster/json_tools.hpp"

namespace inferno::testbed {

struct print_column {
  std::string name;
  std::string type;       ///< "string", "integer", "date"
  std::string json_path;  ///< ".spec.x.y"
};

struct kind_info {
  std::string group;
  std::string version;
  std::string plural;
  std::string singular;
  std::string kind;
  std::vector<std::string> short_names;
  bool namespaced = true;
  bool has_status = false;  ///< /status; status is not written through the object itself
  bool has_scale = false;
  bool in_all = false;  ///< `kubectl get all`
  std::shared_ptr<const json::object> schema{};
  std::vector<print_column> columns{};  ///< of custom resources

  std::string group_version() const { return group.empty() ? version : group + "/" + version; }
  /// "deployments.apps", "pods"
  std::string qualified() const { return group.empty() ? plural : plural + "." + group; }
};
using kind_ptr = std::shared_ptr<const kind_info>;

std::vector<kind_ptr> built_in_kinds();
/// Error: names what the definition lacks.
tl::expected<kind_ptr, std::string> kind_from_definition(const json::object& crd);

}  // namespace inferno::testbed

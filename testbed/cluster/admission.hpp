#pragma once
// What an object must look like to be stored.
#include "testbed/cluster/store.hpp"

namespace inferno::testbed {

/// Built-in kinds are checked as far as the controllers of the cluster rely on them, custom resources against their schema, whose
/// unknown fields are dropped. Error: 422 with a cause for every field.
api_result<void> admit(const kind_info& kind, const std::string& name, json::object& object);

/// Gives a node what its kubelet would report and clients rely on, where it is missing: the fields of status.nodeInfo, and a
/// Ready condition when it has no conditions. `now`: RFC 3339.
void complete_node(json::object& node, const std::string& now);

}  // namespace inferno::testbed

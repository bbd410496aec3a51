#pragma once
// Which node a pod goes to: node selectors, required node affinity, extended resources. CPU and memory are not emulated.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "testbed/cluster/json_tools.hpp"

namespace inferno::testbed {

using object_ptr = std::shared_ptr<const json::object>;

struct placement {
  object_ptr pod;
  std::string node;     ///< "" = it fits nowhere
  std::string problem;  ///< why, as kube-scheduler says it
};

/// Places every pod that has no node and is not being deleted, oldest first, on the first node with room.
std::vector<placement> place_pods(const std::vector<object_ptr>& nodes, const std::vector<object_ptr>& pods);

}  // namespace inferno::testbed

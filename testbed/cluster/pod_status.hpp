#pragma once
// What a kubelet reads in a pod and writes into its status.
#include <optional>

#include "testbed/cluster/json_tools.hpp"
#include "testbed/cluster/pod_runtime.hpp"

namespace inferno::testbed {

/// The emulated server in a pod: the first container with MODEL_NAME in its environment. nullopt: the pod has none. `accelerator`
/// is left empty.
std::optional<pod_spec> server_of(const json::object& pod, const std::string& ip);

/// The name of the container that server_of() takes, "" when there is none.
std::string server_container(const json::object& pod);

/// The GPU product a node's labels name; "" when it has none.
std::string gpu_product(const json::object& node);

struct pod_state {
  std::string ip;
  bool ready = false;
  int restarts = 0;
  std::string waiting{};  ///< reason and message while it is not ready
  std::string message{};
};

/// The status of a pod whose containers all are in one state, made from the one it has. `now` is an RFC 3339 time.
json::object pod_status(const json::object& pod, const pod_state& state, const std::string& now);

/// The status of a pod from the request of its deletion on: its containers go on and are not ready any more.
json::object terminating_status(const json::object& pod, const std::string& now);

/// Sets a condition in `status`, keeping the transition time when its status stays. Returns whether anything changed.
bool set_condition(json::object& status, std::string_view type, bool value, std::string_view reason, const std::string& message,
                   const std::string& now);

}  // namespace inferno::testbed

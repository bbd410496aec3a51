#pragma once
// pods/NAME/log: which lines of a container's log a client asks for.
#include "testbed/cluster/api.hpp"
#include "testbed/cluster/pod_runtime.hpp"

namespace inferno::testbed {

struct log_options {
  std::string container;  ///< "" = the pod's only one
  bool follow = false;
  bool timestamps = false;
  std::optional<std::size_t> tail;  ///< lines at first
  std::optional<std::chrono::system_clock::time_point> since;
  std::optional<std::size_t> limit;  ///< bytes
};
/// Error: names the parameter and its value.
api_result<log_options> log_options_of(const api_request& request, std::chrono::system_clock::time_point now);

/// Checks that the pod has this container, which may have a log. Returns whether it is the one that the kubelet runs as a server.
api_result<bool> runs_server(const json::object& pod, const log_options& options);

/// The lines from number `from` on as they are sent. `first`: tail and since apply.
std::string log_text(const std::vector<log_line>& lines, const log_options& options, std::uint64_t from, bool first);

}  // namespace inferno::testbed

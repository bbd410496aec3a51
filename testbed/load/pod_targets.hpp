#pragma once
// Servers to load, followed as a Service follows them: the ready pods that a label selector chooses.
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "net/kube/client.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;
namespace json = boost::json;

/// "http://IP:PORT" of a pod that takes requests: ready, not being deleted, with an address. The port is the container's that is
/// named http, else the first one, else 8000. nullopt: any other pod.
std::optional<std::string> ready_url(const json::object& pod);

class pod_targets {
 public:
  /// Runs on `executor` until the object ends, which must happen outside of it. `selector` as in kubectl -l.
  pod_targets(asio::any_io_executor executor, net::kube::connection api, const std::string& ns, const std::string& selector);
  ~pod_targets();
  pod_targets(const pod_targets&) = delete;
  pod_targets& operator=(const pod_targets&) = delete;
  /// Of the pods that are ready now, in order of their names. Thread-safe.
  std::vector<std::string> urls() const;
  /// What keeps the pods from being known, "" when they are. Thread-safe.
  std::string problem() const;

 private:
  struct state;
  std::shared_ptr<state> state_;
  std::unique_ptr<net::kube::reflector> watch_;
};

}  // namespace inferno::testbed

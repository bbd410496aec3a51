#pragma once
// The port through which the cluster starts and stops what runs inside a pod.
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace inferno::testbed {

/// A container to run: the pod's vLLM container, as its kubelet sees it.
struct pod_spec {
  std::string ns;
  std::string name;
  std::string ip;                          ///< a loopback address (127.x.y.z) of this pod alone
  int port = 8000;                         ///< containerPort named "http", else the first one
  std::map<std::string, std::string> env;  ///< with the references to pod fields resolved
  std::map<std::string, std::string> labels;
  std::string image;
  std::string node;
  std::string accelerator;  ///< GPU product of the node, "" when the pod asks for no GPU
};

struct log_line {
  std::uint64_t number = 0;  ///< counts all lines of the container, also those that are not kept
  std::chrono::system_clock::time_point at;
  std::string text;
};

/// What runs pods. Calls never block and come from any thread, those for one pod in order.
class pod_runtime {
 public:
  virtual ~pod_runtime() = default;
  /// `done` is called once, on any thread: ok when the server accepts connections on ip:port, else why not.
  virtual void start(pod_spec spec, std::function<void(bool ok, std::string error)> done) = 0;
  /// The server takes no new requests from now on, goes on with those it has for at most `grace`, and is gone as soon as none
  /// are left. `ended` is called once, on any thread, when it is gone: at once for a pod that is not known. A second call for a
  /// pod that is ending shortens its time. Also for a pod whose start has not completed.
  virtual void stop(const std::string& ns, const std::string& name, std::chrono::milliseconds grace,
                    std::function<void()> ended) = 0;
  /// What the pod's container has written, the oldest lines first, as far as they are kept; nullopt: the pod is not known.
  virtual std::optional<std::vector<log_line>> log(const std::string& ns, const std::string& name) const = 0;
};

}  // namespace inferno::testbed

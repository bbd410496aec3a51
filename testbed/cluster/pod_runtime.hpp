#pragma once
// The port through which the cluster starts and stops what runs inside a pod.
#include <functional>
#include <map>
#include <string>

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

/// What runs pods. Calls never block and come from any thread, those for one pod in order.
class pod_runtime {
 public:
  virtual ~pod_runtime() = default;
  /// `done` is called once, on any thread: ok when the server accepts connections on ip:port, else why not.
  virtual void start(pod_spec spec, std::function<void(bool ok, std::string error)> done) = 0;
  /// Also for a pod whose start has not completed; unknown pods are ignored.
  virtual void stop(const std::string& ns, const std::string& name) = 0;
};

}  // namespace inferno::testbed

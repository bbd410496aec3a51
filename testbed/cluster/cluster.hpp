#pragma once
// The emulated Kubernetes cluster: API server, deployment and replica set controllers, GPU scheduler and kubelet in one object.
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "testbed/cluster/pod_runtime.hpp"

namespace inferno::testbed {

struct cluster_config {
  std::string address = "127.0.0.1";
  unsigned short port = 0;  ///< 0 = a free one
  bool quickstart = false;  ///< nodes, namespaces, CRD and ConfigMaps of the quick start
  /// YAML or JSON texts (several documents each), created in order after the quick start's.
  std::vector<std::string> manifests{};
  std::chrono::milliseconds start_delay{2000};  ///< from scheduled to Ready: what loading a model takes
  std::chrono::milliseconds stop_delay{0};      ///< a deleted pod holds its GPU for so long
  std::chrono::milliseconds bookmark_interval{5000};
  std::size_t watch_buffer = 4096;         ///< events a watcher may be behind before it is cut off
  std::size_t history = 10000;             ///< events kept for watches that resume; older ones are answered 410 Gone
  std::uint64_t seed = 0;                  ///< of names, uids and pod addresses; 0 = from the system
  std::string version = "v1.32.0";         ///< what /version says
  std::shared_ptr<pod_runtime> runtime{};  ///< runs pods marked as vLLM; nullptr: they become Ready without a server
};

/// Requests that failures are injected into; an empty field matches all.
struct fault_filter {
  std::string method{};       ///< "GET", "PATCH", ...
  std::string path_prefix{};  ///< "/apis/apps/v1"
  std::string path_part{};    ///< "/scale"
  bool watch_only = false;
};

class emulated_cluster {
 public:
  /// Error: the address cannot be bound, or a manifest is refused; the message names it.
  static tl::expected<std::unique_ptr<emulated_cluster>, std::string> start(cluster_config config);
  ~emulated_cluster();  ///< stop()
  emulated_cluster(const emulated_cluster&) = delete;
  emulated_cluster& operator=(const emulated_cluster&) = delete;

  std::string url() const;  ///< "http://127.0.0.1:PORT"
  /// Ends every connection, the actors and the pods. Thread-safe, idempotent.
  void stop();

  /// Creates or replaces the objects of a multi-document YAML text, waiting until it is done. Error: names document and problem.
  tl::expected<void, std::string> apply(std::string_view yaml);
  /// A kubeconfig that leads here.
  std::string kubeconfig() const;

  // Fault hooks, for tests. Thread-safe.
  /// Forgets the history: every watch that resumes from before now, and every continue token, is answered 410.
  void compact();
  /// Resets every connection, watches in the middle.
  void drop_connections();
  /// Answers the next `count` requests that match with `status` (429 and 503 with Retry-After when `retry_after` is not 0).
  void fail_next(int count, int status, fault_filter filter = {}, std::chrono::seconds retry_after = std::chrono::seconds(0));
  /// Requests answered so far, watches included.
  std::uint64_t requests() const;

 private:
  struct impl;
  explicit emulated_cluster(std::unique_ptr<impl>);
  std::unique_ptr<impl> impl_;
};

}  // namespace inferno::testbed

#pragma once
// Scheduler and kubelets for a real API server: binds pods to its nodes, runs an emulated vLLM server for each pod that asks for
// one, and writes the pods' status.
#include <memory>

#include "net/kube/client.hpp"
#include "testbed/cluster/pod_runtime.hpp"
#include "testbed/host.hpp"

namespace inferno::testbed {

struct node_emulator_config {
  net::kube::connection api;
  std::shared_ptr<pod_runtime> runtime;         ///< nullptr: pods become Ready without a server
  std::chrono::milliseconds start_delay{2000};  ///< from bound to started: what loading a model takes
  std::chrono::milliseconds stop_delay{0};      ///< a deleted pod holds its GPU for so long
  int second_octet = 10;                        ///< pods get addresses 127.second_octet.x.y
  std::string ns{};                             ///< only pods of this namespace; "" = all
};

/// Lives on the host's I/O thread; survives a server that goes away and comes back. Pods found bound at the start are run as
/// well.
class node_emulator {
 public:
  node_emulator(host& where, node_emulator_config config);
  ~node_emulator();  ///< Ends its watches and the servers; the objects stay as they are. Call from outside the I/O thread.
  node_emulator(const node_emulator&) = delete;
  node_emulator& operator=(const node_emulator&) = delete;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::testbed

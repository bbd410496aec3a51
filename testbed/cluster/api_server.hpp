#pragma once
// The emulated API server's HTTP side: requests to the store's actor and back, watches, faults on demand.
#include <atomic>
#include <deque>
#include <memory>

#include "net/http/server.hpp"
#include "testbed/cluster/actors.hpp"
#include "testbed/cluster/cluster.hpp"

namespace inferno::testbed {

class api_server {
 public:
  struct settings {
    std::string address = "127.0.0.1";
    unsigned short port = 0;
    std::chrono::milliseconds bookmark_interval{5000};
    std::size_t watch_buffer = 4096;
    std::string version = "v1.32.0";
    std::shared_ptr<const pod_runtime> runtime{};  ///< whose logs it serves; nullptr: they are empty
  };
  /// Error: the address cannot be bound.
  static tl::expected<std::unique_ptr<api_server>, std::string> start(boost::asio::any_io_executor executor, settings s,
                                                                      store_actor store);
  ~api_server();  ///< stop()
  std::string url() const;
  /// Returns when no request can reach the store any more. Not from the executor's thread.
  void stop();

  void drop_connections();
  void fail_next(int count, int status, fault_filter filter, std::chrono::seconds retry_after);
  std::uint64_t requests() const;

 private:
  struct impl;
  explicit api_server(std::shared_ptr<impl>);
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::testbed

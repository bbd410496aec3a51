#pragma once
// What an emulated server is doing, besides its metrics: the requests under way, and a log of those that have ended.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <memory>
#include <mutex>

#include "testbed/cluster/pod_runtime.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;

/// The newest lines that a server has written. Thread-safe.
class server_log {
 public:
  static constexpr std::size_t most_lines = 1000;
  void write(std::string text);
  std::vector<log_line> lines() const;

 private:
  mutable std::mutex mutex_;
  std::deque<log_line> lines_;
  std::uint64_t next_ = 0;
};

/// The completions under way. Lives on the server's executor.
class requests_under_way {
 public:
  void begin() { ++count_; }
  void end();
  int count() const { return count_; }
  /// Comes back when none are left, or after `limit`.
  static asio::awaitable<void> wait_for_end(std::shared_ptr<requests_under_way> self, std::chrono::milliseconds limit);

 private:
  int count_ = 0;
  std::vector<std::shared_ptr<asio::steady_timer>> waiting_;
};

struct server_activity {
  server_log log;
  std::shared_ptr<requests_under_way> requests = std::make_shared<requests_under_way>();
};

}  // namespace inferno::testbed

#pragma once
// What a client asks of a server, spread over time.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>

#include "net/error.hpp"

namespace inferno::net {

namespace asio = boost::asio;

/// A token bucket: `burst` may pass at once, `qps` in a second over time. In the order of asking, the urgent before the others.
/// Use from the executor, whose context must outlive it once anybody has waited.
class rate_limiter {
 public:
  using clock = std::chrono::steady_clock;
  /// `qps` not above zero = no limit; `burst` below 1 = 1.
  rate_limiter(asio::any_io_executor executor, double qps, int burst, std::function<clock::time_point()> now = clock::now);
  ~rate_limiter();
  rate_limiter(const rate_limiter&) = delete;
  rate_limiter& operator=(const rate_limiter&) = delete;

  /// Returns when the caller may go on. Error kind `cancelled` when its coroutine was cancelled meanwhile: it has taken no token
  /// and holds up nobody. Goes on when the limiter is destroyed.
  asio::awaitable<result<void>> acquire(bool urgent = false);
  std::size_t waiting() const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::net

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

/// A token bucket: `burst` may pass at once, `qps` in a second over time. Callers wait in lanes: lane 0 goes before lane 1 and so
/// on, and within a lane the order of asking counts. A lane whose first caller was passed over `patience` times goes next, so
/// that no lane starves. Use from the executor, whose context must outlive it once anybody has waited.
class rate_limiter {
 public:
  using clock = std::chrono::steady_clock;
  /// `qps` not above zero = no limit; `burst` below 1 = 1.
  rate_limiter(asio::any_io_executor executor, double qps, int burst, std::function<clock::time_point()> now = clock::now);
  ~rate_limiter();
  rate_limiter(const rate_limiter&) = delete;
  rate_limiter& operator=(const rate_limiter&) = delete;

  static constexpr std::size_t lanes = 4;
  static constexpr unsigned patience = 10;

  /// Returns when the caller may go on. Error kind `cancelled` when its coroutine or its lane was cancelled meanwhile: it has
  /// taken no token and holds up nobody. Goes on when the limiter is destroyed. `lane` is below `lanes`.
  asio::awaitable<result<void>> acquire(std::size_t lane = lanes - 1);
  /// The calls that wait in the lane end with `cancelled`; later ones wait as before.
  void cancel(std::size_t lane);
  std::size_t waiting() const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::net

#pragma once
// Running coroutines to their end in a test, on one thread and without sleeps.
#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>

namespace inferno::test {

namespace asio = boost::asio;

inline constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

/// Runs everything on `context` until `ready`; a test that hangs fails after 20 s instead.
inline void run_until(asio::io_context& context, const std::function<bool()>& ready) {
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!ready()) {
    if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("the awaited never happened");
    context.restart();
    context.run_one_for(std::chrono::milliseconds(100));
  }
}

/// The result of a coroutine.
template <class T>
T run(asio::io_context& context, asio::awaitable<T> work) {
  std::optional<T> out;
  std::exception_ptr failure;
  asio::co_spawn(context, std::move(work), [&](std::exception_ptr e, T value) {
    failure = e;
    out.emplace(std::move(value));
  });
  run_until(context, [&] { return out.has_value(); });
  if (failure) std::rethrow_exception(failure);
  return std::move(*out);
}

inline void run(asio::io_context& context, asio::awaitable<void> work) {
  bool done = false;
  std::exception_ptr failure;
  asio::co_spawn(context, std::move(work), [&](std::exception_ptr e) {
    failure = e;
    done = true;
  });
  run_until(context, [&] { return done; });
  if (failure) std::rethrow_exception(failure);
}

/// Lets everything that is ready on the context have its turn: over loopback, what was sent has then been read.
inline asio::awaitable<void> yield_turns(int turns = 8) {
  const auto executor = co_await asio::this_coro::executor;
  for (int i = 0; i < turns; ++i) co_await asio::post(executor, asio::use_awaitable);
}

/// Something a coroutine waits for and a test makes happen.
class event {
 public:
  explicit event(asio::io_context& context) : timer_(context, std::chrono::steady_clock::time_point::max()) {}
  void set() {
    happened_ = true;
    timer_.cancel();
  }
  bool happened() const { return happened_; }
  asio::awaitable<void> wait() {
    while (!happened_) co_await timer_.async_wait(nothrow);
  }

 private:
  asio::steady_timer timer_;
  bool happened_ = false;
};

}  // namespace inferno::test

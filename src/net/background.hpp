#pragma once
// A thread for work that takes too long for the I/O thread.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>

namespace inferno::net {

namespace asio = boost::asio;

/// One thread that runs jobs in the order of their posting. Thread-safe.
class background_thread {
 public:
  /// `most_waiting`: jobs that may wait beside the one that runs.
  explicit background_thread(std::size_t most_waiting);
  ~background_thread();  ///< stop()
  background_thread(const background_thread&) = delete;
  background_thread& operator=(const background_thread&) = delete;

  /// False: as many jobs wait as may, or it has been stopped. A job must not throw.
  bool post(std::function<void()> job);
  /// Waits for the job that runs; those that wait are dropped. Idempotent.
  void stop();

 private:
  void run();

  const std::size_t most_waiting_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> jobs_;
  bool stopped_ = false;
  std::thread thread_;
};

/// What `work` returns, computed on the thread while the caller's executor does other things; nullopt: the thread has too much to
/// do. What `work` throws is thrown here. The caller's execution context must outlive the thread's stop().
template <class Work>
asio::awaitable<std::optional<std::invoke_result_t<Work>>> run_in_background(std::shared_ptr<background_thread> thread,
                                                                             Work work) {
  struct state {
    explicit state(const asio::any_io_executor& e) : executor(e), over(e, asio::steady_timer::time_point::max()) {}
    asio::any_io_executor executor;
    asio::steady_timer over;
    bool done = false;
    std::optional<std::invoke_result_t<Work>> out;
    std::exception_ptr failure;
  };
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  const auto s = std::make_shared<state>(executor);
  const bool taken = thread->post([s, work = std::move(work)]() mutable {
    try {
      s->out.emplace(work());
    } catch (...) {
      s->failure = std::current_exception();
    }
    const auto back = s->executor;
    asio::post(back, [s = std::move(s)] {
      s->done = true;
      s->over.cancel();
    });
  });
  if (!taken) co_return std::nullopt;
  while (!s->done) co_await s->over.async_wait(asio::as_tuple(asio::use_awaitable));
  if (s->failure) std::rethrow_exception(s->failure);
  co_return std::move(s->out);
}

}  // namespace inferno::net

#include "net/background.hpp"

#include <future>

#include "tests/support/net_io.hpp"

namespace inferno::net {
namespace {

/// Holds the thread up until it is told to go on.
struct obstacle {
  std::promise<void> reached, go;
  std::function<void()> job() {
    return [this] {
      reached.set_value();
      go.get_future().wait();
    };
  }
};

TEST(background_thread_test, computes_elsewhere_and_returns_to_the_caller) {
  asio::io_context context;
  const auto thread = std::make_shared<background_thread>(4);
  std::thread::id there;
  const auto out = test::run(context, run_in_background(thread, [&] {
                               there = std::this_thread::get_id();
                               return 42;
                             }));
  EXPECT_EQ(out, 42);
  EXPECT_NE(there, std::this_thread::get_id());
  EXPECT_THROW(test::run(context, run_in_background(thread, []() -> int { throw std::runtime_error("no"); })),
               std::runtime_error);
}

TEST(background_thread_test, the_callers_executor_goes_on_meanwhile) {
  asio::io_context context;
  const auto thread = std::make_shared<background_thread>(4);
  obstacle o;
  bool done = false;
  asio::co_spawn(context,
                 run_in_background(thread,
                                   [&] {
                                     o.job()();
                                     return 1;
                                   }),
                 [&](std::exception_ptr, std::optional<int> out) { done = out == 1; });
  context.poll();
  o.reached.get_future().wait();
  int ticks = 0;
  asio::steady_timer tick(context);
  for (int i = 0; i < 3; ++i) {
    tick.expires_after(std::chrono::milliseconds(1));
    tick.async_wait([&](const auto&) { ++ticks; });
    test::run_until(context, [&] { return ticks == i + 1; });
  }
  EXPECT_FALSE(done);
  o.go.set_value();
  test::run_until(context, [&] { return done; });
}

TEST(background_thread_test, more_than_may_wait_is_refused) {
  asio::io_context context;
  const auto thread = std::make_shared<background_thread>(2);
  obstacle o;
  ASSERT_TRUE(thread->post(o.job()));
  o.reached.get_future().wait();
  int run = 0;
  EXPECT_TRUE(thread->post([&] { ++run; }));
  EXPECT_TRUE(thread->post([&] { ++run; }));
  EXPECT_FALSE(thread->post([&] { ++run; }));
  EXPECT_EQ(test::run(context, run_in_background(thread, [] { return 1; })), std::nullopt);
  o.go.set_value();
  std::optional<int> out;
  test::run_until(context, [&] { return (out = test::run(context, run_in_background(thread, [] { return 1; }))).has_value(); });
  EXPECT_EQ(run, 2);
}

TEST(background_thread_test, a_stop_waits_for_what_runs_and_drops_what_waits) {
  background_thread thread(4);
  obstacle o;
  bool dropped_run = false;
  thread.post(o.job());
  o.reached.get_future().wait();
  const auto held = std::make_shared<int>(1);
  thread.post([&, held] { dropped_run = true; });
  std::thread stopper([&] { thread.stop(); });
  o.go.set_value();
  stopper.join();
  if (!dropped_run) {
    EXPECT_EQ(held.use_count(), 1);
  }
  EXPECT_FALSE(thread.post([] {}));
}

}  // namespace
}  // namespace inferno::net

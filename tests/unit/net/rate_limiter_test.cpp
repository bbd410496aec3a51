#include "net/rate_limiter.hpp"

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/detached.hpp>
#include <cmath>
#include <limits>

#include "tests/support/net_io.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using clock = rate_limiter::clock;

/// Time stands still unless the test moves it. The limiter looks at it about every 1 / qps of real time, so a rate of 1000 in a
/// second makes no test slow.
class rate_limiter_test : public ::testing::Test {
 protected:
  void make(double qps, int burst) {
    limiter = std::make_unique<rate_limiter>(context.get_executor(), qps, burst, [this] { return now; });
  }
  static asio::awaitable<void> ask(rate_limiter& limiter, std::vector<int>& passed, int number,
                                   std::size_t lane = rate_limiter::lanes - 1) {
    const auto r = co_await limiter.acquire(lane);
    EXPECT_TRUE(r) << r.error().message;
    passed.push_back(number);
  }
  void ask(int count) {
    for (int i = 0; i < count; ++i) asio::co_spawn(context, ask(*limiter, passed, next++), asio::detached);
    settle();
  }
  void settle() { test::run(context, test::yield_turns(40)); }
  /// Exactly so many have passed, and nobody else does.
  void expect_passed(std::size_t count) {
    test::run_until(context, [&] { return passed.size() >= count; });
    // The limiter has looked again in the meantime.
    const auto until = clock::now() + 5ms;
    test::run_until(context, [&] { return clock::now() > until; });
    ASSERT_EQ(passed.size(), count);
    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(passed[i], static_cast<int>(i)) << "out of turn";
  }

  asio::io_context context;
  clock::time_point now = clock::time_point() + 1000h;
  std::unique_ptr<rate_limiter> limiter;
  std::vector<int> passed;
  int next = 0;
};

TEST_F(rate_limiter_test, lanes_go_one_before_the_other_and_in_each_the_order_of_asking_counts) {
  make(1000, 1);
  ask(1);  // takes the token there is
  asio::co_spawn(context, ask(*limiter, passed, 5, 3), asio::detached);
  asio::co_spawn(context, ask(*limiter, passed, 1, 0), asio::detached);
  asio::co_spawn(context, ask(*limiter, passed, 4, 2), asio::detached);
  asio::co_spawn(context, ask(*limiter, passed, 6, 3), asio::detached);
  asio::co_spawn(context, ask(*limiter, passed, 2, 0), asio::detached);
  asio::co_spawn(context, ask(*limiter, passed, 3, 1), asio::detached);
  settle();
  for (std::size_t n = 2; n <= 7; ++n) {
    now += 1ms;
    expect_passed(n);
  }
}

TEST_F(rate_limiter_test, no_lane_starves) {
  make(1000, 1);
  ask(1);
  // Ever more callers in the lanes before: those of the last two lanes go all the same, at the latest after `patience` others.
  const auto other = 1000, third = 2000, last = 3000;
  for (int i = 0; i < 4; ++i) {
    asio::co_spawn(context, ask(*limiter, passed, last + i, 3), asio::detached);
    asio::co_spawn(context, ask(*limiter, passed, third + i, 2), asio::detached);
  }
  std::size_t expected = 1;
  for (std::size_t turn = 0; turn < 4 * (rate_limiter::patience + 2) + 2; ++turn) {
    for (std::size_t lane = 0; lane < 2; ++lane) asio::co_spawn(context, ask(*limiter, passed, other, lane), asio::detached);
    settle();
    now += 1ms;
    ++expected;
    test::run_until(context, [&] { return passed.size() >= expected; });
  }
  std::vector<int> of_last, of_third;
  for (const int p : passed) {
    if (p >= last) {
      of_last.push_back(p - last);
    } else if (p >= third) {
      of_third.push_back(p - third);
    }
  }
  EXPECT_EQ(of_last, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_EQ(of_third, (std::vector<int>{0, 1, 2, 3}));
  EXPECT_GT(std::count(passed.begin(), passed.end(), other), 32) << "most tokens are theirs who go first";
}

TEST_F(rate_limiter_test, a_cancelled_lane_takes_no_token_and_leaves_the_others_waiting) {
  make(1000, 1);
  ask(1);
  std::vector<result<void>> outcomes;
  for (int i = 0; i < 3; ++i)
    asio::co_spawn(context, limiter->acquire(0), [&](std::exception_ptr, result<void> r) { outcomes.push_back(r); });
  settle();
  ask(1);
  EXPECT_EQ(limiter->waiting(), 4u);
  limiter->cancel(0);
  settle();
  ASSERT_EQ(outcomes.size(), 3u);
  for (const auto& r : outcomes) {
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().kind, error_kind::cancelled);
  }
  EXPECT_EQ(limiter->waiting(), 1u);
  now += 1ms;
  expect_passed(2);
  // Later callers wait in it as before.
  asio::co_spawn(context, ask(*limiter, passed, 2, 0), asio::detached);
  now += 1ms;
  expect_passed(3);
}

TEST_F(rate_limiter_test, lets_the_burst_in_at_once_and_then_one_after_the_other) {
  make(1000, 5);
  ask(20);
  expect_passed(5);
  EXPECT_EQ(limiter->waiting(), 15u);
  now += 1ms;
  expect_passed(6);
  now += 999us;
  expect_passed(6);
  now += 1us;
  expect_passed(7);
  now += 3ms;
  expect_passed(10);
  now += 1h;
  expect_passed(15);  // the burst is the most at once, however long it was quiet
  now += 5ms;
  expect_passed(20);
  EXPECT_EQ(limiter->waiting(), 0u);
}

TEST_F(rate_limiter_test, whoever_comes_later_waits_behind_those_who_wait) {
  make(1000, 1);
  ask(3);
  expect_passed(1);
  now += 10ms;  // a token is there, and it is the second one's
  ask(1);
  expect_passed(2);
  now += 2ms;
  expect_passed(3);
  now += 1ms;
  expect_passed(4);
}

TEST_F(rate_limiter_test, over_a_long_time_the_rate_is_kept) {
  make(1000, 10);
  std::size_t expected = 10;
  ask(1000);
  for (int i = 0; i < 30; ++i) {
    now += 7ms + 500us;
    expected += i % 2 == 0 ? 7 : 8;
    test::run_until(context, [&] { return passed.size() >= expected; });
    ASSERT_EQ(passed.size(), expected);
  }
}

TEST_F(rate_limiter_test, without_a_rate_there_is_no_limit) {
  for (const double none : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    make(none, 1);
    passed.clear();
    next = 0;
    ask(1000);
    expect_passed(1000);
  }
}

TEST_F(rate_limiter_test, a_burst_below_one_is_one) {
  for (const int burst : {0, -5}) {
    make(1000, burst);
    passed.clear();
    next = 0;
    ask(2);
    expect_passed(1);
    now += 1ms;
    expect_passed(2);
  }
}

TEST_F(rate_limiter_test, a_clock_that_goes_back_gives_nothing_away) {
  make(1000, 1);
  ask(3);
  expect_passed(1);
  now -= 1h;
  expect_passed(1);
  now += 1h + 1ms;
  expect_passed(2);
}

TEST_F(rate_limiter_test, who_is_cancelled_takes_no_token_and_holds_up_nobody) {
  make(1000, 1);
  ask(1);
  asio::cancellation_signal cancel;
  std::optional<result<void>> cancelled;
  asio::co_spawn(context, limiter->acquire(),
                 asio::bind_cancellation_slot(cancel.slot(), [&](std::exception_ptr, result<void> r) { cancelled = r; }));
  settle();
  next = 1;
  ask(1);
  EXPECT_EQ(limiter->waiting(), 2u);
  cancel.emit(asio::cancellation_type::terminal);
  settle();
  ASSERT_TRUE(cancelled);
  ASSERT_FALSE(*cancelled);
  EXPECT_EQ(cancelled->error().kind, error_kind::cancelled);
  EXPECT_EQ(limiter->waiting(), 1u);
  now += 1ms;
  expect_passed(2);
}

TEST_F(rate_limiter_test, its_end_lets_everybody_go) {
  make(1000, 1);
  ask(3);
  limiter.reset();
  expect_passed(3);
}

asio::awaitable<void> ask_and_own(std::shared_ptr<rate_limiter> limiter) { co_await limiter->acquire(); }

TEST(rate_limiter_end_test, may_go_down_with_its_context) {
  auto context = std::make_unique<asio::io_context>();
  auto owned = std::make_shared<rate_limiter>(context->get_executor(), 1e-6, 1);
  for (int i = 0; i < 4; ++i) asio::co_spawn(*context, ask_and_own(owned), asio::detached);
  test::run(*context, test::yield_turns());
  EXPECT_EQ(owned->waiting(), 3u);
  const std::weak_ptr<rate_limiter> seen = owned;
  owned.reset();
  EXPECT_FALSE(seen.expired());
  context.reset();
  EXPECT_TRUE(seen.expired());
}

TEST(rate_limiter_end_test, where_nobody_waits_the_context_may_go_first) {
  auto context = std::make_unique<asio::io_context>();
  const rate_limiter idle(context->get_executor(), 1, 1);
  context.reset();
  EXPECT_EQ(idle.waiting(), 0u);
}

TEST_F(rate_limiter_test, waits_by_the_real_clock_unless_told_otherwise) {
  limiter = std::make_unique<rate_limiter>(context.get_executor(), 100, 1);
  const auto began = clock::now();
  ask(4);
  test::run_until(context, [&] { return passed.size() == 4; });
  EXPECT_GE(clock::now() - began, 29ms) << "three of them had to wait 10 ms each";
}

}  // namespace
}  // namespace inferno::net

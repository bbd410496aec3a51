// The load generator: rates as users write them, arrivals, and what it reports.
#include "testbed/load/load_generator.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>

#include "net/http/server.hpp"
#include "testbed/vllm/emulated_vllm.hpp"

namespace inferno::testbed {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

TEST(LoadRate, IsANumberOrPhases) {
  const auto one = parse_rate("60");
  ASSERT_TRUE(one);
  ASSERT_EQ(one->size(), 1u);
  EXPECT_EQ(one->at(0).seconds, 0);
  EXPECT_EQ(one->at(0).per_minute, 60);
  const auto two = parse_rate("[[120,60],[0.5,80.5]]");
  ASSERT_TRUE(two);
  ASSERT_EQ(two->size(), 2u);
  EXPECT_EQ(two->at(0).seconds, 120);
  EXPECT_EQ(two->at(1).per_minute, 80.5);
  EXPECT_EQ(parse_rate("0")->at(0).per_minute, 0) << "no load is a load";
}

TEST(LoadRate, WhatIsNoneIsNamed) {
  for (const auto* text :
       {"", "fast", "-1", "[]", "[[60]]", "[[0,60]]", "[[-5,60]]", "[[60,\"x\"]]", "{}", "[60,60]", "1e9", "6 0"}) {
    const auto r = parse_rate(text);
    ASSERT_FALSE(r) << text;
    EXPECT_NE(r.error().find(std::string("got ") + text), std::string::npos) << r.error();
  }
}

/// A generator against a server of a millisecond a token.
class Load : public ::testing::Test {
 protected:
  Load() { serve(5); }
  /// Every answer has so many tokens.
  void serve(int tokens) {
    vllm_settings settings;
    settings.engine = {model::linear_profile{1, 0, 0, 0, false}, 64, 1000, 0, true};
    settings.avg_tokens = tokens;
    settings.lengths = length_distribution::constant;
    auto started = emulated_vllm::start(where_, settings, "127.0.0.1", 0);
    if (!started) throw std::runtime_error(started.error());
    server_ = std::move(*started);
  }
  load_config config() {
    load_config c;
    c.targets = [url = server_->url()] { return std::vector<std::string>{url}; };
    return c;
  }
  /// Runs to the end of the phases and of the last request.
  load_statistics run(load_config c) {
    std::promise<void> over;
    load_generator generator(where_.io().executor(), std::move(c));
    generator.start([&] { over.set_value(); });
    if (over.get_future().wait_for(30s) != std::future_status::ready) throw std::runtime_error("the run never ends");
    return generator.statistics();
  }
  template <class Condition>
  static bool eventually(Condition done) {
    const auto limit = steady::now() + 20s;
    while (!done()) {
      if (steady::now() > limit) return false;
      std::this_thread::yield();
    }
    return true;
  }

  host where_;
  std::unique_ptr<emulated_vllm> server_;
};

TEST_F(Load, ComesAtEvenIntervalsWhenDeterministic) {
  auto c = config();
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.205, 6000}, {0.105, 12000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.sent, 20 + 20) << "every 10 ms, then every 5";
  EXPECT_EQ(s.ok, s.sent) << s.first_error;
  EXPECT_EQ(s.failed, 0);
  EXPECT_EQ(s.tokens, 5 * s.ok);
  // However late the first token is read, the last one is not made sooner.
  EXPECT_GE(s.ttft.mean + 4 * s.itl.mean, 4.99) << "a millisecond a token";
  EXPECT_GT(s.ttft.p50, 0);
  EXPECT_LE(s.ttft.p50, s.ttft.p95);
  EXPECT_LE(s.ttft.p95, s.ttft.p99);
}

TEST_F(Load, NothingComesBeforeItsTime) {
  std::vector<steady::time_point> arrivals;
  auto c = config();
  c.targets = [&] {
    arrivals.push_back(steady::now());
    return std::vector<std::string>();
  };
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.105, 6000}, {0.1, 0}, {0.105, 3000}};
  const auto began = steady::now();
  run(std::move(c));
  ASSERT_EQ(arrivals.size(), 10u + 5u);
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    const auto due = i < 10 ? (i + 1) * 10ms : 205ms + (i - 9) * 20ms;
    EXPECT_GE(arrivals[i] - began, due) << i;
  }
}

/// Numbers of arrivals of Poisson runs that send nothing: the schedule is drawn, not measured, so they are the same on any
/// machine.
class Poisson : public Load {
 protected:
  long arrivals(std::uint64_t seed, double seconds, double per_minute) {
    auto c = config();
    c.targets = [] { return std::vector<std::string>(); };
    c.phases = {{seconds, per_minute}};
    c.seed = seed;
    return run(std::move(c)).sent;
  }
};

TEST_F(Poisson, TheSameSeedGivesTheSameArrivals) {
  const auto course = [&](std::uint64_t seed) {
    std::vector<long> out;
    for (const double seconds : {0.02, 0.05, 0.1, 0.2}) out.push_back(arrivals(seed, seconds, 60000));
    return out;
  };
  const auto first = course(1);
  EXPECT_EQ(course(1), first);
  EXPECT_TRUE(std::is_sorted(first.begin(), first.end())) << "a longer run begins as a shorter one";
  EXPECT_NE(course(2), first);
}

TEST_F(Poisson, TheRateIsKeptInTheMean) {
  // 2000 expected, their standard deviation is 45.
  EXPECT_NEAR(static_cast<double>(arrivals(1, 1, 120000)), 2000, 120);
  EXPECT_NEAR(static_cast<double>(arrivals(2, 1, 120000)), 2000, 120);
}

TEST_F(Poisson, TheCountsVaryAsMuchAsTheirMean) {
  constexpr int runs = 40;
  double sum = 0, squares = 0;
  for (int i = 0; i < runs; ++i) {
    const auto n = static_cast<double>(arrivals(static_cast<std::uint64_t>(i) + 1, 0.02, 60000));
    sum += n;
    squares += n * n;
  }
  const double mean = sum / runs, variance = (squares - sum * mean) / (runs - 1);
  EXPECT_NEAR(mean, 20, 3);
  EXPECT_NEAR(variance / mean, 1, 0.6) << "even arrivals have 0";
}

TEST_F(Load, WithoutStreamingCountsTheTokensOfTheAnswer) {
  auto c = config();
  c.stream = false;
  c.max_tokens = 3;
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.105, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.ok, 10) << s.first_error;
  EXPECT_EQ(s.tokens, 30);
}

TEST_F(Load, SaysWhatTheServerRefuses) {
  auto c = config();
  c.model = "unknown";
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.105, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.sent, 10);
  EXPECT_EQ(s.failed, 10);
  EXPECT_EQ(s.ok, 0);
  EXPECT_NE(s.first_error.find("HTTP status 404"), std::string::npos) << s.first_error;
  EXPECT_NE(s.first_error.find("`unknown` does not exist"), std::string::npos) << s.first_error;
}

/// A server of one answer.
std::unique_ptr<net::http_server> server_of(net::io_context_thread& io, net::http_handler handler) {
  auto started = net::http_server::start(io.executor(), {}, std::move(handler));
  if (!started) throw std::runtime_error(started.error().message);
  return std::move(*started);
}

TEST_F(Load, CountsAsFailedWhatTheServerFailsAt) {
  const auto broken = server_of(where_.io(), [](net::http_exchange& x) -> asio::awaitable<void> {
    std::string type = "text/plain", body = "out of memory";
    std::vector<net::http_header> none;
    co_await x.respond(500, std::move(type), std::move(body), std::move(none));
  });
  auto c = config();
  c.targets = [url = "http://" + broken->address()] { return std::vector<std::string>{url}; };
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.105, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.sent, 10);
  EXPECT_EQ(s.failed, 10);
  EXPECT_EQ(s.ok, 0);
  EXPECT_EQ(s.tokens, 0);
  EXPECT_EQ(s.ttft.mean, 0);
  EXPECT_EQ(s.first_error, "HTTP status 500: out of memory");
}

TEST_F(Load, AStreamWithoutItsEndIsAFailure) {
  const auto broken = server_of(where_.io(), [](net::http_exchange& x) -> asio::awaitable<void> {
    std::string type = "text/event-stream", token = R"(data: {"choices":[{"text":"the ","finish_reason":null}]})";
    token += "\n\n";
    std::vector<net::http_header> none;
    if (co_await x.begin_stream(200, std::move(type), std::move(none))) co_await x.write(std::move(token));
    co_await x.end_stream();
  });
  auto c = config();
  c.targets = [url = "http://" + broken->address()] { return std::vector<std::string>{url}; };
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.055, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.failed, 5);
  EXPECT_EQ(s.ok, 0);
  EXPECT_EQ(s.first_error, "the stream ended without [DONE]");
}

TEST_F(Load, OneServerThatFailsDoesNotHideTheOther) {
  const auto broken = server_of(where_.io(), [](net::http_exchange& x) -> asio::awaitable<void> {
    std::string type = "text/plain", body = "no";
    std::vector<net::http_header> none;
    co_await x.respond(500, std::move(type), std::move(body), std::move(none));
  });
  auto c = config();
  c.targets = [urls = std::vector<std::string>{"http://" + broken->address(), server_->url()}] { return urls; };
  c.route = routing::random;
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.405, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.sent, 40);
  EXPECT_EQ(s.ok + s.failed, 40);
  EXPECT_NEAR(static_cast<double>(s.ok), 20, 12) << "drawn evenly";
  EXPECT_EQ(s.tokens, 5 * s.ok);
}

TEST_F(Load, SaysThatNobodyListens) {
  auto c = config();
  server_.reset();
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.055, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.failed, 5);
  EXPECT_NE(s.first_error.find("127.0.0.1"), std::string::npos) << s.first_error;
}

TEST_F(Load, WithoutAnyServerNothingIsSentAndItSaysSo) {
  auto c = config();
  c.targets = [] { return std::vector<std::string>(); };
  c.mode = arrival_mode::deterministic;
  c.phases = {{0.055, 6000}};
  const auto s = run(std::move(c));
  EXPECT_EQ(s.failed, 5);
  EXPECT_EQ(s.first_error, "there is no server to send to");
}

/// As when every pod of a Deployment is deleted at once: streams break off, and then there is nobody to send to.
TEST_F(Load, GoesOnAndCountsFailuresWhenAllServersVanishAtOnce) {
  serve(400);
  auto c = config();
  std::atomic<bool> gone = false;
  c.targets = [url = server_->url(), &gone] { return gone ? std::vector<std::string>() : std::vector<std::string>{url}; };
  c.mode = arrival_mode::deterministic;
  c.reconnect = true;
  c.phases = {{0, 60000}};
  std::atomic<bool> ended = false;
  load_generator generator(where_.io().executor(), std::move(c));
  generator.start([&] { ended = true; });
  ASSERT_TRUE(eventually([&] { return generator.statistics().outstanding() >= 20; }));
  gone = true;
  server_.reset();
  const auto then = generator.statistics();
  EXPECT_TRUE(eventually([&] {
    const auto now = generator.statistics();
    return now.sent >= then.sent + 200 && now.failed >= then.failed + 200;
  }));
  EXPECT_FALSE(ended);
  generator.stop();
  EXPECT_TRUE(eventually([&] { return generator.statistics().outstanding() == 0; }));
}

TEST_F(Load, StopsInTheMiddleOfAPhase) {
  auto c = config();
  c.mode = arrival_mode::deterministic;
  c.phases = {{0, 60000}};
  load_generator generator(where_.io().executor(), std::move(c));
  generator.start();
  EXPECT_TRUE(eventually([&] { return generator.statistics().ok >= 10; }));
  std::promise<void> stopped;
  generator.stop();
  asio::post(where_.io().executor(), [&] { stopped.set_value(); });
  stopped.get_future().wait();
  const auto sent = generator.statistics().sent;
  EXPECT_TRUE(eventually([&] { return generator.statistics().outstanding() == 0; }));
  EXPECT_EQ(generator.statistics().sent, sent);
}

TEST_F(Load, LetsGoOfItsTargetsWhileRequestsAreUnderWay) {
  serve(5000);
  auto c = config();
  const auto lent = std::make_shared<int>();
  c.targets = [lent, url = server_->url()] { return std::vector<std::string>{url}; };
  c.phases = {{0.1, 60000}};
  const auto told = std::make_shared<std::atomic<int>>(0);
  {
    load_generator generator(where_.io().executor(), std::move(c));
    generator.start([told] { ++*told; });
    ASSERT_TRUE(eventually([&] { return generator.statistics().outstanding() > 0; }));
  }
  EXPECT_EQ(lent.use_count(), 1);
  EXPECT_EQ(told.use_count(), 1) << "whoever would be told may be gone";
  EXPECT_EQ(*told, 0);
}

}  // namespace
}  // namespace inferno::testbed

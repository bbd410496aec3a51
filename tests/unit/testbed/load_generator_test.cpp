// The load generator: rates as users write them, arrivals, and what it reports.
#include "testbed/load/load_generator.hpp"

#include <gtest/gtest.h>

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
  Load() {
    vllm_settings settings;
    settings.engine = {{1, 0, 0, 0, false}, 64, 1000, 0, true};
    settings.avg_tokens = 5;
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
  EXPECT_GE(s.itl.mean, 0.9) << "a millisecond a token";
  EXPECT_GT(s.ttft.p50, 0);
  EXPECT_LE(s.ttft.p50, s.ttft.p95);
  EXPECT_LE(s.ttft.p95, s.ttft.p99);
}

TEST_F(Load, TheSameSeedGivesTheSameArrivals) {
  const auto count = [&](std::uint64_t seed) {
    auto c = config();
    c.phases = {{0.5, 12000}};
    c.seed = seed;
    return run(std::move(c)).sent;
  };
  const auto first = count(1);
  EXPECT_EQ(count(1), first);
  // Poisson: 100 in the mean, and ten times their square root around it.
  EXPECT_NEAR(static_cast<double>(first), 100, 100);
  EXPECT_NE(first, 0);
  bool differs = false;
  for (std::uint64_t seed = 2; seed < 6 && !differs; ++seed) differs = count(seed) != first;
  EXPECT_TRUE(differs);
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
  auto c = config();
  const auto lent = std::make_shared<int>();
  c.targets = [lent, url = server_->url()] { return std::vector<std::string>{url}; };
  c.phases = {{0, 60000}};
  c.max_tokens = 5000;
  {
    load_generator generator(where_.io().executor(), std::move(c));
    generator.start();
    ASSERT_TRUE(eventually([&] { return generator.statistics().outstanding() > 0; }));
  }
  EXPECT_EQ(lent.use_count(), 1);
}

}  // namespace
}  // namespace inferno::testbed

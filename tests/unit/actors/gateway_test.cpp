// Requests that wait at a gateway because each server takes only so many at once, in closed loop.
#include <gtest/gtest.h>

#include <map>

#include "closed_loop.hpp"

namespace inferno::actors::testing {
namespace {

/// A gateway gives a pod no more requests at once than `limit`.
struct behind_a_gateway : closed_loop {
  behind_a_gateway(unsigned seed, int replicas, std::function<double(double)> per_s, std::size_t most)
      : closed_loop(seed, replicas, std::move(per_s)) {
    limit = most;
  }
};

int most_ordered(const closed_loop& c, double from_s) {
  int most = 0;
  for (const auto& [time_s, n] : c.orders)
    if (time_s >= from_s) most = std::max(most, n);
  return most;
}

// The servers never have more than they can take: only the gateway knows how much more arrives.
TEST(Gateway, AStepIsFollowedThoughTheServersSeeLittleOfIt) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    double without_s = 0;
    for (const std::size_t limit : {0u, 4u, 6u, 12u}) {
      SCOPED_TRACE(fmt::format("limit {}, seed {}", limit, seed));
      behind_a_gateway c(
          seed, 1, [](double t) { return t < 120 ? 0.3 : 3.0; }, limit);
      const int needed = replicas_needed(3.0);
      c.live(120);
      double reached_s = INFINITY;
      c.each = [&] {
        if (c.replicas() >= needed) reached_s = std::min(reached_s, c.now());
      };
      c.live(300);
      // Where the servers' own queues show all that arrives.
      if (limit == 0) without_s = reached_s;
      EXPECT_LE(reached_s, std::min(without_s + 15, 120 + 90.0)) << needed << " are needed";
      EXPECT_LE(most_ordered(c, 120), needed * 1.5 + 2);
      c.live(600);
      EXPECT_LT(c.in_flight(), 40u) << "what had queued up is gone";
      c.live(900);
      EXPECT_LE(c.replicas(), needed + 2);
      EXPECT_GE(c.replicas(), needed - 1);
    }
  }
}

TEST(Gateway, ACounterThatComesAndGoesBuysNothing) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    const int needed = replicas_needed(2.0);
    behind_a_gateway c(
        seed, needed, [](double) { return 2.0; }, 4);
    c.each = [&] {
      c.gateway_says = std::fmod(c.now(), 14) < 7;
      if (std::fmod(c.now(), 50) < 0.1) c.clump(10);
    };
    c.live(900);
    EXPECT_LE(most_ordered(c, 0), needed + 3) << "10 requests every 50 s are 0.2 more a second";
    EXPECT_GE(c.replicas(), needed - 1);
  }
}

/// Queues of thousands that no server ever sees.
TEST(Gateway, OddReadingsBuyLittle) {
  for (const double size : {400.0, 5000.0, 1e6}) {
    for (const bool again : {false, true}) {
      SCOPED_TRACE(fmt::format("{} requests, {}", size, again ? "every other reading" : "once"));
      const int needed = replicas_needed(2.0);
      behind_a_gateway c(
          1, needed, [](double) { return 2.0; }, 4);
      c.queue_odd = [&](double t) { return (again ? t > 200 && std::fmod(t, 8) < 4 : t > 200 && t < 204) ? size : 0.0; };
      c.live(500);
      EXPECT_LE(most_ordered(c, 200), needed * 1.5 + 2);
    }
  }
}

/// A queue that stands while the servers have room is not theirs to serve, or not there at all.
TEST(Gateway, AStuckReadingBuysNoMoreThanIsUsed) {
  for (const double size : {64.0, 5000.0}) {
    SCOPED_TRACE(size);
    const int needed = replicas_needed(2.0);
    behind_a_gateway c(
        1, 3 * needed, [](double) { return 2.0; }, 4);
    c.queue_odd = [&](double t) { return t > 200 ? size : 0.0; };
    c.live(900);
    EXPECT_LE(most_ordered(c, 200), 2 * needed * 1.5 + 2);
    EXPECT_GE(c.replicas(), needed - 1);
  }
}

/// The same where servers carry no more than they are planned for, and the reading leaps far.
TEST(Gateway, NorDoesOneThatBeginsAtThePlannedLoad) {
  for (const unsigned seed : {1u, 2u})
    for (const double size : {300.0, 3000.0, 30000.0}) {
      SCOPED_TRACE(fmt::format("{} {}", seed, size));
      const int needed = replicas_needed(2.0);
      behind_a_gateway c(
          seed, needed, [](double) { return 2.0; }, 4);
      c.queue_odd = [&](double t) { return t > 200 && t < 600 ? size : 0.0; };
      // A pod is Ready some seconds before anything is heard of it.
      std::map<std::string, double> seen;
      c.spoil = [&](const pod_sample& s, std::size_t) {
        return c.now() - seen.try_emplace(s.pod.name, c.now()).first->second >= 6;
      };
      c.live(900);
      EXPECT_LE(most_ordered(c, 200), 2 * needed * 1.5 + 2);
      EXPECT_GE(c.replicas(), needed - 1);
    }
}

TEST(Gateway, AClumpThatIsGoneSoonIsNoRate) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    behind_a_gateway c(
        seed, 1, [](double) { return 0.15; }, 4);
    c.live(120);
    c.clump(20);
    c.live(400);
    EXPECT_LE(most_ordered(c, 120), 3);
  }
}

}  // namespace
}  // namespace inferno::actors::testing

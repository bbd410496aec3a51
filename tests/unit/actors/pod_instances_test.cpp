// One server that is scraped twice, and two servers in one pod.
#include "actors/pod_instances.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace inferno::actors::testing {
namespace {

using field = counter_field;

/// A server that has completed requests at a rate since it started, some of them before.
struct engine {
  double before = 0, rate = 2, started_s = 0;
  std::string label = "0";
  /// Idle from this time on.
  double until_s = 1e9;
  server_reading at(double t) const {
    const double done = std::floor(before + rate * (std::min(t, until_s) - started_s));
    const auto labels = hash_of({{"engine", label}});
    server_reading r;
    r.clock_s = t;
    r.add(field::running, labels, 1);
    r.add(field::waiting, labels, 0);
    r.add(field::success, labels, done);
    r.add(field::prompt_sum, labels, 100 * done);
    r.add(field::prompt_count, labels, done);
    r.add(field::generation_sum, labels, 50 * done);
    r.add(field::generation_count, labels, done);
    r.seal();
    return r;
  }
};

scraped_server named(std::string name, server_reading r) {
  scraped_server s;
  s.server = std::move(name);
  s.reading = std::move(r);
  return s;
}

/// Last scrape at or before t, of those each `interval` s from `phase` on.
double scrape(double t, double phase, double interval = 15) { return phase + interval * std::floor((t - phase) / interval); }

int number(const std::vector<bool>& counted) { return static_cast<int>(std::count(counted.begin(), counted.end(), true)); }

TEST(PodInstances, OneServerScrapedTwiceCountsOnceWhateverTheScrapesPhases) {
  for (const double phase : {0.0, 0.3, 3.0, 7.5, 14.0})
    for (const double rate : {0.0, 0.1, 30.0})
      for (const double before : {0.0, 5000.0}) {
        pod_instances pod;
        const engine e{.before = before, .rate = rate};
        for (double t = 30; t < 600; t += 2)
          ASSERT_EQ(number(pod.counted({named("a", e.at(scrape(t, 0))), named("b", e.at(scrape(t, phase)))})), 1)
              << "phase " << phase << ", rate " << rate << ", t " << t;
      }
}

TEST(PodInstances, ARestartBetweenTheScrapesMakesNoSecondServer) {
  for (const double at : {100.0, 101.0, 104.0, 108.0, 112.0})
    for (const double before : {5000.0, 3.0}) {
      pod_instances pod;
      for (double t = 30; t < 400; t += 2) {
        const engine old{.before = before, .rate = 0.01}, fresh{.before = 0, .rate = 1, .started_s = at};
        const auto seen = [&](double scraped_s) { return (scraped_s < at ? old : fresh).at(scraped_s); };
        ASSERT_EQ(number(pod.counted({named("a", seen(scrape(t, 0))), named("b", seen(scrape(t, 6)))})), 1)
            << "restarted at " << at << ", t " << t;
      }
    }
}

TEST(PodInstances, CountersThatArriveLateMakeNoSecondServer) {
  // The server takes up to 4 s to write them, and Prometheus gives the scrape the time it began.
  pod_instances pod;
  std::mt19937 random(7);
  std::uniform_real_distribution<double> late(0, 4);
  const engine e{.rate = 20};
  std::map<double, server_reading> first, second;
  const auto read = [&](std::map<double, server_reading>& made, double at) {
    auto it = made.find(at);
    if (it == made.end()) {
      it = made.emplace(at, e.at(at + late(random))).first;
      it->second.clock_s = at;
    }
    return it->second;
  };
  for (double t = 30; t < 1000; t += 2)
    ASSERT_EQ(number(pod.counted({named("a", read(first, scrape(t, 0))), named("b", read(second, scrape(t, 1)))})), 1) << t;
}

TEST(PodInstances, TwoServersAreToldApartByTheirCounters) {
  for (const double phase : {0.0, 0.3, 7.5, 14.0})
    for (const double rate : {0.0, 5.0}) {
      pod_instances pod;
      const engine one{.before = 4000, .rate = rate}, other{.before = 4300, .rate = rate * 0.9};
      double apart_since = 0;
      for (double t = 30; t < 300; t += 2) {
        const int n = number(pod.counted({named("a", one.at(scrape(t, 0))), named("b", other.at(scrape(t, phase)))}));
        if (n == 2 && apart_since == 0) apart_since = t;
        ASSERT_EQ(n, apart_since > 0 ? 2 : 1) << "once apart they stay apart";
      }
      EXPECT_GT(apart_since, 0);
      EXPECT_LE(apart_since, 30 + 60) << "phase " << phase << ", rate " << rate;
    }
}

TEST(PodInstances, ServersOfDifferentEnginesAreSeveralAtOnce) {
  pod_instances pod;
  const engine zero{.rate = 1, .label = "0"}, one{.rate = 1, .label = "1"}, unlabelled{.rate = 1, .label = ""};
  EXPECT_EQ(number(pod.counted({named("a", zero.at(30)), named("b", one.at(31))})), 2);
  pod_instances lost;
  EXPECT_EQ(number(lost.counted({named("a", zero.at(30)), named("b", unlabelled.at(31))})), 1)
      << "a label that a job drops is no engine";
}

TEST(PodInstances, EqualCountersTakeBackWhatOddReadingsHaveSaid) {
  pod_instances pod;
  const engine e{.before = 1000, .rate = 5, .until_s = 400};
  int most = 0;
  for (double t = 30; t < 600; t += 2) {
    // For a while the other way to the server gives what it was a minute ago.
    const double late_s = t < 200 ? 60 : 0;
    auto b = e.at(scrape(t, 7) - late_s);
    b.clock_s += late_s;
    const int n = number(pod.counted({named("a", e.at(scrape(t, 0))), named("b", std::move(b))}));
    most = std::max(most, n);
    if (t > 450) {
      ASSERT_EQ(n, 1) << t;
    }
  }
  EXPECT_EQ(most, 2) << "or this test shows nothing";
}

TEST(PodInstances, TheOneThatCountsStaysTheSameUntilItIsGone) {
  pod_instances pod;
  const engine e{.rate = 5};
  const auto at = [&](double t, const std::string& name, double phase) { return named(name, e.at(scrape(t, phase))); };
  EXPECT_THAT(pod.counted({at(30, "b", 0), at(30, "c", 7)}), ::testing::ElementsAre(true, false));
  EXPECT_THAT(pod.counted({at(50, "a", 3), at(50, "b", 0), at(50, "c", 7)}), ::testing::ElementsAre(false, true, false));
  EXPECT_THAT(pod.counted({at(70, "a", 3), at(70, "c", 7)}), ::testing::ElementsAre(true, false));
  EXPECT_THAT(pod.counted({at(90, "a", 3), at(90, "b", 0), at(90, "c", 7)}), ::testing::ElementsAre(true, false, false));
}

TEST(PodInstances, OneThatLacksMetricsDoesNotCountInsteadOfOneThatHasThem) {
  pod_instances pod;
  const engine e{.before = 100, .rate = 5};
  server_reading thin;
  const auto labels = hash_of({{"engine", "0"}});
  thin.clock_s = 30;
  thin.add(field::running, labels, 1);
  thin.add(field::success, labels, 250);
  thin.seal();
  EXPECT_THAT(pod.counted({named("a", std::move(thin)), named("b", e.at(31))}), ::testing::ElementsAre(false, true));
}

}  // namespace
}  // namespace inferno::actors::testing

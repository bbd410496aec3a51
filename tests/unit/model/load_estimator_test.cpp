// The load estimator: window means, changes of rate, and the sliding maximum.
#include "model/load_estimator.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <random>

namespace inferno::model {
namespace {

load_observation arrivals(double time_s, double span_s, double count) {
  load_observation o;
  o.time_s = time_s;
  o.span_s = span_s;
  o.arrivals = count;
  return o;
}

TEST(LoadEstimator, KnowsNothingBeforeTheFirstObservation) {
  load_estimator e;
  EXPECT_FALSE(e.estimate());
  e.add(arrivals(1, 0, 5));
  EXPECT_FALSE(e.estimate()) << "no span, no rate";
}

TEST(LoadEstimator, KnowsNoRateFromAMoment) {
  // Twenty requests in half a second are no 40 a second.
  load_estimator e(60);
  e.add(arrivals(0.5, 0.5, 20));
  EXPECT_FALSE(e.estimate());
  for (double t = 1; t < 2.4; t += 0.5) e.add(arrivals(t, 0.5, 0));
  EXPECT_FALSE(e.estimate());
  for (double t = 2.5; t < 10; t += 0.5) {
    e.add(arrivals(t, 0.5, 1));
    if (t < 5) continue;
    ASSERT_TRUE(e.estimate()) << t;
    EXPECT_LT(e.estimate()->arrival_rate.per_sec(), 5) << t;
  }
  load_estimator slow(60);
  slow.add(arrivals(15, 15, 30));
  ASSERT_TRUE(slow.estimate()) << "a count over so long is a rate";
  EXPECT_DOUBLE_EQ(slow.estimate()->arrival_rate.per_sec(), 2);
}

TEST(LoadEstimator, IsTheMeanOfItsWindow) {
  load_estimator e(60);
  for (int i = 1; i <= 30; ++i) e.add(arrivals(2 * i, 2, i % 2));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 0.25);
}

TEST(LoadEstimator, ForgetsWhatIsOlderThanItsWindow) {
  load_estimator e(20);
  e.add(arrivals(2, 2, 4));
  for (int i = 2; i <= 11; ++i) e.add(arrivals(2 * i, 2, 2));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 1);
}

TEST(LoadEstimator, LengthsAndLatenciesAreMeansPerRequest) {
  load_estimator e;
  auto o = arrivals(6, 6, 3);
  o.completions = 2;
  o.in_tokens = 100;
  o.out_tokens = 300;
  o.itl_sum_s = 6, o.itl_count = 300;
  o.ttft_sum_s = 0.5, o.ttft_count = 2;
  e.add(o);
  o.time_s = 12;
  o.completions = 1;
  o.in_tokens = 20;
  o.out_tokens = 60;
  o.itl_sum_s = 3, o.itl_count = 60;
  o.ttft_sum_s = 0.1, o.ttft_count = 1;
  o.wait_sum_s = 0.05, o.wait_count = 1;
  e.add(o);
  // Of these the lengths are not known: they make the others no shorter.
  o = arrivals(18, 6, 3);
  o.completions = 7;
  e.add(o);
  const auto got = *e.estimate();
  EXPECT_DOUBLE_EQ(got.shape.in_tokens, 40);
  EXPECT_DOUBLE_EQ(got.shape.out_tokens, 120);
  EXPECT_NEAR(got.itl_ms, 25, 1e-5);
  EXPECT_NEAR(got.ttft_ms, 200, 1e-4);
  EXPECT_NEAR(got.wait_ms, 50, 1e-5);
}

/// After a rise the short requests complete first.
TEST(LoadEstimator, LengthsDoNotFallForAWindowAfterARise) {
  load_estimator e(60);
  double t = 0;
  const auto add = [&](double count, double out) {
    auto o = arrivals(t += 1, 1, count);
    o.completions = count;
    o.in_tokens = 100 * count;
    o.out_tokens = out * count;
    e.add(o);
  };
  for (int i = 0; i < 60; ++i) add(1, 400);
  for (int i = 0; i < 50; ++i) {
    add(10, 50);
    EXPECT_GE(e.estimate()->shape.out_tokens, i < 2 ? 200 : 300) << i;
  }
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 10);
  for (int i = 0; i < 80; ++i) add(10, 50);
  EXPECT_DOUBLE_EQ(e.estimate()->shape.out_tokens, 50) << "they have become shorter";
}

/// A server with 32 places and requests of 300 tokens, 20 a second; `leave` of them do after 290 tokens, in no counter but that of
/// arrivals.
double length_with(double leave, bool arrivals_counted, double gauges_waver = 0) {
  load_estimator e(60);
  std::mt19937 engine(7);
  std::uniform_real_distribution<> waver(-gauges_waver, gauges_waver);
  for (int t = 1; t <= 180; ++t) {
    load_observation o;
    o.time_s = t;
    o.span_s = 1;
    o.completions = 20 * (1 - leave);
    o.arrivals = arrivals_counted ? 20 : o.completions;
    o.in_tokens = 100 * o.completions;
    o.out_tokens = 300 * o.completions;
    o.ttft_count = 20;
    o.itl_count = 20 * (1 - leave) * 299 + 20 * leave * 289;
    o.itl_sum_s = o.itl_count * 0.03;
    o.running = 170 + waver(engine);
    o.waiting = 40 + waver(engine);
    e.add(o);
  }
  return e.estimate()->shape.out_tokens;
}

TEST(LoadEstimator, TokensOfRequestsThatLeftAreNotInFlightWhereTheyAreAmongTheArrivals) {
  for (const double leave : {0.1, 0.5, 0.9})
    for (const double waver : {0.0, 5.0}) {
      SCOPED_TRACE(leave);
      EXPECT_LT(length_with(leave, true, waver), 300 * 1.1) << waver;
      // Else nothing but their tokens tells of them.
      EXPECT_GT(length_with(leave, false, waver) * (1 - leave), 300 * (leave > 0.4 ? 0.8 : 1 - leave)) << waver;
    }
}

TEST(LoadEstimator, KeepsTheLastLengthsWhenNothingCompletes) {
  load_estimator e(10);
  auto o = arrivals(2, 2, 3);
  o.completions = 2;
  o.in_tokens = 100;
  o.out_tokens = 300;
  e.add(o);
  for (int i = 2; i <= 20; ++i) e.add(arrivals(2 * i, 2, 0));
  const auto got = *e.estimate();
  EXPECT_DOUBLE_EQ(got.shape.out_tokens, 150);
  EXPECT_DOUBLE_EQ(got.arrival_rate.per_sec(), 0);
  EXPECT_DOUBLE_EQ(got.itl_ms, 0) << "nothing measured";
}

TEST(LoadEstimator, TheLastLengthsAreThoseOfAWholeWindow) {
  load_estimator e(20);
  for (int i = 1; i <= 20; ++i) {
    auto o = arrivals(i, 1, 1);
    o.completions = 1;
    o.out_tokens = i == 20 ? 10 : 200;
    e.add(o);
  }
  const double typical = e.estimate()->shape.out_tokens;
  EXPECT_DOUBLE_EQ(typical, (19 * 200 + 10) / 20.0);
  for (int i = 21; i <= 60; ++i) {
    auto o = arrivals(i, 1, 1);
    o.completions = i % 2;  // of unknown lengths
    e.add(o);
    ASSERT_DOUBLE_EQ(e.estimate()->shape.out_tokens, typical) << i;
  }
}

/// Share of the step from one rate to another that the estimate has made `seconds` after it.
double followed(double before, double after, int seconds, double span_s = 1) {
  load_estimator e(60);
  double t = 0;
  while (t < 60) e.add(arrivals(t += span_s, span_s, span_s * before));
  while (t < 60 + seconds - 1e-9) e.add(arrivals(t += span_s, span_s, span_s * after));
  return (e.estimate()->arrival_rate.per_sec() - before) / (after - before);
}

/// A plain mean would show a sixth after 10 s.
TEST(LoadEstimator, FollowsAStepOfTheRate) {
  for (const auto& [before, after] :
       {std::pair{1.0, 5.0}, std::pair{5.0, 0.0}, std::pair{0.0, 2.0}, std::pair{10.0, 3.0}, std::pair{5.0, 10.0}}) {
    SCOPED_TRACE(std::to_string(before) + " to " + std::to_string(after));
    EXPECT_DOUBLE_EQ(followed(before, after, 10), 1);
    EXPECT_DOUBLE_EQ(followed(before, after, 12), 1);
    EXPECT_DOUBLE_EQ(followed(before, after, 70), 1);
  }
  EXPECT_NEAR(followed(1, 1.2, 10), 10.0 / 60, 1e-9) << "too small to be told from noise: the plain mean";
}

TEST(LoadEstimator, SeesALargeStepWithinSecondsAndWhole) {
  EXPECT_LT(followed(1, 20, 2, 0.5), 0.1);
  EXPECT_NEAR(followed(1, 20, 3, 0.5), 1, 1e-9);
  EXPECT_NEAR(followed(1, 20, 6, 2), 1, 1e-9);
  EXPECT_NEAR(followed(1, 20, 10, 5), 1, 1e-9);
  EXPECT_NEAR(followed(1, 20, 30, 15), 1, 1e-9);
}

TEST(LoadEstimator, AFewRequestsTogetherAreNoRise) {
  load_estimator e(60);
  for (int i = 1; i <= 30; ++i) e.add(arrivals(2 * i, 2, i == 30 ? 2 : 0));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 2 / 60.0);
}

TEST(LoadEstimator, AStallIsNoFall) {
  load_estimator e(60);
  double t = 0;
  while (t < 60) e.add(arrivals(t += 0.5, 0.5, 10));
  while (t < 64) {
    e.add(arrivals(t += 0.5, 0.5, 0));
    EXPECT_GT(e.estimate()->arrival_rate.per_sec(), 18) << t;
  }
}

TEST(LoadEstimator, DoesNotTakeNoiseForAChange) {
  std::mt19937 rng(5);
  int changes = 0, looks = 0;
  for (int run = 0; run < 400; ++run) {
    load_estimator e(60);
    std::poisson_distribution<int> per_span(4);
    std::deque<double> window;
    for (int i = 1; i <= 60; ++i) {
      window.push_back(per_span(rng));
      if (window.size() > 30) window.pop_front();
      e.add(arrivals(2 * i, 2, window.back()));
    }
    double mean = 0;
    for (const double w : window) mean += w / 60;
    // a detected change would have cut the window
    changes += std::abs(e.estimate()->arrival_rate.per_sec() - mean) > 1e-9 ? 1 : 0;
    ++looks;
  }
  EXPECT_LE(changes, looks / 100);
}

TEST(LoadEstimator, ASampleOfAWholeWindowReplacesThePast) {
  load_estimator e(60);
  e.add(arrivals(60, 60, 60));
  e.add(arrivals(120, 60, 180));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 3);
  e.add(arrivals(122, 60, 240));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 4);
}

TEST(LoadEstimator, ACounterThatFellGivesNoNegativeRate) {
  load_estimator e;
  e.add(arrivals(12, 12, -50));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 0);
}

TEST(SlidingPeak, RisesAtOnceAndFallsWhenItHasStayedLow) {
  sliding_peak<double> m;
  EXPECT_EQ(m.push(0, 1, 1, 10), 1);
  EXPECT_EQ(m.push(1, 5, 5, 10), 5);
  EXPECT_EQ(m.push(2, 3, 3, 10), 5);
  EXPECT_EQ(m.push(10.9, 2, 2, 10), 5);
  EXPECT_EQ(m.push(11, 2, 2, 10), 3) << "open at the far end";
  EXPECT_EQ(m.push(12, 1, 1, 10), 2);
  EXPECT_EQ(m.push(21.5, 0, 0, 10), 1);
  EXPECT_EQ(m.push(40, 0, 0, 10), 0);
}

TEST(SlidingPeak, AgreesWithTheMaximumOfAllThatCount) {
  std::mt19937 rng(9);
  std::uniform_real_distribution<double> unit(0, 1);
  sliding_peak<double> m;
  std::vector<std::pair<double, double>> all;
  double t = 0;
  for (int i = 0; i < 3000; ++i) {
    t += unit(rng);
    all.emplace_back(t, std::floor(20 * unit(rng)));
    double want = 0;
    for (const auto& [time, value] : all)
      if (time > t - 7) want = std::max(want, value);
    ASSERT_EQ(m.push(t, all.back().second, all.back().second, 7), want) << i;
  }
}

}  // namespace
}  // namespace inferno::model

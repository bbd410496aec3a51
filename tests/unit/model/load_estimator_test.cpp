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

TEST(LoadEstimator, IsTheMeanOfItsWindow) {
  load_estimator e(60, 10);
  for (int i = 1; i <= 30; ++i) e.add(arrivals(2 * i, 2, i % 2));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 0.25);
}

TEST(LoadEstimator, ForgetsWhatIsOlderThanItsWindow) {
  load_estimator e(20, 10);
  e.add(arrivals(2, 2, 4));
  for (int i = 2; i <= 11; ++i) e.add(arrivals(2 * i, 2, 2));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 1);
}

TEST(LoadEstimator, ARiseIsHeldBackNoLongerThanItsWindow) {
  load_estimator e(5, 10);  // settles later than the window is long
  for (int i = 1; i <= 5; ++i) e.add(arrivals(i, 1, 0));
  for (int i = 6; i <= 30; ++i) e.add(arrivals(i, 1, 8));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 8);
}

TEST(LoadEstimator, LengthsAndLatenciesAreMeansPerRequest) {
  load_estimator e;
  auto o = arrivals(2, 2, 3);
  o.completions = 2;
  o.in_tokens = 100;
  o.out_tokens = 300;
  o.itl_sum_s = 6, o.itl_count = 300;
  o.ttft_sum_s = 0.5, o.ttft_count = 2;
  e.add(o);
  o.time_s = 4;
  o.completions = 1;
  o.in_tokens = 20;
  o.out_tokens = 60;
  o.itl_sum_s = 3, o.itl_count = 60;
  o.ttft_sum_s = 0.1, o.ttft_count = 1;
  o.wait_sum_s = 0.05, o.wait_count = 1;
  e.add(o);
  const auto got = *e.estimate();
  EXPECT_DOUBLE_EQ(got.shape.in_tokens, 40);
  EXPECT_DOUBLE_EQ(got.shape.out_tokens, 120);
  EXPECT_NEAR(got.itl_ms, 25, 1e-5);
  EXPECT_NEAR(got.ttft_ms, 200, 1e-4);
  EXPECT_NEAR(got.wait_ms, 50, 1e-5);
}

TEST(LoadEstimator, KeepsTheLastLengthsWhenNothingCompletes) {
  load_estimator e(10, 5);
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

/// Share of the step from one rate to another that the estimate has made `seconds` after it.
double followed(double before, double after, int seconds) {
  load_estimator e(60, 10);
  double t = 0;
  for (int i = 0; i < 30; ++i) e.add(arrivals(t += 2, 2, 2 * before));
  for (int i = 0; i < seconds / 2; ++i) e.add(arrivals(t += 2, 2, 2 * after));
  return (e.estimate()->arrival_rate.per_sec() - before) / (after - before);
}

/// A plain mean would show a sixth after 10 s.
TEST(LoadEstimator, FollowsAStepOfTheRate) {
  for (const auto& [before, after] : {std::pair{1.0, 5.0}, std::pair{5.0, 0.0}, std::pair{0.0, 2.0}, std::pair{10.0, 3.0}}) {
    SCOPED_TRACE(std::to_string(before) + " to " + std::to_string(after));
    EXPECT_GT(followed(before, after, 8), 0.85);
    EXPECT_DOUBLE_EQ(followed(before, after, 12), 1);
    EXPECT_DOUBLE_EQ(followed(before, after, 70), 1);
  }
  EXPECT_NEAR(followed(1, 1.2, 10), 10.0 / 60, 1e-9) << "too small to be told from noise: the plain mean";
}

TEST(LoadEstimator, SeesALargeStepWithinSecondsAndRatherTooLowThanTooHigh) {
  const double share = followed(0, 4, 2);
  EXPECT_GT(share, 0.5);
  EXPECT_LT(share, 1);
}

TEST(LoadEstimator, AFewRequestsTogetherAreNoRise) {
  load_estimator e(60, 10);
  for (int i = 1; i <= 30; ++i) e.add(arrivals(2 * i, 2, i == 30 ? 2 : 0));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 2 / 60.0);
}

TEST(LoadEstimator, DoesNotTakeNoiseForAChange) {
  std::mt19937 rng(5);
  int changes = 0, looks = 0;
  for (int run = 0; run < 400; ++run) {
    load_estimator e(60, 10);
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
  load_estimator e(60, 10);
  e.add(arrivals(60, 60, 60));
  e.add(arrivals(120, 60, 180));
  EXPECT_DOUBLE_EQ(e.estimate()->arrival_rate.per_sec(), 3);
}

TEST(LoadEstimator, ACounterThatFellGivesNoNegativeRate) {
  load_estimator e;
  e.add(arrivals(2, 2, -50));
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

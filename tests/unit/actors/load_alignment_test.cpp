// What servers say over different spans of time, side by side.
#include "actors/load_alignment.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "model/load_estimator.hpp"

namespace inferno::actors::testing {
namespace {

constexpr double window_s = 60;

struct variant {
  explicit variant(int count) {
    for (int i = 0; i < count; ++i) pods.push_back({{"llm", fmt::format("p{}", i)}, "m", "10.0.0.1", 8000});
  }
  /// A round; pods without a sample are silent.
  load_sample round(double at_s, const std::vector<pod_sample>& samples) {
    std::vector<const pod_sample*> all;
    for (const auto& s : samples) all.push_back(&s);
    return load.next(all, pods, at_s, window_s);
  }
  std::vector<scrape_target> pods;
  load_alignment load;
};

pod_sample of(int pod, double span_s, double arrivals) {
  pod_sample s;
  s.pod = {"llm", fmt::format("p{}", pod)};
  s.load.span_s = span_s;
  s.load.arrivals = s.load.completions = arrivals;
  s.load.running = 1;
  return s;
}

TEST(LoadAlignment, RatesAddUp) {
  variant v(2);
  const auto s = v.round(50, {of(0, 2, 4), of(1, 4, 6)});
  EXPECT_DOUBLE_EQ(s.time_s, 50);
  EXPECT_DOUBLE_EQ(s.arrivals / s.span_s, 4.0 / 2 + 6.0 / 4);
  EXPECT_EQ(s.pods, 2);
  EXPECT_EQ(s.pods_reporting, 2);
  EXPECT_DOUBLE_EQ(s.running, 2);
}

TEST(LoadAlignment, AShortSpanDoesNotMultiplyAClump) {
  variant v(2);
  const auto s = v.round(50, {of(0, 60, 60), of(1, 0.5, 5)});
  EXPECT_LE(s.arrivals, 60 + 4 * 5);
}

TEST(LoadAlignment, APodWithoutADifferenceIsWaitedFor) {
  variant v(2);
  auto s = v.round(50, {of(0, 2, 4), of(1, 0, 0)});
  EXPECT_EQ(s.span_s, 0);
  EXPECT_EQ(s.pods_reporting, 2);
  s = v.round(52, {of(0, 2, 4), of(1, 2, 2)});
  EXPECT_DOUBLE_EQ(s.arrivals / s.span_s, 2 + 1);
  for (double t = 54; t <= 84; t += 2) s = v.round(t, {of(0, 2, 4), of(1, 0, 0)});
  EXPECT_DOUBLE_EQ(s.arrivals / s.span_s, 2) << "but not for ever";
  EXPECT_EQ(s.pods_reporting, 1) << "and not taken for idle";
  EXPECT_EQ(s.problem, "p1: no new reading");
  s = v.round(86, {of(0, 2, 4), of(1, 34, 34)});
  EXPECT_EQ(s.pods_reporting, 2);
  EXPECT_DOUBLE_EQ(s.arrivals / s.span_s, 3);
  EXPECT_DOUBLE_EQ(s.span_s, 34) << "what was known in part is known now";
}

TEST(LoadAlignment, ScrapesFurtherApartThanTheWindowAreWaitedForToo) {
  variant v(2);
  int whole = 0;
  for (double t = 0; t < 600; t += 2) {
    const double phase = std::fmod(t, 60);
    const auto s = v.round(t, {phase == 10 ? of(0, 60, 60) : of(0, 0, 0), phase == 50 ? of(1, 60, 120) : of(1, 0, 0)});
    EXPECT_EQ(s.pods_reporting, 2);
    if (s.span_s <= 0) continue;
    ++whole;
    EXPECT_DOUBLE_EQ(s.arrivals / s.span_s, 3);
  }
  EXPECT_GE(whole, 9);
}

TEST(LoadAlignment, AnUnusableSampleIsNamedAndLeftOut) {
  variant v(2);
  auto bad = of(1, 2, 1000);
  bad.problem = "connection refused";
  const auto s = v.round(50, {of(0, 2, 4), bad});
  EXPECT_DOUBLE_EQ(s.arrivals, 4);
  EXPECT_EQ(s.pods_reporting, 1);
  EXPECT_EQ(s.problem, "p1: connection refused");
}

TEST(LoadAlignment, WhatIsMissingIsNamedOnceAndGivesNoCounts) {
  variant v(3);
  auto a = of(0, 2, 4), b = of(1, 0, 0), c = of(2, 0, 0);
  b.load.missing = "vllm:request_success_total, vllm:request_prompt_tokens";
  c.load.missing = "vllm:request_success_total";
  const auto s = v.round(50, {a, b, c});
  EXPECT_EQ(s.missing, "vllm:request_prompt_tokens, vllm:request_success_total");
  EXPECT_EQ(s.span_s, 0);
  EXPECT_EQ(s.pods_reporting, 3);
}

TEST(LoadAlignment, AWholeLifeIsTakenAsItIs) {
  variant v(2);
  auto born = of(1, 5, 10);
  born.whole_life = true;
  const auto s = v.round(50, {of(0, 20, 40), born});
  EXPECT_DOUBLE_EQ(s.span_s, 20);
  EXPECT_DOUBLE_EQ(s.arrivals, 50) << "there was nothing before it";
}

/// Ten pods share 3 requests a second; four of them are silent for 64 s.
TEST(LoadAlignment, AfterAPartialSilenceTheRateIsRightAtOnce) {
  variant v(10);
  model::load_estimator estimator(window_s);
  double whole_at = 0;
  for (double t = 2; t <= 400; t += 2) {
    const bool silent = t > 200 && t < 264;
    std::vector<pod_sample> samples;
    for (int i = 0; i < 10; ++i) {
      if (silent && i < 4) continue;
      const double span = t == 264 && i < 4 ? 64 : 2;
      samples.push_back(of(i, span, 0.3 * span));
    }
    const auto s = v.round(t, samples);
    EXPECT_EQ(s.pods_reporting, silent ? 6 : 10);
    estimator.add({s.time_s, s.span_s, s.arrivals, s.completions, 0, 0});
    if (silent) continue;
    if (t >= 264 && whole_at == 0) {
      whole_at = t;
      EXPECT_NEAR(s.span_s, 64, 1e-9);
      EXPECT_NEAR(s.arrivals, 192, 1e-6) << "all of the silence";
    }
    EXPECT_NEAR(s.arrivals / s.span_s, 3, 1e-9) << t;
    const auto estimate = estimator.estimate();
    ASSERT_TRUE(estimate || t < 10) << t;
    if (estimate) {
      EXPECT_NEAR(estimate->arrival_rate.per_sec(), 3, 0.01) << t;
    }
  }
}

TEST(LoadAlignment, OneOfTwoSilentPodsThatIsBackDoesNotThinTheOthers) {
  variant v(3);
  for (double t = 2; t < 40; t += 2) v.round(t, {of(0, 2, 2), of(1, 2, 2), of(2, 2, 2)});
  for (double t = 40; t < 80; t += 2) v.round(t, {of(0, 2, 2)});
  const auto s = v.round(80, {of(0, 2, 2), of(1, 42, 42)});
  EXPECT_EQ(s.pods_reporting, 2);
  EXPECT_NEAR(s.arrivals / s.span_s, 2, 1e-9);
  EXPECT_NEAR(s.span_s, 2, 1e-9);
}

TEST(LoadAlignment, PodsScrapedAtDifferentTimesGiveTheRateOfAll) {
  variant v(4);
  double arrivals = 0, span = 0;
  for (int round = 0; round < 300; ++round) {
    std::vector<pod_sample> samples;
    for (int i = 0; i < 4; ++i) samples.push_back(round % 8 == 2 * i ? of(i, 16, 8) : of(i, 0, 0));
    const auto s = v.round(2.0 * round, samples);
    EXPECT_EQ(s.pods_reporting, 4);
    arrivals += s.arrivals;
    span += s.span_s;
    if (s.span_s > 0) {
      EXPECT_NEAR(s.arrivals / s.span_s, 2, 1e-9);
    }
  }
  EXPECT_NEAR(arrivals / span, 2, 1e-9);
  EXPECT_GT(span, 500);
}

TEST(LoadAlignment, APodThatHasGoneKeepsWhatItServed) {
  variant v(2);
  v.round(2, {of(0, 2, 4), of(1, 2, 4)});
  v.round(4, {of(0, 0, 0), of(1, 2, 4)});
  v.pods.pop_back();
  const auto s = v.round(6, {of(0, 4, 8)});
  EXPECT_DOUBLE_EQ(s.arrivals, 12 + 2) << "it left between two rounds, and served until then";
  EXPECT_DOUBLE_EQ(s.span_s, 4);
}

/// Six servers of 2 requests a second, of which a rollout replaces one after the other; each is read every 30 s, at a time of its
/// own, and Prometheus is asked every 2 s.
TEST(LoadAlignment, ARolloutDoesNotThinTheLoad) {
  struct pod {
    int id;
    double from_s, to_s = INFINITY;
    std::optional<double> read_s{};
  };
  std::vector<pod> pods;
  for (int i = 0; i < 6; ++i) pods.push_back({i, -1000});
  int next = 6;
  load_alignment alignment;
  double counted = 0, span_s = 0;
  for (double t = 0; t < 600; t += 2) {
    if (t >= 100 && t < 160 && std::fmod(t - 100, 10) == 0) {
      const auto oldest = std::min_element(pods.begin(), pods.end(), [](const auto& x, const auto& y) { return x.id < y.id; });
      const double from_s = oldest->to_s = t;
      pods.push_back({next++, from_s});
    }
    std::erase_if(pods, [&](const auto& p) { return p.to_s <= t; });
    std::vector<scrape_target> targets;
    std::vector<pod_sample> samples;
    for (auto& p : pods) {
      targets.push_back({{"ns", fmt::format("p{}", p.id)}, "m", "10.0.0.1", 8000});
      auto& s = samples.emplace_back();
      s.pod = targets.back().pod;
      const double read_s = std::floor((t + 5 * (p.id % 6)) / 30) * 30 - 5 * (p.id % 6);
      if (read_s < p.from_s) {
        samples.pop_back();
        continue;
      }
      if (p.read_s == read_s) continue;
      const double since_s = p.read_s.value_or(p.from_s);
      if (p.read_s || p.from_s > 0) {
        s.load.span_s = read_s - since_s;
        s.load.arrivals = 2 * s.load.span_s;
        s.whole_life = !p.read_s;
      }
      p.read_s = read_s;
    }
    std::vector<const pod_sample*> views;
    for (const auto& s : samples) views.push_back(&s);
    const auto out = alignment.next(views, targets, t, 60);
    // The first sample of all pods covers the time for which some were not read yet.
    if (t < 100 || t >= 280 || out.pods_reporting < out.pods) continue;
    counted += out.arrivals;
    span_s += out.span_s;
  }
  EXPECT_NEAR(counted / span_s, 12, 1) << "over " << span_s << " s";
}

}  // namespace
}  // namespace inferno::actors::testing

// What the load estimator says of random arrivals, seen through samples of any span, with stalls and catching up.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>

#include "model/load_estimator.hpp"

namespace inferno::model {
namespace {

using rng = std::mt19937;
double unit(rng& r) { return std::uniform_real_distribution<double>(0, 1)(r); }
double pause(rng& r, double rate) { return std::exponential_distribution<double>(rate)(r); }

/// Times of the arrivals in [0, end).
using arrival_times = std::vector<double>;
arrival_times poisson(rng& r, double rate, double end) {
  arrival_times out;
  for (double t = pause(r, rate); t < end; t += pause(r, rate)) out.push_back(t);
  return out;
}
arrival_times regular(rng& r, double rate, double end) {
  arrival_times out;
  for (double t = unit(r) / rate; t < end; t += 1 / rate) out.push_back(t);
  return out;
}
/// Clumps of geometric size.
arrival_times clumped(rng& r, double rate, double size, double end) {
  arrival_times out;
  std::geometric_distribution<int> more(1 / size);
  for (double t = pause(r, rate / size); t < end; t += pause(r, rate / size)) out.insert(out.end(), 1 + more(r), t);
  return out;
}
arrival_times gaps_of_gamma(rng& r, double rate, double shape, double end) {
  arrival_times out;
  std::gamma_distribution<double> gap(shape, 1 / (rate * shape));
  for (double t = gap(r); t < end; t += gap(r)) out.push_back(t);
  return out;
}
arrival_times on_off(rng& r, double rate, double on_s, double off_s, double end) {
  auto out = poisson(r, rate, end);
  std::erase_if(out, [&](double t) { return std::fmod(t, on_s + off_s) >= on_s; });
  return out;
}
double count(const arrival_times& a, double from, double to) {
  return static_cast<double>(std::lower_bound(a.begin(), a.end(), to) - std::lower_bound(a.begin(), a.end(), from));
}

struct sampled {
  double time_s, span_s, arrivals;
};
/// Samples every `span_s`, or irregularly when that is 0. `stall_s`: at times, what the counters show stays behind for as long
/// and then catches up at once.
std::vector<sampled> sample(rng& r, const arrival_times& a, double end, double span_s, double stall_s) {
  std::vector<sampled> out;
  double t = 0, shown = 0, stalled_at = 20;
  while (t < end) {
    const double span = span_s > 0 ? span_s : std::exp(std::log(0.2) + unit(r) * std::log(25));
    t += span;
    if (stall_s > 0 && t > stalled_at + stall_s) stalled_at = t + 20 + 40 * unit(r);
    const double now = stall_s > 0 && t > stalled_at ? std::max(shown, stalled_at) : t;
    out.push_back({t, span, count(a, shown, now)});
    shown = now;
  }
  return out;
}

/// The counts over any time of two seconds or more that ends now bound the estimate; below, those without what may be one clump.
TEST(LoadProperty, TheEstimateIsWithinWhatTheCountsAllow) {
  constexpr double end = 150, window_s = 60, shortest_s = 2;
  for (unsigned seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    rng r(seed);
    const double rate = std::exp(std::log(0.2) + unit(r) * std::log(500));
    const std::function<arrival_times()> processes[] = {
        [&] { return poisson(r, rate, end); }, [&] { return regular(r, rate, end); },
        [&] { return clumped(r, rate, 1 + 20 * unit(r), end); }, [&] { return gaps_of_gamma(r, rate, 0.3, end); },
        [&] { return on_off(r, rate, 3 + 20 * unit(r), 3 + 40 * unit(r), end); }};
    const auto a = processes[seed % 5]();
    constexpr double spans[] = {0, 0.2, 0.5, 1, 2, 5, 15, 60};
    const double span = spans[(seed / 5) % 8];
    const double stall = span <= 2 && seed % 3 == 0 ? 2 : 0;
    load_estimator e(window_s);
    for (const auto& s : sample(r, a, end, span, stall)) {
      load_observation o;
      o.time_s = s.time_s, o.span_s = s.span_s, o.arrivals = s.arrivals;
      e.add(o);
      const auto got = e.estimate();
      if (!got) continue;
      constexpr double step = 0.25;
      double most = 0, least = 1e9, clump = 0;
      const double longest = std::min(s.time_s, window_s + std::max(span, 5.0) + stall);
      const double wide = std::max({1 + 2 * span, stall + 1, span == 0 ? 11.0 : 0.0}) + step;
      for (double l = 0; l <= longest; l += step) {
        const double from = s.time_s - l - step;
        clump = std::max(clump, count(a, from, from + wide));
        if (l + step < std::min(shortest_s, longest)) continue;
        most = std::max(most, count(a, from - stall, s.time_s) / std::max(l, step));
        least = std::min(least, (count(a, s.time_s - l, s.time_s - stall) - clump) / (l + step));
      }
      ASSERT_LE(got->arrival_rate.per_sec(), most * 1.0001 + 1e-9) << "at " << s.time_s << " s, span " << span;
      ASSERT_GE(got->arrival_rate.per_sec(), least * 0.9999 - 1e-9) << "at " << s.time_s << " s, span " << span;
    }
  }
}

struct outcome {
  double mean = 0;     ///< of the estimate over the true rate
  double highest = 0;  ///< planned rate, which is the highest estimate of a minute
  double planned = 0;  ///< mean of the planned rate over the true one
};
outcome run(rng& r, const arrival_times& a, double rate, double end, double span_s, double stall_s) {
  load_estimator e(60);
  sliding_peak<double> peak;
  outcome out;
  int n = 0;
  for (const auto& s : sample(r, a, end, span_s, stall_s)) {
    load_observation o;
    o.time_s = s.time_s, o.span_s = s.span_s, o.arrivals = s.arrivals;
    e.add(o);
    const auto got = e.estimate();
    if (!got) continue;
    const double v = got->arrival_rate.per_sec();
    const double planned = peak.push(s.time_s, v, v, 60);
    out.highest = std::max(out.highest, planned);
    if (s.time_s < 60) continue;
    out.mean += v / rate;
    out.planned += planned / rate;
    ++n;
  }
  out.mean /= n;
  out.planned /= n;
  return out;
}

/// Needed and planned replicas when one takes `per_replica`.
bool too_many(double planned, double needed, double per_replica) {
  return std::ceil(planned / per_replica) > 1.5 * std::ceil(needed / per_replica) + 2;
}

TEST(LoadProperty, SteadyLoadBuysNothingWhateverTheSpansAndStalls) {
  for (const double span : {0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0})
    for (const double stall : {0.0, 2.0})
      for (const double rate : {0.2, 1.0, 10.0, 100.0})
        for (unsigned seed = 1; seed <= 2; ++seed) {
          SCOPED_TRACE("span " + std::to_string(span) + ", stall " + std::to_string(stall) + ", rate " + std::to_string(rate) +
                       ", seed " + std::to_string(seed));
          rng r(seed);
          constexpr double end = 400;
          const auto p = run(r, poisson(r, rate, end), rate, end, span, stall);
          EXPECT_NEAR(p.mean, 1, 0.05 + 3 / std::sqrt(rate * end));
          EXPECT_LT(p.highest, rate + 5 * std::sqrt(rate / 5) + 0.2);
          const auto even = run(r, regular(r, rate, end), rate, end, span, stall);
          EXPECT_NEAR(even.mean, 1, 0.05);
          EXPECT_LT(even.highest, 1.3 * rate + 0.2);
          // Where few requests make a replica busy, their number itself is uncertain.
          for (const double replicas : {0.3, 1.0, 3.0, 10.0, 40.0}) {
            if (replicas > 1 && rate < 10) continue;
            EXPECT_FALSE(too_many(p.highest, rate, rate / replicas)) << replicas << " needed, planned for " << p.highest;
            EXPECT_FALSE(too_many(even.highest, rate, rate / replicas)) << replicas << " needed, planned for " << even.highest;
          }
        }
}

/// Arrivals in clumps: the mean of what is planned stays near the load, though single moments exceed it.
TEST(LoadProperty, ClumpsAreNotPlannedForAsRates) {
  for (const double span : {0.2, 0.5, 2.0, 5.0, 15.0})
    for (const double rate : {0.5, 3.0, 30.0})
      for (const double size : {3.0, 10.0}) {
        SCOPED_TRACE("span " + std::to_string(span) + ", rate " + std::to_string(rate) + ", size " + std::to_string(size));
        rng r(11);
        constexpr double end = 2000;
        const auto o = run(r, clumped(r, rate, size, end), rate, end, span, 0);
        EXPECT_NEAR(o.mean, 1, 0.3);
        // The highest mean of a window within a minute is this far above the load.
        EXPECT_LT(o.planned, 1.1 + 2 * std::sqrt(2 * size / (60 * rate)));
      }
}

/// One replica does the twenty in 8 s.
TEST(LoadProperty, TwentyRequestsAtOnceAreABacklog) {
  for (const double span : {0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0})
    for (unsigned seed = 1; seed <= 30; ++seed) {
      SCOPED_TRACE("span " + std::to_string(span) + ", seed " + std::to_string(seed));
      rng r(seed);
      auto a = poisson(r, 0.5, 300);
      const double at = 90 + 60 * unit(r), within = 0.5 * unit(r);
      for (int i = 0; i < 20; ++i) a.push_back(at + within * unit(r));
      std::sort(a.begin(), a.end());
      EXPECT_LT(run(r, a, 0.5, 300, span, 0).highest, 2.5);
    }
}

/// Seconds until the estimate has made four fifths of a step; of 60 runs the median and the one that 95 are not later than.
std::pair<double, double> delay(double before, double after, double span_s) {
  std::vector<double> all;
  for (unsigned seed = 1; seed <= 60; ++seed) {
    rng r(seed);
    constexpr double end = 170;
    const double at = 90 + span_s * unit(r);
    auto a = poisson(r, std::max(before, 1e-9), at);
    for (const double t : poisson(r, after, end - at)) a.push_back(at + t);
    load_estimator e(60);
    double seen = end;
    for (const auto& s : sample(r, a, end, span_s, 0)) {
      load_observation o;
      o.time_s = s.time_s, o.span_s = s.span_s, o.arrivals = s.arrivals;
      e.add(o);
      if (s.time_s > at && e.estimate() && e.estimate()->arrival_rate.per_sec() > before + 0.8 * (after - before))
        seen = std::min(seen, s.time_s - at);
    }
    all.push_back(seen);
  }
  std::sort(all.begin(), all.end());
  return {all[30], all[57]};
}

TEST(LoadProperty, AStepIsFollowedWithinSeconds) {
  const struct {
    double before, after, span_s, median_s, most_s;
  } cases[] = {{0, 4, 0.5, 4, 15},  {5, 25, 0.5, 3, 7},  {10, 20, 0.5, 7, 15}, {100, 200, 0.5, 3, 4}, {5, 25, 2, 8, 12},
               {10, 20, 2, 11, 24}, {100, 200, 2, 8, 9}, {5, 25, 5, 16, 25},   {100, 200, 15, 45, 50}};
  for (const auto& c : cases) {
    const auto [median, most] = delay(c.before, c.after, c.span_s);
    EXPECT_LE(median, c.median_s) << c.before << " to " << c.after << ", span " << c.span_s;
    EXPECT_LE(most, c.most_s) << c.before << " to " << c.after << ", span " << c.span_s;
  }
}

}  // namespace
}  // namespace inferno::model

// Random worlds of servers, read as scraping and as Prometheus read them: what is believed stays within what happened.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "actors/load_alignment.hpp"
#include "actors/pod_tracks.hpp"

namespace inferno::actors::testing {
namespace {

using field = counter_field;

struct trouble {
  double restart = 0.003;      ///< each of a server and second
  double unread = 0.05;        ///< each of a reading
  double odd = 0.01;           ///< a page of another server
  double lacks_family = 0.01;  ///< for up to 20 s
  double silence = 0.002;      ///< for up to 50 s
  bool says_start = true;
  double interval_s = 2;  ///< between readings of a server
};

/// One server with what really happened.
struct true_server {
  explicit true_server(double requests_per_s) : rate(requests_per_s) {}
  double rate;
  double stopped = 0, by_length = 0, running = 0, waiting = 0;
  double arrived = 0;  ///< ever, restarts included
  double unseen = 0;   ///< arrived since the last reading that may be believed
  double lost = 0;     ///< of these, before a restart: nothing can tell of them
  double started_s = -10000;
  double silent_until_s = 0, lacks_until_s = 0;
  int lacks = 0;
  bool odd_before = false;

  void second(double now_s, std::mt19937& rng, const trouble& t) {
    const double n = std::poisson_distribution<int>(rate)(rng);
    arrived += n;
    unseen += n;
    waiting += n;
    double finish = std::binomial_distribution<int>(static_cast<int>(running), 0.25)(rng);
    running -= finish;
    const double cut = std::floor(finish / 4);
    by_length += cut;
    stopped += finish - cut;
    const double start = std::min(waiting, 32 - running);
    running += start;
    waiting -= start;
    if (std::bernoulli_distribution(t.restart)(rng)) {
      lost += unseen;
      unseen = 0;
      stopped = by_length = running = waiting = 0;
      started_s = now_s;
    }
    if (std::bernoulli_distribution(t.silence)(rng)) silent_until_s = now_s + std::uniform_int_distribution<int>(2, 50)(rng);
    if (std::bernoulli_distribution(t.lacks_family)(rng)) {
      lacks_until_s = now_s + std::uniform_int_distribution<int>(1, 20)(rng);
      lacks = std::uniform_int_distribution<int>(0, static_cast<int>(field::started) - 1)(rng);
    }
  }

  server_reading read(double now_s, std::mt19937& rng, const trouble& t) const {
    server_reading r;
    r.clock_s = now_s;
    r.wall_s = 1e9 + now_s;
    const auto add = [&](field f, std::uint64_t labels, double v) {
      if (now_s < lacks_until_s && static_cast<int>(f) == lacks) return;
      EXPECT_EQ(r.add(f, labels, v), "");
    };
    const double done = stopped + by_length;
    add(field::running, 0, running);
    add(field::waiting, 0, waiting);
    add(field::success, 1, stopped);
    add(field::success, 2, by_length);
    add(field::prompt_sum, 0, 100 * done);
    add(field::prompt_count, 0, done);
    add(field::generation_sum, 0, 200 * done);
    add(field::generation_count, 0, done);
    // vLLM subtracts time stamps of two clocks.
    add(field::itl_sum, 0, std::max(0.0, 4 * done + std::uniform_real_distribution<double>(-5, 5)(rng)));
    add(field::itl_count, 0, 200 * done);
    add(field::ttft_sum, 0, std::max(0.0, done + std::uniform_real_distribution<double>(-5, 5)(rng)));
    add(field::ttft_count, 0, done);
    if (t.says_start) add(field::started, 0, 1e9 + started_s);
    EXPECT_EQ(r.seal(), "");
    return r;
  }
};

struct totals {
  double believed = 0, true_arrivals = 0, lost = 0;
  double longest_rate = 0;  ///< the largest rate of any sample that spans 10 s at least
  double in_tokens = 0, completions = 0;
};

totals run(unsigned seed, const trouble& t, int pods, double requests_per_s, double seconds) {
  std::mt19937 rng(seed);
  std::vector<true_server> servers(static_cast<std::size_t>(pods), true_server(requests_per_s / pods));
  std::vector<scrape_target> list;
  for (int i = 0; i < pods; ++i) list.push_back({{"llm", fmt::format("p{}", i)}, "m", "10.0.0.1", 8000});
  const auto targets = std::make_shared<const std::vector<scrape_target>>(list);
  for (auto& s : servers) s.stopped = std::uniform_int_distribution<int>(0, 100000)(rng);
  pod_tracks tracks;
  load_alignment alignment;
  totals out;
  double before_first = -1, last_whole_true = 0, last_whole_lost = 0;
  std::vector<std::pair<double, std::optional<server_reading>>> held(servers.size());  // what Prometheus has
  for (double now = 1; now <= seconds; ++now) {
    for (auto& s : servers) s.second(now, rng, t);
    for (std::size_t i = 0; i < servers.size(); ++i) {
      auto& s = servers[i];
      const bool due = std::fmod(now + static_cast<double>(i) * 2, t.interval_s) < 1;
      if (!due || now < s.silent_until_s || std::bernoulli_distribution(t.unread)(rng)) continue;
      auto r = s.read(now, rng, t);
      if (!s.odd_before && std::bernoulli_distribution(t.odd)(rng)) {
        true_server other(1);
        other.stopped = std::uniform_int_distribution<int>(0, 200000)(rng);
        other.started_s = s.started_s;
        r = other.read(now, rng, t);
        s.odd_before = true;
      } else {
        s.odd_before = false;
        s.unseen = 0;
      }
      held[i] = {now, std::move(r)};
    }
    if (std::fmod(now, 2) >= 1) continue;
    tracks.begin(targets, now);
    std::vector<pod_sample> samples;
    for (std::size_t i = 0; i < servers.size(); ++i) {
      if (!held[i].second) continue;
      if (now - held[i].first > 3 * t.interval_s) {
        samples.push_back({list[i].pod, {}, "silent"});
      } else {
        samples.push_back(tracks.observe(list[i], "", *held[i].second, held[i].first));
      }
    }
    std::vector<const pod_sample*> pointers;
    for (const auto& s : samples) pointers.push_back(&s);
    const auto sum = alignment.next(pointers, list, now, 60);
    if (sum.span_s <= 0 || sum.pods_reporting < sum.pods) continue;
    double arrived = 0, lost = 0;
    for (const auto& s : servers) {
      arrived += s.arrived - s.unseen;
      lost += s.lost;
    }
    if (before_first < 0) before_first = arrived - sum.arrivals;
    out.believed += sum.arrivals;
    out.in_tokens += sum.in_tokens;
    out.completions += sum.completions;
    if (sum.span_s >= 10) out.longest_rate = std::max(out.longest_rate, sum.arrivals / sum.span_s);
    last_whole_true = arrived;
    last_whole_lost = lost;
  }
  out.true_arrivals = last_whole_true - before_first;
  out.lost = last_whole_lost;
  return out;
}

TEST(CountersProperty, ScrapingBelievesWhatHappened) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    trouble t;
    t.says_start = seed % 2;
    const auto r = run(seed, t, 1 + static_cast<int>(seed % 7), 1 + seed % 11, 600);
    SCOPED_TRACE(fmt::format("seed {}: believed {}, true {}, lost {}", seed, r.believed, r.true_arrivals, r.lost));
    ASSERT_GT(r.true_arrivals, 100);
    EXPECT_LE(r.believed, 1.05 * r.true_arrivals + 30);
    EXPECT_GE(r.believed, 0.85 * r.true_arrivals - r.lost - 60);
    EXPECT_NEAR(r.in_tokens / r.completions, 100, 1e-6);
  }
}

TEST(CountersProperty, PrometheusBelievesWhatHappened) {
  for (unsigned seed = 101; seed <= 160; ++seed) {
    trouble t;
    t.says_start = seed % 2;
    t.interval_s = 15;
    const auto r = run(seed, t, 1 + static_cast<int>(seed % 7), 1 + seed % 11, 1200);
    SCOPED_TRACE(fmt::format("seed {}: believed {}, true {}, lost {}", seed, r.believed, r.true_arrivals, r.lost));
    ASSERT_GT(r.true_arrivals, 100);
    EXPECT_LE(r.believed, 1.15 * r.true_arrivals + 60);
    EXPECT_GE(r.believed, 0.75 * r.true_arrivals - 3 * r.lost - 120);
  }
}

TEST(CountersProperty, WithoutTroubleItIsExact) {
  for (unsigned seed = 201; seed <= 220; ++seed) {
    const trouble none{0, 0, 0, 0, 0, true, 2};
    const auto r = run(seed, none, 1 + static_cast<int>(seed % 7), 1 + seed % 11, 300);
    EXPECT_NEAR(r.believed, r.true_arrivals, 1e-6) << seed;
  }
}

}  // namespace
}  // namespace inferno::actors::testing

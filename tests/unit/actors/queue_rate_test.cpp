// What the queue of a server shows to arrive beyond what is counted, where clients leave it unserved.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "actors/server_track.hpp"

namespace inferno::actors::testing {
namespace {

using field = counter_field;

struct queue_world {
  double rate, slots, busy_s, patience_s, scrape_s;
  double changes_s = 1e9, rate_then = 0;  ///< what arrives from then on
};

struct queue_life {
  std::vector<double> shown;  ///< unseen rates from 20 s on
  std::vector<double> times;
  double lost = 0;  ///< requests/s that left unserved in the last minute
};

/// Three minutes of a server that takes requests in order; clients hang up after their patience.
queue_life life_of(const queue_world& w, std::mt19937& random) {
  constexpr double end_s = 180;
  queue_life out;
  struct stay {
    double from, to;
  };
  std::vector<stay> waits, runs;
  std::vector<double> free_at(static_cast<std::size_t>(w.slots), 0.0);
  for (double t = 0; t < end_s; t += std::exponential_distribution<double>(t < w.changes_s ? w.rate : w.rate_then)(random)) {
    const auto first = std::min_element(free_at.begin(), free_at.end());
    const double begins = std::max(t, *first);
    waits.push_back({t, std::min(begins, t + w.patience_s)});
    if (begins > t + w.patience_s) {
      out.lost += t + w.patience_s > end_s - 60 && t + w.patience_s <= end_s ? 1.0 / 60 : 0;
      continue;
    }
    *first = begins + std::exponential_distribution<double>(1 / w.busy_s)(random);
    runs.push_back({begins, *first});
    waits.back().to = begins;
  }
  server_track track;
  for (double t = w.scrape_s; t <= end_s; t += w.scrape_s) {
    double running = 0, waiting = 0, done = 0, turns = 0, delay_s = 0;
    for (const auto& r : runs) running += r.from <= t && t < r.to, done += r.to <= t;
    for (const auto& s : waits) waiting += s.from <= t && t < s.to;
    // Of those that have come to their turn: first tokens come a moment later.
    for (const auto& s : waits)
      if (s.to <= t && s.to - s.from < w.patience_s) ++turns, delay_s += s.to - s.from + 0.05;
    server_reading r;
    r.clock_s = t;
    for (const auto& [f, v] : std::initializer_list<std::pair<field, double>>{{field::running, running},
                                                                              {field::waiting, waiting},
                                                                              {field::success, done},
                                                                              {field::prompt_sum, 100 * done},
                                                                              {field::prompt_count, done},
                                                                              {field::generation_sum, 100 * done},
                                                                              {field::generation_count, done},
                                                                              {field::ttft_sum, delay_s},
                                                                              {field::ttft_count, turns}})
      EXPECT_EQ(r.add(f, 0, v), "");
    EXPECT_EQ(r.seal(), "");
    const auto seen = track.observe(std::move(r));
    if (t > 20) out.shown.push_back(seen.load.unseen_rate), out.times.push_back(t);
  }
  return out;
}

/// The lowest of any 15 s, as it is believed: the highest of those from `from_s` on.
double believed(const queue_life& life, double from_s) {
  double most = 0;
  for (std::size_t i = 0; i < life.times.size(); ++i) {
    if (life.times[i] < from_s) continue;
    double least = life.shown[i];
    for (std::size_t k = i; k-- > 0 && life.times[k] > life.times[i] - 15;) least = std::min(least, life.shown[k]);
    most = std::max(most, least);
  }
  return most;
}

TEST(QueueRate, IsWhatLeavesUnservedAndNoMore) {
  std::mt19937 random(71);
  const auto draw = [&](double from, double to) { return std::uniform_real_distribution<double>(from, to)(random); };
  int told = 0, cases = 0;
  for (int i = 0; i < 300; ++i) {
    queue_world w{};
    w.slots = std::floor(draw(4, 64));
    w.busy_s = draw(0.5, 5);
    const double over = draw(0.3, 5);
    w.rate = over * w.slots / w.busy_s;
    w.patience_s = draw(1, 20);
    w.scrape_s = std::floor(draw(1, 6));
    const auto life = life_of(w, random);
    const double most = believed(life, 120);
    // No more, but for chance.
    EXPECT_LE(most, life.lost + w.rate * 2 / std::sqrt(1 + w.rate * w.patience_s))
        << w.slots << " slots of " << w.busy_s << " s, " << over << " times what they take, patience " << w.patience_s;
    if (over < 0.7) {
      EXPECT_EQ(most, 0) << "now and then nobody waits";
    }
    if (over < 1.5 || w.rate * w.patience_s < 30) continue;
    ++cases;
    std::vector<double> last;
    for (std::size_t k = 0; k < life.times.size(); ++k)
      if (life.times[k] > 120) last.push_back(life.shown[k]);
    std::sort(last.begin(), last.end());
    told += last[last.size() / 2] > life.lost - 0.3 * w.rate && last[last.size() / 2] > 0.4 * life.lost;
  }
  EXPECT_GT(cases, 100);
  EXPECT_GE(told, 0.95 * cases);
}

// Patient clients: whatever a queue does, nothing is lost. A fleet that has just grown sends a server, which still has the queue
// of before, a part of what it got.
TEST(QueueRate, WhereNobodyGivesUpItIsNothing) {
  std::mt19937 random(72);
  const auto draw = [&](double from, double to) { return std::uniform_real_distribution<double>(from, to)(random); };
  for (int i = 0; i < 200; ++i) {
    queue_world w{};
    w.slots = std::floor(draw(4, 64));
    w.busy_s = draw(0.5, 5);
    w.rate = draw(0.9, 3) * w.slots / w.busy_s;
    w.patience_s = 1e9;
    w.scrape_s = std::floor(draw(1, 6));
    w.changes_s = draw(20, 120);
    w.rate_then = w.rate * draw(0.1, 1.2);
    EXPECT_LE(believed(life_of(w, random), 0), 0.2 * w.rate)
        << w.rate << " then " << w.rate_then << " at " << w.changes_s << " s, " << w.slots << " slots of " << w.busy_s << " s";
  }
}

// One that hangs with a queue says nothing, nor does one that has none.
TEST(QueueRate, NeedsTurnsAndAQueue) {
  server_track track;
  const auto observe = [&](double t, double waiting, double turns, double delay_s) {
    server_reading r;
    r.clock_s = t;
    for (const auto& [f, v] : std::initializer_list<std::pair<field, double>>{{field::running, 8},
                                                                              {field::waiting, waiting},
                                                                              {field::success, 100},
                                                                              {field::prompt_sum, 1000},
                                                                              {field::prompt_count, 100},
                                                                              {field::generation_sum, 1000},
                                                                              {field::generation_count, 100},
                                                                              {field::ttft_sum, delay_s},
                                                                              {field::ttft_count, turns}})
      EXPECT_EQ(r.add(f, 0, v), "");
    EXPECT_EQ(r.seal(), "");
    return track.observe(std::move(r)).load.unseen_rate;
  };
  observe(0, 40, 100, 100);
  for (int t = 2; t < 60; t += 2) EXPECT_EQ(observe(t, 40, 100, 100), 0) << "nobody comes to his turn";
  for (int t = 60; t < 80; t += 2) EXPECT_EQ(observe(t, 0, 100 + t, 100 + t), 0) << "nobody waits";
}

/// Totals of a server; what is given up is in the histograms or not.
struct totals {
  double done = 0, aborted = 0, lengths = 0, out = 0, steps = 0, firsts = 0, running = 4, waiting = 0;
  server_reading at(double t) const {
    server_reading r;
    r.clock_s = t;
    const auto add = [&](field f, double v) { EXPECT_EQ(r.add(f, 0, v), ""); };
    EXPECT_EQ(r.add(field::success, 1, aborted, true), "");
    add(field::running, running), add(field::waiting, waiting), add(field::success, done);
    add(field::prompt_sum, 10 * lengths), add(field::prompt_count, lengths);
    add(field::generation_sum, out), add(field::generation_count, lengths);
    add(field::itl_sum, 0.02 * steps), add(field::itl_count, steps), add(field::ttft_sum, 0.1 * firsts),
        add(field::ttft_count, firsts);
    EXPECT_EQ(r.seal(), "");
    return r;
  }
};

// Four of five cancel early and nobody waits: the tokens that are made are the need.
TEST(GivenUp, WhereNobodyWaitsTheTokensThatWereMadeCount) {
  for (const bool told : {false, true}) {
    SCOPED_TRACE(told);
    server_track track;
    totals s;
    load_sample sum;
    for (int t = 0; t <= 60; t += 2) {
      const auto seen = track.observe(s.at(t));
      EXPECT_EQ(seen.problem, "");
      EXPECT_EQ(seen.load.missing, "");
      if (t > 20) sum.completions += seen.load.completions, sum.out_tokens += seen.load.out_tokens;
      // 10 whole answers of 300 tokens, and 40 of 15.
      s.done += 10, s.aborted += 40, s.firsts += 50, s.steps += 10 * 299 + 40 * 14;
      s.lengths += told ? 50 : 10, s.out += 10 * 300 + (told ? 40 * 15 : 0);
    }
    EXPECT_NEAR(sum.out_tokens / sum.completions, 72, 1);
  }
}

// All are given up while they wait: nothing is missing of what the server could report, and nothing is known of lengths.
TEST(GivenUp, ThatNothingWasCompletedIsNoMissingFamily) {
  server_track track;
  totals s;
  s.waiting = 50;
  for (int t = 0; t <= 20; t += 2) {
    const auto seen = track.observe(s.at(t));
    EXPECT_EQ(seen.load.missing, "");
    EXPECT_EQ(seen.problem, "");
    EXPECT_EQ(seen.load.completions, 0);
    s.aborted += 10, s.firsts += 10, s.steps += 500;
  }
}

}  // namespace
}  // namespace inferno::actors::testing

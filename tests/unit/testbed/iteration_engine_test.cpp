// The core of the iteration profile: iterations by hand, limits, order.
#include "testbed/vllm/iteration_engine.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

namespace inferno::testbed {
namespace {

using kind = engine::event_kind;
using events = std::vector<engine::event>;

constexpr double alpha = 8, beta = 0.02, gamma = 0.0001;
const model::iteration_profile profile{alpha, beta, gamma, 8192};
/// Prompts of 4096 tokens in chunks: a budget of 2048 tokens leaves 3 of them for a usual answer of 256.
const model::iteration_profile small_budget{alpha, beta, gamma, 2048};

double time_of(const events& list, engine::request_id id, kind what) {
  for (const auto& e : list)
    if (e.id == id && e.kind == what) return e.time_ms;
  return -1;
}
long count_of(const events& list, engine::request_id id, kind what) {
  return std::count_if(list.begin(), list.end(), [&](const auto& e) { return e.id == id && e.kind == what; });
}
/// Work of the k-th decode step of a request with this prompt.
double step(int in, int k) { return beta + gamma * (in + k); }
double chunk(int in, int j, int chunks) { return (beta + gamma * j) * in / chunks; }

TEST(IterationEngine, ARequestAloneTakesItsChunksAndItsSteps) {
  iteration_engine e({profile, 4, 10, 0, true, 100});
  events out;
  ASSERT_TRUE(e.submit(1, 500, 3, 1000, out));
  EXPECT_NEAR(e.next_event_ms().value(), 1000 + alpha + chunk(500, 1, 1), 1e-9);
  e.advance(1e6, out);
  const double prefilled = 1000 + alpha + chunk(500, 1, 1);
  EXPECT_DOUBLE_EQ(time_of(out, 1, kind::admitted), 1000);
  EXPECT_NEAR(time_of(out, 1, kind::first_token), prefilled + alpha + step(500, 1), 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::token), prefilled + 2 * alpha + step(500, 1) + step(500, 2), 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::finished), prefilled + 3 * alpha + step(500, 1) + step(500, 2) + step(500, 3), 1e-9);
  EXPECT_EQ(count_of(out, 1, kind::token), 2);
  EXPECT_EQ(e.running(), 0);
  EXPECT_FALSE(e.next_event_ms());
}

TEST(IterationEngine, AloneItTakesTheModelsServiceTime) {
  for (const auto& p : {profile, small_budget}) {
    for (const auto& [in, m] : std::vector<std::pair<int, int>>{{0, 1}, {1, 1}, {100, 50}, {4096, 256}}) {
      SCOPED_TRACE(fmt::format("in {} out {} budget {}", in, m, p.max_batched_tokens));
      iteration_engine e({p, 1, 10, 0, true, static_cast<double>(m)});
      events out;
      e.submit(1, in, m, 0, out);
      e.advance(1e9, out);
      const auto want = model::times_at(p, {static_cast<double>(in), static_cast<double>(m)}, 1);
      EXPECT_NEAR(time_of(out, 1, kind::finished), want.service_ms, 1e-9 * want.service_ms);
    }
  }
}

TEST(IterationEngine, ALongPromptIsPrefilledInChunks) {
  iteration_engine e({small_budget, 4, 10, 0, true, 256});
  ASSERT_EQ(model::prefill_chunks(small_budget, {4096, 256}, 1), 3);
  events out;
  e.submit(1, 4096, 10, 0, out);
  double now = 0;
  for (int j = 1; j <= 3; ++j) {
    now += alpha + chunk(4096, j, 3);
    EXPECT_NEAR(e.next_event_ms().value(), now, 1e-9);
    e.advance(*e.next_event_ms(), out);
  }
  EXPECT_EQ(time_of(out, 1, kind::first_token), -1);
  e.advance(*e.next_event_ms(), out);
  EXPECT_NEAR(time_of(out, 1, kind::first_token), now + alpha + step(4096, 1), 1e-9);
}

TEST(IterationEngine, RequestsShareIterationsAndJoinBetweenThem) {
  iteration_engine e({profile, 4, 10, 0, true, 100});
  events out;
  e.submit(1, 100, 3, 0, out);
  e.submit(2, 200, 1, 3, out);
  EXPECT_EQ(e.running(), 1);
  EXPECT_EQ(e.waiting(), 1) << "an iteration is under way";
  e.advance(1e6, out);
  const double first = alpha + chunk(100, 1, 1);
  const double second = first + alpha + step(100, 1) + chunk(200, 1, 1);
  const double third = second + alpha + step(100, 2) + step(200, 1);
  const double fourth = third + alpha + step(100, 3);
  EXPECT_NEAR(time_of(out, 2, kind::admitted), first, 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::first_token), second, 1e-9);
  EXPECT_NEAR(time_of(out, 2, kind::first_token), third, 1e-9);
  EXPECT_NEAR(time_of(out, 2, kind::finished), third, 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::finished), fourth, 1e-9);
}

TEST(IterationEngine, FirstComeFirstServedWithinBatchAndQueue) {
  iteration_engine e({profile, 2, 2, 0, true, 100});
  events out;
  for (engine::request_id id = 1; id <= 4; ++id) EXPECT_TRUE(e.submit(id, 10, 5 + static_cast<int>(id), 0, out));
  EXPECT_FALSE(e.submit(5, 10, 5, 0, out)) << "2 served and 2 waiting are all it takes";
  e.advance(1e6, out);
  EXPECT_EQ(count_of(out, 5, kind::admitted), 0);
  for (engine::request_id id = 2; id <= 4; ++id)
    EXPECT_LE(time_of(out, id - 1, kind::admitted), time_of(out, id, kind::admitted));
  EXPECT_DOUBLE_EQ(time_of(out, 3, kind::admitted), time_of(out, 1, kind::finished)) << "a place is taken again at once";
  EXPECT_DOUBLE_EQ(time_of(out, 4, kind::admitted), time_of(out, 2, kind::finished));
}

TEST(IterationEngine, TheKvCacheHoldsRequestsBack) {
  iteration_engine e({profile, 8, 10, 100, true, 100});
  events out;
  EXPECT_TRUE(e.submit(1, 50, 10, 0, out));
  EXPECT_TRUE(e.submit(2, 40, 10, 0, out));
  EXPECT_TRUE(e.submit(3, 1, 1, 0, out)) << "would fit, but waits its turn";
  EXPECT_FALSE(e.submit(4, 100, 1, 0, out)) << "can never fit";
  EXPECT_DOUBLE_EQ(e.kv_usage(), 0.6);
  e.advance(1e6, out);
  EXPECT_DOUBLE_EQ(time_of(out, 2, kind::admitted), time_of(out, 1, kind::finished));
  EXPECT_DOUBLE_EQ(time_of(out, 3, kind::admitted), time_of(out, 2, kind::admitted));
  EXPECT_DOUBLE_EQ(e.kv_usage(), 0);
}

TEST(IterationEngine, AnAbortedRequestFreesItsPlaceForTheNextIteration) {
  iteration_engine e({profile, 1, 10, 1000, true, 100});
  events out;
  e.submit(1, 10, 100, 0, out);
  e.submit(2, 10, 10, 0, out);
  e.submit(3, 10, 10, 0, out);
  e.abort(3, 1, out);
  const double boundary = e.next_event_ms().value();
  e.abort(1, 2, out);
  EXPECT_EQ(e.running(), 0);
  EXPECT_DOUBLE_EQ(e.kv_usage(), 0);
  EXPECT_DOUBLE_EQ(e.next_event_ms().value(), boundary) << "the iteration under way ends when it was to";
  e.advance(1e6, out);
  EXPECT_DOUBLE_EQ(time_of(out, 2, kind::admitted), boundary);
  EXPECT_EQ(count_of(out, 2, kind::finished), 1);
  EXPECT_EQ(count_of(out, 1, kind::finished), 0);
  EXPECT_EQ(count_of(out, 3, kind::admitted), 0);
  e.abort(99, 2e6, out);
  EXPECT_TRUE(e.submit(4, 10, 1, 3e6, out)) << "an idle server begins at once";
  EXPECT_DOUBLE_EQ(time_of(out, 4, kind::admitted), 3e6);
}

TEST(IterationEngine, ASilentOneTellsOnlyTheFirstTokenAndTheLast) {
  iteration_engine e({profile, 4, 10, 0, false, 100});
  events out;
  e.submit(1, 100, 10, 0, out);
  e.submit(2, 100, 1, 0, out);
  e.advance(1e6, out);
  for (const auto k : {kind::admitted, kind::first_token, kind::token, kind::finished}) EXPECT_EQ(count_of(out, 1, k), 1);
  EXPECT_EQ(count_of(out, 2, kind::first_token), 1);
  EXPECT_EQ(count_of(out, 2, kind::token), 0);
}

/// A million iterations take a million times as long as one, and a step a century later takes what it took at first.
TEST(IterationEngine, DoesNotDrift) {
  iteration_engine e({{model::iteration_profile{0.1, 0, 0.0001, 8192}}, 2, 10, 0, false, 100});
  events out;
  constexpr int n = 1'000'000;
  e.submit(1, 0, n, 0, out);
  e.advance(INFINITY, out);
  const double want = 0.1 * (n + 1) + 0.0001 * n * (n + 1.0) / 2;
  EXPECT_NEAR(time_of(out, 1, kind::finished), want, 1e-9 * want);
  const double later = 1e11;
  e.submit(2, 0, 1, later, out);
  e.advance(INFINITY, out);
  EXPECT_NEAR(time_of(out, 2, kind::finished) - later, 0.2001, 1e-4);
}

TEST(IterationEngine, TokensComeInOrderWhateverTheStepsOfTheClock) {
  std::map<engine::request_id, double> finished_before;
  for (const double look : {0.7, 30.0, 1e9}) {
    iteration_engine e({small_budget, 16, 1000, 0, true, 20});
    events out;
    std::mt19937 rng(3);
    double now = 0, seen = 0;
    for (engine::request_id id = 1; id <= 200; ++id) {
      now += 7;
      while (seen + look < now) e.advance(seen += look, out);
      ASSERT_TRUE(e.submit(id, static_cast<int>(rng() % 3000), 1 + static_cast<int>(rng() % 30), now, out));
    }
    e.advance(1e9, out);
    std::map<engine::request_id, double> finished;
    for (std::size_t i = 1; i < out.size(); ++i) EXPECT_LE(out[i - 1].time_ms, out[i].time_ms);
    for (const auto& x : out) {
      if (x.kind != kind::finished) continue;
      EXPECT_TRUE(finished.emplace(x.id, x.time_ms).second) << x.id;
    }
    EXPECT_EQ(finished.size(), 200u);
    if (finished_before.empty()) finished_before = finished;
    EXPECT_EQ(finished, finished_before) << "looking does not change what is seen";
  }
}

}  // namespace
}  // namespace inferno::testbed

// The core of the linear profile: closed forms and limits.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "testbed/vllm/linear_engine.hpp"

namespace inferno::testbed {
namespace {

using kind = engine::event_kind;
using events = std::vector<engine::event>;

const model::linear_profile with_prefill{20, 0.5, 10, 0.1, true};
const model::linear_profile without_prefill{20, 0.5, 0, 0, false};

double time_of(const events& list, engine::request_id id, kind what) {
  for (const auto& e : list)
    if (e.id == id && e.kind == what) return e.time_ms;
  return -1;
}
int count_of(const events& list, engine::request_id id, kind what) {
  return static_cast<int>(std::count_if(list.begin(), list.end(), [&](const auto& e) { return e.id == id && e.kind == what; }));
}

TEST(Engine, ASingleRequestTakesPrefillAndSteps) {
  linear_engine e({with_prefill, 4, 10, 0, true});
  events out;
  ASSERT_TRUE(e.submit(1, 100, 11, 1000, out));
  e.advance(1e6, out);
  EXPECT_DOUBLE_EQ(time_of(out, 1, kind::admitted), 1000);
  EXPECT_NEAR(time_of(out, 1, kind::first_token), 1000 + 10 + 0.1 * 100, 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::finished), 1020 + 10 * 20.5, 1e-6);
  EXPECT_EQ(count_of(out, 1, kind::token), 10);
  EXPECT_EQ(e.running(), 0);
  EXPECT_FALSE(e.next_event_ms());
}

TEST(Engine, WithoutPrefillEveryTokenIsAStep) {
  linear_engine e({without_prefill, 4, 10, 0, true});
  events out;
  e.submit(1, 100, 10, 0, out);
  e.advance(1e6, out);
  EXPECT_NEAR(time_of(out, 1, kind::first_token), 20.5, 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::finished), 205, 1e-6);
}

TEST(Engine, RequestsSlowEachOtherWhileTheyAreTogether) {
  linear_engine e({without_prefill, 4, 10, 0, true});
  events out;
  e.submit(1, 0, 10, 0, out);
  e.submit(2, 0, 10, 102.5, out);  // the first has made 5 steps of 20.5 ms
  e.advance(1e6, out);
  EXPECT_NEAR(time_of(out, 1, kind::finished), 102.5 + 5 * 21, 1e-6);
  EXPECT_NEAR(time_of(out, 2, kind::finished), 102.5 + 5 * 21 + 5 * 20.5, 1e-6);
}

TEST(Engine, BatchAndQueueAreLimited) {
  linear_engine e({without_prefill, 2, 1, 0, true});
  events out;
  EXPECT_TRUE(e.submit(1, 0, 10, 0, out));
  EXPECT_TRUE(e.submit(2, 0, 5, 0, out));
  EXPECT_TRUE(e.submit(3, 0, 5, 0, out));
  EXPECT_FALSE(e.submit(4, 0, 5, 0, out));
  EXPECT_EQ(e.running(), 2);
  EXPECT_EQ(e.waiting(), 1);
  e.advance(1e6, out);
  EXPECT_NEAR(time_of(out, 3, kind::admitted), 5 * 21, 1e-6);
  EXPECT_EQ(count_of(out, 4, kind::admitted), 0);
}

TEST(Engine, TheKvCacheHoldsRequestsBack) {
  linear_engine e({without_prefill, 8, 10, 100, true});
  events out;
  EXPECT_TRUE(e.submit(1, 50, 10, 0, out));
  EXPECT_TRUE(e.submit(2, 40, 10, 0, out));
  EXPECT_EQ(e.running(), 1);
  EXPECT_DOUBLE_EQ(e.kv_usage(), 0.6);
  EXPECT_FALSE(e.submit(3, 100, 1, 0, out)) << "can never fit";
  e.advance(1e6, out);
  EXPECT_NEAR(time_of(out, 2, kind::admitted), 205, 1e-6);
  EXPECT_DOUBLE_EQ(e.kv_usage(), 0);
}

TEST(Engine, AnAbortedRequestFreesItsPlace) {
  linear_engine e({with_prefill, 1, 10, 0, true});
  events out;
  e.submit(1, 10, 100, 0, out);
  e.submit(2, 10, 10, 0, out);
  e.submit(3, 10, 10, 0, out);
  e.abort(3, 1, out);
  e.abort(1, 100, out);
  EXPECT_DOUBLE_EQ(time_of(out, 2, kind::admitted), 100);
  e.advance(1e6, out);
  EXPECT_GT(time_of(out, 2, kind::finished), 100);
  EXPECT_EQ(count_of(out, 1, kind::finished), 0);
  EXPECT_EQ(count_of(out, 3, kind::admitted), 0);
  e.abort(99, 2e6, out);
}

TEST(Engine, TokensComeInOrderWhateverTheStepsOfTheClock) {
  for (const double step : {0.3, 7.0, 1000.0}) {
    linear_engine e({with_prefill, 16, 1000, 0, true});
    events out;
    std::mt19937 rng(3);
    double now = 0;
    for (engine::request_id id = 1; id <= 200; ++id) {
      now += step;
      e.submit(id, static_cast<int>(rng() % 100), 1 + static_cast<int>(rng() % 30), now, out);
    }
    e.advance(1e9, out);
    std::map<engine::request_id, int> finished;
    for (std::size_t i = 1; i < out.size(); ++i) EXPECT_LE(out[i - 1].time_ms, out[i].time_ms);
    for (const auto& x : out) finished[x.id] += x.kind == kind::finished ? 1 : 0;
    EXPECT_EQ(finished.size(), 200u);
    for (const auto& [id, n] : finished) EXPECT_EQ(n, 1) << id;
  }
}

}  // namespace
}  // namespace inferno::testbed

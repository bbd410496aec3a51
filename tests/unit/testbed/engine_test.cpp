// The emulator's core: closed forms, limits, and the queueing model over a load sweep.
#include "testbed/vllm/engine.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "model/queue.hpp"

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
  engine e({with_prefill, 4, 10, 0, true});
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
  engine e({without_prefill, 4, 10, 0, true});
  events out;
  e.submit(1, 100, 10, 0, out);
  e.advance(1e6, out);
  EXPECT_NEAR(time_of(out, 1, kind::first_token), 20.5, 1e-9);
  EXPECT_NEAR(time_of(out, 1, kind::finished), 205, 1e-6);
}

TEST(Engine, RequestsSlowEachOtherWhileTheyAreTogether) {
  engine e({without_prefill, 4, 10, 0, true});
  events out;
  e.submit(1, 0, 10, 0, out);
  e.submit(2, 0, 10, 102.5, out);  // the first has made 5 steps of 20.5 ms
  e.advance(1e6, out);
  EXPECT_NEAR(time_of(out, 1, kind::finished), 102.5 + 5 * 21, 1e-6);
  EXPECT_NEAR(time_of(out, 2, kind::finished), 102.5 + 5 * 21 + 5 * 20.5, 1e-6);
}

TEST(Engine, BatchAndQueueAreLimited) {
  engine e({without_prefill, 2, 1, 0, true});
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
  engine e({without_prefill, 8, 10, 100, true});
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
  engine e({with_prefill, 1, 10, 0, true});
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
    engine e({with_prefill, 16, 1000, 0, true});
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

struct measured {
  double itl_ms, wait_ms, prefill_ms;
  model::req_rate rate;  ///< as it came out
  double out_tokens;     ///< likewise
};

/// Poisson arrivals, exponential output lengths, steady state.
measured simulate(const model::replica_config& c, model::req_rate rate, std::uint64_t seed, int requests) {
  const auto& profile = std::get<model::linear_profile>(c.profile);
  engine e({profile, c.max_batch, c.max_queue, 0, false});
  std::mt19937_64 rng(seed);
  std::exponential_distribution<double> gap(rate.per_ms());
  // A geometric length with the mean the model has: the discrete exponential.
  std::geometric_distribution<int> length(1.0 / c.shape.out_tokens);
  struct request {
    double arrived, admitted = 0, prefilled = -1, last = 0;
    int steps;
  };
  std::unordered_map<engine::request_id, request> open;
  events list;
  double now = 0, waits = 0, prefills = 0, decode_ms = 0, steps = 0, tokens = 0;
  int done = 0;
  const int warm_up = requests / 10;
  const auto take = [&] {
    for (const auto& x : list) {
      auto& r = open.at(x.id);
      if (x.kind == kind::admitted) r.admitted = r.prefilled = x.time_ms;
      if (x.kind == kind::first_token && profile.has_prefill && c.shape.in_tokens > 0) r.prefilled = x.time_ms;
      if (x.kind != kind::finished) continue;
      if (++done > warm_up) {
        waits += r.admitted - r.arrived;
        prefills += r.prefilled - r.admitted;
        decode_ms += x.time_ms - r.prefilled;
        steps += r.steps;
      }
      open.erase(x.id);
    }
    list.clear();
  };
  for (engine::request_id id = 1; id <= static_cast<engine::request_id>(requests); ++id) {
    now += gap(rng);
    e.advance(now, list);
    take();
    const int out = 1 + length(rng);
    tokens += out;
    open[id] = {now, 0, -1, 0, profile.has_prefill && c.shape.in_tokens > 0 ? out - 1 : out};
    if (!e.submit(id, static_cast<int>(c.shape.in_tokens), out, now, list)) open.erase(id);
    take();
  }
  const double over = now;
  e.advance(1e18, list);
  take();
  const int counted = done - warm_up;
  return {decode_ms / steps, waits / counted, prefills / counted, model::req_rate::per_sec(1000 * requests / over),
          tokens / requests};
}

TEST(Engine, AgreesWithTheQueueingModelOverALoadSweep) {
  const std::vector<model::replica_config> profiles{
      {model::linear_profile{20.58, 0.41, 0, 0, false}, {0, 178}, 4, 40},
      // Prompts have a fixed length here: the larger their share of the service time, the shorter the wait than an exponential's.
      {model::linear_profile{7, 0.3, 15, 0.02, true}, {64, 128}, 16, 160},
      {model::linear_profile{12, 0.8, 30, 0.01, true}, {400, 200}, 32, 320},
      {model::linear_profile{5, 0.05, 5, 0.001, true}, {512, 64}, 64, 640},
  };
  fmt::print("profile  load   ITL model   ITL emul.   wait model  wait emul.  TTFT model  TTFT emul.\n");
  for (std::size_t i = 0; i < profiles.size(); ++i) {
    const auto& c = profiles[i];
    const auto top = model::size_replica(c, {})->max_rate;
    for (const double load : {0.1, 0.3, 0.5, 0.7, 0.8, 0.9}) {
      const auto rate = model::req_rate::per_sec(top.per_sec() * load);
      const std::uint64_t seed = 1000 + i;
      const auto got = simulate(c, rate, seed, load < 0.6 ? 40000 : 250000);
      // Predicted for the load that came out of the dice: near saturation 0.3 % of it are 3 % of the wait.
      auto drawn = c;
      drawn.shape.out_tokens = got.out_tokens;
      const auto want = model::analyze(drawn, got.rate);
      SCOPED_TRACE(fmt::format("profile {} load {} seed {}", i, load, seed));
      fmt::print("{:7}  {:.2f}  {:10.3f}  {:10.3f}  {:10.2f}  {:10.2f}  {:10.2f}  {:10.2f}\n", i, load, want.itl_ms, got.itl_ms,
                 want.wait_ms, got.wait_ms, want.ttft_ms, got.wait_ms + got.prefill_ms);
      EXPECT_NEAR(got.itl_ms / want.itl_ms, 1, 0.05);
      // A wait far below a decode step is noise to anybody who reads it.
      const double tolerance = std::max(0.05 * want.ttft_ms, 0.05 * want.itl_ms);
      EXPECT_NEAR(got.wait_ms + got.prefill_ms, want.ttft_ms, tolerance);
    }
  }
}

}  // namespace
}  // namespace inferno::testbed

// The iteration profile against its golden vectors, the search for the batch, and the KV bound.
#include "model/profile.hpp"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <cmath>
#include <fstream>
#include <iterator>

#include "model/queue.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;

json::object golden() {
  std::ifstream in(TEST_DATA_DIR "/model/iteration_model.json");
  return json::parse(std::string(std::istreambuf_iterator<char>(in), {})).as_object();
}

double number(const json::value& of, std::string_view name) { return of.at(name).to_number<double>(); }

TEST(IterationProfile, HasTheGoldenTimesAtAFixedBatch) {
  const auto g = golden();
  int cases = 0;
  for (const auto& v : g.at("primitives").as_array()) {
    SCOPED_TRACE(json::serialize(v));
    const iteration_profile p{number(v, "alpha"), number(v, "beta"), number(v, "gamma")};
    const request_shape shape{number(v, "AvgInputTokens"), number(v, "AvgOutputTokens")};
    const double n = number(v, "B"), c = number(v, "nc");
    EXPECT_EQ(prefill_chunks(p, shape, n), c);
    const auto t = times_at(p, shape, n);
    EXPECT_NEAR(t.service_ms / number(v, "tau"), 1, 1e-6);
    EXPECT_NEAR(t.service_ms / (c + shape.out_tokens) / number(v, "iter_time"), 1, 1e-6);
    EXPECT_NEAR(t.prefill_ms / number(v, "prefill"), 1, 1e-6);
    EXPECT_NEAR(t.itl_ms / number(v, "itl"), 1, 1e-6);
    EXPECT_DOUBLE_EQ(t.first_token_ms, t.prefill_ms + t.itl_ms);
    ++cases;
  }
  EXPECT_EQ(cases, 8);
}

struct scenario {
  std::string name;
  replica_config config;
  slo_targets slo;
  std::vector<double> rates;  ///< requests/s by batch - 1
  int onset = 0;
};

std::vector<scenario> scenarios() {
  std::vector<scenario> out;
  const auto g = golden();
  for (const auto& v : g.at("scenarios").as_array()) {
    scenario s;
    s.name = v.at("name").as_string();
    s.config.profile = iteration_profile{number(v, "alpha_ms"), number(v, "beta_ms_per_token"), number(v, "gamma_ms_per_token2"),
                                         static_cast<int>(number(v, "max_num_tokens"))};
    s.config.shape = {number(v, "avg_in_tokens"), number(v, "avg_out_tokens")};
    s.config.max_batch = static_cast<int>(number(v, "search_max"));
    s.config.max_queue = static_cast<long>(number(v, "max_queue"));
    s.slo.itl_ms = number(v, "slo_itl_ms");
    s.slo.ttft_ms = number(v, "slo_ttft_ms");
    for (const auto& r : v.at("max_rate_by_batch").as_array()) s.rates.push_back(r.to_number<double>());
    s.onset = static_cast<int>(number(v, "onset_batch_2pct"));
    out.push_back(std::move(s));
  }
  return out;
}

TEST(IterationProfile, HasTheGoldenRateAtEveryBatch) {
  const auto all = scenarios();
  ASSERT_EQ(all.size(), 6u);
  for (const auto& s : all) {
    ASSERT_EQ(s.rates.size(), 256u) << s.name;
    // The maker leaves batch 1 at 0.
    for (std::size_t batch = 2; batch <= s.rates.size(); ++batch) {
      auto c = s.config;
      c.max_batch = static_cast<int>(batch);
      const auto sized = size_replica(c, s.slo);
      ASSERT_TRUE(sized) << s.name << " " << batch << ": " << sized.error().reason();
      ASSERT_NEAR(sized->at.throughput.per_sec() / s.rates[batch - 1], 1, 2e-3) << s.name << " " << batch;
    }
  }
}

TEST(BestBatch, IsTheSmallestWithinTwoPerCentOfTheBestRate) {
  for (const auto& s : scenarios()) {
    const auto best = *std::max_element(s.rates.begin(), s.rates.end());
    const auto found = best_batch(s.config, s.slo);
    ASSERT_TRUE(found) << s.name;
    EXPECT_GE(found->sizing.at.throughput.per_sec(), 0.98 * best * (1 - 2e-3)) << s.name;
    EXPECT_LE(found->sizing.at.itl_ms, s.slo.itl_ms * (1 + 1e-9)) << s.name;
    EXPECT_LE(found->sizing.at.ttft_ms, s.slo.ttft_ms * (1 + 1e-9)) << s.name;
    EXPECT_NEAR(found->max_batch, s.onset, 1) << s.name;
  }
}

/// Against every batch one by one, queue in proportion, linear profiles.
TEST(BestBatch, AgreesWithTryingThemAll) {
  const double slo_itl[] = {0, 9, 14, 30}, slo_ttft[] = {0, 200, 2000};
  for (const double itl : slo_itl)
    for (const double ttft : slo_ttft) {
      replica_config c{linear_profile{7.5, 0.06, 15, 0.01, true}, {256, 200}, 160, 0};
      const slo_targets slo{itl, ttft};
      double best = 0;
      std::vector<double> rates;
      for (int n = 1; n <= 160; ++n) {
        auto one = c;
        one.max_batch = n;
        one.max_queue = 10L * n;
        const auto sized = size_replica(one, slo);
        rates.push_back(sized ? sized->at.throughput.per_sec() : 0);
        best = std::max(best, rates.back());
      }
      int first = 1;
      while (rates[static_cast<std::size_t>(first - 1)] < 0.98 * best) ++first;
      const auto found = best_batch(c, slo, 10);
      ASSERT_TRUE(found) << itl << " " << ttft;
      EXPECT_EQ(found->max_batch, first) << itl << " " << ttft;
    }
  const auto none = best_batch({linear_profile{7.5, 0.06, 15, 0.01, true}, {256, 200}, 160, 0}, {5}, 10);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().target, "itl");
  EXPECT_NEAR(none.error().best_ms, 7.56, 0.01);
}

TEST(KvMemory, BoundsTheBatch) {
  const kv_memory m{40e9, 131072};
  // 305,175 tokens; a request holds 1000 + 500, of exponential lengths 1000 + 1000 of length-biased ones.
  EXPECT_EQ(kv_batch_limit(m, {1000, 1000, 0}), 203);
  EXPECT_EQ(kv_batch_limit(m, {1000, 1000, 1}), 152);
  EXPECT_EQ(kv_batch_limit(m, {1000, 1000}), 152) << "not known: as exponential";
  EXPECT_EQ(kv_batch_limit(m, {1e9, 1}), 1);
  EXPECT_EQ(kv_batch_limit(m, {0, 1e-9}), max_batch_limit);
  EXPECT_EQ(kv_batch_limit({}, {1000, 1000}), std::nullopt);
  EXPECT_EQ(kv_batch_limit({40e9, 0}, {1000, 1000}), std::nullopt);
}

TEST(IterationProfile, ChunksAreTheSmallestThatFit) {
  const iteration_profile p{8, 0.033, 0.000333, 512};
  for (const double in : {1.0, 64.0, 1000.0, 5000.0})
    for (const double m : {1.0, 64.0, 1000.0})
      for (const double n : {1.0, 3.0, 40.0, 500.0, 3000.0}) {
        const auto fits = [&](double c) { return std::floor((c + m) * (512 - in / c) / (in + m)) >= n; };
        const double c = prefill_chunks(p, {in, m}, n);
        EXPECT_TRUE(fits(c)) << in << " " << m << " " << n;
        EXPECT_TRUE(c == 1 || !fits(c - 1)) << in << " " << m << " " << n << " c " << c;
      }
}

/// Chunks change with the batch: the service time is no line, and every state is summed.
TEST(IterationProfile, WithChunksThatChangeLatenciesStillRiseWithTheRate) {
  replica_config c{iteration_profile{8, 0.033, 0.000333, 8192}, {4096, 64}, 200, 500};
  ASSERT_NE(prefill_chunks(std::get<iteration_profile>(c.profile), c.shape, 1),
            prefill_chunks(std::get<iteration_profile>(c.profile), c.shape, 200));
  const auto sized = size_replica(c, {400, 8000});
  ASSERT_TRUE(sized) << sized.error().reason();
  EXPECT_LE(sized->at.ttft_ms, 8000 * (1 + 1e-9));
  replica_metrics last;
  for (int i = 1; i <= 100; ++i) {
    const auto m = analyze(c, req_rate::per_sec(sized->max_rate.per_sec() * i / 100));
    EXPECT_GE(m.itl_ms, last.itl_ms * (1 - 1e-9)) << i;
    EXPECT_GE(m.ttft_ms, last.ttft_ms * (1 - 1e-9)) << i;
    EXPECT_NEAR(m.response_ms, m.ttft_ms + (c.shape.out_tokens - 1) * m.itl_ms, 0.01 * m.response_ms)
        << "prefill and ITL are those of batches that differ by one at most";
    last = m;
  }
}

TEST(IterationProfile, RefusesWhatIsNone) {
  EXPECT_NE(validate(performance_profile(iteration_profile{-1, 1, 1})).value_or("").find("alpha"), std::string::npos);
  EXPECT_NE(validate(performance_profile(iteration_profile{1, 1, NAN})).value_or("").find("gamma"), std::string::npos);
  EXPECT_NE(validate(performance_profile(iteration_profile{0, 0, 1})).value_or("").find("both 0"), std::string::npos);
  EXPECT_NE(validate(performance_profile(iteration_profile{1, 1, 1, 0})).value_or("").find("max_batched_tokens"),
            std::string::npos);
  EXPECT_EQ(validate(performance_profile(iteration_profile{1, 1, 1})), std::nullopt);
}

}  // namespace
}  // namespace inferno::model

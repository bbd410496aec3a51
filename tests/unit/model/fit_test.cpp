// Profiles from measurements: known ones are found again, and what the rows cannot tell is refused.
#include "model/fit.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "model/measurements_csv.hpp"

namespace inferno::model {
namespace {

/// Rows of a profile, each latency off by up to `noise` (relative, normal).
std::vector<measurement> rows_of(const performance_profile& profile, double noise = 0, unsigned seed = 1, int repeats = 1) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> off(0, 1);
  std::vector<measurement> out;
  for (int k = 0; k < repeats; ++k)
    for (const double in : {128.0, 512.0, 2048.0})
      for (const double out_tokens : {64.0, 256.0})
        for (const double n : {1.0, 4.0, 16.0, 64.0}) {
          const auto t = times_at(profile, {in, out_tokens}, n);
          measurement m;
          m.concurrency = n;
          m.in_tokens = in;
          m.out_tokens = out_tokens;
          m.itl_ms = t.itl_ms * (1 + noise * off(rng));
          m.ttft_ms = t.first_token_ms * (1 + noise * off(rng));
          out.push_back(m);
        }
  return out;
}

double value_of(const profile_fit& f, const std::string& name) {
  for (const auto& p : f.parameters)
    if (p.name == name) return p.value;
  return NAN;
}

TEST(Fit, FindsAKnownLinearProfileAgain) {
  const linear_profile truth{20.58, 0.41, 12, 0.03, true};
  const auto fit = fit_profile(rows_of(truth), profile_kind::linear);
  ASSERT_TRUE(fit) << fit.error();
  const auto& p = std::get<linear_profile>(fit->profile);
  EXPECT_NEAR(p.alpha_ms, truth.alpha_ms, 1e-8);
  EXPECT_NEAR(p.beta_ms, truth.beta_ms, 1e-9);
  EXPECT_NEAR(p.gamma_ms, truth.gamma_ms, 1e-6);
  EXPECT_NEAR(p.delta_ms, truth.delta_ms, 1e-9);
  EXPECT_LT(fit->itl.worst, 1e-9);
  EXPECT_EQ(fit->itl.rows, 24u);
}

TEST(Fit, FindsAKnownIterationProfileAgain) {
  const iteration_profile truth{8, 0.033, 0.000333, 8192};
  const auto fit = fit_profile(rows_of(truth), profile_kind::iteration);
  ASSERT_TRUE(fit) << fit.error();
  const auto& p = std::get<iteration_profile>(fit->profile);
  EXPECT_NEAR(p.alpha_ms / truth.alpha_ms, 1, 1e-9);
  EXPECT_NEAR(p.beta_ms / truth.beta_ms, 1, 1e-9);
  EXPECT_NEAR(p.gamma_ms / truth.gamma_ms, 1, 1e-9);
}

/// The interval holds the truth about 95 times in 100.
TEST(Fit, ConfidenceIntervalsCoverTheTruth) {
  const linear_profile truth{20, 0.4, 12, 0.03, true};
  int covered = 0, all = 0;
  for (unsigned seed = 1; seed <= 200; ++seed) {
    const auto fit = fit_profile(rows_of(truth, 0.03, seed), profile_kind::linear);
    ASSERT_TRUE(fit) << fit.error();
    const double want[] = {truth.alpha_ms, truth.beta_ms, truth.gamma_ms, truth.delta_ms};
    for (std::size_t i = 0; i < 4; ++i) {
      ++all;
      covered += std::abs(fit->parameters[i].value - want[i]) <= fit->parameters[i].half_width.value();
    }
  }
  EXPECT_NEAR(covered / static_cast<double>(all), 0.95, 0.03);
}

TEST(Fit, DoesNotDependOnTheOrderOfTheRows) {
  auto rows = rows_of(iteration_profile{8, 0.033, 0.000333, 8192}, 0.05);
  const auto a = fit_profile(rows, profile_kind::iteration);
  std::reverse(rows.begin(), rows.end());
  const auto b = fit_profile(rows, profile_kind::iteration);
  ASSERT_TRUE(a && b);
  for (const char* name : {"alpha", "beta", "gamma"}) EXPECT_NEAR(value_of(*a, name) / value_of(*b, name), 1, 1e-9);
}

TEST(Fit, RefusesWhatTheRowsCannotTell) {
  auto rows = rows_of(linear_profile{20, 0.4, 12, 0.03, true});
  for (auto& r : rows) r.concurrency = 8;
  auto fit = fit_profile(rows, profile_kind::linear);
  ASSERT_FALSE(fit);
  EXPECT_EQ(fit.error(), "beta cannot be told apart from the other parameters: the rows do not vary enough in concurrency");
  rows = rows_of(linear_profile{20, 0.4, 12, 0.03, true});
  for (auto& r : rows) r.ttft_ms.reset();
  fit = fit_profile(rows, profile_kind::linear);
  ASSERT_TRUE(fit);
  EXPECT_FALSE(std::get<linear_profile>(fit->profile).has_prefill) << "nothing is known of it";
  fit = fit_profile({rows.front()}, profile_kind::linear);
  ASSERT_FALSE(fit);
  EXPECT_EQ(fit.error(), "alpha, beta: 1 rows cannot tell 2 parameters");
  rows[3].itl_ms = -1;
  EXPECT_EQ(fit_profile(rows, profile_kind::linear).error(), "row 4: itl_ms: expected a number > 0, got -1");
}

TEST(Fit, ParametersAreNeverNegative) {
  auto rows = rows_of(linear_profile{20, 0, 0, 0, false});
  // Faster when fuller: no profile does that.
  for (auto& r : rows) {
    r.ttft_ms.reset();
    r.itl_ms = 20 - *r.concurrency / 10;
  }
  const auto fit = fit_profile(rows, profile_kind::linear);
  ASSERT_TRUE(fit) << fit.error();
  EXPECT_EQ(value_of(*fit, "beta"), 0);
  EXPECT_GT(value_of(*fit, "alpha"), 13);
}

TEST(Fit, ConcurrencyFollowsFromTheRateByLittlesLaw) {
  measurement m;
  m.rate_per_s = 2;
  m.out_tokens = 101;
  m.ttft_ms = 500;
  m.itl_ms = 20;
  EXPECT_NEAR(*concurrency_of(m), 2 * (0.5 + 100 * 0.02), 1e-12);
  m.itl_ms.reset();
  EXPECT_EQ(concurrency_of(m), std::nullopt);
}

TEST(MeasurementsCsv, ReadsColumnsByName) {
  const auto rows = parse_measurements(
      "\xEF\xBB\xBFmodel,itl_ms,out_tokens,concurrency,ttft_ms\n# a remark\nx,21.5,178,4,\n\ny,22,178,8,110.5\n");
  ASSERT_TRUE(rows) << rows.error();
  ASSERT_EQ(rows->size(), 2u);
  EXPECT_EQ((*rows)[0].itl_ms, 21.5);
  EXPECT_EQ((*rows)[0].ttft_ms, std::nullopt);
  EXPECT_EQ((*rows)[1].concurrency, 8);
  EXPECT_EQ((*rows)[1].ttft_ms, 110.5);
}

TEST(MeasurementsCsv, NamesLineAndColumn) {
  const auto problem = [](const std::string& text) -> std::string {
    const auto rows = parse_measurements(text);
    return rows ? "none" : rows.error();
  };
  EXPECT_EQ(problem(""), "no line with the names of columns");
  EXPECT_EQ(problem("itl_ms,concurrency\n"), "no column out_tokens; line 1 names the columns itl_ms, concurrency");
  EXPECT_EQ(problem("itl_ms,out_tokens\n"), "no column concurrency, nor rate; line 1 names the columns itl_ms, out_tokens");
  EXPECT_EQ(problem("# by hand\n\nout_tokens,rate,ITL\n10,1,5\n"),
            "no column itl_ms, nor ttft_ms; line 3 names the columns out_tokens, rate, ITL");
  EXPECT_EQ(problem("out_tokens,rate,rate\n"), "line 1: column \"rate\" is there twice");
  EXPECT_EQ(problem("out_tokens,concurrency,itl_ms\n"), "no line with values");
  EXPECT_EQ(problem("out_tokens,concurrency\n1\n"), "line 2: 1 values for 2 columns");
  EXPECT_EQ(problem("out_tokens,concurrency,itl_ms\n1,x,2\n"), "line 2: concurrency: expected a number >= 0, got \"x\"");
  EXPECT_EQ(problem("out_tokens,concurrency,itl_ms\n0,1,2\n"), "line 2: out_tokens: expected a number >= 1, got 0");
  EXPECT_EQ(problem("out_tokens,rate,itl_ms\n10,1,5\n"), "line 2: neither a concurrency nor a rate with both latencies");
}

TEST(MeasurementsCsv, OtherUnitsAreRefused) {
  const auto problem = [](const std::string& line) -> std::string {
    const auto rows = parse_measurements("concurrency,rate,out_tokens,ttft_ms,itl_ms\n" + line + "\n");
    return rows ? "none" : rows.error();
  };
  // Llama 3 8B on an H100, as it was measured.
  EXPECT_EQ(problem("2.2664,1.0515,201.72,20.6046,10.6271"), "none");
  EXPECT_EQ(problem("2.2664,1.0515,201.72,0.0206,0.0106"),
            "line 2: itl_ms: 0.0106 is less than 0.2 ms, which no server reaches: is it in seconds?");
  EXPECT_EQ(problem("2.2664,63.09,201.72,20.6046,10.6271"),
            "line 2: concurrency: 2.2664, and 136 by rate, ttft_ms and itl_ms: rates are requests/s, latencies ms");
  EXPECT_EQ(problem(",1.0515,201.72,0.0206,10.6271"), "none") << "a first token may come from a cache";
}

}  // namespace
}  // namespace inferno::model

// From vLLM's metrics, read from a pod, to what happened between two readings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/metrics_watcher.hpp"
#include "actors/pod_counters.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;

tl::expected<pod_counters, std::string> read(const std::string& text, std::string_view model = "", double at_s = 0) {
  return read_counters(net::metrics::parse_exposition(text), model, at_s);
}

const std::string page = R"(# HELP vllm:num_requests_running running
vllm:num_requests_running{model_name="m"} 3
vllm:num_requests_waiting{model_name="m"} 2
vllm:request_success_total{model_name="m",finished_reason="stop"} 10
vllm:request_success_total{model_name="m",finished_reason="length"} 5
vllm:request_success_total{model_name="other",finished_reason="stop"} 100
vllm:request_prompt_tokens_sum{model_name="m"} 1500
vllm:request_prompt_tokens_count{model_name="m"} 15
vllm:request_generation_tokens_sum{model_name="m"} 3000
vllm:request_generation_tokens_count{model_name="m"} 15
vllm:time_per_output_token_seconds_sum{model_name="m"} 6
vllm:time_per_output_token_seconds_count{model_name="m"} 300
vllm:e2e_request_latency_seconds_sum{model_name="m"} 99
process_cpu_seconds_total 12
)";

TEST(ReadCounters, AddsUpTheSamplesOfTheModel) {
  const auto c = read(page, "m", 7);
  ASSERT_TRUE(c);
  EXPECT_DOUBLE_EQ(c->time_s, 7);
  EXPECT_DOUBLE_EQ(c->success, 15) << "over all finish reasons, of this model";
  EXPECT_DOUBLE_EQ(c->running, 3);
  EXPECT_DOUBLE_EQ(c->waiting, 2);
  EXPECT_DOUBLE_EQ(c->prompt_sum, 1500);
  EXPECT_DOUBLE_EQ(c->itl_sum, 6);
  EXPECT_FALSE(c->has_arrivals);
  EXPECT_DOUBLE_EQ(read(page)->success, 115) << "without a model, of all";
}

TEST(ReadCounters, KnowsTheNewerNameOfTheTokenTime) {
  const auto newer = read("vllm:inter_token_latency_seconds_sum 4\nvllm:inter_token_latency_seconds_count 200\n");
  ASSERT_TRUE(newer);
  EXPECT_DOUBLE_EQ(newer->itl_sum, 4);
  EXPECT_DOUBLE_EQ(newer->itl_count, 200);
  const auto both = read(page + "vllm:inter_token_latency_seconds_sum 4\nvllm:inter_token_latency_seconds_count 200\n");
  EXPECT_DOUBLE_EQ(both->itl_count, 300) << "a server that exports both is not counted twice";
}

TEST(ReadCounters, NamesWhatCannotBeUsed) {
  EXPECT_THAT(read("vllm:request_success_total NaN\n").error(), HasSubstr("vllm:request_success_total is nan"));
  EXPECT_THAT(read("vllm:num_requests_running +Inf\n").error(), HasSubstr("vllm:num_requests_running is inf"));
  EXPECT_EQ(read("").error(), "no vLLM metrics");
  EXPECT_EQ(read("up 1\n").error(), "no vLLM metrics");
  EXPECT_EQ(read(page, "absent").error(), "no vLLM metrics of model \"absent\"");
}

TEST(ReadCounters, NanOfAnotherModelDoesNoHarm) {
  EXPECT_TRUE(read(page + "vllm:request_success_total{model_name=\"other\"} NaN\n", "m"));
}

pod_counters reading(double at_s, double done) {
  pod_counters c;
  c.time_s = at_s;
  c.success = done;
  c.prompt_sum = done * 100;
  c.prompt_count = done;
  c.generation_sum = done * 200;
  c.generation_count = done;
  c.itl_sum = done * 4;
  c.itl_count = done * 200;
  return c;
}

TEST(Difference, IsWhatHappenedBetweenTheReadings) {
  const auto d = difference(reading(10, 5), reading(12, 9));
  EXPECT_DOUBLE_EQ(d.time_s, 12);
  EXPECT_DOUBLE_EQ(d.span_s, 2);
  EXPECT_DOUBLE_EQ(d.completions, 4);
  EXPECT_DOUBLE_EQ(d.arrivals, 4);
  EXPECT_DOUBLE_EQ(d.in_tokens, 400);
  EXPECT_DOUBLE_EQ(d.out_tokens, 800);
  EXPECT_DOUBLE_EQ(d.itl_sum_s / d.itl_count, 0.02);
}

TEST(Difference, ArrivalsWithoutTheirCounterAreCompletionsAndGrowth) {
  auto before = reading(0, 5);
  auto now = reading(2, 6);
  before.running = 1;
  now.running = 4;
  now.waiting = 7;
  EXPECT_DOUBLE_EQ(difference(before, now).arrivals, 1 + 3 + 7);
  before.running = 20;  // a queue given up: requests went without completing
  EXPECT_DOUBLE_EQ(difference(before, now).arrivals, 0) << "never negative";
}

TEST(Difference, TheArrivalCounterIsBelievedWhenThereIsOne) {
  auto before = reading(0, 5);
  auto now = reading(2, 6);
  before.has_arrivals = now.has_arrivals = true;
  before.arrivals = 100;
  now.arrivals = 130;
  now.waiting = 500;
  EXPECT_DOUBLE_EQ(difference(before, now).arrivals, 30);
  before.has_arrivals = false;
  EXPECT_DOUBLE_EQ(difference(before, now).arrivals, 1 + 500) << "one reading with it is not enough";
}

TEST(Difference, ARestartCountsFromZero) {
  auto before = reading(0, 100);
  before.running = 8;
  before.has_arrivals = true;
  before.arrivals = 108;
  auto now = reading(2, 3);
  now.running = 2;
  now.has_arrivals = true;
  now.arrivals = 5;
  const auto d = difference(before, now);
  EXPECT_DOUBLE_EQ(d.completions, 3);
  EXPECT_DOUBLE_EQ(d.arrivals, 5);
  EXPECT_DOUBLE_EQ(d.in_tokens, 300);
  EXPECT_DOUBLE_EQ(d.out_tokens, 600);
}

TEST(Difference, ARestartCountsFromZeroForCountersThatHaveOutgrownTheirOldValueToo) {
  // After the restart fewer requests, but much longer ones: the token sum is already above what it was.
  auto before = reading(0, 10);
  auto now = reading(2, 4);
  now.generation_sum = 8000;
  const auto d = difference(before, now);
  EXPECT_DOUBLE_EQ(d.completions, 4);
  EXPECT_DOUBLE_EQ(d.out_tokens, 8000) << "2000 a request, as they were";
}

TEST(Difference, ARestartWithoutTheArrivalCounterIsNotNegative) {
  auto before = reading(0, 100);
  before.running = 50;
  auto now = reading(2, 1);
  now.running = 2;
  EXPECT_DOUBLE_EQ(difference(before, now).arrivals, 3) << "what runs and what is done came after the restart";
}

TEST(Difference, NothingDoneMeansNoTokens) {
  const auto d = difference(reading(0, 5), reading(2, 5));
  EXPECT_DOUBLE_EQ(d.completions, 0);
  EXPECT_DOUBLE_EQ(d.in_tokens, 0);
  EXPECT_DOUBLE_EQ(d.out_tokens, 0);
}

// ---- the pods of a variant together
// ---------------------------------------------------------------------------------------------

pod_sample of(const std::string& name, double span_s, double arrivals) {
  pod_sample s;
  s.pod = {"llm", name};
  s.load.span_s = span_s;
  s.load.arrivals = arrivals;
  s.load.running = 1;
  return s;
}

TEST(AddUp, CountsAddUpOverTheMeanSpan) {
  const auto a = of("a", 2, 4);
  const auto b = of("b", 4, 6);
  const auto sum = add_up({&a, &b}, 2, 50);
  EXPECT_DOUBLE_EQ(sum.time_s, 50);
  EXPECT_DOUBLE_EQ(sum.span_s, 3);
  EXPECT_DOUBLE_EQ(sum.arrivals, 10);
  EXPECT_EQ(sum.pods, 2);
  EXPECT_EQ(sum.pods_reporting, 2);
  EXPECT_DOUBLE_EQ(sum.running, 2);
}

TEST(AddUp, ABaselineCountsAsReportingButNotAsRate) {
  const auto a = of("a", 2, 4);
  const auto fresh = of("b", 0, 99);
  const auto sum = add_up({&a, &fresh}, 2, 0);
  EXPECT_DOUBLE_EQ(sum.arrivals, 4);
  EXPECT_DOUBLE_EQ(sum.span_s, 2);
  EXPECT_EQ(sum.pods_reporting, 2);
}

TEST(AddUp, AnUnusableSampleIsNamedAndLeftOut) {
  const auto a = of("a", 2, 4);
  auto b = of("b", 2, 1000);
  b.problem = "connection refused";
  const auto sum = add_up({&a, &b}, 2, 0);
  EXPECT_DOUBLE_EQ(sum.arrivals, 4);
  EXPECT_EQ(sum.pods_reporting, 1);
  EXPECT_EQ(sum.problem, "b: connection refused");
}

}  // namespace
}  // namespace inferno::actors::testing

// From Prometheus' answers to readings of servers; what is silent is told from what has nothing to do.
#include "actors/prometheus_join.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/process.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using field = counter_field;

constexpr double eval_s = 1700000000;  ///< Prometheus' clock

/// Of a pod's server, as one job scrapes it.
struct seen_by {
  std::string pod = "a", instance{}, job{}, model = "m";
  net::metrics::vector_sample tagged(const std::string& label, const std::string& text, double v) const {
    net::metrics::vector_sample s;
    s.labels.emplace_back(label, text);
    if (!pod.empty()) s.labels.insert(s.labels.end(), {{"namespace", "llm"}, {"pod", pod}});
    s.labels.emplace_back("instance", instance);
    s.labels.emplace_back("job", job);
    s.labels.emplace_back("model_name", model);
    s.time_s = eval_s;
    s.value = v;
    return s;
  }
  net::metrics::vector_sample value(const std::string& metric, double v) const { return tagged("__name__", metric, v); }
  net::metrics::vector_sample scraped(double ago_s) const { return tagged("inferno", "time", eval_s - ago_s); }
};
const seen_by a{"a"}, b{"b"}, stranger{"stranger"};

const std::vector<scrape_target> two_pods{{{"llm", "a"}, "m", "10.0.0.1", 8000}, {{"llm", "b"}, "m", "10.0.0.2", 8000}};

TEST(PrometheusJoin, MakesOneReadingOfEachServer) {
  prometheus_join join(two_pods);
  join.add(0, {a.scraped(4), b.scraped(1), stranger.scraped(0), a.value("vllm:request_success_total", 700),
               b.value("vllm:request_success_total", 60), stranger.value("vllm:request_success_total", 9),
               seen_by{"a", "", "", "other"}.value("vllm:request_success_total", 7), a.value("vllm:num_requests_running", 3),
               a.value("vllm:num_requests_waiting", 1), a.tagged("inferno", "start", 1600000000)});
  join.add(
      1, {a.scraped(4), a.value("vllm:request_generation_tokens_sum", 1000), a.value("vllm:request_generation_tokens_count", 5)});
  join.add(2, {a.scraped(4)});
  const auto servers = join.servers();
  ASSERT_THAT(servers, SizeIs(2));
  const auto& r = servers[0].reading;
  EXPECT_EQ(servers[0].target->pod.name, "a");
  EXPECT_EQ(servers[0].problem, "");
  EXPECT_DOUBLE_EQ(servers[0].age_s, 4);
  EXPECT_DOUBLE_EQ(r.clock_s, eval_s - 4);
  EXPECT_DOUBLE_EQ(r.total(field::success), 700);
  EXPECT_DOUBLE_EQ(r.in_system(), 4);
  EXPECT_DOUBLE_EQ(r.started_s().value(), 1600000000);
  EXPECT_DOUBLE_EQ(r.total(field::generation_sum), 1000);
  EXPECT_EQ(missing_in(r), "vllm:request_prompt_tokens");
  EXPECT_DOUBLE_EQ(servers[1].reading.total(field::success), 60);
}

TEST(PrometheusJoin, KnowsPodsByInstanceWhereNoLabelsAreSet) {
  prometheus_join join(two_pods);
  const seen_by known{"", "10.0.0.2:8000"}, unknown{"", "10.0.0.9:8000"};
  join.add(0, {known.scraped(1), unknown.scraped(1), known.value("vllm:request_success_total", 5)});
  const auto servers = join.servers();
  ASSERT_THAT(servers, SizeIs(1));
  EXPECT_EQ(servers[0].target->pod.name, "b");
}

// Addresses are used again, by later pods and in other clusters.
TEST(PrometheusJoin, AnotherPodAtTheSameAddressIsNotOurs) {
  prometheus_join join(two_pods);
  const seen_by ours{"a", "10.0.0.1:8000"}, theirs{"gone", "10.0.0.1:8000"};
  join.add(0, {ours.scraped(2), theirs.scraped(1), ours.value("vllm:request_success_total", 5),
               theirs.value("vllm:request_success_total", 900)});
  const auto servers = join.servers();
  ASSERT_THAT(servers, SizeIs(1));
  EXPECT_EQ(servers[0].problem, "");
  EXPECT_DOUBLE_EQ(servers[0].reading.total(field::success), 5);
}

TEST(PrometheusJoin, JobsSayTheSameAndServersOfAPodAreKeptApart) {
  prometheus_join join(two_pods);
  const seen_by service{"a", "1:80", "service"}, pods{"a", "1:80", "pods"}, second{"a", "1:81", "pods"};
  join.add(0, {service.scraped(10), pods.scraped(5), second.scraped(20), service.value("vllm:request_success_total", 40),
               pods.value("vllm:request_success_total", 50), second.value("vllm:request_success_total", 9)});
  const auto servers = join.servers();
  ASSERT_THAT(servers, SizeIs(2));
  EXPECT_DOUBLE_EQ(servers[0].reading.total(field::success), 50) << "of each server what was scraped last";
  EXPECT_EQ(servers[1].server, "1:81");
  EXPECT_DOUBLE_EQ(servers[1].reading.total(field::success), 9);
}

TEST(PrometheusJoin, AJobThatDropsMetricsDoesNotHideThem) {
  prometheus_join join(two_pods);
  const seen_by full{"a", "1:80", "service"}, thin{"a", "1:80", "pods"};
  join.add(0, {full.scraped(10), thin.scraped(5), full.value("vllm:request_success_total", 40),
               full.value("vllm:num_requests_running", 1), thin.value("vllm:num_requests_running", 2)});
  const auto servers = join.servers();
  ASSERT_THAT(servers, SizeIs(1));
  EXPECT_DOUBLE_EQ(servers[0].reading.total(field::success), 40);
  EXPECT_DOUBLE_EQ(servers[0].reading.total(field::running), 1) << "of one scrape, not of two";
}

TEST(PrometheusJoin, AnAnswerOfAnotherScrapeIsNotMixedIn) {
  prometheus_join join(two_pods);
  join.add(0, {a.scraped(10), a.value("vllm:request_success_total", 40), a.value("vllm:num_requests_running", 0),
               a.value("vllm:num_requests_waiting", 0)});
  join.add(1, {a.scraped(3), a.value("vllm:request_generation_tokens_sum", 1000)});
  const auto r = join.servers().at(0).reading;
  EXPECT_FALSE(r.has(field::generation_sum));
  EXPECT_EQ(missing_in(r), "") << "that nobody looked is no lack";
}

TEST(PrometheusJoin, WhatCannotBeIsNamed) {
  for (const double v : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0, 1e300}) {
    prometheus_join join(two_pods);
    join.add(0, {a.scraped(1), b.scraped(1), a.value("vllm:request_success_total", v), b.value("vllm:request_success_total", 1)});
    const auto servers = join.servers();
    EXPECT_THAT(servers.at(0).problem, HasSubstr("vllm:request_success_total is "));
    EXPECT_EQ(servers.at(1).problem, "");
  }
}

// Else every later scrape would look older, and the pod as if it had nothing new to say.
TEST(PrometheusJoin, AScrapeInTheFutureIsNone) {
  for (const double ahead_s : {20.0, 40.0, 110.0, 3600.0}) {
    prometheus_join join(two_pods);
    join.add(0, {a.scraped(-ahead_s), a.value("vllm:request_success_total", 1)});
    EXPECT_THAT(join.servers(), SizeIs(ahead_s < 30 ? 1 : 0)) << ahead_s;
  }
}

TEST(PrometheusJoin, ThatAPodServesAnotherModelIsKnown) {
  prometheus_join join(two_pods);
  join.add(0, {seen_by{"a", "", "", "typo"}.scraped(1), b.scraped(1), seen_by{"b", "", "", "lora"}.scraped(1)});
  EXPECT_EQ(join.other_models(), (std::map<kube::object_key, std::string>{{{"llm", "a"}, "typo"}}));
}

TEST(PrometheusJoin, NoTimeIsNoScrape) {
  for (const double v : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0, 1e300}) {
    prometheus_join join(two_pods);
    join.add(0, {a.tagged("inferno", "time", v), a.value("vllm:request_success_total", 1)});
    EXPECT_THAT(join.servers(), IsEmpty());
  }
  prometheus_join nothing(two_pods);
  for (std::size_t i = 0; i < prometheus_queries().size(); ++i) nothing.add(i, std::vector<net::metrics::vector_sample>());
  EXPECT_THAT(nothing.servers(), IsEmpty());
}

/// Runs a query on series of a made-up Prometheus, by its own evaluator, and compares.
void expect_answer(const std::string& query, const std::string& series, const std::string& samples) {
  const test::temp_folder folder;
  std::ofstream(folder.file("test.yaml")) << fmt::format(
      "evaluation_interval: 15s\ntests:\n- interval: 15s\n  input_series:\n{}  promql_expr_test:\n"
      "  - expr: '{}'\n    eval_time: 30s\n    exp_samples:\n{}",
      series, query, samples);
  const auto run = test::run_program("promtool", {"test", "rules", folder.file("test.yaml")});
  EXPECT_EQ(run.exit_code, 0) << run.out << run.err;
}

TEST(PrometheusQuery, CopiesOfASeriesCountOnce) {
  const std::string server = R"(namespace="llm",pod="a",instance="1:80",job="j",service="s")",
                    model = server + R"(,model_name="m")";
  std::string series, samples;
  const auto put = [&](const std::string& metric, const std::string& labels, const std::string& values) {
    series += fmt::format("  - {{series: '{}{{{}}}', values: '{}'}}\n", metric, labels, values);
  };
  const auto expect = [&](const std::string& labels, double value) {
    samples += fmt::format("    - {{labels: '{}', value: {}}}\n", labels, value);
  };
  // A second endpoint of a ServiceMonitor, and a second Prometheus behind Thanos, which has scraped last.
  for (const std::string more :
       {R"(,endpoint="http")", R"(,endpoint="metrics")", R"(,endpoint="http",prometheus_replica="p-1")"}) {
    const bool last = more.find("replica") != std::string::npos;
    for (const int engine : {0, 1}) {
      const auto of = fmt::format(R"({},engine="{}"{})", model, engine, more);
      put("vllm:num_requests_running", of, "1 2 3");
      put("vllm:num_requests_waiting", of, "0 0 0");
      put("vllm:request_success_total", of + R"(,finished_reason="stop")", last ? "10 20 31" : "10 20 30");
      put("vllm:request_success_total", of + R"(,finished_reason="length")", "1 2 3");
    }
    put("process_start_time_seconds", server + more, last ? "5 5 25" : "5 5 5");
  }
  for (const int engine : {0, 1}) {
    const auto of = [&](const std::string& more) { return fmt::format(R"({{{},engine="{}"{}}})", model, engine, more); };
    expect("vllm:num_requests_running" + of(""), 3);
    expect("vllm:num_requests_waiting" + of(""), 0);
    expect("vllm:request_success_total" + of(R"(,finished_reason="stop")"), 31);
    expect("vllm:request_success_total" + of(R"(,finished_reason="length")"), 3);
  }
  expect("{" + model + R"(,inferno="time"})", 30);
  expect("{" + server + R"(,inferno="start"})", 5);
  expect_answer(prometheus_queries()[0], series, samples);
}

// ---- the gateway ---------------------------------------------------------------------------------------------------------

TEST(GatewayQueue, IsReadUnderEitherNameAndNeverTheSum) {
  EXPECT_THAT(gateway_queue_query(), HasSubstr("llm_d_epp_flow_control_queue_size"));
  EXPECT_THAT(gateway_queue_query(), HasSubstr("inference_extension_flow_control_queue_size"));
  const auto waiting = [](const std::string& model, const std::string& target, double size, bool present) {
    net::metrics::vector_sample s;
    s.labels = {{"namespace", "llm"}, {"model_name", model}, {"target_model_name", target}};
    if (present) s.labels.emplace_back("inferno", "present");
    s.value = size;
    return s;
  };
  const auto queues = prometheus_join::queues(
      {waiting("m", "", 5, false), waiting("m", "m", 4, true), waiting("old", "", 7, false), waiting("new", "", 2, true)});
  ASSERT_THAT(queues, SizeIs(3));
  EXPECT_EQ(queues[0].size, 4);
  EXPECT_EQ(queues[1].model, "old");
  EXPECT_EQ(queues[1].size, 7);
  EXPECT_EQ(queues[2].size, 2);
}

// ---- what is silent, and what is not -------------------------------------------------------------------------------------

const kube::object_key pod{"llm", "a"};

TEST(ScrapeRhythm, ThreeIntervalsWithoutAScrapeAreASilence) {
  scrape_rhythm rhythm;
  double last = 0;
  for (double t = 0; t < 300; t += 2) {
    last = eval_s + 15 * std::floor(t / 15);
    EXPECT_EQ(rhythm.seen(pod, last, eval_s + t - last, 60), "") << t;
  }
  EXPECT_EQ(rhythm.seen(pod, last, 44, 60), "") << "three scrapes may fail";
  for (const double age : {46, 100, 250})
    EXPECT_EQ(rhythm.seen(pod, last, age, 60), "not scraped since 2023-11-14T22:18:05Z") << "the same text each time";
  EXPECT_EQ(rhythm.seen(pod, last + 300, 1, 60), "") << "it is back at once";
}

TEST(ScrapeRhythm, ASeriesThatEndedIsSilentAtOnce) {
  scrape_rhythm rhythm;
  EXPECT_EQ(rhythm.seen(pod, std::nullopt, 0, 60), std::nullopt) << "it has never been scraped";
  EXPECT_EQ(rhythm.seen(pod, eval_s, 1, 60), "");
  EXPECT_THAT(rhythm.seen(pod, std::nullopt, 0, 60).value(), HasSubstr("not scraped since"));
  rhythm.keep({});
  EXPECT_EQ(rhythm.seen(pod, std::nullopt, 0, 60), std::nullopt) << "a pod that went is forgotten";
}

TEST(ScrapeRhythm, SeveralPrometheisDoNotMakeItImpatient) {
  scrape_rhythm rhythm;
  // Two of them, 1 s apart, each every 15 s.
  double last = 0;
  for (int i = 0; i < 40; ++i) {
    last = eval_s + 15 * (i / 2) + i % 2;
    EXPECT_EQ(rhythm.seen(pod, last, 0.5, 60), "");
  }
  EXPECT_EQ(rhythm.seen(pod, last, 20, 60), "");
}

}  // namespace
}  // namespace inferno::actors::testing

// From Prometheus' answers to samples of pods; what is silent is told from what has nothing to do.
#include "actors/prometheus_join.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::size_t query_of(std::string_view part) {
  const auto queries = prometheus_queries(std::chrono::seconds(60));
  for (std::size_t i = 0; i < queries.size(); ++i)
    if (queries[i].find(part) != std::string::npos) return i;
  ADD_FAILURE() << "no query for " << part;
  return 0;
}
std::size_t rate_of(std::string_view metric) { return query_of("rate(" + std::string(metric) + "["); }
std::size_t last_of(std::string_view metric) { return query_of(" (last_over_time(" + std::string(metric) + "["); }

constexpr double eval_s = 1000;  ///< Prometheus' clock

net::metrics::vector_sample value(const std::string& pod, double v, const std::string& model = "m",
                                  const std::string& instance = "", const std::string& job = "") {
  net::metrics::vector_sample s;
  if (!pod.empty()) s.labels = {{"namespace", "llm"}, {"pod", pod}};
  s.labels.emplace_back("instance", instance);
  s.labels.emplace_back("job", job);
  s.labels.emplace_back("model_name", model);
  s.time_s = eval_s;
  s.value = v;
  return s;
}

const std::vector<scrape_target> two_pods{{{"llm", "a"}, "m", "10.0.0.1", 8000}, {{"llm", "b"}, "m", "10.0.0.2", 8000}};

TEST(PrometheusJoin, MakesOneSampleAPodFromRates) {
  prometheus_join join(two_pods, 100, 60);
  join.add_scraped({value("a", eval_s - 4), value("b", eval_s - 1), value("stranger", eval_s)});
  join.add(rate_of("vllm:request_success_total"), {value("a", 0.5), value("b", 1), value("stranger", 9), value("a", 7, "other")});
  join.add(rate_of("vllm:request_generation_tokens_sum"), {value("a", 100)});
  join.add(rate_of("vllm:request_generation_tokens_count"), {value("a", 0.5)});
  join.add(last_of("vllm:num_requests_running"), {value("a", 3), value("b", 0)});
  join.add(last_of("vllm:request_success_total"), {value("a", 700)});
  join.add(query_of("count_over_time"), {value("a", 4)});
  const auto readings = join.readings();
  ASSERT_THAT(readings, SizeIs(2));
  const auto& a = readings.at({"llm", "a"});
  EXPECT_EQ(a.sample.problem, "");
  EXPECT_DOUBLE_EQ(a.sample.load.time_s, 96) << "when it was scraped, on the controller's clock";
  EXPECT_DOUBLE_EQ(a.sample.load.span_s, 60);
  EXPECT_DOUBLE_EQ(a.sample.load.completions, 30);
  EXPECT_DOUBLE_EQ(a.sample.load.out_tokens, 30 * 200);
  EXPECT_DOUBLE_EQ(a.sample.load.running, 3);
  EXPECT_DOUBLE_EQ(a.scraped_s.value(), eval_s - 4);
  EXPECT_DOUBLE_EQ(a.age_s, 4);
  EXPECT_DOUBLE_EQ(a.scrapes, 4);
  EXPECT_DOUBLE_EQ(a.total, 700);
  EXPECT_DOUBLE_EQ(a.in_window, 30);
  EXPECT_DOUBLE_EQ(readings.at({"llm", "b"}).sample.load.completions, 60);
}

TEST(PrometheusJoin, KnowsPodsByInstanceWhereNoLabelsAreSet) {
  prometheus_join join(two_pods, 100, 60);
  join.add(rate_of("vllm:request_success_total"), {value("", 0.5, "m", "10.0.0.2:8000"), value("", 3, "m", "10.0.0.9:8000")});
  const auto readings = join.readings();
  ASSERT_THAT(readings, SizeIs(1));
  EXPECT_EQ(readings.begin()->first.name, "b");
  EXPECT_FALSE(readings.begin()->second.scraped_s);
}

TEST(PrometheusJoin, JobsTellTheSameAndInstancesAddUp) {
  prometheus_join join(two_pods, 100, 60);
  join.add_scraped(
      {value("a", 990, "m", "1:80", "service"), value("a", 995, "m", "1:80", "pods"), value("a", 980, "m", "1:81", "pods")});
  join.add(rate_of("vllm:request_success_total"),
           {value("a", 0.4, "m", "1:80", "service"), value("a", 0.5, "m", "1:80", "pods"), value("a", 1, "m", "1:81", "pods")});
  join.add(query_of("count_over_time"), {value("a", 3, "m", "1:80", "service"), value("a", 4, "m", "1:80", "pods")});
  const auto a = join.readings().at({"llm", "a"});
  EXPECT_DOUBLE_EQ(a.scrapes, 7) << "a scrape by whichever job makes the window fuller";
  EXPECT_DOUBLE_EQ(a.sample.load.completions, 60 * (0.5 + 1)) << "of each server what was scraped last";
  EXPECT_DOUBLE_EQ(a.scraped_s.value(), 995);
}

TEST(PrometheusJoin, AJobThatHasJustBegunDoesNotHideARate) {
  prometheus_join join(two_pods, 100, 60);
  join.add_scraped({value("a", 990, "m", "1:80", "service"), value("a", 995, "m", "1:80", "pods")});
  join.add(rate_of("vllm:request_success_total"), {value("a", 0.4, "m", "1:80", "service")});
  join.add(last_of("vllm:num_requests_running"), {value("a", 1, "m", "1:80", "service"), value("a", 1, "m", "1:80", "pods")});
  const auto a = join.readings().at({"llm", "a"});
  EXPECT_DOUBLE_EQ(a.sample.load.completions, 60 * 0.4);
  EXPECT_DOUBLE_EQ(a.sample.load.running, 1);
}

TEST(PrometheusJoin, NanAndInfinityAreNamed) {
  prometheus_join join(two_pods, 100, 60);
  join.add(rate_of("vllm:request_success_total"), {value("a", std::numeric_limits<double>::quiet_NaN()), value("b", 1)});
  join.add(last_of("vllm:num_requests_running"), {value("b", std::numeric_limits<double>::infinity())});
  const auto readings = join.readings();
  ASSERT_THAT(readings, SizeIs(2));
  EXPECT_EQ(readings.at({"llm", "a"}).sample.problem, "vllm:request_success_total is nan");
  EXPECT_THAT(readings.at({"llm", "b"}).sample.problem, HasSubstr("vllm:num_requests is inf"));
}

TEST(PrometheusJoin, WhatCannotBeIsNamed) {
  prometheus_join join(two_pods, 100, 60);
  join.add(rate_of("vllm:request_success_total"), {value("a", -1), value("b", 1)});
  join.add(query_of("delta("), {value("b", -2)});
  join.add(rate_of("vllm:request_generation_tokens_sum"), {value("b", 1e300)});
  const auto readings = join.readings();
  EXPECT_EQ(readings.at({"llm", "a"}).sample.problem, "vllm:request_success_total is -1");
  EXPECT_EQ(readings.at({"llm", "b"}).sample.problem, "vllm:request_generation_tokens_sum is 1e+300");
}

TEST(PrometheusJoin, NoTimeIsNoScrape) {
  prometheus_join join(two_pods, 100, 60);
  for (const double v : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), -1.0, 1e300})
    join.add_scraped({value("a", v)});
  join.add(rate_of("vllm:request_success_total"), {value("a", 1)});
  EXPECT_FALSE(join.readings().at({"llm", "a"}).scraped_s);
}

TEST(PrometheusJoin, EmptyVectorsMakeNoSamples) {
  prometheus_join join(two_pods, 100, 60);
  join.add_scraped({});
  for (std::size_t i = 0; i < prometheus_queries(std::chrono::seconds(60)).size(); ++i) join.add(i, {});
  EXPECT_THAT(join.readings(), IsEmpty());
}

TEST(PrometheusQueries, AreFewAndSpanTheWindow) {
  const auto queries = prometheus_queries(std::chrono::milliseconds(45000));
  EXPECT_LE(queries.size(), 20u);
  for (const auto& q : queries) EXPECT_THAT(q, HasSubstr("[45000ms]"));
}

// ---- what is silent, and what is not
// --------------------------------------------------------------------------------------------

/// A pod scraped every 15 s, asked for every 2 s, as Prometheus shows it over a window of 60 s.
struct scraped_pod {
  static constexpr double interval_s = 15, window_s = 60;
  /// What is known of it `t` seconds after the start when it was scraped in these spans of time. The rate is as Prometheus
  /// reckons it: what lies between the first and the last scrape of the window, over the window.
  pod_reading at(double t) const {
    pod_reading r;
    double first = -1, last = -1;
    for (double s = 0; s <= t; s += interval_s) {
      if (gap_from <= s && s < gap_to) continue;
      last = s;
      if (s <= t - window_s) continue;
      if (first < 0) first = s;
      ++r.scrapes;
    }
    r.scraped_s = start_s + last;
    r.age_s = t - last;
    r.total = done_before + rate * last;
    r.in_window = first < 0 ? 0 : rate * (last - first);
    r.sample.pod = {"llm", "a"};
    r.sample.load.time_s = t - r.age_s;
    r.sample.load.span_s = window_s;
    r.sample.load.completions = r.in_window;
    return r;
  }
  /// The sample after a round at `t`.
  pod_sample judged(double t) {
    const auto out = history.judge({two_pods[0]}, {{{"llm", "a"}, at(t)}}, window_s);
    EXPECT_THAT(out, SizeIs(1));
    return out.at(0);
  }
  /// The rounds from `from` to `to`: whatever is believed is about the load there is.
  void believes_only_the_load(double from, double to) {
    for (double t = from; t < to; t += 2) {
      const auto s = judged(t);
      if (s.problem.empty()) {
        EXPECT_GE(s.load.completions, 0.7 * rate * window_s) << "at " << t;
      }
    }
  }
  double rate = 2, done_before = 100000, gap_from = 1e9, gap_to = 1e9;
  double start_s = 1700000000;
  scrape_history history;
};

TEST(ScrapeHistory, ASampleStaysUntilTheNextScrape) {
  scraped_pod p;
  p.believes_only_the_load(300, 330);
  const auto fresh = p.judged(330);
  EXPECT_EQ(fresh.problem, "");
  p.rate = 0;  // nothing the next rounds show counts before it was scraped
  const auto again = p.judged(344);
  EXPECT_EQ(again.load.time_s, 330);
  EXPECT_EQ(again.load.completions, fresh.load.completions);
  p.judged(346);
  EXPECT_LT(p.judged(346).load.completions, fresh.load.completions) << "an idle server is believed";
  EXPECT_EQ(p.judged(346).problem, "");
}

TEST(ScrapeHistory, WithoutScrapesThePodIsSilentAndItsLoadDoesNotFall) {
  scraped_pod p;
  p.gap_from = 400;
  p.believes_only_the_load(300, 390 + 45);
  EXPECT_EQ(p.judged(390 + 44).problem, "") << "three scrapes may fail";
  for (const double t : {390 + 46, 500, 600, 900}) {
    EXPECT_EQ(p.judged(t).problem, "not scraped since 2023-11-14T22:19:50Z") << "the same text, for a status is written for each";
  }
}

TEST(ScrapeHistory, ASeriesThatEndedIsSilentAtOnce) {
  scraped_pod p;
  p.believes_only_the_load(300, 340);
  ASSERT_EQ(p.judged(340).problem, "");
  auto ended = p.at(342);
  ended.scraped_s.reset();
  EXPECT_THAT(p.history.judge({two_pods[0]}, {{{"llm", "a"}, ended}}, 60).at(0).problem, HasSubstr("not scraped since"));
  EXPECT_THAT(p.history.judge({two_pods[0]}, {}, 60).at(0).problem, HasSubstr("not scraped since"));
  EXPECT_THAT(p.history.judge({}, {}, 60), IsEmpty());
  EXPECT_THAT(p.history.judge({two_pods[0]}, {}, 60), IsEmpty()) << "a pod that went is forgotten";
}

TEST(ScrapeHistory, WhatIsBackIsBelievedWhenItsWindowIsFullAgain) {
  scraped_pod p;
  p.gap_from = 400;
  p.gap_to = 700;
  p.believes_only_the_load(300, 900);
  EXPECT_THAT(scraped_pod(p).judged(900).problem, "");
  scraped_pod again = p;
  for (const double started : {500, 702, 716, 732}) {
    again.history.clear();
    again.believes_only_the_load(started, 900);
    EXPECT_THAT(again.judged(900).problem, "") << "of a controller that was started meanwhile too";
  }
}

TEST(ScrapeHistory, AControllerThatStartsNeedsOneScrapeMore) {
  scraped_pod p;
  EXPECT_EQ(p.judged(304).problem, "its series do not fill the rate window yet");
  EXPECT_EQ(p.judged(314).problem, "its series do not fill the rate window yet");
  EXPECT_TRUE(p.judged(314).pending);
  EXPECT_EQ(p.judged(316).problem, "");
}

TEST(ScrapeHistory, ANewServerIsBelievedAtOnce) {
  scraped_pod p;
  p.done_before = 0;
  p.rate = 1;
  EXPECT_EQ(p.judged(0).problem, "");
  EXPECT_EQ(p.judged(31).problem, "");
  EXPECT_DOUBLE_EQ(p.judged(31).load.completions, 30);
}

TEST(ScrapeHistory, OneScrapeThatFailedIsNoSilence) {
  scraped_pod p;
  p.gap_from = 400;
  p.gap_to = 406;
  p.believes_only_the_load(300, 316);
  for (double t = 316; t < 600; t += 2) EXPECT_EQ(p.judged(t).problem, "") << t;
}

TEST(ScrapeHistory, OfAnotherScrapeIntervalNothingIsLost) {
  scraped_pod p;
  p.believes_only_the_load(300, 400);
  for (double t = 400; t < 700; t += 2) {
    auto r = p.at(t);
    // every other scrape only
    const double last = 30 * std::floor(t / 30);
    r.age_s = t - last;
    r.scraped_s = p.start_s + last;
    r.scrapes = 2;
    const auto s = p.history.judge({two_pods[0]}, {{{"llm", "a"}, r}}, 60);
    EXPECT_EQ(s.at(0).problem, "") << t;
  }
}

}  // namespace
}  // namespace inferno::actors::testing

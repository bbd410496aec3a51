// From vLLM's metrics, as a server writes them, to what happened between two readings.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "actors/pod_counters.hpp"
#include "actors/server_track.hpp"

namespace inferno::actors::testing {
namespace {

using ::testing::HasSubstr;
using field = counter_field;

tl::expected<server_reading, std::string> read(const std::string& text, std::string model = "", std::size_t piece = 1000000) {
  counter_reader reader(std::move(model));
  for (std::size_t at = 0; at < text.size(); at += piece)
    if (auto problem = reader.feed(std::string_view(text).substr(at, piece)); !problem.empty())
      return tl::unexpected(std::move(problem));
  return reader.finish();
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
  for (const std::size_t piece : {1, 7, 1000000}) {
    const auto c = read(page, "m", piece);
    ASSERT_TRUE(c) << c.error();
    EXPECT_DOUBLE_EQ(c->total(field::success), 15) << "over all finish reasons, of this model";
    EXPECT_DOUBLE_EQ(c->in_system(), 5);
    EXPECT_DOUBLE_EQ(c->total(field::prompt_sum), 1500);
    EXPECT_DOUBLE_EQ(c->total(field::itl_sum), 6);
    EXPECT_FALSE(c->has(field::arrivals));
    EXPECT_FALSE(c->has(field::ttft_sum)) << "absent is not zero";
  }
  EXPECT_DOUBLE_EQ(read(page)->total(field::success), 115) << "without a model, of all";
}

TEST(ReadCounters, NamesWhatCannotBeUsed) {
  EXPECT_EQ(read("vllm:request_success_total NaN\n").error(), "vllm:request_success_total is nan");
  EXPECT_EQ(read("vllm:num_requests_running +Inf\n").error(), "vllm:num_requests_running is inf");
  EXPECT_EQ(read("vllm:request_success_total -3\n").error(), "vllm:request_success_total is -3");
  EXPECT_EQ(read("").error(), "no vLLM metrics");
  EXPECT_EQ(read("up 1\nprocess_start_time_seconds 5\n").error(), "no vLLM metrics");
  EXPECT_EQ(read(page, "absent").error(), "no vLLM metrics of model \"absent\"");
  EXPECT_THAT(read(page + "vllm:num_requests_running{model_name=\"m\"} three\n").error(),
              HasSubstr("vllm:num_requests_running: line 15: the value is not a number"));
  EXPECT_TRUE(read(page + "vllm:something_else three\n")) << "a bad line of what nobody reads costs nothing";
}

TEST(ReadCounters, ASeriesThatIsThereTwiceIsRefusedByName) {
  const auto twice = page + "vllm:request_success_total{finished_reason=\"stop\",model_name=\"m\"} 10\n";
  EXPECT_EQ(read(twice, "m").error(), "vllm:request_success_total is there twice with the same labels") << "in whatever order";
  EXPECT_FALSE(read(page + page, "m"));
}

TEST(ReadCounters, ATextCutWithinALineIsRefused) {
  for (std::size_t cut = 1; cut < page.size(); ++cut)
    if (page[cut - 1] != '\n') {
      ASSERT_THAT(read(page.substr(0, cut)).error(), HasSubstr("the text ends within line")) << cut;
    }
}

TEST(ReadCounters, NanOfAnotherModelDoesNoHarm) {
  EXPECT_TRUE(read(page + "vllm:request_success_total{model_name=\"other\",finished_reason=\"abort\"} NaN\n", "m"));
}

TEST(ReadCounters, WhatNobodyReadsCostsNothingAndHasAnEnd) {
  std::string problem;
  counter_reader reader("");
  std::size_t sent = 0;
  const std::string line = "vllm:x{label=\"value\",another=\"one\"} 1\n";
  for (; problem.empty() && sent < (60u << 20); sent += line.size()) problem = reader.feed(line);
  EXPECT_EQ(problem, "more than 100000 lines");
  EXPECT_LT(sent, 5u << 20);
  net::metrics::exposition_limits small;
  small.bytes = 1000;
  counter_reader limited("", small);
  EXPECT_EQ(limited.feed(std::string(1001, '\n')), "larger than 1000 bytes");
}

// ---- what is missing -----------------------------------------------------------------------------------------------------

std::string without(const std::string& metric) {
  std::string out;
  for (std::size_t at = 0; at < page.size();) {
    const auto end = page.find('\n', at) + 1;
    if (page.compare(at, metric.size(), metric) != 0) out += page.substr(at, end - at);
    at = end;
  }
  return out;
}

TEST(MissingFamilies, AreNamedWhenRequestsAreServed) {
  EXPECT_EQ(missing_in(read(page, "m").value()), "");
  for (const auto* family : {"vllm:request_success_total", "vllm:request_generation_tokens", "vllm:request_prompt_tokens",
                             "vllm:num_requests_running", "vllm:num_requests_waiting"})
    EXPECT_EQ(missing_in(read(without(family), "m").value()), family);
  EXPECT_EQ(missing_in(read(without("vllm:request_generation_tokens_count"), "m").value()), "vllm:request_generation_tokens");
  EXPECT_EQ(missing_in(read(without("vllm:time_per_output"), "m").value()), "") << "no decision needs it";
}

TEST(MissingFamilies, AServerThatHasServedNothingLacksNothing) {
  EXPECT_EQ(missing_in(read("vllm:num_requests_running 0\nvllm:num_requests_waiting 0\n").value()), "");
  EXPECT_EQ(missing_in(read("vllm:num_requests_running 1\nvllm:num_requests_waiting 0\n").value()), "vllm:request_success_total");
  EXPECT_EQ(missing_in(read("vllm:num_requests_running 0\nvllm:num_requests_waiting 0\nvllm:request_success_total 0\n"
                            "vllm:request_generation_tokens_count 0\n")
                           .value()),
            "");
}

// ---- what happened in between --------------------------------------------------------------------------------------------

/// A server as it may be read.
struct server {
  double at_s = 0;
  double done = 0;       ///< finished_reason="stop"
  double by_length = 0;  ///< finished_reason="length"
  double running = 0, waiting = 0;
  std::optional<double> arrived{};
  double in = 100, out = 200;      ///< tokens of each request
  double itl_s = 4, ttft_s = 0.5;  ///< sums, of each request
  double itl_off_s = 0;            ///< by which the sum of the ITL is off
  double more_tokens = 0;          ///< than were made
  double more_firsts = 0;          ///< first tokens
  std::optional<double> started{};
  std::vector<field> lacks{};

  server_reading reading() const {
    server_reading r;
    r.clock_s = at_s;
    r.wall_s = 1e9 + at_s;
    const double all = done + by_length;
    const auto add = [&](field f, std::uint64_t labels, double v) {
      if (std::find(lacks.begin(), lacks.end(), f) == lacks.end()) {
        EXPECT_EQ(r.add(f, labels, v), "");
      }
    };
    add(field::running, 0, running);
    add(field::waiting, 0, waiting);
    add(field::success, 1, done);
    add(field::success, 2, by_length);
    if (arrived) add(field::arrivals, 0, *arrived);
    add(field::prompt_sum, 0, all * in);
    add(field::prompt_count, 0, all);
    add(field::generation_sum, 0, all * out);
    add(field::generation_count, 0, all);
    add(field::itl_sum, 0, all * itl_s + itl_off_s);
    add(field::itl_count, 0, all * out + more_tokens);
    add(field::ttft_sum, 0, all * ttft_s);
    add(field::ttft_count, 0, all + more_firsts);
    if (started) add(field::started, 0, 1e9 + *started);
    EXPECT_EQ(r.seal(), "");
    return r;
  }
};

server_track::outcome between(const server& before, const server& now) {
  server_track track;
  EXPECT_EQ(track.observe(before.reading()).load.span_s, 0) << "a first reading is nothing to go by";
  return track.observe(now.reading());
}

TEST(Difference, IsWhatHappenedBetweenTheReadings) {
  const auto d = between({10, 5}, {12, 9}).load;
  EXPECT_DOUBLE_EQ(d.span_s, 2);
  EXPECT_DOUBLE_EQ(d.completions, 4);
  EXPECT_DOUBLE_EQ(d.arrivals, 4);
  EXPECT_DOUBLE_EQ(d.in_tokens, 400);
  EXPECT_DOUBLE_EQ(d.out_tokens, 800);
  EXPECT_DOUBLE_EQ(d.itl_sum_s / d.itl_count, 0.02);
  const auto nothing = between({0, 5}, {2, 5}).load;
  EXPECT_EQ(nothing.completions + nothing.in_tokens + nothing.out_tokens + nothing.arrivals, 0);
}

TEST(Difference, ArrivalsWithoutTheirCounterAreCompletionsAndGrowth) {
  EXPECT_DOUBLE_EQ(between({0, 5, 0, 1}, {2, 6, 0, 4, 7}).load.arrivals, 1 + 3 + 7);
  EXPECT_DOUBLE_EQ(between({0, 5, 0, 20}, {2, 6, 0, 4, 7}).load.arrivals, 0) << "never negative: a queue was given up";
}

TEST(Difference, TheArrivalCounterIsBelievedWhenThereIsOne) {
  EXPECT_DOUBLE_EQ(between({0, 5, 0, 0, 0, 100.0}, {2, 6, 0, 0, 5, 130.0}).load.arrivals, 30);
  EXPECT_DOUBLE_EQ(between({0, 5, 0, 0, 0, 100.0}, {2, 6, 0, 0, 50, 130.0}).load.arrivals, 51) << "what is there has arrived";
  EXPECT_DOUBLE_EQ(between({0, 5, 0, 0, 0, 100.0}, {2, 6, 0, 0, 5, 90000.0}).load.arrivals, 6) << "not without a trace";
  EXPECT_DOUBLE_EQ(between({0, 5}, {2, 6, 0, 0, 50, 130.0}).load.arrivals, 1 + 50) << "one reading with it is not enough";
}

TEST(Difference, ARestartThatTheProcessConfirmsCountsFromZeroAtOnce) {
  server before{0, 100, 0, 8, 0, 108.0}, now{2, 3, 0, 2, 0, 5.0};
  before.started = -1000;
  now.started = 1;
  const auto d = between(before, now);
  EXPECT_EQ(d.problem, "");
  EXPECT_DOUBLE_EQ(d.load.completions, 3);
  EXPECT_DOUBLE_EQ(d.load.arrivals, 5);
  EXPECT_DOUBLE_EQ(d.load.in_tokens, 300);
  EXPECT_DOUBLE_EQ(d.load.out_tokens, 600);
}

TEST(Difference, ARestartIsConfirmedByTheNextReadingOtherwise) {
  server_track track;
  track.observe(server{-2, 100, 0, 50}.reading());
  track.observe(server{0, 100, 0, 50}.reading());
  const auto first = track.observe(server{2, 1, 0, 2}.reading());
  EXPECT_THAT(first.problem, HasSubstr("vllm:request_success_total went from 100 to 1"));
  EXPECT_EQ(first.load.span_s, 0);
  const auto next = track.observe(server{4, 3, 0, 2}.reading());
  EXPECT_EQ(next.problem, "");
  EXPECT_DOUBLE_EQ(next.load.span_s, 4) << "nothing of the time is lost";
  EXPECT_DOUBLE_EQ(next.load.arrivals, 5) << "what runs and what is done came after the restart";
}

TEST(Difference, ARestartIsToldFromEachSeries) {
  // After the restart more ended by length than before, and fewer otherwise; their sum has outgrown what it was.
  server before{0, 8, 2}, now{2, 1, 12};
  before.started = -100;
  now.started = 1;
  EXPECT_DOUBLE_EQ(between(before, now).load.completions, 13);
}

TEST(Difference, OneOddReadingIsPassedOver) {
  server_track track;
  track.observe(server{0, 5000}.reading());
  EXPECT_DOUBLE_EQ(track.observe(server{2, 5001}.reading()).load.arrivals, 1);
  for (const auto& odd : {server{4, 3}, server{4, 0}, server{4, 90000}, server{4, 4999}}) {
    server_track copy = track;
    EXPECT_NE(copy.observe(odd.reading()).problem, "") << odd.done;
    EXPECT_NE(copy.observe(odd.reading()).problem, "") << "the same reading again confirms nothing";
    const auto after = copy.observe(server{6, 5002}.reading());
    EXPECT_EQ(after.problem, "") << odd.done;
    EXPECT_DOUBLE_EQ(after.load.arrivals, 1);
    EXPECT_DOUBLE_EQ(after.load.span_s, 4);
  }
}

// A gauge or a count of tokens that leaps for one reading makes neither arrivals nor long requests.
TEST(Difference, OneReadingOfManyWaitingOrOfManyTokensIsPassedOver) {
  for (const char* what : {"waiting", "running", "tokens", "first tokens"}) {
    SCOPED_TRACE(what);
    server_track track;
    double done = 1000;
    const auto at = [&](double t) {
      server s{t, done += 10, 0, 16};
      return s;
    };
    for (int i = 0; i < 20; ++i) ASSERT_EQ(track.observe(at(5.0 * i).reading()).problem, "");
    auto odd = at(100);
    if (*what == 'w') odd.waiting = 300;
    if (*what == 'r') odd.running = 300;
    if (*what == 't') odd.more_tokens = 100'000;
    if (*what == 'f') odd.more_firsts = 5'000;
    auto same = odd;
    {
      server_track copy = track;
      EXPECT_NE(copy.observe(odd.reading()).problem, "");
      same.at_s += 5;
      same.done += 10;
      EXPECT_EQ(copy.observe(same.reading()).problem, "") << "a second reading confirms it";
    }
    EXPECT_NE(track.observe(odd.reading()).problem, "");
    const auto after = track.observe(at(105).reading());
    EXPECT_EQ(after.problem, "");
    EXPECT_DOUBLE_EQ(after.load.arrivals, 20) << "of both intervals";
    EXPECT_DOUBLE_EQ(after.load.itl_count, 20 * 200);
    EXPECT_DOUBLE_EQ(track.observe(at(110).reading()).load.arrivals, 10) << "and nothing is owed";
  }
}

// A long prefill or a preemption holds up all that run for some seconds.
TEST(Difference, WhatGoesOnAfterAStallIsNothingOdd) {
  server_track track;
  double done = 1000, tokens = 200'000, itl_s = 4000;
  for (int i = 2; i < 200; ++i) {
    const bool stalls = i % 10 < 2;
    done += stalls ? 0 : 4;
    tokens += stalls ? 26 : 800;
    itl_s += 32;
    server s{2.0 * i, done, 0, 16};
    s.more_tokens = tokens - 200 * done;
    s.itl_off_s = itl_s - 4 * done;
    ASSERT_EQ(track.observe(s.reading()).problem, "") << i;
  }
}

// Below what could be, and far above what was: the next reading tells.
TEST(Difference, AnOddReadingOfASlowServerIsPassedOver) {
  server_track track;
  double done = 20;
  for (int i = 0; i < 30; ++i) EXPECT_EQ(track.observe(server{2.0 * i, done += i % 3 == 0, 0, 6}.reading()).problem, "");
  EXPECT_THAT(track.observe(server{60, 3 * done, 0, 6}.reading()).problem, HasSubstr("far more than before"));
  const auto after = track.observe(server{62, done + 1, 0, 6}.reading());
  EXPECT_EQ(after.problem, "");
  EXPECT_DOUBLE_EQ(after.load.arrivals, 1);
  // What the next reading goes on from has been so.
  EXPECT_NE(track.observe(server{64, done + 80, 0, 6}.reading()).problem, "");
  const auto more = track.observe(server{66, done + 81, 0, 6}.reading());
  EXPECT_EQ(more.problem, "");
  EXPECT_DOUBLE_EQ(more.load.arrivals, 80);
}

// One of several engines is missing in a reading now and then.
TEST(Difference, ASeriesThatIsBackDoesNotCountFromZero) {
  server_track track;
  double arrivals = 0, done = 400;
  for (int i = 0; i < 60; ++i) {
    std::string text;
    ++done;
    for (int engine = 0; engine < 4; ++engine) {
      if (engine == (i + 4) % 7) continue;
      const auto labels = fmt::format("{{engine=\"{}\"}}", engine);
      for (const auto* name : {"request_success_total", "request_prompt_tokens_count", "request_generation_tokens_count"})
        text += fmt::format("vllm:{}{} {}\n", name, labels, done);
      for (const auto* name : {"request_prompt_tokens_sum", "request_generation_tokens_sum"})
        text += fmt::format("vllm:{}{} {}\n", name, labels, 100 * done);
      text += fmt::format("vllm:num_requests_running{0} 0\nvllm:num_requests_waiting{0} 0\n", labels);
    }
    auto r = read(text).value();
    r.clock_s = r.wall_s = 2.0 * i;
    const auto d = track.observe(std::move(r));
    EXPECT_EQ(d.problem, "") << i;
    arrivals += d.load.arrivals;
  }
  EXPECT_GE(arrivals, 4 * 55);
  EXPECT_LE(arrivals, 4 * 60);
}

// Two processes behind one address: each reading is of one or the other.
TEST(Difference, TwoProcessesThatAnswerInTurnAreNoRestarts) {
  server_track track;
  double arrivals = 0;
  for (int i = 0; i < 200; ++i) {
    const bool second = i * 7 % 3 == 0;
    server s{2.0 * i, (second ? 40.0 : 900.0) + i, 0, 2};
    s.started = second ? -100 : -5000;
    arrivals += track.observe(s.reading()).load.arrivals;
  }
  EXPECT_LE(arrivals, 2 * 200) << "of one request in each interval and process";
}

TEST(Difference, AClockThatWasSetBackIsFollowed) {
  server_track track;
  track.observe(server{600, 100}.reading());
  EXPECT_DOUBLE_EQ(track.observe(server{602, 101}.reading()).load.span_s, 2);
  EXPECT_DOUBLE_EQ(track.observe(server{597, 99}.reading()).load.span_s, 0) << "another replica of the source, a little behind";
  EXPECT_DOUBLE_EQ(track.observe(server{4, 102}.reading()).load.span_s, 0);
  const auto d = track.observe(server{6, 103}.reading()).load;
  EXPECT_DOUBLE_EQ(d.span_s, 2);
  EXPECT_DOUBLE_EQ(d.arrivals, 1);
}

TEST(Difference, NoFamilyThatGoesOrComesBackMakesLifetimeTotalsALoad) {
  for (int f = 0; f < static_cast<int>(field::started); ++f) {
    server_track track;
    double arrivals = 0;
    for (int i = 0; i < 30; ++i) {
      server s{2.0 * i, 5000.0 + i / 2, 0, 1};
      if (i % 10 >= 5) s.lacks = {static_cast<field>(f)};
      const auto d = track.observe(s.reading());
      EXPECT_EQ(d.problem, "") << name_of(static_cast<field>(f));
      arrivals += d.load.arrivals;
      if (d.load.completions > 0) {
        EXPECT_DOUBLE_EQ(d.load.out_tokens, 200 * d.load.completions) << name_of(static_cast<field>(f));
      }
    }
    EXPECT_LE(arrivals, 14) << name_of(static_cast<field>(f));
    EXPECT_GE(arrivals, 11) << name_of(static_cast<field>(f));
  }
}

TEST(Difference, AFamilyThatWasNeverThereBeginsWithABaseline) {
  server before{0, 5000}, now{2, 5001};
  before.lacks = {field::ttft_sum, field::ttft_count};
  EXPECT_EQ(between(before, now).load.ttft_count, 0);
  before.lacks = {field::success};
  EXPECT_EQ(between(before, now).load.arrivals, 0);
}

TEST(Difference, ASumThatGoesBackIsNoRestart) {
  server before{0, 5000}, now{2, 5001};
  now.itl_off_s = -10;
  const auto d = between(before, now);
  EXPECT_EQ(d.problem, "");
  EXPECT_DOUBLE_EQ(d.load.arrivals, 1);
  EXPECT_EQ(d.load.itl_count, 0) << "this pair says nothing";
  EXPECT_EQ(d.load.itl_sum_s, 0);
  EXPECT_DOUBLE_EQ(d.load.ttft_count, 1);
}

TEST(Difference, ANewSeriesCountsFromZeroWithinReason) {
  const auto with_abort = [](double at_s, double aborted) {
    auto r = server{at_s, 5000}.reading();
    EXPECT_EQ(r.add(field::success, 3, aborted), "");
    EXPECT_EQ(r.seal(), "");
    return r;
  };
  server_track track;
  track.observe(server{0, 5000}.reading());
  server_track other = track;
  EXPECT_DOUBLE_EQ(track.observe(with_abort(2, 4)).load.arrivals, 4);
  const auto d = other.observe(with_abort(2, 4000));
  EXPECT_EQ(d.load.span_s, 0);
  EXPECT_THAT(d.problem, HasSubstr("vllm:request_success_total grew by 4000 in 2 s, in series that were not there before"));
}

TEST(Difference, WhatOneFamilyAloneSaysIsNotBelieved) {
  server_track track;
  track.observe(server{0, 5000}.reading());
  auto odd = server{2, 5000};
  odd.lacks = {field::success};
  auto r = odd.reading();
  EXPECT_EQ(r.add(field::success, 1, 5090), "");
  EXPECT_EQ(r.add(field::success, 2, 0), "");
  EXPECT_EQ(r.seal(), "");
  EXPECT_THAT(track.observe(r).problem, HasSubstr("but vllm:request_prompt_tokens_count by 0"));
}

TEST(Difference, CompletionsThatStandStillWhileLengthsAreObservedAreNotBelieved) {
  server_track track;
  const auto read = [](double at_s, double done, double observed, bool lengths = true) {
    server s{at_s, observed};
    s.lacks = {field::success};
    if (!lengths)
      s.lacks.insert(s.lacks.end(), {field::prompt_sum, field::prompt_count, field::generation_sum, field::generation_count});
    auto r = s.reading();
    EXPECT_EQ(r.add(field::success, 1, done), "");
    EXPECT_EQ(r.seal(), "");
    if (!lengths)
      for (const auto f : {field::prompt_sum, field::prompt_count, field::generation_sum, field::generation_count})
        r.leave_unread(f);
    return r;
  };
  track.observe(read(0, 5000, 5000));
  EXPECT_EQ(track.observe(read(2, 5005, 5005)).problem, "");
  for (int i = 1; i < 40; ++i) {
    const auto d = track.observe(read(2 + 2 * i, 5005, 5005 + 4 * i));
    if (i > 2) {
      EXPECT_THAT(d.problem, HasSubstr("vllm:request_success_total grew by 0 in")) << i;
      EXPECT_THAT(d.problem, HasSubstr("but vllm:request_generation_tokens_count by")) << i;
    }
  }
  EXPECT_EQ(track.observe(read(90, 5015, 5200)).problem, "") << "it moves again";
  EXPECT_EQ(track.observe(read(92, 5030, 5215, false)).problem, "");
  EXPECT_EQ(track.observe(read(94, 5030, 5215)).problem, "") << "lengths of the time before, when they were not read";
  EXPECT_EQ(track.observe(read(96, 5030, 5215)).problem, "");
}

TEST(Difference, ABurstThatLastsIsBelieved) {
  server_track track;
  double arrivals = 0, done = 5000;
  for (int i = 0; i < 40; ++i) {
    if (i > 20) done += 300;  // 150 a second out of nothing
    arrivals += track.observe(server{2.0 * i, done}.reading()).load.arrivals;
  }
  EXPECT_NEAR(arrivals, done - 5000, 1e-6);
}

TEST(Difference, TheEngineIsFollowedWhenItsCountersKeepGoingBack) {
  server_track track;
  server before{0, 5000};
  before.started = -10;
  track.observe(before.reading());
  before.at_s = 1;
  track.observe(before.reading());
  // The process says that it is the same one.
  int refused = 0;
  double arrivals = 0;
  for (int i = 1; i < 20; ++i) {
    server s{2.0 * i, 100.0 + i};
    s.started = -10;
    const auto d = track.observe(s.reading());
    refused += !d.problem.empty();
    arrivals += d.load.arrivals;
  }
  EXPECT_EQ(refused, 4);
  EXPECT_DOUBLE_EQ(arrivals, 15);
}

TEST(Difference, AnOddFirstReadingIsNoReasonToDoubtTheRest) {
  server_track track;
  track.observe(server{0, 3}.reading());
  EXPECT_NE(track.observe(server{2, 5000}.reading()).problem, "");
  const auto d = track.observe(server{4, 5001}.reading());
  EXPECT_EQ(d.problem, "");
  EXPECT_DOUBLE_EQ(d.load.arrivals, 1);
}

TEST(Difference, ANewServerCountsFromZero) {
  server_track track;
  const auto d = track.observe(server{100, 30, 0, 2}.reading(), 85);
  EXPECT_TRUE(d.whole_life);
  EXPECT_DOUBLE_EQ(d.load.arrivals, 32);
  EXPECT_DOUBLE_EQ(d.load.span_s, 15);
  server_track liar;
  EXPECT_EQ(liar.observe(server{100, 50000}.reading(), 85).load.span_s, 0);
}

}  // namespace
}  // namespace inferno::actors::testing

// A round of queries as a whole, against a server that answers as it is told.
#include "actors/prometheus_source.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <fstream>
#include <iostream>

#include "actors/prometheus_join.hpp"
#include "net/http/server.hpp"
#include "net/http/url.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
namespace asio = boost::asio;

class PrometheusSource : public ::testing::Test {
 protected:
  PrometheusSource() {
    auto started = net::http_server::start(context.get_executor(), {}, [this](net::http_exchange& x) -> asio::awaitable<void> {
      bodies.push_back(x.body());
      most = std::max(most, ++at_once);
      if (stuck && bodies.size() > answered_before_stuck) co_await forever.wait();
      co_await test::yield_turns(50);
      --at_once;
      std::string body = answer ? answer(x.body()) : text, type = "application/json";
      std::vector<net::http_header> none;
      co_await x.respond(status, std::move(type), std::move(body), std::move(none));
    });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
    source = std::make_unique<prometheus_source>(context.get_executor(), net::http_client_config{},
                                                 net::metrics::prometheus_access{.url = "http://" + server->address()}, 60s);
  }
  ~PrometheusSource() override {
    forever.set();
    source.reset();
    server->stop();
    context.restart();
    context.poll();
  }
  std::shared_ptr<const collected_metrics> collect(std::chrono::milliseconds allowed, double now_s = 100) {
    std::shared_ptr<const collected_metrics> out;
    source->collect(targets, now_s, allowed, [&](auto m) {
      EXPECT_FALSE(out) << "told once";
      out = std::move(m);
    });
    test::run_until(context, [&] { return out != nullptr; });
    return out;
  }
  static std::shared_ptr<const std::vector<scrape_target>> pods(const std::vector<std::string>& names) {
    std::vector<scrape_target> out;
    for (const auto& name : names) out.push_back({{"llm", name}, "m", "10.0.0.1", 8000});
    return std::make_shared<const std::vector<scrape_target>>(std::move(out));
  }
  std::shared_ptr<const std::vector<scrape_target>> targets = pods({"a"});
  asio::io_context context;
  test::event forever{context};
  bool stuck = false;
  std::size_t answered_before_stuck = 0;
  int status = 200, at_once = 0, most = 0;
  std::string text = R"({"status":"success","data":{"resultType":"vector","result":[]}})";
  std::function<std::string(const std::string&)> answer;
  std::vector<std::string> bodies;
  std::unique_ptr<net::http_server> server;
  std::unique_ptr<prometheus_source> source;
};

TEST_F(PrometheusSource, AsksFourQueriesOneAfterTheOther) {
  const auto m = collect(10s);
  EXPECT_EQ(m->problem, "");
  EXPECT_EQ(bodies.size(), 4u);
  EXPECT_EQ(most, 1);
  for (const auto& b : bodies) EXPECT_THAT(b, HasSubstr("&timeout=")) << "Prometheus is to give up too";
}

TEST_F(PrometheusSource, ARoundEndsInTimeWhateverItsQueriesDo) {
  for (const std::size_t answered : {0, 1, 3}) {
    stuck = true;
    answered_before_stuck = bodies.size() + answered;
    const auto m = collect(300ms);
    EXPECT_EQ(m->problem, "Prometheus is too slow: the queries of a round took longer than 0.3 s");
    EXPECT_TRUE(m->pods.empty());
    stuck = false;
    EXPECT_EQ(collect(10s)->problem, "");
  }
}

TEST_F(PrometheusSource, AnErrorEndsTheRound) {
  status = 503;
  text = "no";
  EXPECT_THAT(collect(10s)->problem, HasSubstr("HTTP status 503"));
  EXPECT_EQ(bodies.size(), 1u) << "who fails is not asked for more";
}

/// Pods that Prometheus scrapes each 15 s, on its own clock.
struct fleet {
  struct pod {
    std::string name;
    double born_s, rate;
    double phase_s;
  };
  std::vector<pod> pods;
  double now_s = 0;
  std::string operator()(const std::string& query) const {
    std::string rows;
    const auto row = [&](const std::string& tags, const pod& p, double value) {
      rows += fmt::format(R"({}{{"metric":{{{},"namespace":"llm","pod":"{}","model_name":"m"}},"value":[{:.3f},"{:.3f}"]}})",
                          rows.empty() ? "" : ",", tags, p.name, 1.7e9 + now_s, value);
    };
    for (const auto& p : pods) {
      const double at = 15 * std::floor((now_s - p.phase_s) / 15) + p.phase_s;
      if (at < p.born_s) continue;
      const double done = std::floor(p.rate * (at - p.born_s));
      const auto metric = [](const std::string& name) { return "\"__name__\":\"" + name + "\""; };
      row(R"("inferno":"time")", p, 1.7e9 + at);
      if (query.find("num_requests_waiting") != std::string::npos) {
        row(metric("vllm:num_requests_running"), p, 2);
        row(metric("vllm:num_requests_waiting"), p, 0);
        row(metric("vllm:request_success_total"), p, done);
        row(R"("inferno":"start")", p, 1.7e9 + p.born_s);
      } else if (query.find("request_prompt_tokens_sum") != std::string::npos) {
        for (const auto* family : {"vllm:request_prompt_tokens", "vllm:request_generation_tokens"}) {
          row(metric(family + std::string("_sum")), p, 100 * done);
          row(metric(family + std::string("_count")), p, done);
        }
      }
    }
    return R"({"status":"success","data":{"resultType":"vector","result":[)" + rows + "]}}";
  }
};

TEST_F(PrometheusSource, CountersAreDifferencedAndANewPodLosesNothing) {
  fleet f{{{"a", -5000, 2, 3}}};
  answer = [&](const std::string& query) { return f(query); };
  std::map<std::string, double> arrivals;
  for (f.now_s = 100; f.now_s < 400; f.now_s += 2) {
    if (f.now_s == 200) {
      f.pods.push_back({"b", 190, 3, 7});
      targets = pods({"a", "b"});
    }
    const auto m = collect(10s, f.now_s);
    ASSERT_EQ(m->problem, "");
    for (const auto& s : m->pods) {
      EXPECT_EQ(s.problem, "") << s.pod.name;
      EXPECT_EQ(s.load.missing, "") << s.pod.name;
      arrivals[s.pod.name] += s.load.arrivals;
      EXPECT_LE(s.load.span_s, 16) << "a change is seen at once";
    }
  }
  EXPECT_NEAR(arrivals["a"], 2 * 300, 1) << "from the first scrape that was seen to the last";
  EXPECT_NEAR(arrivals["b"], 3 * 207, 3) << "its first requests, before it was scraped, too";
}

TEST_F(PrometheusSource, TwoPrometheisBehindOneAddressInventNothing) {
  fleet first{{{"a", -5000, 2, 3}}}, second{{{"a", -5000, 2, 9}}};
  int n = 0;
  answer = [&](const std::string& query) { return ++n % 7 < 3 ? first(query) : second(query); };
  double arrivals = 0;
  for (first.now_s = second.now_s = 100; first.now_s < 700; first.now_s += 2, second.now_s = first.now_s) {
    const auto m = collect(10s, first.now_s);
    for (const auto& s : m->pods) {
      EXPECT_EQ(s.problem, "");
      arrivals += s.load.arrivals;
    }
  }
  EXPECT_NEAR(arrivals, 2 * 600, 32);
}

TEST_F(PrometheusSource, OneServerUnderTwoInstancesCountsOnceAndTwoServersCountTwice) {
  // A pod whose server is scraped under its address and under its host's name, and one with two servers.
  fleet f;
  const auto tagged = [](std::string rows, const std::string& instance) {
    const std::string at = R"("namespace")";
    for (std::size_t i = 0; (i = rows.find(at, i)) != std::string::npos;) {
      const auto tag = fmt::format(R"("instance":"{}",)", instance);
      rows.insert(i, tag);
      i += tag.size() + at.size();
    }
    const auto from = rows.find('[') + 1;
    return rows.substr(from, rows.rfind(']') - from);
  };
  answer = [&](const std::string& query) {
    std::string rows;
    const auto add = [&](fleet::pod p, const std::string& instance) {
      const auto more = tagged(fleet{{std::move(p)}, f.now_s}(query), instance);
      if (!more.empty()) rows += (rows.empty() ? "" : ",") + more;
    };
    add({"twice", -5000, 2, 3}, "10.0.0.1:8000");
    add({"twice", -5000, 2, 9}, "twice.llm:8000");
    add({"two", -5000, 2, 3}, "10.0.0.2:8000");
    add({"two", -3000, 2, 9}, "10.0.0.2:8001");
    return R"({"status":"success","data":{"resultType":"vector","result":[)" + rows + "]}}";
  };
  targets = pods({"twice", "two"});
  std::map<std::string, double> arrivals, running;
  for (f.now_s = 100; f.now_s < 400; f.now_s += 2) {
    running.clear();
    const auto m = collect(10s, f.now_s);
    for (const auto& s : m->pods) {
      EXPECT_EQ(s.problem, "");
      EXPECT_EQ(s.load.missing, "");
      running[s.pod.name] += s.load.running;
      if (f.now_s >= 200) arrivals[s.pod.name] += s.load.arrivals;
    }
    EXPECT_EQ(running["twice"], 2) << f.now_s;
    if (f.now_s >= 160) {
      EXPECT_EQ(running["two"], 4) << f.now_s;
    }
  }
  EXPECT_NEAR(arrivals["twice"], 2 * 200, 31);
  EXPECT_NEAR(arrivals["two"], 4 * 200, 61);
}

// ---- a giant's answers ---------------------------------------------------------------------------------------------------

/// A Prometheus of so many pods, each with a server of three engines; it writes its answers as they go out.
struct giant {
  int pods = 0;
  std::size_t largest = 0;  ///< bytes of an answer
  double scraped_s = 1.7e9;

  void rows(std::size_t query, int pod, std::string& text) const {
    static constexpr std::array<std::pair<int, int>, 3> fields{{{0, 4}, {4, 8}, {8, 16}}};
    const auto row = [&](const std::string& tags, double value) {
      text += fmt::format(
          R"({}{{"metric":{{{},"instance":"10.{}.{}.{}:8000","job":"monitoring/vllm-servers","model_name":"meta-llama/Llama-3.1-70B-Instruct",)"
          R"("namespace":"llm-inference","pod":"{}","service":"vllm-llama-decode"}},"value":[{:.3f},"{}"]}})",
          text.empty() ? "" : ",", tags, pod >> 16, pod >> 8 & 255, pod & 255, name(pod), 1.7e9 + 5, value);
    };
    row(R"("inferno":"time")", scraped_s);
    for (int f = fields[query].first; f < fields[query].second; ++f)
      for (int engine = 0; engine < 3; ++engine) {
        const auto field = static_cast<counter_field>(f);
        const auto of = fmt::format(R"("__name__":"{}","engine":"{}")", name_of(field), engine);
        if (field != counter_field::success) row(of, 1000.0 + pod);
        for (const auto* reason : {"stop", "length", "abort", "error", "repetition"})
          if (field == counter_field::success) row(fmt::format(R"({},"finished_reason":"{}")", of, reason), 1000.0 + pod);
      }
  }
  static std::string name(int pod) { return fmt::format("vllm-llama-decode-7c9f8d6b5d-{:05}", pod); }
  asio::awaitable<void> serve(test::tcp::socket& socket) {
    std::string held;
    for (;;) {
      const auto request = co_await test::receive(socket, held);
      if (request.empty()) co_return;
      const auto queries = prometheus_queries();
      const auto asked = std::find_if(queries.begin(), queries.end(), [&](const auto& q) {
        return request.find("query=" + net::percent_encoded(q) + "&") != std::string::npos;
      });
      std::string text = R"({"status":"success","data":{"resultType":"vector","result":[)";
      std::string head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
      if (!co_await test::send(socket, std::move(head))) co_return;
      std::size_t sent = 0;
      for (int pod = 0; pod <= pods; ++pod) {
        const bool end = pod == pods;
        if (end) {
          text += "]}}";
        } else if (asked != queries.end()) {
          std::string of_pod;
          rows(static_cast<std::size_t>(asked - queries.begin()), pod, of_pod);
          text += (pod > 0 ? "," : "") + of_pod;
        }
        if (!end && text.size() < (1u << 18)) continue;
        sent += text.size();
        auto chunk = fmt::format("{:x}\r\n{}\r\n{}", text.size(), text, end ? "0\r\n\r\n" : "");
        text.clear();
        if (!co_await test::send(socket, std::move(chunk))) co_return;
      }
      largest = std::max(largest, sent);
    }
  }
};

/// A round against it with so many targets.
std::pair<std::shared_ptr<const collected_metrics>, double> round_of(giant& prometheus, int targets) {
  asio::io_context context;
  test::raw_server server(context, [&](test::tcp::socket& socket, int) { return prometheus.serve(socket); });
  prometheus_source source(context.get_executor(), {}, {.url = server.url("")}, 60s);
  std::vector<scrape_target> pods;
  for (int i = 0; i < targets; ++i)
    pods.push_back({{"llm-inference", giant::name(i)}, "meta-llama/Llama-3.1-70B-Instruct", "10.0.0.1", 8000});
  const auto all = std::make_shared<const std::vector<scrape_target>>(std::move(pods));
  std::shared_ptr<const collected_metrics> out;
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const auto before = test::resident_mib("VmRSS:");
  source.collect(all, 100, 120s, [&](auto m) { out = std::move(m); });
  const auto limit = std::chrono::steady_clock::now() + 100s;
  while (!out && std::chrono::steady_clock::now() < limit) {
    context.restart();
    context.run_one_for(100ms);
  }
  return {out, test::resident_mib("VmHWM:") - before};
}

TEST(PrometheusGiant, TenThousandPodsOfThreeEnginesFitInTheLimitsAndInMemory) {
  giant prometheus{.pods = 10000};
  const auto [m, mib] = round_of(prometheus, 10000);
  ASSERT_TRUE(m) << "no answer in time";
  EXPECT_EQ(m->problem, "");
  ASSERT_EQ(m->pods.size(), 10000u);
  for (const auto& s : m->pods) ASSERT_EQ(s.problem, "");
  EXPECT_GT(prometheus.largest, 66u << 20) << "or this test shows nothing";
  std::cout << "an answer of " << (prometheus.largest >> 20) << " MiB, " << mib << " MiB at the peak\n";
  // The readings of 30,000 engines themselves, twice while they are compared; the text of the answers is no part of it.
  if (test::frees_memory) {
    EXPECT_LT(mib, 120);
  }
}

TEST(PrometheusGiant, PodsOfOthersCostTimeAndNoMemory) {
  giant prometheus{.pods = 9000};
  const auto [m, mib] = round_of(prometheus, 10);
  ASSERT_TRUE(m) << "no answer in time";
  EXPECT_EQ(m->problem, "");
  EXPECT_EQ(m->pods.size(), 10u);
  if (test::frees_memory) {
    EXPECT_LT(mib, 20);
  }
}

TEST(PrometheusGiant, AnAnswerBeyondTheLimitFailsTheRoundAndSaysSo) {
  giant prometheus{.pods = 11000};
  const auto [m, mib] = round_of(prometheus, 10);
  ASSERT_TRUE(m) << "no answer in time";
  EXPECT_TRUE(m->pods.empty());
  EXPECT_THAT(m->problem, HasSubstr("the answer has more than 250500 samples, which is the limit"));
  if (test::frees_memory) {
    EXPECT_LT(mib, 20);
  }
}

}  // namespace
}  // namespace inferno::actors::testing

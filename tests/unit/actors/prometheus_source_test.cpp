// A round of queries as a whole, against a server that answers as it is told.
#include "actors/prometheus_source.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"

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
  for (first.now_s = second.now_s = 100; first.now_s < 700; first.now_s += 2, second.now_s = first.now_s)
    for (const auto& s : collect(10s, first.now_s)->pods) {
      EXPECT_EQ(s.problem, "");
      arrivals += s.load.arrivals;
    }
  EXPECT_NEAR(arrivals, 2 * 600, 32);
}

}  // namespace
}  // namespace inferno::actors::testing

// A round of queries as a whole, against a server that answers as it is told.
#include "actors/prometheus_source.hpp"

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
      std::string body = text, type = "application/json";
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
  std::shared_ptr<const collected_metrics> collect(std::chrono::milliseconds allowed) {
    std::shared_ptr<const collected_metrics> out;
    source->collect(targets, 100, allowed, [&](auto m) {
      EXPECT_FALSE(out) << "told once";
      out = std::move(m);
    });
    test::run_until(context, [&] { return out != nullptr; });
    return out;
  }
  const std::shared_ptr<const std::vector<scrape_target>> targets =
      std::make_shared<const std::vector<scrape_target>>(std::vector<scrape_target>{{{"llm", "a"}, "m", "10.0.0.1", 8000}});
  asio::io_context context;
  test::event forever{context};
  bool stuck = false;
  std::size_t answered_before_stuck = 0;
  int status = 200, at_once = 0, most = 0;
  std::string text = R"({"status":"success","data":{"resultType":"vector","result":[]}})";
  std::vector<std::string> bodies;
  std::unique_ptr<net::http_server> server;
  std::unique_ptr<prometheus_source> source;
};

TEST_F(PrometheusSource, AsksWhenThingsWereScrapedAndThenTheRestSideBySide) {
  const auto m = collect(10s);
  EXPECT_EQ(m->problem, "");
  EXPECT_LE(bodies.size(), 24u);
  EXPECT_THAT(bodies.front(), HasSubstr("timestamp%28"));
  EXPECT_GT(most, 1);
  EXPECT_LE(most, 8);
  for (const auto& b : bodies) EXPECT_THAT(b, HasSubstr("&timeout=")) << "Prometheus is to give up too";
}

TEST_F(PrometheusSource, ARoundEndsInTimeWhateverItsQueriesDo) {
  for (const std::size_t answered : {0, 1, 12}) {
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

}  // namespace
}  // namespace inferno::actors::testing

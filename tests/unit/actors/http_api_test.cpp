// The controller's ports: rendering does not hold up the I/O thread, and /healthz knows who answers.
#include "actors/http_api.hpp"

#include <fmt/format.h>

#include <future>

#include "cluster.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_client.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::first_line;
using test::raw_client;
namespace asio = boost::asio;

std::shared_ptr<board_view> view_of(int variants) {
  std::vector<decision_table::value> all;
  for (int i = 0; i < variants; ++i) {
    auto curve = std::make_shared<capacity_curve>();
    curve->key = {"llm", fmt::format("variant-{:05}", i)};
    curve->model = "default";
    auto d = std::make_shared<decision>();
    d->curve = curve;
    d->reason = "Optimized";
    all.push_back(std::move(d));
  }
  auto plan = std::make_shared<plan_snapshot>();
  plan->decisions = decision_table(std::move(all));
  auto view = std::make_shared<board_view>();
  view->set_plan(std::move(plan));
  return view;
}

class http_api_test : public ::testing::Test {
 protected:
  std::unique_ptr<net::http_server> serve(net::http_handler handler) {
    auto started = net::http_server::start(context.get_executor(), {}, std::move(handler));
    if (!started) throw std::runtime_error(started.error().message);
    return std::move(*started);
  }
  ~http_api_test() override { renderer->stop(); }

  asio::io_context context;
  std::shared_ptr<net::background_thread> renderer = std::make_shared<net::background_thread>(2);
};

TEST_F(http_api_test, a_slow_rendering_holds_up_nobody_else_and_its_queue_is_bounded) {
  const auto view = view_of(10000);
  const auto metrics = serve(make_metrics_handler(view, nullptr, renderer));
  const auto probes = serve(make_probe_handler(view, [] { return std::string(); }));
  std::promise<void> reached, go;
  renderer->post([&] {
    reached.set_value();
    go.get_future().wait();
  });
  reached.get_future().wait();
  std::vector<raw_client> waiting;
  for (const char* path : {"/metrics", "/api/v1/variants"}) {
    waiting.emplace_back(context, metrics->port());
    waiting.back().say(fmt::format("GET {} HTTP/1.1\r\n\r\n", path));
  }
  test::run(context, test::yield_turns(30));
  raw_client one_too_many(context, metrics->port());
  one_too_many.say("GET /metrics HTTP/1.1\r\n\r\n");
  const auto refused = one_too_many.answer();
  EXPECT_EQ(first_line(refused), "HTTP/1.1 503 Service Unavailable");
  EXPECT_NE(refused.find("Retry-After: 1\r\n"), std::string::npos);
  // Lease and watches are timers and sockets of the same thread.
  raw_client kubelet(context, probes->port());
  kubelet.say("GET /healthz HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(kubelet.answer()), "ok\n");
  go.set_value();
  EXPECT_EQ(body_of(waiting[0].answer()), view->metrics_text());
  EXPECT_NE(waiting[1].answer().find("variant-09999"), std::string::npos);
}

TEST_F(http_api_test, what_is_rendered_elsewhere_is_what_would_be_rendered_here) {
  const auto view = view_of(3);
  const auto there = serve(make_metrics_handler(view, nullptr, renderer)), here = serve(make_metrics_handler(view));
  for (const char* request :
       {"GET /metrics", "HEAD /metrics", "POST /metrics", "GET /api/v1/variants", "GET /api/v1/variants?output=yaml",
        "GET /api/v1/variants?namespace=none&output=table", "GET /api/v1/variants?output=xml",
        "GET /api/v1/variants/llm/variant-00001", "GET /api/v1/variants/llm/nobody", "GET /elsewhere"}) {
    std::string answers[2];
    for (const auto* server : {&there, &here}) {
      raw_client client(context, (*server)->port());
      client.say(fmt::format("{} HTTP/1.1\r\nConnection: close\r\n\r\n", request));
      answers[server == &here] = client.rest();
    }
    EXPECT_EQ(answers[0], answers[1]) << request;
  }
}

class Liveness : public ::testing::Test {
 protected:
  void start(std::chrono::milliseconds restart = 200ms) {
    w = std::make_unique<world>([&](supervisor_config& s) {
      s.health = health;
      s.restart_min = restart;
      s.restart_max = std::max(restart, s.restart_max);
      s.election.emplace();
      s.election->identity = "me";
    });
  }
  /// Virtual time passes for the actors; `blocked`: only for the one who looks.
  void pass(std::chrono::seconds time, bool blocked = false) {
    for (; time.count() > 0; --time) {
      now += 1s;
      if (!blocked) w->advance(1s, 100ms);
    }
  }

  liveness::clock::time_point now{1h};
  std::shared_ptr<liveness> health = std::make_shared<liveness>([this] { return now; });
  std::unique_ptr<world> w;
};

TEST_F(Liveness, IsGoodWhileAllAnswer) {
  start();
  w->quickstart();
  w->load(22);
  for (int i = 0; i < 60; ++i) {
    pass(10s);
    ASSERT_EQ(health->problem(), "") << i;
  }
}

TEST_F(Liveness, ADeadOptimizerIsNamed) {
  start(1h);
  w->quickstart();
  pass(30s);
  kill(*w, supervisor_of(*w).optimizer_handle);
  pass(30s);
  EXPECT_EQ(health->problem(), "") << "a restart gets its time";
  pass(40s);
  EXPECT_NE(health->problem().find("the optimizer has not answered for "), std::string::npos) << health->problem();
}

TEST_F(Liveness, AnOptimizerThatIsRestartedIsNot) {
  start();
  w->quickstart();
  pass(30s);
  kill(*w, supervisor_of(*w).optimizer_handle);
  for (int i = 0; i < 20; ++i) {
    pass(5s);
    ASSERT_EQ(health->problem(), "");
  }
}

TEST_F(Liveness, ABlockedSchedulerIsNoticed) {
  start();
  pass(30s);
  pass(50s, true);
  EXPECT_EQ(health->problem(), "");
  pass(20s, true);
  EXPECT_NE(health->problem().find("the supervisor has not answered for "), std::string::npos) << health->problem();
  pass(10s);
  EXPECT_EQ(health->problem(), "") << "it goes on";
}

TEST_F(Liveness, TheEndIsTheEnd) {
  health->end();
  EXPECT_EQ(health->problem(), "the supervisor has ended");
}

TEST_F(http_api_test, healthz_is_503_with_the_reason) {
  std::string problem;
  const auto probes = serve(make_probe_handler(view_of(0), [&] { return problem; }));
  raw_client client(context, probes->port());
  client.say("GET /healthz HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(client.answer()), "ok\n");
  problem = "the optimizer has not answered for 61 s";
  client.say("GET /healthz HTTP/1.1\r\n\r\n");
  const auto ill = client.answer();
  EXPECT_EQ(first_line(ill), "HTTP/1.1 503 Service Unavailable");
  EXPECT_EQ(body_of(ill), problem + "\n");
}

}  // namespace
}  // namespace inferno::actors::testing

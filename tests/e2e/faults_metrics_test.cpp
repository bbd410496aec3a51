// Prometheus answers late, in part, with nonsense or not at all; pods crash; nodes go.
#include <gmock/gmock.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "net/http/url.hpp"
#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::HasSubstr;

enum class lie { none, late, slow, partial, empty, nan, error, garbage, huge };

/// A Prometheus that passes the real one's answers on, or not quite.
class lying_prometheus {
 public:
  lying_prometheus(asio::any_io_executor executor, std::string truth) : state_(std::make_shared<state>()) {
    state_->truth = std::move(truth);
    state_->client = std::make_shared<net::http_client>(executor, net::http_client_config{});
    auto started = net::http_server::start(executor, {}, [s = state_](net::http_exchange& x) { return answer(s, x); });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }
  std::string url() const { return "http://" + server_->address(); }
  void tell(lie what) { state_->what = what; }

 private:
  struct state {
    std::string truth;
    std::shared_ptr<net::http_client> client;
    std::atomic<lie> what{lie::none};
  };

  static void distort(json::value& answer, lie what) {
    auto& result = answer.as_object()["data"].as_object()["result"].as_array();
    if (what == lie::empty) result.clear();
    // One pod of them is not known: always the same.
    if (what == lie::partial) {
      std::string last;
      for (const auto& r : result)
        if (const auto* pod = r.at("metric").as_object().if_contains("pod")) last = std::max(last, std::string(pod->as_string()));
      auto* end = std::remove_if(result.begin(), result.end(), [&](const json::value& r) {
        const auto* pod = r.at("metric").as_object().if_contains("pod");
        return pod && pod->as_string() == std::string_view(last);
      });
      result.erase(end, result.end());
    }
    if (what == lie::nan)
      for (auto& r : result)
        // Servers may say NaN; when they were scraped is Prometheus' own knowledge.
        if (r.at("metric").as_object().contains("__name__")) r.as_object()["value"].as_array()[1] = "NaN";
  }

  static asio::awaitable<void> answer(std::shared_ptr<state> s, net::http_exchange& x) {
    const auto what = s->what.load();
    int status = 200;
    std::string body, type = "application/json";
    std::vector<net::http_header> none;
    if (what == lie::late || what == lie::slow) {
      asio::steady_timer pause(co_await asio::this_coro::executor, std::chrono::seconds(what == lie::late ? 60 : 25));
      co_await pause.async_wait(asio::use_awaitable);
    }
    if (what == lie::error) {
      status = 500;
      body = "overloaded";
    } else if (what == lie::garbage) {
      body = "<html>{\"status\":";
    } else if (what == lie::huge) {
      body = "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[" + std::string(200u << 20, ' ') + "]}}";
    } else {
      net::http_request request;
      request.method = std::string(x.method());
      request.body = x.body();
      request.content_type = std::string(x.header("Content-Type"));
      request.url = s->truth + std::string(x.path());
      const auto query = x.query("query");
      if (query) request.url += "?query=" + net::percent_encoded(*query);
      const auto got = co_await s->client->request(std::move(request));
      status = got ? got->status : 502;
      body = got ? got->body : "";
      if (got && what != lie::none && what != lie::slow) {
        auto parsed = json::parse(body);
        distort(parsed, what);
        body = json::serialize(parsed);
      }
    }
    co_await x.respond(status, std::move(type), std::move(body), std::move(none));
  }

  std::shared_ptr<state> state_;
  std::unique_ptr<net::http_server> server_;
};

/// Two replicas that have something to do, and a Prometheus that can be told to lie.
struct lied_to : scene {
  explicit lied_to(const std::string& limits = {}) {
    configure("inferno-autoscaler-variantautoscaling-config", {{"PROMETHEUS_BASE_URL", teller.url()},
                                                               {"GLOBAL_OPT_INTERVAL", "2s"},
                                                               {"SCALE_DOWN_STABILIZATION", "2s"},
                                                               {"RATE_WINDOW", "6s"}});
    deployment();
    variant({.extra_spec = limits});
    traffic = load(240, "vllme", {}, "default", evenly);
    start_controller();
    settled = settles(2);
  }
  /// Nothing is believed that is not known: whatever comes, both replicas stay, and the condition says why.
  void stands(lie what, const std::string& condition_begins, const std::string& says) {
    SCOPED_TRACE(condition_begins + " " + says);
    teller.tell(what);
    EXPECT_TRUE(eventually(45s,
                           [&] {
                             const auto c = condition("MetricsAvailable");
                             return c.rfind(condition_begins, 0) == 0 && c.find(says) != std::string::npos;
                           }))
        << condition("MetricsAvailable") << log();
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(cycles_pass()) << log();
    EXPECT_EQ(replicas(), 2);
    EXPECT_EQ(generation(), 2) << log();
    teller.tell(lie::none);
    EXPECT_TRUE(eventually(45s, [&] { return is("MetricsAvailable", "True MetricsFound"); })) << condition("MetricsAvailable");
  }
  lying_prometheus teller{all.where->io().executor(), all.metrics->url};
  std::unique_ptr<testbed::load_generator> traffic;
  bool settled = false;
};

TEST(Faults, PrometheusAnswersInPart) {
  lied_to s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.stands(lie::partial, "False MetricsIncomplete", "1 of 2 pods report");
}

TEST(Faults, PrometheusKnowsNothingAnyMore) {
  lied_to s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.stands(lie::empty, "False Metrics", "");
}

TEST(Faults, PrometheusSaysNaN) {
  lied_to s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.stands(lie::nan, "False Metrics", "nan");
}

TEST(Faults, PrometheusFails) {
  lied_to s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.stands(lie::error, "False MetricsSourceFailed", "500");
  s.stands(lie::garbage, "False MetricsSourceFailed", "");
  s.stands(lie::huge, "False MetricsSourceFailed", "");
}

TEST(Faults, PrometheusIsSlow) {
  lied_to s;
  ASSERT_TRUE(s.settled) << s.condition("OptimizationReady") << s.log();
  s.stands(lie::late, "False MetricsSourceFailed", "");
  // Each answer comes before a client's patience with a request is over, all of them together never.
  const auto failed = s.count_logged("Metrics source fails"), back = s.count_logged("Metrics source answers again");
  s.stands(lie::slow, "False MetricsSourceFailed", "Prometheus is too slow: the queries of a round took longer than 10 s");
  EXPECT_EQ(s.count_logged("Metrics source fails"), failed + 1) << s.log();
  EXPECT_EQ(s.count_logged("Metrics source answers again"), back + 1) << s.log();
}

TEST(Faults, CrashLoopingPods) {
  scene s;
  s.deployment({.replicas = 2});
  // A server that ends with an error as soon as it starts.
  const auto set_alpha = [&](const std::string& value) {
    auto d = s.get("Deployment", "vllme");
    auto& container = d.at("spec").at("template").at("spec").at("containers").at(0).as_object();
    for (auto& e : container.at("env").as_array())
      if (e.at("name") == "ALPHA") e.as_object()["value"] = value;
    s.patch("Deployment", "vllme", {{"spec", {{"template", {{"spec", {{"containers", json::array{container}}}}}}}}});
  };
  ASSERT_TRUE(eventually(20s, [&] { return s.ready() == 2; }));
  s.patch("Deployment", "vllme", {{"spec", {{"strategy", {{"type", "Recreate"}, {"rollingUpdate", nullptr}}}}}});
  set_alpha("broken");
  ASSERT_TRUE(eventually(20s, [&] { return s.ready() == 0; })) << json::serialize(s.get("Deployment", "vllme"));
  s.variant();
  s.start_scraping_controller();
  ASSERT_TRUE(eventually(20s, [&] { return s.is("MetricsAvailable", "False NoReadyPods"); }))
      << s.condition("MetricsAvailable") << s.log();
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.replicas(), 2) << "pods that crash are no reason to scale, either way\n" << s.log();
  EXPECT_TRUE(s.is("OptimizationReady", "False NoReadyPods")) << s.condition("OptimizationReady");
  set_alpha("20.58");
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  EXPECT_TRUE(s.settles(2, "vllme", 60s)) << s.condition("OptimizationReady") << s.log();
}

}  // namespace
}  // namespace inferno::test

// Servers that are busy answer late: what the fleet gets while its metrics take their time. The pods are scraped by the real
// source, over HTTP; time runs twenty times as fast, and so do its timeouts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "actors/scrape_source.hpp"
#include "net/http/server.hpp"
#include "served_fleet.hpp"

namespace inferno::testbed::testing {
namespace {

namespace asio = boost::asio;
using std::chrono::milliseconds;

constexpr double pace = 20;
milliseconds scaled(milliseconds t) { return milliseconds(static_cast<long>(static_cast<double>(t.count()) / pace)); }

/// A fleet whose pods are read through sockets. How long an answer takes is up to the test.
class scraped_fleet {
 public:
  scraped_fleet(fleet_options o, std::function<double(const served_pod&)> seconds_of) : takes_s(std::move(seconds_of)) {
    auto started = net::http_server::start(context.get_executor(), {}, [this](net::http_exchange& x) { return answer(x); }, {});
    server = std::move(started.value());
    act::scrape_options scraping;
    scraping.timeout = scaled(scraping.timeout);
    scraping.slow_timeout = scaled(scraping.slow_timeout);
    scraping.patience = scaled(scraping.patience);
    scraping.longest_backoff = scaled(scraping.longest_backoff);
    scraping.url = [port = server->port()](const act::scrape_target& t) {
      return fmt::format("http://127.0.0.1:{}/{}", port, t.pod.name);
    };
    o.source = std::make_shared<act::scrape_source>(
        std::make_shared<net::http_client>(context.get_executor(), net::http_client_config{}), std::move(scraping));
    fleet = std::make_unique<served_fleet>(std::move(o));
  }
  ~scraped_fleet() {
    gone = true;
    server->stop();
    fleet.reset();
    context.restart();
    context.poll();
  }
  void live(double until_s, const std::function<void(double)>& each = {}) {
    fleet->live(until_s, [&](double t) {
      if (each) each(t);
      next += scaled(milliseconds(100));
      next = std::max(next, std::chrono::steady_clock::now());
      context.restart();
      context.run_until(next);
    });
  }

  asio::io_context context;
  std::function<double(const served_pod&)> takes_s;
  std::unique_ptr<net::http_server> server;
  std::unique_ptr<served_fleet> fleet;

 private:
  /// By a server whose loop gets to the request late, and then says what is the case.
  asio::awaitable<void> answer(net::http_exchange& x) {
    const std::string name(x.path().substr(1));
    const auto find = [&]() -> const served_pod* {
      if (gone) return nullptr;
      for (const auto& p : fleet->pods())
        if (p->name == name) return p.get();
      return nullptr;
    };
    const auto* pod = find();
    if (pod) {
      asio::steady_timer busy(context, scaled(milliseconds(static_cast<long>(1000 * takes_s(*pod)))));
      co_await busy.async_wait(asio::use_awaitable);
      pod = find();
    }
    std::string text = pod ? served_fleet::exposition(*pod) : std::string(), type = "text/plain";
    std::vector<net::http_header> none;
    co_await x.respond(pod ? 200 : 404, std::move(type), std::move(text), std::move(none));
  }
  bool gone = false;
  std::chrono::steady_clock::time_point next{};
};

fleet_options steps(double first, double then, int replicas) {
  static const double one = [] {
    fleet_options o;
    o.rate_per_s = [](double) { return 1.0; };
    return served_fleet(o).replica_rate();
  }();
  fleet_options o;
  o.seed = 31;
  o.replicas = replicas;
  o.rate_per_s = [=](double t) { return one * (t < 120 ? first : then); };
  return o;
}

// The fleet is needed most when each of its servers takes 6 to 15 s to say how much it has to do.
TEST(SlowAnswers, OfOverloadedServersScaleUp) {
  std::mt19937 random(4);
  scraped_fleet s(steps(2.2, 9.5, 3), [&](const served_pod& p) {
    return p.core->waiting() > 0 ? std::uniform_real_distribution<double>(6, 15)(random) : 0.02;
  });
  auto& f = *s.fleet;
  s.live(120);
  ASSERT_EQ(f.replicas(), 3);
  double ordered_s = 0;
  int overloaded = 0;
  s.live(260, [&](double t) {
    if (ordered_s == 0 && f.replicas() >= f.needed(t)) ordered_s = t;
    if (t > 150 && t < 200)
      for (const auto& p : f.pods()) overloaded += p->core->waiting() > 0;
  });
  EXPECT_GT(overloaded, 0) << "answers were quick";
  EXPECT_GT(ordered_s, 0) << f.replicas() << " replicas of " << f.needed(200) << "; " << json::serialize(f.status);
  EXPECT_LT(ordered_s, 120 + 90);
  EXPECT_LE(f.outcome.most, 15) << f.outcome.text();
  fmt::print("slow answers: {} replicas {:.0f} s after the step\n", f.needed(200), ordered_s - 120);
}

// However long answers take, or whether they come at all: while they are late nothing goes that is needed.
TEST(SlowAnswers, TakeNothingAway) {
  std::mt19937 random(5);
  scraped_fleet s(steps(4.6, 4.6, 5), [&, n = 0](const served_pod& p) mutable {
    if (p.name == "vllme-0") return 100.0;  // no answer in time
    return ++n < 50 ? 0.02 : std::uniform_real_distribution<double>(6, 40)(random);
  });
  auto& f = *s.fleet;
  s.live(320);
  EXPECT_EQ(f.replicas(), 5);
  EXPECT_GE(f.outcome.least, 5) << f.outcome.text();
  EXPECT_LE(f.outcome.most, 7) << f.outcome.text();
}

}  // namespace
}  // namespace inferno::testbed::testing

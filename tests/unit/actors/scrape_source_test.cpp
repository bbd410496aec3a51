// A round of scrapes as a whole, of servers that do not answer, answer in part or far too much.
#include "actors/scrape_source.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fstream>

#include "net/http/server.hpp"
#include "tests/support/memory.hpp"
#include "tests/support/net_gzip.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
namespace asio = boost::asio;

TEST(ScrapeSource, ARoundEndsInTimeAndTheNextBeginsWithOthers) {
  asio::io_context context;
  test::event forever(context);
  std::size_t asked = 0;
  auto server = net::http_server::start(context.get_executor(), {}, [&](net::http_exchange& x) -> asio::awaitable<void> {
                  ++asked;
                  co_await forever.wait();
                  std::string body, type;
                  std::vector<net::http_header> none;
                  co_await x.respond(200, std::move(type), std::move(body), std::move(none));
                }).value();
  auto http = std::make_shared<net::http_client>(context.get_executor(), net::http_client_config{});
  scrape_source source(http, {.parallel = 1, .timeout = 10s});
  std::vector<scrape_target> pods;
  for (const auto* name : {"a", "b", "c"}) pods.push_back({{"llm", name}, "m", "127.0.0.1", server->port()});
  const auto targets = std::make_shared<const std::vector<scrape_target>>(std::move(pods));
  for (const std::string first : {"a", "b", "c", "a"}) {
    std::shared_ptr<const collected_metrics> out;
    const auto before = asked;
    source.collect(targets, 100, 200ms, [&](auto m) { out = std::move(m); });
    test::run_until(context, [&] { return out != nullptr; });
    EXPECT_EQ(asked, before + 1);
    ASSERT_EQ(out->pods.size(), 3u);
    EXPECT_EQ(out->pods[0].pod.name, first);
    EXPECT_THAT(out->pods[0].problem, HasSubstr("timed out"));
    for (const int other : {1, 2}) EXPECT_EQ(out->pods[other].problem, "not asked: the others took 0.2 s");
  }
  forever.set();
  server->stop();
  context.restart();
  context.poll();
}

// ---- slow pods -----------------------------------------------------------------------------------------------------------

std::string counted(int requests) {
  return fmt::format(
      "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:request_success_total {0}\n"
      "vllm:request_prompt_tokens_sum {0}00\nvllm:request_prompt_tokens_count {0}\n"
      "vllm:request_generation_tokens_sum {0}00\nvllm:request_generation_tokens_count {0}\n",
      requests);
}

/// Pods that answer at once beside one whose answers a test holds back.
class ScrapeRounds : public ::testing::Test {
 protected:
  ScrapeRounds() {
    for (auto* requests : {&asked_well, &asked_slow}) {
      auto started =
          net::http_server::start(context.get_executor(), {}, [this, requests](net::http_exchange& x) -> asio::awaitable<void> {
            const int n = ++*requests;
            if (requests == &asked_slow) co_await answers.at(static_cast<std::size_t>(n) - 1)->wait();
            std::string body = counted(requests == &asked_slow ? 100 + 10 * n : 100), type = "text/plain";
            std::vector<net::http_header> none;
            co_await x.respond(200, std::move(type), std::move(body), std::move(none));
          });
      servers.push_back(std::move(started.value()));
    }
    for (int i = 0; i < 20; ++i) answers.push_back(std::make_unique<test::event>(context));
    make({});
  }
  ~ScrapeRounds() override {
    for (auto& a : answers) a->set();
    source.reset();
    for (auto& s : servers) s->stop();
    context.restart();
    context.poll();
  }
  void make(scrape_options options) {
    source = std::make_unique<scrape_source>(
        std::make_shared<net::http_client>(context.get_executor(), net::http_client_config{}), std::move(options));
  }
  std::map<std::string, pod_sample> round(int well = 50) {
    std::vector<scrape_target> pods{{{"llm", "slow"}, "m", "127.0.0.1", servers[1]->port()}};
    for (int i = 0; i < well; ++i) pods.push_back({{"llm", fmt::format("well-{}", i)}, "m", "127.0.0.1", servers[0]->port()});
    std::shared_ptr<const collected_metrics> out;
    const auto began = std::chrono::steady_clock::now();
    source->collect(std::make_shared<const std::vector<scrape_target>>(std::move(pods)), now_s += 2, 10s,
                    [&](auto m) { out = std::move(m); });
    test::run_until(context, [&] { return out != nullptr; });
    took = std::chrono::steady_clock::now() - began;
    EXPECT_EQ(out->problem, "");
    std::map<std::string, pod_sample> by_name;
    for (const auto& p : out->pods) EXPECT_TRUE(by_name.emplace(p.pod.name, p).second) << p.pod.name;
    EXPECT_EQ(by_name.size(), static_cast<std::size_t>(well) + 1);
    for (const auto& [name, p] : by_name)
      if (name != "slow") {
        EXPECT_EQ(p.problem, "") << name;
      }
    return by_name;
  }
  asio::io_context context;
  int asked_well = 0, asked_slow = 0;
  std::vector<std::unique_ptr<test::event>> answers;
  std::vector<std::unique_ptr<net::http_server>> servers;
  std::unique_ptr<scrape_source> source;
  double now_s = 100;
  std::chrono::steady_clock::duration took{};
};

TEST_F(ScrapeRounds, APodThatNeverAnswersHoldsUpNobody) {
  make({.timeout = 5s, .patience = 300ms});
  EXPECT_THAT(round()["slow"].problem, HasSubstr("no answer within 0.3 s"));
  EXPECT_LT(took, 3s) << "the first round waits for no longer than its patience";
  for (int i = 0; i < 5; ++i) {
    EXPECT_THAT(round()["slow"].problem, HasSubstr("no answer within 0.3 s"));
    EXPECT_LT(took, 300ms) << "later ones do not wait at all";
  }
  EXPECT_EQ(asked_slow, 1) << "it is not asked again while it is being asked";
}

TEST_F(ScrapeRounds, APodThatTimesOutIsAskedAgainLaterAndLater) {
  make({.timeout = 50ms, .patience = 50ms, .slow_timeout = 50ms, .longest_backoff = 10s});
  const auto until = std::chrono::steady_clock::now() + 2s;
  while (std::chrono::steady_clock::now() < until) EXPECT_NE(round(1)["slow"].problem, "");
  // After 50, 100, 200, 400 ms and so on.
  EXPECT_GE(asked_slow, 3);
  EXPECT_LE(asked_slow, 7);
}

TEST_F(ScrapeRounds, WhatASlowPodAnswersCountsInTheNextRound) {
  make({.timeout = 20s, .patience = 200ms});
  round();
  answers[0]->set();
  test::run_until(context, [&] { return round()["slow"].problem.empty(); });
  // Each answer comes between two rounds from here on, never within a round's patience.
  int fresh = 0;
  for (int n = 1; n < 4; ++n) {
    test::run_until(context, [&] { return asked_slow > n || (round(), false); });
    const auto held = round()["slow"];
    EXPECT_EQ(held.problem, "") << "what is known of it still counts";
    EXPECT_EQ(held.load.span_s, 0) << "and says nothing new";
    EXPECT_EQ(held.load.running, 1);
    const auto slow_since = std::chrono::steady_clock::now();
    test::run_until(context, [&] { return std::chrono::steady_clock::now() - slow_since > 150ms; });
    answers[static_cast<std::size_t>(n)]->set();
    test::run_until(context, [&] {
      const auto s = round()["slow"];
      if (s.load.span_s <= 0) return false;
      EXPECT_EQ(s.load.completions, 10);
      return ++fresh > 0;
    });
  }
  EXPECT_EQ(fresh, 3);
}

TEST_F(ScrapeRounds, APodThatIsQuickAgainTakesPartAgain) {
  make({.timeout = 20s, .patience = 200ms});
  round();
  for (auto& a : answers) a->set();
  test::run_until(context, [&] { return round()["slow"].problem.empty(); });
  // The request it was left with took long, the next one does not.
  test::run_until(context, [&] {
    const int before = asked_slow;
    const auto s = round()["slow"];
    return asked_slow == before + 1 && s.load.completions == 10 && s.load.span_s > 1;
  });
}

// A controller short of CPU, or a network that is slow: when every pod takes long, none of them is left out.
TEST_F(ScrapeRounds, WhereAllAreSlowAllAreRead) {
  make({.parallel = 16, .timeout = 5s, .patience = 20ms, .slow_parallel = 4});
  auto started = net::http_server::start(context.get_executor(), {}, [this](net::http_exchange& x) -> asio::awaitable<void> {
    asio::steady_timer pause(context, 60ms);
    co_await pause.async_wait(asio::use_awaitable);
    std::string body = counted(100), type = "text/plain";
    std::vector<net::http_header> none;
    co_await x.respond(200, std::move(type), std::move(body), std::move(none));
  });
  std::swap(servers[0], *started);
  std::vector<scrape_target> pods;
  for (int i = 0; i < 100; ++i) pods.push_back({{"llm", fmt::format("p-{}", i)}, "m", "127.0.0.1", servers[0]->port()});
  const auto targets = std::make_shared<const std::vector<scrape_target>>(std::move(pods));
  for (int n = 0; n < 6; ++n) {
    std::shared_ptr<const collected_metrics> out;
    source->collect(targets, now_s += 2, 10s, [&](auto m) { out = std::move(m); });
    test::run_until(context, [&] { return out != nullptr; });
    if (n < 3) continue;
    for (const auto& p : out->pods) EXPECT_EQ(p.problem, "") << p.pod.name << " in round " << n;
  }
  (*started)->stop();
}

// Servers that hang take the full time of each request. They neither keep those that are only slow from being asked, nor are
// there ever more requests than the options say.
TEST_F(ScrapeRounds, PodsThatHangLeaveRoomForSlowOnes) {
  int open = 0, most_open = 0;
  std::map<std::string, int> answered;
  auto started = net::http_server::start(context.get_executor(), {}, [&](net::http_exchange& x) -> asio::awaitable<void> {
    const std::string name(x.path().substr(1));
    most_open = std::max(most_open, ++open);
    // The late ones take longer than a request of a round may; those that hang notice the client's end a little late.
    asio::steady_timer pause(context, name[0] == 'h' ? 1050ms : 200ms);
    co_await pause.async_wait(asio::use_awaitable);
    --open;
    std::string body = counted(100 + 10 * ++answered[name]), type = "text/plain";
    std::vector<net::http_header> none;
    co_await x.respond(200, std::move(type), std::move(body), std::move(none));
  });
  std::swap(servers[0], *started);
  scrape_options options{
      .parallel = 4, .timeout = 100ms, .patience = 20ms, .slow_timeout = 1s, .slow_parallel = 4, .longest_backoff = 100ms};
  options.url = [port = servers[0]->port()](const scrape_target& t) {
    return fmt::format("http://127.0.0.1:{}/{}", port, t.pod.name);
  };
  make(options);
  std::vector<scrape_target> pods;
  for (int i = 0; i < 12; ++i) pods.push_back({{"llm", fmt::format("{}-{}", i < 8 ? "hangs" : "late", i)}, "m", "127.0.0.1", 1});
  const auto targets = std::make_shared<const std::vector<scrape_target>>(std::move(pods));
  std::map<std::string, int> fresh;
  const auto rounds_for = [&](std::chrono::milliseconds time) {
    const auto until = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < until) {
      std::shared_ptr<const collected_metrics> out;
      source->collect(targets, now_s += 2, 1s, [&](auto m) { out = std::move(m); });
      test::run_until(context, [&] { return out != nullptr; });
      for (const auto& p : out->pods) {
        EXPECT_TRUE(p.pod.name[0] == 'l' || !p.problem.empty()) << p.pod.name;
        fresh[p.pod.name] += p.problem.empty() && p.load.span_s > 0;
      }
      asio::steady_timer pause(context, 20ms);
      bool over = false;
      pause.async_wait([&](auto) { over = true; });
      test::run_until(context, [&] { return over; });
    }
  };
  rounds_for(2000ms);
  fresh.clear();
  most_open = 0;
  rounds_for(2500ms);
  for (int i = 8; i < 12; ++i) EXPECT_GE(fresh[fmt::format("late-{}", i)], 2) << i;
  EXPECT_LE(most_open, 4 + 2) << "once they are known to be slow";
  source.reset();
  test::run_until(context, [&] { return open == 0; });
  servers[0]->stop();
  (*started)->stop();
}

TEST_F(ScrapeRounds, WhatIsThrownIsTheProblemOfOnePodAndAnswersAreGiven) {
  const auto url = [this](const scrape_target& t) {
    if (t.pod.name == "slow") throw std::bad_alloc();
    return "http://" + servers[0]->address() + "/metrics";
  };
  make({.url = url});
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(round()["slow"].problem, "std::bad_alloc");
    EXPECT_EQ(asked_well, 50 * (i + 1));
  }
}

// ---- bodies --------------------------------------------------------------------------------------------------------------

const std::string page =
    "vllm:num_requests_running 1\nvllm:num_requests_waiting 0\nvllm:request_success_total 5000\n"
    "vllm:request_prompt_tokens_sum 500000\nvllm:request_prompt_tokens_count 5000\n"
    "vllm:request_generation_tokens_sum 500000\nvllm:request_generation_tokens_count 5000\n";

/// What one scrape of a server that sends these bytes, then some of these again and again, and closes, comes to.
pod_sample scraped(const std::string& bytes, bool gzip = false, const std::string& more = {}, int times = 0) {
  asio::io_context context;
  test::raw_server server(context, [&](test::tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    const auto request = co_await test::receive(socket, held);
    for (int i = 0; i <= times; ++i) {
      std::string part = i == 0 ? bytes : more;
      if (!co_await test::send(socket, std::move(part))) co_return;
    }
  });
  net::http_client_config config;
  config.accept_gzip = gzip;
  scrape_source source(std::make_shared<net::http_client>(context.get_executor(), config));
  const auto targets =
      std::make_shared<const std::vector<scrape_target>>(1, scrape_target{{"llm", "a"}, "m", "127.0.0.1", server.port()});
  std::shared_ptr<const collected_metrics> out;
  source.collect(targets, 100, 20s, [&](auto m) { out = std::move(m); });
  test::run_until(context, [&] { return out != nullptr; });
  return out->pods.at(0);
}

TEST(ScrapeSource, ABodyWithoutAProperEndIsRefused) {
  EXPECT_EQ(scraped(test::ok(page)).problem, "");
  const auto cut = page.substr(0, page.find("vllm:request_generation_tokens_sum"));
  const std::string closing = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
  for (const auto& body : {page, cut})
    EXPECT_THAT(scraped(closing + body).problem, HasSubstr("neither a length nor chunks nor # EOF, so it may have been cut"));
  EXPECT_EQ(scraped(closing + page + "# EOF\n").problem, "") << "OpenMetrics has an end of its own";
  const auto whole = test::ok(page);
  EXPECT_NE(scraped(whole.substr(0, whole.size() * 2 / 3)).problem, "") << "less than its length";
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const auto chunk = fmt::format("{:x}\r\n{}\r\n", page.size(), page);
  EXPECT_NE(scraped(chunked + chunk).problem, "") << "chunks without an end";
  EXPECT_EQ(scraped(chunked + chunk + "0\r\n\r\n").problem, "");
  EXPECT_THAT(scraped(test::ok(page + page)).problem, HasSubstr("is there twice with the same labels"));
}

TEST(ScrapeSource, CompressionIsAnEndToo) {
  test::gzip_writer writer;
  const auto body = writer.ended(page);
  const std::string head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(scraped(head + body, true).problem, "");
  EXPECT_NE(scraped(head + body.substr(0, body.size() - 9), true).problem, "");
}

TEST(ScrapeSource, AHugeBodyCostsNoMemory) {
  std::string lines;
  while (lines.size() < (1u << 20)) lines += "vllm:x{label=\"value\"} 1\n";
  const auto before = test::resident_mib("VmHWM:");
  const auto head = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 60 * lines.size());
  EXPECT_THAT(scraped(head, false, lines, 60).problem, HasSubstr("more than 100000 lines"));
  if (test::frees_memory) {
    EXPECT_LT(test::resident_mib("VmHWM:") - before, 20);
  }
}

TEST(ScrapeSource, ManyBombsAtOnceStayWithinTheRoundsMemory) {
  // 60 MiB that compress to 60 KB or so, 128 of them at once.
  std::string lines, body;
  while (lines.size() < (1u << 20)) lines += "vllm:x{label=\"value\"} 1\n";
  test::gzip_writer writer;
  for (int i = 0; i < 60; ++i) body += writer.flushed(lines);
  body += writer.ended();
  const auto answer = test::ok(body, "Content-Encoding: gzip\r\n");
  asio::io_context context;
  test::raw_server server(context, test::always(answer));
  net::http_client_config config;
  config.accept_gzip = true;
  scrape_source source(std::make_shared<net::http_client>(context.get_executor(), config), {.timeout = 60s, .patience = 60s});
  std::vector<scrape_target> pods;
  for (int i = 0; i < 128; ++i) pods.push_back({{"llm", std::to_string(i)}, "m", "127.0.0.1", server.port()});
  std::shared_ptr<const collected_metrics> out;
  const auto before = test::resident_mib("VmHWM:");
  source.collect(std::make_shared<const std::vector<scrape_target>>(std::move(pods)), 100, 60s,
                 [&](auto m) { out = std::move(m); });
  test::run_until(context, [&] { return out != nullptr; });
  for (const auto& p : out->pods) EXPECT_THAT(p.problem, ::testing::AnyOf(HasSubstr("larger than"), HasSubstr("more than")));
  if (test::frees_memory) {
    EXPECT_LT(test::resident_mib("VmHWM:") - before, 150) << "MiB, the server's own 128 copies of the compressed text included";
  }
}

}  // namespace
}  // namespace inferno::actors::testing

#include <fmt/format.h>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_client.hpp"

namespace inferno::net {
namespace {

using test::body_of;
using test::raw_client;

// Not coroutines: what the response is made of is out of the way before anything is awaited.
asio::awaitable<bool> begin(http_exchange& x) { return x.begin_stream(200, "text/plain", {}); }
asio::awaitable<bool> put(http_exchange& x, std::string text) { return x.write(std::move(text)); }

class http_server_stream_test : public ::testing::Test {
 protected:
  void start(http_handler handler) {
    auto started = http_server::start(context.get_executor(), {}, std::move(handler),
                                      [this](std::string_view problem) { problems.emplace_back(problem); });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
  }
  raw_client connect() { return raw_client(context, server->port()); }
  raw_client ask(std::string_view path = "/", std::string_view version = "1.1") {
    auto client = connect();
    client.say(fmt::format("GET {} HTTP/{}\r\n\r\n", path, version));
    return client;
  }

  asio::io_context context;
  std::vector<std::string> problems;
  std::unique_ptr<http_server> server;
};

TEST_F(http_server_stream_test, chunks_arrive_as_they_are_written_and_the_connection_stays) {
  test::event more(context), enough(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    EXPECT_TRUE(co_await begin(x));
    EXPECT_TRUE(co_await put(x, "one"));
    co_await more.wait();
    EXPECT_TRUE(co_await put(x, ""));  // an empty chunk would be the end
    EXPECT_TRUE(co_await put(x, std::string(20, 'x')));
    co_await enough.wait();
    co_await x.end_stream();
  });
  auto client = ask();
  EXPECT_EQ(client.until("\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(client.until("one\r\n"), "3\r\none\r\n");
  more.set();
  EXPECT_EQ(client.until("x\r\n"), "14\r\nxxxxxxxxxxxxxxxxxxxx\r\n");
  enough.set();
  EXPECT_EQ(client.until("0\r\n\r\n"), "0\r\n\r\n");
  client.say("GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(body_of(client.rest()), "3\r\none\r\n14\r\nxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n");
}

TEST_F(http_server_stream_test, a_handler_that_forgets_the_end_ends_the_stream) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, "a");
  });
  auto client = ask();
  EXPECT_EQ(body_of(client.until("0\r\n\r\n")), "1\r\na\r\n0\r\n\r\n");
  EXPECT_TRUE(problems.empty());
}

TEST_F(http_server_stream_test, an_http_1_0_client_gets_the_body_up_to_the_close) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, "one");
    co_await put(x, "two");
  });
  // The close is the body's end, whatever the client asked for.
  for (const char* wish : {"", "Connection: keep-alive\r\n"}) {
    auto client = connect();
    client.say(fmt::format("GET / HTTP/1.0\r\n{}\r\n", wish));
    const auto all = client.rest();
    EXPECT_EQ(all.find("Transfer-Encoding"), std::string::npos);
    EXPECT_NE(all.find("\r\nConnection: close\r\n"), std::string::npos);
    EXPECT_EQ(body_of(all), "onetwo");
  }
}

TEST_F(http_server_stream_test, a_pipelined_request_waits_for_the_end_of_the_stream) {
  test::event go_on(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, std::string(x.path()));
    if (x.path() == "/first") co_await go_on.wait();
  });
  auto client = ask("/first");
  client.until("/first\r\n");
  client.say("GET /second HTTP/1.1\r\nConnection: close\r\n\r\n");
  test::run(context, test::yield_turns(20));
  go_on.set();
  const auto all = client.rest();
  EXPECT_EQ(all.substr(0, 5), "0\r\n\r\n") << all;
  EXPECT_EQ(body_of(all.substr(5)), "7\r\n/second\r\n0\r\n\r\n");
}

class client_gone_test : public http_server_stream_test, public ::testing::WithParamInterface<bool> {};

TEST_P(client_gone_test, is_seen_by_write) {
  int written = 0;
  bool ended = false;
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    while (co_await put(x, "tick\n")) {
      ++written;
      co_await test::yield_turns();
    }
    ended = true;
  });
  auto client = ask();
  client.until("tick\n");
  EXPECT_FALSE(ended);
  GetParam() ? client.close_hard() : client.close();
  const int before = written;
  test::run_until(context, [&] { return ended; });
  EXPECT_LT(written, before + 20);
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_P(client_gone_test, is_seen_by_the_first_write_after_a_silence) {
  test::event gone(context);
  std::optional<bool> wrote;
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await gone.wait();
    wrote = co_await put(x, "anybody there?");
  });
  auto client = ask();
  client.until("\r\n\r\n");
  GetParam() ? client.close_hard() : client.close();
  test::run(context, test::yield_turns(20));
  gone.set();
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
}

TEST_P(client_gone_test, ends_a_write_that_waits_for_room) {
  std::optional<bool> wrote;
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    wrote = co_await put(x, std::string(32u << 20, 'x'));
  });
  auto client = ask();
  client.until("\r\n\r\n");
  test::run(context, test::yield_turns(50));
  EXPECT_FALSE(wrote) << "the kernel took it all: the test needs a larger text";
  GetParam() ? client.close_hard() : client.close();
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
}

INSTANTIATE_TEST_SUITE_P(closing, client_gone_test, ::testing::Values(false, true),
                         [](const auto& tested) { return tested.param ? "by_reset" : "in_order"; });

TEST_F(http_server_stream_test, abort_resets_in_the_middle_of_a_body) {
  std::optional<bool> wrote;
  start([&](http_exchange& x) -> asio::awaitable<void> {
    if (x.path() == "/at-once") {
      x.abort();
      co_return;
    }
    co_await begin(x);
    co_await put(x, "half");
    co_await test::yield_turns();
    x.abort();
    wrote = co_await put(x, "more");
  });
  bool reset = false;
  auto client = ask();
  EXPECT_EQ(body_of(client.rest(&reset)), "4\r\nhalf\r\n");
  EXPECT_TRUE(reset);
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
  reset = false;
  EXPECT_EQ(ask("/at-once").rest(&reset), "");
  EXPECT_TRUE(reset);
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(http_server_stream_test, a_handler_that_fails_in_the_middle_does_not_look_like_a_whole_answer) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, "half");
    co_await test::yield_turns();
    throw std::runtime_error("lost the rest");
  });
  bool reset = false;
  EXPECT_EQ(body_of(ask("/s").rest(&reset)), "4\r\nhalf\r\n");
  EXPECT_TRUE(reset);
  EXPECT_EQ(problems, std::vector<std::string>{"GET /s: lost the rest"});
}

TEST_F(http_server_stream_test, stop_closes_everything_and_frees_the_port) {
  std::optional<bool> wrote;
  test::event never(context), stopped(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await stopped.wait();
    wrote = co_await put(x, "late");
  });
  auto streaming = ask();
  streaming.until("\r\n\r\n");
  auto idle = connect();
  test::run(context, test::yield_turns(20));
  const auto port = server->port();
  server->stop();
  server->stop();
  EXPECT_EQ(idle.rest(), "");
  EXPECT_EQ(streaming.rest(), "");
  EXPECT_FALSE(connect().connected());
  stopped.set();
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
  EXPECT_TRUE(problems.empty()) << problems.front();
  http_server_config config;
  config.port = port;
  const auto again =
      http_server::start(context.get_executor(), config, [](http_exchange& x) { return x.respond(200, "text/plain", "", {}); });
  EXPECT_TRUE(again) << again.error().message;
}

TEST_F(http_server_stream_test, drop_connections_resets_them_all_and_goes_on_listening) {
  std::optional<bool> wrote;
  test::event dropped(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    if (x.path() == "/after") co_return;
    co_await dropped.wait();
    wrote = co_await put(x, "late");
  });
  auto streaming = ask();
  streaming.until("\r\n\r\n");
  auto idle = connect();
  test::run(context, test::yield_turns(20));
  server->drop_connections();
  for (auto* client : {&streaming, &idle}) {
    bool reset = false;
    EXPECT_EQ(client->rest(&reset), "");
    EXPECT_TRUE(reset);
  }
  dropped.set();
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
  EXPECT_EQ(body_of(ask("/after", "1.0").rest()), "");
  EXPECT_EQ(body_of(ask("/after").until("0\r\n\r\n")), "0\r\n\r\n");
}

TEST_F(http_server_stream_test, many_clients_stream_at_once) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    for (int i = 0; i < 20; ++i) {
      co_await put(x, fmt::format("{};", i));
      co_await test::yield_turns(1);
    }
  });
  std::vector<raw_client> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(ask("/", "1.0"));
  std::string expected;
  for (int i = 0; i < 20; ++i) expected += fmt::format("{};", i);
  for (auto& client : clients) EXPECT_EQ(body_of(client.rest()), expected);
}

}  // namespace
}  // namespace inferno::net

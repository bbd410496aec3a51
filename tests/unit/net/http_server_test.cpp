#include <fmt/format.h>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_client.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::first_line;
using test::raw_client;

// Not coroutines: what the response is made of is out of the way before anything is awaited.
asio::awaitable<void> answer(http_exchange& x, int status, std::string text) {
  return x.respond(status, "text/plain", std::move(text), {});
}
asio::awaitable<bool> begin(http_exchange& x) { return x.begin_stream(200, "text/plain", {}); }
asio::awaitable<bool> put(http_exchange& x, std::string text) { return x.write(std::move(text)); }

asio::awaitable<void> echo(http_exchange& x) { return answer(x, 200, fmt::format("{} {} [{}]", x.method(), x.path(), x.body())); }

class http_server_test : public ::testing::Test {
 protected:
  void start(http_handler handler, http_server_config config = {}) {
    auto started = http_server::start(context.get_executor(), std::move(config), std::move(handler),
                                      [this](std::string_view problem) { problems.emplace_back(problem); });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
  }
  raw_client connect() { return raw_client(context, server->port()); }
  void turns(int n = 20) { test::run(context, test::yield_turns(n)); }

  asio::io_context context;
  std::vector<std::string> problems;
  std::unique_ptr<http_server> server;
};

TEST_F(http_server_test, answers_with_status_type_length_and_headers) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    std::string type = "application/json", text = "{}";
    std::vector<http_header> headers{{"X-One", "1"}, {"X-Two", "2\r\nX-Evil: 3"}};
    co_await x.respond(409, std::move(type), std::move(text), std::move(headers));
  });
  auto client = connect();
  client.say("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(client.answer(),
            "HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nX-One: 1\r\nX-Two: 2\r\nContent-Length: 2\r\n"
            "Connection: keep-alive\r\n\r\n{}");
}

TEST_F(http_server_test, keeps_a_connection_as_long_as_the_client_wants) {
  start(echo);
  auto client = connect();
  for (int i = 0; i < 5; ++i) {
    client.say(fmt::format("GET /{} HTTP/1.1\r\n\r\n", i));
    EXPECT_EQ(body_of(client.answer()), fmt::format("GET /{} []", i));
  }
  client.say("GET /last HTTP/1.1\r\nConnection: close\r\n\r\n");
  const auto last = client.answer();
  EXPECT_NE(last.find("\r\nConnection: close\r\n"), std::string::npos) << last;
  bool reset = true;
  EXPECT_EQ(client.rest(&reset), "");
  EXPECT_FALSE(reset);

  auto old = connect();
  old.say("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_EQ(body_of(old.answer()), "GET /a []");
  old.say("GET /b HTTP/1.0\r\n\r\n");
  EXPECT_EQ(body_of(old.rest()), "GET /b []");
}

TEST_F(http_server_test, answers_pipelined_requests_in_their_order) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    if (x.path() == "/slow") co_await test::yield_turns(50);
    co_await echo(x);
  });
  auto client = connect();
  client.say(
      "POST /slow HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /two HTTP/1.1\r\n\r\n"
      "PUT /three HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\nDELETE /four HTTP/1.1\r\n\r\n");
  for (const char* expected : {"POST /slow [abc]", "GET /two []", "PUT /three [de]", "DELETE /four []"})
    EXPECT_EQ(body_of(client.answer()), expected);
}

TEST_F(http_server_test, takes_requests_however_they_are_cut) {
  start(echo);
  const std::string plain = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
  const std::string chunked =
      "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2;ext=\"1\"\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: "
      "1\r\n\r\n";
  auto client = connect();
  for (const auto& request : {plain, chunked}) {
    for (std::size_t cut = 1; cut < request.size(); ++cut) {
      client.say(request.substr(0, cut));
      turns(3);
      client.say(request.substr(cut));
      ASSERT_EQ(body_of(client.answer()), "POST /a [hello]") << cut;
    }
    for (const char c : request) client.say(std::string(1, c));
    ASSERT_EQ(body_of(client.answer()), "POST /a [hello]");
  }
}

TEST_F(http_server_test, a_body_beyond_the_limit_is_413_and_never_reaches_the_handler) {
  int handled = 0;
  http_server_config config;
  config.max_body = 10;
  start(
      [&](http_exchange& x) {
        ++handled;
        return echo(x);
      },
      config);
  for (const char* fits :
       {"Content-Length: 10\r\n\r\n0123456789", "Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"}) {
    auto client = connect();
    client.say(std::string("POST / HTTP/1.1\r\n") + fits);
    EXPECT_EQ(body_of(client.answer()), "POST / [0123456789]");
  }
  EXPECT_EQ(std::exchange(handled, 0), 2);
  const std::string large(1u << 20, 'x');
  for (const auto& body : {std::string("Content-Length: 11\r\n\r\n01234567890"), "Content-Length: 1048576\r\n\r\n" + large,
                           std::string("Transfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"),
                           "Transfer-Encoding: chunked\r\n\r\n100000\r\n" + large + "\r\n0\r\n\r\n"}) {
    auto client = connect();
    client.say("POST / HTTP/1.1\r\n" + body);
    client.shutdown_send();
    bool reset = true;
    const auto all = client.rest(&reset);
    EXPECT_EQ(first_line(all), "HTTP/1.1 413 Payload Too Large") << body.substr(0, 60);
    EXPECT_NE(all.find("\r\nConnection: close\r\n"), std::string::npos);
    EXPECT_EQ(body_of(all), "the request's body is larger than 10 bytes\n");
    EXPECT_FALSE(reset) << "the client must be able to read the answer";
  }
  EXPECT_EQ(handled, 0);
}

TEST_F(http_server_test, a_header_beyond_the_limit_is_431) {
  http_server_config config;
  config.max_header = 1000;
  start(echo, config);
  for (const auto& request : {"GET / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n",
                              "GET /" + std::string(100000, 'y') + " HTTP/1.1\r\n\r\n"}) {
    auto client = connect();
    client.say(request);
    client.shutdown_send();
    EXPECT_EQ(first_line(client.rest()), "HTTP/1.1 431 Request Header Fields Too Large");
  }
  auto client = connect();
  client.say("GET /" + std::string(800, 'z') + " HTTP/1.1\r\n\r\n");
  EXPECT_EQ(first_line(client.answer()), "HTTP/1.1 200 OK");
}

TEST_F(http_server_test, what_is_not_http_is_400) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    ADD_FAILURE() << "handled: " << x.path();
    co_await echo(x);
  });
  for (const char* nonsense :
       {"\x16\x03\x01\x02\x01\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/9.x\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: five\r\n\r\n", "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"}) {
    auto client = connect();
    client.say(nonsense);
    client.shutdown_send();
    const auto all = client.rest();
    EXPECT_EQ(first_line(all), "HTTP/1.1 400 Bad Request") << nonsense;
    EXPECT_EQ(body_of(all).substr(0, 21), "not an HTTP request: ");
  }
}

TEST_F(http_server_test, a_client_that_leaves_in_the_middle_of_a_request_is_no_problem) {
  int handled = 0;
  start([&](http_exchange& x) {
    ++handled;
    return echo(x);
  });
  for (const char* part : {"", "GET", "GET / HTTP/1.1\r\nHost", "POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf"})
    for (const bool hard : {false, true}) {
      auto client = connect();
      client.say(part);
      turns();
      hard ? client.close_hard() : client.close();
      turns();
    }
  EXPECT_EQ(handled, 0);
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(http_server_test, closes_connections_that_say_nothing) {
  http_server_config config;
  config.idle_timeout = 0s;
  start(echo, config);
  auto client = connect();
  EXPECT_EQ(client.rest(), "");
}

TEST_F(http_server_test, tells_a_client_that_asks_to_go_on) {
  start(echo);
  auto client = connect();
  client.say("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.answer(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.say("body");
  EXPECT_EQ(body_of(client.answer()), "POST / [body]");
}

TEST_F(http_server_test, head_has_the_length_but_not_the_body) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    if (x.path() == "/stream") {
      co_await begin(x);
      co_await put(x, "text");
      co_await x.end_stream();
    } else {
      co_await answer(x, 200, "0123456789");
    }
  });
  auto client = connect();
  for (int i = 0; i < 2; ++i) {
    client.say("HEAD / HTTP/1.1\r\n\r\n");
    const auto head = client.until("\r\n\r\n");
    EXPECT_EQ(first_line(head), "HTTP/1.1 200 OK") << "a body before the next head";
    EXPECT_NE(head.find("\r\nContent-Length: 10\r\n"), std::string::npos);
  }
  client.say("HEAD /stream HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n");
  const auto stream_head = client.until("\r\n\r\n");
  EXPECT_EQ(first_line(stream_head), "HTTP/1.1 200 OK");
  EXPECT_NE(stream_head.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_EQ(body_of(client.rest()), "0123456789");
}

TEST_F(http_server_test, statuses_without_a_body_have_none) {
  start([](http_exchange& x) { return answer(x, x.path() == "/304" ? 304 : 204, "never sent"); });
  auto client = connect();
  for (const char* path : {"/204", "/304"}) {
    client.say(fmt::format("GET {} HTTP/1.1\r\n\r\n", path));
    EXPECT_EQ(client.until("\r\n\r\n").find("Content-Length"), std::string::npos);
  }
  client.say("GET /204 HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(body_of(client.rest()), "");
}

TEST_F(http_server_test, decodes_path_and_query) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    std::string out(x.path());
    for (const char* name : {"a", "b c", "none", "flag"}) {
      const auto value = x.query(name);
      out += value ? fmt::format(" {}=<{}>", name, *value) : fmt::format(" {}?", name);
    }
    co_await answer(x, 200, std::move(out));
  });
  auto client = connect();
  const auto asked = [&](const char* target) {
    client.say(fmt::format("GET {} HTTP/1.1\r\n\r\n", target));
    return body_of(client.answer());
  };
  EXPECT_EQ(asked("/p"), "/p a? b c? none? flag?");
  EXPECT_EQ(asked("/p%20q+r?a=1%262+3&b%20c=%C3%A4&flag"), "/p q+r a=<1&2 3> b c=<\xC3\xA4> none? flag=<>");
  EXPECT_EQ(asked("/?a=first&a=second&b+c=x=y"), "/ a=<first> b c=<x=y> none? flag?");
  EXPECT_EQ(asked("/%2e%zz?a=%4&flag=%"), "/.%zz a=<%4> b c? none? flag=<%>");
  EXPECT_EQ(asked("/?&&a=&=x"), "/ a=<> b c? none? flag?");
  EXPECT_EQ(asked("http://host:1/abs?a=1"), "/abs a=<1> b c? none? flag?");
}

TEST_F(http_server_test, gives_headers_whatever_their_case) {
  start([](http_exchange& x) { return answer(x, 200, fmt::format("<{}><{}>", x.header("x-TEST"), x.header("absent"))); });
  auto client = connect();
  client.say("GET / HTTP/1.1\r\nX-Test:   spaced \r\n\r\n");
  EXPECT_EQ(body_of(client.answer()), "<spaced><>");
}

TEST_F(http_server_test, a_handler_that_fails_is_answered_500_and_reported) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    if (x.path() == "/throws") throw std::runtime_error("broken inside");
    if (x.path() == "/odd") throw 7;
    if (x.path() == "/twice") {
      co_await answer(x, 200, "once");
      co_await answer(x, 200, "twice");
    }
  });
  auto client = connect();
  for (const char* path : {"/throws", "/odd", "/silent"}) {
    client.say(fmt::format("GET {} HTTP/1.1\r\n\r\n", path));
    const auto text = client.answer();
    EXPECT_EQ(first_line(text), "HTTP/1.1 500 Internal Server Error");
    EXPECT_EQ(text.find("broken inside"), std::string::npos);
  }
  client.say("GET /twice HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(body_of(client.rest()), "once");
  EXPECT_EQ(problems, (std::vector<std::string>{"GET /throws: broken inside", "GET /odd: an exception that is no std::exception",
                                                "GET /silent: the handler gave no answer",
                                                "GET /twice: a response has been begun already"}));
}

TEST_F(http_server_test, a_report_that_throws_ends_nothing) {
  auto started = http_server::start(
      context.get_executor(), {},
      [](http_exchange& x) -> asio::awaitable<void> {
        if (x.path() == "/throws") throw std::runtime_error("broken inside");
        co_await answer(x, 200, "well");
      },
      [this](std::string_view problem) {
        problems.emplace_back(problem);
        throw std::bad_alloc();
      });
  ASSERT_TRUE(started);
  server = std::move(*started);
  auto one = connect();
  one.say("GET /throws HTTP/1.1\r\n\r\n");
  one.answer();
  EXPECT_EQ(problems.size(), 1u);
  auto other = connect();
  other.say("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(other.answer()), "well");
}

TEST_F(http_server_test, turns_away_beyond_max_connections) {
  http_server_config config;
  config.max_connections = 2;
  test::event go(context);
  start(
      [&](http_exchange& x) -> asio::awaitable<void> {
        if (x.path() == "/held") co_await go.wait();
        co_await echo(x);
      },
      config);
  // Both are being served; idle ones would make room.
  auto first = connect(), second = connect();
  for (auto* client : {&first, &second}) client->say("GET /held HTTP/1.1\r\n\r\n");
  turns();
  auto third = connect();
  const auto refused = third.answer();
  EXPECT_EQ(first_line(refused), "HTTP/1.1 503 Service Unavailable");
  EXPECT_NE(refused.find("\r\nConnection: close\r\n"), std::string::npos);
  EXPECT_EQ(third.rest(), "");
  third.close();
  go.set();
  for (auto* client : {&first, &second}) EXPECT_EQ(first_line(client->answer()), "HTTP/1.1 200 OK");
  second.close();
  turns();
  auto fourth = connect();
  fourth.say("GET /4 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(fourth.answer()), "GET /4 []");
}

TEST_F(http_server_test, says_which_address_it_cannot_have) {
  start(echo);
  http_server_config config;
  config.port = server->port();
  const auto taken = http_server::start(context.get_executor(), config, echo);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().kind, error_kind::address);
  EXPECT_NE(taken.error().message.find(server->address()), std::string::npos) << taken.error().message;
  config.address = "not-an-ip";
  const auto bad = http_server::start(context.get_executor(), config, echo);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("not-an-ip"), std::string::npos) << bad.error().message;
}

}  // namespace
}  // namespace inferno::net

#include <fmt/format.h>
#include <sys/socket.h>

#include "net/http/client.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::ok;
using test::raw_server;
using test::receive;
using test::send;
using test::tcp;

class http_client_test : public ::testing::Test {
 protected:
  result<http_response> exchange(http_client& client, http_request req) {
    return test::run(context, client.request(std::move(req)));
  }
  result<http_response> get(http_client& client, std::string url) {
    http_request req;
    req.url = std::move(url);
    return exchange(client, std::move(req));
  }
  static http_client_config quick() {
    http_client_config c;
    c.connect_timeout = 5s;
    c.request_timeout = 5s;
    return c;
  }

  asio::io_context context;
};

TEST_F(http_client_test, sends_what_was_asked_and_gives_back_what_came) {
  std::string seen;
  raw_server server(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    seen = co_await receive(socket, held);
    co_await send(socket, "HTTP/1.1 404 Not Found\r\nX-One: 1\r\nContent-Length: 4\r\n\r\nnope");
  });
  http_client client(context.get_executor(), quick());
  http_request req;
  req.method = "PATCH";
  req.url = server.url("/a%20b/c?x=1&y=%2F");
  req.headers = {{"Authorization", "Bearer t"}, {"X-Twice", "1"}, {"X-Twice", "2"}};
  req.body = "{}";
  req.content_type = "application/merge-patch+json";
  const auto answer = exchange(client, req);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->body, "nope");
  EXPECT_EQ(answer->header("x-oNE"), "1");
  EXPECT_EQ(answer->header("absent"), "");
  EXPECT_EQ(seen.substr(0, seen.find('\r')), "PATCH /a%20b/c?x=1&y=%2F HTTP/1.1");
  EXPECT_NE(seen.find("\r\nHost: " + server.address() + "\r\n"), std::string::npos) << seen;
  EXPECT_NE(seen.find("\r\nAuthorization: Bearer t\r\n"), std::string::npos);
  EXPECT_NE(seen.find("\r\nX-Twice: 1\r\n"), std::string::npos);
  EXPECT_NE(seen.find("\r\nX-Twice: 2\r\n"), std::string::npos);
  EXPECT_NE(seen.find("\r\nContent-Type: application/merge-patch+json\r\n"), std::string::npos);
  EXPECT_NE(seen.find("\r\nContent-Length: 2\r\n"), std::string::npos);
  EXPECT_EQ(seen.substr(seen.size() - 6), "\r\n\r\n{}");
}

TEST_F(http_client_test, refuses_headers_that_would_become_others_and_does_not_repeat_them) {
  raw_server server(context, test::always(ok("x")));
  http_client client(context.get_executor(), quick());
  http_request req;
  req.url = server.url();
  req.headers = {{"Authorization", "Bearer secret\r\nX-Evil: 1"}};
  const auto answer = exchange(client, req);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::protocol);
  EXPECT_NE(answer.error().message.find("Authorization"), std::string::npos);
  EXPECT_EQ(answer.error().message.find("secret"), std::string::npos);
  EXPECT_EQ(server.connections(), 0);
}

TEST_F(http_client_test, reuses_a_connection) {
  raw_server server(context, test::always(ok("again")));
  http_client client(context.get_executor(), quick());
  for (int i = 0; i < 20; ++i) ASSERT_EQ(get(client, server.url()).value().body, "again");
  EXPECT_EQ(server.connections(), 1);
  client.close_idle();
  ASSERT_TRUE(get(client, server.url()));
  EXPECT_EQ(server.connections(), 2);
}

TEST_F(http_client_test, does_not_reuse_a_connection_the_server_will_close) {
  raw_server server(context, test::always(ok("x", "Connection: close\r\n")));
  http_client client(context.get_executor(), quick());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(get(client, server.url()));
  EXPECT_EQ(server.connections(), 3);
}

TEST_F(http_client_test, does_not_reuse_a_connection_idle_for_too_long) {
  raw_server server(context, test::always(ok("x")));
  auto config = quick();
  config.idle_timeout = 0s;
  http_client client(context.get_executor(), config);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(get(client, server.url()));
  EXPECT_EQ(server.connections(), 3);
}

TEST_F(http_client_test, keeps_no_more_idle_connections_than_allowed) {
  int open = 0;
  raw_server server(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    ++open;
    const auto serve = test::always(ok("x"));
    co_await serve(socket, 0);
    --open;
  });
  auto config = quick();
  config.max_idle_per_origin = 2;
  http_client client(context.get_executor(), config);
  int done = 0;
  for (int i = 0; i < 10; ++i) {
    http_request req;
    req.url = server.url();
    asio::co_spawn(context, client.request(req), [&](std::exception_ptr, result<http_response> r) { done += r.has_value(); });
  }
  test::run_until(context, [&] { return done == 10 && open == 2; });
  EXPECT_EQ(server.connections(), 10);
}

TEST_F(http_client_test, does_not_reuse_a_connection_on_which_something_unasked_came) {
  raw_server server(context, [](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    for (;;) {
      const auto request = co_await receive(socket, held);
      if (request.empty()) co_return;
      auto bytes = ok("x") + ok("unasked");
      co_await send(socket, std::move(bytes));
    }
  });
  http_client client(context.get_executor(), quick());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(get(client, server.url()).value().body, "x");
  EXPECT_EQ(server.connections(), 3);
}

// Answers one request on a connection, and hangs up on the next without a word: what a server does whose keep-alive time ends
// just as the request arrives.
struct hangs_up {
  int answered_connections;  ///< those that answer at all
  bool hard;
  asio::awaitable<void> operator()(tcp::socket& socket, int number) const {
    std::string held;
    const auto first = co_await receive(socket, held);
    if (first.empty() || number >= answered_connections) co_return;
    auto bytes = ok("x");
    co_await send(socket, std::move(bytes));
    const auto second = co_await receive(socket, held);
    if (hard) test::close_hard(socket);
  }
};

class stale_connection_test : public http_client_test, public ::testing::WithParamInterface<bool> {};

TEST_P(stale_connection_test, is_retried_once_for_idempotent_methods) {
  for (const char* method : {"GET", "PUT", "DELETE"}) {
    raw_server server(context, hangs_up{100, GetParam()});
    http_client client(context.get_executor(), quick());
    ASSERT_TRUE(get(client, server.url()));
    http_request req;
    req.method = method;
    req.url = server.url();
    const auto second = exchange(client, req);
    ASSERT_TRUE(second) << method << second.error().message;
    EXPECT_EQ(server.connections(), 2);
  }
}

TEST_P(stale_connection_test, is_not_retried_for_others) {
  for (const char* method : {"POST", "PATCH"}) {
    raw_server server(context, hangs_up{100, GetParam()});
    http_client client(context.get_executor(), quick());
    ASSERT_TRUE(get(client, server.url()));
    http_request req;
    req.method = method;
    req.url = server.url();
    const auto second = exchange(client, req);
    ASSERT_FALSE(second) << method;
    EXPECT_EQ(second.error().kind, error_kind::closed);
    EXPECT_EQ(server.connections(), 1);
  }
}

TEST_P(stale_connection_test, is_retried_for_a_post_that_may_be_repeated) {
  raw_server server(context, hangs_up{100, GetParam()});
  http_client client(context.get_executor(), quick());
  http_request req;
  req.method = "POST";
  req.url = server.url();
  req.repeatable = true;
  ASSERT_TRUE(exchange(client, req));
  ASSERT_TRUE(exchange(client, req));
  EXPECT_EQ(server.connections(), 2);
}

TEST_P(stale_connection_test, is_not_retried_twice) {
  raw_server server(context, hangs_up{1, GetParam()});
  http_client client(context.get_executor(), quick());
  ASSERT_TRUE(get(client, server.url()));
  const auto second = get(client, server.url());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, error_kind::closed);
  EXPECT_EQ(server.connections(), 2);
}

INSTANTIATE_TEST_SUITE_P(closing, stale_connection_test, ::testing::Values(false, true),
                         [](const auto& tested) { return tested.param ? "by_reset" : "in_order"; });

TEST_F(http_client_test, a_retry_does_not_trust_the_other_idle_connections) {
  // Several connections are idle when the server goes away; it comes back, and the first request must succeed.
  int round = 0;
  test::event both(context);
  raw_server server(context, [&](tcp::socket& socket, int number) -> asio::awaitable<void> {
    std::string held;
    co_await receive(socket, held);
    if (number < 4 && ++round == 4) both.set();
    if (number < 4) co_await both.wait();
    auto bytes = ok("x");
    co_await send(socket, std::move(bytes));
    co_await receive(socket, held);
  });
  http_client client(context.get_executor(), quick());
  int done = 0;
  for (int i = 0; i < 4; ++i) {
    http_request req;
    req.url = server.url();
    asio::co_spawn(context, client.request(req), [&](std::exception_ptr, result<http_response> r) { done += r.has_value(); });
  }
  test::run_until(context, [&] { return done == 4; });
  const auto after = get(client, server.url());
  EXPECT_TRUE(after) << after.error().message;
  EXPECT_EQ(server.connections(), 5);
}

TEST_F(http_client_test, a_new_connection_that_closes_without_an_answer_is_an_error) {
  raw_server server(context, hangs_up{0, false});
  http_client client(context.get_executor(), quick());
  const auto answer = get(client, server.url("/what?token=hidden"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::closed);
  EXPECT_EQ(server.connections(), 1);
  EXPECT_NE(answer.error().message.find("GET /what at " + server.address()), std::string::npos) << answer.error().message;
  EXPECT_EQ(answer.error().message.find("hidden"), std::string::npos);
}

TEST_F(http_client_test, a_body_cut_short_is_an_error) {
  const auto whole = ok("0123456789");
  for (const bool hard : {false, true})
    for (const std::size_t cut : {std::size_t{1}, std::size_t{10}, whole.size() - 10, whole.size() - 1}) {
      raw_server server(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
        std::string held;
        co_await receive(socket, held);
        auto bytes = whole.substr(0, cut);
        co_await send(socket, std::move(bytes));
        co_await test::yield_turns();
        if (hard) test::close_hard(socket);
      });
      http_client client(context.get_executor(), quick());
      const auto answer = get(client, server.url());
      ASSERT_FALSE(answer) << cut;
      EXPECT_EQ(answer.error().kind, error_kind::closed) << cut << " " << answer.error().message;
    }
}

TEST_F(http_client_test, bounds_the_body) {
  auto config = quick();
  config.max_body = 1000;
  http_client client(context.get_executor(), config);
  const std::string fits(1000, 'x');
  const std::string large(1001, 'x');
  const auto chunked = [](const std::string& body) {
    return fmt::format("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", body.size(), body);
  };
  const auto until_close = [](const std::string& body) { return "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body; };
  const auto answer_of = [&](std::string bytes) {
    raw_server server(context, [bytes](tcp::socket& socket, int) -> asio::awaitable<void> {
      std::string held;
      co_await receive(socket, held);
      auto copy = bytes;
      co_await send(socket, std::move(copy));
    });
    return get(client, server.url());
  };
  for (const auto& bytes : {ok(fits), chunked(fits), until_close(fits)}) {
    const auto answer = answer_of(bytes);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, fits);
  }
  for (const auto& bytes : {ok(large), chunked(large), until_close(large),
                            std::string("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n")}) {
    const auto answer = answer_of(bytes);
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().kind, error_kind::too_large) << answer.error().message;
    EXPECT_NE(answer.error().message.find("1000 bytes"), std::string::npos) << answer.error().message;
  }
  const auto header = answer_of("HTTP/1.1 200 OK\r\nX: " + std::string(100000, 'x') + "\r\n\r\n");
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().kind, error_kind::too_large);
}

TEST_F(http_client_test, takes_bodies_larger_than_any_buffer) {
  const std::string large(5u << 20, 'y');
  raw_server server(context, test::always(ok(large)));
  http_client client(context.get_executor(), quick());
  http_request req;
  req.method = "POST";
  req.url = server.url();
  req.body = std::string(3u << 20, 'z');
  for (int i = 0; i < 2; ++i) {
    const auto answer = exchange(client, req);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_TRUE(answer->body == large);
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(http_client_test, what_is_not_http_is_a_protocol_error) {
  for (const char* nonsense : {"SSH-2.0-OpenSSH_9.2p1 Debian\r\n\r\n", "HTTP/1.1 abc Bad\r\n\r\n",
                               "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: twelve\r\n\r\n",
                               "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "\r\n\r\n\r\n\r\n"}) {
    raw_server server(context, test::always(nonsense));
    http_client client(context.get_executor(), quick());
    const auto answer = get(client, server.url());
    ASSERT_FALSE(answer) << nonsense;
    EXPECT_EQ(answer.error().kind, error_kind::protocol) << nonsense << answer.error().message;
    EXPECT_NE(answer.error().message.find(server.address()), std::string::npos);
  }
}

TEST_F(http_client_test, passes_over_interim_responses) {
  raw_server server(context,
                    test::always("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + ok("final")));
  http_client client(context.get_executor(), quick());
  EXPECT_EQ(get(client, server.url()).value().body, "final");
  EXPECT_EQ(get(client, server.url()).value().body, "final");
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(http_client_test, head_and_no_content_have_no_body_and_keep_the_connection) {
  raw_server server(context, [](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    for (;;) {
      const auto request = co_await receive(socket, held);
      if (request.empty()) co_return;
      std::string bytes =
          request[0] == 'H' ? "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" : "HTTP/1.1 204 No Content\r\n\r\n";
      co_await send(socket, std::move(bytes));
    }
  });
  http_client client(context.get_executor(), quick());
  for (const char* method : {"HEAD", "DELETE", "HEAD"}) {
    http_request req;
    req.method = method;
    req.url = server.url();
    const auto answer = exchange(client, req);
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "");
    EXPECT_EQ(answer->status, *method == 'H' ? 200 : 204);
  }
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(http_client_test, an_answer_that_comes_before_the_request_is_sent_is_not_lost) {
  raw_server server(context, [](tcp::socket& socket, int) -> asio::awaitable<void> {
    char first[64];
    const auto some = asio::buffer(first);
    co_await socket.async_read_some(some, test::nothrow);
    co_await send(socket, "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 5\r\n\r\nlarge");
    // Closed with most of the request unread: the kernel resets the connection.
  });
  http_client client(context.get_executor(), quick());
  http_request req;
  req.method = "POST";
  req.url = server.url();
  req.body = std::string(16u << 20, 'x');
  const auto answer = exchange(client, req);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 413);
  EXPECT_EQ(answer->body, "large");
}

TEST_F(http_client_test, gives_up_on_a_server_that_never_answers) {
  test::event forever(context);
  raw_server server(context, [&](tcp::socket&, int) -> asio::awaitable<void> { co_await forever.wait(); });
  http_client client(context.get_executor(), quick());
  http_request req;
  req.url = server.url("/slow");
  req.timeout = 30ms;
  const auto answer = exchange(client, req);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::timeout);
  EXPECT_EQ(answer.error().message, "GET /slow at " + server.address() + ": waiting for the response: timed out");
}

TEST_F(http_client_test, one_deadline_covers_the_whole_exchange) {
  // Every single read succeeds in time; the exchange does not.
  int sent = 0;
  raw_server server(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    co_await receive(socket, held);
    co_await send(socket, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    asio::steady_timer pace(socket.get_executor());
    do {
      ++sent;
      pace.expires_after(5ms);
      co_await pace.async_wait(test::nothrow);
    } while (co_await send(socket, "x"));
  });
  http_client client(context.get_executor(), quick());
  http_request req;
  req.url = server.url();
  req.timeout = 50ms;
  const auto answer = exchange(client, req);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::timeout) << answer.error().message;
  EXPECT_LT(sent, 1000);
}

TEST_F(http_client_test, gives_up_on_an_address_that_does_not_accept) {
  // A listener with no room left in its queue ignores whoever asks.
  tcp::acceptor full(context);
  full.open(tcp::v4());
  full.bind(tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
  full.listen(0);
  std::vector<tcp::socket> fillers;
  for (int i = 0; i < 8; ++i) {
    fillers.emplace_back(context);
    fillers.back().open(tcp::v4());
    fillers.back().native_non_blocking(true);
    const auto endpoint = full.local_endpoint();
    // Not asio's connect: that one waits for the outcome.
    std::ignore = ::connect(fillers.back().native_handle(), endpoint.data(), static_cast<socklen_t>(endpoint.size()));
  }
  auto config = quick();
  config.connect_timeout = 50ms;
  http_client client(context.get_executor(), config);
  const auto port = std::to_string(full.local_endpoint().port());
  const auto answer = get(client, "http://127.0.0.1:" + port + "/");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::timeout);
  EXPECT_EQ(answer.error().message, "cannot connect to 127.0.0.1:" + port + ": timed out");
}

TEST_F(http_client_test, says_where_nobody_listens) {
  unsigned short port = 0;
  {
    tcp::acceptor brief(context, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
    port = brief.local_endpoint().port();
  }
  http_client client(context.get_executor(), quick());
  const auto answer = get(client, fmt::format("http://127.0.0.1:{}/", port));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::connect);
  EXPECT_NE(answer.error().message.find(fmt::format("127.0.0.1:{}", port)), std::string::npos);
}

TEST_F(http_client_test, names_resolve_and_every_address_is_tried) {
  // localhost may be ::1 first, where this server does not listen.
  raw_server server(context, test::always(ok("by name")));
  http_client client(context.get_executor(), quick());
  const auto answer = get(client, fmt::format("http://localhost:{}/", server.port()));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "by name");
  // .invalid never exists (RFC 2606); depending on the resolver that takes an answer or a timeout.
  http_request req;
  req.url = "http://does-not-exist.invalid/";
  req.timeout = 50ms;
  const auto nowhere = exchange(client, req);
  ASSERT_FALSE(nowhere);
  EXPECT_TRUE(nowhere.error().kind == error_kind::connect || nowhere.error().kind == error_kind::timeout);
  EXPECT_NE(nowhere.error().message.find("does-not-exist.invalid"), std::string::npos);
}

TEST_F(http_client_test, bad_urls_are_refused_by_name) {
  http_client client(context.get_executor(), quick());
  const auto answer = get(client, "ftp://127.0.0.1/");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::address);
  http_request req;
  req.method = "GET /x HTTP/1.1\r\nX: ";
  req.url = "http://127.0.0.1:1/";
  EXPECT_EQ(exchange(client, req).error().kind, error_kind::protocol);
}

TEST_F(http_client_test, may_be_destroyed_while_a_request_runs) {
  test::event go_on(context);
  raw_server server(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    co_await receive(socket, held);
    co_await go_on.wait();
    auto bytes = ok("late");
    co_await send(socket, std::move(bytes));
  });
  auto client = std::make_unique<http_client>(context.get_executor(), quick());
  std::optional<result<http_response>> answer;
  http_request req;
  req.url = server.url();
  asio::co_spawn(context, client->request(req), [&](std::exception_ptr, result<http_response> r) { answer = std::move(r); });
  test::run_until(context, [&] { return server.connections() == 1; });
  client.reset();
  go_on.set();
  test::run_until(context, [&] { return answer.has_value(); });
  EXPECT_EQ(answer->value().body, "late");
}

}  // namespace
}  // namespace inferno::net

// Servers that send without end, or what two readers may read differently: a client keeps little of it and gives up.
#include <fmt/format.h>
#include <malloc.h>

#include "net/http/client.hpp"
#include "tests/support/net_gzip.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::raw_server;
using test::receive;
using test::send;
using test::tcp;

std::size_t heap() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

class http_client_limits_test : public ::testing::Test {
 protected:
  static http_client_config quick() {
    http_client_config c;
    c.connect_timeout = 5s;
    c.request_timeout = 15s;
    c.max_body = 8u << 20;
    return c;
  }
  result<http_response> get(http_client& client, const raw_server& server) {
    http_request req;
    req.url = server.url("/");
    return test::run(context, client.request(std::move(req)));
  }
  /// Answers every request with `opening` and then `more` without end.
  raw_server::script endless(std::string opening, std::string more) {
    return [this, opening = std::move(opening), more = std::move(more)](tcp::socket& socket, int) -> asio::awaitable<void> {
      std::string held;
      co_await receive(socket, held);
      std::string first = opening;
      co_await send(socket, std::move(first));
      for (;;) {
        std::string piece;
        while (piece.size() < (256u << 10)) piece += more;
        peak = std::max(peak, heap() - std::min(heap(), before));
        if (!co_await send(socket, std::move(piece))) co_return;
      }
    };
  }

  asio::io_context context;
  std::size_t before = 0, peak = 0;
};

TEST_F(http_client_limits_test, what_comes_without_end_is_given_up_and_not_kept) {
  struct attack {
    const char* what;
    std::string opening, more;
    error_kind kind;
  };
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string x(1000, 'x');
  for (const auto& a : {attack{"a status line", "HTTP/1.1 200 ", x, error_kind::too_large},
                        attack{"one header field", "HTTP/1.1 200 OK\r\na: ", x, error_kind::too_large},
                        attack{"header fields", "HTTP/1.1 200 OK\r\n", "a: b\r\n", error_kind::too_large},
                        attack{"a chunk's extension", chunked + "1;a=", x, error_kind::too_large},
                        attack{"a trailer", chunked + "1\r\nx\r\n0\r\n", "a: b\r\n", error_kind::too_large},
                        attack{"chunks of one byte", chunked, "1;a=" + x + "\r\nx\r\n", error_kind::too_large},
                        attack{"interim responses", "", "HTTP/1.1 102 Processing\r\n\r\n", error_kind::protocol}}) {
    raw_server server(context, endless(a.opening, a.more));
    http_client client(context.get_executor(), quick());
    peak = 0;
    before = heap();
    const auto began = std::chrono::steady_clock::now();
    const auto answer = get(client, server);
    ASSERT_FALSE(answer) << a.what;
    EXPECT_EQ(answer.error().kind, a.kind) << a.what << ": " << answer.error().message;
    EXPECT_LT(peak, 2u << 20) << a.what;
    EXPECT_LT(std::chrono::steady_clock::now() - began, 5s) << a.what;
  }
}

TEST_F(http_client_limits_test, fields_are_counted_in_header_and_trailer) {
  std::string many;
  for (int i = 0; i < 257; ++i) many += "a: b\r\n";
  http_client client(context.get_executor(), quick());
  for (const auto& answer : {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + many + "\r\n",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + many + "\r\n"}) {
    raw_server server(context, test::always(answer));
    const auto got = get(client, server);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, error_kind::too_large) << got.error().message;
  }
}

TEST_F(http_client_limits_test, what_two_readers_may_read_differently_is_refused) {
  for (const char* framing :
       {"Content-Length: 1\r\nContent-Length: 2", "Content-Length: 1, 2", "Content-Length: +1",
        "Content-Length: 1\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 1",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"}) {
    raw_server server(context, test::always(fmt::format("HTTP/1.1 200 OK\r\n{}\r\n\r\n1\r\nx\r\n0\r\n\r\n", framing)));
    http_client client(context.get_executor(), quick());
    const auto got = get(client, server);
    ASSERT_FALSE(got) << framing;
    EXPECT_EQ(got.error().kind, error_kind::protocol) << framing << ": " << got.error().message;
  }
}

TEST_F(http_client_limits_test, bodies_received_at_once_are_bounded_together) {
  // Each alone would do; inflated, forty of them are 160 MiB.
  const auto bomb = test::gzipped(std::string(4u << 20, 'x'));
  raw_server server(context, test::always(test::ok(bomb, "Content-Encoding: gzip\r\n")));
  auto config = quick();
  config.accept_gzip = true;
  config.max_receiving = 16u << 20;
  http_client client(context.get_executor(), config);
  const auto alone = get(client, server);
  ASSERT_TRUE(alone) << alone.error().message;
  EXPECT_EQ(alone->body.size(), 4u << 20);

  // Bodies that have begun and do not end: all but one byte has come.
  test::event end(context);
  const std::string part(3u << 20, 'x');
  raw_server slow(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    co_await receive(socket, held);
    auto most = test::ok(part);
    most.pop_back();
    co_await send(socket, std::move(most));
    co_await end.wait();
    std::string last = "x";
    co_await send(socket, std::move(last));
    co_await receive(socket, held);
  });
  int good = 0, too_large = 0;
  before = heap();
  for (int i = 0; i < 20; ++i) {
    http_request req;
    req.url = slow.url("/");
    asio::co_spawn(context, client.request(std::move(req)), [&](std::exception_ptr, result<http_response> r) {
      if (r) {
        good += r->body == part ? 1 : 0;
      } else {
        too_large += r.error().kind == error_kind::too_large ? 1 : 0;
      }
    });
  }
  test::run_until(context, [&] { return too_large == 15; });
  end.set();
  test::run_until(context, [&] { return good + too_large == 20; });
  EXPECT_EQ(good, 5);
  const auto after = get(client, server);
  EXPECT_TRUE(after) << "what was held is free again: " << after.error().message;
}

TEST_F(http_client_limits_test, a_redirect_is_an_answer_and_not_followed) {
  int asked = 0;
  raw_server elsewhere(context, [&](tcp::socket&, int) -> asio::awaitable<void> {
    ++asked;
    co_return;
  });
  raw_server server(
      context, test::always(fmt::format("HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n", elsewhere.url("/"))));
  http_client client(context.get_executor(), quick());
  const auto got = get(client, server);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->status, 302);
  EXPECT_EQ(asked, 0) << "a token would go there too";
}

}  // namespace
}  // namespace inferno::net

// Clients that send without end, say nothing, or come in thousands: what a server keeps of them is bounded, and others are
// served.
#include <fmt/format.h>
#include <malloc.h>

#include "net/http/server.hpp"
#include "net/open_files.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_client.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::first_line;
using test::raw_client;
using test::tcp;
using steady = std::chrono::steady_clock;

asio::awaitable<void> answer(http_exchange& x, int status, std::string text) {
  return x.respond(status, "text/plain", std::move(text), {});
}

/// Bytes on the heap, large blocks included.
std::size_t heap() {
  const auto info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

class http_server_limits_test : public ::testing::Test {
 protected:
  void start(http_server_config config, http_handler handler = {}) {
    if (!handler)
      handler = [this](http_exchange& x) {
        ++handled;
        return answer(x, 200, fmt::format("{} [{}]", x.path(), x.body().size()));
      };
    auto started = http_server::start(context.get_executor(), std::move(config), std::move(handler));
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
  }
  raw_client connect() { return raw_client(context, server->port()); }
  void turns(int n = 20) { test::run(context, test::yield_turns(n)); }
  /// The whole answer to these bytes.
  std::string answer_to(const std::string& bytes) {
    auto client = connect();
    client.say(bytes);
    client.shutdown_send();
    return client.rest();
  }
  struct outcome {
    std::string status;
    std::size_t peak = 0;  ///< of the heap, above what it was at first
    std::chrono::duration<double> took{};
  };
  /// Sends `opening` and then `more` again and again, 64 MiB of it, or until the server hangs up.
  outcome endless(const std::string& opening, const std::string& more) {
    auto client = connect();
    std::string piece;
    while (piece.size() < (256u << 10)) piece += more;
    outcome out;
    const auto before = heap();
    const auto began = steady::now();
    client.say(opening);
    for (std::size_t sent = 0; sent < (64u << 20); sent += piece.size()) {
      const bool taken = client.say(piece);
      out.peak = std::max(out.peak, heap() - std::min(heap(), before));
      if (!taken) break;
    }
    out.status = first_line(client.rest());
    out.took = steady::now() - began;
    return out;
  }

  asio::io_context context;
  int handled = 0;
  std::unique_ptr<http_server> server;
};

// The test's own copy of a piece is among them.
constexpr std::size_t little = 2u << 20;

TEST_F(http_server_limits_test, what_is_sent_without_end_is_refused_and_not_kept) {
  start({});
  struct attack {
    const char* what;
    std::string opening, more, status;
  };
  const std::string chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const std::string x(1000, 'x');
  for (const auto& a :
       {attack{"a chunk's extension", chunked + "1;a=", x, "HTTP/1.1 400 Bad Request"},
        attack{"the last chunk's extension", chunked + "1\r\nx\r\n0;a=", x, "HTTP/1.1 400 Bad Request"},
        attack{"a trailer", chunked + "0\r\n", "a: b\r\n", "HTTP/1.1 400 Bad Request"},
        attack{"one field of a trailer", chunked + "0\r\na: ", x, "HTTP/1.1 400 Bad Request"},
        attack{"chunks of one byte", chunked, "1;a=" + x + "\r\nx\r\n", "HTTP/1.1 413 Payload Too Large"},
        attack{"a request line", "GET /", x, "HTTP/1.1 431 Request Header Fields Too Large"},
        attack{"header fields", "GET / HTTP/1.1\r\n", "a: b\r\n", "HTTP/1.1 431 Request Header Fields Too Large"}}) {
    const auto done = endless(a.opening, a.more);
    EXPECT_TRUE(done.status == a.status || done.status.empty()) << a.what << ": " << done.status;
    EXPECT_LT(done.peak, little) << a.what;
    EXPECT_LT(done.took, 10s) << a.what;
  }
  EXPECT_EQ(handled, 0);
}

TEST_F(http_server_limits_test, fields_are_counted_in_header_and_trailer) {
  start({});
  std::string many;
  for (int i = 0; i < 101; ++i) many += "a: b\r\n";
  EXPECT_EQ(first_line(answer_to("GET / HTTP/1.1\r\n" + many + "\r\n")), "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(first_line(answer_to("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + many + "\r\n")),
            "HTTP/1.1 431 Request Header Fields Too Large");
  EXPECT_EQ(handled, 0);
  EXPECT_EQ(first_line(answer_to("GET / HTTP/1.1\r\n" + many.substr(6) + "\r\n")), "HTTP/1.1 200 OK");
}

TEST_F(http_server_limits_test, a_server_without_bodies_refuses_them_by_the_header) {
  http_server_config config;
  config.max_body = 0;
  start(config);
  // Nothing of the body is sent: the answer does not wait for it.
  for (const char* framing : {"Content-Length: 1", "Content-Length: 1000000000000", "Transfer-Encoding: chunked",
                              "Expect: 100-continue\r\nContent-Length: 5"}) {
    auto client = connect();
    client.say(fmt::format("POST / HTTP/1.1\r\n{}\r\n\r\n", framing));
    EXPECT_EQ(first_line(client.answer()), "HTTP/1.1 413 Payload Too Large") << framing;
  }
  EXPECT_EQ(handled, 0);
  auto client = connect();
  for (const char* none : {"GET /a HTTP/1.1\r\n\r\n", "GET /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n"}) {
    client.say(none);
    EXPECT_EQ(body_of(client.answer()), "/a [0]");
  }
}

TEST_F(http_server_limits_test, what_two_servers_may_read_differently_is_refused) {
  start({});
  const std::string smuggled = "GET /smuggled HTTP/1.1\r\n\r\n";
  for (const char* framing :
       {"Content-Length: 0\r\nContent-Length: 30", "Content-Length: 0, 30", "Content-Length: +0", "Content-Length: 0x0",
        "Content-Length: ", "Content-Length: -1", "Content-Length: 18446744073709551616",
        "Content-Length: 4\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: gzip", "Transfer-Encoding: identity", "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, gzip", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding : chunked", "Content-Length : 30"}) {
    const auto all = answer_to(fmt::format("POST / HTTP/1.1\r\n{}\r\n\r\n{}", framing, smuggled));
    const auto status = first_line(all);
    EXPECT_TRUE(status.starts_with("HTTP/1.1 400") || status.starts_with("HTTP/1.1 501")) << framing << ": " << status;
    EXPECT_EQ(all.find("smuggled"), std::string::npos) << framing;
  }
  EXPECT_EQ(first_line(answer_to("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")), "HTTP/1.1 400 Bad Request");
  for (const char* chunks : {"0x1\r\na\r\n0\r\n\r\n", "-1\r\na\r\n0\r\n\r\n", " 1\r\na\r\n0\r\n\r\n", "1\na\n0\n\n",
                             "10000000000000001\r\na\r\n0\r\n\r\n", "1\r\nab\r\n0\r\n\r\n"}) {
    const auto all = answer_to(fmt::format("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}{}", chunks, smuggled));
    EXPECT_FALSE(first_line(all).starts_with("HTTP/1.1 200")) << chunks;
  }
  EXPECT_EQ(handled, 0);
}

TEST_F(http_server_limits_test, a_header_has_a_deadline_and_a_body_has_one) {
  http_server_config config;
  config.header_timeout = 50ms;
  config.body_timeout = 50ms;
  start(config);
  auto silent = connect(), slow = connect(), later = connect(), body = connect();
  slow.say("GET / HT");
  later.say("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(later.answer()), "/ [0]");
  later.say("G");
  body.say("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345");
  EXPECT_EQ(silent.rest(), "");
  EXPECT_EQ(slow.rest(), "");
  EXPECT_EQ(later.rest(), "") << "the header of a later request has the same time from its first byte";
  EXPECT_EQ(body.rest(), "");
}

TEST_F(http_server_limits_test, between_two_requests_a_client_may_be_silent_for_longer) {
  http_server_config config;
  config.header_timeout = 30ms;
  start(config);
  auto client = connect();
  client.say("GET / HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(client.answer()), "/ [0]");
  asio::steady_timer pause(context, 100ms);
  bool over = false;
  pause.async_wait([&](const auto&) { over = true; });
  test::run_until(context, [&] { return over; });
  client.say("GET /again HTTP/1.1\r\n\r\n");
  EXPECT_EQ(body_of(client.answer()), "/again [0]");
}

class flood_test : public http_server_limits_test {
 protected:
  /// Connections from an address of this host; none is closed before the test ends.
  void flood(int number, const char* from, const std::string& bytes) {
    for (int i = 0; i < number; ++i) {
      auto& s = *sockets.emplace_back(std::make_unique<tcp::socket>(context, tcp::v4()));
      s.bind({asio::ip::make_address(from), 0});
      s.connect({asio::ip::make_address("127.0.0.1"), server->port()});
      if (!bytes.empty()) asio::write(s, asio::buffer(bytes));
      context.restart();
      context.poll();
    }
  }
  static bool open(tcp::socket& s) {
    char byte = 0;
    const auto n = ::recv(s.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
  }
  int still_open() {
    int n = 0;
    for (const auto& s : sockets) n += open(*s) ? 1 : 0;
    return n;
  }
  std::vector<std::unique_ptr<tcp::socket>> sockets;
};

TEST_F(flood_test, a_probe_is_answered_within_a_second_whoever_else_is_connected) {
  ASSERT_GE(raise_open_file_limit(), 8000u) << "the hard limit on open files (ulimit -Hn) is too low for this test";
  http_server_config config;
  config.max_connections = 1000;
  start(config);
  flood(1000, "127.0.0.1", "");
  flood(1000, "127.0.0.1", "GET /healthz HTTP/1.1\r\nHost: ");
  EXPECT_EQ(still_open(), 1000);
  for (int i = 0; i < 10; ++i) {
    const auto began = steady::now();
    auto kubelet = connect();
    kubelet.say("GET /healthz HTTP/1.1\r\n\r\n");
    EXPECT_EQ(body_of(kubelet.answer()), "/healthz [0]");
    EXPECT_LT(steady::now() - began, 1s);
    flood(100, "127.0.0.1", "");
  }
}

TEST_F(flood_test, the_oldest_idle_connection_of_the_greediest_peer_gives_way) {
  http_server_config config;
  config.max_connections = 10;
  start(config);
  flood(2, "127.0.0.2", "");
  flood(8, "127.0.0.3", "");
  EXPECT_EQ(still_open(), 10);
  flood(20, "127.0.0.3", "");
  EXPECT_EQ(still_open(), 10);
  EXPECT_TRUE(open(*sockets[0]) && open(*sockets[1])) << "another peer's connections stay, though they are the oldest";
  EXPECT_FALSE(open(*sockets[2]));
  EXPECT_TRUE(open(*sockets.back()));
}

TEST_F(flood_test, who_is_being_served_does_not_give_way) {
  http_server_config config;
  config.max_connections = 3;
  test::event go(context);
  start(config, [&](http_exchange& x) -> asio::awaitable<void> {
    if (x.path() == "/wait") co_await go.wait();
    co_await answer(x, 200, "done");
  });
  std::vector<raw_client> served;
  for (int i = 0; i < 3; ++i) {
    served.push_back(connect());
    served.back().say("GET /wait HTTP/1.1\r\n\r\n");
  }
  turns();
  EXPECT_EQ(first_line(answer_to("GET / HTTP/1.1\r\n\r\n")), "HTTP/1.1 503 Service Unavailable");
  go.set();
  for (auto& c : served) EXPECT_EQ(body_of(c.answer()), "done");
  // Now all three are idle, and one makes room.
  EXPECT_EQ(body_of(answer_to("GET / HTTP/1.1\r\n\r\n")), "done");
}

TEST_F(flood_test, responses_that_nobody_takes_are_bounded_together) {
  http_server_config config;
  config.max_unsent = 40u << 20;
  start(config, [&](http_exchange& x) { return answer(x, 200, std::string(x.path() == "/small" ? 10 : 16u << 20, 'x')); });
  const auto before = heap();
  flood(20, "127.0.0.1", "GET /large HTTP/1.1\r\n\r\n");
  turns(200);
  EXPECT_LT(heap() - std::min(heap(), before), 60u << 20);
  const auto refused = answer_to("GET /large HTTP/1.1\r\n\r\n");
  EXPECT_EQ(first_line(refused), "HTTP/1.1 503 Service Unavailable");
  EXPECT_NE(refused.find("Retry-After: 1\r\n"), std::string::npos);
  EXPECT_EQ(body_of(answer_to("GET /small HTTP/1.1\r\n\r\n")).size(), 10u);
  for (auto& s : sockets) test::close_hard(*s);
  turns(200);
  EXPECT_EQ(body_of(answer_to("GET /large HTTP/1.1\r\n\r\n")).size(), 16u << 20) << "what was held is free again";
}

}  // namespace
}  // namespace inferno::net

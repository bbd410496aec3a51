#include <fmt/format.h>

#include "net/http/client.hpp"
#include "tests/support/net_gzip.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::gzip_writer;
using test::gzipped;
using test::raw_server;
using test::tcp;

constexpr std::string_view encoded = "Content-Encoding: gzip\r\n";

std::string chunk_of(std::string_view bytes) { return fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes); }
std::string chunked(std::string_view bytes, std::size_t size) {
  std::string out = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (std::size_t i = 0; i < bytes.size(); i += size) out += chunk_of(bytes.substr(i, size));
  return out + "0\r\n\r\n";
}

class http_client_gzip_test : public ::testing::Test {
 protected:
  http_client_gzip_test() {
    config.connect_timeout = config.request_timeout = 10s;
    config.accept_gzip = true;
    config.max_body = 1u << 20;
  }
  /// Each request is answered with the newest `bytes`, written in pieces of `piece`.
  asio::awaitable<void> serve(tcp::socket& socket) {
    std::string held;
    for (;;) {
      asked = co_await test::receive(socket, held);
      if (asked.empty()) co_return;
      const auto whole = bytes;
      for (std::size_t i = 0; i < whole.size(); i += piece) {
        auto part = whole.substr(i, piece);
        if (!co_await test::send(socket, std::move(part))) co_return;
        if (piece < 100) co_await test::yield_turns(3);
      }
      if (hang_up) co_return;
    }
  }
  http_client& use() {
    if (!client) client.emplace(context.get_executor(), config);
    return *client;
  }
  http_request request() const {
    http_request req;
    req.url = server.url("/what?secret=1");
    return req;
  }
  result<http_response> get() { return test::run(context, use().request(request())); }
  result<http_response> get(std::string answer) {
    bytes = std::move(answer);
    return get();
  }
  /// The parts of a streamed response up to its end or its error.
  std::vector<std::string> parts(http_stream& stream, std::optional<error>& problem) {
    std::vector<std::string> out;
    for (;;) {
      auto part = test::run(context, stream.read_some(10s));
      if (!part) {
        problem = part.error();
        return out;
      }
      if (!*part) return out;
      out.push_back(std::move(**part));
    }
  }

  asio::io_context context;
  raw_server server{context, [this](tcp::socket& socket, int) { return serve(socket); }};
  http_client_config config;
  std::optional<http_client> client;
  std::string bytes, asked;
  std::size_t piece = 1u << 30;
  bool hang_up = false;
};

TEST_F(http_client_gzip_test, asks_for_gzip_and_inflates_it) {
  const std::string text(300000, 'x');
  for (const auto& answer :
       {test::ok(gzipped(text), encoded), chunked(gzipped(text), 10), test::ok(gzipped(text), "content-encoding: GZIP\r\n"),
        test::ok(gzipped(text), "Content-Encoding: x-gzip\r\n"),
        test::ok(gzipped(text.substr(0, 100000)) + gzipped(text.substr(100000)), encoded)}) {
    const auto got = get(answer);
    ASSERT_TRUE(got) << got.error().message;
    EXPECT_TRUE(got->body == text);
    EXPECT_EQ(got->header("Content-Encoding"), "") << "of a body that is no more";
    EXPECT_EQ(got->header("Content-Length"), "");
    EXPECT_NE(asked.find("\r\nAccept-Encoding: gzip\r\n"), std::string::npos) << asked;
  }
  EXPECT_EQ(server.connections(), 1);
  EXPECT_EQ(get(test::ok("plain")).value().body, "plain");
  EXPECT_EQ(get(test::ok("plain", "Content-Encoding: identity\r\n")).value().body, "plain");
  EXPECT_EQ(get(test::ok("", encoded)).value().body, "");
  EXPECT_EQ(get("HTTP/1.1 204 No Content\r\nContent-Encoding: gzip\r\n\r\n").value().status, 204);
  EXPECT_EQ(server.connections(), 1);
}

TEST_F(http_client_gzip_test, does_neither_unless_told_to) {
  const auto raw = gzipped("text");
  auto req = request();
  req.headers = {{"accept-encoding", "gzip, br"}};
  bytes = test::ok(raw, encoded);
  auto got = test::run(context, use().request(req));
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->body == raw) << "the request's own affair";
  EXPECT_EQ(got->header("Content-Encoding"), "gzip");
  EXPECT_NE(asked.find("\r\naccept-encoding: gzip, br\r\n"), std::string::npos) << asked;
  EXPECT_EQ(asked.find("Accept-Encoding"), std::string::npos);
  client.reset();
  config.accept_gzip = false;
  got = get();
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_TRUE(got->body == raw);
  EXPECT_EQ(asked.find("Accept-Encoding"), std::string::npos);
}

TEST_F(http_client_gzip_test, inflates_whatever_the_pieces) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += fmt::format("item {} ", i * i);
  const auto raw = gzipped(text);
  for (piece = 1; piece < 100; piece += 6)
    for (const auto& answer : {test::ok(raw, encoded), chunked(raw, piece)}) {
      const auto got = get(answer);
      ASSERT_TRUE(got) << piece << got.error().message;
      ASSERT_EQ(got->body, text) << piece;
    }
}

TEST_F(http_client_gzip_test, bounds_the_inflated_body) {
  const auto fits = get(test::ok(gzipped(std::string(config.max_body, 'x')), encoded));
  ASSERT_TRUE(fits) << fits.error().message;
  EXPECT_EQ(fits->body.size(), config.max_body);
  for (const std::size_t size : {config.max_body + 1, std::size_t(50) << 20}) {
    const auto got = get(test::ok(gzipped(std::string(size, 'x')), encoded));
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().kind, error_kind::too_large);
    EXPECT_EQ(got.error().message,
              "GET /what at " + server.address() + ": reading the response: the inflated text is larger than 1048576 bytes");
  }
  EXPECT_EQ(get(test::ok("x")).value().body, "x");
}

TEST_F(http_client_gzip_test, what_is_cut_short_or_damaged_is_a_protocol_error) {
  const auto raw = gzipped("some text, some text");
  auto wrong = raw;
  wrong[wrong.size() - 6] = static_cast<char>(~wrong[wrong.size() - 6]);
  for (const auto& body : {raw.substr(0, raw.size() - 1), raw.substr(0, 1), wrong, std::string("plain, really"), raw + "more"})
    for (const auto& answer : {test::ok(body, encoded), chunked(body, 5)}) {
      const auto got = get(answer);
      ASSERT_FALSE(got);
      EXPECT_EQ(got.error().kind, error_kind::protocol) << got.error().message;
      EXPECT_NE(got.error().message.find("gzip"), std::string::npos) << got.error().message;
      EXPECT_EQ(got.error().message.find("secret"), std::string::npos);
    }
  // Up to the close: only the gzip itself can tell.
  hang_up = true;
  const auto cut = get("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + raw.substr(0, raw.size() - 3));
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().kind, error_kind::protocol);
  EXPECT_EQ(get("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + raw).value().body, "some text, some text");
  const auto closed = get(fmt::format("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 999\r\n\r\n{}", raw));
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().kind, error_kind::closed);
}

TEST_F(http_client_gzip_test, a_stream_gives_each_event_as_soon_as_it_comes) {
  test::event next(context);
  std::vector<std::string> events;
  for (int i = 0; i < 20; ++i) events.push_back(fmt::format("{{\"type\":\"ADDED\",\"object\":{}}}\n", i));
  int sent = 0, wanted = 1;
  raw_server watch(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    co_await test::receive(socket, held);
    std::string head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n";
    co_await test::send(socket, std::move(head));
    gzip_writer writer;
    while (sent < 20) {
      while (sent >= wanted) co_await test::yield_turns(1);
      auto part = chunk_of(writer.flushed(events[static_cast<std::size_t>(sent)]));
      ++sent;
      co_await test::send(socket, std::move(part));
    }
    auto end = chunk_of(writer.ended()) + "0\r\n\r\n";
    co_await test::send(socket, std::move(end));
    co_await test::receive(socket, held);
  });
  http_request req;
  req.url = watch.url();
  auto opened = test::run(context, use().open_stream(req));
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ((*opened)->header("Content-Encoding"), "");
  for (const auto& event : events) {
    const auto part = test::run(context, (*opened)->read_some(10s));
    ASSERT_TRUE(part) << part.error().message;
    EXPECT_EQ(*part, event);
    EXPECT_EQ(sent, wanted);
    ++wanted;
  }
  EXPECT_EQ(test::run(context, (*opened)->read_some(10s)).value(), std::nullopt);
}

TEST_F(http_client_gzip_test, a_stream_gives_what_it_could_inflate_before_the_error) {
  gzip_writer writer;
  const auto first = writer.flushed("first\n");
  // 7: the last block, of a kind that does not exist.
  for (const std::string& then : {std::string(), std::string("\x07")}) {
    bytes = chunked(first + then, 1000);
    auto opened = test::run(context, use().open_stream(request()));
    ASSERT_TRUE(opened) << opened.error().message;
    std::optional<error> problem;
    EXPECT_EQ(parts(**opened, problem), std::vector<std::string>{"first\n"});
    ASSERT_TRUE(problem);
    EXPECT_EQ(problem->kind, error_kind::protocol);
    EXPECT_NE(problem->message.find(": reading the body: "), std::string::npos) << problem->message;
  }
  EXPECT_EQ(get(test::ok("x")).value().body, "x");
}

TEST_F(http_client_gzip_test, a_stream_has_no_bound_and_its_connection_is_used_again) {
  const std::string text(5u << 20, 'x');
  bytes = chunked(gzipped(text), 100);
  for (int i = 0; i < 2; ++i) {
    auto opened = test::run(context, use().open_stream(request()));
    ASSERT_TRUE(opened) << opened.error().message;
    std::optional<error> problem;
    std::string all;
    for (const auto& part : parts(**opened, problem)) all += part;
    EXPECT_FALSE(problem) << problem->message;
    EXPECT_TRUE(all == text);
  }
  EXPECT_EQ(server.connections(), 1);
}

}  // namespace
}  // namespace inferno::net

#include <fmt/format.h>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_client.hpp"
#include "tests/support/net_tls_client.hpp"
#include "tests/support/net_tls_pair.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::first_line;
using test::raw_client;
using test::tls_client;
using error_code = boost::system::error_code;

// Not coroutines: what the response is made of is out of the way before anything is awaited.
asio::awaitable<void> answer(http_exchange& x, std::string text) { return x.respond(200, "text/plain", std::move(text), {}); }
asio::awaitable<bool> begin(http_exchange& x) { return x.begin_stream(200, "text/plain", {}); }
asio::awaitable<bool> put(http_exchange& x, std::string text) { return x.write(std::move(text)); }
asio::awaitable<void> echo(http_exchange& x) { return answer(x, fmt::format("{} {} [{}]", x.method(), x.path(), x.body())); }

tls_options identity(const certificate& c, const std::string& ca = {}) {
  tls_options out;
  out.cert_pem = c.cert_pem;
  out.key_pem = c.key_pem;
  out.ca_pem = ca;
  return out;
}

class https_server_test : public ::testing::Test {
 protected:
  void start(http_handler handler, http_server_config config = {}) {
    if (!config.tls) {
      config.tls = [this] {
        ++contexts;
        return make_server_context(own);
      };
    }
    auto started = http_server::start(context.get_executor(), std::move(config), std::move(handler),
                                      [this](std::string_view problem) { problems.emplace_back(problem); });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
  }
  tls_options trust() const {
    tls_options out;
    out.ca_pem = own.cert_pem;
    return out;
  }
  std::unique_ptr<http_client> make_client(tls_options options) {
    http_client_config config;
    config.connect_timeout = config.request_timeout = 10s;
    config.tls = std::move(options);
    return std::make_unique<http_client>(context.get_executor(), std::move(config));
  }
  http_request request_of(std::string_view path = "/", std::string body = {}) const {
    http_request req;
    req.method = body.empty() ? "GET" : "POST";
    req.url = fmt::format("https://{}{}", server->address(), path);
    req.body = std::move(body);
    return req;
  }
  result<http_response> get(http_client& client, std::string_view path = "/") {
    return test::run(context, client.request(request_of(path)));
  }
  std::string body_or_problem(http_client& client) {
    const auto r = get(client);
    return r ? r->body : r.error().message;
  }
  tls_client connect() { return tls_client(context, server->port(), trust()); }
  /// A connection that has asked this.
  std::unique_ptr<tls_client> ask(std::string request) {
    auto client = std::make_unique<tls_client>(context, server->port(), trust());
    const auto ec = client->shake_hands();
    EXPECT_FALSE(ec) << ec.message();
    client->say(std::move(request));
    return client;
  }
  void turns(int n = 40) { test::run(context, test::yield_turns(n)); }

  asio::io_context context;
  tls_options own = identity(test::make_certificate());
  int contexts = 0;
  std::vector<std::string> problems;
  std::unique_ptr<http_server> server;
};

TEST_F(https_server_test, serves_a_client_that_verifies_it_and_keeps_the_connection) {
  start(echo);
  const auto client = make_client(trust());
  for (int i = 0; i < 5; ++i) {
    const auto r = test::run(context, client->request(request_of("/a%20b", "body")));
    ASSERT_TRUE(r) << r.error().message;
    EXPECT_EQ(r->status, 200);
    EXPECT_EQ(r->body, "POST /a b [body]");
  }
  EXPECT_EQ(contexts, 1);
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(https_server_test, is_refused_by_a_client_that_does_not_trust_it_or_came_for_another) {
  start(echo);
  tls_options other;
  other.ca_pem = test::make_certificate().cert_pem;
  const auto stranger = make_client(other);
  auto r = get(*stranger);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().kind, error_kind::tls);
  EXPECT_NE(r.error().message.find("self-signed certificate"), std::string::npos) << r.error().message;
  auto elsewhere = trust();
  elsewhere.server_name = "elsewhere.example";
  const auto lost = make_client(elsewhere);
  r = get(*lost);
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message.find("the certificate is not for elsewhere.example"), std::string::npos) << r.error().message;
  const auto client = make_client(trust());
  EXPECT_EQ(body_or_problem(*client), "GET / []");
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(https_server_test, with_a_client_ca_serves_only_those_it_knows) {
  const auto known = test::make_certificate({"client"});
  own.ca_pem = known.cert_pem;
  start(echo);
  const auto friendly = make_client(identity(known, own.cert_pem));
  EXPECT_EQ(body_or_problem(*friendly), "GET / []");
  const auto anonymous = make_client(trust());
  const auto r = get(*anonymous);
  ASSERT_FALSE(r);
  EXPECT_NE(r.error().message.find("certificate required"), std::string::npos) << r.error().message;
}

TEST_F(https_server_test, a_new_certificate_is_shown_to_the_next_connection) {
  start(echo);
  const auto before = make_client(trust());
  ASSERT_EQ(body_or_problem(*before), "GET / []");
  own = identity(test::make_certificate());
  EXPECT_EQ(body_or_problem(*before), "GET / []") << "its connection is from before";
  const auto after = make_client(trust());
  EXPECT_EQ(body_or_problem(*after), "GET / []");
  before->close_idle();
  EXPECT_FALSE(get(*before));
  EXPECT_EQ(contexts, 3);
}

TEST_F(https_server_test, without_a_context_connections_are_closed_and_that_is_told_once) {
  bool broken = true;
  int asked = 0;
  http_server_config config;
  config.tls = [&]() -> result<std::shared_ptr<asio::ssl::context>> {
    if (!broken) return make_server_context(own);
    if (++asked == 2) throw std::runtime_error("odd");
    return fail(error_kind::tls, "no certificate yet");
  };
  start(echo, config);
  const auto client = make_client(trust());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(get(*client));
  EXPECT_EQ(problems, std::vector<std::string>{"connections are refused: no certificate yet"});
  broken = false;
  EXPECT_EQ(body_or_problem(*client), "GET / []");
  client->close_idle();
  broken = true;
  EXPECT_FALSE(get(*client));
  EXPECT_EQ(problems.size(), 2u);
}

TEST_F(https_server_test, chunks_arrive_as_they_are_written) {
  test::event more(context), enough(context);
  const std::string large(200000, 'x');
  start([&](http_exchange& x) -> asio::awaitable<void> {
    EXPECT_TRUE(co_await begin(x));
    EXPECT_TRUE(co_await put(x, "one"));
    co_await more.wait();
    EXPECT_TRUE(co_await put(x, large));
    co_await enough.wait();
  });
  const auto client = make_client(trust());
  auto opened = test::run(context, client->open_stream(request_of()));
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(test::run(context, (*opened)->read_some(10s)).value(), "one");
  more.set();
  std::string got;
  while (got.size() < large.size()) got += test::run(context, (*opened)->read_some(10s)).value().value();
  EXPECT_TRUE(got == large);
  enough.set();
  EXPECT_EQ(test::run(context, (*opened)->read_some(10s)).value(), std::nullopt);
  EXPECT_EQ(contexts, 1);
  EXPECT_TRUE(test::run(context, client->open_stream(request_of())));
  EXPECT_EQ(contexts, 1) << "the connection is used again";
}

TEST_F(https_server_test, takes_requests_however_they_are_cut_into_records) {
  start(echo);
  const std::string request = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
  auto client = connect();
  ASSERT_FALSE(client.shake_hands());
  for (std::size_t cut = 1; cut < request.size(); ++cut) {
    client.say(request.substr(0, cut));
    client.say(request.substr(cut));
    ASSERT_EQ(body_of(client.answer()), "POST /a [hello]") << cut;
  }
}

TEST_F(https_server_test, a_pipelined_request_waits_for_the_end_of_the_stream) {
  test::event go_on(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, std::string(x.path()) + x.body());
    if (x.path() == "/first") co_await go_on.wait();
  });
  const auto client = ask("GET /first HTTP/1.1\r\n\r\n");
  client->until("/first\r\n");
  const std::string large(5000, 'y');
  client->say("POST /second HTTP/1.1\r\nConnection: close\r\nContent-Length: 5000\r\n\r\n" + large);
  turns();
  go_on.set();
  const auto all = client->rest();
  EXPECT_EQ(all.substr(0, 5), "0\r\n\r\n") << all;
  EXPECT_TRUE(body_of(all.substr(5)) == "138f\r\n/second" + large + "\r\n0\r\n\r\n");
}

TEST_F(https_server_test, what_came_before_the_stream_is_answered_after_it) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, std::string(x.path()));
  });
  // The rest of the third request comes while a read watches, and in two records.
  const auto client = ask("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HT");
  EXPECT_EQ(body_of(client->until("0\r\n\r\n")), "2\r\n/1\r\n0\r\n\r\n");
  EXPECT_EQ(body_of(client->until("0\r\n\r\n")), "2\r\n/2\r\n0\r\n\r\n");
  client->say("TP/1.1\r\nConnection: ");
  client->say("close\r\n\r\n");
  error_code end;
  EXPECT_EQ(body_of(client->rest(&end)), "2\r\n/3\r\n0\r\n\r\n");
  EXPECT_EQ(end, asio::error::eof);
}

class https_client_gone_test : public https_server_test, public ::testing::WithParamInterface<const char*> {};

TEST_P(https_client_gone_test, is_told_while_a_stream_is_silent) {
  bool gone = false;
  std::optional<bool> wrote;
  test::event go_on(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    x.on_gone([&] { gone = true; });
    co_await begin(x);
    co_await go_on.wait();
    wrote = co_await put(x, "anybody there?");
  });
  const auto client = ask("GET / HTTP/1.1\r\n\r\n");
  client->until("\r\n\r\n");
  turns();
  EXPECT_FALSE(gone);
  const std::string way = GetParam();
  if (way == "goodbye") client->say_goodbye();
  if (way == "close") client->socket().close();
  if (way == "reset") test::close_hard(client->socket());
  test::run_until(context, [&] { return gone; });
  go_on.set();
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
  EXPECT_TRUE(problems.empty()) << problems.front();
}

INSTANTIATE_TEST_SUITE_P(ways, https_client_gone_test, ::testing::Values("goodbye", "close", "reset"),
                         [](const auto& tested) { return std::string(tested.param); });

TEST_F(https_server_test, says_goodbye_at_the_end_of_what_it_sends) {
  http_server_config config;
  config.max_body = 10;
  start(
      [](http_exchange& x) -> asio::awaitable<void> {
        if (x.path() != "/stream") co_return co_await echo(x);
        co_await begin(x);
        co_await put(x, "up to the end");
      },
      config);
  for (const std::string& request :
       {std::string("GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), std::string("GET /stream HTTP/1.0\r\n\r\n"),
        std::string("GET /stream HTTP/1.1\r\nConnection: close\r\n\r\n"),
        std::string("POST / HTTP/1.1\r\nContent-Length: 11\r\n\r\n01234567890"), std::string("nonsense\r\n\r\n")}) {
    error_code end;
    const auto all = ask(request)->rest(&end);
    EXPECT_EQ(all.substr(0, 9), "HTTP/1.1 ") << request;
    EXPECT_EQ(end, asio::error::eof) << end.message() << request;
  }
}

TEST_F(https_server_test, a_broken_stream_has_no_goodbye) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await put(x, "half");
    co_await test::yield_turns();
    x.abort();
  });
  error_code end;
  EXPECT_EQ(body_of(ask("GET / HTTP/1.0\r\n\r\n")->rest(&end)), "half");
  EXPECT_EQ(end, asio::error::connection_reset) << end.message();
}

TEST_F(https_server_test, keeps_its_limits) {
  http_server_config config;
  config.max_body = 10;
  config.max_header = 1000;
  config.max_connections = 1;
  test::event go(context);
  start(
      [&](http_exchange& x) -> asio::awaitable<void> {
        if (x.path() == "/held") co_await go.wait();
        co_await echo(x);
      },
      config);
  const auto status = [&](std::string request) { return first_line(ask(std::move(request))->rest()); };
  const std::string large(1u << 20, 'x');
  EXPECT_EQ(status("POST / HTTP/1.1\r\nContent-Length: 1048576\r\n\r\n" + large), "HTTP/1.1 413 Payload Too Large");
  turns();
  EXPECT_EQ(status("GET / HTTP/1.1\r\nX: " + std::string(2000, 'x') + "\r\n\r\n"),
            "HTTP/1.1 431 Request Header Fields Too Large");
  turns();
  const auto present = ask("GET /held HTTP/1.1\r\n\r\n");
  turns();
  EXPECT_EQ(status("GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 503 Service Unavailable");
  go.set();
  EXPECT_EQ(body_of(present->answer()), "GET /held []");
}

TEST_F(https_server_test, closes_connections_that_say_nothing_after_the_handshake) {
  http_server_config config;
  config.idle_timeout = 0s;
  start(echo, config);
  auto client = connect();
  ASSERT_FALSE(client.shake_hands());
  EXPECT_EQ(client.rest(), "");
}

TEST_F(https_server_test, a_client_that_does_not_shake_hands_gives_its_place_back) {
  http_server_config config;
  config.max_connections = 2;
  config.handshake_timeout = 30ms;
  start(echo, config);
  raw_client silent(context, server->port()), halting(context, server->port());
  halting.say(std::string("\x16\x03\x01\x02\x00\x01\x00", 7));  // the beginning of a handshake
  turns();
  EXPECT_EQ(silent.rest(), "");
  EXPECT_EQ(halting.rest(), "");
  turns();
  const auto client = make_client(trust());
  EXPECT_EQ(body_or_problem(*client), "GET / []");
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(https_server_test, tells_a_client_that_speaks_plain_http) {
  start([](http_exchange& x) -> asio::awaitable<void> {
    ADD_FAILURE() << "handled: " << x.path();
    co_await echo(x);
  });
  raw_client plain(context, server->port());
  plain.say("GET /secret HTTP/1.1\r\nHost: x\r\n\r\n");
  plain.shutdown_send();
  const auto all = plain.rest();
  EXPECT_EQ(first_line(all), "HTTP/1.1 400 Bad Request");
  EXPECT_EQ(body_of(all), "a plain HTTP request to a port that speaks HTTPS\n");
}

TEST_F(https_server_test, what_is_no_handshake_does_no_harm) {
  start(echo);
  std::string noise;
  for (unsigned i = 0; i < 100000; ++i) noise += static_cast<char>(i * i % 251);
  for (const auto& bytes : {std::string("SSH-2.0-x\r\n"), std::string("\x16\x03\x01\x00\x01\x00", 6), std::string(1, '\x80'),
                            noise, std::string("DELETE / HTTP/1.1\r\n\r\n"), std::string()})
    for (const bool hard : {false, true}) {
      raw_client client(context, server->port());
      client.say(bytes);
      if (!hard) {
        client.shutdown_send();
        EXPECT_EQ(client.rest().find("HTTP/1.1 2"), std::string::npos);
      } else {
        client.close_hard();
        turns();
      }
    }
  const auto client = make_client(trust());
  EXPECT_EQ(body_or_problem(*client), "GET / []");
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(https_server_test, serves_many_clients_at_once) {
  start(echo);
  const std::string large(100000, 'z');
  std::vector<std::unique_ptr<http_client>> clients;
  int done = 0;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(make_client(trust()));
    asio::co_spawn(context, clients.back()->request(request_of("/" + std::to_string(i), large)),
                   [&, i](std::exception_ptr, result<http_response> r) {
                     EXPECT_TRUE(r && r->body == fmt::format("POST /{} [{}]", i, large)) << i;
                     ++done;
                   });
  }
  test::run_until(context, [&] { return done == 50; });
  EXPECT_EQ(contexts, 50);
}

TEST_F(https_server_test, stop_closes_everything) {
  std::optional<bool> wrote;
  test::event stopped(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await stopped.wait();
    wrote = co_await put(x, "late");
  });
  const auto streaming = ask("GET / HTTP/1.1\r\n\r\n");
  streaming->until("\r\n\r\n");
  const auto idle = ask("");
  raw_client silent(context, server->port());
  turns();
  server->stop();
  server->stop();
  EXPECT_EQ(streaming->rest(), "");
  EXPECT_EQ(idle->rest(), "");
  EXPECT_EQ(silent.rest(), "");
  EXPECT_FALSE(raw_client(context, server->port()).connected());
  stopped.set();
  test::run_until(context, [&] { return wrote.has_value(); });
  EXPECT_FALSE(*wrote);
  EXPECT_TRUE(problems.empty()) << problems.front();
}

TEST_F(https_server_test, may_be_destroyed_with_connections_in_every_state) {
  test::event never(context);
  start([&](http_exchange& x) -> asio::awaitable<void> {
    co_await begin(x);
    co_await never.wait();
  });
  const auto streaming = ask("GET / HTTP/1.1\r\n\r\n");
  streaming->until("\r\n\r\n");
  const auto leaving = ask("GET /");
  raw_client silent(context, server->port());
  turns();
}

}  // namespace
}  // namespace inferno::net

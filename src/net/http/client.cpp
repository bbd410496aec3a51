#include "net/http/client.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/url.hpp>
#include <deque>
#include <map>

namespace inferno::net {

namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;
using steady = std::chrono::steady_clock;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

/// Where a request goes: connections are shared between requests with equal origins.
struct origin {
  bool tls = false;
  std::string host;  ///< without brackets
  std::string port;
  auto operator<=>(const origin&) const = default;
  std::string name() const {
    return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
  }
};
struct address {
  origin where;
  std::string target;
};

result<address> parse_url(const std::string& text) {
  const auto parsed = boost::urls::parse_uri(text);
  if (!parsed) return fail(error_kind::address, fmt::format("\"{}\" is not a URL", text));
  address out;
  const auto scheme = std::string_view(parsed->scheme().data(), parsed->scheme().size());
  out.where.tls = scheme == "https";
  if (!out.where.tls && scheme != "http")
    return fail(error_kind::address, fmt::format("\"{}\": the scheme must be http or https", text));
  if (!parsed->userinfo().empty()) return fail(error_kind::address, "a URL with user information is not accepted");
  out.where.host = parsed->host_address();
  if (out.where.host.empty()) return fail(error_kind::address, fmt::format("\"{}\" has no host", text));
  out.where.port = parsed->has_port() ? std::string(parsed->port()) : out.where.tls ? "443" : "80";
  if (parsed->has_port() && parsed->port_number() == 0)
    return fail(error_kind::address, fmt::format("\"{}\": the port must be from 1 to 65535", text));
  out.target = std::string(parsed->encoded_path());
  if (out.target.empty()) out.target = "/";
  if (parsed->has_query()) out.target += "?" + std::string(parsed->encoded_query());
  return out;
}

error_kind kind_of(const error_code& ec) {
  if (ec == beast::error::timeout || ec == asio::error::timed_out) return error_kind::timeout;
  if (ec == http::error::body_limit || ec == http::error::header_limit || ec == http::error::buffer_overflow)
    return error_kind::too_large;
  if (ec == http::error::end_of_stream || ec == http::error::partial_message || ec == asio::error::eof ||
      ec == asio::error::connection_reset || ec == asio::error::broken_pipe || ec == ssl::error::stream_truncated)
    return error_kind::closed;
  if (ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor) return error_kind::cancelled;
  if (ec.category() == asio::error::get_ssl_category()) return error_kind::tls;
  return error_kind::protocol;
}

/// TCP, with TLS above it where asked for. One deadline at a time covers reads and writes.
struct connection {
  explicit connection(const asio::any_io_executor& executor) : tcp_stream(executor) {}
  beast::tcp_stream tcp_stream;
  std::optional<ssl::stream<beast::tcp_stream&>> tls;
  beast::flat_buffer buffer;
  steady::time_point idle_since{};
  bool reused = false;

  void close() {
    error_code ec;
    tcp_stream.socket().close(ec);
  }
  /// A kept-alive connection that the server has closed, or said something on unasked, is of no use.
  bool usable() {
    char byte = 0;
    const auto n = ::recv(tcp_stream.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && buffer.size() == 0;
  }
};
using connection_ptr = std::shared_ptr<connection>;

template <class Parser>
asio::awaitable<error_code> read_header(connection_ptr c, Parser& parser) {
  if (c->tls) {
    const auto [ec, n] = co_await http::async_read_header(*c->tls, c->buffer, parser, nothrow);
    co_return ec;
  }
  const auto [ec, n] = co_await http::async_read_header(c->tcp_stream, c->buffer, parser, nothrow);
  co_return ec;
}

template <class Parser>
asio::awaitable<error_code> read_rest(connection_ptr c, Parser& parser) {
  if (c->tls) {
    const auto [ec, n] = co_await http::async_read(*c->tls, c->buffer, parser, nothrow);
    co_return ec;
  }
  const auto [ec, n] = co_await http::async_read(c->tcp_stream, c->buffer, parser, nothrow);
  co_return ec;
}

template <class Parser>
asio::awaitable<error_code> read_part(connection_ptr c, Parser& parser) {
  if (c->tls) {
    const auto [ec, n] = co_await http::async_read_some(*c->tls, c->buffer, parser, nothrow);
    co_return ec;
  }
  const auto [ec, n] = co_await http::async_read_some(c->tcp_stream, c->buffer, parser, nothrow);
  co_return ec;
}

asio::awaitable<error_code> write_request(connection_ptr c, http::request<http::string_body>& request) {
  if (c->tls) {
    const auto [ec, n] = co_await http::async_write(*c->tls, request, nothrow);
    co_return ec;
  }
  const auto [ec, n] = co_await http::async_write(c->tcp_stream, request, nothrow);
  co_return ec;
}

using stream_parser = http::response_parser<http::string_body>;

/// Methods that may be sent again when a kept-alive connection turns out dead.
bool idempotent(const std::string& method) {
  return method == "GET" || method == "HEAD" || method == "PUT" || method == "DELETE" || method == "OPTIONS";
}

}  // namespace

std::string_view http_response::header(std::string_view name) const {
  const auto it = std::find_if(headers.begin(), headers.end(), [&](const auto& h) {
    return beast::iequals(beast::string_view(h.name.data(), h.name.size()), beast::string_view(name.data(), name.size()));
  });
  return it == headers.end() ? std::string_view() : std::string_view(it->value);
}

struct http_client::impl : std::enable_shared_from_this<http_client::impl> {
  impl(asio::any_io_executor e, http_client_config c)
      : executor(std::move(e)), config(std::move(c)), context(ssl::context::tls_client) {
    setup_tls();
  }

  asio::any_io_executor executor;
  http_client_config config;
  ssl::context context;
  std::string tls_problem;  ///< a PEM text that cannot be used; told by the first https request
  std::map<origin, std::deque<connection_ptr>> idle;

  void setup_tls();
  connection_ptr take_idle(const origin& where);
  void give_back(const origin& where, connection_ptr c);
  asio::awaitable<result<connection_ptr>> connect(const origin& where, steady::time_point deadline);
  asio::awaitable<result<void>> handshake(connection_ptr c, const origin& where);
  http::request<http::string_body> make_request(const http_request& req, const address& to) const;
  error explain(const error_code& ec, const address& to, const http_request& req, std::string_view doing) const;

  /// An exchange up to the response's header; the parser holds what has been read.
  struct opened {
    connection_ptr conn;
    std::unique_ptr<stream_parser> parser;
  };
  asio::awaitable<result<opened>> open(const http_request& req, const address& to, steady::time_point deadline,
                                       std::optional<std::uint64_t> body_limit);
};

void http_client::impl::setup_tls() {
  const auto& t = config.tls;
  error_code ec;
  context.set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 |
                          ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1,
                      ec);
  const auto use = [&](const char* what) {
    if (ec && tls_problem.empty()) tls_problem = fmt::format("{} cannot be used: {}", what, ec.message());
    ec.clear();
  };
  context.set_verify_mode(t.insecure_skip_verify ? ssl::verify_none : ssl::verify_peer, ec);
  use("TLS verification");
  if (t.ca_pem.empty()) {
    context.set_default_verify_paths(ec);
    use("the system's CA certificates");
  } else {
    context.add_certificate_authority(asio::buffer(t.ca_pem), ec);
    use("the CA certificate");
  }
  if (!t.cert_pem.empty()) {
    context.use_certificate_chain(asio::buffer(t.cert_pem), ec);
    use("the client certificate");
    context.use_private_key(asio::buffer(t.key_pem), ssl::context::pem, ec);
    use("the client key");
  }
}

connection_ptr http_client::impl::take_idle(const origin& where) {
  auto it = idle.find(where);
  if (it == idle.end()) return nullptr;
  auto& list = it->second;
  while (!list.empty()) {
    auto c = std::move(list.back());
    list.pop_back();
    if (steady::now() - c->idle_since < config.idle_timeout && c->usable()) {
      c->reused = true;
      return c;
    }
    c->close();
  }
  idle.erase(it);
  return nullptr;
}

void http_client::impl::give_back(const origin& where, connection_ptr c) {
  auto& list = idle[where];
  c->idle_since = steady::now();
  c->tcp_stream.expires_never();
  list.push_back(std::move(c));
  if (list.size() > config.max_idle_per_origin) {
    list.front()->close();
    list.pop_front();
  }
}

error http_client::impl::explain(const error_code& ec, const address& to, const http_request& req, std::string_view doing) const {
  error e;
  e.kind = kind_of(ec);
  // The query may hold a selector or a PromQL text of any length; the path says enough.
  const auto path = to.target.substr(0, to.target.find('?'));
  const auto why = e.kind == error_kind::timeout     ? std::string("timed out")
                   : e.kind == error_kind::cancelled ? std::string("cancelled")
                                                     : ec.message();
  e.message = fmt::format("{} {} at {}: {}: {}", req.method, path, to.where.name(), doing, why);
  return e;
}

asio::awaitable<result<void>> http_client::impl::handshake(connection_ptr c, const origin& where) {
  if (!tls_problem.empty()) co_return fail(error_kind::tls, fmt::format("{}: {}", where.name(), tls_problem));
  c->tls.emplace(c->tcp_stream, context);
  const auto& name = config.tls.server_name.empty() ? where.host : config.tls.server_name;
  error_code address_error;
  asio::ip::make_address(name, address_error);
  if (address_error) SSL_set_tlsext_host_name(c->tls->native_handle(), name.c_str());  // SNI is for names only
  if (!config.tls.insecure_skip_verify) c->tls->set_verify_callback(ssl::host_name_verification(name));
  const auto [ec] = co_await c->tls->async_handshake(ssl::stream_base::client, nothrow);
  if (!ec) co_return result<void>{};
  const auto kind = kind_of(ec);
  // A peer that hangs up in the middle of a handshake has refused it.
  co_return fail(kind == error_kind::closed || kind == error_kind::protocol ? error_kind::tls : kind,
                 fmt::format("TLS handshake with {}: {}", where.name(),
                             kind == error_kind::timeout ? std::string("timed out") : ec.message()));
}

asio::awaitable<result<connection_ptr>> http_client::impl::connect(const origin& where, steady::time_point deadline) {
  const auto until = std::min(deadline, steady::now() + config.connect_timeout);
  std::vector<tcp::endpoint> endpoints;
  error_code literal_error;
  const auto literal = asio::ip::make_address(where.host, literal_error);
  if (!literal_error) {
    endpoints.emplace_back(literal, static_cast<unsigned short>(std::stoul(where.port)));
  } else {
    auto resolver = std::make_shared<tcp::resolver>(executor);
    asio::steady_timer limit(executor, until);
    limit.async_wait([resolver](const error_code& ec) {
      if (!ec) resolver->cancel();
    });
    const auto [ec, found] = co_await resolver->async_resolve(where.host, where.port, nothrow);
    limit.cancel();
    if (ec) {
      const bool late = ec == asio::error::operation_aborted;
      co_return fail(late ? error_kind::timeout : error_kind::connect,
                     fmt::format("cannot resolve {}: {}", where.host, late ? "timed out" : ec.message()));
    }
    for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  }
  auto c = std::make_shared<connection>(executor);
  c->tcp_stream.expires_at(until);
  error_code last;
  for (const auto& endpoint : endpoints) {
    c->close();
    const auto [ec] = co_await c->tcp_stream.async_connect(endpoint, nothrow);
    last = ec;
    if (!ec) break;
  }
  if (last) {
    const bool late = kind_of(last) == error_kind::timeout;
    co_return fail(late ? error_kind::timeout : error_kind::connect,
                   fmt::format("cannot connect to {}: {}", where.name(), late ? "timed out" : last.message()));
  }
  error_code ignored;
  c->tcp_stream.socket().set_option(tcp::no_delay(true), ignored);
  if (where.tls) {
    const auto secured = co_await handshake(c, where);
    if (!secured) co_return tl::unexpected<error>(secured.error());
  }
  co_return c;
}

http::request<http::string_body> http_client::impl::make_request(const http_request& req, const address& to) const {
  http::request<http::string_body> out;
  out.version(11);
  out.method_string(req.method);
  out.target(to.target);
  const bool usual_port = to.where.port == (to.where.tls ? "443" : "80");
  out.set(http::field::host, usual_port ? to.where.name().substr(0, to.where.name().rfind(':')) : to.where.name());
  out.set(http::field::user_agent, "inferno/" INFERNO_VERSION);
  for (const auto& h : req.headers) out.set(h.name, h.value);
  if (!req.content_type.empty()) out.set(http::field::content_type, req.content_type);
  out.body() = req.body;
  out.prepare_payload();
  return out;
}

asio::awaitable<result<http_client::impl::opened>> http_client::impl::open(const http_request& req, const address& to,
                                                                           steady::time_point deadline,
                                                                           std::optional<std::uint64_t> body_limit) {
  auto message = make_request(req, to);
  for (int attempt = 0;; ++attempt) {
    opened out;
    out.conn = take_idle(to.where);
    if (!out.conn) {
      auto made = co_await connect(to.where, deadline);
      if (!made) co_return tl::unexpected<error>(made.error());
      out.conn = *made;
    }
    out.conn->tcp_stream.expires_at(deadline);
    auto ec = co_await write_request(out.conn, message);
    std::string_view doing = "sending";
    while (!ec) {
      doing = "waiting for the response";
      out.parser = std::make_unique<stream_parser>();
      if (body_limit) {
        out.parser->body_limit(*body_limit);
      } else {
        out.parser->body_limit(boost::none);
      }
      if (req.method == "HEAD") out.parser->skip(true);
      ec = co_await read_header(out.conn, *out.parser);
      if (ec || out.parser->get().result_int() / 100 != 1) break;
    }
    if (!ec) co_return out;
    const bool stale = out.conn->reused && kind_of(ec) == error_kind::closed && idempotent(req.method) &&
                       (!out.parser || !out.parser->got_some());
    out.conn->close();
    if (!stale || attempt > 0) co_return tl::unexpected<error>(explain(ec, to, req, doing));
  }
}

namespace {

class response_stream final : public http_stream {
 public:
  response_stream(connection_ptr conn, std::unique_ptr<stream_parser> parser, std::string what,
                  std::function<void(connection_ptr)> give_back)
      : conn_(std::move(conn)), parser_(std::move(parser)), what_(std::move(what)), give_back_(std::move(give_back)) {}
  ~response_stream() override {
    if (conn_) conn_->close();
  }
  int status() const override { return static_cast<int>(parser_->get().result_int()); }
  std::string_view header(std::string_view name) const override {
    const auto it = parser_->get().find(beast::string_view(name.data(), name.size()));
    return it == parser_->get().end() ? std::string_view() : std::string_view(it->value().data(), it->value().size());
  }
  asio::awaitable<result<std::optional<std::string>>> read_some(std::chrono::milliseconds timeout) override {
    if (cancelled_) co_return fail(error_kind::cancelled, what_ + ": cancelled");
    while (parser_->get().body().empty() && !parser_->is_done()) {
      const auto conn = conn_;
      if (!conn) co_return fail(error_kind::closed, what_ + ": closed");
      conn->tcp_stream.expires_after(timeout);
      const auto ec = co_await read_part(conn, *parser_);
      if (!ec) continue;
      conn->close();
      conn_.reset();
      auto kind = cancelled_ ? error_kind::cancelled : kind_of(ec);
      const auto why = kind == error_kind::timeout     ? std::string("timed out")
                       : kind == error_kind::cancelled ? std::string("cancelled")
                                                       : ec.message();
      co_return fail(kind, fmt::format("{}: reading the body: {}", what_, why));
    }
    if (!parser_->get().body().empty()) {
      std::string part;
      std::swap(part, parser_->get().body());
      co_return std::optional<std::string>(std::move(part));
    }
    if (conn_ && parser_->keep_alive()) {
      give_back_(std::exchange(conn_, nullptr));
    }
    co_return std::optional<std::string>();
  }
  void cancel() override {
    cancelled_ = true;
    if (conn_) conn_->close();
  }

 private:
  connection_ptr conn_;
  std::unique_ptr<stream_parser> parser_;
  std::string what_;
  std::function<void(connection_ptr)> give_back_;
  bool cancelled_ = false;
};

}  // namespace

http_client::http_client(asio::any_io_executor executor, http_client_config config)
    : impl_(std::make_shared<impl>(std::move(executor), std::move(config))) {}
http_client::~http_client() = default;
asio::any_io_executor http_client::executor() const { return impl_->executor; }

void http_client::close_idle() {
  for (auto& [where, list] : impl_->idle)
    for (auto& c : list) c->close();
  impl_->idle.clear();
}

asio::awaitable<result<http_response>> http_client::request(http_request req) {
  const auto state = impl_;
  const auto to = parse_url(req.url);
  if (!to) co_return tl::unexpected<error>(to.error());
  const auto deadline = steady::now() + req.timeout.value_or(state->config.request_timeout);
  auto opened = co_await state->open(req, *to, deadline, state->config.max_body);
  if (!opened) co_return tl::unexpected<error>(opened.error());
  const auto ec = co_await read_rest(opened->conn, *opened->parser);
  if (ec) {
    opened->conn->close();
    auto e = state->explain(ec, *to, req, "reading the response");
    if (e.kind == error_kind::too_large) e.message += fmt::format(" ({} bytes)", state->config.max_body);
    co_return tl::unexpected<error>(std::move(e));
  }
  if (opened->parser->keep_alive()) {
    state->give_back(to->where, opened->conn);
  } else {
    opened->conn->close();
  }
  auto message = opened->parser->release();
  http_response out;
  out.status = static_cast<int>(message.result_int());
  for (const auto& field : message)
    out.headers.push_back({std::string(field.name_string().data(), field.name_string().size()),
                           std::string(field.value().data(), field.value().size())});
  out.body = std::move(message.body());
  co_return out;
}

asio::awaitable<result<std::unique_ptr<http_stream>>> http_client::open_stream(http_request req) {
  const auto state = impl_;
  const auto to = parse_url(req.url);
  if (!to) co_return tl::unexpected<error>(to.error());
  const auto deadline = steady::now() + req.timeout.value_or(state->config.request_timeout);
  auto opened = co_await state->open(req, *to, deadline, std::nullopt);
  if (!opened) co_return tl::unexpected<error>(opened.error());
  const auto path = to->target.substr(0, to->target.find('?'));
  auto give_back = [weak = state->weak_from_this(), where = to->where](connection_ptr c) {
    if (const auto strong = weak.lock()) strong->give_back(where, std::move(c));
  };
  std::unique_ptr<http_stream> out =
      std::make_unique<response_stream>(std::move(opened->conn), std::move(opened->parser),
                                        fmt::format("{} {} at {}", req.method, path, to->where.name()), std::move(give_back));
  co_return out;
}

}  // namespace inferno::net

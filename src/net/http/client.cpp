#include "net/http/client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <iterator>
#include <limits>
#include <tuple>
#include <utility>

#include "net/http/client_connection.hpp"
#include "net/http/gzip.hpp"
#include "net/http/header_reading.hpp"
#include "net/http/url.hpp"
#include "net/tls_context.hpp"

namespace inferno::net {

namespace beast = boost::beast;
namespace http = beast::http;
using error_code = boost::system::error_code;
using steady = std::chrono::steady_clock;

namespace {

constexpr std::uint32_t max_header = 64u << 10;
constexpr std::size_t max_fields = 256;
constexpr int max_interim = 10;            ///< responses 1xx before the final one
constexpr std::size_t framing_factor = 8;  ///< a chunk of one byte takes six on the wire
constexpr std::size_t framing_spare = 8u << 10;

/// Bytes of all the bodies a client is receiving.
struct receiving {
  std::size_t bytes = 0;
  std::size_t most = 0;
};

/// The part of one body in that, given back when the body is handed over or dropped.
class receiving_share {
 public:
  receiving_share() = default;
  explicit receiving_share(std::shared_ptr<receiving> all) : all_(std::move(all)) {}
  receiving_share(receiving_share&& other) noexcept : all_(std::move(other.all_)), bytes_(std::exchange(other.bytes_, 0)) {}
  receiving_share& operator=(receiving_share&& other) noexcept {
    std::swap(all_, other.all_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~receiving_share() {
    if (all_) all_->bytes -= bytes_;
  }
  /// False: all of them together are too large now.
  bool grow_to(std::size_t bytes) {
    if (!all_) return true;
    all_->bytes += bytes - bytes_;
    bytes_ = bytes;
    return all_->bytes <= all_->most;
  }

 private:
  std::shared_ptr<receiving> all_;
  std::size_t bytes_ = 0;
};

struct received {
  std::string text;
  std::size_t encoded = 0;  ///< bytes of the body as they came
  receiving_share share;
  std::optional<gzip_inflater> inflater;
  std::optional<error> problem;  ///< of the inflater, or of the share
};

/// A string that does not trust Content-Length with memory, and is inflated as it comes.
struct received_body {
  using value_type = received;
  class reader {
   public:
    template <bool IsRequest, class Fields>
    reader(http::header<IsRequest, Fields>&, value_type& body) : body_(body) {}
    void init(const boost::optional<std::uint64_t>& length, error_code& ec) {
      if (length) body_.text.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(*length, 1u << 20)));
      ec = {};
    }
    template <class Buffers>
    std::size_t put(const Buffers& buffers, error_code& ec) {
      ec = {};
      std::size_t taken = 0;
      for (const auto b : beast::buffers_range_ref(buffers)) {
        const std::string_view bytes(static_cast<const char*>(b.data()), b.size());
        taken += bytes.size();
        body_.encoded += bytes.size();
        if (!body_.inflater) {
          body_.text.append(bytes);
        } else if (judge(body_.inflater->feed(bytes, body_.text), ec); ec) {
          break;
        }
        if (!body_.share.grow_to(body_.text.size())) {
          judge(fail(error_kind::too_large, "the responses that are being received are too large together"), ec);
          break;
        }
      }
      return taken;
    }
    void finish(error_code& ec) {
      ec = {};
      if (body_.inflater) judge(body_.inflater->finish(), ec);
    }

   private:
    /// The code says only that something is wrong: what, is in the body.
    void judge(const result<void>& outcome, error_code& ec) {
      if (outcome) return;
      body_.problem = outcome.error();
      ec = make_error_code(boost::system::errc::bad_message);
    }
    value_type& body_;
  };
};

using parser_type = http::response_parser<received_body>;

std::string_view view(beast::string_view s) { return {s.data(), s.size()}; }
beast::string_view view(std::string_view s) { return {s.data(), s.size()}; }

/// `operation` on the TLS stream or on the TCP stream, whichever the connection talks through.
template <class Operation>
asio::awaitable<error_code> on_stream(client_connection& c, Operation operation) {
  if (c.tls) {
    const auto [ec, n] = co_await operation(*c.tls);
    co_return ec;
  }
  const auto [ec, n] = co_await operation(c.tcp);
  co_return ec;
}

asio::awaitable<error_code> write_request(client_connection& c, http::request<http::string_body>& request) {
  co_return co_await on_stream(c, [&](auto& stream) { return http::async_write(stream, request, nothrow); });
}
/// Those of a trailer are among them.
error_code judge_fields(const parser_type& parser) {
  const auto& message = parser.get();
  if (static_cast<std::size_t>(std::distance(message.begin(), message.end())) > max_fields)
    return make_error_code(http::error::header_limit);
  return {};
}

asio::awaitable<error_code> read_header(client_connection& c, parser_type& parser) {
  if (c.tls) co_return co_await read_header_of(*c.tls, c.buffer, parser, max_fields);
  co_return co_await read_header_of(c.tcp, c.buffer, parser, max_fields);
}
/// `wire`, if any, receives the bytes that were taken from the connection.
asio::awaitable<error_code> read_part(client_connection& c, parser_type& parser, std::size_t* wire = nullptr) {
  const auto read = [&](auto& stream) { return http::async_read_some(stream, c.buffer, parser, nothrow); };
  error_code ec;
  std::size_t n = 0;
  if (c.tls) {
    std::tie(ec, n) = co_await read(*c.tls);
  } else {
    std::tie(ec, n) = co_await read(c.tcp);
  }
  if (wire) *wire += n;
  co_return ec ? ec : judge_fields(parser);
}

asio::awaitable<error_code> read_rest(client_connection& c, parser_type& parser) {
  // Not eager: Beast would go on reading by itself as long as what it has read ends inside a chunk.
  std::size_t wire = 0;
  while (!parser.is_done()) {
    const auto ec = co_await read_part(c, parser, &wire);
    if (ec) co_return ec;
    if (wire / framing_factor > parser.get().body().encoded + framing_spare) co_return make_error_code(http::error::body_limit);
  }
  co_return error_code{};
}

bool may_repeat(const http_request& req) {
  const auto& m = req.method;
  return req.repeatable || m == "GET" || m == "HEAD" || m == "PUT" || m == "DELETE" || m == "OPTIONS";
}

/// Whoever names encodings gets the body as it is.
bool names_encodings(const http_request& req) {
  return std::any_of(req.headers.begin(), req.headers.end(),
                     [](const auto& h) { return http::string_to_field(h.name) == http::field::accept_encoding; });
}

result<http::request<http::string_body>> make_message(const http_request& req, const http_address& to, bool accept_gzip) {
  const auto breaks = [](std::string_view text) { return text.find_first_of(std::string_view("\r\n\0", 3)) != text.npos; };
  http::request<http::string_body> out;
  out.version(11);
  if (req.method.empty() || req.method.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != std::string::npos)
    return fail(error_kind::protocol, fmt::format("{}: the method must be in capital letters", to.where.name()));
  out.method_string(req.method);
  out.target(to.target);
  out.set(http::field::host, to.where.host_header());
  out.set(http::field::user_agent, "inferno/" INFERNO_VERSION);
  if (accept_gzip) out.set(http::field::accept_encoding, "gzip");
  for (const auto& h : req.headers) {
    // The value may be a secret: only the name is told.
    if (h.name.empty() || breaks(h.name) || breaks(h.value))
      return fail(error_kind::protocol,
                  fmt::format("{} {} at {}: a header without a name or with a line break in it{}", req.method, to.path(),
                              to.where.name(), breaks(h.name) ? std::string() : ": " + h.name));
    const auto field = http::string_to_field(h.name);
    if (field == http::field::host || field == http::field::user_agent) {
      out.set(h.name, h.value);
    } else {
      out.insert(h.name, h.value);
    }
  }
  if (breaks(req.content_type)) return fail(error_kind::protocol, to.where.name() + ": a content type with a line break in it");
  if (!req.content_type.empty()) out.set(http::field::content_type, req.content_type);
  out.body() = req.body;
  out.prepare_payload();
  return out;
}

/// `body`: nullptr = none has been begun.
error explain(const error_code& ec, const received* body, const std::string& what, std::string_view doing,
              const boost::optional<std::uint64_t>& body_limit) {
  const auto* inner = body && body->problem ? &*body->problem : nullptr;
  error e;
  e.kind = inner ? inner->kind : kind_of(ec);
  e.message = fmt::format("{}: {}: {}", what, doing, inner ? inner->message : words_of(ec));
  if (ec == http::error::buffer_overflow) e.message += " (a chunk's extension or the trailer)";
  if (ec == http::error::body_limit) e.message += fmt::format(" (at most {} bytes)", body_limit.value_or(0));
  return e;
}

/// The query may hold a selector or a PromQL text of any length; the path says enough.
std::string name_of(const http_request& req, const http_address& to) {
  return fmt::format("{} {} at {}", req.method, to.path(), to.where.name());
}

/// The response's header has come; the parser holds what of the body came with it.
struct opened {
  client_connection_ptr conn;
  std::unique_ptr<parser_type> parser;
  bool reusable = true;  ///< the connection, once the body has been read; the headers permitting
};

/// Once the header has come. What it says of the encoded body is not true of the text.
void inflate_if_encoded(parser_type& parser, const boost::optional<std::uint64_t>& body_limit) {
  auto& message = parser.get();
  const auto encoding = message[http::field::content_encoding];
  if (parser.is_done() || !(beast::iequals(encoding, "gzip") || beast::iequals(encoding, "x-gzip"))) return;
  message.body().inflater.emplace(static_cast<std::size_t>(body_limit.value_or(std::numeric_limits<std::size_t>::max())));
  message.erase(http::field::content_encoding);
  message.erase(http::field::content_length);
}

std::unique_ptr<parser_type> make_parser(const http_request& req, const boost::optional<std::uint64_t>& body_limit) {
  auto out = std::make_unique<parser_type>();
  out->header_limit(max_header);
  out->body_limit(body_limit);
  if (req.method == "HEAD") out->skip(true);
  return out;
}

}  // namespace

std::string_view http_response::header(std::string_view name) const {
  const auto it = std::find_if(headers.begin(), headers.end(), [&](const auto& h) { return beast::iequals(h.name, view(name)); });
  return it == headers.end() ? std::string_view() : std::string_view(it->value);
}

struct http_client::impl : std::enable_shared_from_this<http_client::impl> {
  impl(asio::any_io_executor e, http_client_config c)
      : executor(std::move(e)), config(std::move(c)), idle(config.max_idle_per_origin, config.idle_timeout) {
    bodies->most = config.max_receiving;
  }

  asio::any_io_executor executor;
  http_client_config config;
  /// Made by the first https request: a client of plain servers needs no certificates and pays for none.
  std::optional<result<std::shared_ptr<asio::ssl::context>>> context;
  connection_pool idle;
  std::shared_ptr<receiving> bodies = std::make_shared<receiving>();

  result<std::shared_ptr<asio::ssl::context>> context_for(const origin& where);
  asio::awaitable<result<client_connection_ptr>> connect(const origin& where, std::shared_ptr<asio::ssl::context> tls,
                                                         steady::time_point deadline);
  asio::awaitable<result<opened>> open(const http_request& req, const http_address& to, steady::time_point deadline,
                                       boost::optional<std::uint64_t> body_limit);
};

/// nullptr for a plain origin.
result<std::shared_ptr<asio::ssl::context>> http_client::impl::context_for(const origin& where) {
  if (!where.tls) return nullptr;
  if (config.tls_context) {
    context = config.tls_context();
  } else if (!context) {
    context = make_client_context(config.tls);
  }
  if (!*context) return fail(context->error().kind, where.name() + ": " + context->error().message);
  return **context;
}

asio::awaitable<result<client_connection_ptr>> http_client::impl::connect(const origin& where,
                                                                          std::shared_ptr<asio::ssl::context> tls,
                                                                          steady::time_point deadline) {
  const auto until = std::min(deadline, steady::now() + config.connect_timeout);
  co_return co_await open_connection(executor, where, tls, config.tls, until);
}

asio::awaitable<result<opened>> http_client::impl::open(const http_request& req, const http_address& to,
                                                        steady::time_point deadline, boost::optional<std::uint64_t> body_limit) {
  const bool gzip = config.accept_gzip && !names_encodings(req);
  auto message = make_message(req, to, gzip);
  if (!message) co_return tl::unexpected<error>(message.error());
  const auto tls = context_for(to.where);
  if (!tls) co_return tl::unexpected<error>(tls.error());
  for (bool again = false;; again = true) {
    opened out;
    // The second time only a new connection will do: a restarted server has closed all the old ones.
    while (!again && (out.conn = idle.take(to.where)) && out.conn->context != *tls) out.conn->close();
    if (!out.conn) {
      auto made = co_await connect(to.where, *tls, deadline);
      if (!made) co_return tl::unexpected<error>(made.error());
      out.conn = *made;
    }
    out.conn->tcp.expires_at(deadline);
    out.conn->buffer.reserve(4096);
    std::string_view doing = "sending";
    const auto sent = co_await write_request(*out.conn, *message);
    auto ec = sent;
    // A server that has refused a request in the middle of its body has hung up, but its answer may be here.
    if (!sent || kind_of(sent) == error_kind::closed) {
      for (int interim = 0;; ++interim) {
        out.parser = make_parser(req, body_limit);
        ec = co_await read_header(*out.conn, *out.parser);
        if (ec || out.parser->get().result_int() / 100 != 1) break;
        if (interim == max_interim) {
          ec = make_error_code(http::error::bad_status);
          break;
        }
      }
      if (!sent) doing = "waiting for the response";
      if (ec && sent) ec = sent;
    }
    out.reusable = !sent;
    if (!ec) {
      if (gzip) inflate_if_encoded(*out.parser, body_limit);
      co_return out;
    }
    const bool stale =
        out.conn->reused && kind_of(ec) == error_kind::closed && may_repeat(req) && !(out.parser && out.parser->got_some());
    // A path that died without a word took the other kept connections with it.
    if (out.conn->reused && kind_of(ec) == error_kind::timeout) idle.drop(to.where);
    out.conn->close();
    if (!stale || again) co_return tl::unexpected<error>(explain(ec, nullptr, name_of(req, to), doing, body_limit));
  }
}

namespace {

class response_stream final : public http_stream {
 public:
  response_stream(opened exchange, std::string what, std::function<void(client_connection_ptr)> give_back)
      : conn_(std::move(exchange.conn)),
        parser_(std::move(exchange.parser)),
        reusable_(exchange.reusable),
        delimited_(!parser_->need_eof() || parser_->get().body().inflater),
        what_(std::move(what)),
        give_back_(std::move(give_back)) {}
  ~response_stream() override {
    if (conn_) conn_->close();
  }
  int status() const override { return static_cast<int>(parser_->get().result_int()); }
  std::string_view header(std::string_view name) const override { return view(parser_->get()[view(name)]); }
  bool delimited() const override { return delimited_; }

  asio::awaitable<result<std::optional<std::string>>> read_some(std::chrono::milliseconds timeout) override {
    if (cancelled_) co_return fail(error_kind::cancelled, what_ + ": cancelled");
    const auto& received_part = parser_->get().body();
    auto& body = parser_->get().body().text;
    while (body.empty() && !parser_->is_done() && !failed_) {
      const auto conn = conn_;
      conn->tcp.expires_after(timeout);
      const auto ec = co_await read_part(*conn, *parser_);
      if (!ec) continue;
      conn->close();
      conn_.reset();
      failed_ = cancelled_ ? error{error_kind::cancelled, 0, what_ + ": cancelled", std::nullopt}
                           : explain(ec, &received_part, what_, "reading the body", boost::none);
    }
    if (!body.empty()) {
      std::string part;
      part.swap(body);
      co_return std::optional<std::string>(std::move(part));
    }
    if (failed_) co_return tl::unexpected<error>(*failed_);
    if (conn_) {
      if (reusable_ && parser_->keep_alive()) {
        give_back_(conn_);
      } else {
        conn_->close();
      }
      conn_.reset();
    }
    co_return std::optional<std::string>();
  }
  void cancel() override {
    cancelled_ = true;
    if (conn_) conn_->close();
  }

 private:
  client_connection_ptr conn_;
  std::unique_ptr<parser_type> parser_;
  bool reusable_;
  bool delimited_;
  std::string what_;
  std::function<void(client_connection_ptr)> give_back_;
  bool cancelled_ = false;
  std::optional<error> failed_;
};

}  // namespace

http_client::http_client(asio::any_io_executor executor, http_client_config config)
    : impl_(std::make_shared<impl>(std::move(executor), std::move(config))) {}
http_client::~http_client() = default;
asio::any_io_executor http_client::executor() const { return impl_->executor; }
void http_client::close_idle() { impl_->idle.clear(); }

asio::awaitable<result<http_response>> http_client::request(http_request req) {
  const auto state = impl_;
  const auto to = parse_url(req.url);
  if (!to) co_return tl::unexpected<error>(to.error());
  const auto deadline = steady::now() + req.timeout.value_or(state->config.request_timeout);
  const boost::optional<std::uint64_t> limit(state->config.max_body);
  auto exchange = co_await state->open(req, *to, deadline, limit);
  if (!exchange) co_return tl::unexpected<error>(exchange.error());
  auto& conn = *exchange->conn;
  auto& parser = *exchange->parser;
  parser.get().body().share = receiving_share(state->bodies);
  // Beast reads no more at a time than the buffer holds.
  if (parser.content_length().value_or(1u << 14) > 4096) conn.buffer.reserve(1u << 14);
  const auto ec = co_await read_rest(conn, parser);
  if (ec) {
    conn.close();
    co_return tl::unexpected<error>(explain(ec, &parser.get().body(), name_of(req, *to), "reading the response", limit));
  }
  if (exchange->reusable && parser.keep_alive()) {
    state->idle.give_back(to->where, exchange->conn);
  } else {
    conn.close();
  }
  auto message = parser.release();
  http_response out;
  out.status = static_cast<int>(message.result_int());
  for (const auto& field : message)
    out.headers.push_back({std::string(view(field.name_string())), std::string(view(field.value()))});
  out.body = std::move(message.body().text);
  co_return out;
}

asio::awaitable<result<std::unique_ptr<http_stream>>> http_client::open_stream(http_request req) {
  const auto state = impl_;
  const auto to = parse_url(req.url);
  if (!to) co_return tl::unexpected<error>(to.error());
  const auto deadline = steady::now() + req.timeout.value_or(state->config.request_timeout);
  const boost::optional<std::uint64_t> unbounded;
  auto exchange = co_await state->open(req, *to, deadline, unbounded);
  if (!exchange) co_return tl::unexpected<error>(exchange.error());
  auto give_back = [weak = state->weak_from_this(), where = to->where](client_connection_ptr c) {
    if (const auto strong = weak.lock()) strong->idle.give_back(where, std::move(c));
  };
  auto what = name_of(req, *to);
  std::unique_ptr<http_stream> out =
      std::make_unique<response_stream>(std::move(*exchange), std::move(what), std::move(give_back));
  co_return out;
}

}  // namespace inferno::net

#include "net/http/server.hpp"

#include <fmt/format.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <set>

namespace inferno::net {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::seconds write_timeout{30};  ///< a client that takes nothing for so long is given up

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string percent_decoded(std::string_view in, bool plus_is_space) {
  std::string out;
  out.reserve(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i] == '%' && i + 2 < in.size() && hex_digit(in[i + 1]) >= 0 && hex_digit(in[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(in[i + 1]) * 16 + hex_digit(in[i + 2]));
      i += 2;
    } else {
      out += plus_is_space && in[i] == '+' ? ' ' : in[i];
    }
  }
  return out;
}

/// A connection and the request it is at.
class connection final : public http_exchange, public std::enable_shared_from_this<connection> {
 public:
  connection(tcp::socket socket, const http_server_config& config) : stream_(std::move(socket)), config_(config) {}

  std::string_view method() const override { return {request_.method_string().data(), request_.method_string().size()}; }
  std::string_view path() const override { return path_; }
  std::optional<std::string> query(std::string_view name) const override;
  std::string_view header(std::string_view name) const override {
    const auto it = request_.find(beast::string_view(name.data(), name.size()));
    return it == request_.end() ? std::string_view() : std::string_view(it->value().data(), it->value().size());
  }
  const std::string& body() const override { return request_.body(); }

  asio::awaitable<void> respond(int status, std::string content_type, std::string body,
                                std::vector<http_header> headers) override;
  asio::awaitable<bool> begin_stream(int status, std::string content_type, std::vector<http_header> headers) override;
  asio::awaitable<bool> write(std::string chunk) override;
  asio::awaitable<void> end_stream() override;
  void abort() override {
    aborted_ = true;
    boost::system::error_code ec;
    // Linger 0 makes close a reset.
    stream_.socket().set_option(asio::socket_base::linger(true, 0), ec);
    close();
  }

  void close() {
    boost::system::error_code ec;
    stream_.socket().close(ec);
  }
  asio::awaitable<void> run(const http_handler& handler, const std::function<void(std::string_view)>& on_error);

 private:
  asio::awaitable<bool> read_request();
  asio::awaitable<bool> refuse(int status, std::string why);
  void watch_peer();
  asio::awaitable<bool> send(std::string bytes);
  std::string head_text(int status, const std::string& content_type, const std::vector<http_header>& headers,
                        std::string_view framing) const;

  beast::tcp_stream stream_;
  const http_server_config& config_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  std::string path_;
  std::string query_;
  asio::cancellation_signal stop_watching_;
  bool begun_ = false;
  bool streaming_ = false;
  bool keep_alive_ = false;
  bool chunked_ = true;
  bool gone_ = false;
  bool aborted_ = false;
};

std::optional<std::string> connection::query(std::string_view name) const {
  std::string_view rest = query_;
  while (!rest.empty()) {
    const auto end = rest.find('&');
    const auto item = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    const auto eq = item.find('=');
    if (percent_decoded(item.substr(0, eq), true) != name) continue;
    return eq == std::string_view::npos ? std::string() : percent_decoded(item.substr(eq + 1), true);
  }
  return std::nullopt;
}

std::string connection::head_text(int status, const std::string& content_type, const std::vector<http_header>& headers,
                                  std::string_view framing) const {
  const auto reason = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", status, std::string_view(reason.data(), reason.size()));
  if (!content_type.empty()) out += fmt::format("Content-Type: {}\r\n", content_type);
  for (const auto& h : headers) out += fmt::format("{}: {}\r\n", h.name, h.value);
  out += framing;
  out += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return out;
}

asio::awaitable<bool> connection::send(std::string bytes) {
  if (gone_) co_return false;
  stream_.expires_after(write_timeout);
  const auto data = asio::buffer(bytes);
  const auto [ec, n] = co_await asio::async_write(stream_, data, nothrow);
  stream_.expires_never();
  if (ec) gone_ = true;
  co_return !ec;
}

asio::awaitable<void> connection::respond(int status, std::string content_type, std::string body,
                                          std::vector<http_header> headers) {
  if (begun_) throw std::logic_error("a response has been begun already");
  begun_ = true;
  auto bytes = head_text(status, content_type, headers, fmt::format("Content-Length: {}\r\n", body.size()));
  if (method() != "HEAD") bytes += body;
  co_await send(std::move(bytes));
}

asio::awaitable<bool> connection::begin_stream(int status, std::string content_type, std::vector<http_header> headers) {
  if (begun_) throw std::logic_error("a response has been begun already");
  begun_ = true;
  streaming_ = true;
  chunked_ = request_.version() >= 11;
  if (!chunked_) keep_alive_ = false;
  auto bytes = head_text(status, content_type, headers, chunked_ ? "Transfer-Encoding: chunked\r\n" : "");
  watch_peer();
  co_return co_await send(std::move(bytes));
}

asio::awaitable<bool> connection::write(std::string chunk) {
  if (chunk.empty()) co_return !gone_;
  if (chunked_) {
    auto framed = fmt::format("{:x}\r\n", chunk.size());
    framed += chunk;
    framed += "\r\n";
    chunk = std::move(framed);
  }
  co_return co_await send(std::move(chunk));
}

asio::awaitable<void> connection::end_stream() {
  if (!streaming_) co_return;
  streaming_ = false;
  stop_watching_.emit(asio::cancellation_type::all);
  if (!chunked_) co_return;
  std::string last = "0\r\n\r\n";
  co_await send(std::move(last));
}

/// While a response is streamed nobody reads, so a client that went away would be noticed only at the next write.
void connection::watch_peer() {
  stream_.socket().async_wait(tcp::socket::wait_read,
                              asio::bind_cancellation_slot(stop_watching_.slot(), [self = shared_from_this()](auto ec) {
                                if (ec || !self->streaming_) return;
                                boost::system::error_code available_error;
                                // Readable without a byte to read: the end. Bytes would be a pipelined request, which may wait.
                                if (self->stream_.socket().available(available_error) > 0) return;
                                self->gone_ = true;
                                self->close();
                              }));
}

asio::awaitable<bool> connection::refuse(int status, std::string why) {
  keep_alive_ = false;
  auto bytes = head_text(status, "text/plain", {}, fmt::format("Content-Length: {}\r\n", why.size()));
  bytes += why;
  co_await send(std::move(bytes));
  // What the client is still sending is taken and dropped for a moment: closing over it would reset the connection before it has
  // read the answer.
  boost::system::error_code ec;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ec);
  char drop[4096];
  for (std::size_t total = 0; total < (1u << 20);) {
    stream_.expires_after(std::chrono::seconds(1));
    const auto sink = asio::buffer(drop);
    const auto [read_error, n] = co_await stream_.async_read_some(sink, nothrow);
    if (read_error) break;
    total += n;
  }
  co_return false;
}

asio::awaitable<bool> connection::read_request() {
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(config_.max_header));
  parser.body_limit(config_.max_body);
  stream_.expires_after(config_.idle_timeout);
  const auto [header_error, header_bytes] = co_await http::async_read_header(stream_, buffer_, parser, nothrow);
  if (header_error == http::error::header_limit) co_return co_await refuse(431, "request header too large\n");
  if (header_error == http::error::body_limit) co_return co_await refuse(413, "request body too large\n");
  if (header_error.category() == http::make_error_code(http::error::bad_method).category() &&
      header_error != http::error::end_of_stream && header_error != http::error::partial_message)
    co_return co_await refuse(400, "not an HTTP request\n");
  if (header_error) co_return false;
  keep_alive_ = parser.keep_alive();
  if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    if (!co_await send(std::move(go_on))) co_return false;
    stream_.expires_after(config_.idle_timeout);
  }
  const auto [body_error, body_bytes] = co_await http::async_read(stream_, buffer_, parser, nothrow);
  if (body_error == http::error::body_limit) co_return co_await refuse(413, "request body too large\n");
  if (body_error.category() == http::make_error_code(http::error::bad_method).category() &&
      body_error != http::error::partial_message && body_error)
    co_return co_await refuse(400, "not an HTTP request\n");
  if (body_error) co_return false;
  stream_.expires_never();
  request_ = parser.release();
  const std::string_view target(request_.target().data(), request_.target().size());
  const auto question = target.find('?');
  path_ = percent_decoded(target.substr(0, question), false);
  query_ = question == std::string_view::npos ? std::string() : std::string(target.substr(question + 1));
  begun_ = streaming_ = gone_ = false;
  co_return true;
}

asio::awaitable<void> connection::run(const http_handler& handler, const std::function<void(std::string_view)>& on_error) {
  boost::system::error_code ignored;
  stream_.socket().set_option(tcp::no_delay(true), ignored);
  while (co_await read_request()) {
    std::string failure;
    try {
      co_await handler(*this);
    } catch (const std::exception& e) {
      failure = fmt::format("{} {}: {}", method(), path_, e.what());
    }
    if (!failure.empty() && on_error) on_error(failure);
    if (aborted_ || gone_) break;
    // A handler that failed or answered nothing still owes the client an end. A broken stream must not look like a whole one.
    if (streaming_ && !failure.empty()) {
      abort();
      break;
    }
    if (streaming_) co_await end_stream();
    if (!begun_) {
      std::string type = "text/plain";
      std::string text = "internal error\n";
      std::vector<http_header> none;
      co_await respond(500, std::move(type), std::move(text), std::move(none));
    }
    if (!keep_alive_ || gone_) break;
  }
  streaming_ = false;
  stop_watching_.emit(asio::cancellation_type::all);
  if (!aborted_) {
    boost::system::error_code ec;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ec);
  }
  close();
}

}  // namespace

struct http_server::impl : std::enable_shared_from_this<http_server::impl> {
  impl(asio::any_io_executor e, http_server_config c, http_handler h, std::function<void(std::string_view)> error_handler)
      : executor(std::move(e)),
        config(std::move(c)),
        handler(std::move(h)),
        on_error(std::move(error_handler)),
        acceptor(executor) {}

  asio::any_io_executor executor;
  http_server_config config;
  http_handler handler;
  std::function<void(std::string_view)> on_error;
  tcp::acceptor acceptor;
  unsigned short port = 0;
  std::set<std::shared_ptr<connection>> connections;
  std::atomic<bool> stopped{false};

  static asio::awaitable<void> serve(std::shared_ptr<impl> self, std::shared_ptr<connection> c) {
    co_await c->run(self->handler, self->on_error);
    self->connections.erase(c);
  }

  static asio::awaitable<void> turn_away(std::shared_ptr<tcp::socket> socket) {
    static constexpr std::string_view busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    const auto data = asio::buffer(busy);
    co_await asio::async_write(*socket, data, nothrow);  // best effort: the connection is closed either way
    boost::system::error_code ignored;
    socket->shutdown(tcp::socket::shutdown_both, ignored);
  }

  static asio::awaitable<void> accept(std::shared_ptr<impl> self) {
    while (!self->stopped) {
      auto [ec, socket] = co_await self->acceptor.async_accept(nothrow);
      if (self->stopped) break;
      if (ec) {
        if (self->on_error) self->on_error(fmt::format("accept: {}", ec.message()));
        // Out of file descriptors: the backlog stays, so a pause is better than a busy loop.
        asio::steady_timer pause(self->executor, std::chrono::milliseconds(50));
        co_await pause.async_wait(nothrow);
        continue;
      }
      if (self->connections.size() >= self->config.max_connections) {
        auto held = std::make_shared<tcp::socket>(std::move(socket));
        asio::co_spawn(self->executor, turn_away(std::move(held)), asio::detached);
        continue;
      }
      auto c = std::make_shared<connection>(std::move(socket), self->config);
      self->connections.insert(c);
      asio::co_spawn(self->executor, serve(self, c), asio::detached);
    }
  }

  void close_all() {
    boost::system::error_code ec;
    acceptor.close(ec);
    for (const auto& c : connections) c->close();
  }
};

result<std::unique_ptr<http_server>> http_server::start(asio::any_io_executor executor, http_server_config config,
                                                        http_handler handler, std::function<void(std::string_view)> on_error) {
  const auto bad = [&](const boost::system::error_code& ec) {
    return fail(error_kind::address, fmt::format("cannot listen on {}:{}: {}", config.address, config.port, ec.message()));
  };
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(config.address, ec);
  if (ec) return bad(ec);
  const tcp::endpoint endpoint(address, config.port);
  auto state = std::make_shared<impl>(std::move(executor), config, std::move(handler), std::move(on_error));
  state->acceptor.open(endpoint.protocol(), ec);
  if (!ec) state->acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) state->acceptor.bind(endpoint, ec);
  if (!ec) state->acceptor.listen(4096, ec);
  if (ec) return bad(ec);
  state->port = state->acceptor.local_endpoint().port();
  asio::co_spawn(state->executor, impl::accept(state), asio::detached);
  return std::unique_ptr<http_server>(new http_server(std::move(state)));
}

http_server::http_server(std::shared_ptr<impl> state) : impl_(std::move(state)) {}
http_server::~http_server() { stop(); }
unsigned short http_server::port() const { return impl_->port; }

std::string http_server::address() const {
  const bool v6 = impl_->config.address.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", impl_->config.address, impl_->port)
            : fmt::format("{}:{}", impl_->config.address, impl_->port);
}

void http_server::stop() {
  if (impl_->stopped.exchange(true)) return;
  asio::dispatch(impl_->executor, [state = impl_] { state->close_all(); });
}

}  // namespace inferno::net

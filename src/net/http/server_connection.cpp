#include "net/http/server_connection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

namespace inferno::net {

namespace beast = boost::beast;
namespace http = beast::http;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
/// Beast reports a header as too large once it has read so much: the buffer must hold a little more.
constexpr std::size_t buffer_slack = 4u << 10;
constexpr std::chrono::seconds write_timeout{30};  ///< a client that takes nothing for so long is given up
constexpr std::chrono::seconds linger_time{1};     ///< for what a refused client is still sending, and for its goodbye
constexpr std::size_t linger_bytes = 64u << 20;    ///< likewise
constexpr std::size_t watch_buffer = 512;          ///< of a pipelined request, while a response is streamed
constexpr std::size_t linger_buffer = 16u << 10;
constexpr std::size_t slowest = 64u << 10;  ///< bytes a second in which a client must take a response

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string_view view(beast::string_view s) { return {s.data(), s.size()}; }

/// A value with a line break in it would become headers of its own.
std::string_view one_line(std::string_view value) { return value.substr(0, value.find_first_of("\r\n")); }

/// Bytes of a response, for as long as they are being sent.
class unsent_bytes {
 public:
  unsent_bytes(std::shared_ptr<server_load> load, std::size_t size) : load_(std::move(load)), size_(size) {
    load_->unsent += size_;
  }
  ~unsent_bytes() { load_->unsent -= size_; }
  unsent_bytes(const unsent_bytes&) = delete;
  unsent_bytes& operator=(const unsent_bytes&) = delete;

 private:
  std::shared_ptr<server_load> load_;
  std::size_t size_;
};

bool has_no_body(int status) { return status / 100 == 1 || status == 204 || status == 304; }

}  // namespace

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

server_connection::server_connection(tcp::socket socket, std::shared_ptr<asio::ssl::context> tls,
                                     const http_server_config& config, std::shared_ptr<server_load> load)
    : stream_(std::move(socket), std::move(tls)),
      config_(config),
      load_(std::move(load)),
      buffer_(std::max(config.max_header, body_buffer) + buffer_slack),
      watch_over_(stream_.get_executor()) {
  error_code gone_already;
  const auto remote = stream_.socket().remote_endpoint(gone_already);
  if (!gone_already) peer_ = remote.address();
}

std::string_view server_connection::method() const { return view(request_.method_string()); }

std::string_view server_connection::header(std::string_view name) const {
  return view(request_[beast::string_view(name.data(), name.size())]);
}

std::optional<std::string> server_connection::query(std::string_view name) const {
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

std::string server_connection::head_text(int status, const std::string& content_type, const std::vector<http_header>& headers,
                                         std::string_view framing) const {
  const auto reason = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  std::string out = fmt::format("HTTP/1.1 {} {}\r\n", status, view(reason));
  if (!content_type.empty()) out += fmt::format("Content-Type: {}\r\n", one_line(content_type));
  for (const auto& h : headers) out += fmt::format("{}: {}\r\n", one_line(h.name), one_line(h.value));
  out += framing;
  out += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
  return out;
}

asio::awaitable<bool> server_connection::send(std::string head, std::string body) {
  // TLS makes a record of its own, and a packet, of every buffer.
  if (stream_.secure()) head += std::exchange(body, {});
  const std::array<asio::const_buffer, 2> parts{asio::buffer(head), asio::buffer(body)};
  beast::buffers_suffix<std::array<asio::const_buffer, 2>> rest(parts);
  // A deadline for every write, and for the whole one in proportion to its size: a large answer to a slow client may take its
  // time, but a client that takes a byte now and then does not hold the answer's memory for ever.
  const auto whole = write_timeout + std::chrono::seconds(asio::buffer_size(rest) / slowest);
  const auto until = clock::now() + whole;
  while (!gone_ && asio::buffer_size(rest) > 0) {
    stream_.tcp().expires_at(std::min(clock::now() + write_timeout, until));
    const auto [ec, n] = co_await stream_.async_write_some(rest, nothrow);
    if (ec) gone_ = true;
    rest.consume(n);
  }
  if (!gone_) stream_.tcp().expires_never();
  co_return !gone_;
}

asio::awaitable<void> server_connection::respond(int status, std::string content_type, std::string body,
                                                 std::vector<http_header> headers) {
  if (begun_) throw std::logic_error("a response has been begun already");
  begun_ = true;
  const bool bare = head_only_ || has_no_body(status);
  if (!bare && load_->unsent > 0 && load_->unsent + body.size() > config_.max_unsent) {
    status = 503;
    content_type = "text/plain";
    headers.assign(1, {"Retry-After", "1"});
    body = "too many responses are being sent\n";
  }
  auto head = head_text(status, content_type, headers,
                        has_no_body(status) ? std::string() : fmt::format("Content-Length: {}\r\n", body.size()));
  if (bare) body.clear();
  const unsent_bytes held(load_, body.size());
  co_await send(std::move(head), std::move(body));
}

asio::awaitable<bool> server_connection::begin_stream(int status, std::string content_type, std::vector<http_header> headers) {
  if (begun_) throw std::logic_error("a response has been begun already");
  begun_ = true;
  streaming_ = true;
  chunked_ = request_.version() >= 11;
  if (!chunked_) keep_alive_ = false;
  auto head = head_text(status, content_type, headers, chunked_ ? "Transfer-Encoding: chunked\r\n" : "");
  watch_peer();
  std::string nothing;
  co_return co_await send(std::move(head), std::move(nothing));
}

asio::awaitable<bool> server_connection::write(std::string chunk) {
  if (!streaming_) throw std::logic_error("write() outside a stream");
  if (chunk.empty() || head_only_) co_return !gone_;
  std::string head;
  if (chunked_) {
    head = fmt::format("{:x}\r\n", chunk.size());
    chunk += "\r\n";
  }
  co_return co_await send(std::move(head), std::move(chunk));
}

asio::awaitable<void> server_connection::end_stream() {
  if (!streaming_) co_return;
  streaming_ = false;
  when_gone_ = {};
  if (!chunked_ || head_only_) co_return;
  std::string last = "0\r\n\r\n";
  std::string nothing;
  co_await send(std::move(last), std::move(nothing));
}

/// While a response is streamed nobody reads, so a client that went away would be noticed only at the next write but one. Under
/// TLS a goodbye must be read to be known. What comes instead is a pipelined request: it may wait, in the buffer.
void server_connection::watch_peer() {
  // A client that has pipelined as much as the buffer holds is noticed at a write.
  if (buffer_.size() + watch_buffer > buffer_.max_size()) return;
  watching_ = true;
  auto report = [self = shared_from_this()](error_code ec, std::size_t n) {
    self->watching_ = false;
    self->buffer_.commit(n);
    self->watch_over_.cancel();
    if (ec && ec != asio::error::operation_aborted) self->close();
  };
  stream_.async_read_some(buffer_.prepare(watch_buffer), asio::bind_cancellation_slot(stop_watching_.slot(), std::move(report)));
}

/// The read that watched a stream goes on after its end: what it gets is the next request's. False: nothing came, or the end.
asio::awaitable<bool> server_connection::wait_for_peer() {
  if (watching_ && buffer_.size() == 0) {
    watch_over_.expires_after(config_.idle_timeout);
    co_await watch_over_.async_wait(nothrow);
    if (watching_) co_return false;
  }
  co_await stop_watching();
  co_return !gone_;
}

asio::awaitable<void> server_connection::stop_watching() {
  stop_watching_.emit(asio::cancellation_type::all);
  while (watching_) {
    watch_over_.expires_at(std::chrono::steady_clock::time_point::max());
    co_await watch_over_.async_wait(nothrow);
  }
}

void server_connection::abort() {
  error_code ignored;
  // Linger 0 makes close a reset.
  stream_.socket().set_option(asio::socket_base::linger(true, 0), ignored);
  close();
}

void server_connection::on_gone(std::function<void()> callback) {
  if (gone_) return callback();
  when_gone_ = std::move(callback);
}

void server_connection::close() {
  gone_ = true;
  if (auto tell = std::exchange(when_gone_, {})) tell();
  error_code ignored;
  stream_.socket().close(ignored);
}

void server_connection::drain() {
  draining_ = true;
  keep_alive_ = false;
  if (waiting_since_) close();
}

asio::awaitable<bool> server_connection::shake_hands() {
  if (!stream_.secure()) co_return true;
  stream_.tcp().expires_after(config_.handshake_timeout);
  const auto ec = co_await stream_.handshake();
  stream_.tcp().expires_never();
  if (!ec) co_return true;
  if (spoke_plain_http(ec)) {
    stream_.forget_tls();
    std::string why = "a plain HTTP request to a port that speaks HTTPS\n";
    co_await refuse(400, std::move(why));
  } else {
    co_await linger();  // the client may want to read why
  }
  gone_ = true;
  co_return false;
}

asio::awaitable<void> server_connection::refuse(int status, std::string why) {
  keep_alive_ = false;
  waiting_since_ = clock::now();  // a client that does not take its refusal is closed in favour of another
  auto head = head_text(status, "text/plain", {}, fmt::format("Content-Length: {}\r\n", why.size()));
  if (!co_await send(std::move(head), std::move(why))) co_return;
  co_await say_goodbye();
  co_await linger();
}

/// The proper end of TLS, without which a client cannot tell an end from a cut.
asio::awaitable<void> server_connection::say_goodbye() {
  if (gone_) co_return;
  gone_ = true;
  if (!stream_.secure()) co_return;
  co_await stop_watching();
  stream_.tcp().expires_after(linger_time);
  co_await stream_.shutdown();
}

/// What the client is still sending is taken and dropped for a moment: closing over it would reset the connection before the
/// client has read the answer.
asio::awaitable<void> server_connection::linger() {
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
  stream_.tcp().expires_after(linger_time);
  buffer_.clear();
  for (std::size_t total = 0; total < linger_bytes;) {
    const auto space = buffer_.prepare(linger_buffer);
    const auto [ec, n] = co_await stream_.tcp().async_read_some(space, nothrow);
    if (ec) break;
    total += n;
  }
}

asio::awaitable<void> server_connection::turn_away() {
  if (co_await shake_hands()) {
    std::string why = "too many connections\n";
    co_await refuse(503, std::move(why));
  }
  close();
}

asio::awaitable<void> server_connection::run(const http_handler& handler, const std::function<void(std::string_view)>& on_error) {
  if (!co_await shake_hands()) co_return close();
  while (!gone_ && co_await read_request()) {
    std::string failure;
    try {
      co_await handler(*this);
    } catch (const std::exception& e) {
      failure = e.what();
    } catch (...) {
      failure = "an exception that is no std::exception";
    }
    if (failure.empty() && !begun_ && !gone_) failure = "the handler gave no answer";
    if (!failure.empty() && on_error) on_error(fmt::format("{} {}: {}", method(), path_, failure));
    if (gone_) break;
    if (streaming_ && !failure.empty()) {
      abort();  // a broken stream must not look like a whole one
      break;
    }
    if (streaming_) co_await end_stream();
    if (!begun_) {
      std::string type = "text/plain";
      std::string text = "internal error\n";
      std::vector<http_header> none;
      co_await respond(500, std::move(type), std::move(text), std::move(none));
    }
    if (!keep_alive_ || draining_ || gone_) break;
    used_ = true;
    waiting_since_ = clock::now();
  }
  waiting_since_ = clock::now();
  co_await say_goodbye();
  error_code ignored;
  stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  close();
}

}  // namespace inferno::net

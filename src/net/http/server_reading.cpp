// How a server's connection reads a request, and what it refuses to read.
#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <iterator>

#include "net/http/header_reading.hpp"
#include "net/http/server_connection.hpp"

namespace inferno::net {

namespace beast = boost::beast;
namespace http = beast::http;
using error_code = boost::system::error_code;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t first_buffer = 2048;  ///< most requests fit
constexpr std::size_t framing_factor = 8;   ///< a chunk of one byte takes six on the wire
constexpr std::size_t framing_spare = 8u << 10;

std::string_view view(beast::string_view s) { return {s.data(), s.size()}; }

/// What was read is not HTTP, as opposed to: nothing more comes.
bool nonsense(const error_code& ec) {
  return ec && ec.category() == http::make_error_code(http::error::bad_method).category() && ec != http::error::end_of_stream &&
         ec != http::error::partial_message;
}

/// Path and query of a request target; a proxy may have sent a whole URL.
std::string_view origin_form(std::string_view target) {
  const auto scheme = target.find("://");
  if (target.empty() || target.front() == '/' || scheme == std::string_view::npos) return target;
  const auto slash = target.find_first_of("/?", scheme + 3);
  return slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
}

}  // namespace

server_connection::refusal server_connection::refusal_of(const error_code& ec) const {
  if (ec == http::error::header_limit) return {431, "the request's header is too large\n"};
  if (ec == http::error::body_limit && config_.max_body == 0) return {413, "no request body is accepted\n"};
  if (ec == http::error::body_limit) return {413, fmt::format("the request's body is larger than {} bytes\n", config_.max_body)};
  if (ec == http::error::buffer_overflow) return {400, "a chunk's extension or the trailer is too large\n"};
  if (nonsense(ec)) return {400, fmt::format("not an HTTP request: {}\n", ec.message())};
  return {};
}

/// What is wrong with a header that Beast has accepted.
std::optional<server_connection::refusal> server_connection::refused_header(const parser_type& parser) const {
  const auto& message = parser.get();
  if (static_cast<std::size_t>(std::distance(message.begin(), message.end())) > config_.max_fields)
    return refusal{431, fmt::format("the request has more than {} header fields\n", config_.max_fields)};
  // Beast takes a body of another encoding for no body, and its bytes for the next request: smuggling, behind a proxy that knows
  // the encoding. A version 1.0 proxy in between does not know any.
  const auto codings = message.equal_range(http::field::transfer_encoding);
  for (auto it = codings.first; it != codings.second; ++it)
    if (!beast::iequals(it->value(), "chunked") || message.version() < 11)
      return refusal{message.version() < 11 ? 400 : 501, "the request's transfer encoding is not supported\n"};
  if (config_.max_body == 0 && parser.chunked()) return refusal_of(make_error_code(http::error::body_limit));
  return std::nullopt;
}

/// Waits for the first byte of a later request of the connection. False: nothing came, or the end.
asio::awaitable<bool> server_connection::wait_for_request() {
  if (!used_ || buffer_.size() > 0) co_return true;
  stream_.tcp().expires_after(config_.idle_timeout);
  const auto space = buffer_.prepare(first_buffer);
  const auto [ec, n] = co_await stream_.async_read_some(space, nothrow);
  buffer_.commit(n);
  co_return !ec;
}

asio::awaitable<std::optional<server_connection::refusal>> server_connection::read_header(parser_type& parser) {
  const auto limit = std::min<std::chrono::milliseconds>(config_.header_timeout, config_.idle_timeout);
  stream_.tcp().expires_after(limit);
  const auto ec = co_await read_header_of(stream_, buffer_, parser, config_.max_fields);
  if (ec) co_return refusal_of(ec);
  waiting_since_.reset();
  co_return refused_header(parser);
}

asio::awaitable<std::optional<server_connection::refusal>> server_connection::read_body(parser_type& parser) {
  stream_.tcp().expires_after(config_.body_timeout);
  if (parser.get().version() >= 11 && beast::iequals(parser.get()[http::field::expect], "100-continue")) {
    std::string go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    std::string nothing;
    if (!co_await send(std::move(go_on), std::move(nothing))) co_return refusal{};
    stream_.tcp().expires_after(config_.body_timeout);
  }
  if (parser.content_length().value_or(body_buffer) > first_buffer) buffer_.reserve(body_buffer);
  // Not eager: Beast would go on reading by itself as long as what it has read ends inside a chunk.
  std::size_t wire = 0;
  while (!parser.is_done()) {
    const auto [ec, n] = co_await http::async_read_some(stream_, buffer_, parser, nothrow);
    if (ec) co_return refusal_of(ec);
    wire += n;
    if (wire / framing_factor > parser.get().body().size() + framing_spare)
      co_return refusal{413, "the request's chunks are mostly framing\n"};
  }
  // Few requests are large: their room is not kept for the life of the connection.
  if (buffer_.size() == 0) buffer_.shrink_to_fit();
  // The trailer's fields are among them now.
  co_return refused_header(parser);
}

asio::awaitable<bool> server_connection::read_request() {
  if (!co_await wait_for_peer()) co_return false;
  buffer_.reserve(first_buffer);
  begun_ = streaming_ = head_only_ = false;
  if (!co_await wait_for_request()) co_return false;
  std::optional<parser_type> parser;
  parser.emplace();
  parser->header_limit(static_cast<std::uint32_t>(config_.max_header));
  parser->body_limit(config_.max_body);
  auto refused = co_await read_header(*parser);
  if (!refused) {
    keep_alive_ = parser->keep_alive() && !draining_;
    if (!parser->is_done()) refused = co_await read_body(*parser);
  }
  if (refused) {
    // What the client has sent is not kept while it takes its time with the answer.
    parser.reset();
    if (refused->status != 0) co_await refuse(refused->status, std::move(refused->why));
    co_return false;
  }
  stream_.tcp().expires_never();
  request_ = parser->release();
  head_only_ = request_.method() == http::verb::head;
  const auto target = origin_form(view(request_.target()));
  const auto question = target.find('?');
  path_ = percent_decoded(target.substr(0, question), false);
  query_ = question == std::string_view::npos ? std::string() : std::string(target.substr(question + 1));
  co_return true;
}

}  // namespace inferno::net

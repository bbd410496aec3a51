#pragma once
// Reads the header of an HTTP message, its fields counted as they come.
#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/error.hpp>
#include <string_view>

namespace inferno::net {

/// Counts the lines of a header in the bytes it is shown, up to the empty line that ends it.
class header_lines {
 public:
  void see(std::string_view bytes) {
    for (const char c : bytes) {
      if (ended_) return;
      if (c == '\n') {
        ended_ = empty_;
        ++number_;
        empty_ = true;
      } else if (c != '\r') {
        empty_ = false;
      }
    }
  }
  std::size_t number() const { return number_; }

 private:
  std::size_t number_ = 0;
  bool empty_ = false;
  bool ended_ = false;
};

/// http::async_read_header, but error `header_limit` as soon as there are more than `max_fields` fields: Beast keeps every field
/// it has seen of an unfinished header, and a field of four bytes takes more than a hundred.
template <class Stream, class Parser>
boost::asio::awaitable<boost::system::error_code> read_header_of(Stream& stream, boost::beast::flat_buffer& buffer,
                                                                 Parser& parser, std::size_t max_fields) {
  namespace http = boost::beast::http;
  const auto view = [](const auto& b) { return std::string_view(static_cast<const char*>(b.data()), b.size()); };
  header_lines lines;
  lines.see(view(buffer.data()));
  for (;;) {
    // The start line and the empty line are lines too.
    if (lines.number() > max_fields + 2) co_return make_error_code(http::error::header_limit);
    bool more = buffer.size() == 0;
    while (!more) {
      boost::system::error_code ec;
      const auto used = parser.put(buffer.data(), ec);
      buffer.consume(used);
      if (ec && ec != http::error::need_more) co_return ec;
      if (parser.is_header_done()) co_return boost::system::error_code{};
      more = ec == http::error::need_more || buffer.size() == 0;
    }
    const auto room =
        std::min<std::size_t>(std::max<std::size_t>(512, buffer.capacity() - buffer.size()), buffer.max_size() - buffer.size());
    if (room == 0) co_return make_error_code(http::error::header_limit);
    const auto space = buffer.prepare(room);
    const auto [ec, n] = co_await stream.async_read_some(space, boost::asio::as_tuple(boost::asio::use_awaitable));
    if (ec == boost::asio::error::eof)
      co_return make_error_code(parser.got_some() ? http::error::partial_message : http::error::end_of_stream);
    if (ec) co_return ec;
    lines.see({static_cast<const char*>(space.data()), n});
    buffer.commit(n);
  }
}

}  // namespace inferno::net

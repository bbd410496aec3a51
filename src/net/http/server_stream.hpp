#pragma once
// What a server reads and writes: TCP, or TLS above it. To Asio and Beast it is one stream either way.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <memory>
#include <optional>
#include <utility>

namespace inferno::net {

namespace asio = boost::asio;

/// Deadlines are those of `tcp()`.
class server_stream {
 public:
  using executor_type = boost::beast::tcp_stream::executor_type;

  /// `context`: nullptr = plain.
  server_stream(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context);
  server_stream(const server_stream&) = delete;
  server_stream& operator=(const server_stream&) = delete;

  executor_type get_executor() noexcept { return tcp_.get_executor(); }
  boost::beast::tcp_stream& tcp() { return tcp_; }
  asio::ip::tcp::socket& socket() { return tcp_.socket(); }
  bool secure() const { return tls_.has_value(); }

  asio::awaitable<boost::system::error_code> handshake();
  /// Says goodbye and waits for the peer's; nothing can be sent afterwards. No read may be pending.
  asio::awaitable<boost::system::error_code> shutdown();
  /// After a handshake that failed: what follows goes in the clear.
  void forget_tls() { tls_.reset(); }

  template <class Buffers, class Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_read_some(buffers, std::forward<Token>(token));
    return tcp_.async_read_some(buffers, std::forward<Token>(token));
  }
  template <class Buffers, class Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    if (tls_) return tls_->async_write_some(buffers, std::forward<Token>(token));
    return tcp_.async_write_some(buffers, std::forward<Token>(token));
  }

 private:
  boost::beast::tcp_stream tcp_;
  std::shared_ptr<asio::ssl::context> context_;
  std::optional<asio::ssl::stream<boost::beast::tcp_stream&>> tls_;
};

/// The handshake failed because the client spoke HTTP.
bool spoke_plain_http(const boost::system::error_code& ec);

}  // namespace inferno::net

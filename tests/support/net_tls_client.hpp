#pragma once
// A TLS client that says exactly what a test wants inside its records, one step after the other.
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <string>
#include <utility>

#include "net/tls_context.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::test {

class tls_client {
 public:
  /// Connects; the handshake is a step of its own.
  tls_client(asio::io_context& context, unsigned short port, const net::tls_options& options)
      : context_(&context), tls_(net::make_client_context(options).value()), stream_(tcp::socket(context), *tls_) {
    boost::system::error_code ec;
    stream_.next_layer().connect(tcp::endpoint(asio::ip::make_address("127.0.0.1"), port), ec);
    if (ec) throw std::runtime_error("nobody listens");
    stream_.next_layer().set_option(tcp::no_delay(true));
  }

  boost::system::error_code shake_hands() { return run(*context_, handshake()); }
  bool say(std::string bytes) { return run(*context_, send(stream_, std::move(bytes))); }
  /// One response with its Content-Length body; "" when the server closed first.
  std::string answer() { return run(*context_, receive(stream_, held_)); }
  /// What comes up to and with `mark`; "" when the server closed first.
  std::string until(std::string mark) { return run(*context_, read_until(std::move(mark))); }
  /// All that comes until the server closes; `end`: eof when it said goodbye, stream_truncated when it did not.
  std::string rest(boost::system::error_code* end = nullptr) {
    auto out = std::exchange(held_, {});
    return out + run(*context_, read_rest(end));
  }
  /// The goodbye of TLS; the socket stays open.
  void say_goodbye() {
    ::SSL_set_shutdown(stream_.native_handle(), SSL_RECEIVED_SHUTDOWN);  // so that the server's is not waited for
    run(*context_, shutdown());
  }
  tcp::socket& socket() { return stream_.next_layer(); }

 private:
  asio::awaitable<boost::system::error_code> handshake() {
    const auto [ec] = co_await stream_.async_handshake(asio::ssl::stream_base::client, nothrow);
    co_return ec;
  }
  asio::awaitable<void> shutdown() { co_await stream_.async_shutdown(nothrow); }
  asio::awaitable<std::string> read_until(std::string mark) {
    const auto [ec, n] = co_await asio::async_read_until(stream_, asio::dynamic_buffer(held_), mark, nothrow);
    if (ec) co_return std::string();
    auto out = held_.substr(0, n);
    held_.erase(0, n);
    co_return out;
  }
  asio::awaitable<std::string> read_rest(boost::system::error_code* end) {
    std::string out;
    const auto [ec, n] = co_await asio::async_read(stream_, asio::dynamic_buffer(out), asio::transfer_all(), nothrow);
    if (end) *end = ec;
    co_return out;
  }

  asio::io_context* context_;
  std::shared_ptr<asio::ssl::context> tls_;
  asio::ssl::stream<tcp::socket> stream_;
  std::string held_;
};

}  // namespace inferno::test

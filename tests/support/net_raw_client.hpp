#pragma once
// A client that says exactly the bytes a test wants, one step after the other.
#include <optional>
#include <string>

#include "tests/support/net_raw_server.hpp"

namespace inferno::test {

class raw_client {
 public:
  raw_client(asio::io_context& context, unsigned short port) : context_(&context), socket_(context) {
    boost::system::error_code ec;
    socket_.connect(tcp::endpoint(asio::ip::make_address("127.0.0.1"), port), ec);
    connected_ = !ec;
    if (connected_) socket_.set_option(tcp::no_delay(true));
  }

  bool connected() const { return connected_; }
  bool say(std::string bytes) { return run(*context_, send(socket_, std::move(bytes))); }
  /// One response with its Content-Length body; "" when the server closed first.
  std::string answer() { return run(*context_, receive(socket_, held_)); }
  /// What comes up to and with `mark`; "" when the server closed first.
  std::string until(std::string mark) { return run(*context_, read_until(std::move(mark))); }
  /// All that comes until the server closes; `reset` tells how it closed.
  std::string rest(bool* reset = nullptr) {
    auto out = std::exchange(held_, {});
    return out + run(*context_, receive_all(socket_, reset));
  }
  void shutdown_send() { socket_.shutdown(tcp::socket::shutdown_send); }
  void close() { socket_.close(); }
  void close_hard() { test::close_hard(socket_); }

 private:
  asio::awaitable<std::string> read_until(std::string mark) {
    const auto [ec, n] = co_await asio::async_read_until(socket_, asio::dynamic_buffer(held_), mark, nothrow);
    if (ec) co_return std::string();
    auto out = held_.substr(0, n);
    held_.erase(0, n);
    co_return out;
  }

  asio::io_context* context_;
  tcp::socket socket_;
  std::string held_;
  bool connected_ = false;
};

/// The body of a response as receive() gives it.
inline std::string body_of(const std::string& response) {
  const auto end = response.find("\r\n\r\n");
  return end == std::string::npos ? std::string() : response.substr(end + 4);
}
inline std::string first_line(const std::string& message) { return message.substr(0, message.find('\r')); }

}  // namespace inferno::test

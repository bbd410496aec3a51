#pragma once
// A server that says exactly the bytes a test wants, and a client of the same kind.
#include <boost/asio/buffer.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "tests/support/net_io.hpp"

namespace inferno::test {

using tcp = asio::ip::tcp;

template <class Stream>
asio::awaitable<bool> send(Stream& stream, std::string bytes) {
  const auto data = asio::buffer(bytes);
  const auto [ec, n] = co_await asio::async_write(stream, data, nothrow);
  co_return !ec;
}

/// One request or response with its body (Content-Length only); "" when the peer closed first. `held` keeps what came after.
template <class Stream>
asio::awaitable<std::string> receive(Stream& stream, std::string& held) {
  const auto [ec, n] = co_await asio::async_read_until(stream, asio::dynamic_buffer(held), "\r\n\r\n", nothrow);
  if (ec) co_return std::string();
  std::size_t size = n;
  const auto at = held.find("Content-Length: ");
  if (at < n) size += std::stoul(held.substr(at + 16));
  if (held.size() < size) {
    const auto missing = size - held.size();
    const auto [body_error, m] =
        co_await asio::async_read(stream, asio::dynamic_buffer(held), asio::transfer_exactly(missing), nothrow);
    if (body_error) co_return std::string();
  }
  auto out = held.substr(0, size);
  held.erase(0, size);
  co_return out;
}

/// Everything up to the peer's close; `reset` tells how it closed.
template <class Stream>
asio::awaitable<std::string> receive_all(Stream& stream, bool* reset = nullptr) {
  std::string out;
  const auto [ec, n] = co_await asio::async_read(stream, asio::dynamic_buffer(out), asio::transfer_all(), nothrow);
  if (reset) *reset = ec == asio::error::connection_reset;
  co_return out;
}

inline void close_hard(tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

inline std::string ok(std::string_view body, std::string_view more_headers = {}) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(more_headers) + "\r\n" +
         std::string(body);
}

/// Runs `script` for every connection, with the connection's number from 0; a script's end closes its connection.
class raw_server {
 public:
  using script = std::function<asio::awaitable<void>(tcp::socket&, int)>;

  raw_server(asio::io_context& context, script s) : state_(std::make_shared<state>(context, std::move(s))) {
    asio::co_spawn(context, accept(state_), asio::detached);
  }
  ~raw_server() {
    boost::system::error_code ignored;
    state_->acceptor.close(ignored);
  }
  raw_server(const raw_server&) = delete;
  raw_server& operator=(const raw_server&) = delete;

  unsigned short port() const { return state_->acceptor.local_endpoint().port(); }
  std::string address() const { return "127.0.0.1:" + std::to_string(port()); }
  std::string url(std::string_view target = "/", std::string_view scheme = "http") const {
    return std::string(scheme) + "://" + address() + std::string(target);
  }
  int connections() const { return state_->accepted; }

 private:
  struct state {
    state(asio::io_context& context, script s)
        : acceptor(context, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0)), run(std::move(s)) {}
    tcp::acceptor acceptor;
    script run;
    int accepted = 0;
  };
  static asio::awaitable<void> serve(std::shared_ptr<state> s, std::shared_ptr<tcp::socket> socket, int number) {
    co_await s->run(*socket, number);
  }
  static asio::awaitable<void> accept(std::shared_ptr<state> s) {
    for (;;) {
      auto [ec, socket] = co_await s->acceptor.async_accept(nothrow);
      if (ec) co_return;
      socket.set_option(tcp::no_delay(true));
      auto held = std::make_shared<tcp::socket>(std::move(socket));
      asio::co_spawn(held->get_executor(), serve(s, held, s->accepted++), asio::detached);
    }
  }

  std::shared_ptr<state> state_;
};

/// A script that reads a request and answers these bytes, for as many requests as come.
inline raw_server::script always(std::string answer) {
  return [answer](tcp::socket& socket, int) -> asio::awaitable<void> {
    // The lambda lives in the server's state as long as its coroutines.
    std::string held;
    for (;;) {
      const auto request = co_await receive(socket, held);
      if (request.empty()) co_return;
      auto bytes = answer;
      if (!co_await send(socket, std::move(bytes))) co_return;
    }
  };
}

}  // namespace inferno::test

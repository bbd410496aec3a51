#pragma once
// A client's connection: TCP with or without TLS, how it is made, how it is kept for the next request.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>

#include "net/http/client.hpp"
#include "net/http/url.hpp"

namespace inferno::net {

/// Completion token: `co_await` gives the error code instead of throwing it.
inline constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

/// What an error code of Asio, Beast or OpenSSL means to a caller.
error_kind kind_of(const boost::system::error_code& ec);

/// Its words for people: "timed out" and "cancelled" instead of the libraries' phrases.
std::string words_of(const boost::system::error_code& ec);

/// One deadline at a time, of `tcp`, covers reads and writes.
struct client_connection {
  /// A header, a chunk's extension and a trailer have to fit, and so has what is read at a time.
  static constexpr std::size_t max_buffer = 128u << 10;

  explicit client_connection(const asio::any_io_executor& executor) : tcp(executor), buffer(max_buffer) {}
  boost::beast::tcp_stream tcp;
  std::shared_ptr<asio::ssl::context> context;                      ///< of `tls`; nullptr = plain
  std::optional<asio::ssl::stream<boost::beast::tcp_stream&>> tls;  ///< above `tcp`
  boost::beast::flat_buffer buffer;                                 ///< read, not yet parsed
  std::chrono::steady_clock::time_point idle_since{};
  bool reused = false;

  void close();
  /// False for a kept-alive connection that the server has closed, or on which it said something unasked.
  bool usable();
};
using client_connection_ptr = std::shared_ptr<client_connection>;

/// Resolves, connects, shakes hands. The addresses of a name are tried in order, each with its share of the time that is left.
/// `context`: for https, else not used. Errors name host and port: `connect`, `tls`, `timeout`.
asio::awaitable<result<client_connection_ptr>> open_connection(asio::any_io_executor executor, origin where,
                                                               std::shared_ptr<asio::ssl::context> context, tls_options tls,
                                                               std::chrono::steady_clock::time_point until);

/// Kept-alive connections by origin, the one used last first. Connections idle for too long are closed as others come and go, so
/// servers that no longer exist do not keep descriptors.
class connection_pool {
 public:
  connection_pool(std::size_t max_per_origin, std::chrono::steady_clock::duration idle_timeout)
      : max_per_origin_(max_per_origin), idle_timeout_(idle_timeout) {}
  ~connection_pool() { clear(); }
  connection_pool(const connection_pool&) = delete;
  connection_pool& operator=(const connection_pool&) = delete;

  client_connection_ptr take(const origin& where);  ///< nullptr: none is usable
  void give_back(const origin& where, client_connection_ptr connection);
  /// Closes all that lead there: one of them turned out to lead nowhere.
  void drop(const origin& where);
  void clear();

 private:
  void sweep(std::chrono::steady_clock::time_point now);

  std::size_t max_per_origin_;
  std::chrono::steady_clock::duration idle_timeout_;
  std::chrono::steady_clock::time_point next_sweep_{};
  std::map<origin, std::deque<client_connection_ptr>> idle_;
};

}  // namespace inferno::net

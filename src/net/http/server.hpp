#pragma once
// HTTP/1.1 server: a coroutine per connection, bounded requests, plain or streamed (chunked) responses.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.hpp"
#include "net/http/client.hpp"

namespace boost::asio::ssl {
class context;
}

namespace inferno::net {

/// One request and its response. Lives until the handler's coroutine ends.
class http_exchange {
 public:
  virtual ~http_exchange() = default;
  virtual std::string_view method() const = 0;
  virtual std::string_view path() const = 0;  ///< percent-decoded, without the query
  /// First value of a query parameter, percent-decoded ('+' is a space); nullopt when absent.
  virtual std::optional<std::string> query(std::string_view name) const = 0;
  virtual std::string_view header(std::string_view name) const = 0;
  virtual const std::string& body() const = 0;
  virtual std::string peer() const = 0;  ///< address of the client, "10.0.0.7" or "::1"

  /// Whole response; exactly one of respond / begin_stream, once. Sends keep the connection alive when the client asked for it.
  virtual asio::awaitable<void> respond(int status, std::string content_type, std::string body,
                                        std::vector<http_header> headers = {}) = 0;
  /// Chunked response. write() returns false once the client is gone.
  virtual asio::awaitable<bool> begin_stream(int status, std::string content_type, std::vector<http_header> headers = {}) = 0;
  virtual asio::awaitable<bool> write(std::string chunk) = 0;
  virtual asio::awaitable<void> end_stream() = 0;
  /// Called once, on the server's executor, when the client of a stream goes away before its end.
  virtual void on_gone(std::function<void()> callback) = 0;
  /// Resets the connection at once, in the middle of a body too (fault injection, shutdown).
  virtual void abort() = 0;
};

using http_handler = std::function<asio::awaitable<void>(http_exchange&)>;

struct http_server_config {
  std::string address = "127.0.0.1";  ///< IPv4 or IPv6 literal
  unsigned short port = 0;            ///< 0 = a free one
  /// Request bytes; more is answered 413 before any of it is read. 0 = no route takes a body. The framing of a chunked body may
  /// take at most eight times as much; a chunk's extension and the trailer have to fit a buffer of `max_header` or 64 KiB.
  std::size_t max_body = 8u << 20;
  std::size_t max_header = 64u << 10;  ///< more, or more than max_fields fields, is answered 431
  std::size_t max_fields = 100;        ///< of a header, and of header and trailer together
  /// If as many are open, the one that has waited longest for a request is closed in favour of a new one, that of the peer with
  /// the most connections first. If none is waiting, the new one is answered 503.
  std::size_t max_connections = 20000;
  /// Bytes of whole responses that clients have not taken yet, over all connections; one more response is answered 503 then.
  std::size_t max_unsent = 256u << 20;
  std::chrono::seconds idle_timeout{120};           ///< between two requests of a connection
  std::chrono::milliseconds header_timeout{10000};  ///< from the accept, or a later request's first byte, to the header's end
  std::chrono::milliseconds body_timeout{60000};    ///< for a whole request body
  /// HTTPS: asked for every connection, so that certificates rotate (certificate_files fits); empty = plain HTTP.
  std::function<result<std::shared_ptr<asio::ssl::context>>()> tls{};
  std::chrono::milliseconds handshake_timeout{10000};  ///< for the whole handshake: a silent client gives its place back
};

/// Listens from construction. A handler that throws is answered 500 and reported through `on_error`. So is, once, that there is
/// no TLS context to be had; connections are closed as long as there is none.
class http_server {
 public:
  /// Error: the address cannot be bound; the message names it.
  static result<std::unique_ptr<http_server>> start(asio::any_io_executor executor, http_server_config config,
                                                    http_handler handler, std::function<void(std::string_view)> on_error = {});
  ~http_server();  ///< stop()
  unsigned short port() const;
  std::string address() const;  ///< "127.0.0.1:8080"
  /// Resets every connection and goes on listening (fault injection). Thread-safe.
  void drop_connections();
  /// Stops listening, closes idle connections, and every other one after the response under way. Thread-safe.
  void drain();
  /// Stops listening and closes every connection; handlers see their writes fail. Thread-safe, idempotent.
  void stop();

 private:
  struct impl;
  explicit http_server(std::shared_ptr<impl>);
  std::shared_ptr<impl> impl_;
};

/// "127.0.0.1:8080", ":8080" (all interfaces), "[::1]:0" -> address and port; error names the value.
result<std::pair<std::string, unsigned short>> parse_bind_address(std::string_view text);

}  // namespace inferno::net

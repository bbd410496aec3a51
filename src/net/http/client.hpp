#pragma once
// HTTP/1.1 client: keep-alive pool per origin, one deadline per operation, bounded bodies, streamed responses.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/error.hpp"
#include "net/tls.hpp"

namespace boost::asio::ssl {
class context;
}

namespace inferno::net {

namespace asio = boost::asio;

struct http_header {
  std::string name;
  std::string value;
};

struct http_request {
  std::string method = "GET";
  std::string url;  ///< absolute: http(s)://host[:port]/path?query, host may be an IPv6 literal in brackets
  std::vector<http_header> headers{};
  std::string body{};
  std::string content_type{};
  std::optional<std::chrono::milliseconds> timeout{};  ///< of the whole exchange; absent = the client's
  bool repeatable = false;  ///< may be sent twice though its method is not idempotent (a query sent by POST)
};

struct http_response {
  int status = 0;
  std::vector<http_header> headers;
  std::string body;
  /// First header of that name, case-insensitive; "" when absent.
  std::string_view header(std::string_view name) const;
};

struct http_client_config {
  std::chrono::milliseconds connect_timeout{5000};
  std::chrono::milliseconds request_timeout{30000};
  /// Response bytes; more is `too_large`. So are a header of more than 64 KiB or 256 fields, a chunk's extension or a trailer of
  /// more than 128 KiB, and a chunked body that is mostly framing.
  std::size_t max_body = 64u << 20;
  /// Bytes of the bodies that are being received at the same time, streams excepted; the response that exceeds it is `too_large`.
  std::size_t max_receiving = 256u << 20;
  std::size_t max_idle_per_origin = 64;   ///< kept-alive connections
  std::chrono::seconds idle_timeout{60};  ///< older idle connections are not reused
  tls_options tls{};
  /// Asked before every https request, so that certificates rotate (client_certificate_files fits); kept-alive connections of
  /// another context are not used again. Empty = `tls` is read once. Its server_name and insecure_skip_verify hold anyway.
  std::function<result<std::shared_ptr<asio::ssl::context>>()> tls_context{};
  /// Asks for gzip and inflates it, for requests that name no encodings themselves; max_body then bounds the inflated text too.
  bool accept_gzip = false;
};

/// A response whose body is read as it comes; what a server has compressed and flushed is given at once.
class http_stream {
 public:
  virtual ~http_stream() = default;
  virtual int status() const = 0;
  virtual std::string_view header(std::string_view name) const = 0;
  /// Whether the end of the body can be told from a cut connection: by a length, by chunks or by its compression.
  virtual bool delimited() const = 0;
  /// Next bytes of the body, nullopt at its end. `timeout`: error `timeout` when nothing comes for so long. After an error the
  /// stream is of no more use. The stream must live until a pending read has returned.
  virtual asio::awaitable<result<std::optional<std::string>>> read_some(std::chrono::milliseconds timeout) = 0;
  /// Makes a pending read return `cancelled`; call from the client's executor.
  virtual void cancel() = 0;
};

/// Use from one executor (a strand or a single-threaded context). Statuses >= 400 are responses, not errors, at this level.
/// A request whose kept-alive connection turns out closed before the first response byte is sent once more on a new one, if its
/// method is idempotent or it is `repeatable`.
class http_client {
 public:
  http_client(asio::any_io_executor executor, http_client_config config);
  ~http_client();
  http_client(const http_client&) = delete;
  http_client& operator=(const http_client&) = delete;

  asio::awaitable<result<http_response>> request(http_request req);
  /// The timeout covers the exchange up to the response's header; no bound on the body.
  asio::awaitable<result<std::unique_ptr<http_stream>>> open_stream(http_request req);
  asio::any_io_executor executor() const;
  /// Closes idle connections; running operations go on.
  void close_idle();

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::net

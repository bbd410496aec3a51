#pragma once
// A server's connection: reads requests one after the other, gives them to the handler, writes what it answers.
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <optional>

#include "net/http/server.hpp"
#include "net/http/server_stream.hpp"

namespace inferno::net {

/// %XX decoded; an incomplete or wrong escape stays as it is.
std::string percent_decoded(std::string_view in, bool plus_is_space);

/// What the connections of a server have in common.
struct server_load {
  std::size_t unsent = 0;  ///< bytes of whole responses that are being sent
};

class server_connection final : public http_exchange, public std::enable_shared_from_this<server_connection> {
 public:
  using clock = std::chrono::steady_clock;

  /// `config` must outlive the connection. `tls`: nullptr = plain.
  server_connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> tls, const http_server_config& config,
                    std::shared_ptr<server_load> load);

  std::string_view method() const override;
  std::string_view path() const override { return path_; }
  std::optional<std::string> query(std::string_view name) const override;
  std::string_view header(std::string_view name) const override;
  const std::string& body() const override { return request_.body(); }
  std::string peer() const override { return peer_.to_string(); }

  asio::awaitable<void> respond(int status, std::string content_type, std::string body,
                                std::vector<http_header> headers) override;
  asio::awaitable<bool> begin_stream(int status, std::string content_type, std::vector<http_header> headers) override;
  asio::awaitable<bool> write(std::string chunk) override;
  asio::awaitable<void> end_stream() override;
  void on_gone(std::function<void()> callback) override;
  void abort() override;

  /// Serves until either side closes.
  asio::awaitable<void> run(const http_handler& handler, const std::function<void(std::string_view)>& on_error);
  /// Answers 503 whatever is asked, and closes.
  asio::awaitable<void> turn_away();
  void close();
  /// Closes now between requests, else after the response under way.
  void drain();
  /// Since when it has waited for a request, its TLS handshake and the rest of a header included; nullopt = it is serving one.
  std::optional<clock::time_point> waiting_since() const { return waiting_since_; }
  const asio::ip::address& peer_address() const { return peer_; }
  bool gone() const { return gone_; }

 private:
  struct refusal {
    int status = 0;  ///< 0: the client went away, and there is nothing to answer
    std::string why;
  };
  static constexpr std::size_t body_buffer = 64u << 10;  ///< for requests with a large body
  using parser_type = boost::beast::http::request_parser<boost::beast::http::string_body>;
  asio::awaitable<bool> shake_hands();
  asio::awaitable<bool> read_request();
  asio::awaitable<bool> wait_for_request();
  asio::awaitable<std::optional<refusal>> read_header(parser_type& parser);
  asio::awaitable<std::optional<refusal>> read_body(parser_type& parser);
  refusal refusal_of(const boost::system::error_code& ec) const;
  std::optional<refusal> refused_header(const parser_type& parser) const;
  asio::awaitable<void> refuse(int status, std::string why);
  asio::awaitable<void> say_goodbye();
  asio::awaitable<void> linger();
  asio::awaitable<bool> send(std::string head, std::string body);
  void watch_peer();
  asio::awaitable<bool> wait_for_peer();
  asio::awaitable<void> stop_watching();
  std::string head_text(int status, const std::string& content_type, const std::vector<http_header>& headers,
                        std::string_view framing) const;

  server_stream stream_;
  const http_server_config& config_;
  std::shared_ptr<server_load> load_;
  boost::beast::flat_buffer buffer_;  ///< bounded: what does not fit is refused
  boost::beast::http::request<boost::beast::http::string_body> request_;
  std::string path_;
  std::string query_;
  asio::ip::address peer_;
  std::optional<clock::time_point> waiting_since_ = clock::now();
  asio::cancellation_signal stop_watching_;
  asio::steady_timer watch_over_;
  bool watching_ = false;  ///< the read of watch_peer() is pending; nobody else may read, nor touch buffer_
  bool used_ = false;      ///< a request has been answered on it
  bool begun_ = false;     ///< a response
  bool streaming_ = false;
  bool head_only_ = false;
  bool chunked_ = true;
  bool keep_alive_ = false;
  bool draining_ = false;  ///< the response under way is the last one
  bool gone_ = false;      ///< nothing can be sent any more
  std::function<void()> when_gone_;
};

}  // namespace inferno::net

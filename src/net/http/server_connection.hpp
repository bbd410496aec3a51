#pragma once
// A server's connection: reads requests one after the other, gives them to the handler, writes what it answers.
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "net/http/server.hpp"
#include "net/http/server_stream.hpp"

namespace inferno::net {

/// %XX decoded; an incomplete or wrong escape stays as it is.
std::string percent_decoded(std::string_view in, bool plus_is_space);

class server_connection final : public http_exchange, public std::enable_shared_from_this<server_connection> {
 public:
  /// `config` must outlive the connection. `tls`: nullptr = plain.
  server_connection(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> tls, const http_server_config& config);

  std::string_view method() const override;
  std::string_view path() const override { return path_; }
  std::optional<std::string> query(std::string_view name) const override;
  std::string_view header(std::string_view name) const override;
  const std::string& body() const override { return request_.body(); }

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

 private:
  asio::awaitable<bool> shake_hands();
  asio::awaitable<bool> read_request();
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
  boost::beast::flat_buffer buffer_;
  boost::beast::http::request<boost::beast::http::string_body> request_;
  std::string path_;
  std::string query_;
  asio::cancellation_signal stop_watching_;
  asio::steady_timer watch_over_;
  bool watching_ = false;  ///< the read of watch_peer() is pending; nobody else may read, nor touch buffer_
  bool begun_ = false;     ///< a response
  bool streaming_ = false;
  bool head_only_ = false;
  bool chunked_ = true;
  bool keep_alive_ = false;
  bool gone_ = false;  ///< nothing can be sent any more
  std::function<void()> when_gone_;
};

}  // namespace inferno::net

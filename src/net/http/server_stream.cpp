#include "net/http/server_stream.hpp"

#include <openssl/err.h>
#include <openssl/sslerr.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace inferno::net {

using error_code = boost::system::error_code;

namespace {
constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
}

server_stream::server_stream(asio::ip::tcp::socket socket, std::shared_ptr<asio::ssl::context> context)
    : tcp_(std::move(socket)), context_(std::move(context)) {
  error_code ignored;
  tcp_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  if (context_) tls_.emplace(tcp_, *context_);
}

asio::awaitable<error_code> server_stream::handshake() {
  const auto [ec] = co_await tls_->async_handshake(asio::ssl::stream_base::server, nothrow);
  co_return ec;
}

asio::awaitable<error_code> server_stream::shutdown() {
  const auto [ec] = co_await tls_->async_shutdown(nothrow);
  co_return ec;
}

bool spoke_plain_http(const error_code& ec) {
  return ec.category() == asio::error::get_ssl_category() &&
         ERR_GET_REASON(static_cast<unsigned long>(ec.value())) == SSL_R_HTTP_REQUEST;
}

}  // namespace inferno::net

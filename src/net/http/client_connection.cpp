#include "net/http/client_connection.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>

#include "net/tls_context.hpp"

namespace inferno::net {

namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;
using steady = std::chrono::steady_clock;

namespace {

using addresses = result<std::vector<tcp::endpoint>>;

asio::awaitable<addresses> resolve(asio::any_io_executor executor, origin where, steady::time_point until) {
  error_code literal_error;
  const auto literal = asio::ip::make_address(where.host, literal_error);
  if (!literal_error) co_return addresses(std::vector{tcp::endpoint(literal, where.port)});
  // A name server that does not answer holds up getaddrinfo far beyond any deadline and cannot be cancelled, so the wait is for
  // the timer, and the answer cuts it short.
  struct lookup {
    explicit lookup(const asio::any_io_executor& e) : resolver(e), limit(e) {}
    tcp::resolver resolver;
    asio::steady_timer limit;
    error_code ec;
    std::vector<tcp::endpoint> found;
    bool done = false;
  };
  const auto state = std::make_shared<lookup>(executor);
  state->limit.expires_at(until);
  state->resolver.async_resolve(where.host, std::to_string(where.port), [state](const error_code& ec, const auto& found) {
    state->done = true;
    state->ec = ec;
    for (const auto& entry : found) state->found.push_back(entry.endpoint());
    state->limit.cancel();
  });
  co_await state->limit.async_wait(nothrow);
  if (!state->done) {
    state->resolver.cancel();
    co_return fail(error_kind::timeout, fmt::format("cannot resolve {}: timed out", where.host));
  }
  if (state->ec) co_return fail(error_kind::connect, fmt::format("cannot resolve {}: {}", where.host, state->ec.message()));
  co_return std::move(state->found);
}

asio::awaitable<result<void>> handshake(client_connection_ptr c, origin where, std::shared_ptr<ssl::context> context,
                                        tls_options options) {
  c->context = context;
  c->tls.emplace(c->tcp, *context);
  const auto name = verified_name(options, where.host);
  const auto problem = std::make_shared<std::string>();
  error_code not_literal;
  asio::ip::make_address(name, not_literal);
  if (not_literal) SSL_set_tlsext_host_name(c->tls->native_handle(), name.c_str());  // SNI is for names only
  if (!options.insecure_skip_verify) c->tls->set_verify_callback(certificate_check(name, problem));
  const auto [ec] = co_await c->tls->async_handshake(ssl::stream_base::client, nothrow);
  if (!ec) co_return result<void>{};
  const auto kind = kind_of(ec);
  const bool ours = kind == error_kind::timeout || kind == error_kind::cancelled;
  // A peer that hangs up in the middle of a handshake has refused it.
  co_return fail(ours ? kind : error_kind::tls,
                 fmt::format("TLS handshake with {}: {}", where.name(), problem->empty() ? words_of(ec) : *problem));
}

}  // namespace

error_kind kind_of(const error_code& ec) {
  if (ec == beast::error::timeout || ec == asio::error::timed_out) return error_kind::timeout;
  if (ec == http::error::body_limit || ec == http::error::header_limit || ec == http::error::buffer_overflow)
    return error_kind::too_large;
  if (ec == http::error::end_of_stream || ec == http::error::partial_message || ec == asio::error::eof ||
      ec == ssl::error::stream_truncated)
    return error_kind::closed;
  if (ec == asio::error::operation_aborted || ec == asio::error::bad_descriptor) return error_kind::cancelled;
  if (ec.category() == asio::error::get_ssl_category()) return error_kind::tls;
  if (ec.category() == boost::system::system_category()) return error_kind::closed;  // reset, broken pipe, network gone
  return error_kind::protocol;
}

std::string words_of(const error_code& ec) {
  switch (kind_of(ec)) {
    case error_kind::timeout:
      return "timed out";
    case error_kind::cancelled:
      return "cancelled";
    default:
      return ec.message();
  }
}

void client_connection::close() {
  error_code ignored;
  tcp.socket().close(ignored);
}

bool client_connection::usable() {
  char byte = 0;
  const auto n = ::recv(tcp.socket().native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) && buffer.size() == 0;
}

/// A peer that is cut off without a word is noticed within a minute: a watch may be silent for longer than that.
static void notice_silence(tcp::socket& socket) {
  const int fd = socket.native_handle();
  const auto set = [&](int level, int option, int value) { ::setsockopt(fd, level, option, &value, sizeof value); };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 20);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 5);
  set(IPPROTO_TCP, TCP_KEEPCNT, 4);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 40000);
}

asio::awaitable<result<client_connection_ptr>> open_connection(asio::any_io_executor executor, origin where,
                                                               std::shared_ptr<ssl::context> context, tls_options tls,
                                                               steady::time_point until) {
  const auto endpoints = co_await resolve(executor, where, until);
  if (!endpoints) co_return tl::unexpected<error>(endpoints.error());
  auto c = std::make_shared<client_connection>(executor);
  error_code last = asio::error::host_not_found;
  for (std::size_t i = 0; i < endpoints->size(); ++i) {
    const auto now = steady::now();
    const auto share = (until - now) / static_cast<long>(endpoints->size() - i);
    c->close();
    c->tcp.expires_at(now + share);
    const auto endpoint = (*endpoints)[i];
    const auto [ec] = co_await c->tcp.async_connect(endpoint, nothrow);
    last = ec;
    if (!ec) break;
  }
  if (last) {
    const auto kind = kind_of(last);
    co_return fail(kind == error_kind::timeout || kind == error_kind::cancelled ? kind : error_kind::connect,
                   fmt::format("cannot connect to {}: {}", where.name(), words_of(last)));
  }
  error_code ignored;
  c->tcp.socket().set_option(tcp::no_delay(true), ignored);
  notice_silence(c->tcp.socket());
  c->tcp.expires_at(until);
  if (where.tls) {
    const auto secured = co_await handshake(c, where, context, tls);
    if (!secured) co_return tl::unexpected<error>(secured.error());
  }
  co_return c;
}

client_connection_ptr connection_pool::take(const origin& where) {
  const auto now = steady::now();
  sweep(now);
  const auto it = idle_.find(where);
  if (it == idle_.end()) return nullptr;
  auto& list = it->second;
  client_connection_ptr found;
  while (!list.empty() && !found) {
    auto c = std::move(list.back());
    list.pop_back();
    if (now - c->idle_since < idle_timeout_ && c->usable()) {
      c->reused = true;
      found = std::move(c);
    } else {
      c->close();
    }
  }
  if (list.empty()) idle_.erase(it);
  return found;
}

void connection_pool::give_back(const origin& where, client_connection_ptr connection) {
  const auto now = steady::now();
  sweep(now);
  connection->idle_since = now;
  connection->tcp.expires_never();
  auto& list = idle_[where];
  list.push_back(std::move(connection));
  while (list.size() > max_per_origin_) {
    list.front()->close();
    list.pop_front();
  }
  if (list.empty()) idle_.erase(where);
}

void connection_pool::sweep(steady::time_point now) {
  if (now < next_sweep_) return;
  next_sweep_ = now + idle_timeout_ / 2;
  for (auto it = idle_.begin(); it != idle_.end();) {
    auto& list = it->second;
    while (!list.empty() && now - list.front()->idle_since >= idle_timeout_) {
      list.front()->close();
      list.pop_front();
    }
    it = list.empty() ? idle_.erase(it) : std::next(it);
  }
}

void connection_pool::drop(const origin& where) {
  const auto it = idle_.find(where);
  if (it == idle_.end()) return;
  for (auto& c : it->second) c->close();
  idle_.erase(it);
}

void connection_pool::clear() {
  for (auto& [where, list] : idle_)
    for (auto& c : list) c->close();
  idle_.clear();
}

}  // namespace inferno::net

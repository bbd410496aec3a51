#include "net/http/server.hpp"

#include <fmt/format.h>

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>

#include "net/http/server_connection.hpp"
#include "net/words_of.hpp"

namespace inferno::net {

using tcp = asio::ip::tcp;

namespace {
constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t turned_away = 100;  ///< connections beyond the limit that are told so at a time; more are just closed

/// Whose connection it is: an IPv4 address, or the /64 of an IPv6 address, which one host may have to itself.
std::string peer_of(const asio::ip::address& address) {
  if (!address.is_v6()) return address.to_string();
  const auto v6 = address.to_v6();
  if (v6.is_v4_mapped()) return asio::ip::make_address_v4(asio::ip::v4_mapped, v6).to_string();
  const auto bytes = v6.to_bytes();
  return {bytes.begin(), bytes.begin() + 8};
}
}  // namespace

struct http_server::impl : std::enable_shared_from_this<http_server::impl> {
  impl(asio::any_io_executor e, http_server_config c, http_handler h, std::function<void(std::string_view)> error_handler)
      : executor(std::move(e)),
        config(std::move(c)),
        handler(std::move(h)),
        on_error(std::move(error_handler)),
        acceptor(executor),
        pause(executor) {}

  asio::any_io_executor executor;
  http_server_config config;
  http_handler handler;
  std::function<void(std::string_view)> on_error;
  tcp::acceptor acceptor;
  asio::steady_timer pause;
  unsigned short port = 0;
  bool tls_fails = false;
  bool draining = false;                     ///< on the executor
  std::map<std::string, std::size_t> peers;  ///< connections of each, by peer_of()
  std::map<std::shared_ptr<server_connection>, decltype(peers)::iterator> connections;
  const std::shared_ptr<server_load> load = std::make_shared<server_load>();
  std::atomic<bool> stopped{false};

  /// Takes the connection out of the set however its coroutine ends.
  struct membership {
    std::shared_ptr<impl> server;
    std::shared_ptr<server_connection> member;
    ~membership() { server->leave(member); }
  };

  void join(const std::shared_ptr<server_connection>& c) {
    const auto peer = peers.try_emplace(peer_of(c->peer_address()), 0).first;
    ++peer->second;
    connections.emplace(c, peer);
  }

  void leave(const std::shared_ptr<server_connection>& c) {
    const auto it = connections.find(c);
    if (it == connections.end()) return;
    if (--it->second->second == 0) peers.erase(it->second);
    connections.erase(it);
  }

  /// Closes the connection that has waited longest for a request, among those of the peer with the most connections. False: none
  /// is waiting.
  bool evict_one() {
    std::shared_ptr<server_connection> chosen;
    std::pair<std::size_t, server_connection::clock::duration> most;
    const auto now = server_connection::clock::now();
    for (const auto& [c, peer] : connections) {
      const auto since = c->waiting_since();
      if (!since || c->gone()) continue;
      const std::pair rank(peer->second, now - *since);
      if (chosen && rank <= most) continue;
      chosen = c;
      most = rank;
    }
    if (!chosen) return false;
    chosen->close();
    leave(chosen);  // its coroutine ends on its own
    return true;
  }

  static asio::awaitable<void> serve(std::shared_ptr<impl> self, std::shared_ptr<server_connection> c, bool welcome) {
    const membership held{self, c};
    if (welcome) {
      const std::function<void(std::string_view)> tell = [self](std::string_view what) { self->report(what); };
      co_await c->run(self->handler, tell);
    } else {
      co_await c->turn_away();
    }
  }

  /// The context of a new connection, nullptr for a plain one; nullopt when there is none to be had.
  std::optional<std::shared_ptr<asio::ssl::context>> context_of_next() {
    if (!config.tls) return std::shared_ptr<asio::ssl::context>();
    std::string problem;
    try {
      auto made = config.tls();
      if (made && *made) {
        tls_fails = false;
        return std::move(*made);
      }
      problem = made ? "no context" : made.error().message;
    } catch (const std::exception& e) {
      problem = e.what();
    }
    if (!std::exchange(tls_fails, true)) report(fmt::format("connections are refused: {}", problem));
    return std::nullopt;
  }

  /// Once stopped nobody listens any more: what on_error refers to may be gone.
  void report(std::string_view what) noexcept {
    if (stopped || !on_error) return;
    try {
      on_error(what);
    } catch (...) {
      // There is nowhere left to report it, and the other connections go on.
    }
  }

  /// Accepts until stopped, whatever is thrown meanwhile.
  static asio::awaitable<void> accept(std::shared_ptr<impl> self) {
    while (!self->stopped && !self->draining) {
      std::exception_ptr thrown;
      try {
        co_await accept_all(self);
      } catch (...) {
        thrown = std::current_exception();
      }
      if (!thrown) continue;
      self->report(fmt::format("accept: {}", words_of(thrown)));
      self->pause.expires_after(std::chrono::milliseconds(50));
      co_await self->pause.async_wait(nothrow);
    }
  }

  static asio::awaitable<void> accept_all(std::shared_ptr<impl> self) {
    bool failing = false;
    while (!self->stopped && !self->draining) {
      auto [ec, socket] = co_await self->acceptor.async_accept(nothrow);
      if (self->stopped || self->draining) break;
      if (ec) {
        if (!failing) self->report(fmt::format("accept: {}", ec.message()));
        failing = true;
        // Out of file descriptors: the backlog stays, so a pause is better than a busy loop.
        self->pause.expires_after(std::chrono::milliseconds(50));
        co_await self->pause.async_wait(nothrow);
        continue;
      }
      failing = false;
      const auto& most = self->config.max_connections;
      if (self->connections.size() >= most) self->evict_one();
      const bool welcome = self->connections.size() < most;
      if (self->connections.size() >= most + turned_away) continue;
      auto tls = self->context_of_next();
      if (!tls) continue;
      auto c = std::make_shared<server_connection>(std::move(socket), std::move(*tls), self->config, self->load);
      self->join(c);
      // Handlers' exceptions are answered with 500; what else is thrown ends the connection and nothing else.
      asio::co_spawn(self->executor, serve(self, c, welcome), [self](const std::exception_ptr& thrown) {
        if (thrown) self->report(words_of(thrown));
      });
    }
  }

  void close_all() {
    boost::system::error_code ec;
    acceptor.close(ec);
    pause.cancel();
    for (const auto& [c, peer] : connections) c->close();
  }
};

result<std::unique_ptr<http_server>> http_server::start(asio::any_io_executor executor, http_server_config config,
                                                        http_handler handler, std::function<void(std::string_view)> on_error) {
  const auto bad = [&](const boost::system::error_code& ec) {
    return fail(error_kind::address, fmt::format("cannot listen on {}:{}: {}", config.address, config.port, ec.message()));
  };
  boost::system::error_code ec;
  const auto address = asio::ip::make_address(config.address, ec);
  if (ec) return bad(ec);
  const tcp::endpoint endpoint(address, config.port);
  auto state = std::make_shared<impl>(std::move(executor), config, std::move(handler), std::move(on_error));
  state->acceptor.open(endpoint.protocol(), ec);
  if (!ec) state->acceptor.set_option(asio::socket_base::reuse_address(true), ec);
  if (!ec) state->acceptor.bind(endpoint, ec);
  if (!ec) state->acceptor.listen(4096, ec);
  if (ec) return bad(ec);
  state->port = state->acceptor.local_endpoint().port();
  asio::co_spawn(state->executor, impl::accept(state), asio::detached);
  return std::unique_ptr<http_server>(new http_server(std::move(state)));
}

http_server::http_server(std::shared_ptr<impl> state) : impl_(std::move(state)) {}
http_server::~http_server() { stop(); }
unsigned short http_server::port() const { return impl_->port; }

std::string http_server::address() const {
  const bool v6 = impl_->config.address.find(':') != std::string::npos;
  return v6 ? fmt::format("[{}]:{}", impl_->config.address, impl_->port)
            : fmt::format("{}:{}", impl_->config.address, impl_->port);
}

void http_server::drop_connections() {
  asio::dispatch(impl_->executor, [state = impl_] {
    for (const auto& [c, peer] : state->connections) c->abort();
  });
}

void http_server::drain() {
  asio::dispatch(impl_->executor, [state = impl_] {
    state->draining = true;
    boost::system::error_code ec;
    state->acceptor.close(ec);
    const auto present = state->connections;  // closing may take one out of the set
    for (const auto& [c, peer] : present) c->drain();
  });
}

void http_server::stop() {
  if (impl_->stopped.exchange(true)) return;
  asio::dispatch(impl_->executor, [state = impl_] { state->close_all(); });
}

}  // namespace inferno::net

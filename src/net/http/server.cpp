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
#include <set>

#include "net/http/server_connection.hpp"

namespace inferno::net {

using tcp = asio::ip::tcp;

namespace {
constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
}

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
  std::set<std::shared_ptr<server_connection>> connections;
  std::atomic<bool> stopped{false};

  /// Takes the connection out of the set however its coroutine ends.
  struct membership {
    std::shared_ptr<impl> server;
    std::shared_ptr<server_connection> member;
    ~membership() { server->connections.erase(member); }
  };

  static asio::awaitable<void> serve(std::shared_ptr<impl> self, std::shared_ptr<server_connection> c, bool welcome) {
    const membership held{self, c};
    if (welcome) {
      // Once stopped nobody listens any more: what on_error refers to may be gone.
      const std::function<void(std::string_view)> report = [self](std::string_view what) {
        if (!self->stopped && self->on_error) self->on_error(what);
      };
      co_await c->run(self->handler, report);
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
    if (!std::exchange(tls_fails, true) && on_error) on_error(fmt::format("connections are refused: {}", problem));
    return std::nullopt;
  }

  static asio::awaitable<void> accept(std::shared_ptr<impl> self) {
    bool failing = false;
    while (!self->stopped) {
      auto [ec, socket] = co_await self->acceptor.async_accept(nothrow);
      if (self->stopped) break;
      if (ec) {
        if (!failing && self->on_error) self->on_error(fmt::format("accept: {}", ec.message()));
        failing = true;
        // Out of file descriptors: the backlog stays, so a pause is better than a busy loop.
        self->pause.expires_after(std::chrono::milliseconds(50));
        co_await self->pause.async_wait(nothrow);
        continue;
      }
      failing = false;
      const auto present = self->connections.size();
      // Even to turn somebody away takes a moment and a descriptor; beyond this they are just dropped.
      if (present >= self->config.max_connections + 1000) continue;
      auto tls = self->context_of_next();
      if (!tls) continue;
      auto c = std::make_shared<server_connection>(std::move(socket), std::move(*tls), self->config);
      self->connections.insert(c);
      asio::co_spawn(self->executor, serve(self, c, present < self->config.max_connections), asio::detached);
    }
  }

  void close_all() {
    boost::system::error_code ec;
    acceptor.close(ec);
    pause.cancel();
    for (const auto& c : connections) c->close();
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
    for (const auto& c : state->connections) c->abort();
  });
}

void http_server::stop() {
  if (impl_->stopped.exchange(true)) return;
  asio::dispatch(impl_->executor, [state = impl_] { state->close_all(); });
}

}  // namespace inferno::net

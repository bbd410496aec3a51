#include "tests/e2e/tcp_proxy.hpp"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <list>
#include <optional>
#include <string_view>

#include "net/http/url.hpp"
#include "net/io_context_thread.hpp"

namespace inferno::test {

namespace asio = boost::asio;
namespace ssl = boost::asio::ssl;
using asio::ip::tcp;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

struct link {
  explicit link(tcp::socket c, const asio::any_io_executor& ex) : client(std::move(c)), server(ex) {}
  tcp::socket client, server;
  std::optional<ssl::stream<tcp::socket&>> client_tls{}, server_tls{};
  asio::steady_timer answered{server.get_executor()};  ///< cancelled by each part of an answer
  bool muted = false;                                  ///< a scale patch went through whose answer is to stall
  void reset() {
    boost::system::error_code ignored;
    for (auto* s : {&client, &server}) {
      s->set_option(asio::socket_base::linger(true, 0), ignored);
      s->close(ignored);
    }
  }
  void close() {
    boost::system::error_code ignored;
    for (auto* s : {&client, &server}) {
      s->shutdown(tcp::socket::shutdown_send, ignored);
      s->close(ignored);
    }
  }
};

struct tls_contexts {
  ssl::context towards_client{ssl::context::tls_server}, towards_server{ssl::context::tls_client};
};

bool patches_scale(std::string_view request) {
  return request.rfind("PATCH ", 0) == 0 && request.substr(0, request.find("\r\n")).find("/scale") != std::string_view::npos;
}

}  // namespace

struct tcp_proxy::impl : std::enable_shared_from_this<impl> {
  net::io_context_thread io;
  tcp::acceptor acceptor{io.context(), {asio::ip::make_address("127.0.0.1"), 0}};
  tcp::endpoint target;
  std::optional<tls_contexts> tls;
  asio::steady_timer changed{io.context(), asio::steady_timer::time_point::max()};  ///< cancelled when the behaviour changes
  network behaviour = network::pass;
  std::list<std::weak_ptr<link>> links;
  std::atomic<int> open{0}, scale_patches{0};

  void set(network next) {
    behaviour = next;
    changed.cancel();
    if (next == network::resets)
      for (auto& l : links)
        if (const auto strong = l.lock()) strong->reset();
    links.remove_if([](const auto& l) { return l.expired(); });
  }

  static asio::awaitable<void> serve(std::shared_ptr<impl> self) {
    for (;;) {
      auto [ec, socket] = co_await self->acceptor.async_accept(nothrow);
      if (ec) co_return;
      auto l = std::make_shared<link>(std::move(socket), self->io.executor());
      if (self->behaviour == network::resets) {
        l->reset();
        continue;
      }
      self->links.push_back(l);
      asio::co_spawn(self->io.executor(), join(self, l), asio::detached);
    }
  }

  static asio::awaitable<void> join(std::shared_ptr<impl> self, std::shared_ptr<link> l) {
    const auto [ec] = co_await l->server.async_connect(self->target, nothrow);
    if (ec) {
      l->reset();
      co_return;
    }
    if (!self->tls) {
      co_await forward(self, l, l->client, l->server);
      co_return;
    }
    l->client_tls.emplace(l->client, self->tls->towards_client);
    l->server_tls.emplace(l->server, self->tls->towards_server);
    const auto [refused] = co_await l->server_tls->async_handshake(ssl::stream_base::client, nothrow);
    const auto [distrusted] = co_await l->client_tls->async_handshake(ssl::stream_base::server, nothrow);
    if (refused || distrusted) {
      l->reset();
      co_return;
    }
    co_await forward(self, l, *l->client_tls, *l->server_tls);
  }

  template <class Stream>
  static asio::awaitable<void> forward(std::shared_ptr<impl> self, std::shared_ptr<link> l, Stream& client, Stream& server) {
    ++self->open;
    asio::co_spawn(self->io.executor(), pump(self, l, client, server, true), asio::detached);
    co_await pump(self, l, server, client, false);
    --self->open;
  }

  bool stalls(bool request, bool scale_patch, bool muted) const {
    return behaviour == network::stalled || (behaviour == network::scale_answers_stalled && muted && !request) ||
           (behaviour == network::scale_patches_stalled && scale_patch);
  }

  template <class Stream>
  static asio::awaitable<void> pump(std::shared_ptr<impl> self, std::shared_ptr<link> l, Stream& from, Stream& to, bool request) {
    std::array<char, 16384> buffer{};
    bool held = false;
    for (;;) {
      const bool slow = self->behaviour == network::slow;
      const auto [ec, n] = co_await from.async_read_some(asio::buffer(buffer.data(), slow ? 512 : buffer.size()), nothrow);
      const bool scale_patch = request && self->tls && patches_scale({buffer.data(), n});
      if (scale_patch && self->behaviour == network::scale_patches_reset) {
        ++self->scale_patches;
        l->reset();
        break;
      }
      if (!request) l->answered.cancel();
      if (scale_patch && self->behaviour == network::scale_answers_stalled) {
        ++self->scale_patches;
        l->muted = true;
      }
      held = scale_patch && self->stalls(request, scale_patch, l->muted);
      if (held) ++self->scale_patches;
      while (self->stalls(request, scale_patch, l->muted)) co_await self->changed.async_wait(nothrow);
      if (ec) break;
      std::size_t part = n;
      const bool cut = self->behaviour == network::truncates && !request && n > 300;
      if (cut) part = n / 2;
      const auto [failed, written] = co_await asio::async_write(to, asio::buffer(buffer.data(), part), nothrow);
      if (failed || cut) break;
      if (held) {
        // Who has given up is not known to the server before it has answered.
        l->answered.expires_after(std::chrono::seconds(10));
        co_await l->answered.async_wait(nothrow);
      }
      if (slow) {
        asio::steady_timer pause(self->io.context(), std::chrono::milliseconds(20));
        co_await pause.async_wait(nothrow);
      }
    }
    l->close();
  }
};

tcp_proxy::tcp_proxy(const std::string& target_url) : impl_(std::make_shared<impl>()) {
  const auto url = net::parse_url(target_url).value().where;
  impl_->target = {asio::ip::make_address(url.host), url.port};
  asio::co_spawn(impl_->io.executor(), impl::serve(impl_), asio::detached);
}

tcp_proxy::tcp_proxy(const std::string& target_url, const std::string& cert_file, const std::string& key_file)
    : tcp_proxy(target_url) {
  // Nobody knows the port yet.
  impl_->tls.emplace();
  impl_->tls->towards_client.use_certificate_chain_file(cert_file);
  impl_->tls->towards_client.use_private_key_file(key_file, ssl::context::pem);
  impl_->tls->towards_server.set_verify_mode(ssl::verify_none);
}

tcp_proxy::~tcp_proxy() { impl_->io.stop(); }

void tcp_proxy::set(network behaviour) {
  asio::post(impl_->io.executor(), [self = impl_, behaviour] { self->set(behaviour); });
}

std::string tcp_proxy::url() const { return "https://127.0.0.1:" + std::to_string(impl_->acceptor.local_endpoint().port()); }
int tcp_proxy::connections() const { return impl_->open; }
int tcp_proxy::scale_patches() const { return impl_->scale_patches; }

}  // namespace inferno::test

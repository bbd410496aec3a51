#include "tests/e2e/tcp_proxy.hpp"

#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <list>

#include "net/http/url.hpp"
#include "net/io_context_thread.hpp"

namespace inferno::test {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

struct link {
  explicit link(tcp::socket c, const asio::any_io_executor& ex) : client(std::move(c)), server(ex) {}
  tcp::socket client, server;
  void reset() {
    boost::system::error_code ignored;
    for (auto* s : {&client, &server}) {
      s->set_option(asio::socket_base::linger(true, 0), ignored);
      s->close(ignored);
    }
  }
};

}  // namespace

struct tcp_proxy::impl : std::enable_shared_from_this<impl> {
  net::io_context_thread io;
  tcp::acceptor acceptor{io.context(), {asio::ip::make_address("127.0.0.1"), 0}};
  tcp::endpoint target;
  asio::steady_timer changed{io.context(), asio::steady_timer::time_point::max()};  ///< cancelled when the behaviour changes
  network behaviour = network::pass;
  std::list<std::weak_ptr<link>> links;
  std::atomic<int> open{0};

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
    ++self->open;
    asio::co_spawn(self->io.executor(), pump(self, l, true), asio::detached);
    co_await pump(self, l, false);
    --self->open;
  }

  bool stalls(bool request) const { return behaviour == network::stalled || (behaviour == network::answers_stalled && !request); }

  static asio::awaitable<void> pump(std::shared_ptr<impl> self, std::shared_ptr<link> l, bool request) {
    auto& from = request ? l->client : l->server;
    auto& to = request ? l->server : l->client;
    std::array<char, 16384> buffer{};
    for (;;) {
      const bool slow = self->behaviour == network::slow;
      const auto [ec, n] = co_await from.async_read_some(asio::buffer(buffer.data(), slow ? 512 : buffer.size()), nothrow);
      while (self->stalls(request)) co_await self->changed.async_wait(nothrow);
      if (ec) break;
      std::size_t part = n;
      const bool cut = self->behaviour == network::truncates && !request && n > 300;
      if (cut) part = n / 2;
      const auto [failed, written] = co_await asio::async_write(to, asio::buffer(buffer.data(), part), nothrow);
      if (failed || cut) break;
      if (slow) {
        asio::steady_timer pause(self->io.context(), std::chrono::milliseconds(20));
        co_await pause.async_wait(nothrow);
      }
    }
    boost::system::error_code ignored;
    from.close(ignored);
    to.shutdown(tcp::socket::shutdown_send, ignored);
    to.close(ignored);
  }
};

tcp_proxy::tcp_proxy(const std::string& target_url) : impl_(std::make_shared<impl>()) {
  const auto url = net::parse_url(target_url).value().where;
  impl_->target = {asio::ip::make_address(url.host), url.port};
  asio::co_spawn(impl_->io.executor(), impl::serve(impl_), asio::detached);
}

tcp_proxy::~tcp_proxy() { impl_->io.stop(); }

void tcp_proxy::set(network behaviour) {
  asio::post(impl_->io.executor(), [self = impl_, behaviour] { self->set(behaviour); });
}

std::string tcp_proxy::url() const { return "https://127.0.0.1:" + std::to_string(impl_->acceptor.local_endpoint().port()); }
int tcp_proxy::connections() const { return impl_->open; }

}  // namespace inferno::test

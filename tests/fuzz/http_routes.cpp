// Bytes as a client may send them to the controller's ports.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

#include "actors/http_api.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

std::shared_ptr<actors::board_view> view_of_one() {
  auto curve = std::make_shared<actors::capacity_curve>();
  curve->key = {"llm", "vllme"};
  auto d = std::make_shared<actors::decision>();
  d->curve = curve;
  d->reason = "Optimized";
  auto plan = std::make_shared<actors::plan_snapshot>();
  std::vector<actors::decision_table::value> all{d};
  plan->decisions = actors::decision_table(std::move(all));
  auto view = std::make_shared<actors::board_view>();
  view->set_plan(std::move(plan));
  view->set_synced(true);
  return view;
}

/// One for the whole run: both ports' routes on one server.
struct ports {
  asio::io_context io;
  std::shared_ptr<actors::board_view> view = view_of_one();
  std::unique_ptr<net::http_server> server;
  ports() {
    net::http_server_config config;
    config.max_body = 1u << 16;
    const auto metrics = actors::make_metrics_handler(view);
    const auto probes = actors::make_probe_handler(view, std::make_shared<std::atomic<bool>>(true));
    auto started = net::http_server::start(io.get_executor(), config, [metrics, probes](net::http_exchange& x) {
      return x.path().ends_with('z') ? probes(x) : metrics(x);
    });
    require(started.has_value(), "a loopback port can be listened on");
    server = std::move(*started);
  }
};

asio::awaitable<void> talk(tcp::endpoint where, std::string_view data, std::string* answer, bool* over) {
  tcp::socket socket(co_await asio::this_coro::executor);
  const auto [refused] = co_await socket.async_connect(where, nothrow);
  if (!refused) {
    // A server that has heard enough may close before all is said.
    (void)co_await asio::async_write(socket, asio::buffer(data), nothrow);
    boost::system::error_code ignored;
    socket.shutdown(tcp::socket::shutdown_send, ignored);
    char buffer[4096];
    for (;;) {
      const auto [end, n] = co_await socket.async_read_some(asio::buffer(buffer), nothrow);
      answer->append(buffer, n);
      if (end) break;
    }
    // A reset leaves nothing behind, so ports do not run out.
    socket.set_option(asio::socket_base::linger(true, 0), ignored);
  }
  *over = true;
}

}  // namespace

void http_routes(std::string_view data) {
  static ports p;
  std::string answer;
  bool over = false;
  asio::co_spawn(p.io, talk({asio::ip::make_address("127.0.0.1"), p.server->port()}, data, &answer, &over), asio::detached);
  p.io.restart();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!over && std::chrono::steady_clock::now() < until) p.io.run_one_for(std::chrono::milliseconds(100));
  require(over, "a client that has said all it had to say gets its answer, or its end");
  require(answer.empty() || answer.rfind("HTTP/1.", 0) == 0, "an answer is HTTP");
}

}  // namespace inferno::fuzz

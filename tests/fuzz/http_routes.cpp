// Bytes as a client may send them to the controller's ports.
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/json/parse.hpp>

#include "actors/http_api.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);

constexpr const char* secret = "a-model-nobody-names";
constexpr std::string_view token = "good";

std::shared_ptr<actors::board_view> view_of_one() {
  auto curve = std::make_shared<actors::capacity_curve>();
  curve->key = {"llm", "vllme"};
  curve->model = secret;
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

/// The API server's part: one token is a reader's, others are somebody's who may not read, nobody's, or bring it out of order.
asio::awaitable<void> review(net::http_exchange& x) {
  boost::system::error_code ec;
  const auto question = boost::json::parse(x.body(), ec);
  require(!ec && question.is_object(), "what the API server is asked is JSON");
  std::string body;
  if (x.path().find("tokenreviews") == std::string_view::npos) {
    const bool may = question.at("spec").at("user").as_string() == std::string_view(token);
    body = may ? R"({"status":{"allowed":true}})" : R"({"status":{"allowed":false}})";
  } else {
    const std::string asked(question.at("spec").at("token").as_string());
    if (asked == token || asked == "other")
      body = R"({"status":{"authenticated":true,"user":{"username":")" + asked + R"(","groups":["g"]}}})";
    else
      body = asked == "odd" ? R"([{"status":7}])" : R"({"status":{"authenticated":false}})";
  }
  co_await x.respond(201, "application/json", std::move(body), {});
}

/// One for the whole run: both ports' routes on one server, for everybody and for those who may.
struct ports {
  asio::io_context io;
  std::shared_ptr<actors::board_view> view = view_of_one();
  std::unique_ptr<net::http_server> reviewer = listen(review, 1u << 16);
  std::unique_ptr<net::http_server> open = listen(routes(nullptr), 0);
  std::unique_ptr<net::http_server> guarded;
  ports() {
    net::kube::connection api;
    api.url = "http://" + reviewer->address();
    auto http = std::make_shared<net::http_client>(io.get_executor(), net::http_client_config{});
    const auto reviews = std::make_shared<net::kube::client>(std::move(http), api);
    guarded = listen(routes(std::make_shared<actors::http_auth>(reviews, reviews)), 0);
  }
  net::http_handler routes(std::shared_ptr<actors::http_auth> auth) {
    return [metrics = actors::make_metrics_handler(view, std::move(auth)),
            probes = actors::make_probe_handler(view, [] { return std::string(); })](net::http_exchange& x) {
      return x.path().ends_with('z') ? probes(x) : metrics(x);
    };
  }
  std::unique_ptr<net::http_server> listen(net::http_handler handler, std::size_t max_body) {
    net::http_server_config config;
    config.max_body = max_body;
    auto started = net::http_server::start(io.get_executor(), config, std::move(handler));
    require(started.has_value(), "a loopback port can be listened on");
    return std::move(*started);
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
  // An input of odd length goes to those who ask for a token.
  const auto& server = data.size() % 2 == 0 ? *p.open : *p.guarded;
  asio::co_spawn(p.io, talk({asio::ip::make_address("127.0.0.1"), server.port()}, data, &answer, &over), asio::detached);
  p.io.restart();
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!over && std::chrono::steady_clock::now() < until) p.io.run_one_for(std::chrono::milliseconds(100));
  require(over, "a client that has said all it had to say gets its answer, or its end");
  require(answer.empty() || answer.rfind("HTTP/1.", 0) == 0, "an answer is HTTP");
  const auto said = [&](std::string_view what) { return data.find(what) != std::string_view::npos; };
  const bool told = answer.find(secret) != std::string::npos || answer.find("# TYPE inferno_leader") != std::string::npos;
  if (&server == p.guarded.get() && told) require(said(token), "nothing is told to those without the token");
}

}  // namespace inferno::fuzz

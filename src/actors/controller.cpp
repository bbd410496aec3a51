#include "actors/controller.hpp"

#include <fmt/format.h>

#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/http_api.hpp"
#include "actors/kube_api_net.hpp"
#include "actors/prometheus_source.hpp"
#include "actors/scrape_source.hpp"
#include "actors/supervisor.hpp"
#include "net/io_context_thread.hpp"
#include "net/tls_context.hpp"
#include "net/tls_server.hpp"

namespace inferno::actors {

namespace asio = boost::asio;

namespace {

/// Questions to the API server about who may read the metrics port.
constexpr int reviews_per_second = 20;
/// Answers that may wait for the thread that renders them.
constexpr std::size_t waiting_answers = 16;

struct system_config : caf::actor_system_config {
  explicit system_config(std::size_t threads) { set("scheduler.max-threads", threads); }
};

std::shared_ptr<metrics_source> make_source(const controller_config& config, asio::any_io_executor executor) {
  net::http_client_config http;
  http.max_body = 64u << 20;
  http.accept_gzip = true;
  if (config.source == metrics_source_kind::scrape)
    return std::make_shared<scrape_source>(std::make_shared<net::http_client>(executor, http));
  return std::make_shared<prometheus_source>(executor, http, config.defaults.prometheus, config.defaults.rate_window);
}

}  // namespace

using context_source = std::function<net::result<std::shared_ptr<asio::ssl::context>>()>;

struct controller::impl {
  explicit impl(controller_config c) : config(std::move(c)), system_settings(config.threads) {}

  controller_config config;
  net::io_context_thread io;
  std::shared_ptr<board_view> view = std::make_shared<board_view>();
  std::shared_ptr<kube_api_net> api;
  std::shared_ptr<metrics_source> source;
  system_config system_settings;
  std::unique_ptr<caf::actor_system> system;
  supervisor_actor root;
  std::shared_ptr<liveness> health = std::make_shared<liveness>();
  std::shared_ptr<net::background_thread> renderer = std::make_shared<net::background_thread>(waiting_answers);
  std::unique_ptr<net::http_server> metrics_server;
  std::unique_ptr<net::http_server> probe_server;
  bool stopped = false;

  /// The certificate of the metrics endpoint: from files, or made now.
  tl::expected<context_source, std::string> certificate() const {
    if (!config.metrics_cert_path.empty()) {
      auto files = std::make_shared<net::certificate_files>(
          net::certificate_paths{config.metrics_cert_path + "/tls.crt", config.metrics_cert_path + "/tls.key"},
          [logger = config.logger](std::string_view what) {
            logger.warn("The metrics endpoint's certificate cannot be used; the last one stays", {{"error", what}});
          });
      if (const auto first = (*files)(); !first) return tl::unexpected(first.error().message);
      return [files] { return (*files)(); };
    }
    const auto made = net::self_signed_certificate({"localhost", "127.0.0.1", "inferno-autoscaler-metrics." + config.ns + ".svc"},
                                                   config.now());
    if (!made) return tl::unexpected(made.error().message);
    net::tls_options options;
    options.cert_pem = made->cert_pem;
    options.key_pem = made->key_pem;
    auto context = net::make_server_context(options);
    if (!context) return tl::unexpected(context.error().message);
    return [context = *context]() -> net::result<std::shared_ptr<asio::ssl::context>> { return context; };
  }

  tl::expected<std::unique_ptr<net::http_server>, std::string> serve(const std::string& address, net::http_handler handler,
                                                                     context_source tls = {}) {
    if (address == "0") return nullptr;
    const auto bound = net::parse_bind_address(address);
    if (!bound) return tl::unexpected(bound.error().message);
    net::http_server_config server;
    server.address = bound->first;
    server.port = bound->second;
    // No route takes a body, so none is read, whoever sends it.
    server.max_body = 0;
    server.max_header = 16u << 10;
    server.max_connections = 500;
    server.max_unsent = 64u << 20;
    server.tls = std::move(tls);
    auto started =
        net::http_server::start(io.executor(), server, std::move(handler), [logger = config.logger](std::string_view what) {
          logger.error("HTTP handler failed", {{"error", what}});
        });
    if (!started) return tl::unexpected(started.error().message);
    return std::move(*started);
  }

  std::string open() {
    net::http_client_config http;
    http.tls = config.api.tls;
    http.accept_gzip = true;
    if (config.api.tls_files.any())
      http.tls_context =
          net::client_certificate_files(config.api.tls, config.api.tls_files, [logger = config.logger](std::string_view what) {
            logger.warn("A certificate for the API server cannot be used; the last one stays", {{"error", what}});
          });
    // A lease lost at the renew deadline is another's when its duration is over: no write of ours is under way then.
    if (config.election) {
      config.api.write_timeout = config.election->lease_duration - config.election->renew_deadline;
      // A connection that died without a word must leave time for another try before the deadline.
      config.api.lease_timeout = config.election->renew_deadline / 2;
    }
    const auto to_api = std::make_shared<net::http_client>(io.executor(), http);
    auto client = std::make_shared<kube::client>(to_api, config.api);
    context_source tls;
    if (config.metrics_secure && config.metrics_address != "0") {
      auto made = certificate();
      if (!made) return made.error();
      tls = std::move(*made);
    }
    // Wrong tokens use up a limit of their own, neither the controller's nor that of the readers who are known.
    auto reviews = config.api;
    reviews.qps = reviews_per_second;
    reviews.burst = 2 * reviews_per_second;
    auto auth = tls ? std::make_shared<http_auth>(std::make_shared<kube::client>(to_api, reviews),
                                                  std::make_shared<kube::client>(to_api, reviews))
                    : nullptr;
    auto metrics = serve(config.metrics_address, make_metrics_handler(view, std::move(auth), renderer), std::move(tls));
    if (!metrics) return metrics.error();
    metrics_server = std::move(*metrics);
    auto probes = serve(config.probe_address, make_probe_handler(view, [health = health] { return health->problem(); }));
    if (!probes) return probes.error();
    probe_server = std::move(*probes);

    api = std::make_shared<kube_api_net>(client);
    source = make_source(config, io.executor());
    system = std::make_unique<caf::actor_system>(system_settings);

    supervisor_config s;
    s.api = api;
    s.source = source;
    s.view = view;
    s.now = config.now;
    s.logger = config.logger;
    s.controller_namespace = config.ns;
    s.watch_namespace = config.watch_namespace;
    s.instance = config.instance;
    s.defaults = config.defaults;
    s.scrape_interval = config.scrape_interval;
    s.election = config.election;
    s.health = health;
    root = system->spawn(supervisor, std::move(s));
    root->attach_functor([health = health] { health->end(); });
    return {};
  }

  void stop(std::chrono::milliseconds grace) {
    if (std::exchange(stopped, true)) return;
    if (system) {
      bool ended = false;
      {
        // In a scope of its own: it counts among the actors that are awaited below.
        caf::scoped_actor self{*system};
        self->monitor(root);
        self->send(root, stop_request{});
        self->receive([&](const caf::down_msg&) { ended = true; }, caf::after(grace) >> [] {});
        if (!ended) self->send_exit(root, caf::exit_reason::kill);
      }
      root = nullptr;
      // The lease's release is a write too.
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
      while (ended && api->writes_in_flight() > 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      if (!ended || api->writes_in_flight() > 0)
        config.logger.warn("Stopped before every API call was answered", {{"writes", api->writes_in_flight()}});
      // Completions need the I/O thread, and every actor ends within a bounded time of its stop_request: first the actors, then
      // the thread.
      system->await_all_actors_done();
    }
    if (metrics_server) metrics_server->stop();
    if (probe_server) probe_server->stop();
    renderer->stop();
    io.stop();
    metrics_server.reset();
    probe_server.reset();
    system.reset();
    config.logger.info("Stopped");
  }

  ~impl() {
    stop(std::chrono::milliseconds(1500));
    source.reset();
    api.reset();
  }
};

controller::controller(std::unique_ptr<impl> i) : impl_(std::move(i)) {}
controller::~controller() = default;

tl::expected<std::unique_ptr<controller>, std::string> controller::start(controller_config config) {
  if (config.election)
    if (const auto problem = validate(*config.election); !problem.empty()) return tl::unexpected(problem);
  auto made = std::make_unique<impl>(std::move(config));
  if (const auto problem = made->open(); !problem.empty()) return tl::unexpected(problem);
  return std::unique_ptr<controller>(new controller(std::move(made)));
}

void controller::stop(std::chrono::milliseconds grace) { impl_->stop(grace); }
std::string controller::metrics_address() const {
  return impl_->metrics_server ? impl_->metrics_server->address() : std::string();
}
std::string controller::probe_address() const { return impl_->probe_server ? impl_->probe_server->address() : std::string(); }
std::shared_ptr<const board_view> controller::view() const { return impl_->view; }

}  // namespace inferno::actors

#include "actors/prometheus_source.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "actors/prometheus_join.hpp"

namespace inferno::actors {

namespace asio = boost::asio;
using done_function = std::function<void(std::shared_ptr<const collected_metrics>)>;

namespace {

/// Queries of a round under way at a time: Prometheus takes 20 from everybody together unless told otherwise.
constexpr std::size_t parallel_queries = 8;

/// One collection: workers take queries until none is left or one has failed; the last one reports.
struct query_round {
  query_round(net::metrics::prometheus_client c, const std::vector<scrape_target>& t, double now_s, std::chrono::milliseconds w)
      : client(std::move(c)), join(t, now_s, std::chrono::duration<double>(w).count()), queries(prometheus_queries(w)) {
    queries.push_back(gateway_queue_query());
  }
  net::metrics::prometheus_client client;
  prometheus_join join;
  std::vector<std::string> queries;  ///< the gateway's is the last
  std::size_t next = 0;
  std::size_t working = 0;
  std::chrono::milliseconds allowed{};
  std::chrono::steady_clock::time_point until;
  std::shared_ptr<collected_metrics> out = std::make_shared<collected_metrics>();
  std::function<void()> finish;

  void fail(std::string why) {
    if (out->problem.empty()) out->problem = std::move(why);
  }

  /// nullopt: the round has failed.
  static asio::awaitable<std::optional<std::vector<net::metrics::vector_sample>>> ask(std::shared_ptr<query_round> self,
                                                                                      std::string query) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(self->until - std::chrono::steady_clock::now());
    net::result<std::vector<net::metrics::vector_sample>> answer;
    if (left.count() > 0) answer = co_await self->client.query(std::move(query), left);
    // A request that is given up at the end of the round ends within its last millisecond.
    const bool late = std::chrono::steady_clock::now() + std::chrono::milliseconds(2) >= self->until;
    if (late) {
      self->fail(fmt::format("Prometheus is too slow: the queries of a round took longer than {:.3g} s",
                             std::chrono::duration<double>(self->allowed).count()));
    } else if (!answer) {
      self->fail(answer.error().message);
    }
    if (!self->out->problem.empty()) co_return std::nullopt;
    co_return std::move(*answer);
  }

  static asio::awaitable<void> worker(std::shared_ptr<query_round> self) {
    while (self->out->problem.empty() && self->next < self->queries.size()) {
      const auto i = self->next++;
      const auto answer = co_await ask(self, self->queries[i]);
      if (!answer) break;
      if (i + 1 < self->queries.size()) {
        self->join.add(i, *answer);
      } else {
        self->out->queues = prometheus_join::queues(*answer);
      }
    }
  }

  /// A worker has ended; what it threw, if it did, ends the round and nothing else.
  void ended(const std::exception_ptr& thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const std::exception& e) {
      fail(e.what());
    }
    if (--working == 0) finish();
  }

  static asio::awaitable<void> begin(std::shared_ptr<query_round> self) {
    const auto scraped = co_await ask(self, prometheus_scraped_query());
    if (!scraped) co_return;
    self->join.add_scraped(*scraped);
    const auto executor = co_await asio::this_coro::executor;
    for (std::size_t i = 0; i < parallel_queries; ++i) {
      ++self->working;
      asio::co_spawn(executor, worker(self), [self](const std::exception_ptr& e) { self->ended(e); });
    }
  }
};

}  // namespace

struct prometheus_source::impl {
  asio::any_io_executor executor;
  net::metrics::prometheus_connection connection;
  net::metrics::prometheus_access access;
  std::chrono::milliseconds window;
  scrape_history history;

  static void run(const std::shared_ptr<impl>& self, std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                  std::chrono::milliseconds allowed, done_function done) {
    const auto refuse = [&done](std::string why) {
      auto out = std::make_shared<collected_metrics>();
      out->problem = std::move(why);
      done(std::move(out));
    };
    if (self->access.url.empty()) return refuse("PROMETHEUS_BASE_URL is not set");
    auto client = self->connection.client(self->access);
    if (!client) return refuse(client.error().message);
    const auto window_s = std::chrono::duration<double>(self->window).count();
    auto round = std::make_shared<query_round>(std::move(*client), *targets, now_s, self->window);
    round->allowed = allowed;
    round->until = std::chrono::steady_clock::now() + allowed;
    round->out->warning = self->connection.problem();
    round->working = 1;
    round->finish = [self, r = round.get(), targets = std::move(targets), window_s, done = std::move(done)] {
      if (r->out->problem.empty()) r->out->pods = self->history.judge(*targets, r->join.readings(), window_s);
      done(std::move(r->out));
    };
    asio::co_spawn(self->executor, query_round::begin(round), [round](const std::exception_ptr& e) { round->ended(e); });
  }
};

prometheus_source::prometheus_source(asio::any_io_executor executor, net::http_client_config http,
                                     net::metrics::prometheus_access access, std::chrono::milliseconds window)
    : impl_(std::make_shared<impl>(impl{executor, {executor, std::move(http)}, std::move(access), window, {}})) {}
prometheus_source::~prometheus_source() = default;

void prometheus_source::collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                                std::chrono::milliseconds allowed, done_function done) {
  asio::post(impl_->executor, [self = impl_, targets = std::move(targets), now_s, allowed, done = std::move(done)]() mutable {
    impl::run(self, std::move(targets), now_s, allowed, std::move(done));
  });
}

void prometheus_source::configure(const runtime_settings& settings) {
  asio::post(impl_->executor, [self = impl_, access = settings.prometheus, window = settings.rate_window] {
    if (self->access.url != access.url || self->window != window) self->history.clear();
    self->access = access;
    self->window = window;
  });
}

}  // namespace inferno::actors

#include "actors/prometheus_source.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "actors/pod_tracks.hpp"
#include "actors/prometheus_join.hpp"

namespace inferno::actors {

namespace asio = boost::asio;
using done_function = std::function<void(std::shared_ptr<const collected_metrics>)>;

namespace {

/// One collection: the queries one after the other, until none is left or one has failed. So no more than one answer is in
/// memory, and of several Prometheis behind one address the one that the connection leads to answers all.
struct query_round {
  query_round(net::metrics::prometheus_client c, std::shared_ptr<const std::vector<scrape_target>> t)
      : client(std::move(c)), targets(std::move(t)), join(*targets) {}
  net::metrics::prometheus_client client;
  std::shared_ptr<const std::vector<scrape_target>> targets;
  prometheus_join join;
  std::chrono::milliseconds allowed{};
  std::chrono::steady_clock::time_point until;
  std::shared_ptr<collected_metrics> out = std::make_shared<collected_metrics>();

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

  static asio::awaitable<void> run(std::shared_ptr<query_round> self) {
    const auto queries = prometheus_queries();
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const auto answer = co_await ask(self, queries[i]);
      if (!answer) co_return;
      self->join.add(i, *answer);
    }
    if (const auto answer = co_await ask(self, gateway_queue_query())) self->out->queues = prometheus_join::queues(*answer);
  }
};

}  // namespace

struct prometheus_source::impl {
  asio::any_io_executor executor;
  net::metrics::prometheus_connection connection;
  net::metrics::prometheus_access access;
  std::chrono::milliseconds window;
  pod_tracks tracks;
  scrape_rhythm rhythm;

  /// One sample for each server of a target of which anything is or was known.
  std::vector<pod_sample> samples(const query_round& round, double now_s) {
    const auto window_s = std::chrono::duration<double>(window).count();
    std::map<kube::object_key, std::vector<scraped_server>> found;
    for (auto& s : round.join.servers()) {
      auto& of_pod = found[s.target->pod];
      of_pod.push_back(std::move(s));
    }
    std::vector<pod_sample> out;
    rhythm.keep(*round.targets);
    for (const auto& t : *round.targets) {
      const auto servers = found.find(t.pod);
      std::optional<double> scraped_s;
      double age_s = 0;
      if (servers != found.end())
        for (const auto& s : servers->second)
          if (!scraped_s || s.reading.clock_s > *scraped_s) std::tie(scraped_s, age_s) = std::pair(s.reading.clock_s, s.age_s);
      const auto silence = rhythm.seen(t.pod, scraped_s, age_s, window_s);
      if (!silence) continue;
      if (servers == found.end() || !silence->empty()) {
        out.push_back(unusable(t.pod, *silence));
        continue;
      }
      for (auto& s : servers->second)
        out.push_back(s.problem.empty() ? tracks.observe(t, s.server, std::move(s.reading), now_s - s.age_s)
                                        : unusable(t.pod, s.problem));
    }
    return out;
  }

  static pod_sample unusable(const kube::object_key& pod, std::string why) {
    pod_sample s;
    s.pod = pod;
    s.problem = std::move(why);
    return s;
  }

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
    auto round = std::make_shared<query_round>(std::move(*client), std::move(targets));
    round->allowed = allowed;
    round->until = std::chrono::steady_clock::now() + allowed;
    round->out->warning = self->connection.problem();
    self->tracks.begin(round->targets, now_s);
    asio::co_spawn(self->executor, query_round::run(round), [self, round, now_s, done](const std::exception_ptr& thrown) {
      // What a round throws ends it and nothing else.
      try {
        if (thrown) std::rethrow_exception(thrown);
        if (round->out->problem.empty()) round->out->pods = self->samples(*round, now_s);
      } catch (const std::exception& e) {
        round->fail(e.what());
      }
      done(std::move(round->out));
    });
  }
};

prometheus_source::prometheus_source(asio::any_io_executor executor, net::http_client_config http,
                                     net::metrics::prometheus_access access, std::chrono::milliseconds window)
    : impl_(std::make_shared<impl>(impl{executor, {executor, std::move(http)}, std::move(access), window, {}, {}})) {}
prometheus_source::~prometheus_source() = default;

void prometheus_source::collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                                std::chrono::milliseconds allowed, done_function done) {
  asio::post(impl_->executor, [self = impl_, targets = std::move(targets), now_s, allowed, done = std::move(done)]() mutable {
    impl::run(self, std::move(targets), now_s, allowed, std::move(done));
  });
}

void prometheus_source::configure(const runtime_settings& settings) {
  asio::post(impl_->executor, [self = impl_, access = settings.prometheus, window = settings.rate_window] {
    if (self->access.url != access.url) {
      self->tracks.clear();
      self->rhythm = {};
    }
    self->access = access;
    self->window = window;
  });
}

}  // namespace inferno::actors

#include "actors/prometheus_source.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>

#include "actors/pod_instances.hpp"
#include "actors/pod_tracks.hpp"
#include "actors/prometheus_join.hpp"
#include "net/words_of.hpp"

namespace inferno::actors {

namespace asio = boost::asio;
using done_function = std::function<void(std::shared_ptr<const collected_metrics>)>;

namespace {

/// A round has one at a time; more wait only if a round is still ending while the next begins.
constexpr std::size_t waiting_pieces = 4;

/// One collection: the queries one after the other, until none is left or one has failed. So no more than a piece of one answer
/// is in memory, and of several Prometheis behind one address the one that the connection leads to answers all.
struct query_round {
  query_round(net::metrics::prometheus_client c, std::shared_ptr<const std::vector<scrape_target>> t,
              std::shared_ptr<net::background_thread> p)
      : client(std::move(c)), targets(std::move(t)), parser(std::move(p)), join(*targets) {}
  net::metrics::prometheus_client client;
  std::shared_ptr<const std::vector<scrape_target>> targets;
  std::shared_ptr<net::background_thread> parser;
  /// Sorts the samples of the answers by pod and server. The parser's thread fills it during a query; this round reads it between
  /// two queries only, when that thread is idle.
  prometheus_join join;
  std::vector<scraped_server> servers;
  std::map<kube::object_key, std::string> other_models;
  std::vector<net::metrics::vector_sample> queued;
  std::chrono::milliseconds allowed{};
  std::chrono::steady_clock::time_point until;
  std::shared_ptr<collected_metrics> out = std::make_shared<collected_metrics>();

  void fail(std::string why) {
    if (out->problem.empty()) out->problem = std::move(why);
  }

  /// False: the round has failed.
  static asio::awaitable<bool> ask(std::shared_ptr<query_round> self, std::string query, net::metrics::answer_reader::sink take) {
    net::metrics::query_options options;
    options.timeout = std::chrono::duration_cast<std::chrono::milliseconds>(self->until - std::chrono::steady_clock::now());
    options.limits = prometheus_limits(self->targets->size());
    options.labels = prometheus_labels();
    options.parser = self->parser;
    net::result<void> answer;
    if (options.timeout->count() > 0) answer = co_await self->client.query(std::move(query), std::move(take), std::move(options));
    // A request that is given up at the end of the round ends within its last millisecond.
    const bool late = std::chrono::steady_clock::now() + std::chrono::milliseconds(2) >= self->until;
    if (late) {
      self->fail(fmt::format("Prometheus is too slow: the queries of a round took longer than {:.3g} s",
                             std::chrono::duration<double>(self->allowed).count()));
    } else if (!answer) {
      self->fail(answer.error().message);
    } else if (!self->join.problem().empty()) {
      self->fail(self->join.problem());
    }
    co_return self->out->problem.empty();
  }

  static asio::awaitable<void> run(std::shared_ptr<query_round> self) {
    const auto queries = prometheus_queries();
    for (std::size_t i = 0; i < queries.size(); ++i) {
      net::metrics::answer_reader::sink take = [self, i](const net::metrics::vector_sample& v) { self->join.add(i, v); };
      const bool well = co_await ask(self, queries[i], std::move(take));
      if (!well) co_return;
    }
    net::metrics::answer_reader::sink take = [self](const net::metrics::vector_sample& v) { self->queued.push_back(v); };
    const bool well = co_await ask(self, gateway_queue_query(), std::move(take));
    if (!well) co_return;
    self->out->queues = prometheus_join::queues(self->queued);
    auto joining = [self] { return self->join.servers(); };
    auto joined = co_await net::run_in_background(self->parser, std::move(joining));
    if (joined) {
      self->servers = std::move(*joined);
      self->other_models = self->join.other_models();
    } else {
      self->fail("stopped");
    }
  }
};

}  // namespace

struct prometheus_source::impl {
  asio::any_io_executor executor;
  net::metrics::prometheus_connection connection;
  net::metrics::prometheus_access access;
  std::chrono::milliseconds window;
  /// Parses answers, which would hold up the lease and the watches on the I/O thread.
  std::shared_ptr<net::background_thread> parser;
  pod_tracks tracks;
  scrape_rhythm rhythm;
  std::map<kube::object_key, pod_instances> instances;  ///< of pods that have had several

  /// One sample for each server of a target of which anything is or was known.
  std::vector<pod_sample> samples(query_round& round, double now_s) {
    const auto window_s = std::chrono::duration<double>(window).count();
    std::map<kube::object_key, std::vector<scraped_server>> found;
    for (auto& s : round.servers) {
      auto& of_pod = found[s.target->pod];
      of_pod.push_back(std::move(s));
    }
    std::vector<pod_sample> out;
    rhythm.keep(*round.targets);
    forget_gone(*round.targets);
    for (const auto& t : *round.targets) {
      const auto servers = found.find(t.pod);
      std::optional<double> scraped_s;
      double age_s = 0;
      if (servers != found.end())
        for (const auto& s : servers->second)
          if (!scraped_s || s.reading.clock_s > *scraped_s) std::tie(scraped_s, age_s) = std::pair(s.reading.clock_s, s.age_s);
      const auto silence = rhythm.seen(t.pod, scraped_s, age_s, window_s);
      if (const auto other = round.other_models.find(t.pod); other != round.other_models.end()) {
        out.push_back(unusable(t.pod, fmt::format("no vLLM metrics of model \"{}\", but of \"{}\"", t.model, other->second)));
        continue;
      }
      if (!silence) continue;
      if (servers == found.end() || !silence->empty()) {
        out.push_back(unusable(t.pod, *silence));
        continue;
      }
      const auto counted = which_count(t.pod, servers->second);
      for (std::size_t i = 0; i < counted.size(); ++i) {
        auto& s = servers->second[i];
        if (!s.problem.empty()) {
          out.push_back(unusable(t.pod, s.problem));
          continue;
        }
        // Duplicates are followed too, so that one that turns out to be a server goes on from its last reading.
        auto sample = tracks.observe(t, s.server, std::move(s.reading), now_s - s.age_s);
        if (counted[i]) out.push_back(std::move(sample));
      }
    }
    return out;
  }

  /// Of a pod's instances; pods with one need no memory.
  std::vector<bool> which_count(const kube::object_key& pod, const std::vector<scraped_server>& servers) {
    const auto known = instances.find(pod);
    if (servers.size() < 2 && known == instances.end()) return std::vector<bool>(servers.size(), true);
    return (known == instances.end() ? instances[pod] : known->second).counted(servers);
  }

  void forget_gone(const std::vector<scrape_target>& targets) {
    if (instances.empty()) return;
    std::map<kube::object_key, pod_instances> kept;
    for (const auto& t : targets)
      if (auto node = instances.extract(t.pod)) kept.insert(std::move(node));
    instances = std::move(kept);
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
    auto round = std::make_shared<query_round>(std::move(*client), std::move(targets), self->parser);
    round->allowed = allowed;
    round->until = std::chrono::steady_clock::now() + allowed;
    round->out->warning = self->connection.problem();
    self->tracks.begin(round->targets, now_s);
    asio::co_spawn(self->executor, query_round::run(round), [self, round, now_s, done](const std::exception_ptr& thrown) {
      // What a round throws ends it and nothing else.
      if (thrown) round->fail(net::words_of(thrown));
      try {
        if (round->out->problem.empty()) round->out->pods = self->samples(*round, now_s);
      } catch (...) {
        round->fail(net::words_of(std::current_exception()));
      }
      done(std::move(round->out));
    });
  }
};

prometheus_source::prometheus_source(asio::any_io_executor executor, net::http_client_config http,
                                     net::metrics::prometheus_access access, std::chrono::milliseconds window)
    : impl_(std::make_shared<impl>(impl{executor,
                                        {executor, std::move(http)},
                                        std::move(access),
                                        window,
                                        std::make_shared<net::background_thread>(waiting_pieces),
                                        {},
                                        {},
                                        {}})) {}
// The executor's context outlives the source, not the rounds that are under way.
prometheus_source::~prometheus_source() { impl_->parser->stop(); }

void prometheus_source::collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                                std::chrono::milliseconds allowed, done_function done) {
  asio::post(impl_->executor, [self = impl_, targets = std::move(targets), now_s, allowed, done = std::move(done)]() mutable {
    try {
      impl::run(self, std::move(targets), now_s, allowed, done);
    } catch (...) {
      auto out = std::make_shared<collected_metrics>();
      out->problem = net::words_of(std::current_exception());
      done(std::move(out));
    }
  });
}

void prometheus_source::configure(const runtime_settings& settings) {
  asio::post(impl_->executor, [self = impl_, access = settings.prometheus, window = settings.rate_window] {
    if (self->access.url != access.url) {
      self->tracks.clear();
      self->rhythm = {};
      self->instances.clear();
    }
    self->access = access;
    self->window = window;
  });
}

}  // namespace inferno::actors

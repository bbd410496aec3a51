#include "actors/scrape_source.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <map>

#include "net/metrics/exposition.hpp"

namespace inferno::actors {

namespace asio = boost::asio;

/// One collection: workers take targets until none is left; the last one reports.
struct scrape_round {
  std::shared_ptr<const std::vector<scrape_target>> targets;
  double now_s = 0;
  std::chrono::steady_clock::time_point began;
  std::chrono::milliseconds allowed{};
  std::size_t first = 0;  ///< another in each round, so that it is not always the same pods that come too late
  std::size_t next = 0;
  std::size_t working = 0;
  std::shared_ptr<collected_metrics> out = std::make_shared<collected_metrics>();
  std::function<void(std::shared_ptr<const collected_metrics>)> done;
};

struct scrape_source::impl : std::enable_shared_from_this<impl> {
  impl(std::shared_ptr<net::http_client> client, std::size_t parallel_requests, std::chrono::milliseconds request_timeout)
      : http(std::move(client)), parallel(parallel_requests), timeout(request_timeout) {}

  std::shared_ptr<net::http_client> http;
  std::size_t parallel;
  std::chrono::milliseconds timeout;
  std::map<kube::object_key, pod_counters> last;  ///< only touched on the executor, like all here
  std::size_t next_first = 0;

  static std::string url_of(const scrape_target& t) {
    return t.ip.find(':') == std::string::npos ? fmt::format("http://{}:{}/metrics", t.ip, t.port)
                                               : fmt::format("http://[{}]:{}/metrics", t.ip, t.port);
  }

  pod_sample sample_of(const scrape_target& t, const net::result<net::http_response>& r, double time_s) {
    pod_sample s;
    s.pod = t.pod;
    if (!r) {
      s.problem = r.error().message;
      return s;
    }
    if (r->status != 200) {
      s.problem = fmt::format("HTTP status {} from {}", r->status, url_of(t));
      return s;
    }
    const auto text = net::metrics::parse_exposition(r->body, "vllm:");
    const auto now = read_counters(text, t.model, time_s);
    if (!now) {
      s.problem = now.error();
      return s;
    }
    const auto before = last.find(t.pod);
    if (before == last.end()) {
      s.load.time_s = time_s;
      s.load.running = now->running;
      s.load.waiting = now->waiting;
    } else {
      s.load = difference(before->second, *now);
    }
    last[t.pod] = *now;
    return s;
  }

  static asio::awaitable<void> worker(std::shared_ptr<impl> self, std::shared_ptr<scrape_round> round) {
    while (round->next < round->targets->size()) {
      const auto& target = (*round->targets)[(round->first + round->next++) % round->targets->size()];
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(round->began + round->allowed - std::chrono::steady_clock::now());
      if (left.count() <= 0) {
        pod_sample s;
        s.pod = target.pod;
        s.problem = fmt::format("not asked: the others took {:.3g} s", std::chrono::duration<double>(round->allowed).count());
        round->out->pods.push_back(std::move(s));
        continue;
      }
      self->next_first = round->first + round->next;
      net::http_request request;
      request.url = url_of(target);
      request.timeout = std::min(self->timeout, left);
      const auto response = co_await self->http->request(std::move(request));
      // the moment of the answer, on the caller's clock
      const double time_s = round->now_s + std::chrono::duration<double>(std::chrono::steady_clock::now() - round->began).count();
      round->out->pods.push_back(self->sample_of(target, response, time_s));
    }
    if (--round->working == 0) self->finish(*round);
  }

  void finish(scrape_round& round) {
    // readings of pods that are gone are dropped
    if (last.size() > 2 * round.targets->size() + 16) {
      std::map<kube::object_key, pod_counters> kept;
      for (const auto& t : *round.targets)
        if (const auto it = last.find(t.pod); it != last.end()) kept.insert(*it);
      last = std::move(kept);
    }
    round.done(std::move(round.out));
  }

  void start(std::shared_ptr<scrape_round> round) {
    round->working = std::min(parallel, round->targets->size());
    if (round->working == 0) {
      round->working = 1;
      return finish(*round);
    }
    round->first = next_first % round->targets->size();
    const auto workers = round->working;
    for (std::size_t i = 0; i < workers; ++i) asio::co_spawn(http->executor(), worker(shared_from_this(), round), asio::detached);
  }
};

scrape_source::scrape_source(std::shared_ptr<net::http_client> http, std::size_t parallel, std::chrono::milliseconds timeout)
    : impl_(std::make_shared<impl>(std::move(http), parallel, timeout)) {}
scrape_source::~scrape_source() = default;

void scrape_source::collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                            std::chrono::milliseconds allowed,
                            std::function<void(std::shared_ptr<const collected_metrics>)> done) {
  auto round = std::make_shared<scrape_round>();
  round->targets = std::move(targets);
  round->now_s = now_s;
  round->allowed = allowed;
  round->began = std::chrono::steady_clock::now();
  round->done = std::move(done);
  asio::post(impl_->http->executor(), [self = impl_, round] { self->start(round); });
}

}  // namespace inferno::actors

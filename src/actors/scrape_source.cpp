#include "actors/scrape_source.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <map>

#include "actors/pod_tracks.hpp"

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
  pod_tracks tracks;  ///< only touched on the executor, like all here
  std::size_t next_first = 0;

  static std::string url_of(const scrape_target& t) {
    return t.ip.find(':') == std::string::npos ? fmt::format("http://{}:{}/metrics", t.ip, t.port)
                                               : fmt::format("http://[{}]:{}/metrics", t.ip, t.port);
  }

  using clock = std::chrono::steady_clock;
  struct answer {
    server_reading reading;
    clock::time_point at;  ///< when it began, which is when the counters were read
  };

  /// The text is read as it comes and none of it is kept: however much a server sends, it costs a piece of it at a time.
  static asio::awaitable<tl::expected<answer, std::string>> ask(std::shared_ptr<impl> self, scrape_target target,
                                                                std::chrono::milliseconds allowed) {
    const auto until = clock::now() + allowed;
    net::http_request request;
    request.url = url_of(target);
    request.timeout = allowed;
    const auto refuse = [url = request.url](const std::string& why) { return tl::unexpected(fmt::format("{}: {}", url, why)); };
    auto stream = co_await self->http->open_stream(std::move(request));
    if (!stream) co_return tl::unexpected(stream.error().message);
    answer out;
    out.at = clock::now();
    if ((*stream)->status() != 200)
      co_return tl::unexpected(fmt::format("HTTP status {} from {}", (*stream)->status(), url_of(target)));
    counter_reader text(target.model);
    for (;;) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - clock::now());
      if (left.count() <= 0) co_return refuse("timed out");
      const auto part = co_await (*stream)->read_some(left);
      if (!part) co_return tl::unexpected(part.error().message);
      if (!*part) break;
      if (const auto problem = text.feed(**part); !problem.empty()) co_return refuse(problem);
    }
    auto reading = text.finish();
    if (!reading) co_return tl::unexpected(std::move(reading.error()));
    if (!(*stream)->delimited() && !text.saw_eof())
      co_return refuse("the response has neither a length nor chunks nor # EOF, so it may have been cut");
    out.reading = std::move(*reading);
    co_return out;
  }

  static pod_sample unusable(const scrape_target& t, std::string why) {
    pod_sample s;
    s.pod = t.pod;
    s.problem = std::move(why);
    return s;
  }

  static asio::awaitable<void> worker(std::shared_ptr<impl> self, std::shared_ptr<scrape_round> round) {
    while (round->next < round->targets->size()) {
      const auto& target = (*round->targets)[(round->first + round->next++) % round->targets->size()];
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(round->began + round->allowed - std::chrono::steady_clock::now());
      if (left.count() <= 0) {
        round->out->pods.push_back(unusable(
            target, fmt::format("not asked: the others took {:.3g} s", std::chrono::duration<double>(round->allowed).count())));
        continue;
      }
      self->next_first = round->first + round->next;
      auto read = co_await ask(self, target, std::min(self->timeout, left));
      if (!read) {
        round->out->pods.push_back(unusable(target, std::move(read.error())));
        continue;
      }
      // on the caller's clock
      const double time_s = round->now_s + std::chrono::duration<double>(read->at - round->began).count();
      read->reading.clock_s = time_s;
      read->reading.wall_s = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
      round->out->pods.push_back(self->tracks.observe(target, "", std::move(read->reading), time_s));
    }
    if (--round->working == 0) self->finish(*round);
  }

  void finish(scrape_round& round) { round.done(std::move(round.out)); }

  void start(std::shared_ptr<scrape_round> round) {
    tracks.begin(round->targets, round->now_s);
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

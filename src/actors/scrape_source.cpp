#include "actors/scrape_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <map>
#include <utility>

#include "actors/pod_tracks.hpp"
#include "net/words_of.hpp"

namespace inferno::actors {

namespace asio = boost::asio;

namespace {

using clock = std::chrono::steady_clock;
constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
/// What takes longer than so many times the usual is slow. Where all take long, none is.
constexpr int slow_times = 4;

double seconds(clock::duration d) { return std::chrono::duration<double>(d).count(); }

struct answer {
  server_reading reading;
  clock::time_point at;          ///< when it began, which is when the counters were read
  std::optional<double> time_s;  ///< the same on the caller's clock, once a round has looked at it
};
using outcome = tl::expected<answer, std::string>;

/// A request under way. Whoever has asked may leave it, and is called when it has ended.
struct asking {
  explicit asking(const asio::any_io_executor& e) : over(e, clock::time_point::max()) {}
  const clock::time_point since = clock::now();
  std::optional<outcome> done;
  std::function<void(outcome)> left;
  asio::steady_timer over;

  void end(outcome o) {
    if (left) return std::exchange(left, {})(std::move(o));
    done = std::move(o);
    over.cancel();
  }
  /// Whether it has ended by then.
  static asio::awaitable<bool> wait(std::shared_ptr<asking> self, clock::time_point until) {
    while (!self->done && clock::now() < until) {
      self->over.expires_at(until);
      co_await self->over.async_wait(nothrow);
    }
    co_return self->done.has_value();
  }
};

/// A pod that did not answer in time and is asked apart from the rounds.
struct slow_pod {
  explicit slow_pod(scrape_target t) : target(std::move(t)) {}
  scrape_target target;
  bool asked = false;                             ///< a request is under way
  std::uint64_t asked_in = 0;                     ///< the round it was last asked in
  clock::duration took = clock::duration::max();  ///< the last request, if it was answered
  clock::time_point again{};
  std::chrono::milliseconds backoff{0};
  std::string problem;          ///< of the last request; "" = it was answered
  std::optional<answer> known;  ///< the last there was

  bool fails() const { return backoff.count() > 0; }

  bool is(const scrape_target& t) const { return target.ip == t.ip && target.port == t.port && target.model == t.model; }
};

}  // namespace

/// One collection: workers take targets until none is left; the last one reports.
struct scrape_round {
  std::shared_ptr<const std::vector<scrape_target>> targets;
  double now_s = 0;
  clock::time_point began;
  std::chrono::milliseconds allowed{};
  /// Indices of those that are asked. Another is the first in each round, so that it is not always the same pods that come too
  /// late.
  std::vector<std::size_t> todo;
  std::size_t next = 0;
  std::size_t working = 1;  ///< workers, and whoever starts them
  std::shared_ptr<collected_metrics> out = std::make_shared<collected_metrics>();
  std::function<void(std::shared_ptr<const collected_metrics>)> done;

  double time_of(clock::time_point t) const { return now_s + seconds(t - began); }
  void unusable(const scrape_target& t, std::string why) {
    pod_sample s;
    s.pod = t.pod;
    s.problem = std::move(why);
    out->pods.push_back(std::move(s));
  }
};

struct scrape_source::impl : std::enable_shared_from_this<impl> {
  impl(std::shared_ptr<net::http_client> client, scrape_options o) : http(std::move(client)), options(std::move(o)) {
    options.patience = std::min(options.patience, options.timeout);
    patience = options.patience;
  }

  std::shared_ptr<net::http_client> http;
  scrape_options options;
  pod_tracks tracks;  ///< only touched on the executor, like all here
  std::size_t next_first = 0;
  std::map<kube::object_key, std::shared_ptr<slow_pod>> slow;
  std::size_t lasting = 0;   ///< requests under way that may outlast their round
  std::size_t late = 0;      ///< of those, the ones that no round waits for
  std::size_t hopeless = 0;  ///< of those, the ones to pods whose last request failed
  std::uint64_t rounds = 0;
  std::chrono::milliseconds patience{};  ///< of this round
  std::vector<clock::duration> took;     ///< answers, since the round began

  std::string url_of(const scrape_target& t) const {
    if (options.url) return options.url(t);
    return t.ip.find(':') == std::string::npos ? fmt::format("http://{}:{}/metrics", t.ip, t.port)
                                               : fmt::format("http://[{}]:{}/metrics", t.ip, t.port);
  }

  /// The text is read as it comes and none of it is kept: however much a server sends, it costs a piece of it at a time.
  static asio::awaitable<outcome> ask(std::shared_ptr<impl> self, scrape_target target, std::chrono::milliseconds allowed) {
    const auto until = clock::now() + allowed;
    net::http_request request;
    request.url = self->url_of(target);
    request.timeout = allowed;
    const auto url = request.url;
    const auto refuse = [&url](const std::string& why) { return tl::unexpected(fmt::format("{}: {}", url, why)); };
    auto stream = co_await self->http->open_stream(std::move(request));
    if (!stream) co_return tl::unexpected(stream.error().message);
    answer out;
    out.at = clock::now();
    const auto wall = std::chrono::system_clock::now().time_since_epoch();
    if ((*stream)->status() != 200) co_return tl::unexpected(fmt::format("HTTP status {} from {}", (*stream)->status(), url));
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
    out.reading.wall_s = std::chrono::duration<double>(wall).count();
    co_return out;
  }

  /// What a request throws is its outcome.
  std::shared_ptr<asking> begin(const scrape_target& target, std::chrono::milliseconds allowed, bool may_last) {
    auto a = std::make_shared<asking>(http->executor());
    lasting += may_last;
    auto ended = [a, may_last, self = shared_from_this()](const std::exception_ptr& thrown, outcome o) {
      self->lasting -= may_last;
      if (thrown) o = tl::unexpected(net::words_of(thrown));
      a->end(std::move(o));
    };
    try {
      asio::co_spawn(http->executor(), ask(shared_from_this(), target, allowed), std::move(ended));
    } catch (...) {
      lasting -= may_last;
      throw;
    }
    return a;
  }

  void observe(scrape_round& round, const scrape_target& target, answer& a) {
    // Once, because the caller's clock and this one do not keep the same distance to the last digit in each round.
    if (!a.time_s) a.time_s = round.time_of(a.at);
    a.reading.clock_s = *a.time_s;
    round.out->pods.push_back(tracks.observe(target, "", a.reading, *a.time_s));
  }

  /// The request goes on, and no round waits for it.
  void leave(asking& a, const std::shared_ptr<slow_pod>& pod) {
    pod->asked = true;
    const std::size_t fails = pod->fails();
    ++late;
    hopeless += fails;
    a.left = [self = shared_from_this(), pod, fails, since = a.since](outcome o) {
      --self->late;
      self->hopeless -= fails;
      self->heard(*pod, since, std::move(o));
      try {
        self->ask_slow();
      } catch (...) {
        // The next round tries again.
      }
    };
  }

  void heard(slow_pod& pod, clock::time_point since, outcome o) {
    const auto now = clock::now();
    pod.asked = false;
    pod.took = o ? now - since : clock::duration::max();
    if (o) {
      took.push_back(pod.took);
      pod.known = std::move(*o);
      pod.problem.clear();
      pod.backoff = {};
    } else {
      pod.problem = std::move(o.error());
      pod.backoff = std::min(std::max(2 * pod.backoff, options.timeout), options.longest_backoff);
    }
    pod.again = now + pod.backoff;
  }

  static asio::awaitable<void> scrape(std::shared_ptr<impl> self, std::shared_ptr<scrape_round> round, std::size_t index) {
    const auto& target = (*round->targets)[index];
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(round->began + round->allowed - clock::now());
    if (left.count() <= 0) {
      round->unusable(target, fmt::format("not asked: the others took {:.3g} s", seconds(round->allowed)));
      co_return;
    }
    self->next_first = index + 1;
    const auto patience = self->patience;
    // What ends with the round has not had its time, and is not slow.
    const bool hurried = left < patience;
    // Requests that are left behind are limited too: beyond that the round waits for them.
    const bool may_last = !hurried && self->lasting < 2 * self->options.parallel;
    const auto a = self->begin(target, hurried ? left : may_last ? self->options.slow_timeout : self->options.timeout, may_last);
    const bool ended = co_await asking::wait(a, may_last ? a->since + patience : clock::time_point::max());
    const auto slow_now = [&] { return self->slow[target.pod] = std::make_shared<slow_pod>(target); };
    if (!ended) {
      const auto pod = slow_now();
      pod->problem = fmt::format("{}: no answer within {:.3g} s", self->url_of(target), seconds(patience));
      round->unusable(target, pod->problem);
      self->leave(*a, pod);
    } else if (*a->done) {
      self->took.push_back(clock::now() - a->since);
      self->observe(*round, target, **a->done);
    } else {
      round->unusable(target, a->done->error());
      if (!hurried && clock::now() - a->since >= patience) self->heard(*slow_now(), a->since, std::move(*a->done));
    }
  }

  static asio::awaitable<void> worker(std::shared_ptr<impl> self, std::shared_ptr<scrape_round> round) {
    while (round->next < round->todo.size()) {
      const auto index = round->todo[round->next++];
      std::exception_ptr thrown;
      try {
        co_await scrape(self, round, index);
      } catch (...) {
        thrown = std::current_exception();
      }
      if (thrown) round->unusable((*round->targets)[index], net::words_of(thrown));
    }
  }

  static void leave_round(scrape_round& round) {
    if (--round.working == 0) round.done(std::move(round.out));
  }

  /// What is known of a slow pod counts until a request to it fails, and also while it waits for its turn to be asked.
  /// Without a problem there is an answer.
  void report(scrape_round& round, slow_pod& pod) {
    if (!pod.problem.empty()) return round.unusable(pod.target, pod.problem);
    const auto age = round.began - pod.known->at;
    if (age <= 4 * options.slow_timeout) return observe(round, pod.target, *pod.known);
    round.unusable(pod.target, fmt::format("{}: the last answer is {:.3g} s old", url_of(pod.target), seconds(age)));
  }

  /// Those whose time has come, each once in a round, the longest waiting first.
  void ask_slow() {
    std::vector<std::shared_ptr<slow_pod>> due;
    const auto now = clock::now();
    for (const auto& [key, pod] : slow)
      if (!pod->asked && pod->asked_in != rounds && pod->again <= now) due.push_back(pod);
    std::stable_sort(due.begin(), due.end(), [](const auto& a, const auto& b) { return a->again < b->again; });
    for (const auto& pod : due) {
      if (late >= options.slow_parallel) break;
      // Those that do not answer take the full time each. They leave half of the places to those that do.
      if (pod->fails() && hopeless >= (options.slow_parallel + 1) / 2) continue;
      pod->asked_in = rounds;
      leave(*begin(pod->target, options.slow_timeout, true), pod);
    }
  }

  /// Slow pods report what is known of them, the others are to be asked. Who is no target any more is forgotten.
  void divide(scrape_round& round) {
    const auto& targets = *round.targets;
    std::map<kube::object_key, std::shared_ptr<slow_pod>> still;
    const auto first = targets.empty() ? 0 : next_first % targets.size();
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const auto index = (first + i) % targets.size();
      const auto& target = targets[index];
      const auto it = slow.find(target.pod);
      if (it == slow.end() || !it->second->is(target) || (!it->second->asked && it->second->took <= patience / 2)) {
        round.todo.push_back(index);
        continue;
      }
      report(round, *it->second);
      still.insert(*it);
    }
    slow = std::move(still);
  }

  /// Of the median answer of the last round; silent pods have none.
  void choose_patience() {
    ++rounds;
    if (took.empty()) return;
    const auto middle = took.begin() + static_cast<std::ptrdiff_t>(took.size() / 2);
    std::nth_element(took.begin(), middle, took.end());
    patience = std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(slow_times * *middle), options.patience,
                          options.timeout);
    took.clear();
  }

  void start(const std::shared_ptr<scrape_round>& round) {
    choose_patience();
    tracks.begin(round->targets, round->now_s);
    divide(*round);
    ask_slow();
    for (std::size_t i = std::min(options.parallel, round->todo.size()); i > 0; --i) {
      auto ended = [round](const std::exception_ptr& thrown) {
        if (thrown) round->out->problem = net::words_of(thrown);
        leave_round(*round);
      };
      ++round->working;  // before: it may have ended when co_spawn returns
      try {
        asio::co_spawn(http->executor(), worker(shared_from_this(), round), std::move(ended));
      } catch (...) {
        --round->working;
        throw;
      }
    }
  }
};

scrape_source::scrape_source(std::shared_ptr<net::http_client> http, scrape_options options)
    : impl_(std::make_shared<impl>(std::move(http), std::move(options))) {}
scrape_source::~scrape_source() = default;

void scrape_source::collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                            std::chrono::milliseconds allowed,
                            std::function<void(std::shared_ptr<const collected_metrics>)> done) {
  auto round = std::make_shared<scrape_round>();
  round->targets = std::move(targets);
  round->now_s = now_s;
  round->allowed = allowed;
  round->began = clock::now();
  round->done = std::move(done);
  asio::post(impl_->http->executor(), [self = impl_, round] {
    try {
      self->start(round);
    } catch (...) {
      round->out->problem = net::words_of(std::current_exception());
    }
    impl::leave_round(*round);
  });
}

}  // namespace inferno::actors

#include "testbed/load/load_generator.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json.hpp>
#include <cmath>
#include <map>
#include <set>

namespace inferno::testbed {

namespace json = boost::json;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
using steady = std::chrono::steady_clock;

double ms_between(steady::time_point a, steady::time_point b) { return std::chrono::duration<double, std::milli>(b - a).count(); }

/// Server-sent events of a completion, whatever the chunk boundaries.
class event_counter {
 public:
  /// Number of tokens in the lines completed by `bytes`.
  int feed(std::string_view bytes) {
    int tokens = 0;
    line_ += bytes;
    std::size_t begin = 0;
    for (auto end = line_.find('\n'); end != std::string::npos; end = line_.find('\n', begin)) {
      const auto line = std::string_view(line_).substr(begin, end - begin);
      begin = end + 1;
      if (line.substr(0, 6) != "data: ") continue;
      if (line.find("[DONE]") != std::string_view::npos) {
        done_ = true;
      } else if (line.find("\"finish_reason\":null") != std::string_view::npos) {
        ++tokens;
      }
    }
    line_.erase(0, begin);
    return tokens;
  }
  bool done() const { return done_; }

 private:
  std::string line_;
  bool done_ = false;
};

/// A run without an end must not fill the memory: percentiles are of this many requests.
constexpr std::size_t most_records = 1'000'000;

struct record {
  steady::time_point at;
  double ttft_ms = 0;
  double itl_ms = 0;
  int tokens = 0;
};

latency_summary summarize(std::vector<double> values, double mean) {
  latency_summary s;
  if (values.empty()) return s;
  std::sort(values.begin(), values.end());
  const auto at = [&](double q) {
    return values[std::min(values.size() - 1, static_cast<std::size_t>(q * static_cast<double>(values.size())))];
  };
  s.mean = mean;
  s.p50 = at(0.50);
  s.p90 = at(0.90);
  s.p95 = at(0.95);
  s.p99 = at(0.99);
  return s;
}

}  // namespace

tl::expected<std::vector<load_phase>, std::string> parse_rate(const std::string& text) {
  const auto bad = [&] {
    return tl::unexpected(
        fmt::format("rate: expected requests per minute, or [[seconds, requests per minute], ...], got {}", text));
  };
  boost::system::error_code ec;
  const auto v = json::parse(text, ec);
  if (ec) return bad();
  const auto number = [](const json::value& n, double least) -> std::optional<double> {
    if (!n.is_number()) return std::nullopt;
    const double x = n.to_number<double>();
    return std::isfinite(x) && x >= least && x <= 1e7 ? std::optional(x) : std::nullopt;
  };
  if (const auto rate = number(v, 0)) return std::vector<load_phase>{{0, *rate}};
  if (!v.is_array() || v.get_array().empty()) return bad();
  std::vector<load_phase> out;
  for (const auto& pair : v.get_array()) {
    if (!pair.is_array() || pair.get_array().size() != 2) return bad();
    const auto seconds = number(pair.get_array()[0], 0);
    const auto rate = number(pair.get_array()[1], 0);
    if (!seconds || *seconds <= 0 || !rate) return bad();
    out.push_back({*seconds, *rate});
  }
  return out;
}

struct load_generator::impl : std::enable_shared_from_this<load_generator::impl> {
  impl(asio::any_io_executor e, load_config c)
      : executor(std::move(e)), config(std::move(c)), http(executor, client_config(config)), random(config.seed), wake(executor) {
    std::string words;
    for (int i = 0; i < config.content_length; ++i) words += "word ";
    json::object body{{"model", config.model},
                      {"messages", json::array{json::object{{"role", "user"}, {"content", words}}}},
                      {"stream", config.stream}};
    if (config.max_tokens > 0) body["max_tokens"] = config.max_tokens;
    request_body = json::serialize(body);
  }

  static net::http_client_config client_config(const load_config& c) {
    net::http_client_config out;
    out.request_timeout = c.request_timeout;
    out.max_idle_per_origin = 2000;
    return out;
  }

  asio::any_io_executor executor;
  load_config config;
  net::http_client http;
  std::mt19937_64 random;
  asio::steady_timer wake;  ///< cancelled when the run stops
  std::string request_body;
  std::map<std::string, long> outstanding_of;
  std::function<void()> done;
  long in_flight = 0;
  bool stopped = false;
  bool arrivals_over = false;

  std::recursive_mutex lent;  ///< guards config.targets and done, the caller's; done may end the generator
  mutable std::mutex mutex;   ///< guards what statistics() reads
  load_statistics counters;
  std::deque<record> records;  ///< the newest ones

  double gap_s(double per_minute) {
    const double mean = 60.0 / per_minute;
    return config.mode == arrival_mode::poisson ? std::exponential_distribution<double>(1.0 / mean)(random) : mean;
  }

  static asio::awaitable<void> arrive(std::shared_ptr<impl> self) {
    for (const auto& phase : self->config.phases) {
      auto next = steady::now();
      const auto end = phase.seconds > 0
                           ? next + std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(phase.seconds))
                           : steady::time_point::max();
      while (!self->stopped) {
        next = phase.per_minute > 0 ? next + std::chrono::duration_cast<steady::duration>(
                                                 std::chrono::duration<double>(self->gap_s(phase.per_minute)))
                                    : steady::time_point::max();
        self->wake.expires_at(std::min(next, end));
        co_await self->wake.async_wait(nothrow);
        if (self->stopped || next >= end) break;
        asio::co_spawn(self->executor, send(self), asio::detached);
      }
    }
    self->arrivals_over = true;
    self->finish_if_over();
  }

  void finish_if_over() {
    if (!arrivals_over || in_flight > 0) return;
    const std::lock_guard lock(lent);
    if (done) std::exchange(done, {})();
  }

  std::string pick(const std::set<std::string>& except = {}) {
    std::string best;
    long least = 0;
    std::vector<std::string> urls;
    {
      const std::lock_guard lock(lent);
      if (config.targets) urls = config.targets();
    }
    std::erase_if(urls, [&](const std::string& url) { return except.count(url) > 0; });
    if (config.route == routing::random && !urls.empty())
      return urls[std::uniform_int_distribution<std::size_t>(0, urls.size() - 1)(random)];
    for (const auto& url : urls) {
      const auto load = outstanding_of[url];
      if (best.empty() || load < least) {
        best = url;
        least = load;
      }
    }
    return best;
  }

  /// Under the mutex.
  void count(const record& r) {
    ++counters.ok;
    counters.tokens += r.tokens;
    const bool measured = config.stream;
    const bool ttft = measured && config.slo_ttft_ms > 0 && r.ttft_ms <= config.slo_ttft_ms;
    const bool itl = measured && config.slo_itl_ms > 0 && r.itl_ms <= config.slo_itl_ms;
    counters.within_ttft += ttft ? 1 : 0;
    counters.within_itl += itl ? 1 : 0;
    const bool all = (ttft || config.slo_ttft_ms <= 0) && (itl || config.slo_itl_ms <= 0);
    counters.within += measured && all && (ttft || itl) ? 1 : 0;
  }

  void fail(const std::string& why) {
    const std::lock_guard lock(mutex);
    ++counters.failed;
    if (counters.first_error.empty()) counters.first_error = why;
  }

  static asio::awaitable<void> send(std::shared_ptr<impl> self) {
    ++self->in_flight;
    {
      const std::lock_guard lock(self->mutex);
      ++self->counters.sent;
    }
    const auto url = self->pick();
    if (url.empty()) {
      self->fail("there is no server to send to");
    } else {
      ++self->outstanding_of[url];
      auto unreached = co_await exchange(self, url);
      if (--self->outstanding_of[url] == 0) self->outstanding_of.erase(url);
      if (unreached) co_await elsewhere(self, url, std::move(*unreached));
    }
    --self->in_flight;
    self->finish_if_over();
  }

  /// A request that did not reach its server, tried at others as long as there are any that have not refused it.
  static asio::awaitable<void> elsewhere(std::shared_ptr<impl> self, std::string refused_by, std::string why) {
    std::set<std::string> tried{refused_by};
    while (self->config.reconnect) {
      const auto url = self->pick(tried);
      if (url.empty()) break;
      tried.insert(url);
      ++self->outstanding_of[url];
      auto again = co_await exchange(self, url);
      if (--self->outstanding_of[url] == 0) self->outstanding_of.erase(url);
      if (!again) co_return;
      why = std::move(*again);
    }
    self->fail(why);
  }

  /// Why the server could not be reached; nullopt: the request has ended, well or not.
  static asio::awaitable<std::optional<std::string>> exchange(std::shared_ptr<impl> self, std::string url) {
    net::http_request req;
    req.method = "POST";
    req.url = url + "/v1/chat/completions";
    req.content_type = "application/json";
    req.body = self->request_body;
    const auto began = steady::now();
    auto stream = co_await self->http.open_stream(std::move(req));
    if (!stream) {
      if (stream.error().kind == net::error_kind::connect) co_return stream.error().message;
      self->fail(stream.error().message);
      co_return std::nullopt;
    }
    const int status = (*stream)->status();
    event_counter events;
    std::string text;
    record r;
    steady::time_point first{}, last{};
    for (;;) {
      const auto part = co_await (*stream)->read_some(self->config.request_timeout);
      if (!part) {
        self->fail(part.error().message);
        co_return std::nullopt;
      }
      if (!*part) break;
      if (status >= 400 || !self->config.stream) {
        if (text.size() < (1u << 20)) text += **part;
        continue;
      }
      const int tokens = events.feed(**part);
      if (tokens == 0) continue;
      last = steady::now();
      if (r.tokens == 0) first = last;
      r.tokens += tokens;
    }
    if (status >= 400) {
      self->fail(fmt::format("HTTP status {}: {}", status, text.substr(0, 200)));
      co_return std::nullopt;
    }
    r.at = steady::now();
    if (self->config.stream) {
      if (!events.done() || r.tokens == 0) {
        self->fail("the stream ended without [DONE]");
        co_return std::nullopt;
      }
      r.ttft_ms = ms_between(began, first);
      if (r.tokens > 1) r.itl_ms = ms_between(first, last) / (r.tokens - 1);
    } else {
      boost::system::error_code ec;
      const auto v = json::parse(text, ec);
      const auto* usage = !ec && v.is_object() ? v.get_object().if_contains("usage") : nullptr;
      if (!usage || !usage->is_object() || !usage->get_object().contains("completion_tokens")) {
        self->fail("the answer has no usage.completion_tokens");
        co_return std::nullopt;
      }
      r.tokens = static_cast<int>(usage->get_object().at("completion_tokens").to_number<std::int64_t>());
    }
    const std::lock_guard lock(self->mutex);
    self->count(r);
    self->records.push_back(r);
    if (self->records.size() > most_records) self->records.pop_front();
    co_return std::nullopt;
  }
};

load_generator::load_generator(asio::any_io_executor executor, load_config config)
    : impl_(std::make_shared<impl>(std::move(executor), std::move(config))) {}
load_generator::~load_generator() {
  stop();
  // What the caller lent, servers of its own perhaps, must not live on in requests that are still under way: their last owner
  // would then be the I/O thread that those servers have to end.
  std::function<std::vector<std::string>()> targets;
  std::function<void()> done;
  const std::lock_guard lock(impl_->lent);
  targets.swap(impl_->config.targets);
  done.swap(impl_->done);
}

void load_generator::start(std::function<void()> done) {
  {
    const std::lock_guard lock(impl_->lent);
    impl_->done = std::move(done);
  }
  asio::co_spawn(impl_->executor, impl::arrive(impl_), asio::detached);
}

void load_generator::stop() {
  asio::dispatch(impl_->executor, [state = impl_] {
    state->stopped = true;
    state->wake.cancel();
  });
}

load_statistics load_generator::statistics(std::chrono::milliseconds recent) const {
  const auto since = recent.count() > 0 ? steady::now() - recent : steady::time_point::min();
  std::vector<double> ttft, itl;
  double ttft_sum = 0, itl_sum = 0, gaps = 0;
  load_statistics out;
  {
    const std::lock_guard lock(impl_->mutex);
    out = impl_->counters;
    for (auto it = impl_->records.rbegin(); it != impl_->records.rend() && it->at >= since; ++it) {
      if (it->ttft_ms <= 0) continue;
      ttft.push_back(it->ttft_ms);
      ttft_sum += it->ttft_ms;
      if (it->tokens < 2) continue;
      itl.push_back(it->itl_ms);
      itl_sum += it->itl_ms * (it->tokens - 1);
      gaps += it->tokens - 1;
    }
  }
  const auto n = static_cast<double>(ttft.size());
  out.ttft = summarize(std::move(ttft), n > 0 ? ttft_sum / n : 0);
  out.itl = summarize(std::move(itl), gaps > 0 ? itl_sum / gaps : 0);
  return out;
}

}  // namespace inferno::testbed

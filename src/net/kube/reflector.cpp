#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <random>

#include "net/kube/client.hpp"
#include "net/words_of.hpp"

namespace inferno::net::kube {
namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
/// Objects of a list that are asked for at least at once.
constexpr std::size_t smallest_page = 20;

std::string version_of(const json::object& object) {
  const auto* meta = object.if_contains("metadata");
  if (!meta || !meta->is_object()) return {};
  const auto* v = meta->get_object().if_contains("resourceVersion");
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

error status_of(const json::object& status) {
  error e;
  e.kind = error_kind::status;
  std::error_code ec;
  if (const auto* code = status.if_contains("code")) e.status = code->to_number<int>(ec);
  const auto* message = status.if_contains("message");
  e.message =
      message && message->is_string() ? std::string(message->get_string()) : fmt::format("watch: error event {}", e.status);
  return e;
}

bool gone(const error& e) { return e.kind == error_kind::status && e.status == 410; }

}  // namespace

struct reflector::impl : std::enable_shared_from_this<reflector::impl> {
  impl(std::shared_ptr<client> c, resource r, list_options o, reflector_sink s, reflector_config cfg)
      : api(std::move(c)),
        res(std::move(r)),
        options(std::move(o)),
        sink(std::move(s)),
        config(cfg),
        pause(api->executor()),
        jitter(cfg.jitter_seed) {}

  std::shared_ptr<client> api;
  resource res;
  list_options options;
  reflector_sink sink;
  reflector_config config;
  asio::steady_timer pause;
  std::minstd_rand jitter;
  std::unique_ptr<http_stream> stream;
  std::atomic<bool> started{false};
  std::atomic<bool> stopped{false};
  bool stop_done = false;  ///< set on the executor: the sink is not called any more
  bool ill = false;
  std::chrono::milliseconds backoff{0};

  void tell_health(const std::optional<error>& e) {
    if (stop_done || ill == e.has_value()) return;
    ill = e.has_value();
    if (sink.health) sink.health(e);
  }

  /// Waits before the next attempt, twice as long as the last time and with jitter, so that many watches do not come back as one.
  asio::awaitable<void> back_off(const error& e) {
    tell_health(e);
    backoff = std::clamp(backoff * 2, config.backoff_min, config.backoff_max);
    auto wait = std::chrono::milliseconds(std::uniform_int_distribution<long>(backoff.count() / 2, backoff.count())(jitter));
    if (e.retry_after) wait = std::max(wait, *e.retry_after);
    pause.expires_after(wait);
    if (stop_done) co_return;
    co_await pause.async_wait(nothrow);
  }

  /// All pages; the resourceVersion to watch from.
  asio::awaitable<result<std::string>> list_all() {
    std::vector<json::object> items;
    std::string token, version;
    for (bool more = true; more && !stop_done;) {
      auto page = co_await api->list(res, options, token);
      // Objects may be of a megabyte each: pages of fewer, from here on.
      if (!page && page.error().kind == error_kind::too_large && options.limit > smallest_page) {
        options.limit = std::max(smallest_page, options.limit / 4);
        continue;
      }
      if (!page) co_return tl::unexpected<error>(page.error());
      std::move(page->items.begin(), page->items.end(), std::back_inserter(items));
      token = page->next;
      version = page->resource_version;
      more = !token.empty();
    }
    if (!stop_done && sink.replaced) sink.replaced(std::move(items));
    co_return version;
  }

  /// Watches from `version`, moving it on with each event. An error, or nothing when the server ended the watch in good order.
  asio::awaitable<std::optional<error>> watch(std::string& version) {
    auto opened = co_await api->open_watch(res, options, version, config.server_timeout);
    if (!opened) co_return opened.error();
    stream = std::move(*opened);
    tell_health(std::nullopt);
    const auto silence = config.read_timeout.count() > 0
                             ? config.read_timeout
                             : std::chrono::milliseconds(config.server_timeout + std::chrono::seconds(10));
    watch_decoder decoder;
    std::optional<error> failure;
    while (!stop_done) {
      const auto part = co_await stream->read_some(silence);
      if (!part) {
        failure = part.error();
        break;
      }
      if (!*part) break;
      std::vector<watch_event> events;
      const auto decoded = decoder.feed(**part, events);
      for (auto& event : events) {
        if (stop_done) break;
        if (event.type == watch_type::error) {
          failure = status_of(event.object);
          break;
        }
        // Something came through: the next trouble starts with a short pause again.
        backoff = std::chrono::milliseconds(0);
        auto at = version_of(event.object);
        if (event.type != watch_type::bookmark && sink.changed) sink.changed(std::move(event));
        if (!at.empty()) version = std::move(at);
      }
      if (failure) break;
      if (!decoded) {
        failure = decoded.error();
        break;
      }
    }
    stream.reset();
    co_return failure;
  }

  /// Lists and watches until stopped. What that throws (out of memory, a sink) is an error like others: it lists anew.
  static asio::awaitable<void> run(std::shared_ptr<impl> self) {
    while (!self->stop_done) {
      std::exception_ptr thrown;
      try {
        co_await follow(self);
      } catch (...) {
        thrown = std::current_exception();
      }
      self->stream.reset();
      if (!thrown) continue;
      const error e{error_kind::protocol, 0, fmt::format("watch {}: {}", self->res.plural, words_of(thrown)), std::nullopt};
      co_await self->back_off(e);
    }
  }

  static asio::awaitable<void> follow(std::shared_ptr<impl> self) {
    while (!self->stop_done) {
      auto listed = co_await self->list_all();
      if (self->stop_done) break;
      if (!listed) {
        // A continue token that is too old means only that the list must begin anew; at once, unless it happens again and again.
        co_await self->back_off(listed.error());
        continue;
      }
      self->tell_health(std::nullopt);
      std::string version = *listed;
      while (!self->stop_done) {
        const auto began = std::chrono::steady_clock::now();
        const auto failure = co_await self->watch(version);
        if (self->stop_done) break;
        // One that lasted was healthy, even if nothing happened that it could have told.
        if (std::chrono::steady_clock::now() - began >= self->config.backoff_max) self->backoff = std::chrono::milliseconds(0);
        if (failure && gone(*failure)) {
          // Too old: list again. When that is said of a list just made, listing again at once would be a busy loop.
          if (version == *listed && std::chrono::steady_clock::now() - began < self->config.backoff_min)
            co_await self->back_off(*failure);
          break;
        }
        if (failure) {
          co_await self->back_off(*failure);
        } else if (std::chrono::steady_clock::now() - began < self->config.backoff_min) {
          // A server that ends every watch at once must not be asked in a busy loop.
          // Named: GCC 12 destroys twice an aggregate made inside a co_await.
          const error e{error_kind::closed, 0, "watch " + self->res.plural + ": ended at once", std::nullopt};
          co_await self->back_off(e);
        }
      }
    }
  }

  void stop_on_executor() {
    stop_done = true;
    pause.cancel();
    if (stream) stream->cancel();
  }
};

reflector::reflector(std::shared_ptr<client> api, resource res, list_options options, reflector_sink sink,
                     reflector_config config)
    : impl_(std::make_shared<impl>(std::move(api), std::move(res), std::move(options), std::move(sink), config)) {}
reflector::~reflector() { stop(); }

void reflector::start() {
  if (impl_->started.exchange(true)) return;
  asio::co_spawn(impl_->api->executor(), impl::run(impl_), asio::detached);
}

void reflector::stop() {
  if (impl_->stopped.exchange(true)) return;
  asio::dispatch(impl_->api->executor(), [state = impl_] { state->stop_on_executor(); });
}

}  // namespace inferno::net::kube

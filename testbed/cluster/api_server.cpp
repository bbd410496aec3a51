#include "testbed/cluster/api_server.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/json/serialize.hpp>
#include <caf/send.hpp>
#include <charconv>
#include <future>

#include "testbed/cluster/pod_log.hpp"
#include "testbed/cluster/reviews.hpp"
#include "testbed/cluster/watch.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr const char* json_type = "application/json";
constexpr std::chrono::milliseconds log_poll{200};  ///< of a log that is followed

struct fault {
  int left;
  int status;
  fault_filter filter;
  std::chrono::seconds retry_after;
};

api_request read_request(net::http_exchange& x) {
  api_request r;
  r.method = x.method();
  r.path = x.path();
  for (const auto* name : {"limit",
                           "continue",
                           "labelSelector",
                           "fieldSelector",
                           "dryRun",
                           "fieldValidation",
                           "watch",
                           "timeoutSeconds",
                           "resourceVersion",
                           "allowWatchBookmarks",
                           "includeObject",
                           "sendInitialEvents",
                           "gracePeriodSeconds",
                           "propagationPolicy",
                           "fieldManager",
                           "force",
                           "container",
                           "follow",
                           "previous",
                           "tailLines",
                           "sinceSeconds",
                           "sinceTime",
                           "timestamps",
                           "limitBytes"})
    if (auto value = x.query(name)) r.query[name] = std::move(*value);
  r.accept = x.header("Accept");
  r.content_type = x.header("Content-Type");
  r.body = x.body();
  r.user_agent = x.header("User-Agent");
  constexpr std::string_view bearer = "Bearer ";
  if (const auto said = x.header("Authorization"); said.starts_with(bearer)) r.bearer_token = said.substr(bearer.size());
  r.impersonated = x.header("Impersonate-User");
  return r;
}

/// Where a watch stands once the store knows of it.
struct opened_watch {
  watch_view view;
  std::uint64_t subscription = 0;
  std::vector<watch_event> initial;
};

api_result<std::uint64_t> revision_of(const std::string& text) {
  std::uint64_t out = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (!text.empty() && (ec != std::errc() || end != text.data() + text.size()))
    return tl::unexpected(api_error{400, "BadRequest", fmt::format("resourceVersion: Invalid value: \"{}\"", text)});
  return out;
}

api_result<opened_watch> open_watch(object_store& store, const api_request& request, const std::shared_ptr<watch_queue>& queue) {
  auto at = resolve(store, request);
  if (!at) return tl::unexpected(at.error());
  if (request.flag("sendInitialEvents"))
    return tl::unexpected(api_error{
        422, "Invalid",
        "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"});
  auto chosen = selectors_of(request);
  if (!chosen) return tl::unexpected(chosen.error());
  const auto revision = revision_of(request.parameter("resourceVersion"));
  if (!revision) return tl::unexpected(revision.error());
  opened_watch out{{at->kind, at->path.ns, std::move(*chosen)}, 0, {}};
  if (!at->path.name.empty()) {
    auto by_name = selector::fields("metadata.name=" + at->path.name);
    out.view.chosen.fields = std::move(*by_name);
  }
  // Without a revision a watch begins with what is there.
  if (*revision == 0) {
    const auto present = store.list(*out.view.kind, out.view.ns, out.view.chosen.labels, out.view.chosen.fields);
    if (!present) return tl::unexpected(present.error());
    for (const auto& o : present->items) out.initial.push_back({"ADDED", o, store.revision()});
  }
  if (*revision > 0) {
    const auto missed = store.since(*revision);
    if (!missed) return tl::unexpected(missed.error());
    for (const auto& c : *missed)
      if (auto e = out.view.see(c)) out.initial.push_back(std::move(*e));
  }
  out.subscription = store.subscribe([view = out.view, queue](const change& c) {
    if (auto e = view.see(c)) queue->push(std::move(*e));
  });
  return out;
}

}  // namespace

struct api_server::impl : std::enable_shared_from_this<api_server::impl> {
  impl(asio::any_io_executor e, settings s, store_actor a) : executor(std::move(e)), config(std::move(s)), store(std::move(a)) {}

  asio::any_io_executor executor;
  settings config;
  store_actor store;
  std::unique_ptr<net::http_server> server;
  std::deque<fault> faults;  ///< on the executor
  bool closing = false;      ///< likewise
  std::atomic<std::uint64_t> answered{0};

  /// Runs `function` on the store's actor and comes back with what it returns.
  template <class Function>
  asio::awaitable<std::invoke_result_t<Function, object_store&>> on_store(Function function) {
    using result = std::invoke_result_t<Function, object_store&>;
    struct outcome {
      std::optional<result> value;
      std::exception_ptr failure;
    };
    const auto out = std::make_shared<outcome>();
    asio::steady_timer done(executor, std::chrono::steady_clock::time_point::max());
    caf::anon_send(store, store_call{[function = std::move(function), out, timer = &done, to = executor](object_store& s) {
                     try {
                       out->value.emplace(function(s));
                     } catch (...) {
                       out->failure = std::current_exception();
                     }
                     asio::post(to, [timer] { timer->cancel(); });
                   }});
    // Nothing else cancels the timer, and the store answers every call it is sent before it stops.
    co_await done.async_wait(nothrow);
    if (out->failure) std::rethrow_exception(out->failure);
    co_return std::move(*out->value);
  }

  /// The fault that a request runs into, if any.
  std::optional<fault> next_fault(const api_request& r) {
    for (auto it = faults.begin(); it != faults.end(); ++it) {
      const auto& f = it->filter;
      if ((!f.method.empty() && f.method != r.method) || r.path.compare(0, f.path_prefix.size(), f.path_prefix) != 0 ||
          r.path.find(f.path_part) == std::string::npos || (f.watch_only && !r.flag("watch")))
        continue;
      auto out = *it;
      if (--it->left <= 0) faults.erase(it);
      return out;
    }
    return std::nullopt;
  }

  asio::awaitable<void> reply(net::http_exchange& x, api_answer a, std::vector<net::http_header> headers = {}) {
    co_await x.respond(a.status, std::move(a.content_type), std::move(a.body), std::move(headers));
  }

  asio::awaitable<void> handle(net::http_exchange& x) {
    auto request = read_request(x);
    ++answered;
    if (closing) co_return x.abort();
    if (const auto f = next_fault(request)) {
      std::vector<net::http_header> headers;
      if (f->retry_after.count() > 0) headers.push_back({"Retry-After", std::to_string(f->retry_after.count())});
      api_error injected{f->status, f->status == 429 ? "TooManyRequests" : "InternalError", "injected failure"};
      co_await reply(x, failure(injected), std::move(headers));
      co_return;
    }
    if (auto refusal = refuse_impersonation(request)) {
      co_await reply(x, std::move(*refusal));
      co_return;
    }
    if (request.method == "GET" && request.flag("watch")) {
      co_await watch(x, std::move(request));
      co_return;
    }
    if (const auto path = parse_path(request.path);
        request.method == "GET" && path && path->group.empty() && path->plural == "pods" && path->subresource == "log") {
      object_name pod{path->ns, path->name};  // GCC 12 destroys a braced argument of co_await twice
      co_await log(x, std::move(request), std::move(pod));
      co_return;
    }
    const auto version = config.version;
    auto ask = [request, version](object_store& s) -> api_answer {
      if (request.method == "GET")
        if (auto found = discovery(s, request, version)) return std::move(*found);
      return answer(s, request);
    };
    auto a = co_await on_store(std::move(ask));
    co_await reply(x, std::move(a));
  }

  asio::awaitable<void> log(net::http_exchange& x, api_request request, object_name pod) {
    const auto options = log_options_of(request, std::chrono::system_clock::now());
    if (!options) {
      co_await reply(x, failure(options.error()));
      co_return;
    }
    auto look = [pod, options = *options](object_store& s) -> api_result<bool> {
      const auto found = s.get(*s.kind_named("Pod"), pod);
      if (!found) return tl::unexpected(found.error());
      return runs_server(**found, options);
    };
    const auto has_server = co_await on_store(std::move(look));
    if (!has_server || request.flag("previous")) {
      const api_error none_before{400, "BadRequest", "containers of the emulated cluster have no previous run"};
      co_await reply(x, failure(has_server ? none_before : has_server.error()));
      co_return;
    }
    const auto lines = [&] { return *has_server && config.runtime ? config.runtime->log(pod.ns, pod.name) : std::nullopt; };
    auto now = lines();
    auto text = now ? log_text(*now, *options, 0, true) : std::string();
    if (!options->follow || !now) {
      api_answer whole{200, std::move(text), "text/plain"};
      co_await reply(x, std::move(whole));
      co_return;
    }
    std::vector<net::http_header> none;
    std::string type = "text/plain";
    bool alive = co_await x.begin_stream(200, std::move(type), std::move(none));
    const auto timer = std::make_shared<asio::steady_timer>(executor);
    const auto gone = std::make_shared<bool>(false);
    x.on_gone([gone, timer] {
      *gone = true;
      timer->cancel();
    });
    // Until the server is gone: its log says everything up to then.
    for (std::uint64_t next = now->empty() ? 0 : now->back().number + 1; alive && !*gone && !closing; now = lines()) {
      if (!now) break;
      if (text.empty()) text = log_text(*now, *options, next, false);
      if (!now->empty()) next = now->back().number + 1;
      if (!text.empty()) alive = co_await x.write(std::exchange(text, {}));
      timer->expires_after(log_poll);
      co_await timer->async_wait(nothrow);
    }
    if (alive && !*gone) co_await x.end_stream();
  }

  /// Ends the subscription however the watch ends.
  struct subscription {
    store_actor store;
    std::uint64_t id;
    ~subscription() {
      caf::anon_send(store, store_call{[id = id](object_store& s) { s.unsubscribe(id); }});
    }
  };

  asio::awaitable<void> watch(net::http_exchange& x, api_request request) {
    // The timer outlives this coroutine in the posts that wake it.
    const auto timer = std::make_shared<asio::steady_timer>(executor);
    const auto queue = std::make_shared<watch_queue>(config.watch_buffer,
                                                     [timer, to = executor] { asio::post(to, [timer] { timer->cancel(); }); });
    auto open = [request, queue](object_store& s) { return open_watch(s, request, queue); };
    auto opened = co_await on_store(std::move(open));
    if (!opened) {
      co_await reply(x, failure(opened.error()));
      co_return;
    }
    const subscription held{store, opened->subscription};
    const auto kind = opened->view.kind;
    long seconds = 0;
    const auto limit = request.parameter("timeoutSeconds");
    std::from_chars(limit.data(), limit.data() + limit.size(), seconds);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds > 0 ? seconds : 3600);
    std::vector<net::http_header> none;
    std::string type = json_type;
    bool alive = co_await x.begin_stream(200, std::move(type), std::move(none));
    const auto gone = std::make_shared<bool>(false);
    x.on_gone([gone, timer] {
      *gone = true;
      timer->cancel();
    });
    bool first = true;
    const auto lines_of = [&](const std::vector<watch_event>& events) {
      std::string out;
      for (const auto& e : events)
        out += watch_line(e, *kind, request, std::chrono::system_clock::now(), std::exchange(first, false));
      return out;
    };
    const bool bookmarks = request.flag("allowWatchBookmarks");
    auto next_bookmark = std::chrono::steady_clock::now() + config.bookmark_interval;
    auto text = lines_of(opened->initial);
    while (alive && !*gone && !closing && std::chrono::steady_clock::now() < end) {
      std::uint64_t revision = 0;
      if (bookmarks && std::chrono::steady_clock::now() >= next_bookmark) {
        // Asked of the store, so that everything up to it is in the queue by now.
        auto now = [](object_store& s) { return s.revision(); };
        revision = co_await on_store(std::move(now));
        next_bookmark = std::chrono::steady_clock::now() + config.bookmark_interval;
      }
      auto events = queue->take();
      if (!events) {
        co_return x.abort();
      }
      text += lines_of(*events);
      if (revision > 0) text += bookmark_line(*kind, request, revision);
      if (!text.empty()) {
        alive = co_await x.write(std::exchange(text, {}));
        continue;  // what came meanwhile had nobody to wake
      }
      timer->expires_at(bookmarks ? std::min(end, next_bookmark) : end);
      co_await timer->async_wait(nothrow);
    }
    if (alive) co_await x.end_stream();
  }
};

tl::expected<std::unique_ptr<api_server>, std::string> api_server::start(asio::any_io_executor executor, settings s,
                                                                         store_actor store) {
  net::http_server_config http;
  http.address = s.address;
  http.port = s.port;
  auto state = std::make_shared<impl>(executor, std::move(s), std::move(store));
  auto server =
      net::http_server::start(executor, http, [weak = std::weak_ptr(state)](net::http_exchange& x) -> asio::awaitable<void> {
        const auto strong = weak.lock();
        if (strong) co_await strong->handle(x);
      });
  if (!server) return tl::unexpected(server.error().message);
  state->server = std::move(*server);
  return std::unique_ptr<api_server>(new api_server(std::move(state)));
}

api_server::api_server(std::shared_ptr<impl> state) : impl_(std::move(state)) {}
api_server::~api_server() { stop(); }
std::string api_server::url() const { return "http://" + impl_->server->address(); }
std::uint64_t api_server::requests() const { return impl_->answered; }
void api_server::drop_connections() { impl_->server->drop_connections(); }

void api_server::fail_next(int count, int status, fault_filter filter, std::chrono::seconds retry_after) {
  std::promise<void> done;
  asio::post(impl_->executor, [&] {
    impl_->faults.push_back({count, status, std::move(filter), retry_after});
    done.set_value();
  });
  done.get_future().wait();
}

void api_server::stop() {
  std::promise<void> done;
  asio::post(impl_->executor, [&] {
    impl_->closing = true;
    impl_->server->stop();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace inferno::testbed

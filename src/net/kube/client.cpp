#include "net/kube/client.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <ctime>

#include "net/http/url.hpp"
#include "net/rate_limiter.hpp"

namespace inferno::net::kube {
namespace {

std::string collection_path(const resource& res, const std::string& ns) {
  std::string path = res.group.empty() ? fmt::format("/api/{}", res.version) : fmt::format("/apis/{}/{}", res.group, res.version);
  if (res.namespaced && !ns.empty()) path += "/namespaces/" + percent_encoded(ns);
  return path + "/" + res.plural;
}

std::string object_path(const resource& res, const object_key& key, const std::string& subresource) {
  auto path = collection_path(res, key.ns) + "/" + percent_encoded(key.name);
  if (!subresource.empty()) path += "/" + subresource;
  return path;
}

class query {
 public:
  void add(std::string_view name, std::string_view value) {
    if (value.empty()) return;
    text_ += fmt::format("{}{}={}", text_.empty() ? "?" : "&", name, percent_encoded(value));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

/// API servers ask for seconds; what a proxy in between asks for does not stop a controller for an hour.
constexpr unsigned longest_retry_s = 60;

/// Retry-After: seconds, or an HTTP date.
std::optional<std::chrono::milliseconds> retry_after(std::string_view value) {
  if (value.empty()) return std::nullopt;
  unsigned seconds = 0;
  const auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (ec == std::errc() && end == value.data() + value.size()) return std::chrono::seconds(std::min(seconds, longest_retry_s));
  std::tm when{};
  if (!::strptime(std::string(value).c_str(), "%a, %d %b %Y %H:%M:%S GMT", &when)) return std::nullopt;
  const auto left = std::chrono::system_clock::from_time_t(::timegm(&when)) - std::chrono::system_clock::now();
  return std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(left), std::chrono::milliseconds(0),
                    std::chrono::milliseconds(1000 * longest_retry_s));
}

error status_error(int status, std::string_view retry_header, std::string_view body, const std::string& what) {
  error e;
  e.kind = error_kind::status;
  e.status = status;
  e.retry_after = retry_after(retry_header);
  boost::system::error_code ec;
  const auto v = json::parse(json::string_view(body.data(), body.size()), ec);
  if (!ec && v.is_object()) {
    const auto* message = v.get_object().if_contains("message");
    if (message && message->is_string()) e.message = std::string(message->get_string());
  }
  if (e.message.empty()) e.message = fmt::format("{}: HTTP status {}", what, status);
  return e;
}

result<json::object> parse_object(const std::string& body, const std::string& what) {
  boost::system::error_code ec;
  auto v = json::parse(body, ec);
  if (ec) return fail(error_kind::decode, fmt::format("{}: the answer is not JSON: {}", what, ec.message()));
  if (!v.is_object()) return fail(error_kind::decode, what + ": the answer is not a JSON object");
  return std::move(v.get_object());
}

const char* content_type(patch_type type) {
  switch (type) {
    case patch_type::merge:
      return "application/merge-patch+json";
    case patch_type::json_patch:
      return "application/json-patch+json";
    case patch_type::strategic_merge:
      break;
  }
  return "application/strategic-merge-patch+json";
}

http_request make_request(const connection& conn, const char* method, const std::string& path) {
  http_request req;
  req.method = method;
  req.url = conn.url;
  while (!req.url.empty() && req.url.back() == '/') req.url.pop_back();
  req.url += path;
  req.headers.push_back({"Accept", "application/json"});
  if (conn.bearer_token) {
    const auto token = conn.bearer_token();
    if (!token.empty()) req.headers.push_back({"Authorization", "Bearer " + token});
  }
  return req;
}

}  // namespace

/// Coroutines of calls hold it: the client may go before they end.
struct client::state {
  std::shared_ptr<http_client> http;
  connection conn;
  rate_limiter limiter;
  write_guard guard{};
};

/// A request that is yet to wait for its turn.
struct client::call {
  const char* method;
  resource res;
  std::string path;
  std::string what;
  std::string body{};
  std::string content_type{};
  lane where = lane::status;
  bool writes() const { return std::string_view(method) != "GET"; }
};

asio::awaitable<result<json::object>> client::exchange(std::shared_ptr<state> s, call c) {
  // A lease that waited for its turn would be lost to the controller's own eagerness.
  const bool lease = c.res == resources::leases;
  const bool guarded = s->guard && c.writes();
  if (guarded)
    if (const auto ticket = s->guard(c.res); !ticket) co_return tl::unexpected<error>(ticket.error());
  if (!lease) {
    const auto turn = co_await s->limiter.acquire(static_cast<std::size_t>(c.where));
    if (!turn) co_return fail(turn.error().kind, fmt::format("{}: {}", c.what, turn.error().message));
  }
  std::shared_ptr<void> held;
  if (guarded) {
    auto ticket = s->guard(c.res);
    if (!ticket) co_return tl::unexpected<error>(ticket.error());
    held = std::move(*ticket);
  }
  auto req = make_request(s->conn, c.method, c.path);
  req.body = std::move(c.body);
  req.content_type = std::move(c.content_type);
  if (c.writes()) req.timeout = s->conn.write_timeout;
  if (lease && s->conn.lease_timeout) req.timeout = s->conn.lease_timeout;
  const auto response = co_await s->http->request(std::move(req));
  if (!response) co_return tl::unexpected<error>(response.error());
  if (response->status >= 400)
    co_return tl::unexpected<error>(status_error(response->status, response->header("Retry-After"), response->body, c.what));
  co_return parse_object(response->body, c.what);
}

client::client(std::shared_ptr<http_client> http, connection conn) {
  const auto executor = http->executor();
  const auto qps = conn.qps;
  const auto burst = conn.burst;
  state_.reset(new state{std::move(http), std::move(conn), rate_limiter(executor, qps, burst)});
}
void client::guard_writes(write_guard guard) { state_->guard = std::move(guard); }
void client::cancel_waiting_writes() {
  for (const auto where : {lane::scale, lane::status, lane::event}) state_->limiter.cancel(static_cast<std::size_t>(where));
}
asio::any_io_executor client::executor() const { return state_->http->executor(); }

asio::awaitable<result<list_page>> client::list(const resource& res, list_options options, std::string continue_token) {
  query q;
  q.add("labelSelector", options.label_selector);
  q.add("fieldSelector", options.field_selector);
  if (options.limit > 0) q.add("limit", std::to_string(options.limit));
  q.add("continue", continue_token);
  const auto what = "list " + res.plural;
  call c{"GET", res, collection_path(res, options.ns) + q.text(), what};
  c.where = lane::list;
  auto answer = co_await exchange(state_, std::move(c));
  if (!answer) co_return tl::unexpected<error>(answer.error());
  list_page page;
  auto* items = answer->if_contains("items");
  if (!items || !(items->is_array() || items->is_null())) co_return fail(error_kind::decode, what + ": the answer has no items");
  if (items->is_array()) {
    page.items.reserve(items->get_array().size());
    for (auto& item : items->get_array()) {
      if (!item.is_object()) co_return fail(error_kind::decode, what + ": an item is not an object");
      page.items.push_back(std::move(item.get_object()));
    }
  }
  if (const auto* meta = answer->if_contains("metadata"); meta && meta->is_object()) {
    const auto text = [&](std::string_view name) {
      const auto* v = meta->get_object().if_contains(name);
      return v && v->is_string() ? std::string(v->get_string()) : std::string();
    };
    page.resource_version = text("resourceVersion");
    page.next = text("continue");
  }
  co_return page;
}

asio::awaitable<result<json::object>> client::get(const resource& res, object_key key, std::string subresource, lane where) {
  call c{"GET", res, object_path(res, key, subresource), fmt::format("get {} {}/{}", res.plural, key.ns, key.name)};
  c.where = where;
  co_return co_await exchange(state_, std::move(c));
}

asio::awaitable<result<json::object>> client::create(const resource& res, std::string ns, json::object object) {
  call c{"POST", res, collection_path(res, ns), fmt::format("create {} in {}", res.plural, ns)};
  if (res == resources::events) c.where = lane::event;
  c.body = json::serialize(object);
  c.content_type = "application/json";
  co_return co_await exchange(state_, std::move(c));
}

asio::awaitable<result<json::object>> client::replace(const resource& res, object_key key, json::object object,
                                                      std::string subresource) {
  call c{"PUT", res, object_path(res, key, subresource), fmt::format("replace {} {}/{}", res.plural, key.ns, key.name)};
  c.body = json::serialize(object);
  c.content_type = "application/json";
  co_return co_await exchange(state_, std::move(c));
}

asio::awaitable<result<json::object>> client::patch(const resource& res, object_key key, json::value body, patch_type type,
                                                    std::string subresource) {
  call c{"PATCH", res, object_path(res, key, subresource), fmt::format("patch {} {}/{}", res.plural, key.ns, key.name)};
  c.body = json::serialize(body);
  c.content_type = content_type(type);
  // A patch of a Deployment itself moves it to another accelerator.
  if (subresource == "scale" || res == resources::deployments) c.where = lane::scale;
  co_return co_await exchange(state_, std::move(c));
}

asio::awaitable<result<json::object>> client::get_path(std::string path) {
  call c{"GET", {}, path, "get " + path};
  c.where = lane::list;
  co_return co_await exchange(state_, std::move(c));
}

asio::awaitable<result<void>> client::remove(const resource& res, object_key key, remove_options options) {
  call c{"DELETE", res, object_path(res, key, {}), fmt::format("delete {} {}/{}", res.plural, key.ns, key.name)};
  if (options.grace_period_s || !options.uid.empty()) {
    json::object body{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
    if (options.grace_period_s) body["gracePeriodSeconds"] = *options.grace_period_s;
    if (!options.uid.empty()) body["preconditions"] = json::object{{"uid", options.uid}};
    c.body = json::serialize(body);
    c.content_type = "application/json";
  }
  const auto answer = co_await exchange(state_, std::move(c));
  if (!answer) co_return tl::unexpected<error>(answer.error());
  co_return result<void>{};
}

asio::awaitable<result<std::unique_ptr<http_stream>>> client::open_watch(const resource& res, list_options options,
                                                                         std::string resource_version,
                                                                         std::chrono::seconds server_timeout) {
  query q;
  q.add("watch", "true");
  q.add("labelSelector", options.label_selector);
  q.add("fieldSelector", options.field_selector);
  q.add("allowWatchBookmarks", "true");
  q.add("resourceVersion", resource_version);
  q.add("timeoutSeconds", std::to_string(server_timeout.count()));
  const auto what = "watch " + res.plural;
  const auto http = state_->http;
  auto req = make_request(state_->conn, "GET", collection_path(res, options.ns) + q.text());
  auto stream = co_await http->open_stream(std::move(req));
  if (!stream) co_return tl::unexpected<error>(stream.error());
  const int status = (*stream)->status();
  if (status < 400) co_return std::move(*stream);
  std::string body;
  // A Status object is small; more than this is not needed to tell what went wrong.
  while (body.size() < 65536) {
    const auto part = co_await (*stream)->read_some(std::chrono::seconds(5));
    if (!part || !*part) break;
    body += **part;
  }
  co_return tl::unexpected<error>(status_error(status, (*stream)->header("Retry-After"), body, what));
}

}  // namespace inferno::net::kube

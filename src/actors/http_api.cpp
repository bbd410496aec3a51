#include "actors/http_api.hpp"

#include <fmt/format.h>

#include "actors/plan_text.hpp"

namespace inferno::actors {
namespace {

namespace asio = boost::asio;

constexpr const char* text_plain = "text/plain; charset=utf-8";
constexpr const char* exposition = "text/plain; version=0.0.4; charset=utf-8";
constexpr std::string_view variants_path = "/api/v1/variants";

struct answer {
  int status = 200;
  const char* type = text_plain;
  std::string body;
};

asio::awaitable<void> respond(net::http_exchange& x, answer a) {
  std::string type = a.type;
  co_await x.respond(a.status, std::move(type), std::move(a.body));
}

const char* type_of(text_format f) {
  return f == text_format::json ? "application/json" : f == text_format::yaml ? "application/yaml" : text_plain;
}

/// What follows /api/v1/variants: "", "/NAMESPACE/NAME" or "/NAMESPACE/NAME/explain".
answer variants_answer(const board_view& view, std::string_view rest, text_format f, const std::string& ns) {
  const auto held = view.plan();
  const auto* plan = held.get();
  if (rest.empty()) return {200, type_of(f), plan_text(plan, f, ns, view.leading())};
  const auto slash = rest.find('/', 1);
  if (slash != std::string_view::npos) {
    auto name = rest.substr(slash + 1);
    constexpr std::string_view explain = "/explain";
    const bool why = name.size() > explain.size() && name.ends_with(explain);
    if (why) name.remove_suffix(explain.size());
    const variant_key key{std::string(rest.substr(1, slash - 1)), std::string(name)};
    auto found = why ? explain_text(plan, key, f) : variant_text(plan, key, f);
    if (found) return {200, type_of(f), std::move(*found)};
  }
  return {404, text_plain, "no such variant in the last plan\n"};
}

/// What an answer depends on, apart from the view.
struct question {
  std::string method, path, output, ns;
};

question question_of(const net::http_exchange& x) {
  return {std::string(x.method()), std::string(x.path()), x.query("output").value_or("json"), x.query("namespace").value_or("")};
}

answer metrics_answer(const board_view& view, const question& q) {
  const std::string_view path = q.path;
  if (q.method != "GET" && q.method != "HEAD") return {405, text_plain, "only GET\n"};
  if (path == "/metrics") return {200, exposition, view.metrics_text()};
  if (path != variants_path && !path.starts_with(std::string(variants_path) + "/"))
    return {404, text_plain, "not found; there are /metrics and /api/v1/variants\n"};
  const auto format = parse_text_format(q.output);
  if (!format) return {400, text_plain, fmt::format("output: expected json, yaml or table, got \"{}\"\n", q.output)};
  return variants_answer(view, path.substr(variants_path.size()), *format, q.ns);
}

struct metrics_port {
  std::shared_ptr<const board_view> view;
  std::shared_ptr<http_auth> auth;
  std::shared_ptr<net::background_thread> renderer;
};

/// Ten thousand variants take long enough to hold up a lease's renewal.
asio::awaitable<void> respond_rendered(net::http_exchange& x, std::shared_ptr<const metrics_port> port) {
  auto q = question_of(x);
  if (!port->renderer) {
    auto now = metrics_answer(*port->view, q);
    co_return co_await respond(x, std::move(now));
  }
  auto work = [port, q = std::move(q)] { return metrics_answer(*port->view, q); };
  auto made = co_await net::run_in_background(port->renderer, std::move(work));
  if (made) co_return co_await respond(x, std::move(*made));
  std::vector<net::http_header> headers{{"Retry-After", "1"}};
  std::string type = text_plain;
  std::string body = "too many requests are being answered\n";
  co_await x.respond(503, std::move(type), std::move(body), std::move(headers));
}

asio::awaitable<void> respond_to_allowed(net::http_exchange& x, std::shared_ptr<const metrics_port> port) {
  // One right for all of them: every cluster lets everybody who is known to it `get` /api/* (system:discovery), so that path
  // would keep nobody out. What is not GET is refused in any case.
  std::string authorization(x.header("Authorization"));
  std::string peer = x.peer();
  const auto verdict = co_await port->auth->check(std::move(authorization), "get", "/metrics", std::move(peer));
  if (verdict.status == 200) co_return co_await respond_rendered(x, port);
  std::vector<net::http_header> headers;
  if (verdict.status == 401) headers.push_back({"WWW-Authenticate", "Bearer"});
  if (verdict.status == 503) headers.push_back({"Retry-After", "1"});
  std::string type = text_plain;
  std::string body = verdict.problem + "\n";
  co_await x.respond(verdict.status, std::move(type), std::move(body), std::move(headers));
}

answer probe_answer(const board_view& view, const std::function<std::string()>& problem, std::string_view path) {
  if (path == "/healthz") {
    const auto ill = problem();
    return ill.empty() ? answer{200, text_plain, "ok\n"} : answer{503, text_plain, ill + "\n"};
  }
  if (path != "/readyz") return {404, text_plain, "not found; there are /healthz and /readyz\n"};
  if (view.synced()) return {200, text_plain, "ok\n"};
  const auto trouble = view.trouble();
  return {503, text_plain, trouble.empty() ? "watches are not synced yet\n" : "watches are not synced: " + trouble + "\n"};
}

}  // namespace

net::http_handler make_metrics_handler(std::shared_ptr<const board_view> view, std::shared_ptr<http_auth> auth,
                                       std::shared_ptr<net::background_thread> renderer) {
  const auto port = std::make_shared<const metrics_port>(metrics_port{std::move(view), std::move(auth), std::move(renderer)});
  if (!port->auth) return [port](net::http_exchange& x) { return respond_rendered(x, port); };
  return [port](net::http_exchange& x) { return respond_to_allowed(x, port); };
}

net::http_handler make_probe_handler(std::shared_ptr<const board_view> view, std::function<std::string()> problem) {
  return [view = std::move(view), problem = std::move(problem)](net::http_exchange& x) {
    return respond(x, probe_answer(*view, problem, x.path()));
  };
}

}  // namespace inferno::actors

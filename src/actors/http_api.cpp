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

answer metrics_answer(const board_view& view, const net::http_exchange& x) {
  const auto path = x.path();
  if (x.method() != "GET" && x.method() != "HEAD") return {405, text_plain, "only GET\n"};
  if (path == "/metrics") return {200, exposition, view.metrics_text()};
  if (path != variants_path && !path.starts_with(std::string(variants_path) + "/"))
    return {404, text_plain, "not found; there are /metrics and /api/v1/variants\n"};
  const auto output = x.query("output").value_or("json");
  const auto format = parse_text_format(output);
  if (!format) return {400, text_plain, fmt::format("output: expected json, yaml or table, got \"{}\"\n", output)};
  return variants_answer(view, path.substr(variants_path.size()), *format, x.query("namespace").value_or(""));
}

asio::awaitable<void> respond_to_allowed(net::http_exchange& x, std::shared_ptr<const board_view> view,
                                         std::shared_ptr<http_auth> auth) {
  // One right for all of them: every cluster lets everybody who is known to it `get` /api/* (system:discovery), so that path
  // would keep nobody out. What is not GET is refused in any case.
  std::string authorization(x.header("Authorization"));
  const auto verdict = co_await auth->check(std::move(authorization), "get", "/metrics");
  if (verdict.status == 200) co_return co_await respond(x, metrics_answer(*view, x));
  std::vector<net::http_header> headers;
  if (verdict.status == 401) headers.push_back({"WWW-Authenticate", "Bearer"});
  std::string type = text_plain;
  std::string body = verdict.problem + "\n";
  co_await x.respond(verdict.status, std::move(type), std::move(body), std::move(headers));
}

answer probe_answer(const board_view& view, bool alive, std::string_view path) {
  if (path == "/healthz") return alive ? answer{200, text_plain, "ok\n"} : answer{503, text_plain, "the supervisor has ended\n"};
  if (path != "/readyz") return {404, text_plain, "not found; there are /healthz and /readyz\n"};
  if (view.synced()) return {200, text_plain, "ok\n"};
  const auto trouble = view.trouble();
  return {503, text_plain, trouble.empty() ? "watches are not synced yet\n" : "watches are not synced: " + trouble + "\n"};
}

}  // namespace

net::http_handler make_metrics_handler(std::shared_ptr<const board_view> view, std::shared_ptr<http_auth> auth) {
  if (!auth) return [view = std::move(view)](net::http_exchange& x) { return respond(x, metrics_answer(*view, x)); };
  return [view = std::move(view), auth = std::move(auth)](net::http_exchange& x) { return respond_to_allowed(x, view, auth); };
}

net::http_handler make_probe_handler(std::shared_ptr<const board_view> view, std::shared_ptr<const std::atomic<bool>> alive) {
  return [view = std::move(view), alive = std::move(alive)](net::http_exchange& x) {
    return respond(x, probe_answer(*view, *alive, x.path()));
  };
}

}  // namespace inferno::actors

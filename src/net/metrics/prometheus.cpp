#include "net/metrics/prometheus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>

#include "net/http/url.hpp"
#include "net/metrics/number.hpp"

namespace inferno::net::metrics {
namespace {

namespace json = boost::json;

/// [time, "value"]
bool read_point(const json::value& v, vector_sample& out) {
  if (!v.is_array() || v.get_array().size() != 2 || !v.get_array()[0].is_number() || !v.get_array()[1].is_string()) return false;
  out.time_s = v.get_array()[0].to_number<double>();
  const auto number = parse_number(v.get_array()[1].get_string());
  if (!number) return false;
  out.value = *number;
  return true;
}

}  // namespace

result<std::vector<vector_sample>> decode_answer(const http_response& response, const std::string& who) {
  const auto bad = [&](const std::string& why) { return fail(error_kind::decode, who + ": " + why); };
  boost::system::error_code ec;
  const auto v = json::parse(response.body, ec);
  const auto text = [](const json::object& o, std::string_view name) {
    const auto* s = o.if_contains(name);
    return s && s->is_string() ? std::string(s->get_string()) : std::string();
  };
  const auto* object = ec ? nullptr : v.if_object();
  if (object && text(*object, "status") == "error")
    return fail(error_kind::status, fmt::format("{}: {}: {}", who, text(*object, "errorType"), text(*object, "error")),
                response.status);
  if (response.status >= 400)
    return fail(error_kind::status, fmt::format("{}: HTTP status {}", who, response.status), response.status);
  if (!object) return bad("the answer is not a JSON object");
  const auto* data = object->if_contains("data");
  if (text(*object, "status") != "success" || !data || !data->is_object()) return bad("the answer has no data");
  const auto type = text(data->get_object(), "resultType");
  const auto* values = data->get_object().if_contains("result");
  if (!values || !values->is_array()) return bad("the answer has no result");
  std::vector<vector_sample> out;
  if (type == "scalar") {
    vector_sample s;
    if (!read_point(*values, s)) return bad("the scalar is not a time and a value");
    out.push_back(std::move(s));
    return out;
  }
  if (type != "vector") return bad(fmt::format("expected an instant vector, got \"{}\"", type));
  for (const auto& entry : values->get_array()) {
    vector_sample s;
    const auto* o = entry.if_object();
    const auto* metric = o ? o->if_contains("metric") : nullptr;
    const auto* point = o ? o->if_contains("value") : nullptr;
    if (!metric || !metric->is_object() || !point || !read_point(*point, s)) return bad("a sample is not a metric and a value");
    for (const auto& [name, value] : metric->get_object())
      if (value.is_string()) s.labels.emplace_back(std::string(name), std::string(value.get_string()));
    out.push_back(std::move(s));
  }
  return out;
}

std::string_view vector_sample::label(std::string_view name) const {
  for (const auto& [n, v] : labels)
    if (n == name) return v;
  return {};
}

prometheus_client::prometheus_client(std::shared_ptr<http_client> http, std::string base_url,
                                     std::function<std::string()> bearer_token)
    : http_(std::move(http)), base_url_(std::move(base_url)), bearer_token_(std::move(bearer_token)) {
  while (!base_url_.empty() && base_url_.back() == '/') base_url_.pop_back();
}

asio::awaitable<result<std::vector<vector_sample>>> prometheus_client::query(std::string promql,
                                                                             std::optional<std::chrono::milliseconds> timeout) {
  http_request req;
  req.method = "POST";
  req.url = base_url_ + "/api/v1/query";
  req.repeatable = true;
  req.content_type = "application/x-www-form-urlencoded";
  req.body = "query=" + percent_encoded(promql);
  req.timeout = timeout;
  if (timeout) req.body += fmt::format("&timeout={}ms", std::max<std::chrono::milliseconds::rep>(1, timeout->count()));
  if (bearer_token_) {
    const auto token = bearer_token_();
    if (!token.empty()) req.headers.push_back({"Authorization", "Bearer " + token});
  }
  const auto response = co_await http_->request(std::move(req));
  if (!response) co_return tl::unexpected<error>(response.error());
  const auto to = parse_url(base_url_);
  co_return decode_answer(*response, fmt::format("Prometheus at {}", to ? to->where.name() : base_url_));
}

}  // namespace inferno::net::metrics

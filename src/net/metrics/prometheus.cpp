#include "net/metrics/prometheus.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "net/http/url.hpp"

namespace inferno::net::metrics {
namespace {

using steady = std::chrono::steady_clock;

constexpr std::chrono::milliseconds usual_timeout{30000};
constexpr std::size_t batch = 256u << 10;            ///< bytes parsed at a time
constexpr std::size_t most_of_an_error = 64u << 10;  ///< bytes of the answer to a query that failed

std::optional<std::size_t> length_of(const http_stream& stream) {
  const auto text = stream.header("Content-Length");
  std::size_t out = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (text.empty() || ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

/// Parses what has come, on the thread if there is one.
asio::awaitable<result<void>> parse(std::shared_ptr<answer_reader> reader, std::string text,
                                    std::shared_ptr<background_thread> thread) {
  if (!thread) co_return reader->feed(text);
  auto work = [reader, text = std::move(text)] { return reader->feed(text); };
  auto done = co_await run_in_background(std::move(thread), std::move(work));
  if (!done) co_return fail(error_kind::cancelled, "the thread that parses answers has too much to do or has been stopped");
  co_return std::move(*done);
}

}  // namespace

prometheus_client::prometheus_client(std::shared_ptr<http_client> http, std::string base_url,
                                     std::function<std::string()> bearer_token)
    : http_(std::move(http)), base_url_(std::move(base_url)), bearer_token_(std::move(bearer_token)) {
  while (!base_url_.empty() && base_url_.back() == '/') base_url_.pop_back();
}

asio::awaitable<result<void>> prometheus_client::query(std::string promql, answer_reader::sink take, query_options options) {
  http_request req;
  req.method = "POST";
  req.url = base_url_ + "/api/v1/query";
  req.repeatable = true;
  req.content_type = "application/x-www-form-urlencoded";
  req.body = "query=" + percent_encoded(promql);
  if (options.timeout)
    req.body += fmt::format("&timeout={}ms", std::max<std::chrono::milliseconds::rep>(1, options.timeout->count()));
  if (bearer_token_) {
    const auto token = bearer_token_();
    if (!token.empty()) req.headers.push_back({"Authorization", "Bearer " + token});
  }
  const auto to = parse_url(base_url_);
  const auto who = fmt::format("Prometheus at {}", to ? to->where.name() : base_url_);
  const auto allowed = options.timeout.value_or(usual_timeout);
  const auto until = steady::now() + allowed;
  req.timeout = allowed;
  const auto stream = co_await http_->open_stream(std::move(req));
  if (!stream) co_return tl::unexpected<error>(stream.error());

  const int status = (*stream)->status();
  auto limits = options.limits;
  if (status >= 400) limits.bytes = most_of_an_error;
  if (const auto length = length_of(**stream); length && *length > limits.bytes && status < 400)
    co_return fail(error_kind::too_large,
                   fmt::format("{}: the answer has {} bytes, and {} is the limit", who, *length, limits.bytes));
  const auto reader = std::make_shared<answer_reader>(who, std::move(take), limits, std::move(options.labels));
  std::string pending;
  for (bool more = true; more;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - steady::now());
    if (left.count() <= 0) co_return fail(error_kind::timeout, who + ": reading the answer: timed out");
    auto part = co_await (*stream)->read_some(left);
    if (!part) co_return tl::unexpected<error>(part.error());
    more = part->has_value();
    if (more) pending += **part;
    if (pending.empty() || (more && pending.size() < batch)) continue;
    auto text = std::exchange(pending, {});
    const auto fed = co_await parse(reader, std::move(text), options.parser);
    if (fed) continue;
    if (status < 400) co_return fed;
    break;
  }
  co_return reader->finish(status);
}

}  // namespace inferno::net::metrics

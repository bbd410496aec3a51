#include "net/metrics/answer_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>

#include "net/metrics/number.hpp"

namespace inferno::net::metrics {
namespace {

namespace json = boost::json;

constexpr std::size_t most_name_bytes = 1024;     ///< of a key; the names that are looked for are shorter
constexpr std::size_t most_message_bytes = 1024;  ///< of an error's text, the rest is cut off
constexpr std::size_t most_labels = 64;           ///< of a sample
constexpr std::size_t most_depth = 16;

/// What of the answer the parser is in. Whatever has no place here is skipped.
enum class place { outside, answer, data, result, sample, metric, point };

/// [time, "value"]
struct point {
  int items = 0;
  bool valid = true;
  double time_s = 0, value = 0;

  void number(double x) {
    valid = valid && items++ == 0;
    time_s = x;
  }
  void text(std::string_view s) {
    const auto x = parse_number(s);
    valid = valid && items++ == 1 && x;
    if (x) value = *x;
  }
  void other() { valid = false; }
  bool whole() const { return valid && items == 2; }
};

/// Boost.JSON's handler.
struct answer_handler {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);
  using error_code = json::error_code;
  using text_view = json::string_view;

  answer_reader::sink take;
  answer_limits limits;
  std::vector<std::string> labels;

  place in = place::outside;
  int skipped = 0;  ///< containers that are open and of no interest
  std::string key_text, text;
  std::string answer_key, data_key, sample_key, label_name;
  bool is_object = false, has_data = false, has_result = false;
  std::string status, error_type, error_text, result_type;
  point scalar;
  std::size_t samples = 0, items = 0;  ///< of the result
  vector_sample sample;
  bool has_metric = false;
  point sample_point;
  std::string problem;
  error_kind kind = error_kind::decode;

  bool refuse(error_code& ec, std::string why, error_kind what = error_kind::decode) {
    problem = std::move(why);
    kind = what;
    ec = json::error::syntax;
    return false;
  }
  bool bad_sample(error_code& ec) { return refuse(ec, "a sample is not a metric and a value"); }
  bool skip() {
    ++skipped;
    return true;
  }
  bool enter(place where) {
    in = where;
    return true;
  }
  bool wants(std::string_view name) const {
    return labels.empty() || std::find(labels.begin(), labels.end(), name) != labels.end();
  }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }

  bool on_object_begin(error_code& ec) {
    if (skipped > 0) return skip();
    switch (in) {
      case place::outside:
        is_object = true;
        return enter(place::answer);
      case place::answer:
        if (answer_key != "data") return skip();
        if (std::exchange(has_data, true)) return refuse(ec, "the answer has data twice");
        return enter(place::data);
      case place::result:
        if (!result_type.empty() && result_type != "vector") {
          scalar.other();
          return skip();
        }
        ++items;
        sample.labels.clear();
        has_metric = false;
        sample_point = {};
        return enter(place::sample);
      case place::sample:
        if (sample_key != "metric") return skip();
        if (std::exchange(has_metric, true)) return bad_sample(ec);
        return enter(place::metric);
      case place::point:
        sample_point.other();
        return skip();
      case place::data:
      case place::metric:
        return skip();
    }
    return true;
  }
  bool on_object_end(std::size_t, error_code& ec) {
    if (skipped > 0) return --skipped >= 0;
    switch (in) {
      case place::metric:
        return enter(place::sample);
      case place::sample:
        if (!has_metric || !sample_point.whole()) return bad_sample(ec);
        if (++samples > limits.samples)
          return refuse(ec, fmt::format("the answer has more than {} samples, which is the limit", limits.samples),
                        error_kind::too_large);
        sample.time_s = sample_point.time_s;
        sample.value = sample_point.value;
        take(sample);
        return enter(place::result);
      case place::data:
        return enter(place::answer);
      default:
        return enter(place::outside);
    }
  }

  bool on_array_begin(error_code& ec) {
    if (skipped > 0) return skip();
    if (in == place::data && data_key == "result") {
      if (std::exchange(has_result, true)) return refuse(ec, "the answer has a result twice");
      return enter(place::result);
    }
    if (in == place::result) stray();
    if (in == place::sample && sample_key == "value") {
      sample_point = {};
      return enter(place::point);
    }
    if (in == place::point) sample_point.other();
    return skip();
  }
  bool on_array_end(std::size_t, error_code&) {
    if (skipped > 0) return --skipped >= 0;
    return enter(in == place::point ? place::sample : place::data);
  }
  /// Something in the result that belongs neither to a vector nor to a scalar.
  void stray() {
    ++items;
    scalar.other();
  }

  bool on_key_part(text_view part, std::size_t, error_code&) {
    if (key_text.size() < most_name_bytes) key_text.append(part.data(), std::min(part.size(), most_name_bytes));
    return true;
  }
  bool on_key(text_view part, std::size_t n, error_code& ec) {
    on_key_part(part, n, ec);
    if (skipped == 0) {
      auto& key = in == place::answer ? answer_key : in == place::data ? data_key : in == place::sample ? sample_key : label_name;
      key.swap(key_text);
    }
    key_text.clear();
    return true;
  }

  /// How much of a string is worth keeping where the parser is.
  std::size_t text_limit() const {
    if (skipped > 0) return 0;
    return in == place::metric ? most_label_bytes + 1 : most_message_bytes;
  }
  bool on_string_part(text_view part, std::size_t, error_code&) {
    const auto limit = text_limit();
    if (text.size() < limit) text.append(part.data(), std::min(part.size(), limit - text.size()));
    return true;
  }
  bool on_string(text_view part, std::size_t n, error_code& ec) {
    on_string_part(part, n, ec);
    const bool fine = skipped > 0 || string_ended(ec);
    text.clear();
    return fine;
  }
  bool string_ended(error_code& ec) {
    switch (in) {
      case place::answer:
        if (answer_key == "status") status = text;
        if (answer_key == "errorType") error_type = text;
        if (answer_key == "error") error_text = text;
        return true;
      case place::data:
        if (data_key == "resultType") result_type = text;
        return true;
      case place::result:
        ++items;
        scalar.text(text);
        return true;
      case place::metric:
        if (!wants(label_name)) return true;
        if (text.size() > most_label_bytes)
          return refuse(ec, fmt::format("label {} has more than {} bytes", label_name, most_label_bytes), error_kind::too_large);
        if (sample.labels.size() == most_labels)
          return refuse(ec, fmt::format("a sample has more than {} labels", most_labels), error_kind::too_large);
        sample.labels.emplace_back(label_name, text);
        return true;
      case place::point:
        sample_point.text(text);
        return true;
      default:
        return true;
    }
  }

  bool number(double x) {
    if (skipped > 0) return true;
    if (in == place::result) {
      ++items;
      scalar.number(x);
    }
    if (in == place::point) sample_point.number(x);
    return true;
  }
  bool on_number_part(text_view, error_code&) { return true; }
  bool on_int64(std::int64_t x, text_view, error_code&) { return number(static_cast<double>(x)); }
  bool on_uint64(std::uint64_t x, text_view, error_code&) { return number(static_cast<double>(x)); }
  bool on_double(double x, text_view, error_code&) { return number(x); }
  bool other() {
    if (skipped > 0) return true;
    if (in == place::result) stray();
    if (in == place::point) sample_point.other();
    return true;
  }
  bool on_bool(bool, error_code&) { return other(); }
  bool on_null(error_code&) { return other(); }
  bool on_comment_part(text_view, error_code&) { return true; }
  bool on_comment(text_view, error_code&) { return true; }
};

json::parse_options options() {
  json::parse_options out;
  out.max_depth = most_depth;
  return out;
}

}  // namespace

struct answer_reader::impl {
  explicit impl(std::string w) : who(std::move(w)), parser(options()) {}
  std::string who;
  std::size_t bytes = 0;
  json::basic_parser<answer_handler> parser;
  std::optional<error> failure;

  tl::unexpected<error> fails(error_kind kind, const std::string& why) {
    failure = fail(kind, who + ": " + why).value();
    return tl::unexpected(*failure);
  }
  /// `more`: whether the text goes on.
  result<void> parse(std::string_view text, bool more) {
    if (failure) return tl::unexpected(*failure);
    json::error_code ec;
    const auto taken = parser.write_some(more, text.data(), text.size(), ec);
    auto& handler = parser.handler();
    if (!handler.problem.empty()) return fails(handler.kind, handler.problem);
    if (ec || taken < text.size() || (!more && !parser.done()))
      return fails(error_kind::decode,
                   "the answer is not a JSON object" + (ec && bytes > 0 ? ": " + ec.message() : std::string()));
    return {};
  }
  result<void> judge(int http_status);
};

answer_reader::answer_reader(std::string who, sink take, answer_limits limits, std::vector<std::string> labels)
    : impl_(std::make_unique<impl>(std::move(who))) {
  auto& handler = impl_->parser.handler();
  handler.take = std::move(take);
  handler.limits = limits;
  handler.labels = std::move(labels);
}
answer_reader::~answer_reader() = default;

result<void> answer_reader::feed(std::string_view bytes) {
  auto& self = *impl_;
  if (self.failure) return tl::unexpected(*self.failure);
  self.bytes += bytes.size();
  const auto most = self.parser.handler().limits.bytes;
  if (self.bytes > most)
    return self.fails(error_kind::too_large,
                      fmt::format("the answer has {} bytes or more, and {} is the limit", self.bytes, most));
  return self.parse(bytes, true);
}

result<void> answer_reader::finish(int http_status) {
  auto& self = *impl_;
  const auto whole = self.parse({}, false);
  if (!whole && http_status < 400) return whole;
  return self.judge(http_status);
}

result<void> answer_reader::impl::judge(int http_status) {
  const auto& a = parser.handler();
  if (!failure && a.is_object && a.status == "error")
    return fail(error_kind::status, fmt::format("{}: {}: {}", who, a.error_type, a.error_text), http_status);
  if (http_status >= 400) return fail(error_kind::status, fmt::format("{}: HTTP status {}", who, http_status), http_status);
  if (!a.is_object) return fails(error_kind::decode, "the answer is not a JSON object");
  if (a.status != "success" || !a.has_data) return fails(error_kind::decode, "the answer has no data");
  if (!a.has_result) return fails(error_kind::decode, "the answer has no result");
  if (a.result_type == "scalar") {
    if (!a.scalar.whole()) return fails(error_kind::decode, "the scalar is not a time and a value");
    vector_sample s;
    s.time_s = a.scalar.time_s;
    s.value = a.scalar.value;
    a.take(s);
    return {};
  }
  if (a.result_type != "vector")
    return fails(error_kind::decode, fmt::format("expected an instant vector, got \"{}\"", a.result_type));
  if (a.items != a.samples) return fails(error_kind::decode, "a sample is not a metric and a value");
  return {};
}

std::string_view vector_sample::label(std::string_view name) const {
  for (const auto& [n, v] : labels)
    if (n == name) return v;
  return {};
}

}  // namespace inferno::net::metrics

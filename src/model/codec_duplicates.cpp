#include <fmt/format.h>

#include <boost/json/basic_parser_impl.hpp>
#include <set>
#include <vector>

#include "model/codec.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;
using json::error_code;
using json::string_view;

/// The events of a parser, of which only the keys matter. Ends the parse at the first duplicate.
struct key_watch {
  static constexpr std::size_t max_object_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_array_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_key_size = static_cast<std::size_t>(-1);
  static constexpr std::size_t max_string_size = static_cast<std::size_t>(-1);

  /// An object or a list that has begun and not ended.
  struct level {
    bool list = false;
    std::size_t index = 0;  ///< of the element of a list
    std::string key;        ///< of the field of an object
    std::set<std::string, std::less<>> seen;
  };
  std::vector<level> levels;
  std::string key;
  std::optional<std::string> duplicate;

  std::string path() const {
    std::string out;
    for (const auto& l : levels)
      out += l.list ? fmt::format("[{}]", l.index) : fmt::format("{}{}", out.empty() ? "" : ".", l.key);
    return out;
  }
  /// A value is complete: the next one of a list has the next index.
  bool value() {
    if (!levels.empty() && levels.back().list) ++levels.back().index;
    return true;
  }

  bool on_document_begin(error_code&) { return true; }
  bool on_document_end(error_code&) { return true; }
  bool on_object_begin(error_code&) { return levels.emplace_back(), true; }
  bool on_object_end(std::size_t, error_code&) { return levels.pop_back(), value(); }
  bool on_array_begin(error_code&) { return levels.emplace_back().list = true; }
  bool on_array_end(std::size_t, error_code&) { return levels.pop_back(), value(); }
  bool on_key_part(string_view part, std::size_t, error_code&) { return key.append(part.data(), part.size()), true; }
  bool on_key(string_view rest, std::size_t, error_code& ec) {
    key.append(rest.data(), rest.size());
    auto& l = levels.back();
    l.key = std::exchange(key, {});
    if (l.seen.insert(l.key).second) return true;
    duplicate = path();
    ec = json::error::exception;
    return false;
  }
  bool on_string_part(string_view, std::size_t, error_code&) { return true; }
  bool on_string(string_view, std::size_t, error_code&) { return value(); }
  bool on_number_part(string_view, error_code&) { return true; }
  bool on_int64(std::int64_t, string_view, error_code&) { return value(); }
  bool on_uint64(std::uint64_t, string_view, error_code&) { return value(); }
  bool on_double(double, string_view, error_code&) { return value(); }
  bool on_bool(bool, error_code&) { return value(); }
  bool on_null(error_code&) { return value(); }
  bool on_comment_part(string_view, error_code&) { return true; }
  bool on_comment(string_view, error_code&) { return true; }
};

}  // namespace

std::optional<std::string> duplicate_field(std::string_view text) {
  json::parse_options options;
  options.max_depth = 32;
  json::basic_parser<key_watch> parser(options);
  error_code ec;
  parser.write_some(false, text.data(), text.size(), ec);
  return parser.handler().duplicate;
}

}  // namespace inferno::model

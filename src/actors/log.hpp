#pragma once
// Structured log lines: a stable message and key/values, as one JSON object a line or as plain text.
#include <spdlog/logger.h>

#include <boost/json/value.hpp>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace inferno::actors {

enum class log_format { json, text };

/// One key/value of a log line. Numbers stay numbers.
struct log_field {
  template <class T>
  log_field(std::string_view field_name, const T& field_value) : name(field_name) {
    if constexpr (std::is_convertible_v<const T&, std::string_view>) {
      value = boost::json::string(std::string_view(field_value));
    } else {
      value = boost::json::value(field_value);
    }
  }
  std::string_view name;
  boost::json::value value;
};

/// Cheap to copy; thread-safe.
class log {
 public:
  using field = log_field;
  log() = default;  ///< says nothing
  log(std::shared_ptr<spdlog::logger> sink, log_format format) : sink_(std::move(sink)), format_(format) {}
  void debug(std::string_view message, std::initializer_list<field> fields = {}) const {
    write(spdlog::level::debug, message, fields);
  }
  void info(std::string_view message, std::initializer_list<field> fields = {}) const {
    write(spdlog::level::info, message, fields);
  }
  void warn(std::string_view message, std::initializer_list<field> fields = {}) const {
    write(spdlog::level::warn, message, fields);
  }
  void error(std::string_view message, std::initializer_list<field> fields = {}) const {
    write(spdlog::level::err, message, fields);
  }
  void at(spdlog::level::level_enum level, std::string_view message, std::initializer_list<field> fields) const {
    write(level, message, fields);
  }
  bool wants_debug() const { return sink_ && sink_->should_log(spdlog::level::debug); }

 private:
  void write(spdlog::level::level_enum level, std::string_view message, std::initializer_list<field> fields) const;
  std::shared_ptr<spdlog::logger> sink_;
  log_format format_ = log_format::text;
};

/// A logger to stderr, or to `file` when not empty.
log make_log(spdlog::level::level_enum level, log_format format, const std::string& file = {});

}  // namespace inferno::actors

#pragma once
// Structured log lines: a stable message and key/values, as one JSON object a line or as plain text.
#include <spdlog/logger.h>

#include <boost/json/value.hpp>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace inferno::actors {

enum class log_format { json, text };

/// Cheap to copy; thread-safe. Values are JSON values, so numbers stay numbers.
class log {
 public:
  using field = std::pair<std::string_view, boost::json::value>;
  log() = default;  ///< says nothing
  log(std::shared_ptr<spdlog::logger> sink, log_format format) : sink_(std::move(sink)), format_(format) {}
  void debug(std::string_view message, std::initializer_list<field> fields = {}) const { write(spdlog::level::debug, message, fields); }
  void info(std::string_view message, std::initializer_list<field> fields = {}) const { write(spdlog::level::info, message, fields); }
  void warn(std::string_view message, std::initializer_list<field> fields = {}) const { write(spdlog::level::warn, message, fields); }
  void error(std::string_view message, std::initializer_list<field> fields = {}) const { write(spdlog::level::err, message, fields); }
  bool wants_debug() const { return sink_ && sink_->should_log(spdlog::level::debug); }

 private:
  void write(spdlog::level::level_enum level, std::string_view message, std::initializer_list<field> fields) const;
  std::shared_ptr<spdlog::logger> sink_;
  log_format format_ = log_format::text;
};

/// A logger to stderr, or to `file` when not empty.
log make_log(spdlog::level::level_enum level, log_format format, const std::string& file = {});

}  // namespace inferno::actors

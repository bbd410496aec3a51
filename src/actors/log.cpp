#include "actors/log.hpp"

#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "model/system_json_write.hpp"

namespace inferno::actors {

void log::write(spdlog::level::level_enum level, std::string_view message, std::initializer_list<field> fields) const {
  if (!sink_ || !sink_->should_log(level)) return;
  std::string line;
  if (format_ == log_format::json) {
    // level and ts come from the pattern of make_log
    line = "\"msg\":" + boost::json::serialize(boost::json::value(boost::json::string(message)));
    for (const auto& [name, value] : fields)
      line += "," + boost::json::serialize(boost::json::value(boost::json::string(name))) + ":" + model::write_json(value);
  } else {
    line = message;
    for (const auto& [name, value] : fields) {
      const auto shown = value.is_string() ? std::string(value.get_string()) : model::write_json(value);
      line += fmt::format(fmt::runtime(shown.find(' ') == std::string::npos ? " {}={}" : " {}=\"{}\""), name, shown);
    }
  }
  sink_->log(level, spdlog::string_view_t(line.data(), line.size()));
}

namespace {

/// spdlog's %l is lower case; the log this one replaces writes levels in capitals.
class upper_level final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& msg, const std::tm&, spdlog::memory_buf_t& dest) override {
    static constexpr std::string_view names[] = {"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL", "OFF"};
    const auto name = names[msg.level];
    dest.append(name.data(), name.data() + name.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<upper_level>(); }
};

}  // namespace

log make_log(spdlog::level::level_enum level, log_format format, const std::string& file) {
  spdlog::sink_ptr sink;
  if (file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(file, true);
  }
  auto logger = std::make_shared<spdlog::logger>("inferno", std::move(sink));
  auto formatter = std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc);
  formatter->add_flag<upper_level>('*').set_pattern(
      format == log_format::json ? R"({"level":"%*","ts":"%Y-%m-%dT%H:%M:%S.%eZ",%v})" : "%Y-%m-%dT%H:%M:%S.%eZ %* %v");
  logger->set_formatter(std::move(formatter));
  logger->set_level(level);
  logger->flush_on(spdlog::level::debug);
  return log(std::move(logger), format);
}

}  // namespace inferno::actors

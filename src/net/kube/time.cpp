#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>

#include "net/kube/client.hpp"

namespace inferno::net::kube {

std::string format_time(std::chrono::system_clock::time_point t) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::floor<std::chrono::seconds>(t))));
}

std::string format_micro_time(std::chrono::system_clock::time_point t) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(t);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(t - whole).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06d}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(whole)), micros);
}

std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text) {
  std::tm t{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &t);
  // Within what the clock can count.
  if (!end || *end != '\0' || t.tm_year < 70 || t.tm_year > 300) return std::nullopt;
  return std::chrono::system_clock::from_time_t(::timegm(&t));
}

}  // namespace inferno::net::kube

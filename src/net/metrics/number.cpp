#include "net/metrics/number.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string>

namespace inferno::net::metrics {
namespace {

bool same_word(std::string_view text, std::string_view lower_case) {
  return std::equal(text.begin(), text.end(), lower_case.begin(), lower_case.end(),
                    [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a - 'A' + 'a') : a) == b; });
}

}  // namespace

std::optional<double> parse_number(std::string_view text) {
  if (same_word(text, "nan")) return std::numeric_limits<double>::quiet_NaN();
  bool negative = false;
  if (!text.empty() && (text.front() == '+' || text.front() == '-')) {
    negative = text.front() == '-';
    text.remove_prefix(1);
  }
  double out = 0;
  if (same_word(text, "inf") || same_word(text, "infinity")) {
    out = std::numeric_limits<double>::infinity();
  } else {
    // from_chars alone would take a second sign, and the other spellings of NaN.
    if (text.empty() || !(text.front() == '.' || (text.front() >= '0' && text.front() <= '9'))) return std::nullopt;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (ec == std::errc::invalid_argument || end != text.data() + text.size()) return std::nullopt;
    if (ec == std::errc::result_out_of_range) out = std::strtod(std::string(text).c_str(), nullptr);
  }
  return negative ? -out : out;
}

}  // namespace inferno::net::metrics

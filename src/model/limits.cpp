#include "model/limits.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace inferno::model {

bool number_limits::hold(double x) const { return x >= least && x <= most && (zero || x != 0) && (!whole || x == std::floor(x)); }

std::string number_limits::text() const {
  // As integers: a format for doubles would write 1e+09.
  const auto low = static_cast<long long>(least), high = static_cast<long long>(most);
  if (!zero) return fmt::format("a number above {} and up to {}", low, high);
  return fmt::format("a {}number from {} to {}", whole ? "whole " : "", low, high);
}

std::optional<double> parse_number(std::string_view text) {
  double x = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), x);
  if (ec != std::errc() || end != text.data() + text.size() || !std::isfinite(x)) return std::nullopt;
  return x == 0 ? 0 : x;  // no negative zero
}

}  // namespace inferno::model

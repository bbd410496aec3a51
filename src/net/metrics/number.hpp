#pragma once
// Numbers as Prometheus writes them.
#include <optional>
#include <string_view>

namespace inferno::net::metrics {

/// As Go's ParseFloat reads decimal numbers: 1, -1.5e3, +Inf, NaN (letters in either case). Too large is infinite, too small is
/// zero. nullopt: not a number, or something else besides it.
std::optional<double> parse_number(std::string_view text);

}  // namespace inferno::net::metrics

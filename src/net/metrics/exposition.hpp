#pragma once
// Prometheus text exposition format (0.0.4) and OpenMetrics 1.0 text, as far as samples go.
#include <string>
#include <string_view>
#include <vector>

#include "net/error.hpp"

namespace inferno::net::metrics {

struct label {
  std::string_view name;
  std::string value;  ///< unescaped
};
struct sample {
  std::string_view name;  ///< refers to the parsed text
  std::vector<label> labels;
  double value = 0;  ///< may be NaN, +Inf, -Inf
  std::string_view label_value(std::string_view label_name) const;
};

struct exposition {
  std::vector<sample> samples;
  std::size_t bad_lines = 0;
  std::string first_bad;  ///< line number and what is wrong with it
};

/// Parses samples whose name begins with `prefix` ("" = all). A bad line is counted and skipped: nothing else is lost.
/// Views in the result refer to `text`. Comments, HELP, TYPE, timestamps and exemplars are passed over.
exposition parse_exposition(std::string_view text, std::string_view prefix = {});

}  // namespace inferno::net::metrics

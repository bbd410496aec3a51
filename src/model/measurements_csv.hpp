#pragma once
// Measurements as a table of comma-separated values.
#include <string_view>

#include "model/csv_table.hpp"
#include "model/fit.hpp"

namespace inferno::model {

/// First line: names of columns, in any order; `out_tokens`, one of `concurrency` and `rate` (requests/s), and `itl_ms`,
/// `ttft_ms`, `in_tokens` as far as they were measured; others are ignored. An empty cell = not measured. The error names line
/// and column. Refused are also an ITL below 0.2 ms, and a concurrency 25 times or a 25th of what rate and latencies make by
/// Little's law: these are other units.
tl::expected<std::vector<measurement>, std::string> parse_measurements(std::string_view csv);

/// The measurement in one line of a table.
tl::expected<measurement, std::string> measurement_of(const csv_table& table, std::size_t row);

}  // namespace inferno::model

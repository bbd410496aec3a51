#include "model/measurements_csv.hpp"

#include <fmt/format.h>

namespace inferno::model {
namespace {

/// No server makes tokens of one answer faster.
constexpr double least_itl_ms = 0.2;
/// Where both are measured, concurrency and rate agree by Little's law at least as well as this: minutes are 60 seconds.
constexpr double agreement = 25;

/// What is measured in other units than the column's.
std::optional<std::string> other_units(const measurement& m) {
  if (m.itl_ms && *m.itl_ms < least_itl_ms)
    return fmt::format("itl_ms: {} is less than {} ms, which no server reaches: is it in seconds?", *m.itl_ms, least_itl_ms);
  if (!m.concurrency || !m.rate_per_s || !m.ttft_ms || !m.itl_ms) return std::nullopt;
  auto by_rate = m;
  by_rate.concurrency.reset();
  const double n = *concurrency_of(by_rate);
  if (n * agreement >= *m.concurrency && n <= agreement * *m.concurrency) return std::nullopt;
  return fmt::format("concurrency: {}, and {:.3g} by rate, ttft_ms and itl_ms: rates are requests/s, latencies ms",
                     *m.concurrency, n);
}

}  // namespace

tl::expected<std::vector<measurement>, std::string> parse_measurements(std::string_view csv) {
  const auto table = csv_table::parse(csv);
  if (!table) return tl::unexpected(table.error());
  const auto missing = [&](const char* what) { return tl::unexpected(fmt::format("no column {}; {}", what, table->header())); };
  if (!table->has("out_tokens")) return missing("out_tokens");
  if (!table->has("concurrency") && !table->has("rate")) return missing("concurrency, nor rate");
  if (!table->has("itl_ms") && !table->has("ttft_ms")) return missing("itl_ms, nor ttft_ms");
  std::vector<measurement> rows;
  for (std::size_t i = 0; i < table->rows(); ++i) {
    auto row = measurement_of(*table, i);
    if (!row) return tl::unexpected(row.error());
    rows.push_back(*row);
  }
  if (rows.empty()) return tl::unexpected(std::string("no line with values"));
  return rows;
}

tl::expected<measurement, std::string> measurement_of(const csv_table& table, std::size_t row) {
  std::optional<std::string> wrong;
  const auto value = [&](std::string_view name) -> std::optional<double> {
    const auto x = table.number(row, name);
    if (x) return *x;
    if (!wrong) wrong = x.error();
    return std::nullopt;
  };
  measurement m;
  m.concurrency = value("concurrency");
  m.rate_per_s = value("rate");
  m.in_tokens = value("in_tokens").value_or(0);
  m.out_tokens = value("out_tokens").value_or(0);
  m.ttft_ms = value("ttft_ms");
  m.itl_ms = value("itl_ms");
  if (!wrong)
    if (const auto flaw = flaw_of(m)) wrong = fmt::format("line {}: {}", table.line(row), *flaw);
  if (!wrong)
    if (const auto flaw = other_units(m)) wrong = fmt::format("line {}: {}", table.line(row), *flaw);
  if (wrong) return tl::unexpected(*wrong);
  return m;
}

}  // namespace inferno::model

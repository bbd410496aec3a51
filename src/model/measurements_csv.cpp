#include "model/measurements_csv.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>

namespace inferno::model {
namespace {

std::string_view trimmed(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r\"");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r\"") - first + 1);
}

std::vector<std::string_view> cells(std::string_view line) {
  std::vector<std::string_view> out;
  for (;;) {
    const auto comma = line.find(',');
    out.push_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return out;
    line.remove_prefix(comma + 1);
  }
}

/// Lines that hold something, with their numbers.
std::vector<std::pair<int, std::string_view>> lines_of(std::string_view text) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.substr(0, byte_order_mark.size()) == byte_order_mark) text.remove_prefix(byte_order_mark.size());
  std::vector<std::pair<int, std::string_view>> out;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    if (!trimmed(line).empty() && trimmed(line)[0] != '#') out.emplace_back(number, line);
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace

tl::expected<std::vector<measurement>, std::string> parse_measurements(std::string_view csv) {
  const auto lines = lines_of(csv);
  if (lines.empty()) return tl::unexpected(std::string("no line with the names of columns"));
  const auto header = cells(lines.front().second);
  std::map<std::string_view, std::size_t> column;
  for (std::size_t i = 0; i < header.size(); ++i)
    if (!column.emplace(header[i], i).second)
      return tl::unexpected(fmt::format("line 1: column \"{}\" is there twice", header[i]));
  if (!column.count("out_tokens")) return tl::unexpected(std::string("line 1: no column out_tokens"));
  if (!column.count("concurrency") && !column.count("rate"))
    return tl::unexpected(std::string("line 1: no column concurrency and none called rate"));
  std::vector<measurement> rows;
  for (std::size_t l = 1; l < lines.size(); ++l) {
    const auto& [number, line] = lines[l];
    const auto row = cells(line);
    if (row.size() != header.size())
      return tl::unexpected(fmt::format("line {}: {} values for {} columns", number, row.size(), header.size()));
    std::string wrong;
    const auto value = [&](std::string_view name) -> std::optional<double> {
      const auto at = column.find(name);
      if (at == column.end() || row[at->second].empty()) return std::nullopt;
      const auto text = row[at->second];
      double x = 0;
      const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), x);
      if ((ec != std::errc() || end != text.data() + text.size() || !std::isfinite(x) || x < 0) && wrong.empty())
        wrong = fmt::format("line {}: {}: expected a number >= 0, got \"{}\"", number, name, text);
      return x;
    };
    measurement m;
    m.concurrency = value("concurrency");
    m.rate_per_s = value("rate");
    m.in_tokens = value("in_tokens").value_or(0);
    m.out_tokens = value("out_tokens").value_or(0);
    m.ttft_ms = value("ttft_ms");
    m.itl_ms = value("itl_ms");
    if (wrong.empty() && m.out_tokens < 1) wrong = fmt::format("line {}: out_tokens: expected a number >= 1", number);
    if (wrong.empty() && !concurrency_of(m))
      wrong = fmt::format("line {}: neither a concurrency nor a rate with both latencies", number);
    if (!wrong.empty()) return tl::unexpected(wrong);
    rows.push_back(m);
  }
  if (rows.empty()) return tl::unexpected(std::string("no line with values"));
  return rows;
}

}  // namespace inferno::model

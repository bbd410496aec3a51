#include "model/csv_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace inferno::model {
namespace {

std::string_view trimmed(std::string_view s) {
  const auto first = s.find_first_not_of(" \t\r\"");
  if (first == std::string_view::npos) return {};
  return s.substr(first, s.find_last_not_of(" \t\r\"") - first + 1);
}

std::vector<std::string> cells(std::string_view line) {
  std::vector<std::string> out;
  for (;;) {
    const auto comma = line.find(',');
    out.emplace_back(trimmed(line.substr(0, comma)));
    if (comma == std::string_view::npos) return out;
    line.remove_prefix(comma + 1);
  }
}

}  // namespace

tl::expected<csv_table, std::string> csv_table::parse(std::string_view text) {
  constexpr std::string_view byte_order_mark = "\xEF\xBB\xBF";
  if (text.substr(0, byte_order_mark.size()) == byte_order_mark) text.remove_prefix(byte_order_mark.size());
  csv_table out;
  for (int number = 1; !text.empty(); ++number) {
    const auto end = text.find('\n');
    const auto line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (trimmed(line).empty() || trimmed(line)[0] == '#') continue;
    auto row = cells(line);
    if (out.names_.empty()) {
      for (auto name = row.begin(); name != row.end(); ++name)
        if (std::find(row.begin(), name, *name) != name)
          return tl::unexpected(fmt::format("line {}: column \"{}\" is there twice", number, *name));
      out.names_ = std::move(row);
      out.header_line_ = number;
      continue;
    }
    if (row.size() != out.names_.size())
      return tl::unexpected(fmt::format("line {}: {} values for {} columns", number, row.size(), out.names_.size()));
    out.lines_.push_back({number, std::move(row)});
  }
  if (out.names_.empty()) return tl::unexpected(std::string("no line with the names of columns"));
  return out;
}

std::string csv_table::header() const {
  std::string list;
  for (const auto& name : names_) list += (list.empty() ? "" : ", ") + (name.empty() ? "\"\"" : name);
  return fmt::format("line {} names the columns {}", header_line_, list);
}

std::optional<std::size_t> csv_table::index_of(std::string_view column) const {
  const auto at = std::find(names_.begin(), names_.end(), column);
  if (at == names_.end()) return std::nullopt;
  return static_cast<std::size_t>(at - names_.begin());
}

std::string_view csv_table::text(std::size_t row, std::string_view column) const {
  const auto at = index_of(column);
  return at ? std::string_view(lines_[row].cells[*at]) : std::string_view();
}

tl::expected<std::optional<double>, std::string> csv_table::number(std::size_t row, std::string_view column) const {
  const auto cell = text(row, column);
  if (cell.empty()) return std::optional<double>();
  double x = 0;
  const auto [end, ec] = std::from_chars(cell.data(), cell.data() + cell.size(), x);
  if (ec != std::errc() || end != cell.data() + cell.size() || !std::isfinite(x) || x < 0)
    return tl::unexpected(fmt::format("line {}: {}: expected a number >= 0, got \"{}\"", line(row), column, cell));
  return x;
}

}  // namespace inferno::model

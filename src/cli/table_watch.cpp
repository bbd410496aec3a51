#include "cli/table_watch.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <utility>

namespace inferno::cli {
namespace {

constexpr std::size_t text_columns = 6;  ///< as in the controller's table; numbers are aligned to the right

/// Columns are two or more spaces apart; a title may have one in it.
std::vector<std::string> cells_of(const std::string& line) {
  std::vector<std::string> out;
  for (auto at = line.find_first_not_of(' '); at != std::string::npos;) {
    const auto end = line.find("  ", at);
    out.push_back(line.substr(at, end - at));
    at = end == std::string::npos ? end : line.find_first_not_of(' ', end);
  }
  return out;
}

}  // namespace

std::string table_watch::line_of(const row& cells) {
  if (widths_.size() < cells.size()) widths_.resize(cells.size());
  std::string out;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    widths_[i] = std::max(widths_[i], cells[i].size());
    out += i < text_columns ? fmt::format("{:<{}}  ", cells[i], widths_[i]) : fmt::format("{:>{}}  ", cells[i], widths_[i]);
  }
  out.erase(out.find_last_not_of(' ') + 1);
  return out + "\n";
}

std::string table_watch::see(std::string_view table) {
  std::istringstream lines{std::string(table)};
  row header;
  std::vector<row> rows;
  std::string other;
  for (std::string line; std::getline(lines, line);) {
    auto words = cells_of(line);
    if (!words.empty() && words.front() == "NAMESPACE") {
      header = std::move(words);
    } else if (!header.empty() && words.size() == header.size()) {
      rows.push_back(std::move(words));
    } else if (header.empty()) {
      other += line + "\n";
    }
  }
  std::string out;
  // A controller without a plan knows of no variants yet: those that have been shown may be there.
  if (header.empty() && !other.starts_with("no variants")) return std::exchange(said_, other) == other ? std::string() : other;
  // Widths of all rows before the first line is printed, so that the table is one.
  line_of(header);
  for (const auto& r : rows) line_of(r);
  if (!header.empty() && header != header_) {
    header_ = header;
    rows_.clear();  // other columns: every row is another one
    out += line_of(header);
  }
  std::map<std::pair<std::string, std::string>, row> now;
  for (auto& r : rows) {
    const std::pair name{r[0], r[1]};
    const auto before = rows_.find(name);
    if (before == rows_.end() || before->second != r) out += line_of(r);
    now.emplace(name, std::move(r));
  }
  for (const auto& [name, r] : rows_)
    if (!now.count(name)) out += line_of({name.first, name.second, "(deleted)"});
  rows_ = std::move(now);
  if (header.empty() && said_ != other) out += other;
  said_ = header.empty() ? other : std::string();
  return out;
}

}  // namespace inferno::cli

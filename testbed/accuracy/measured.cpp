#include "testbed/accuracy/measured.hpp"

#include "testbed/page.hpp"

namespace inferno::testbed {

std::map<std::string, std::vector<std::size_t>> measured_table::by(std::string_view column) const {
  std::map<std::string, std::vector<std::size_t>> out;
  for (std::size_t i = 0; i < rows.size(); ++i) out[std::string(table.text(i, column))].push_back(i);
  return out;
}

double measured_table::extra(std::size_t row, std::string_view column) const {
  const auto x = table.number(row, column);
  return x ? x->value_or(0) : 0;
}

tl::expected<measured_table, std::string> read_measured(const std::string& path) {
  const auto text = read_file(path);
  if (!text) return tl::unexpected(text.error());
  auto table = model::csv_table::parse(*text);
  if (!table) return tl::unexpected(path + ": " + table.error());
  measured_table out{std::move(*table), {}};
  for (std::size_t i = 0; i < out.table.rows(); ++i) {
    const auto row = model::measurement_of(out.table, i);
    if (!row) return tl::unexpected(path + ": " + row.error());
    out.rows.push_back(*row);
  }
  return out;
}

}  // namespace inferno::testbed

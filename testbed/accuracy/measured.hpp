#pragma once
// Measurements of real servers (tests/data/measurements).
#include <map>
#include <string>
#include <vector>

#include "model/measurements_csv.hpp"

namespace inferno::testbed {

/// One published table: its lines as measurements, and the columns that are not of those.
struct measured_table {
  model::csv_table table;
  std::vector<model::measurement> rows;  ///< one per line of `table`

  /// Rows by what stands in a column, in the order of the table.
  std::map<std::string, std::vector<std::size_t>> by(std::string_view column) const;
  /// A number of another column; 0 where the cell is empty.
  double extra(std::size_t row, std::string_view column) const;
};

/// The error names file, line and column.
tl::expected<measured_table, std::string> read_measured(const std::string& path);

}  // namespace inferno::testbed

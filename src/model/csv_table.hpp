#pragma once
// Tables of comma-separated values with a line of names.
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

namespace inferno::model {

/// Names of columns and the lines below them; blank lines and lines that begin with # are left out, cells are without their
/// quotes and the blanks around them. Holds what it was made of.
class csv_table {
 public:
  /// Error: the line, and what is wrong with it: a name twice, or a number of cells that is not that of the names.
  static tl::expected<csv_table, std::string> parse(std::string_view text);

  bool has(std::string_view column) const { return index_of(column).has_value(); }
  /// "line 3 names the columns a, b": what there is instead of a column that is looked for.
  std::string header() const;
  std::size_t rows() const { return lines_.size(); }
  int line(std::size_t row) const { return lines_[row].number; }  ///< in the text, from 1
  /// Empty where there is no such column.
  std::string_view text(std::size_t row, std::string_view column) const;
  /// A number >= 0; nullopt: no such column, or the cell is empty. The error names line, column and value.
  tl::expected<std::optional<double>, std::string> number(std::size_t row, std::string_view column) const;

 private:
  struct cells_of_line {
    int number;
    std::vector<std::string> cells;
  };
  std::optional<std::size_t> index_of(std::string_view column) const;

  int header_line_ = 0;
  std::vector<std::string> names_;
  std::vector<cells_of_line> lines_;
};

}  // namespace inferno::model

#pragma once
// What `inferno get --watch` prints: the table at first, then the rows that have changed.
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace inferno::cli {

class table_watch {
 public:
  /// The lines to print after another look at the fleet; "" when nothing has changed. `table` is what the controller answers:
  /// column names, a row for each variant with its namespace and name in front, and a line that sums them up, which is left out.
  std::string see(std::string_view table);

 private:
  using row = std::vector<std::string>;
  std::string line_of(const row& cells);

  row header_;
  std::map<std::pair<std::string, std::string>, row> rows_;
  std::vector<std::size_t> widths_;  ///< only grow, so that lines stay below each other
  std::string said_;                 ///< instead of a table, the last time
};

}  // namespace inferno::cli

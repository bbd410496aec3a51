#pragma once
// Label and field selectors.
#include "testbed/cluster/json_tools.hpp"

namespace inferno::testbed {

class selector {
 public:
  /// Error: names the text. "" matches everything.
  static tl::expected<selector, std::string> labels(std::string_view text);
  static tl::expected<selector, std::string> fields(std::string_view text);
  bool matches(const json::object& object) const;

 private:
  enum class op { in, not_in, exists, absent };
  struct requirement {
    std::string name;
    op what;
    std::vector<std::string> values;
  };
  bool by_field_ = false;
  std::vector<requirement> all_;
};

}  // namespace inferno::testbed

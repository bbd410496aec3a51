#pragma once
// The controller's three ConfigMaps, read entry by entry: a bad entry is named and its last valid value stays.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "actors/domain.hpp"

namespace inferno::actors {

inline constexpr std::string_view settings_map = "inferno-autoscaler-variantautoscaling-config";
inline constexpr std::string_view accelerators_map = "accelerator-unit-costs";
inline constexpr std::string_view classes_map = "service-classes-config";

/// "60s", "1m30s", "500ms", "1h" as Go writes durations; error names the text.
tl::expected<std::chrono::milliseconds, std::string> parse_duration(std::string_view text);

/// What is wrong with an entry: ConfigMap, key and value are named.
struct config_problem {
  std::string entry;  ///< "map/key"
  std::string message;
  bool used = false;  ///< the entry is valid and used; what it has beyond that is not
};

/// Remembers the last valid value of each entry.
class config_reader {
 public:
  struct accelerator_entry {
    model::accelerator spec;
    std::optional<pod_placement> placement;
  };
  explicit config_reader(runtime_settings defaults) : defaults_(defaults), settings_(std::move(defaults)) {}

  std::vector<config_problem> read_settings(const std::map<std::string, std::string>& data);
  std::vector<config_problem> read_accelerators(const std::map<std::string, std::string>& data);
  std::vector<config_problem> read_classes(const std::map<std::string, std::string>& data);

  const runtime_settings& settings() const { return settings_; }
  /// nullptr until accelerators and classes have been read once.
  std::shared_ptr<const catalog> current() const;

 private:
  void read_actuation_mode(const std::map<std::string, std::string>& data, std::vector<config_problem>& problems);
  runtime_settings defaults_;
  runtime_settings settings_;
  bool mode_known_ = false;  ///< ACTUATION_MODE has been valid or absent once
  std::map<std::string, accelerator_entry> accelerators_;
  std::map<std::string, model::service_class> classes_;
  bool have_accelerators_ = false;
  bool have_classes_ = false;
};

}  // namespace inferno::actors

#pragma once
// Seeded synthetic systems for benchmarks: the same seed, the same system.
#include <cstdint>
#include <optional>

#include "model/system.hpp"

namespace inferno::bench {

struct system_recipe {
  int servers = 1000;
  int accelerators = 8;
  std::uint64_t seed = 1;
  /// Capacity of every accelerator type as a fraction of what the unlimited demand is roughly estimated to need; none =
  /// unlimited.
  std::optional<double> tightness{};
  model::saturation_policy saturation = model::saturation_policy::none;
};

/// Three classes (Premium, Standard, Freemium), a model per five servers, one in twenty servers idle, rates from 2 to 2000
/// requests/min.
model::system_data make_system(const system_recipe& recipe);

}  // namespace inferno::bench

#pragma once
// One analyzer per VariantAutoscaling: inputs and load samples in, capacity curves out to the optimizer.
#include "actors/analysis.hpp"

namespace inferno::actors {

struct analyzer_config {
  variant_key key;
  optimizer_actor optimizer;
  wall_clock now;
};

struct analyzer_state {
  static inline const char* name = "analyzer";
  analyzer_config config;
  std::optional<variant_analysis> analysis;
};

analyzer_actor::behavior_type analyzer(analyzer_actor::stateful_pointer<analyzer_state> self, analyzer_config config);

}  // namespace inferno::actors

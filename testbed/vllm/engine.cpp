#include "testbed/vllm/engine.hpp"

#include "testbed/vllm/iteration_engine.hpp"
#include "testbed/vllm/linear_engine.hpp"

namespace inferno::testbed {

std::unique_ptr<engine> make_engine(const engine_config& config) {
  if (std::holds_alternative<model::iteration_profile>(config.profile)) return std::make_unique<iteration_engine>(config);
  return std::make_unique<linear_engine>(config);
}

bool has_prefill(const model::performance_profile& profile, int in) {
  const auto* linear = std::get_if<model::linear_profile>(&profile);
  return !linear || (linear->has_prefill && in > 0);
}

}  // namespace inferno::testbed

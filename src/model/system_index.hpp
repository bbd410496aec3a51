#pragma once
// Finds what a system names. Inside src/model only.
#include <map>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <unordered_map>
#include <utility>
#include <vector>

#include "model/allocation.hpp"

namespace inferno::model {

/// Built once per system, which must outlive it.
class system_index {
 public:
  explicit system_index(const system_data& system);
  /// nullptr = unknown.
  const accelerator* find(const std::string& name) const;
  const model_profile* profile(const std::string& model, const std::string& acc) const;
  /// Index into capacity; -1: no capacity is given for the type.
  int type(const std::string& name) const;
  /// Error: why the server cannot be planned for.
  tl::expected<variant_view, std::string> view(const server_spec& server) const;

 private:
  const system_data& system_;
  std::unordered_map<std::string, const accelerator*> accelerators_;
  std::unordered_map<std::string, std::vector<const model_profile*>> profiles_;
  std::unordered_map<std::string, int> types_;
  std::unordered_map<std::string, const service_class*> classes_;
  std::map<std::pair<std::string_view, std::string_view>, const class_target*> targets_;
};

}  // namespace inferno::model

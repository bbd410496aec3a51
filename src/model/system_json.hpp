#pragma once
// SystemData JSON in, solution JSON/YAML/table out.
#include <string>
#include <string_view>
#include <tl/expected.hpp>

#include "model/fit.hpp"
#include "model/solve_system.hpp"

namespace inferno::model {

/// Accepts `{"system": {...}}` and a bare system, profiles in both published forms, numbers also as strings, slo-ttft/slo-ttw,
/// slo-itl/slo-tpot. The error names the path of the field and the value, e.g.
/// `serverData.servers[3].currentAlloc.load.arrivalRate: expected a number >= 0, got "x"`.
tl::expected<system_data, std::string> parse_system(std::string_view json);
std::string to_json(const system_data&);

std::string solution_json(const system_solution&);
std::string solution_yaml(const system_solution&);
std::string solution_table(const system_solution&);

/// The profile in the words of SystemData's models, confidence intervals and errors beside it.
std::string fit_json(const profile_fit&);

std::string explanation_json(const explanation&);
std::string explanation_yaml(const explanation&);
std::string explanation_table(const explanation&);

}  // namespace inferno::model

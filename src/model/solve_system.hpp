#pragma once
// From a system to a plan for it.
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/explain.hpp"
#include "model/one_more.hpp"
#include "model/pool.hpp"
#include "model/solver.hpp"

namespace inferno::model {

/// The plan for a whole system.
struct system_solution {
  std::map<std::string, allocation> allocations;  ///< by server name; partial ones with cost and value scaled
  /// What a server of a pool has besides, on other accelerators.
  std::map<std::string, std::vector<allocation>> also;
  std::map<std::string, server_load> loads;
  bool pools = false;                              ///< some variants share their demand
  std::map<std::string, std::string> infeasible;   ///< no candidate meets the targets: why
  std::map<std::string, std::string> unallocated;  ///< had candidates, got none: why
  std::map<std::string, std::string> degraded;     ///< allocated, but too few replicas to meet the targets: by how much
  std::vector<type_usage> by_type;                 ///< sorted by type
  cost_per_hour total_cost;
  solver_report solver;
  std::optional<double> seconds;             ///< of analysis and solve; the caller's clock
  std::map<std::string, gpu_gain> one_more;  ///< what one GPU more would change, by type, where that is known

  /// Every variant has what meets its objectives.
  bool satisfied() const { return infeasible.empty() && unallocated.empty() && degraded.empty(); }
};

/// A system whose variants are analysed: what the solver gets, and whom its variants stand for.
struct prepared_system {
  solver_input input;
  struct member {
    const server_spec* server = nullptr;
    variant_view view;  ///< a pool's: with the demand of the whole pool
  };
  /// By solver variant: one server, or the members of a pool.
  std::vector<std::vector<member>> members;
  std::deque<model_pool> pools;                                ///< what the views of their members point into
  std::vector<open_pool> open;                                 ///< those of them of which not every mix is a candidate
  std::map<std::string, std::string> infeasible, unallocated;  ///< servers that are no variant of the input: why
};

/// Candidates of every variant. `threads` analyse; the result is the same for any number. `system` must outlive it.
prepared_system analyze_system(const system_data& system, unsigned threads = 1);
system_solution plan_system(const system_data& system, const prepared_system& prepared, const solver_result& result);
/// Why `server` got what the solution says. nullopt: there is no server of that name in the system. Error: it is there, but
/// cannot be planned for.
std::optional<tl::expected<explanation, std::string>> explain_server(const system_data& system, const system_solution& solution,
                                                                     const std::string& server);
/// All of it.
system_solution solve_system(const system_data& system, unsigned threads = 1);

}  // namespace inferno::model

#pragma once
// From candidate tables to one plan.
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/allocation.hpp"

namespace inferno::model {

/// One variant as the solver sees it. `units(candidate)` of a type = replicas * units_per_replica of that candidate's
/// accelerator.
struct solver_candidate {
  allocation alloc;
  int type = -1;  ///< index into solver_input::capacity; -1 = not limited
  int units_per_replica = 1;
  int present = 0;  ///< replicas there are now on this accelerator
  /// A pool's mix of accelerators: its parts, of which `alloc` tells the totals (cost, value, replicas); `type` is not used then.
  struct part {
    std::size_t member = 0;  ///< of the pool
    allocation alloc;
    int type = -1;
    int units_per_replica = 1;
    int present = 0;
  };
  std::vector<part> mix{};
};
struct solver_variant {
  std::string name;
  int priority = 0;
  std::vector<solver_candidate> candidates;  ///< by value, as make_candidates gives them
  /// Replicas that are asked for whatever the plan grants (minReplicas). Where what runs counts, the plan gives their GPUs to no
  /// other of the class. With delayed best effort every class is satisfied before that.
  int floor = 0;
  /// Of these, replicas that run, and so have their GPUs whatever is granted to others: no class gets them.
  int floor_running = 0;
  bool keeps = false;  ///< likewise, within the class, the replicas that run and are still wanted
};
struct solver_input {
  std::vector<solver_variant> variants;
  std::vector<type_capacity> capacity;
  optimizer_spec optimizer;
  /// Within a class, what runs decides between equals: as many stay satisfied as can without satisfying fewer, and variants that
  /// are short share as sharing.hpp says. The plan for a system in which a plan has been carried out is then the same plan.
  /// False: only values count, as in the reference.
  bool keep_present = false;
  /// Besides: variants of a class that are short have a replica each, as far as GPUs go, before one of them has two.
  bool one_each = false;
};

/// Result for one variant, same order as the input.
struct solver_choice {
  int candidate = -1;    ///< index, -1 = nothing
  int num_replicas = 0;  ///< fewer than the candidate's when `partial`
  bool partial = false;
  std::vector<int> part_replicas{};  ///< of a mix
};

/// GPUs of a type that a plan uses.
struct type_usage {
  std::string type;
  int count = 0;
  int limit = -1;  ///< -1 = not limited
  cost_per_hour cost;
};

/// How good the plan is.
struct solver_report {
  std::string name;   ///< unlimited, greedy, auto or exact
  int satisfied = 0;  ///< variants with a full allocation
  /// Sum over the classes of the most that can be satisfied, each in the room that the plan leaves to it.
  int satisfiable = 0;
  double value = 0;  ///< total transition value of the satisfied ones
  /// Of that value: sum over the classes of the least value with as many satisfied, each in the room that the plan leaves to it.
  /// None from greedy.
  std::optional<double> lower_bound;
  std::optional<double> gap;  ///< (value - lower_bound) / cost of the satisfied ones; 0 = every class is proven
};

/// What no choice of a class can be better than, in the room that the plan leaves to it.
struct class_bound {
  int priority = 0;
  int satisfiable = 0;     ///< variants
  double lower_bound = 0;  ///< of the value, with as many satisfied as in the plan
};

struct solver_result {
  std::vector<solver_choice> choices;
  std::vector<int> used;  ///< GPUs by capacity index
  /// Lagrangian multiplier of a GPU by capacity index, cents/hour: by it pools look for further mixes. It does not say what one
  /// GPU more is worth, as GPUs are whole and satisfied variants come before value: see gains_of_one_more(). Empty when the
  /// solver has none.
  std::vector<double> price;
  std::vector<class_bound> classes;  ///< by priority; empty: not known, or every variant has its first candidate
  solver_report report;
};

/// Least value per variant (unlimited); limited: lexicographic by priority, or greedy by priority and regret, each with the
/// saturation policies for what is left.
solver_result solve(const solver_input&);

}  // namespace inferno::model

#pragma once
// GLPK on one class of a system, as an oracle for the solvers.
#include <glpk.h>

#include <cmath>
#include <optional>
#include <vector>

#include "model/gpu_room.hpp"
#include "model/solver.hpp"

namespace inferno::model {

/// Least value with at least `satisfied` members served or, without that number, the most that can be served, within `room` (GPUs
/// by capacity index).
class integer_program {
 public:
  struct class_view {
    const solver_input& input;
    std::vector<std::size_t> members;
    std::vector<int> room;
  };
  explicit integer_program(const class_view& c, std::optional<int> satisfied = std::nullopt) : counts_(!satisfied) {
    glp_term_out(GLP_OFF);
    glp_set_obj_dir(program_, counts_ ? GLP_MAX : GLP_MIN);
    const int types = static_cast<int>(c.room.size()), n = static_cast<int>(c.members.size());
    glp_add_rows(program_, types + n + 1);
    for (int t = 0; t < types; ++t) glp_set_row_bnds(program_, t + 1, GLP_UP, 0, c.room[static_cast<std::size_t>(t)]);
    for (int i = 0; i < n; ++i) glp_set_row_bnds(program_, types + i + 1, GLP_UP, 0, 1);
    glp_set_row_bnds(program_, types + n + 1, counts_ ? GLP_FR : GLP_LO, satisfied.value_or(0), 0);
    for (int i = 0; i < n; ++i)
      for (const auto& candidate : c.input.variants[c.members[static_cast<std::size_t>(i)]].candidates) add(c, candidate, i);
  }
  ~integer_program() { glp_delete_prob(program_); }
  integer_program(const integer_program&) = delete;
  integer_program& operator=(const integer_program&) = delete;

  /// None when the time does not suffice for a proof.
  std::optional<double> optimum(int milliseconds = 60'000) {
    glp_iocp how;
    glp_init_iocp(&how);
    how.presolve = GLP_ON;
    how.gmi_cuts = GLP_ON;
    how.cov_cuts = GLP_ON;
    how.tm_lim = milliseconds;
    if (glp_intopt(program_, &how) != 0 || glp_mip_status(program_) != GLP_OPT) return std::nullopt;
    return glp_mip_obj_val(program_);
  }

 private:
  void add(const class_view& c, const solver_candidate& candidate, int member) {
    const int types = static_cast<int>(c.room.size()), n = static_cast<int>(c.members.size());
    std::vector<double> units(c.room.size());
    bool fits = true;
    for_each_part(candidate, [&](int type, int each, int replicas) {
      if (type < 0) return;
      auto& sum = units[static_cast<std::size_t>(type)];
      sum += static_cast<double>(each) * replicas;
      fits = fits && sum <= c.room[static_cast<std::size_t>(type)];
    });
    if (!fits) return;
    const int column = glp_add_cols(program_, 1);
    glp_set_col_kind(program_, column, GLP_BV);
    glp_set_obj_coef(program_, column, counts_ ? 1 : candidate.alloc.value);
    std::vector<int> rows{0, types + member + 1, types + n + 1};
    std::vector<double> entries{0, 1, 1};
    for (int t = 0; t < types; ++t)
      if (units[static_cast<std::size_t>(t)] > 0) {
        rows.push_back(t + 1);
        entries.push_back(units[static_cast<std::size_t>(t)]);
      }
    glp_set_mat_col(program_, column, static_cast<int>(rows.size()) - 1, rows.data(), entries.data());
  }

  glp_prob* program_ = glp_create_prob();
  bool counts_;
};

}  // namespace inferno::model

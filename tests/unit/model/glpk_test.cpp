// The default solver against an integer programming solver (GLPK) on systems too large to try everything.
#include <glpk.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "model/gpu_room.hpp"
#include "model/solver.hpp"

namespace inferno::model {
namespace {

/// Least value with at least `satisfied` variants served (minimize), or the most that can be (maximize the count).
struct integer_program {
  explicit integer_program(const solver_input& in, int satisfied = -1) {
    glp_term_out(GLP_OFF);
    program = glp_create_prob();
    glp_set_obj_dir(program, satisfied < 0 ? GLP_MAX : GLP_MIN);
    const int types = static_cast<int>(in.capacity.size()), n = static_cast<int>(in.variants.size());
    glp_add_rows(program, types + n + 1);
    for (int t = 0; t < types; ++t) glp_set_row_bnds(program, t + 1, GLP_UP, 0, in.capacity[static_cast<std::size_t>(t)].count);
    for (int i = 0; i < n; ++i) glp_set_row_bnds(program, types + i + 1, GLP_UP, 0, 1);
    if (satisfied >= 0) {
      glp_set_row_bnds(program, types + n + 1, GLP_LO, satisfied, 0);
    } else {
      glp_set_row_bnds(program, types + n + 1, GLP_FR, 0, 0);
    }
    for (int i = 0; i < n; ++i)
      for (const auto& c : in.variants[static_cast<std::size_t>(i)].candidates) {
        const int column = glp_add_cols(program, 1);
        glp_set_col_kind(program, column, GLP_BV);
        glp_set_obj_coef(program, column, satisfied < 0 ? 1 : c.alloc.value);
        const int rows[] = {0, c.type + 1, types + i + 1, types + n + 1};
        const double entries[] = {0, static_cast<double>(c.alloc.num_replicas * c.units_per_replica), 1, 1};
        glp_set_mat_col(program, column, 3, rows, entries);
      }
  }
  ~integer_program() { glp_delete_prob(program); }
  integer_program(const integer_program&) = delete;
  integer_program& operator=(const integer_program&) = delete;

  double optimum() {
    glp_iocp how;
    glp_init_iocp(&how);
    how.presolve = GLP_ON;
    how.gmi_cuts = GLP_ON;
    how.cov_cuts = GLP_ON;
    EXPECT_EQ(glp_intopt(program, &how), 0);
    EXPECT_EQ(glp_mip_status(program), GLP_OPT);
    return glp_mip_obj_val(program);
  }

  glp_prob* program;
};

solver_input medium_system(std::mt19937& rng, int variants, int types) {
  const auto upto = [&](int n) { return static_cast<int>(rng() % static_cast<unsigned>(n + 1)); };
  solver_input in;
  in.optimizer = {false, false, saturation_policy::none, solver_kind::exact, false};
  for (int t = 0; t < types; ++t) in.capacity.push_back({"T" + std::to_string(t), variants * (1 + upto(4)) / types});
  for (int i = 0; i < variants; ++i) {
    solver_variant v{"v" + std::to_string(i), 0, {}};
    for (int t = 0; t < types; ++t) {
      if (upto(3) == 0) continue;
      solver_candidate c;
      c.alloc.accelerator = "a" + std::to_string(t);
      c.alloc.num_replicas = 1 + upto(5);
      c.units_per_replica = 1 + upto(1);
      c.alloc.cost.cents = c.alloc.num_replicas * (20 + 15 * t + upto(5));
      c.alloc.value = c.alloc.cost.cents * 1.1 - upto(150);
      c.type = t;
      v.candidates.push_back(std::move(c));
    }
    std::sort(v.candidates.begin(), v.candidates.end(),
              [](const auto& a, const auto& b) { return a.alloc.value < b.alloc.value; });
    in.variants.push_back(std::move(v));
  }
  return in;
}

TEST(AgainstGlpk, MediumSystemsAreSolvedToTheOptimum) {
  std::mt19937 rng(51);
  int proven = 0, optimal = 0;
  constexpr int rounds = 24;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    const auto in = medium_system(rng, 25 + 2 * i, 3 + i % 4);
    const auto got = solve(in);
    const int most = static_cast<int>(std::lround(integer_program(in).optimum()));
    EXPECT_LE(got.report.satisfied, most);
    EXPECT_GE(got.report.satisfiable, most) << "what is said to be the most must be no less";
    EXPECT_EQ(got.report.satisfied, most);
    if (got.report.satisfied != most) continue;
    const double least = integer_program(in, most).optimum();
    EXPECT_GE(got.report.value, least - 1e-6);
    EXPECT_LE(*got.report.lower_bound, least + 1e-6) << "a bound is a bound";
    const bool same = got.report.value <= least + 1e-6;
    optimal += same;
    if (*got.report.gap > 0) continue;
    ++proven;
    EXPECT_TRUE(same) << "proven, but " << got.report.value << " against " << least;
  }
  EXPECT_GE(optimal, rounds * 9 / 10);
  EXPECT_GE(proven, rounds * 3 / 4);
}

}  // namespace
}  // namespace inferno::model

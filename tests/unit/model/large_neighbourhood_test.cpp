// The large neighbourhood search against trying everything, and the classes that are hard without it.
#include "model/assignment/large_neighbourhood.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <ostream>
#include <random>

#include "bench/make_system.hpp"
#include "model/assignment/linear_relaxation.hpp"
#include "model/assignment/local_search.hpp"
#include "model/solve_system.hpp"

namespace inferno::model {
namespace {

struct random_problem {
  assignment_problem p;
  std::vector<std::size_t> first;  ///< a feasible choice: every item's option that uses nothing
};

random_problem make_problem(std::mt19937& rng, int items, int types, bool integral) {
  const auto upto = [&](int n) { return static_cast<int>(rng() % static_cast<unsigned>(n + 1)); };
  random_problem out;
  for (int t = 0; t < types; ++t) out.p.capacity.push_back(1 + upto(2 * items));
  for (int i = 0; i < items; ++i) {
    out.first.push_back(out.p.value.size());
    out.p.add_option(integral ? 1 : 100 + upto(50));
    for (int o = upto(3); o >= 0; --o) {
      out.p.add_option(integral ? 0 : upto(100) - 30);
      for (int u = upto(1); u >= 0; --u) out.p.add_use(upto(types - 1), 1 + upto(6));
    }
    out.p.end_item();
  }
  return out;
}

double best_of_all(const assignment_problem& p) {
  double best = std::numeric_limits<double>::infinity();
  auto room = p.capacity;
  const std::function<void(std::size_t, double)> go = [&](std::size_t i, double value) {
    if (i == p.items()) {
      best = std::min(best, value);
      return;
    }
    for (auto o = p.item_begin[i]; o < p.item_begin[i + 1]; ++o) {
      bool fits = true;
      for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u)
        fits = (room[static_cast<std::size_t>(p.uses[u].type)] -= p.uses[u].units) >= 0 && fits;
      if (fits) go(i + 1, value + p.value[o]);
      for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u)
        room[static_cast<std::size_t>(p.uses[u].type)] += p.uses[u].units;
    }
  };
  go(0, 0);
  return best;
}

struct relaxed {
  std::vector<double> price;
  double bound;
};

relaxed relax(const assignment_problem& p) {
  linear_relaxation relaxation(p, perturbed_values(p));
  auto basis = relaxation.origin();
  relaxation.solve(basis, std::vector<std::size_t>(p.items(), unfixed), std::numeric_limits<double>::max());
  return {basis.price, relaxation.bound()};
}

/// One option of each item, within the capacities.
bool is_plan(const assignment_problem& p, const std::vector<std::size_t>& choice) {
  bool whole = choice.size() == p.items();
  for (std::size_t i = 0; whole && i < choice.size(); ++i)
    whole = p.item_begin[i] <= choice[i] && choice[i] < p.item_begin[i + 1];
  return whole && feasible(room_of(p, choice));
}

/// So few items are all free at once.
TEST(LargeNeighbourhood, FindsTheBestOfAllCombinationsOfFewItems) {
  std::mt19937 rng(71);
  int better = 0;
  for (int k = 0; k < 600; ++k) {
    SCOPED_TRACE(k);
    const bool integral = k % 3 == 0;
    const auto [p, first] = make_problem(rng, 1 + k % 8, 1 + k % 4, integral);
    const auto [price, bound] = relax(p);
    const double optimum = best_of_all(p);
    ASSERT_LE(bound, optimum + 1e-9) << "a bound is a bound";
    auto choice = first;
    large_neighbourhood search(p, price, 1e-9, integral);
    EXPECT_GT(search.improve(choice, bound, 200'000), 0);
    ASSERT_TRUE(is_plan(p, choice));
    ASSERT_NEAR(value_of(p, choice), optimum, 1e-9);
    better += value_of(p, choice) < value_of(p, first);
    const auto solved = solve_assignment(p, first, {0, 10'000, integral, 1'000});
    EXPECT_TRUE(is_plan(p, solved.choice));
    EXPECT_LE(solved.lower_bound, optimum + 1e-9);
    EXPECT_GE(solved.value, optimum - 1e-9);
  }
  EXPECT_GT(better, 400) << "there is something to find";
}

/// At any prices, also wrong ones, and from any plan; the work is kept to, and goes on where it ended.
TEST(LargeNeighbourhood, NeverMakesAPlanWorse) {
  std::mt19937 rng(72);
  double before = 0, after = 0, least = 0;
  for (int k = 0; k < 60; ++k) {
    SCOPED_TRACE(k);
    const bool integral = k % 3 == 0;
    const auto [p, first] = make_problem(rng, 100 + 3 * k, 2 + k % 7, integral);
    auto [price, bound] = relax(p);
    for (auto& x : price)
      if (k % 5 == 0) x = static_cast<double>(rng() % 100);
    auto choice = first;
    large_neighbourhood search(p, price, 1e-9, integral);
    double value = value_of(p, choice);
    for (int call = 0; call < 4; ++call) {
      constexpr std::int64_t work = 100'000;
      // The last neighbourhood is searched to the end of its first relaxation.
      EXPECT_LE(search.improve(choice, bound, work), 2 * work);
      ASSERT_TRUE(is_plan(p, choice));
      ASSERT_LE(value_of(p, choice), value);
      value = value_of(p, choice);
    }
    EXPECT_GE(value, bound - 1e-6);
    if (integral || k % 5 == 0) continue;
    before += value_of(p, first);
    after += value;
    least += bound;
  }
  EXPECT_LT(after - least, 0.05 * (before - least)) << "most of what there is to gain";
}

TEST(LargeNeighbourhood, DecidesTheSameAgain) {
  std::mt19937 rng(73);
  for (int k = 0; k < 20; ++k) {
    SCOPED_TRACE(k);
    const auto [p, first] = make_problem(rng, 200, 6, false);
    const auto [price, bound] = relax(p);
    std::vector<std::size_t> plans[2];
    std::int64_t work[2];
    for (const int i : {0, 1}) {
      plans[i] = first;
      work[i] = large_neighbourhood(p, price, 1e-9, false).improve(plans[i], bound, 50'000 + 10'000 * k);
    }
    EXPECT_EQ(plans[0], plans[1]);
    EXPECT_EQ(work[0], work[1]);
  }
}

/// A class of a system, in the room that was left to it when its plan was bad or a variant short.
struct hard_class {
  int variants;
  double tightness;
  std::uint64_t seed;
  int priority;
  std::vector<int> room;
  int most;        ///< satisfied, and
  double optimum;  ///< with as many: by HiGHS 1.16, proven
  friend void PrintTo(const hard_class& c, std::ostream* out) { *out << "seed " << c.seed << ", priority " << c.priority; }
};

TEST(Chance, IsTheMersenneTwister) {
  std::mt19937_64 theirs(1);
  chance ours;
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(ours(), theirs()) << i;
}

class HardClass : public testing::TestWithParam<hard_class> {};

TEST_P(HardClass, IsSolvedToHalfAPerCent) {
  const auto& [size, tightness, seed, priority, room, most, optimum] = GetParam();
  auto input = analyze_system(bench::make_system({size, 8, seed, tightness})).input;
  // The optimum is that of values alone.
  input.keep_present = false;
  std::erase_if(input.variants, [&, only = priority](const auto& v) { return v.priority != only; });
  ASSERT_EQ(input.capacity.size(), room.size());
  for (std::size_t t = 0; t < room.size(); ++t) input.capacity[t].count = room[t];
  const auto got = solve(input);
  EXPECT_EQ(got.report.satisfied, most);
  EXPECT_GE(got.report.satisfiable, most);
  double cost = 0;
  for (std::size_t i = 0; i < input.variants.size(); ++i)
    if (const auto& choice = got.choices[i]; choice.candidate >= 0 && !choice.partial)
      cost += input.variants[i].candidates[static_cast<std::size_t>(choice.candidate)].alloc.cost.cents;
  // 0.3 % is aimed at for whole systems.
  EXPECT_LE(got.report.value, optimum + 0.005 * cost);
  EXPECT_GE(got.report.value, optimum - 1e-6 * std::abs(optimum));
  ASSERT_TRUE(got.report.lower_bound);
  EXPECT_LE(*got.report.lower_bound, optimum + 1e-6 * std::abs(optimum)) << "a bound is a bound";
}

INSTANTIATE_TEST_SUITE_P(LargeNeighbourhood, HardClass,
                         testing::Values(hard_class{700, 0.5, 174, 5, {80, 20, 88, 39, 76, 0, 45, 6}, 221, -15588.8},
                                         hard_class{1000, 1.0, 179, 10, {0, 246, 0, 244, 187, 104, 5, 306}, 345, 983},
                                         hard_class{1000, 0.5, 223, 5, {131, 166, 136, 56, 191, 0, 192, 0}, 320, -12542.1},
                                         hard_class{1000, 1.0, 251, 10, {101, 197, 0, 16, 384, 116, 38, 0}, 336, 5426.8}),
                         [](const auto& instance) { return "Seed" + std::to_string(instance.param.seed); });

}  // namespace
}  // namespace inferno::model

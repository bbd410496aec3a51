// The solvers on small tables whose answers can be worked out by hand, and their properties on random ones.
#include "model/greedy.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <tuple>

namespace inferno::model {
namespace {

solver_candidate candidate(std::string acc, int type, int replicas, double value, int units = 1) {
  solver_candidate c;
  c.alloc.accelerator = std::move(acc);
  c.alloc.num_replicas = replicas;
  c.alloc.value = value;
  c.alloc.cost = {value};
  c.type = type;
  c.units_per_replica = units;
  return c;
}

solver_variant variant(std::string name, int priority, std::vector<solver_candidate> candidates) {
  return {std::move(name), priority, std::move(candidates)};
}

solver_input limited(std::vector<int> capacity, std::vector<solver_variant> variants,
                     saturation_policy policy = saturation_policy::none, bool delayed = false) {
  solver_input in;
  in.variants = std::move(variants);
  for (const int count : capacity) in.capacity.push_back({"T" + std::to_string(in.capacity.size()), count});
  in.optimizer = {false, delayed, policy, solver_kind::greedy, false};
  return in;
}

/// Replicas by variant; of a solution that keeps to the rules.
std::vector<int> replicas(const solver_input& in) {
  const auto result = solve(in);
  EXPECT_EQ(result.choices.size(), in.variants.size());
  std::vector<int> out;
  std::vector<int> used(in.capacity.size());
  for (std::size_t i = 0; i < in.variants.size(); ++i) {
    const auto& choice = result.choices[i];
    out.push_back(choice.num_replicas);
    if (choice.candidate < 0) {
      EXPECT_EQ(choice.num_replicas, 0);
      continue;
    }
    const auto& c = in.variants[i].candidates.at(static_cast<std::size_t>(choice.candidate));
    EXPECT_LE(choice.num_replicas, c.alloc.num_replicas);
    EXPECT_EQ(choice.partial, choice.num_replicas < c.alloc.num_replicas);
    if (c.type >= 0) used[static_cast<std::size_t>(c.type)] += choice.num_replicas * c.units_per_replica;
  }
  EXPECT_EQ(used, result.used);
  for (std::size_t t = 0; t < used.size() && !in.optimizer.unlimited; ++t) EXPECT_LE(used[t], in.capacity[t].count);
  return out;
}

using counts = std::vector<int>;

TEST(Unlimited, TakesTheLeastValueOfEach) {
  auto in = limited({1}, {variant("a", 1, {candidate("A", 0, 3, 10), candidate("B", -1, 1, 20)}), variant("b", 1, {}),
                          variant("c", 9, {candidate("A", 0, 5, -7)})});
  in.optimizer.unlimited = true;
  EXPECT_EQ(replicas(in), (counts{3, 0, 5}));
  EXPECT_EQ(solve(in).used, counts{8}) << "more than there is: that is what unlimited says";
}

TEST(Greedy, TheMoreImportantClassComesFirst) {
  const auto a = variant("a", 5, {candidate("A", 0, 2, 1)});
  const auto b = variant("b", 1, {candidate("A", 0, 2, 100)});
  EXPECT_EQ(replicas(limited({2}, {a, b})), (counts{0, 2}));
}

TEST(Greedy, TheGreaterRegretComesFirst) {
  // only one of them gets the cheap type; b would lose 50 by its next best, a only 5
  const auto a = variant("a", 1, {candidate("A", 0, 1, 10), candidate("B", 1, 1, 15)});
  const auto b = variant("b", 1, {candidate("A", 0, 1, 20), candidate("B", 1, 1, 70)});
  const auto in = limited({1, 5}, {a, b});
  const auto result = solve(in);
  EXPECT_EQ(result.choices[0].candidate, 1);
  EXPECT_EQ(result.choices[1].candidate, 0);
}

TEST(Greedy, WhoHasNoOtherWayComesFirst) {
  const auto a = variant("a", 1, {candidate("A", 0, 1, 10), candidate("B", 1, 1, 1e6)});
  const auto b = variant("b", 1, {candidate("A", 0, 1, 1)});
  const auto result = solve(limited({1, 1}, {a, b}));
  EXPECT_EQ(result.choices[0].candidate, 1);
  EXPECT_EQ(result.choices[1].candidate, 0);
}

TEST(Greedy, EqualRegretTheGreaterValueComesFirst) {
  const auto a = variant("a", 1, {candidate("A", 0, 1, 10)});
  const auto b = variant("b", 1, {candidate("A", 0, 1, 11)});
  EXPECT_EQ(replicas(limited({1}, {a, b})), (counts{0, 1}));
}

TEST(Greedy, CountsCardsNotReplicas) {
  const auto a = variant("a", 1, {candidate("2xA", 0, 2, 10, 4), candidate("B", 1, 9, 20)});
  EXPECT_EQ(solve(limited({8, 9}, {a})).used, (counts{8, 0}));
  EXPECT_EQ(solve(limited({7, 9}, {a})).used, (counts{0, 9}));
}

TEST(Greedy, NothingToAllocateNeedsNoRoom) {
  const auto a = variant("a", 1, {candidate("", -1, 0, -44)});
  const auto result = solve(limited({0}, {a}));
  EXPECT_EQ(result.choices[0].candidate, 0);
  EXPECT_EQ(result.choices[0].num_replicas, 0);
  EXPECT_FALSE(result.choices[0].partial);
}

/// Two classes of two; nobody's need of 4 fits into what the type has.
std::vector<solver_variant> hungry() {
  return {variant("a", 1, {candidate("A", 0, 4, 40)}), variant("b", 1, {candidate("A", 0, 4, 30)}),
          variant("c", 2, {candidate("A", 0, 4, 20)}), variant("d", 2, {candidate("A", 0, 4, 10)})};
}

TEST(Saturation, NoneLeavesThemWithoutAny) {
  EXPECT_EQ(replicas(limited({3}, hungry(), saturation_policy::none)), (counts{0, 0, 0, 0}));
}

TEST(Saturation, PriorityExhaustiveServesOneAfterTheOther) {
  EXPECT_EQ(replicas(limited({3}, hungry(), saturation_policy::priority_exhaustive)), (counts{3, 0, 0, 0}));
  // with room for one whole: it goes to the greatest value, the rest to the next
  EXPECT_EQ(replicas(limited({7}, hungry(), saturation_policy::priority_exhaustive)), (counts{4, 3, 0, 0}));
}

TEST(Saturation, PriorityRoundRobinSharesWithinAPriority) {
  EXPECT_EQ(replicas(limited({3}, hungry(), saturation_policy::priority_round_robin)), (counts{2, 1, 0, 0}));
}

TEST(Saturation, RoundRobinSharesWithAllWhenDelayed) {
  EXPECT_EQ(replicas(limited({3}, hungry(), saturation_policy::round_robin, false)), (counts{2, 1, 0, 0}))
      << "each priority group before the next";
  EXPECT_EQ(replicas(limited({3}, hungry(), saturation_policy::round_robin, true)), (counts{1, 1, 1, 0}));
  EXPECT_EQ(replicas(limited({3}, hungry(), saturation_policy::priority_round_robin, true)), (counts{2, 1, 0, 0}));
}

TEST(Saturation, BestEffortAtOnceOrAfterAllGroups) {
  // the important one cannot be served whole; the other could
  std::vector<solver_variant> two{variant("a", 1, {candidate("A", 0, 4, 40)}), variant("b", 2, {candidate("A", 0, 2, 20)})};
  EXPECT_EQ(replicas(limited({3}, two, saturation_policy::priority_exhaustive, false)), (counts{3, 0}));
  EXPECT_EQ(replicas(limited({3}, two, saturation_policy::priority_exhaustive, true)), (counts{1, 2}));
}

TEST(Saturation, TakesTheFirstTypeThatHasRoom) {
  const auto a = variant("a", 1, {candidate("A", 0, 4, 10, 2), candidate("B", 1, 4, 20)});
  for (const auto policy :
       {saturation_policy::priority_exhaustive, saturation_policy::priority_round_robin, saturation_policy::round_robin}) {
    EXPECT_EQ(solve(limited({5, 3}, {a}, policy)).used, (counts{4, 0}));
    EXPECT_EQ(solve(limited({1, 3}, {a}, policy)).used, (counts{0, 3}));
    EXPECT_EQ(solve(limited({1, 0}, {a}, policy)).used, (counts{0, 0}));
  }
}

solver_input random_input(std::mt19937& rng) {
  const auto upto = [&](int n) { return static_cast<int>(rng() % static_cast<unsigned>(n + 1)); };
  const int types = 1 + upto(3);
  solver_input in;
  for (int t = 0; t < types; ++t) in.capacity.push_back({"T" + std::to_string(t), upto(20)});
  const int n = 1 + upto(9);
  for (int i = 0; i < n; ++i) {
    solver_variant v{"v" + std::to_string(i), upto(2), {}};
    const int c = upto(types);
    for (int k = 0; k < c; ++k)
      v.candidates.push_back(candidate("acc" + std::to_string(k), k, 1 + upto(5), 10 * (upto(6) - 2), 1 + upto(2)));
    std::sort(v.candidates.begin(), v.candidates.end(), [](const auto& a, const auto& b) {
      return std::tie(a.alloc.value, a.alloc.accelerator) < std::tie(b.alloc.value, b.alloc.accelerator);
    });
    in.variants.push_back(std::move(v));
  }
  in.optimizer = {false, rng() % 2 == 0, static_cast<saturation_policy>(rng() % 4), solver_kind::greedy, false};
  return in;
}

TEST(Greedy, DoesNotDependOnTheOrderOfTheVariants) {
  std::mt19937 rng(21);
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    const auto in = random_input(rng);
    const auto want = replicas(in);
    std::vector<std::size_t> order(in.variants.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), rng);
    auto shuffled = in;
    for (std::size_t k = 0; k < order.size(); ++k) shuffled.variants[k] = in.variants[order[k]];
    const auto got = replicas(shuffled);
    for (std::size_t k = 0; k < order.size(); ++k) EXPECT_EQ(got[k], want[order[k]]);
  }
}

TEST(Greedy, LeavesNobodyOutWhoWouldStillFit) {
  std::mt19937 rng(22);
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    const auto in = random_input(rng);
    const auto result = solve(in);
    for (std::size_t k = 0; k < in.variants.size(); ++k) {
      if (result.choices[k].candidate >= 0) continue;
      for (const auto& c : in.variants[k].candidates) {
        const auto t = static_cast<std::size_t>(c.type);
        EXPECT_GT(c.alloc.num_replicas * c.units_per_replica, in.capacity[t].count - result.used[t]) << in.variants[k].name;
        if (in.optimizer.saturation == saturation_policy::none) continue;
        EXPECT_GT(c.units_per_replica, in.capacity[t].count - result.used[t]) << "not even one replica";
      }
    }
  }
}

TEST(Greedy, EnoughForAllIsTheUnlimitedAnswer) {
  std::mt19937 rng(23);
  for (int i = 0; i < 500; ++i) {
    SCOPED_TRACE(i);
    auto in = random_input(rng);
    for (auto& c : in.capacity) c.count = 1'000'000;
    const auto got = solve(in);
    in.optimizer.unlimited = true;
    const auto want = solve(in);
    EXPECT_EQ(got.used, want.used);
    for (std::size_t k = 0; k < in.variants.size(); ++k) EXPECT_EQ(got.choices[k].candidate, want.choices[k].candidate);
  }
}

}  // namespace
}  // namespace inferno::model

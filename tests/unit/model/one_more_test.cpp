// What one GPU more would change, against all plans there are.
#include "model/one_more.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <random>
#include <tuple>

#include "model/gpu_room.hpp"
#include "model/solve_system.hpp"

namespace inferno::model {
namespace {

struct dice {
  std::mt19937 rng;
  int upto(int n) { return static_cast<int>(rng() % static_cast<unsigned>(n + 1)); }
  double unit() { return static_cast<double>(rng()) / 4294967296.0; }
};

solver_candidate candidate(std::string acc, int type, int replicas, double value, int units = 1) {
  solver_candidate c;
  c.alloc.accelerator = std::move(acc);
  c.alloc.num_replicas = replicas;
  c.alloc.value = value;
  c.alloc.cost = {100 + value};
  c.type = type;
  c.units_per_replica = units;
  return c;
}

solver_input random_input(dice& d, int variants, int gpus) {
  solver_input in;
  const int types = 1 + d.upto(2);
  for (int t = 0; t < types; ++t) in.capacity.push_back({"T" + std::to_string(t), d.upto(gpus)});
  const int n = 1 + d.upto(variants - 1);
  for (int i = 0; i < n; ++i) {
    solver_variant v{"v" + std::to_string(i), 1 + d.upto(2), {}};
    const int c = 1 + d.upto(2);
    for (int k = 0; k < c; ++k)
      v.candidates.push_back(
          candidate("acc" + std::to_string(k), d.upto(types - 1), 1 + d.upto(2), 200 * d.unit() - 60, 1 + d.upto(1)));
    std::sort(v.candidates.begin(), v.candidates.end(),
              [](const auto& a, const auto& b) { return a.alloc.value < b.alloc.value; });
    in.variants.push_back(std::move(v));
  }
  in.optimizer = {false, false, saturation_policy::none, solver_kind::automatic, false};
  return in;
}

/// Of a class: variants without an allocation, and the value of the others. Less is better, class by class.
using standing = std::vector<std::pair<int, double>>;

standing none(const solver_input& in) {
  std::map<int, int> members;
  for (const auto& v : in.variants) ++members[v.priority];
  standing out;
  for (const auto& [priority, n] : members) out.emplace_back(n, 0.0);
  return out;
}

std::size_t place(const solver_input& in, int priority) {
  std::map<int, int> seen;
  for (const auto& v : in.variants) ++seen[v.priority];
  return static_cast<std::size_t>(std::distance(seen.begin(), seen.find(priority)));
}

standing best_of_all(const solver_input& in) {
  gpu_room room(in.capacity);
  auto now = none(in), best = now;
  const std::function<void(std::size_t)> go = [&](std::size_t i) {
    if (i == in.variants.size()) {
      best = std::min(best, now);
      return;
    }
    go(i + 1);
    const auto at = place(in, in.variants[i].priority);
    for (const auto& c : in.variants[i].candidates) {
      const auto left = room;
      const auto saved = now[at];
      if (room.take_all(c)) {
        --now[at].first;
        now[at].second += c.alloc.value;
        go(i + 1);
      }
      now[at] = saved;
      room = left;
    }
  };
  go(0);
  return best;
}

standing of(const solver_input& in, const solver_result& r) {
  auto out = none(in);
  for (std::size_t i = 0; i < in.variants.size(); ++i) {
    const auto& choice = r.choices[i];
    if (choice.candidate < 0 || choice.partial) continue;
    auto& one = out[place(in, in.variants[i].priority)];
    --one.first;
    one.second += in.variants[i].candidates[static_cast<std::size_t>(choice.candidate)].alloc.value;
  }
  return out;
}

bool same(const standing& a, const standing& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && std::abs(x.second - y.second) < 1e-6; });
}

TEST(OneMoreGpu, IsWorthWhatAllPlansSay) {
  dice d{std::mt19937(5)};
  int satisfies = 0, saves = 0, nothing = 0, unlike = 0;
  for (int i = 0; i < 3000; ++i) {
    SCOPED_TRACE(i);
    const auto in = random_input(d, 6, 8);
    const auto plan = solve(in);
    const auto before = best_of_all(in);
    if (!same(of(in, plan), before)) {
      ++unlike;  // class by class is not the best of all: where values are equal
      continue;
    }
    const auto gains = gains_of_one_more(in, plan);
    ASSERT_EQ(gains.size(), in.capacity.size());
    for (std::size_t t = 0; t < gains.size(); ++t) {
      SCOPED_TRACE(in.capacity[t].type);
      ASSERT_TRUE(gains[t]) << "of a small system it is known";
      auto more = in;
      ++more.capacity[t].count;
      const auto after = best_of_all(more);
      const auto& g = *gains[t];
      EXPECT_EQ(g.replicas, 0) << "without a policy";
      std::size_t at = 0;
      while (at < before.size() && before[at].first == after[at].first && std::abs(before[at].second - after[at].second) < 1e-6)
        ++at;
      if (at == before.size()) {
        EXPECT_FALSE(g.any());
        ++nothing;
        continue;
      }
      ASSERT_TRUE(g.any());
      EXPECT_EQ(place(in, g.priority), at);
      EXPECT_EQ(g.satisfied, before[at].first - after[at].first);
      satisfies += g.satisfied > 0;
      if (g.satisfied > 0) {
        EXPECT_EQ(g.saving, 0);
        continue;
      }
      EXPECT_NEAR(g.saving, before[at].second - after[at].second, 1e-6);
      ++saves;
    }
  }
  EXPECT_LT(unlike, 30);
  EXPECT_GT(satisfies, 300);
  EXPECT_GT(saves, 300);
  EXPECT_GT(nothing, 300);
}

TEST(OneMoreGpu, OfWhichTwoAreNeededIsWorthNothing) {
  solver_input in;
  in.capacity = {{"T", 1}};
  in.variants = {{"served", 1, {candidate("a", 0, 1, 10)}}, {"short", 1, {candidate("a", 0, 2, 20)}}};
  in.optimizer = {false, false, saturation_policy::none, solver_kind::automatic, false};
  const auto gains = gains_of_one_more(in, solve(in));
  ASSERT_TRUE(gains[0]);
  EXPECT_FALSE(gains[0]->any()) << "a linear relaxation says otherwise";
  in.optimizer.saturation = saturation_policy::priority_exhaustive;
  const auto shared = gains_of_one_more(in, solve(in));
  ASSERT_TRUE(shared[0]);
  EXPECT_EQ(shared[0]->replicas, 1) << "of the two that are wanted";
  EXPECT_EQ(shared[0]->satisfied, 0);
}

TEST(OneMoreGpu, ThatSatisfiesAnotherVariantSaysSo) {
  solver_input in;
  in.capacity = {{"T", 1}};
  in.variants = {{"served", 1, {candidate("a", 0, 1, 10)}}, {"short", 5, {candidate("a", 0, 1, 20)}}};
  in.optimizer = {false, false, saturation_policy::priority_exhaustive, solver_kind::automatic, false};
  const auto gains = gains_of_one_more(in, solve(in));
  ASSERT_TRUE(gains[0]);
  EXPECT_EQ(gains[0]->satisfied, 1);
  EXPECT_EQ(gains[0]->priority, 5);
}

TEST(OneMoreGpu, IsNotKnownWithoutBounds) {
  solver_input in;
  in.capacity = {{"T", 1}};
  in.variants = {{"served", 1, {candidate("a", 0, 1, 10)}}, {"short", 5, {candidate("a", 0, 1, 20)}}};
  in.optimizer = {false, false, saturation_policy::none, solver_kind::greedy, false};
  EXPECT_FALSE(gains_of_one_more(in, solve(in))[0]);
}

/// Of larger systems either nothing is said, or what the bounds prove.
TEST(OneMoreGpu, OfLargerSystemsIsNeverAGuess) {
  dice d{std::mt19937(6)};
  int known = 0;
  for (int i = 0; i < 40; ++i) {
    SCOPED_TRACE(i);
    auto in = random_input(d, 150, 60);
    in.optimizer.saturation = static_cast<saturation_policy>(d.upto(3));
    const auto plan = solve(in);
    const auto gains = gains_of_one_more(in, plan);
    for (std::size_t t = 0; t < gains.size(); ++t) {
      if (!gains[t]) continue;
      ++known;
      auto more = in;
      ++more.capacity[t].count;
      more.optimizer.solver = solver_kind::exact;
      const auto after = solve(more);
      const auto a = of(in, plan), b = of(more, after);
      const auto& g = *gains[t];
      if (g.satisfied > 0) {
        EXPECT_LT(b[place(in, g.priority)].first, a[place(in, g.priority)].first);
      } else if (g.saving > 0) {
        EXPECT_LT(b[place(in, g.priority)].second, a[place(in, g.priority)].second);
      } else if (g.replicas == 0) {
        EXPECT_EQ(a[0].first, b[0].first);
        EXPECT_NEAR(a[0].second, b[0].second, 1e-6 * (1 + std::abs(a[0].second)));
      }
    }
  }
  EXPECT_GT(known, 30);
}

/// Two variants want the one A100 that there is; solve and its explanation.
TEST(OneMoreGpu, IsExplained) {
  system_data system;
  system.accelerators = {{"A100", "NVIDIA-A100", 1, {40}}};
  system.profiles = {{"m", "A100", 1, 4, 0, linear_profile{20.58, 0.41, 0, 0, false}, {}}};
  system.classes = {{"gold", 1, {{"m", {24, 0, 500, 0}}}}, {"free", 5, {{"m", {24, 0, 500, 0}}}}};
  for (const char* name : {"gold", "free"}) {
    server_spec s;
    s.name = s.class_name = name;
    s.model = "m";
    s.current.load = {req_rate::per_min(20), 0, 178};
    system.servers.push_back(s);
  }
  system.optimizer.unlimited = false;
  system.capacity = {{"NVIDIA-A100", 1}};
  const auto solution = solve_system(system);
  ASSERT_EQ(solution.unallocated.size(), 1u);
  const auto e = explain_server(system, solution, "free");
  ASSERT_TRUE(e && *e);
  ASSERT_EQ((*e)->types.size(), 1u);
  ASSERT_TRUE((*e)->types[0].one_more);
  EXPECT_EQ((*e)->types[0].one_more->satisfied, 1);
  EXPECT_EQ((*e)->types[0].one_more->priority, 5);
}

}  // namespace
}  // namespace inferno::model

// Scarce GPUs over many plans, each carried out before the next: with the same demand nothing moves any more, and where demand
// wavers little does.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

#include "model/allocation.hpp"
#include "model/solver.hpp"

namespace inferno::model {
namespace {

struct wish {
  int priority = 1;
  std::vector<int> replicas;  ///< by type, 0 = cannot run there
  std::vector<double> cents;  ///< of a replica
  int present = 0;            ///< type
  int has = 0;
};

std::string name_of(int type) { return "acc" + std::to_string(type); }

solver_input input_of(const std::vector<wish>& wishes, const std::vector<int>& gpus, saturation_policy policy, solver_kind kind) {
  solver_input in;
  for (std::size_t t = 0; t < gpus.size(); ++t) in.capacity.push_back({"T" + std::to_string(t), gpus[t]});
  in.optimizer = {false, false, policy, kind, false};
  in.keep_present = true;
  for (std::size_t i = 0; i < wishes.size(); ++i) {
    const auto& w = wishes[i];
    solver_variant v{"v" + std::to_string(i), w.priority, {}};
    current_allocation from;
    if (w.has > 0) {
      from.accelerator = name_of(w.present);
      from.num_replicas = w.has;
      from.cost = {w.cents[static_cast<std::size_t>(w.present)] * w.has};
    }
    for (int t = 0; t < static_cast<int>(gpus.size()); ++t) {
      const int n = w.replicas[static_cast<std::size_t>(t)];
      if (n == 0) continue;
      solver_candidate c;
      c.alloc.accelerator = name_of(t);
      c.alloc.num_replicas = n;
      c.alloc.cost = {w.cents[static_cast<std::size_t>(t)] * n};
      c.alloc.max_rate_per_replica = req_rate::per_sec(1.0 / n);
      c.alloc.value = transition_value(from, c.alloc.accelerator, n, c.alloc.cost);
      c.type = t;
      c.present = w.has > 0 && w.present == t ? w.has : 0;
      v.candidates.push_back(std::move(c));
    }
    std::sort(v.candidates.begin(), v.candidates.end(),
              [](const auto& a, const auto& b) { return a.alloc.value < b.alloc.value; });
    in.variants.push_back(std::move(v));
  }
  return in;
}

/// Carries the plan out. Returns the replicas taken from variants that want at least what they have.
int carry_out(std::vector<wish>& wishes, const solver_input& in) {
  const auto result = solve(in);
  int taken = 0;
  for (std::size_t i = 0; i < wishes.size(); ++i) {
    auto& w = wishes[i];
    const auto& choice = result.choices[i];
    const int granted = choice.candidate < 0 ? 0 : choice.num_replicas;
    const int type =
        choice.candidate < 0 ? w.present : in.variants[i].candidates[static_cast<std::size_t>(choice.candidate)].type;
    if (w.has > 0 && w.replicas[static_cast<std::size_t>(w.present)] >= w.has && (type != w.present || granted < w.has))
      taken += type == w.present ? w.has - granted : w.has;
    w.present = type;
    w.has = granted;
  }
  return taken;
}

std::string shown(const std::vector<wish>& wishes) {
  std::string out;
  for (const auto& w : wishes)
    out += std::to_string(w.has) + " of " + std::to_string(w.replicas[static_cast<std::size_t>(w.present)]) + " on " +
           name_of(w.present) + "; ";
  return out;
}

constexpr saturation_policy policies[] = {saturation_policy::priority_exhaustive, saturation_policy::priority_round_robin,
                                          saturation_policy::round_robin};
constexpr solver_kind kinds[] = {solver_kind::automatic, solver_kind::exact};

TEST(Shortage, WithTheSameDemandPlansComeToRest) {
  std::mt19937 random(1);
  const auto upto = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n + 1)); };
  for (int round = 0; round < 1500; ++round) {
    std::vector<int> gpus;
    for (int t = upto(1); t >= 0; --t) gpus.push_back(4 + upto(20));
    std::vector<wish> wishes(static_cast<std::size_t>(2 + upto(6)));
    for (auto& w : wishes) {
      w.priority = 1 + upto(1);
      // It keeps its accelerator, as it does by default.
      w.present = upto(static_cast<int>(gpus.size()) - 1);
      for (int t = 0; t < static_cast<int>(gpus.size()); ++t) {
        w.replicas.push_back(t == w.present ? 1 + upto(7) : 0);
        w.cents.push_back(10.0 * (1 + upto(5)));
      }
      w.has = upto(6);
    }
    for (const auto policy : policies)
      for (const auto kind : kinds) {
        auto now = wishes;
        for (int i = 0; i < 8; ++i) carry_out(now, input_of(now, gpus, policy, kind));
        const auto before = shown(now);
        for (int i = 0; i < 3; ++i) {
          carry_out(now, input_of(now, gpus, policy, kind));
          ASSERT_EQ(shown(now), before) << "round " << round << ", policy " << static_cast<int>(policy) << ", solver "
                                        << static_cast<int>(kind);
        }
      }
  }
}

TEST(Shortage, WaveringDemandMovesFewReplicas) {
  for (const auto policy : policies)
    for (const auto kind : kinds) {
      std::mt19937 random(2);
      std::vector<wish> wishes(18);
      for (std::size_t i = 0; i < wishes.size(); ++i) wishes[i] = {1, {0}, {40}, 0, 2};
      int taken = 0, idle = 0, rises = 0;
      for (int cycle = 0; cycle < 220; ++cycle) {
        for (std::size_t i = 0; i < wishes.size(); ++i) {
          const int before =
              std::exchange(wishes[i].replicas[0], std::max(1, static_cast<int>(2 + 4 * (i % 3) / 2 + random() % 3) - 1));
          rises += cycle >= 20 && wishes[i].replicas[0] > before;
        }
        const int moved = carry_out(wishes, input_of(wishes, {48}, policy, kind));
        int total = 0, wanted = 0;
        for (const auto& w : wishes) total += w.has, wanted += w.replicas[0];
        if (cycle >= 20) taken += moved, idle += std::min(48, wanted) - total;
      }
      EXPECT_LE(taken, 0.6 * rises) << "a replica goes only where one is wanted more; policy " << static_cast<int>(policy)
                                    << ", solver " << static_cast<int>(kind);
      EXPECT_EQ(idle, 0);
    }
}

}  // namespace
}  // namespace inferno::model

// The default solver against trying everything, against the greedy solver, and its properties.
#include "model/lexicographic.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "model/greedy.hpp"
#include "model/pool.hpp"

namespace inferno::model {
namespace {

struct standing {
  int satisfied = 0;
  double value = 0;
};

/// GPUs left by everything `keep` admits.
std::vector<int> room_after(const solver_input& in, const solver_result& r, const std::function<bool(std::size_t)>& keep) {
  std::vector<int> room;
  for (const auto& c : in.capacity) room.push_back(c.count);
  for (std::size_t i = 0; i < in.variants.size(); ++i) {
    const auto& choice = r.choices[i];
    if (choice.candidate < 0 || !keep(i)) continue;
    const auto& c = in.variants[i].candidates[static_cast<std::size_t>(choice.candidate)];
    if (c.mix.empty() && c.type >= 0) room[static_cast<std::size_t>(c.type)] -= choice.num_replicas * c.units_per_replica;
    for (std::size_t p = 0; p < c.mix.size(); ++p)
      room[static_cast<std::size_t>(c.mix[p].type)] -= choice.part_replicas[p] * c.mix[p].units_per_replica;
  }
  return room;
}

/// The best of all combinations for `members` within `room`.
standing best_of_all(const solver_input& in, const std::vector<std::size_t>& members, std::vector<int> room) {
  standing best{-1, 0}, now;
  const std::function<void(std::size_t)> go = [&](std::size_t k) {
    if (k == members.size()) {
      if (now.satisfied > best.satisfied || (now.satisfied == best.satisfied && now.value < best.value)) best = now;
      return;
    }
    go(k + 1);
    for (const auto& c : in.variants[members[k]].candidates) {
      const auto before = room;
      bool ok = true;
      for_each_part(c, [&](int type, int units, int replicas) {
        if (type < 0) return;
        room[static_cast<std::size_t>(type)] -= units * replicas;
        ok = ok && room[static_cast<std::size_t>(type)] >= 0;
      });
      if (ok) {
        const auto saved = now;
        ++now.satisfied;
        now.value += c.alloc.value;
        go(k + 1);
        now = saved;
      }
      room = before;
    }
  };
  go(0);
  return best;
}

standing of(const solver_input& in, const solver_result& r, const std::vector<std::size_t>& members) {
  standing s;
  for (const auto i : members) {
    const auto& choice = r.choices[i];
    if (choice.candidate < 0 || choice.partial) continue;
    ++s.satisfied;
    s.value += in.variants[i].candidates[static_cast<std::size_t>(choice.candidate)].alloc.value;
  }
  return s;
}

std::map<int, std::vector<std::size_t>> groups_of(const solver_input& in) {
  std::map<int, std::vector<std::size_t>> out;
  for (std::size_t i = 0; i < in.variants.size(); ++i) out[in.variants[i].priority].push_back(i);
  return out;
}

solver_candidate candidate(std::string acc, int type, int replicas, double value, double cost, int units) {
  solver_candidate c;
  c.alloc.accelerator = std::move(acc);
  c.alloc.num_replicas = replicas;
  c.alloc.value = value;
  c.alloc.cost = {cost};
  c.type = type;
  c.units_per_replica = units;
  return c;
}

struct dice {
  std::mt19937 rng;
  int upto(int n) { return static_cast<int>(rng() % static_cast<unsigned>(n + 1)); }
  double unit() { return static_cast<double>(rng()) / 4294967296.0; }
};

/// Small and scarce; every third system has values with many ties.
solver_input random_system(dice& d, int most_variants, int most_types, bool continuous) {
  solver_input in;
  const int types = 1 + d.upto(most_types - 1);
  for (int t = 0; t < types; ++t) in.capacity.push_back({"T" + std::to_string(t), d.upto(14)});
  const int n = 1 + d.upto(most_variants - 1);
  for (int i = 0; i < n; ++i) {
    solver_variant v{"v" + std::to_string(i), d.upto(2), {}};
    const int c = 1 + d.upto(3);
    for (int k = 0; k < c; ++k) {
      const double value = continuous ? 200 * d.unit() - 60 : 10 * (d.upto(6) - 2);
      v.candidates.push_back(
          candidate("acc" + std::to_string(k), d.upto(types - 1), 1 + d.upto(4), value, 60 + value, 1 + d.upto(2)));
    }
    if (d.upto(5) == 0) {
      // A mix of two types.
      solver_candidate mix = candidate("a+b", -1, 0, continuous ? 100 * d.unit() - 50 : 0, 50, 1);
      for (int p = 0; p < 2; ++p) {
        solver_candidate::part part{0, {}, d.upto(types - 1), 1 + d.upto(1)};
        part.alloc.num_replicas = 1 + d.upto(2);
        mix.alloc.num_replicas += part.alloc.num_replicas;
        mix.mix.push_back(part);
      }
      v.candidates.push_back(std::move(mix));
    }
    std::sort(v.candidates.begin(), v.candidates.end(), [](const auto& a, const auto& b) {
      return std::tie(a.alloc.value, a.alloc.cost.cents, a.alloc.accelerator) <
             std::tie(b.alloc.value, b.alloc.cost.cents, b.alloc.accelerator);
    });
    in.variants.push_back(std::move(v));
  }
  in.optimizer = {false, d.upto(1) == 1, static_cast<saturation_policy>(d.upto(3)), solver_kind::automatic, false};
  return in;
}

TEST(Lexicographic, IsTheBestOfAllCombinations) {
  dice d{std::mt19937(31)};
  int better_than_greedy = 0;
  for (int i = 0; i < 4000; ++i) {
    SCOPED_TRACE(i);
    const auto in = random_system(d, 7, 4, i % 3 != 0);
    const auto got = solve(in);
    for (const int left : room_after(in, got, [](auto) { return true; })) ASSERT_GE(left, 0);
    double bound = 0;
    for (const auto& [priority, members] : groups_of(in)) {
      // Given what the more important classes hold: all of it, and in between what best effort gave them.
      const auto room = room_after(in, got, [&](std::size_t k) {
        return in.variants[k].priority < priority && (!in.optimizer.delayed_best_effort || !got.choices[k].partial);
      });
      const auto want = best_of_all(in, members, room);
      const auto mine = of(in, got, members);
      ASSERT_EQ(mine.satisfied, want.satisfied) << "priority " << priority;
      ASSERT_NEAR(mine.value, want.value, 1e-6) << "priority " << priority;
      bound += want.value;
    }
    EXPECT_EQ(got.report.satisfied, got.report.satisfiable);
    EXPECT_EQ(got.report.gap, 0) << "proven";
    EXPECT_NEAR(*got.report.lower_bound, bound, 1e-6);
    auto greedily = in;
    greedily.optimizer.solver = solver_kind::greedy;
    const auto other = solve(greedily);
    const auto first = groups_of(in).begin()->second;
    const auto mine = of(in, got, first), theirs = of(in, other, first);
    EXPECT_GE(mine.satisfied, theirs.satisfied);
    EXPECT_TRUE(mine.satisfied != theirs.satisfied || mine.value <= theirs.value + 1e-9);
    better_than_greedy += mine.satisfied > theirs.satisfied || mine.value < theirs.value - 1e-9;
  }
  EXPECT_GT(better_than_greedy, 200) << "there is room above greedy";
}

/// Larger ones: bound and plan hold together, and greedy is never before.
TEST(Lexicographic, BoundsItsPlan) {
  dice d{std::mt19937(32)};
  int proven = 0;
  const int rounds = 60;
  for (int i = 0; i < rounds; ++i) {
    SCOPED_TRACE(i);
    auto in = random_system(d, 120, 6, true);
    for (auto& c : in.capacity) c.count *= 1 + static_cast<int>(in.variants.size()) / 6;
    const auto got = solve(in);
    ASSERT_TRUE(got.report.lower_bound);
    EXPECT_LE(*got.report.lower_bound, got.report.value + 1e-6);
    EXPECT_LE(got.report.satisfied, got.report.satisfiable);
    proven += got.report.gap == 0.0 && got.report.satisfied == got.report.satisfiable;
    EXPECT_LE(*got.report.gap, 0.03);
    EXPECT_GE(got.report.satisfied, got.report.satisfiable - 1);
  }
  EXPECT_GT(proven, rounds / 2);
}

/// In no class, as long as those before it are alike: where classes can use other GPUs to the same effect, too.
TEST(Lexicographic, GreedyIsNeverAhead) {
  dice d{std::mt19937(38)};
  int better = 0;
  for (int i = 0; i < 6000; ++i) {
    SCOPED_TRACE(i);
    auto in = random_system(d, 9, 4, i % 4 == 0);
    const auto mine = solve(in);
    in.optimizer.solver = solver_kind::greedy;
    const auto theirs = solve(in);
    for (const auto& [priority, members] : groups_of(in)) {
      const auto a = of(in, mine, members), b = of(in, theirs, members);
      ASSERT_GE(a.satisfied, b.satisfied) << "priority " << priority;
      ASSERT_TRUE(a.satisfied != b.satisfied || a.value <= b.value + 1e-6) << a.value << " against " << b.value;
      if (a.satisfied == b.satisfied && a.value >= b.value - 1e-6) continue;
      ++better;
      break;
    }
  }
  EXPECT_GT(better, 200);
}

TEST(Lexicographic, DoesNotDependOnTheOrderOfTheVariants) {
  dice d{std::mt19937(33)};
  for (int i = 0; i < 500; ++i) {
    SCOPED_TRACE(i);
    const auto in = random_system(d, 12, 4, i % 2 == 0);
    const auto want = solve(in);
    std::vector<std::size_t> order(in.variants.size());
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), d.rng);
    auto shuffled = in;
    for (std::size_t k = 0; k < order.size(); ++k) shuffled.variants[k] = in.variants[order[k]];
    const auto got = solve(shuffled);
    for (std::size_t k = 0; k < order.size(); ++k) {
      EXPECT_EQ(got.choices[k].candidate, want.choices[order[k]].candidate);
      EXPECT_EQ(got.choices[k].num_replicas, want.choices[order[k]].num_replicas);
    }
    EXPECT_DOUBLE_EQ(got.report.value, want.report.value);
  }
}

TEST(Lexicographic, ScaledCostsChangeNothingButTheCost) {
  dice d{std::mt19937(34)};
  for (int i = 0; i < 300; ++i) {
    SCOPED_TRACE(i);
    const auto in = random_system(d, 12, 4, true);
    const auto want = solve(in);
    for (const double factor : {0.125, 7.3}) {
      auto scaled = in;
      for (auto& v : scaled.variants)
        for (auto& c : v.candidates) {
          c.alloc.value *= factor;
          c.alloc.cost.cents *= factor;
        }
      const auto got = solve(scaled);
      for (std::size_t k = 0; k < in.variants.size(); ++k) EXPECT_EQ(got.choices[k].candidate, want.choices[k].candidate);
      EXPECT_NEAR(got.report.value, factor * want.report.value, 1e-9 * std::abs(factor * want.report.value) + 1e-9);
    }
  }
}

/// More GPUs: the most important class in which the plans differ is better off.
TEST(Lexicographic, MoreCapacityNeverCostsMore) {
  dice d{std::mt19937(35)};
  for (int i = 0; i < 1000; ++i) {
    SCOPED_TRACE(i);
    auto in = random_system(d, 8, 3, true);
    // Best effort for a class in need may take what a less important one had.
    in.optimizer.saturation = saturation_policy::none;
    const auto before = solve(in);
    in.capacity[static_cast<std::size_t>(d.upto(static_cast<int>(in.capacity.size()) - 1))].count += 1 + d.upto(3);
    const auto after = solve(in);
    for (const auto& [priority, members] : groups_of(in)) {
      const auto a = of(in, before, members), b = of(in, after, members);
      ASSERT_GE(b.satisfied, a.satisfied);
      ASSERT_TRUE(b.satisfied != a.satisfied || b.value <= a.value + 1e-9) << b.value << " after " << a.value;
      if (b.satisfied != a.satisfied || std::abs(b.value - a.value) > 1e-9) break;
    }
  }
}

/// What the less important classes want changes nothing for the more important ones.
TEST(Lexicographic, AHigherPriorityNeverLosesToALower) {
  dice d{std::mt19937(36)};
  for (int i = 0; i < 500; ++i) {
    SCOPED_TRACE(i);
    auto in = random_system(d, 10, 3, true);
    const auto all = solve(in);
    auto alone = in;
    const int most = groups_of(in).begin()->first;
    for (auto& v : alone.variants)
      if (v.priority != most) v.candidates.clear();
    const auto only = solve(alone);
    const auto first = groups_of(in).begin()->second;
    for (const auto k : first) {
      if (all.choices[k].partial || only.choices[k].partial) continue;
      EXPECT_EQ(all.choices[k].candidate, only.choices[k].candidate);
    }
  }
}

TEST(Lexicographic, WithRoomForAllItIsTheUnlimitedPlan) {
  dice d{std::mt19937(37)};
  for (int i = 0; i < 300; ++i) {
    auto in = random_system(d, 12, 4, i % 2 == 0);
    for (auto& c : in.capacity) c.count = 100'000;
    const auto got = solve(in);
    in.optimizer.unlimited = true;
    const auto want = solve(in);
    for (std::size_t k = 0; k < in.variants.size(); ++k) EXPECT_EQ(got.choices[k].candidate, want.choices[k].candidate);
    EXPECT_EQ(got.report.gap, 0);
  }
}

// ---- pools --------------------------------------------------------------------------------------------------------------------

pool_option option(std::string acc, std::size_t member, double per_minute, double cents, int type, int units = 1) {
  pool_option o;
  o.member = member;
  o.per_replica.accelerator = std::move(acc);
  o.per_replica.num_replicas = 1;
  o.per_replica.cost = {cents};
  o.per_replica.max_rate_per_replica = req_rate::per_min(per_minute);
  o.type = type;
  o.units_per_replica = units;
  return o;
}

TEST(Pool, MixesWhenThatIsCheaper) {
  // 12.5 a minute: two big ones cost 200, five small ones 170, one of each 134.
  const auto mixes =
      make_mixes({option("big", 0, 10, 100, 0), option("small", 1, 2.5, 34, 1)}, {{}, {}}, req_rate::per_min(12.5));
  ASSERT_FALSE(mixes.empty());
  EXPECT_DOUBLE_EQ(mixes.front().alloc.cost.cents, 134);
  ASSERT_EQ(mixes.front().mix.size(), 2u);
  EXPECT_EQ(mixes.front().mix[0].alloc.num_replicas, 1);
  EXPECT_EQ(mixes.front().mix[1].alloc.num_replicas, 1);
  EXPECT_NEAR(mixes.front().mix[0].alloc.rate_per_replica.per_min(), 10, 1e-9) << "in proportion to capacity";
}

TEST(Pool, TheCheapestMixIsTheCheapestOfAll) {
  dice d{std::mt19937(41)};
  for (int i = 0; i < 1500; ++i) {
    SCOPED_TRACE(i);
    const int k = 1 + d.upto(2);
    std::vector<pool_option> options;
    std::vector<pool_member> members;
    for (int j = 0; j < k; ++j) {
      options.push_back(option("a" + std::to_string(j), static_cast<std::size_t>(j), 1 + 20 * d.unit(), 5 + 100 * d.unit(), j));
      members.push_back({{}, d.upto(3) == 0 ? 1 : 0, d.upto(3) == 0 ? 2 + d.upto(3) : 0});
    }
    const double demand = 80 * d.unit();
    double best = INFINITY;
    std::vector<int> n(static_cast<std::size_t>(k));
    const std::function<void(int, double, double)> go = [&](int j, double rate, double cost) {
      if (j == k) {
        if (rate >= demand * (1 - 1e-9)) best = std::min(best, cost);
        return;
      }
      const auto at = static_cast<std::size_t>(j);
      const int most = members[at].max_replicas > 0 ? members[at].max_replicas : 90;
      for (int c = members[at].min_replicas; c <= most; ++c) {
        go(j + 1, rate + c * options[at].per_replica.max_rate_per_replica.per_min(),
           cost + c * options[at].per_replica.cost.cents);
        if (rate + c * options[at].per_replica.max_rate_per_replica.per_min() >= demand) break;
      }
    };
    go(0, 0, 0);
    const auto mixes = make_mixes(options, members, req_rate::per_min(demand));
    if (best == INFINITY) {
      EXPECT_TRUE(mixes.empty());
      continue;
    }
    ASSERT_FALSE(mixes.empty());
    EXPECT_NEAR(mixes.front().alloc.cost.cents, best, 1e-9 * best);
  }
}

/// Pools that compete for GPUs: the mixes offered hold the best plan.
TEST(Pool, SharesScarceCardsAsTheBestOfAllMixes) {
  dice d{std::mt19937(42)};
  for (int i = 0; i < 400; ++i) {
    SCOPED_TRACE(i);
    solver_input in;
    in.optimizer = {false, false, saturation_policy::none, solver_kind::automatic, false};
    for (int t = 0; t < 2; ++t) in.capacity.push_back({"T" + std::to_string(t), 1 + d.upto(6)});
    struct pool {
      std::vector<pool_option> options;
      double demand;
    };
    std::vector<pool> pools;
    for (int p = 0; p < 2; ++p) {
      pool one{{option("x", 0, 2 + 10 * d.unit(), 20 + 80 * d.unit(), 0, 1 + d.upto(1)),
                option("y", 1, 2 + 10 * d.unit(), 20 + 80 * d.unit(), 1)},
               30 * d.unit()};
      solver_variant v{"pool" + std::to_string(p), 0, make_mixes(one.options, {{}, {}}, req_rate::per_min(one.demand))};
      in.variants.push_back(std::move(v));
      pools.push_back(std::move(one));
    }
    // Every pair of counts for both pools.
    int satisfied = 0;
    double best = INFINITY;
    const auto covers = [&](const pool& p, int a, int b) {
      return a * p.options[0].per_replica.max_rate_per_replica.per_min() +
                 b * p.options[1].per_replica.max_rate_per_replica.per_min() >=
             p.demand * (1 - 1e-9);
    };
    const auto cost = [&](const pool& p, int a, int b) {
      return a * p.options[0].per_replica.cost.cents + b * p.options[1].per_replica.cost.cents;
    };
    for (int a = 0; a <= 7; ++a)
      for (int b = 0; b <= 7; ++b)
        for (int e = 0; e <= 7; ++e)
          for (int f = 0; f <= 7; ++f) {
            if (a * pools[0].options[0].units_per_replica + e * pools[1].options[0].units_per_replica > in.capacity[0].count ||
                b + f > in.capacity[1].count)
              continue;
            const bool first = covers(pools[0], a, b), second = covers(pools[1], e, f);
            const int count = first + second;
            const double sum = (first ? cost(pools[0], a, b) : 0) + (second ? cost(pools[1], e, f) : 0);
            if (count > satisfied || (count == satisfied && sum < best)) {
              satisfied = count;
              best = sum;
            }
          }
    const auto got = solve(in);
    EXPECT_EQ(got.report.satisfied, satisfied);
    EXPECT_NEAR(got.report.value, satisfied > 0 ? 1.1 * best : 0, 1e-6) << "new accelerators are worth a tenth less";
  }
}

}  // namespace
}  // namespace inferno::model

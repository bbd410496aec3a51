// Mixes of a pool against every mix there is.
#include "model/pool_mixes.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "model/solve_system.hpp"

namespace inferno::model {
namespace {

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

pool_member member_with(std::string acc, int replicas, double cents, int least = 0, int most = 0) {
  pool_member m;
  m.current.accelerator = std::move(acc);
  m.current.num_replicas = replicas;
  m.current.cost = {cents * replicas};
  m.min_replicas = least;
  m.max_replicas = most;
  return m;
}

std::vector<int> replicas_of(const solver_candidate& c, std::size_t members) {
  std::vector<int> out(members);
  for (const auto& p : c.mix) out[p.member] += p.alloc.num_replicas;
  return out;
}

double carried(const solver_candidate& c, const std::vector<int>& parts) {
  double sum = 0;
  for (std::size_t p = 0; p < c.mix.size(); ++p) sum += parts[p] * c.mix[p].alloc.max_rate_per_replica.per_min();
  return sum;
}

solver_input limited(const std::vector<int>& gpus) {
  solver_input in;
  in.optimizer = {false, false, saturation_policy::priority_exhaustive, solver_kind::automatic, false};
  for (std::size_t t = 0; t < gpus.size(); ++t) in.capacity.push_back({"T" + std::to_string(t), gpus[t]});
  return in;
}

using replicas = std::vector<int>;

TEST(PoolMixes, WhoHasTheReplicasKeepsThem) {
  const std::vector<pool_option> both{option("A", 0, 25, 40, 0), option("A", 1, 25, 40, 0)};
  const auto best = [&](int first, int second, double per_minute) {
    const std::vector<pool_member> members{member_with("A", first, 40), member_with("A", second, 40)};
    return replicas_of(make_mixes(both, members, req_rate::per_min(per_minute)).front(), 2);
  };
  EXPECT_EQ(best(20, 1, 500), (replicas{19, 1}));
  EXPECT_EQ(best(1, 20, 500), (replicas{1, 19}));
  EXPECT_EQ(best(20, 0, 500), (replicas{20, 0})) << "none wakes for what another one has";
  EXPECT_EQ(best(0, 20, 525), (replicas{0, 21}));
  EXPECT_EQ(best(10, 10, 500), (replicas{10, 10}));
}

TEST(PoolMixes, MembersLimitsHoldAmongEquals) {
  const std::vector<pool_option> both{option("A", 0, 25, 40, 0), option("A", 1, 25, 40, 0)};
  const std::vector<pool_member> members{member_with("A", 6, 40, 0, 6), member_with("A", 0, 40, 1, 3)};
  EXPECT_EQ(replicas_of(make_mixes(both, members, req_rate::per_min(200)).front(), 2), (replicas{6, 2}));
  EXPECT_EQ(replicas_of(make_mixes(both, members, req_rate::per_min(25)).front(), 2), (replicas{0, 1}));
}

/// Two each of the cheap GPUs, many of the dear ones.
TEST(PoolMixes, TheDearGpusAreUsedWhereTheCheapOnesAreNotEnough) {
  const std::vector<pool_option> options{option("A", 0, 41.5, 10, 0), option("B", 1, 42, 11, 1), option("C", 2, 25, 40, 2)};
  const mix_maker pool(options, {{}, {}, {}}, req_rate::per_min(2000));
  auto set = pool.all({2, 2, 100});
  ASSERT_TRUE(set.covers);
  EXPECT_TRUE(set.complete);
  auto in = limited({2, 2, 100});
  in.variants.push_back({"pool", 0, set.mixes});
  const auto got = solve(in);
  EXPECT_EQ(got.report.satisfied, 1);
  EXPECT_EQ(got.report.satisfiable, 1);
  EXPECT_EQ(got.report.gap, 0);
  const auto& mix = in.variants[0].candidates[static_cast<std::size_t>(got.choices[0].candidate)];
  EXPECT_EQ(replicas_of(mix, 3), (replicas{2, 2, 74})) << "167 by the cheap ones, 1833 by 74 of the dear ones";
}

/// 20,000 a minute are more than all GPUs carry: all of them serve, not those of the cheapest mix.
TEST(PoolMixes, WhatNothingCoversGetsEverything) {
  const std::vector<pool_option> options{option("A", 0, 41.5, 10, 0), option("B", 1, 42, 11, 1), option("C", 2, 25, 40, 2)};
  const mix_maker pool(options, {{}, {}, {}}, req_rate::per_min(20'000));
  const auto set = pool.all({2, 2, 100});
  EXPECT_FALSE(set.covers);
  auto in = limited({2, 2, 100});
  in.variants.push_back({"pool", 0, set.mixes});
  const auto got = solve(in);
  EXPECT_EQ(got.report.satisfied, 0);
  ASSERT_GE(got.choices[0].candidate, 0);
  EXPECT_EQ(got.used, (std::vector<int>{2, 2, 100}));
}

TEST(PoolMixes, MaxReplicasOfAllAreTheMostThereIs) {
  const std::vector<pool_option> options{option("A", 0, 10, 10, 0), option("B", 1, 20, 11, 1)};
  const mix_maker pool(options, {member_with("A", 1, 10, 0, 2), member_with("B", 1, 11, 0, 3)}, req_rate::per_min(500));
  const auto set = pool.all();
  EXPECT_FALSE(set.covers);
  ASSERT_EQ(set.mixes.size(), 1u);
  EXPECT_EQ(replicas_of(set.mixes.front(), 2), (replicas{2, 3}));
}

/// Without demand the pool keeps one replica, the one that runs, and none where it may sleep.
TEST(PoolMixes, KeepsOneReplicaOfAll) {
  const std::vector<pool_option> options{option("A", 0, 10, 10, 0), option("B", 1, 20, 11, 1)};
  const std::vector<pool_member> members{member_with("A", 1, 10), member_with("B", 2, 11)};
  const mix_maker one(options, members, {}, {1, true});
  EXPECT_EQ(replicas_of(one.all().mixes.front(), 2), (replicas{1, 0}));
  const mix_maker none(options, members, {}, {0, true});
  EXPECT_EQ(replicas_of(none.all().mixes.front(), 2), (replicas{0, 0}));
}

/// A member moves to another accelerator where that is worth the move: 800 cents/h on the one in use, less on the other.
TEST(PoolMixes, AMemberMovesToItsBestAccelerator) {
  const std::vector<pool_option> options{option("A", 0, 25, 40, 0), option("H", 0, 230, 100, 1), option("A", 1, 25, 40, 0)};
  const std::vector<pool_member> members{member_with("A", 20, 40), member_with("A", 0, 40)};
  const auto set = mix_maker(options, members, req_rate::per_min(500), {0, true}).all();
  const auto& best = set.mixes.front();
  ASSERT_FALSE(best.mix.empty());
  EXPECT_EQ(best.mix.front().alloc.accelerator, "H");
  EXPECT_LT(best.alloc.cost.cents, 350);
  for (const auto& c : set.mixes) {
    std::map<std::size_t, std::set<std::string>> on;
    for (const auto& p : c.mix) on[p.member].insert(p.alloc.accelerator);
    for (const auto& [member, accelerators] : on) EXPECT_EQ(accelerators.size(), 1u);
  }
}

// ---- against brute force ------------------------------------------------------------------------------------------------------

struct random_pool {
  std::vector<pool_option> options;
  std::vector<pool_member> members;
  double demand = 0;
  mix_rules rules;
};

struct dice {
  std::mt19937 engine;
  double unit() { return std::uniform_real_distribution<>(0, 1)(engine); }
  int upto(int n) { return std::uniform_int_distribution<>(0, n)(engine); }
};

random_pool make_pool(dice& d, int types) {
  random_pool p;
  struct acc {
    double rate, cents;
    int units;
  };
  std::vector<acc> accs;
  for (int t = 0; t < types; ++t) accs.push_back({1 + 20 * d.unit(), 5 + 60 * d.unit(), 1 + d.upto(1)});
  const int members = 1 + d.upto(2);
  p.rules.one_accelerator = d.upto(1) == 0;
  for (int m = 0; m < members; ++m) {
    const int now = d.upto(types - 1);
    const auto& a = accs[static_cast<std::size_t>(now)];
    auto member =
        member_with("acc" + std::to_string(now), d.upto(3), a.cents, d.upto(4) == 0 ? 1 : 0, d.upto(3) == 0 ? 1 + d.upto(3) : 0);
    if (d.upto(5) == 0) member = {};
    const bool moves = d.upto(2) == 0;
    for (int t = 0; t < types; ++t) {
      if (t != now && !moves) continue;
      const auto& x = accs[static_cast<std::size_t>(t)];
      p.options.push_back(option("acc" + std::to_string(t), static_cast<std::size_t>(m), x.rate, x.cents, t, x.units));
    }
    p.members.push_back(member);
  }
  p.demand = 70 * d.unit() * d.unit();
  p.rules.least_total = d.upto(1);
  return p;
}

/// Value of counts by option, by the definition: a member's part on the accelerator in use goes on, or else a part takes its
/// place.
double value_of(const random_pool& p, const std::vector<int>& n) {
  double sum = 0;
  for (std::size_t m = 0; m < p.members.size(); ++m) {
    const auto& from = p.members[m].current;
    double best = INFINITY, none = 0;
    bool stays = false, any = false;
    for (std::size_t heir = 0; heir < n.size(); ++heir) {
      if (p.options[heir].member != m || n[heir] == 0) continue;
      const bool same = p.options[heir].per_replica.accelerator == from.accelerator;
      if (stays && !same) continue;
      double value = 0;
      for (std::size_t i = 0; i < n.size(); ++i) {
        if (p.options[i].member != m || n[i] == 0) continue;
        const auto& a = p.options[i].per_replica;
        value += transition_value(i == heir ? from : current_allocation{}, a.accelerator, n[i], {a.cost.cents * n[i]});
      }
      if (same) best = INFINITY;
      best = std::min(best, value);
      stays = stays || same;
      any = true;
    }
    none = transition_value(from, from.accelerator, 0, {});
    sum += any ? best : none;
  }
  return sum;
}

void every_mix(const random_pool& p, const std::vector<int>& gpus,
               const std::function<void(const std::vector<int>&, bool covers)>& f) {
  std::vector<int> n(p.options.size());
  const std::function<void(std::size_t)> go = [&](std::size_t i) {
    if (i < n.size()) {
      for (n[i] = 0; n[i] <= gpus[static_cast<std::size_t>(p.options[i].type)] / p.options[i].units_per_replica; ++n[i])
        go(i + 1);
      n[i] = 0;
      return;
    }
    std::vector<int> use(gpus.size());
    std::vector<int> of(p.members.size());
    std::vector<std::set<std::string>> on(p.members.size());
    double rate = 0;
    int total = 0;
    for (std::size_t j = 0; j < n.size(); ++j) {
      const auto& o = p.options[j];
      use[static_cast<std::size_t>(o.type)] += n[j] * o.units_per_replica;
      of[o.member] += n[j];
      total += n[j];
      if (n[j] > 0) on[o.member].insert(o.per_replica.accelerator);
      rate += n[j] * o.per_replica.max_rate_per_replica.per_min();
    }
    for (std::size_t t = 0; t < gpus.size(); ++t)
      if (use[t] > gpus[t]) return;
    for (std::size_t m = 0; m < p.members.size(); ++m) {
      if (of[m] < p.members[m].min_replicas) return;
      if (p.members[m].max_replicas > 0 && of[m] > p.members[m].max_replicas) return;
      if (p.rules.one_accelerator && on[m].size() > 1) return;
    }
    if (total < p.rules.least_total) return;
    f(n, rate >= p.demand * (1 - 1e-9));
  };
  go(0);
}

TEST(PoolMixes, CoverWhatAnyMixCoversAtTheLeastValue) {
  int covered = 0, not_covered = 0;
  for (unsigned seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    dice d{std::mt19937(seed)};
    const int types = 1 + d.upto(2);
    const auto p = make_pool(d, types);
    std::vector<int> gpus;
    for (int t = 0; t < types; ++t) gpus.push_back(d.upto(p.options.size() > 5 ? 3 : 6));
    double best = INFINITY;
    every_mix(p, gpus, [&](const auto& n, bool covers) {
      if (covers) best = std::min(best, value_of(p, n));
    });
    const mix_maker pool(p.options, p.members, req_rate::per_min(p.demand), p.rules);
    const auto set = pool.all(gpus);
    auto in = limited(gpus);
    in.variants.push_back({"pool", 0, set.mixes});
    const auto got = solve(in);
    if (best == INFINITY) {
      ++not_covered;
      EXPECT_FALSE(set.covers);
      const bool free = std::all_of(p.members.begin(), p.members.end(), [](const auto& m) { return m.max_replicas == 0; });
      EXPECT_TRUE(got.report.satisfied == 0 || !free) << "GPUs are what is missing, not maxReplicas";
      continue;
    }
    ++covered;
    ASSERT_TRUE(set.covers) << "a mix covers the demand, at " << best;
    ASSERT_EQ(got.report.satisfied, 1);
    EXPECT_NEAR(got.report.value, best, 1e-6);
    const auto searched = pool.best(gpus);
    ASSERT_TRUE(searched);
    // Where members may be on several accelerators at a time, the search leaves out what leaving the one in use costs once.
    double once = 0;
    for (const auto& m : p.members) once += p.rules.one_accelerator ? 0 : 0.1 * m.current.cost.cents;
    EXPECT_GE(searched->alloc.value, best - 1e-6);
    EXPECT_LE(searched->alloc.value, best + once + 1e-6);
    const auto& mix = set.mixes[static_cast<std::size_t>(got.choices[0].candidate)];
    EXPECT_GE(carried(mix, got.choices[0].part_replicas), p.demand * (1 - 1e-9));
  }
  EXPECT_GT(covered, 200);
  EXPECT_GT(not_covered, 50);
}

/// Two pools, the GPUs of each type too few for both: as good as the best pair of mixes.
TEST(PoolMixes, TwoPoolsShareAsTheBestPairOfMixes) {
  for (unsigned seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    dice d{std::mt19937(1000 + seed)};
    std::vector<int> gpus{d.upto(4), d.upto(4)};
    std::vector<random_pool> pools{make_pool(d, 2), make_pool(d, 2)};
    for (auto& p : pools) {
      p.rules.least_total = 0;
      for (auto& m : p.members) m.min_replicas = 0;
    }
    struct way {
      std::vector<int> use;
      double value;
    };
    std::vector<std::vector<way>> ways(2);
    auto in = limited(gpus);
    in.optimizer.saturation = saturation_policy::none;
    for (std::size_t i = 0; i < 2; ++i) {
      const auto& p = pools[i];
      every_mix(p, gpus, [&](const auto& n, bool covers) {
        if (!covers) return;
        way w{std::vector<int>(2), value_of(p, n)};
        for (std::size_t j = 0; j < n.size(); ++j)
          w.use[static_cast<std::size_t>(p.options[j].type)] += n[j] * p.options[j].units_per_replica;
        ways[i].push_back(std::move(w));
      });
      const mix_maker maker(p.options, p.members, req_rate::per_min(p.demand), p.rules);
      auto set = maker.all(gpus);
      if (!set.covers) set.mixes.clear();
      in.variants.push_back({"pool" + std::to_string(i), 0, std::move(set.mixes)});
    }
    int most = 0;
    double best = 0;
    const auto offer = [&](int count, double value) {
      if (count > most || (count == most && value < best)) {
        most = count;
        best = value;
      }
    };
    for (const auto& list : ways)
      for (const auto& w : list) offer(1, w.value);
    for (const auto& a : ways[0])
      for (const auto& b : ways[1])
        if (a.use[0] + b.use[0] <= gpus[0] && a.use[1] + b.use[1] <= gpus[1]) offer(2, a.value + b.value);
    const auto got = solve(in);
    EXPECT_EQ(got.report.satisfied, most);
    EXPECT_NEAR(got.report.value, best, 1e-6);
  }
}

/// Pools too large to list every mix: what is chosen is covered, costs at most 2 % more than the linear relaxation and a replica
/// of the dearest, and no bound is claimed.
TEST(PoolMixes, LargePoolsAreCoveredNearTheBound) {
  double worst = 0;
  for (unsigned seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    dice d{std::mt19937(2000 + seed)};
    std::vector<pool_option> options;
    std::vector<pool_member> members;
    std::vector<int> gpus;
    double all = 0;
    for (int t = 0; t < 6; ++t) {
      options.push_back(
          option("a" + std::to_string(t), static_cast<std::size_t>(t), 10 + 40 * d.unit(), 20 + 80 * d.unit(), t, 1 + d.upto(3)));
      members.push_back({});
      gpus.push_back(20 + d.upto(100));
      all += gpus.back() / options.back().units_per_replica * options.back().per_replica.max_rate_per_replica.per_min();
    }
    const double demand = all * (0.3 + 0.69 * d.unit());
    const mix_maker pool(options, members, req_rate::per_min(demand));
    const auto set = pool.all(gpus);
    ASSERT_TRUE(set.covers);
    EXPECT_FALSE(set.complete);
    EXPECT_LE(set.mixes.size(), 200u);
    // The relaxation: the cheapest per request first, the last one in part.
    std::vector<std::size_t> order(options.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    const auto price = [&](std::size_t i) {
      return options[i].per_replica.cost.cents / options[i].per_replica.max_rate_per_replica.per_min();
    };
    std::sort(order.begin(), order.end(), [&](auto a, auto b) { return price(a) < price(b); });
    double left = demand, bound = 0, dearest = 0;
    for (const auto i : order) {
      const double rate = options[i].per_replica.max_rate_per_replica.per_min();
      const double n = std::min(left / rate, std::floor(1.0 * gpus[i] / options[i].units_per_replica));
      bound += n * options[i].per_replica.cost.cents;
      left -= n * rate;
      dearest = std::max(dearest, options[i].per_replica.cost.cents);
    }
    const double cost = set.mixes.front().alloc.cost.cents;
    EXPECT_LE(cost, bound + dearest);
    worst = std::max(worst, cost / bound - 1);
  }
  EXPECT_LT(worst, 0.005) << "share above the linear relaxation";
}

/// What a more important class leaves is not among the mixes that were chosen for all GPUs: others are searched for, and no bound
/// is claimed.
TEST(PoolMixes, APoolThatIsNotListedWholeFindsTheMixForTheRoomThatIsLeft) {
  for (unsigned seed = 0; seed < 12; ++seed) {
    SCOPED_TRACE(seed);
    dice d{std::mt19937(3000 + seed)};
    system_data s;
    s.optimizer = {false, false, saturation_policy::priority_exhaustive, solver_kind::automatic, false};
    for (const char* name : {"high", "low"}) s.classes.push_back({name, name[0] == 'h' ? 1 : 2, {}});
    for (int c = 0; c < 2; ++c) {
      slo_targets slo;
      slo.itl_ms = 200;
      s.classes[static_cast<std::size_t>(c)].targets.push_back({"m", slo});
    }
    double all = 0;
    for (int t = 0; t < 6; ++t) {
      const auto name = "a" + std::to_string(t);
      s.accelerators.push_back({name, name, 1, {20 + 80 * d.unit()}});
      model_profile profile;
      profile.model = "m";
      profile.acc = name;
      profile.acc_count = 1 + d.upto(1);
      profile.max_batch = 4;
      profile.params = linear_profile{10 + 20 * d.unit(), 0.3, 0, 0};
      s.profiles.push_back(profile);
      s.capacity.push_back({name, 40});
      server_spec server;
      server.name = "s" + std::to_string(t);
      server.class_name = "low";
      server.model = "m";
      server.min_replicas = 0;
      server.pool = "p";
      server.keep_accelerator = true;
      server.current.accelerator = name;
      server.current.load = {req_rate::per_min(1), 0, 100};
      s.servers.push_back(server);
      server_spec other = server;
      other.name = "o" + std::to_string(t);
      other.class_name = "high";
      other.pool.clear();
      other.min_replicas = 15 / profile.acc_count;
      s.servers.push_back(other);
    }
    // Nine tenths of what the GPUs that the others leave carry.
    for (const auto& server : s.servers) {
      if (server.pool.empty()) continue;
      auto alone = s;
      alone.optimizer.unlimited = true;
      alone.servers = {server};
      alone.servers.front().pool.clear();
      const auto a = solve_system(alone).allocations.at(server.name);
      const int units = s.profiles[static_cast<std::size_t>(server.name[1] - '0')].acc_count;
      all += a.max_rate_per_replica.per_min() * ((40 - 15 / units * units) / units);
    }
    for (auto& server : s.servers)
      if (!server.pool.empty()) server.current.load.arrival_rate = req_rate::per_min(0.9 * all / 6);
    const auto got = solve_system(s);
    EXPECT_TRUE(got.degraded.empty() && got.unallocated.empty()) << "the GPUs that are left carry the demand";
    EXPECT_FALSE(got.solver.lower_bound) << "a bound of some of the mixes is none";
    EXPECT_FALSE(got.solver.gap);
  }
}

}  // namespace
}  // namespace inferno::model

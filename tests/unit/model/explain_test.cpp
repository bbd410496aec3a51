// What an explanation says when maxReplicas cut what other targets would need.
#include "model/explain.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <random>
#include <string>

#include "model/solve_system.hpp"
#include "model/system_json.hpp"

namespace inferno::model {
namespace {

TEST(Explain, SaysThatMaxReplicasCutTighterTargets) {
  const accelerator a100{"A100", "NVIDIA-A100", 1, {40}};
  const model_profile profile{"default", "A100", 1, 4, 0, linear_profile{20.58, 0.41, 0, 0, false}, {}};
  server_spec server;
  server.name = "v";
  server.model = "default";
  server.current.accelerator = "A100";
  server.current.num_replicas = 2;
  server.current.cost = {80};
  server.current.load = {req_rate::per_min(44), 0, 178};
  variant_view view;
  view.server = &server;
  view.slo = {24, 0, 500, 0};
  view.options = {{&a100, &profile}};
  const auto standing = [](const accelerator& acc) { return type_standing{acc.type, -1, 0, {}}; };
  const auto needed = [&](double factor) {
    auto other = view;
    other.slo.itl_ms *= factor;
    other.slo.wait_p95_ms *= factor;
    return make_candidates(other).candidates.front().num_replicas;
  };
  server.current.load.arrival_rate = req_rate::per_min(400);
  const int tight = needed(0.9), now = needed(1);
  ASSERT_GT(tight, now);
  server.max_replicas = now;
  const auto e = explain_variant(view, make_candidates(view).candidates.front(), "Optimized", standing);
  const auto limited = "not met: maxReplicas allows " + std::to_string(now) + ", " + std::to_string(tight) + " are needed";
  EXPECT_EQ(e.slo_changes[0].reason, limited);
  EXPECT_EQ(e.slo_changes[1].reason, "");
  EXPECT_NE(explanation_table(e).find(limited), std::string::npos) << explanation_table(e);
  EXPECT_NE(explanation_json(e).find(limited), std::string::npos);
}

using parts = std::map<std::string, int>;  ///< replicas by accelerator

parts planned(const system_solution& s, const std::string& name) {
  parts out;
  const auto add = [&](const allocation& a) {
    if (a.num_replicas > 0) out[a.accelerator] += a.num_replicas;
  };
  if (const auto it = s.allocations.find(name); it != s.allocations.end()) add(it->second);
  if (const auto it = s.also.find(name); it != s.also.end())
    for (const auto& a : it->second) add(a);
  return out;
}

void add(parts& to, const boost::json::value& allocation) {
  const int n = static_cast<int>(allocation.at("numReplicas").as_int64());
  if (n > 0) to[allocation.at("accelerator").as_string().c_str()] += n;
}

class random_system {
 public:
  explicit random_system(unsigned seed) : engine_(seed) {
    system_.accelerators = {{"A100", "a", 1, {40}}, {"H100", "h", 1, {100}}, {"MI300X", "m", 1, {65}}};
    for (const char* model : {"llama", "granite"})
      for (const auto& acc : system_.accelerators)
        system_.profiles.push_back({model,
                                    acc.name,
                                    1 + upto(1),
                                    4 + upto(28),
                                    0,
                                    linear_profile{4.0 + upto(12), 0.1 + 0.1 * upto(5), 0, 0, false},
                                    {}});
    for (const int priority : {1, 5})
      system_.classes.push_back(
          {"class" + std::to_string(priority), priority, {{"llama", {30, 0, 2000, 0}}, {"granite", {40, 0, 0, 0}}}});
    const int servers = 1 + upto(6);
    for (int i = 0; i < servers; ++i) add_server(i);
    system_.optimizer.unlimited = upto(3) == 0;
    system_.optimizer.saturation = static_cast<saturation_policy>(upto(3));
    for (const auto& acc : system_.accelerators) system_.capacity.push_back({acc.type, upto(12)});
  }
  const system_data& operator*() const { return system_; }

 private:
  int upto(int n) { return std::uniform_int_distribution<>(0, n)(engine_); }
  void add_server(int i) {
    server_spec s;
    s.name = "v" + std::to_string(i);
    s.model = upto(1) ? "llama" : "granite";
    s.class_name = upto(1) ? "class1" : "class5";
    s.pool = upto(3) ? "p" : "";
    s.keep_accelerator = upto(1);
    s.min_replicas = upto(2);
    s.max_replicas = upto(2) ? 0 : s.min_replicas + 1 + upto(3);
    const auto& acc = system_.accelerators[static_cast<std::size_t>(upto(2))];
    s.current.accelerator = acc.name;
    s.current.num_replicas = 1 + upto(3);
    s.current.cost.cents = acc.cost.cents * s.current.num_replicas;
    s.current.load = {req_rate::per_min(upto(4) ? upto(900) : 0), 100, 50.0 + upto(200)};
    system_.servers.push_back(std::move(s));
  }

  std::mt19937 engine_;
  system_data system_;
};

TEST(Explain, ShowsTheReplicasOfThePlan) {
  int mixed = 0;
  for (unsigned seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    const random_system world(seed);
    const auto solution = solve_system(*world);
    for (const auto& server : (*world).servers) {
      SCOPED_TRACE(server.name);
      const auto e = explain_server(*world, solution, server.name);
      ASSERT_TRUE(e && *e);
      const auto shown = boost::json::parse(explanation_json(**e)).as_object();
      const auto plan = planned(solution, server.name);
      parts desired;
      if (shown.at("desired").is_object()) {
        add(desired, shown.at("desired"));
        if (const auto* also = shown.at("desired").as_object().if_contains("also"))
          for (const auto& a : also->as_array()) add(desired, a);
      }
      EXPECT_EQ(desired, plan);
      if (server.pool.empty()) {
        // Of a plan cut short the candidates say what the load and minReplicas need.
        if (solution.degraded.count(server.name) || plan.empty() || plan.begin()->second < server.min_replicas) continue;
        parts chosen;
        for (const auto& c : shown.at("candidates").as_array())
          if (c.at("chosen").as_bool()) add(chosen, c);
        EXPECT_EQ(chosen, plan);
        continue;
      }
      parts chosen;
      for (const auto& c : shown.at("candidates").as_array())
        if (c.at("chosen").as_bool()) add(chosen, c);
      EXPECT_EQ(chosen, plan) << "what is marked as chosen";
      // Who serves the pool's demand with how many.
      const auto* pool = shown.if_contains("pool");
      ASSERT_TRUE(pool);
      std::map<std::string, parts> mix, wanted;
      double able = 0;
      for (const auto& m : pool->at("members").as_array()) {
        add(mix[m.at("variant").as_string().c_str()], m);
        able += m.at("numReplicas").to_number<double>() * m.at("maxRatePerReplica").to_number<double>();
      }
      double arrives = 0;
      for (const auto& other : (*world).servers) {
        if (other.pool != server.pool || other.model != server.model || other.class_name != server.class_name) continue;
        wanted[other.name] = planned(solution, other.name);
        arrives += other.current.load.arrival_rate.per_min();
      }
      EXPECT_EQ(mix, wanted);
      EXPECT_NEAR(pool->at("demand").to_number<double>(), arrives, 1e-6 * (1 + arrives));
      if (!solution.degraded.count(server.name) && !solution.unallocated.count(server.name)) {
        EXPECT_GE(able, arrives * (1 - 1e-6)) << "what the mix takes";
      }
      EXPECT_FALSE(pool->at("why").as_string().empty());
      mixed += mix.size() > 1;
    }
  }
  EXPECT_GT(mixed, 100);
}

}  // namespace
}  // namespace inferno::model

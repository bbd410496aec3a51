// Candidates and solvers against the golden systems.
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <set>

#include "model/solve_system.hpp"
#include "model/system_json.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;

double number(const json::value& v) { return v.to_number<double>(); }

struct golden {
  std::string name;
  json::value all;
  system_data system;
};

std::vector<golden> golden_systems() {
  std::vector<golden> out;
  std::set<std::filesystem::path> paths;
  for (const auto& f : std::filesystem::directory_iterator(TEST_DATA_DIR "/model/solve")) paths.insert(f.path());
  for (const auto& p : paths) {
    std::ifstream in(p);
    golden g;
    g.name = p.filename();
    const std::string text(std::istreambuf_iterator<char>(in), {});
    g.all = json::parse(text);
    auto parsed = parse_system(text);
    EXPECT_TRUE(parsed) << g.name << ": " << (parsed ? "" : parsed.error());
    if (parsed) g.system = *parsed;
    out.push_back(std::move(g));
  }
  EXPECT_EQ(out.size(), 37u);
  return out;
}

const accelerator& accelerator_of(const system_data& s, const std::string& name) {
  for (const auto& a : s.accelerators)
    if (a.name == name) return a;
  throw std::runtime_error("no accelerator " + name);
}

int units(const system_data& s, const std::string& model, const std::string& acc) {
  for (const auto& p : s.profiles)
    if (p.model == model && p.acc == acc) return p.acc_count * accelerator_of(s, acc).multiplicity;
  return 1;
}

void expect_near(double got, double want, const std::string& what) {
  EXPECT_LE(std::abs(got - want), 1e-3 * std::max(std::abs(want), 1.0)) << what << ": got " << got << ", want " << want;
}

/// The reference lets a throughput target replace the load, so systems that use one cannot agree end to end.
bool has_tps(const system_data& s) {
  for (const auto& server : s.servers)
    for (const auto& c : s.classes)
      for (const auto& t : c.targets)
        if (c.name == server.class_name && t.model == server.model && t.slo.tps > 0) return true;
  return false;
}

TEST(Solver, GivesTheGoldenAnswersOnTheGoldenCandidates) {
  std::set<std::string> kinds;
  for (const auto& g : golden_systems()) {
    SCOPED_TRACE(g.name);
    solver_input input;
    input.optimizer = g.system.optimizer;
    input.optimizer.solver = solver_kind::greedy;
    input.capacity = g.system.capacity;
    std::vector<std::string> names;
    for (const auto& server : g.system.servers) {
      solver_variant v;
      v.name = server.name;
      for (const auto& c : g.system.classes)
        if (c.name == server.class_name) v.priority = c.priority;
      const auto* table = g.all.at("candidates").as_object().if_contains(server.name);
      if (table)
        for (const auto& [acc, c] : table->as_object()) {
          solver_candidate candidate;
          candidate.alloc.accelerator = std::string(c.at("accelerator").as_string());
          candidate.alloc.num_replicas = static_cast<int>(c.at("numReplicas").as_int64());
          candidate.alloc.cost.cents = number(c.at("cost"));
          candidate.alloc.value = number(c.at("value"));
          if (!candidate.alloc.accelerator.empty()) {
            const auto& type = accelerator_of(g.system, candidate.alloc.accelerator).type;
            for (std::size_t i = 0; i < input.capacity.size(); ++i)
              if (input.capacity[i].type == type) candidate.type = static_cast<int>(i);
            if (candidate.type < 0 && !input.optimizer.unlimited) continue;
            candidate.units_per_replica = units(g.system, server.model, candidate.alloc.accelerator);
          }
          v.candidates.push_back(std::move(candidate));
        }
      std::sort(v.candidates.begin(), v.candidates.end(), [](const auto& a, const auto& b) {
        return std::tie(a.alloc.value, a.alloc.cost.cents, a.alloc.accelerator) <
               std::tie(b.alloc.value, b.alloc.cost.cents, b.alloc.accelerator);
      });
      input.variants.push_back(std::move(v));
      names.push_back(server.name);
    }
    const auto result = solve(input);
    std::vector<int> used(input.capacity.size());
    for (std::size_t i = 0; i < names.size(); ++i) {
      SCOPED_TRACE(names[i]);
      const auto& choice = result.choices[i];
      const auto* want = g.all.at("allocations").as_object().if_contains(names[i]);
      const int want_replicas = want ? static_cast<int>(want->at("numReplicas").as_int64()) : 0;
      EXPECT_EQ(choice.num_replicas, want_replicas);
      if (choice.candidate < 0 || !want) continue;
      const auto& c = input.variants[i].candidates[static_cast<std::size_t>(choice.candidate)];
      EXPECT_EQ(c.alloc.accelerator, std::string_view(want->at("accelerator").as_string()));
      if (c.type >= 0) used[static_cast<std::size_t>(c.type)] += choice.num_replicas * c.units_per_replica;
    }
    EXPECT_EQ(used, result.used);
    for (std::size_t i = 0; i < used.size() && !input.optimizer.unlimited; ++i) EXPECT_LE(used[i], input.capacity[i].count);
    kinds.insert(g.name.substr(g.name.find("-a") + 4));
  }
  EXPECT_GE(kinds.size(), 7u) << "unlimited, four policies, delayed or not";
}

TEST(Candidates, AgreeWithTheGoldenTables) {
  int compared = 0;
  for (const auto& g : golden_systems()) {
    if (has_tps(g.system)) continue;
    SCOPED_TRACE(g.name);
    for (const auto& server : g.system.servers) {
      SCOPED_TRACE(server.name);
      variant_view view;
      view.server = &server;
      for (const auto& c : g.system.classes)
        for (const auto& t : c.targets)
          if (c.name == server.class_name && t.model == server.model) view.slo = t.slo;
      for (const auto& p : g.system.profiles)
        if (p.model == server.model) view.options.emplace_back(&accelerator_of(g.system, p.acc), &p);
      const auto set = make_candidates(view);
      const auto* table = g.all.at("candidates").as_object().if_contains(server.name);
      // The reference lists "none" once for each accelerator.
      if (server.min_replicas == 0 && server.current.load.arrival_rate.per_sec() <= 0) {
        ASSERT_EQ(set.candidates.size(), 1u);
        EXPECT_EQ(set.candidates[0].num_replicas, 0);
        EXPECT_EQ(table->as_object().begin()->value().at("numReplicas").as_int64(), 0);
        expect_near(set.candidates[0].value, number(table->as_object().begin()->value().at("value")), "value");
        continue;
      }
      std::size_t found = 0;
      for (const auto& c : set.candidates) {
        SCOPED_TRACE(c.accelerator);
        if (!table || !table->as_object().contains(c.accelerator)) {
          // On a flat curve, a batch of one, the reference's search goes astray either way.
          EXPECT_EQ(c.max_batch, 1);
          continue;
        }
        found += c.max_batch > 1 ? 1 : 0;
        const auto& want = table->as_object().at(c.accelerator);
        EXPECT_EQ(c.num_replicas, want.at("numReplicas").as_int64());
        EXPECT_EQ(c.max_batch, want.at("maxBatch").as_int64());
        expect_near(c.cost.cents, number(want.at("cost")), "cost");
        expect_near(c.value, number(want.at("value")), "value");
        expect_near(c.itl_ms, number(want.at("itl")), "itl");
        expect_near(c.ttft_ms, number(want.at("ttft")), "ttft");
        expect_near(c.rho, number(want.at("rho")), "rho");
        // At zero load the reference gives the rate of requests of one token; ours is that of the lengths last seen.
        if (server.current.load.arrival_rate.per_sec() > 0)
          expect_near(c.max_rate_per_replica.per_ms() * 1e3, number(want.at("maxArrvRatePerReplica")) * 1e3, "rate");
        ++compared;
      }
      std::size_t wanted = 0;
      if (table)
        for (const auto& [acc, c] : table->as_object()) wanted += c.at("maxBatch").as_int64() > 1 ? 1 : 0;
      EXPECT_EQ(found, wanted) << set.reason();
    }
  }
  EXPECT_GT(compared, 100);
}

/// Systems in which the reference misses a feasible candidate with a batch of one, where its search goes astray on the flat
/// curve; what it then leaves free goes to others. Found by comparing the candidates; named here so that no other may slip
/// through.
const std::set<std::string> reference_misses_a_candidate{"069-s30-a3-PriorityRoundRobin.json",
                                                         "081-s60-a3-RoundRobin-delayed.json"};

TEST(Solver, GivesTheGoldenAnswersEndToEnd) {
  int systems = 0, unlimited = 0;
  for (const auto& g : golden_systems()) {
    if (has_tps(g.system) || reference_misses_a_candidate.contains(g.name)) continue;
    SCOPED_TRACE(g.name);
    ++systems;
    unlimited += g.system.optimizer.unlimited ? 1 : 0;
    auto system = g.system;
    system.optimizer.solver = solver_kind::greedy;
    const auto solution = solve_system(system);
    for (const auto& server : g.system.servers) {
      SCOPED_TRACE(server.name);
      const auto* want = g.all.at("allocations").as_object().if_contains(server.name);
      const auto got = solution.allocations.find(server.name);
      const int replicas = got == solution.allocations.end() ? 0 : got->second.num_replicas;
      EXPECT_EQ(replicas, want ? want->at("numReplicas").as_int64() : 0);
      if (!want || replicas == 0) continue;
      EXPECT_EQ(got->second.accelerator, std::string_view(want->at("accelerator").as_string()));
      expect_near(got->second.cost.cents, number(want->at("cost")), "cost");
      EXPECT_EQ(got->second.max_batch, want->at("maxBatch").as_int64());
      // Of a part of what is wanted the reference tells what all of it would give.
      if (solution.degraded.contains(server.name)) continue;
      expect_near(got->second.itl_ms, number(want->at("itl")), "itl");
      expect_near(got->second.ttft_ms, number(want->at("ttft")), "ttft");
    }
  }
  EXPECT_EQ(systems, 27);
  EXPECT_EQ(unlimited, 4);
}

}  // namespace
}  // namespace inferno::model

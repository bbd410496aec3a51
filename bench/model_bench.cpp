// Benchmarks of the performance model and the solvers. Every result is checked; a wrong one is an error, not a time.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cmath>

#include "bench/make_system.hpp"
#include "model/solve_system.hpp"
#include "model/system_json.hpp"

namespace inferno {
namespace {

using namespace model;

bool all_right = true;

/// The program's exit code tells it too.
void wrong(benchmark::State& state, const char* what) {
  all_right = false;
  state.SkipWithError(what);
}

/// A large batch: the model works on N states.
replica_config large_replica(int batch) {
  replica_config c;
  c.profile = linear_profile{7.47, 0.044, 18, 0.0036, true};
  c.shape = {512, 256};
  c.max_batch = batch;
  c.max_queue = 10L * batch;
  return c;
}

void analysis(benchmark::State& state) {
  const auto c = large_replica(static_cast<int>(state.range(0)));
  const auto rate = req_rate::per_sec(0.9 * size_replica(c, {})->max_rate.per_sec());
  replica_metrics m;
  for (auto _ : state) benchmark::DoNotOptimize(m = analyze(c, rate));
  // Little's law, and at nine tenths of its capacity a replica loses nearly nothing.
  const double in_service = m.throughput.per_ms() * (m.response_ms - m.wait_ms);
  if (std::abs(in_service - m.in_service) > 1e-9 * m.in_service) wrong(state, "Little's law does not hold");
  if (std::abs(m.throughput.per_sec() / rate.per_sec() - 1) > 1e-3) wrong(state, "throughput is not the arrival rate");
}
BENCHMARK(analysis)->Arg(16)->Arg(256)->Arg(4096);

void sizing(benchmark::State& state) {
  const auto c = large_replica(static_cast<int>(state.range(0)));
  const slo_targets targets{14, 400, 0, 0};
  tl::expected<replica_sizing, infeasible> sized;
  for (auto _ : state) benchmark::DoNotOptimize(sized = size_replica(c, targets));
  const auto meets = [&](const replica_metrics& m) {
    return m.itl_ms <= targets.itl_ms * (1 + 1e-9) && m.ttft_ms <= targets.ttft_ms * (1 + 1e-9);
  };
  if (!sized) return wrong(state, sized.error().reason().c_str());
  if (sized->binding.empty()) wrong(state, "no target binds: nothing was searched for");
  if (!meets(sized->at)) wrong(state, "the rate does not meet the targets");
  if (meets(analyze(c, req_rate::per_sec(sized->rate.per_sec() * (1 + 1e-6)))))
    wrong(state, "a higher rate meets the targets too");
}
BENCHMARK(sizing)->Arg(256);

/// Empty when the plan keeps to the rules of the system; else what is wrong.
std::string flaw(const system_data& system, const system_solution& plan) {
  double cost = 0;
  std::size_t loaded = 0;
  for (const auto& server : system.servers) {
    const auto it = plan.allocations.find(server.name);
    const bool has = it != plan.allocations.end();
    if (has + plan.infeasible.count(server.name) + plan.unallocated.count(server.name) != 1)
      return server.name + " must be allocated, infeasible or unallocated";
    if (!has) continue;
    const auto& a = it->second;
    cost += a.cost.cents;
    const auto rate = server.current.load.arrival_rate.per_sec();
    if (rate <= 0) continue;
    ++loaded;
    const bool enough = a.num_replicas * a.max_rate_per_replica.per_sec() >= rate * (1 - 1e-9);
    if (enough == (plan.degraded.count(server.name) > 0)) return server.name + ": replicas do not cover the demand";
    for (const auto& c : system.classes)
      for (const auto& t : c.targets)
        if (c.name == server.class_name && t.model == server.model &&
            (a.itl_ms > t.slo.itl_ms * (1 + 1e-9) || a.ttft_ms > t.slo.ttft_ms * (1 + 1e-9)))
          return server.name + ": predicted latency above its target";
  }
  if (loaded < system.servers.size() / (system.optimizer.unlimited ? 2 : 6)) return "most variants got nothing";
  if (std::abs(cost - plan.total_cost.cents) > 1e-6 * cost) return "total cost is not the sum of the costs";
  for (const auto& t : plan.by_type)
    if (t.limit >= 0 && !system.optimizer.unlimited && t.count > t.limit) return t.type + ": more cards than there are";
  return {};
}

void report(benchmark::State& state, const system_data& system, const system_solution& plan) {
  if (const auto what = flaw(system, plan); !what.empty()) wrong(state, what.c_str());
  state.counters["variants/s"] =
      benchmark::Counter(static_cast<double>(system.servers.size()), benchmark::Counter::kIsIterationInvariantRate);
  state.counters["allocated"] = static_cast<double>(plan.allocations.size());
  state.counters["cost"] = plan.total_cost.cents;
}

/// Candidates of every variant on every accelerator. Arguments: variants, accelerators, seed, threads.
void analyse_system(benchmark::State& state) {
  const auto system = bench::make_system(
      {static_cast<int>(state.range(0)), static_cast<int>(state.range(1)), static_cast<std::uint64_t>(state.range(2))});
  prepared_system prepared;
  for (auto _ : state) prepared = analyze_system(system, static_cast<unsigned>(state.range(3)));
  report(state, system, plan_system(system, prepared, solve(prepared.input)));
}
BENCHMARK(analyse_system)
    ->Args({1000, 8, 7, 1})
    ->Args({1000, 8, 7, 2})
    ->Args({10'000, 8, 7, 1})
    ->Args({10'000, 8, 7, 2})
    ->ArgNames({"variants", "accelerators", "seed", "threads"})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// From candidates to a plan; per cent: the recipe's tightness (0: unlimited; at 50 a third of the variants goes without, at 300
/// nearly none). Arguments: variants, accelerators, seed, per cent, solver, policy.
void plan(benchmark::State& state) {
  std::optional<double> tightness;
  if (state.range(3) > 0) tightness = static_cast<double>(state.range(3)) / 100;
  auto system =
      bench::make_system({static_cast<int>(state.range(0)), static_cast<int>(state.range(1)),
                          static_cast<std::uint64_t>(state.range(2)), tightness, static_cast<saturation_policy>(state.range(5))});
  system.optimizer.solver = static_cast<solver_kind>(state.range(4));
  const auto prepared = analyze_system(system);
  system_solution solution;
  for (auto _ : state) solution = plan_system(system, prepared, solve(prepared.input));
  report(state, system, solution);
  const auto& r = solution.solver;
  state.counters["unsatisfied"] = static_cast<double>(system.servers.size()) - r.satisfied;
  state.counters["satisfiable"] = r.satisfiable;
  if (r.gap) state.counters["gap_%"] = 100 * *r.gap;
  if (system.optimizer.unlimited || system.optimizer.solver == solver_kind::greedy) return;
  // The optimum lies between bound and plan: this bounds the true gap too.
  if (!r.gap || *r.gap > 0.003) wrong(state, "the gap is more than 0.3 %");
  if (r.satisfied < r.satisfiable) wrong(state, "fewer variants are satisfied than could be");
}
constexpr int greedily = static_cast<int>(solver_kind::greedy), automatic = static_cast<int>(solver_kind::automatic);
constexpr int no_policy = static_cast<int>(saturation_policy::none);
constexpr int round_robin = static_cast<int>(saturation_policy::priority_round_robin);
BENCHMARK(plan)
    ->Args({1000, 8, 7, 0, automatic, no_policy})
    ->Args({1000, 8, 7, 300, automatic, no_policy})
    ->Args({1000, 8, 7, 100, automatic, no_policy})
    ->Args({1000, 8, 7, 50, automatic, no_policy})
    ->Args({10'000, 8, 7, 0, automatic, no_policy})
    ->Args({10'000, 8, 7, 50, greedily, no_policy})
    ->Args({10'000, 8, 7, 100, automatic, no_policy})
    ->Args({10'000, 8, 7, 300, automatic, no_policy})
    ->Args({10'000, 8, 7, 50, automatic, no_policy})
    ->Args({10'000, 8, 7, 50, automatic, round_robin})
    ->ArgNames({"variants", "accelerators", "seed", "capacity_%", "solver", "policy"})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void codec(benchmark::State& state) {
  const auto written = bench::make_system({1000, 8, static_cast<std::uint64_t>(state.range(0))});
  const auto text = to_json(written);
  tl::expected<system_data, std::string> system;
  for (auto _ : state) benchmark::DoNotOptimize(system = parse_system(text));
  if (!system) return wrong(state, system.error().c_str());
  // Boost.JSON before 1.84 reads numbers to the last bit but one.
  bool same = system->servers.size() == written.servers.size() && system->profiles.size() == written.profiles.size();
  for (std::size_t i = 0; same && i < written.profiles.size(); ++i) {
    const auto& a = std::get<linear_profile>(written.profiles[i].params);
    const auto& b = std::get<linear_profile>(system->profiles[i].params);
    same = system->profiles[i].acc == written.profiles[i].acc && std::abs(a.alpha_ms - b.alpha_ms) <= 1e-15 * a.alpha_ms &&
           std::abs(a.delta_ms - b.delta_ms) <= 1e-15 * a.delta_ms;
  }
  if (!same) wrong(state, "what was written is not what is read");
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(codec)->Arg(1)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace inferno

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return inferno::all_right ? 0 : 1;
}

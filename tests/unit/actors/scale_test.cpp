// Ten thousand variants in one controller: time and messages of a cycle, memory, and that only what changed is worked on.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <set>

#include "actors/planning.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;

/// Heap in use. Nothing else is: one thread, so one arena.
double heap_mib() {
  const auto m = mallinfo2();
  return static_cast<double>(m.uordblks + m.hblkhd) / (1 << 20);
}

double ms_since(std::chrono::steady_clock::time_point from) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - from).count();
}

std::string name_of(int i) { return fmt::format("v{:05d}", i); }

TEST(Scale, TenThousandVariants) {
  constexpr int variants = 10'000;
  const double before_mib = heap_mib();
  world w([](supervisor_config& c) {
    // The log of the test keeps every line.
    c.logger = log(std::make_shared<spdlog::logger>("none"), log_format::json);
  });
  w.cluster_follows = false;
  std::vector<json::object> deployments, pods, objects;
  for (int i = 0; i < variants; ++i) {
    deployments.push_back(deployment_json("llm", name_of(i), 1));
    pods.push_back(pod_json("llm", name_of(i) + "-0", name_of(i)));
    objects.push_back(va_json("llm", name_of(i)));
  }
  std::map<std::string, double> rates;
  for (int i = 0; i < variants; ++i) rates[name_of(i)] = 10 + i % 12;
  load_each(w, rates);
  w.replaced("nodes", {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 50'000)});
  w.replaced("configmaps", default_configs());
  w.replaced("deployments", std::move(deployments));
  w.replaced("pods", std::move(pods));
  const auto began = std::chrono::steady_clock::now();
  w.replaced("variantautoscalings", std::move(objects));
  const double arrive_ms = ms_since(began);
  w.advance(130s);
  auto plan = w.view->plan();
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->decisions.size(), static_cast<std::size_t>(variants));
  for (const auto& d : plan->decisions) ASSERT_EQ(d->reason, "Optimized") << d->curve->key.name << ": " << d->message;
  // What the fake API server and the fake source remember is not the controller's.
  w.api->calls = {};
  w.api->objects = {};
  w.source->last_targets = {};
  const double mib = heap_mib() - before_mib;
  w.messages = 0;
  w.advance(60s);
  const auto quiet = w.messages;
  EXPECT_TRUE(w.api->calls_to("patch", "deployments", "scale").empty());

  // A hundred variants get twice the load they had: they, and nobody else, get new replicas.
  for (int i = 0; i < variants; i += 100) rates[name_of(i)] = 60;
  load_each(w, rates);
  w.api->calls.clear();
  w.api->objects.clear();
  const auto cycle_before = plan->cycle;
  w.messages = 0;
  w.advance(60s);
  const auto busy = w.messages;
  plan = w.view->plan();
  EXPECT_GT(plan->cycle, cycle_before);
  // The estimate rises in steps, so that one may be scaled twice.
  std::set<std::string> scaled;
  for (const auto& c : w.api->calls_to("patch", "deployments", "scale")) scaled.insert(c.key.name);
  EXPECT_EQ(scaled.size(), 100u);
  for (int i = 0; i < variants; ++i)
    ASSERT_EQ(plan->decisions.find({"llm", name_of(i)})->desired.num_replicas, i % 100 == 0 ? 3 : 1) << i;
  fmt::print(
      "10,000 variants: {:.0f} ms to take them in, {:.0f} MiB; messages in a minute without change {}, with 1 % changed {}\n",
      arrive_ms, mib, quiet, busy);
  EXPECT_LT(mib, 197) << "twenty kilobytes a variant";
}

std::shared_ptr<capacity_curve> curve(int i, double per_min, int accelerators = 8) {
  auto c = std::make_shared<capacity_curve>();
  c->key = {"llm", name_of(i)};
  c->class_name = "Premium";
  c->model = "default";
  c->priority = 1 + i % 3;
  c->current.accelerator = "acc0";
  c->current.num_replicas = static_cast<int>(std::ceil(per_min / 30));
  c->current.load.arrival_rate = model::req_rate::per_min(per_min);
  for (int k = 0; k < accelerators; ++k) {
    model::solver_candidate candidate;
    auto& a = candidate.alloc;
    a.accelerator = fmt::format("acc{}", k);
    a.max_rate_per_replica = model::req_rate::per_min(30 + 10 * k);
    a.num_replicas = static_cast<int>(std::ceil(per_min / (30 + 10 * k)));
    a.cost.cents = a.num_replicas * (20.0 + 9 * k);
    a.value = a.cost.cents + (k > 0 ? 0.1 * a.cost.cents : 0);
    c->candidates.push_back(candidate);
    c->device_of.push_back(fmt::format("device{}", k));
  }
  const auto less = [](const auto& x, const auto& y) { return x.alloc.value < y.alloc.value; };
  std::sort(c->candidates.begin(), c->candidates.end(), less);
  for (std::size_t k = 0; k < c->candidates.size(); ++k)
    c->device_of[k] = "device" + c->candidates[k].alloc.accelerator.substr(3);
  return c;
}

TEST(Scale, ACycleWorksOnWhatChanged) {
  constexpr int variants = 10'000;
  planner p;
  const double before_mib = heap_mib();
  for (int i = 0; i < variants; ++i) p.set_curve(curve(i, 20 + i % 200));
  auto capacity = std::make_shared<capacity_view>();
  capacity->known = true;
  for (int k = 0; k < 8; ++k) capacity->by_device[fmt::format("device{}", k)] = 100'000;
  p.set_capacity(capacity);
  const auto first = p.plan(1, "start", 0);
  EXPECT_EQ(first->changed.size(), static_cast<std::size_t>(variants));
  EXPECT_EQ(p.plan(2, "interval", 0)->changed.size(), 0u);
  const double mib = heap_mib() - before_mib;
  double best = INFINITY, total = 0;
  constexpr int rounds = 10;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::shared_ptr<capacity_curve>> news;
    for (int i = round; i < variants; i += 100) news.push_back(curve(i, 300 + round));
    const auto began = std::chrono::steady_clock::now();
    for (auto& c : news) p.set_curve(std::move(c));
    const auto plan = p.plan(static_cast<std::uint64_t>(3 + round), "interval", 0);
    const double took = ms_since(began);
    best = std::min(best, took);
    total += took;
    ASSERT_EQ(plan->changed.size(), 100u);
    ASSERT_EQ(plan->decisions.size(), static_cast<std::size_t>(variants));
    EXPECT_EQ(plan->solver.gap, 0.0);
  }
  fmt::print("a cycle in which 1 % of 10,000 x 8 changed: {:.1f} ms (best {:.1f}); planner's memory with the curves {:.0f} MiB\n",
             total / rounds, best, mib);
}

}  // namespace
}  // namespace inferno::actors::testing

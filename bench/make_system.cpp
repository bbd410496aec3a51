#include "bench/make_system.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <random>
#include <set>

namespace inferno::bench {
namespace {

using namespace model;

struct catalog_entry {
  const char* name;
  double speed;
  double cost;
};
constexpr std::array<catalog_entry, 10> catalog{{{"L4", 1.0, 12},
                                                 {"A10", 1.4, 18},
                                                 {"L40S", 2.2, 30},
                                                 {"A100", 4.0, 40},
                                                 {"G2", 2.6, 23},
                                                 {"MI300X", 8.0, 65},
                                                 {"H100", 7.5, 80},
                                                 {"H200", 9.0, 95},
                                                 {"B200", 15.0, 160},
                                                 {"MI210", 2.0, 25}}};

/// The standard's distributions differ between libraries; these do not.
class dice {
 public:
  explicit dice(std::uint64_t seed) : engine_(seed) {}
  double unit() { return static_cast<double>(engine_() >> 11) * 0x1.0p-53; }
  double uniform(double from, double to) { return from + (to - from) * unit(); }
  int integer(int from, int to) { return from + static_cast<int>(unit() * (to - from + 1)); }
  template <class List>
  const auto& choice(const List& list) {
    return list[static_cast<std::size_t>(integer(0, static_cast<int>(std::size(list)) - 1))];
  }

 private:
  std::mt19937_64 engine_;
};

struct sized_model {
  std::string name;
  double size;
};

}  // namespace

system_data make_system(const system_recipe& recipe) {
  dice r(recipe.seed);
  system_data s;
  std::map<std::string, double> speed;
  for (int i = 0; i < recipe.accelerators; ++i) {
    const auto& entry = catalog[static_cast<std::size_t>(i) % catalog.size()];
    const int multiplicity = i < static_cast<int>(catalog.size()) ? 1 : 2;
    accelerator a;
    a.name = multiplicity == 1 ? entry.name : fmt::format("{}x{}", multiplicity, entry.name);
    a.type = entry.name;
    a.multiplicity = multiplicity;
    a.cost = {entry.cost * multiplicity};
    speed[a.name] = entry.speed * multiplicity;
    s.accelerators.push_back(std::move(a));
  }
  std::vector<sized_model> models;
  std::map<std::string, std::vector<std::string>> runs_on;
  const int model_count = std::clamp(recipe.servers / 5 + 1, 1, 200);
  for (int m = 0; m < model_count; ++m) {
    const double size = r.choice(std::array{0.5, 1.0, 1.0, 2.0, 4.0, 8.0});
    models.push_back({fmt::format("org/model-{:03d}", m), size});
    for (const auto& a : s.accelerators) {
      const double fast = speed[a.name];
      if (size >= 8 && fast < 2) continue;  // does not fit
      const double k = size / std::pow(fast, 0.8);
      model_profile p;
      p.model = models.back().name;
      p.acc = a.name;
      p.acc_count = size >= 4 && fast < 6 ? 2 : 1;
      p.max_batch = r.choice(std::array{4, 8, 16, 32, 64, 128, 256});
      p.at_tokens = r.choice(std::array{128, 256, 512, 1024});
      // Braces evaluate in order, as the recipe draws.
      p.params = linear_profile{r.uniform(12, 24) * k + 2, r.uniform(0.15, 0.6) * k, r.uniform(4, 20) * k,
                                r.uniform(0.002, 0.02) * k, true};
      s.profiles.push_back(p);
      runs_on[p.model].push_back(p.acc);
    }
  }
  struct class_entry {
    const char* name;
    int priority;
    double factor;
  };
  const std::array<class_entry, 3> classes{{{"Premium", 1, 1}, {"Standard", 5, 2}, {"Freemium", 10, 4}}};
  for (const auto& entry : classes) {
    service_class c{entry.name, entry.priority, {}};
    for (const auto& m : models) {
      slo_targets slo;
      slo.itl_ms = r.uniform(30, 80) * entry.factor * std::max(1.0, m.size / 2);
      slo.ttft_ms = r.uniform(400, 1500) * entry.factor;
      c.targets.push_back({m.name, slo});
    }
    s.classes.push_back(std::move(c));
  }
  for (int i = 0; i < recipe.servers; ++i) {
    server_spec v;
    v.name = fmt::format("ns-{}/variant-{:05d}", i % 50, i);
    v.model = r.choice(models).name;
    v.class_name = r.choice(classes).name;
    v.keep_accelerator = r.unit() < 0.2;
    v.min_replicas = r.choice(std::array{0, 1, 1, 1, 2});
    auto& c = v.current;
    c.accelerator = r.choice(runs_on[v.model]);
    c.num_replicas = r.integer(0, 6);
    c.max_batch = 16;
    for (const auto& a : s.accelerators)
      if (a.name == c.accelerator) c.cost = {a.cost.cents * c.num_replicas};
    c.load.arrival_rate = req_rate::per_min(r.unit() < 0.05 ? 0.0 : std::pow(10, r.uniform(0.3, 3.3)));
    c.load.avg_in_tokens = r.integer(20, 2000);
    c.load.avg_out_tokens = r.integer(16, 600);
    s.servers.push_back(std::move(v));
  }
  s.optimizer = {!recipe.tightness, false, recipe.saturation};
  std::set<std::string> types;
  for (const auto& a : s.accelerators) types.insert(a.type);
  if (recipe.tightness)
    for (const auto& t : types)
      s.capacity.push_back(
          {t, std::max(1, static_cast<int>(*recipe.tightness * recipe.servers * 3.0 * (0.5 + r.unit()) / recipe.accelerators))});
  return s;
}

}  // namespace inferno::bench

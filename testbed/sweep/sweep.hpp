#pragma once
// The queueing model against the discrete-event core over profiles, loads and length distributions (docs/model-sweep.md).
#include <functional>
#include <string>
#include <vector>

#include "testbed/sweep/simulation.hpp"

namespace inferno::testbed {

struct sweep_case {
  std::string name;
  model::replica_config replica;
};

/// Linear and iteration profiles, batches of 8 to 128.
std::vector<sweep_case> sweep_cases();

struct sweep_options {
  std::vector<sweep_case> cases = sweep_cases();
  std::vector<double> loads{0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95};  ///< of the model's capacity mu(N), in (0, 1)
  std::vector<length_distribution> lengths{length_distribution::exponential, length_distribution::constant};
  int runs = 6;            ///< with seeds of their own; >= 2
  int requests = 150'000;  ///< of a run at a load of 0.9 and more; fewer below, where runs agree sooner
  std::uint64_t seed = 1;
};

/// A ratio of two means over the runs and its standard error.
struct ratio {
  double value = 0;
  double error = 0;
};

/// One load of one case; means over the runs.
struct sweep_row {
  double load = 0;
  length_distribution lengths = length_distribution::exponential;
  sample measured;
  model::replica_metrics predicted;
  double predicted_p95_ms = 0;
  ratio itl, ttft, ttft_p95;  ///< model over measured
  ratio wait_factor;          ///< the measured wait for a place over that of the model for exponential service times
  double model_factor = 1;    ///< the model's own
};

struct sweep_result {
  sweep_case of;
  double capacity_per_s = 0;  ///< mu(N) of the model, for lengths of the first distribution
  std::vector<sweep_row> rows;
};

sweep_row compare(const sweep_case& c, double load, length_distribution lengths, const sweep_options& options);

/// `progress` is told the name of each case before it runs. Deterministic by options.seed.
std::vector<sweep_result> run_sweep(const sweep_options& options, const std::function<void(const std::string&)>& progress);

/// The tables of docs/model-sweep.md, in Markdown.
std::string sweep_tables(const std::vector<sweep_result>& results);
/// The table of docs/model.md: percent that the model is off, at some of the loads.
std::string sweep_summary(const std::vector<sweep_result>& results);

}  // namespace inferno::testbed

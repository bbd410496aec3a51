#include "testbed/sweep/sweep.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace inferno::testbed {
namespace {

/// For the same relative error far fewer requests are needed where the queue is short.
int requests_at(double load, int most) {
  if (load < 0.6) return most / 3;
  return load < 0.85 ? most / 2 : most;
}

/// Capacity mu(N) of the model for these lengths.
model::req_rate capacity(const model::replica_config& replica) {
  const double service_ms = model::times_at(replica.profile, replica.shape, replica.max_batch).service_ms;
  return model::req_rate::per_ms(replica.max_batch / service_ms);
}

double variation(length_distribution lengths, double mean) {
  switch (lengths) {
    case length_distribution::exponential:
      return std::sqrt(std::max(0.0, 1 - 1 / mean));
    case length_distribution::uniform:
      return std::sqrt(std::max(0.0, 4 * (mean - 1) * mean / 12)) / mean;
    case length_distribution::constant:
      break;
  }
  return 0;
}

double mean(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

/// mean(a)/mean(b), and the standard error of this ratio estimator over the runs.
ratio ratio_of(const std::vector<double>& a, const std::vector<double>& b) {
  const double below = mean(b);
  if (!(below > 0)) return {};
  ratio r{mean(a) / below, 0};
  double squares = 0;
  for (std::size_t i = 0; i < a.size(); ++i) squares += std::pow(a[i] - r.value * b[i], 2);
  const auto n = static_cast<double>(a.size());
  r.error = std::sqrt(squares / (n * (n - 1))) / below;
  return r;
}

/// One value of every run.
template <class T, class F>
std::vector<double> each(const std::vector<T>& runs, F value) {
  std::vector<double> out;
  for (const auto& r : runs) out.push_back(value(r));
  return out;
}

struct run {
  sample measured;
  model::replica_metrics predicted;
  double exponential_wait_ms = 0;  ///< predicted for exponential service times
  double predicted_p95_ms = 0;
};

run run_once(const simulation& s) {
  run r;
  r.measured = simulate(s);
  auto asked = as_drawn(s.replica, r.measured);
  r.predicted = model::analyze(asked, r.measured.rate);
  r.predicted_p95_ms = model::ttft_quantile_ms(asked, r.measured.rate, 0.95);
  r.exponential_wait_ms = r.predicted.wait_ms / model::wait_variability_factor(asked);
  return r;
}

sweep_row summarize(const std::vector<run>& runs) {
  sweep_row row;
  const auto measured = [&](double sample::*x) { return each(runs, [x](const run& r) { return r.measured.*x; }); };
  const auto predicted = [&](double model::replica_metrics::*x) {
    return each(runs, [x](const run& r) { return r.predicted.*x; });
  };
  for (double sample::*x : {&sample::itl_ms, &sample::wait_ms, &sample::boundary_ms, &sample::waited, &sample::ttft_ms,
                            &sample::ttft_p95_ms, &sample::out_tokens, &sample::out_cv, &sample::blocked})
    row.measured.*x = mean(measured(x));
  row.measured.rate = model::req_rate::per_ms(mean(each(runs, [](const run& r) { return r.measured.rate.per_ms(); })));
  for (double model::replica_metrics::*x : {&model::replica_metrics::itl_ms, &model::replica_metrics::wait_ms,
                                            &model::replica_metrics::ttft_ms, &model::replica_metrics::rho})
    row.predicted.*x = mean(predicted(x));
  const auto p95 = each(runs, [](const run& r) { return r.predicted_p95_ms; });
  row.predicted_p95_ms = mean(p95);
  row.itl = ratio_of(predicted(&model::replica_metrics::itl_ms), measured(&sample::itl_ms));
  row.ttft = ratio_of(predicted(&model::replica_metrics::ttft_ms), measured(&sample::ttft_ms));
  row.ttft_p95 = ratio_of(p95, measured(&sample::ttft_p95_ms));
  const auto wait = each(runs, [](const run& r) { return r.measured.wait_ms - r.measured.boundary_ms; });
  const auto exponential = each(runs, [](const run& r) { return r.exponential_wait_ms; });
  row.wait_factor = ratio_of(wait, exponential);
  row.model_factor = ratio_of(predicted(&model::replica_metrics::wait_ms), exponential).value;
  return row;
}

}  // namespace

std::vector<sweep_case> sweep_cases() {
  using linear = model::linear_profile;
  using iteration = model::iteration_profile;
  const auto replica = [](model::performance_profile p, double in, double out, int batch) {
    return model::replica_config{p, {in, out}, batch, 10L * batch};
  };
  return {{"linear, decode only", replica(linear{20.58, 0.41, 0, 0, false}, 0, 178, 8)},
          {"linear, short prompts", replica(linear{7, 0.05, 5, 0.001, true}, 512, 256, 32)},
          {"linear, long prompts", replica(linear{12, 0.08, 20, 0.0005, true}, 1024, 256, 128)},
          {"iteration, prompts in chunks", replica(iteration{4, 0.017, 0.000167, 2048}, 4096, 256, 16)},
          {"iteration, long answers", replica(iteration{8, 0.033, 0.000333, 8192}, 256, 1024, 64)},
          {"iteration, short answers", replica(iteration{4, 0.017, 0.000167, 8192}, 64, 128, 128)}};
}

sweep_row compare(const sweep_case& c, double load, length_distribution lengths, const sweep_options& options) {
  simulation s{c.replica, lengths, {}, requests_at(load, options.requests), options.seed};
  auto shape = c.replica;
  shape.shape.out_cv = variation(lengths, shape.shape.out_tokens);
  s.rate = model::req_rate::per_ms(load * capacity(shape).per_ms());
  std::vector<run> runs;
  for (int i = 0; i < options.runs; ++i) {
    runs.push_back(run_once(s));
    ++s.seed;
  }
  auto row = summarize(runs);
  row.load = load;
  row.lengths = lengths;
  return row;
}

std::vector<sweep_result> run_sweep(const sweep_options& options, const std::function<void(const std::string&)>& progress) {
  std::vector<sweep_result> out;
  for (const auto& c : options.cases) {
    progress(c.name);
    sweep_result r{c, capacity(c.replica).per_sec(), {}};
    for (const auto lengths : options.lengths)
      for (const double load : options.loads) r.rows.push_back(compare(c, load, lengths, options));
    out.push_back(std::move(r));
  }
  return out;
}

}  // namespace inferno::testbed

// The tables of docs/model-sweep.md.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "testbed/sweep/sweep.hpp"

namespace inferno::testbed {
namespace {

/// A wait that no user can tell from none has no factor worth the name.
constexpr double least_wait_of_itl = 0.02;

const char* name_of(length_distribution lengths) {
  switch (lengths) {
    case length_distribution::exponential:
      return "exponential";
    case length_distribution::uniform:
      return "uniform";
    case length_distribution::constant:
      break;
  }
  return "constant";
}

std::string describe(const sweep_result& r) {
  const auto& c = r.of.replica;
  std::string times;
  if (const auto* p = std::get_if<model::linear_profile>(&c.profile)) {
    times = fmt::format("decode step {} + {} n ms", p->alpha_ms, p->beta_ms);
    if (p->has_prefill) times += fmt::format(", prefill {} + {} in n ms", p->gamma_ms, p->delta_ms);
  } else {
    const auto& i = std::get<model::iteration_profile>(c.profile);
    times = fmt::format("alpha {} ms, beta {} ms, gamma {} ms, {} tokens an iteration", i.alpha_ms, i.beta_ms, i.gamma_ms,
                        i.max_batched_tokens);
  }
  return fmt::format("{}; prompt {}, answer {} tokens; batch {}, queue {}; capacity {:.3f} requests/s", times, c.shape.in_tokens,
                     c.shape.out_tokens, c.max_batch, c.max_queue, r.capacity_per_s);
}

/// Where nobody finds a place at once, the queue stands at its limit: waits say how long that is and nothing about the model.
constexpr double most_waited = 0.95;
bool saturated(const sweep_row& row) { return row.measured.waited > most_waited; }

/// Less than this share of the ITL, a TTFT is as good as none, and a percentage of it says nothing.
constexpr double least_ttft_of_itl = 0.1;

/// How far the model is from the measurement, in percent.
std::string deviation(double measured_ms, const ratio& r) {
  return fmt::format("{:.2f} | {:+.1f} ± {:.1f}", measured_ms, 100 * (r.value - 1), 100 * r.error);
}

std::string ttft_deviation(const sweep_row& row, double measured_ms, const ratio& r) {
  if (saturated(row)) return fmt::format("{:.0f} | saturated", measured_ms);
  if (measured_ms < least_ttft_of_itl * row.measured.itl_ms) return fmt::format("{:.2f} | -", measured_ms);
  return deviation(measured_ms, r);
}

/// Two digits behind the point where they mean something.
std::string factor(const ratio& r) {
  return r.value < 10 ? fmt::format("{:.2f} ± {:.2f}", r.value, r.error) : fmt::format("{:.0f} ± {:.0f}", r.value, r.error);
}

std::string latencies(const sweep_result& r) {
  std::string out = fmt::format("**{}**: {}\n\n", r.of.name, describe(r));
  out += "| lengths | load | ITL ms | model % | mean TTFT ms | model % | p95 TTFT ms | model % |\n";
  out += "|---|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const auto& row : r.rows)
    out += fmt::format("| {} | {:.2f} | {} | {} | {} |\n", name_of(row.lengths), row.load,
                       deviation(row.measured.itl_ms, row.itl), ttft_deviation(row, row.measured.ttft_ms, row.ttft),
                       ttft_deviation(row, row.measured.ttft_p95_ms, row.ttft_p95));
  return out + "\n";
}

std::string waits(const std::vector<sweep_result>& results) {
  std::string out = "| profile | N | lengths | load | wait ms | measured factor | model's factor |\n";
  out += "|---|---:|---|---:|---:|---:|---:|\n";
  for (const auto& r : results)
    for (const auto& row : r.rows) {
      const double wait = row.measured.wait_ms - row.measured.boundary_ms;
      if (wait < least_wait_of_itl * row.measured.itl_ms || saturated(row)) continue;
      out += fmt::format("| {} | {} | {} | {:.2f} | {:.2f} | {} | {:.2f} |\n", r.of.name, r.of.replica.max_batch,
                         name_of(row.lengths), row.load, wait, factor(row.wait_factor), row.model_factor);
    }
  return out;
}

/// Percent without its standard error, for a glance.
std::string short_deviation(const std::string& full) {
  const auto bar = full.find("| ");
  const auto text = bar == std::string::npos ? full : full.substr(bar + 2);
  return text.substr(0, text.find(" ±"));
}

}  // namespace

std::string sweep_summary(const std::vector<sweep_result>& results) {
  constexpr double loads[] = {0.3, 0.7, 0.9, 0.95};
  std::string out =
      "| profile | lengths | ITL, worst | mean TTFT at a load of 0.3 / 0.7 / 0.9 / 0.95 | p95 TTFT |\n|---|---|---:|---:|---:|\n";
  for (const auto& r : results)
    for (const auto lengths : {length_distribution::exponential, length_distribution::constant}) {
      double worst = 0;
      std::string mean, p95;
      for (const auto& row : r.rows) {
        if (row.lengths != lengths) continue;
        if (std::abs(row.itl.value - 1) > std::abs(worst)) worst = row.itl.value - 1;
        if (std::none_of(std::begin(loads), std::end(loads), [&](double l) { return std::abs(l - row.load) < 1e-9; })) continue;
        mean += (mean.empty() ? "" : " / ") + short_deviation(ttft_deviation(row, row.measured.ttft_ms, row.ttft));
        p95 += (p95.empty() ? "" : " / ") + short_deviation(ttft_deviation(row, row.measured.ttft_p95_ms, row.ttft_p95));
      }
      out += fmt::format("| {} | {} | {:+.1f} | {} | {} |\n", r.of.name, name_of(lengths), 100 * worst, mean, p95);
    }
  return out;
}

std::string sweep_tables(const std::vector<sweep_result>& results) {
  std::string out = "### Latencies\n\n";
  for (const auto& r : results) out += latencies(r);
  return out + "### The wait for a place in the batch\n\n" + waits(results);
}

}  // namespace inferno::testbed

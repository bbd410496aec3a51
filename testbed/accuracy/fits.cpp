// Times of a batch against those of batches and requests measured elsewhere in the same series: no queue is involved.
#include <fmt/format.h>

#include <map>

#include "testbed/accuracy/errors.hpp"
#include "testbed/accuracy/measured.hpp"

namespace inferno::testbed {
namespace {

using model::measurement;
using rows = std::vector<measurement>;

rows take(const measured_table& t, const std::vector<std::size_t>& which) {
  rows out;
  for (const auto i : which) out.push_back(t.rows[i]);
  return out;
}

/// Every other one by concurrency, the smallest first.
std::pair<rows, rows> alternate(rows all) {
  std::stable_sort(all.begin(), all.end(),
                   [](const measurement& a, const measurement& b) { return *concurrency_of(a) < *concurrency_of(b); });
  std::pair<rows, rows> out;
  for (std::size_t i = 0; i < all.size(); ++i) (i % 2 == 0 ? out.first : out.second).push_back(all[i]);
  return out;
}

/// Adds the errors of what the fit to `known` says of `asked`; false: `known` cannot be fitted.
bool predict(const rows& known, const rows& asked, model::profile_kind kind, error_sum& itl, error_sum* ttft = nullptr) {
  const auto fit = model::fit_profile(known, kind);
  if (!fit) return false;
  for (const auto& r : asked) {
    const auto t = model::times_at(fit->profile, {r.in_tokens, r.out_tokens}, *concurrency_of(r));
    if (r.itl_ms) itl.add(t.itl_ms, *r.itl_ms);
    if (ttft && r.ttft_ms) ttft->add(t.first_token_ms, *r.ttft_ms);
  }
  return true;
}

rows without_ttft(rows all) {
  for (auto& r : all) r.ttft_ms.reset();
  return all;
}

/// Most of a response is spent in a queue: the server holds fewer requests than its clients wait for.
bool queues(const measurement& r) {
  constexpr double most_of_response = 0.2;
  return r.ttft_ms && r.itl_ms && *r.ttft_ms > most_of_response * (*r.ttft_ms + *r.itl_ms * (r.out_tokens - 1));
}

}  // namespace

study_result windows_of_a_server(const std::string& folder) {
  const auto t = read_measured(folder + "/a100-opt-125m.csv");
  if (!t) return tl::unexpected(t.error());
  study out{
      "a100-opt-125m", "86 windows of one vLLM server under changing load: ITL by the mean concurrency. Linear profile.", {}, {}};
  error_sum between, later, above;
  const auto [known, asked] = alternate(t->rows);
  predict(known, asked, model::profile_kind::linear, between);
  const auto half = static_cast<std::ptrdiff_t>(t->rows.size() / 2);
  predict(rows(t->rows.begin(), t->rows.begin() + half), rows(t->rows.begin() + half, t->rows.end()), model::profile_kind::linear,
          later);
  auto sorted = t->rows;
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return *a.concurrency < *b.concurrency; });
  predict(rows(sorted.begin(), sorted.begin() + half), rows(sorted.begin() + half, sorted.end()), model::profile_kind::linear,
          above);
  out.figures = {between.as("ITL, every other window", 0.05), later.as("ITL, second half of the time from the first"),
                 above.as("ITL, upper half of the concurrency from the lower")};
  return out;
}

study_result batches_of_a_server(const std::string& folder) {
  const auto t = read_measured(folder + "/splitwise-perf.csv");
  if (!t) return tl::unexpected(t.error());
  study out{"splitwise-perf",
            "70B and 176B models on 2 to 8 A100 and H100: one batch at a time, its prefill and its decode step. Linear profile, "
            "fitted to "
            "batches 1, 4, 16 and 64 of prompts of 512 tokens; then to all of them for the other shapes.",
            {},
            {}};
  constexpr double prompt = 512, answer = 128;
  error_sum itl, ttft, other_itl, other_ttft;
  for (const auto& [name, which] : t->by("series")) {
    rows fixed, others;
    for (const auto& r : take(*t, which)) (r.in_tokens == prompt && r.out_tokens == answer ? fixed : others).push_back(r);
    const auto [known, asked] = alternate(fixed);
    predict(known, asked, model::profile_kind::linear, itl, &ttft);
    predict(fixed, others, model::profile_kind::linear, other_itl, &other_ttft);
  }
  out.figures = {itl.as("ITL, batches between the measured ones", 0.05), ttft.as("prefill, likewise"),
                 other_itl.as("ITL, prompts of 128 to 8192 and answers of 256 to 8192 tokens", 0.10),
                 other_ttft.as("prefill, likewise")};
  return out;
}

study_result shapes_of_requests(const std::string& folder) {
  const auto t = read_measured(folder + "/aic-silicon.csv");
  if (!t) return tl::unexpected(t.error());
  study out{
      "aic-silicon",
      "8B to 671B models on H100 and H200 (TensorRT-LLM), closed loop: ITL by concurrency for several lengths of prompt and "
      "answer, "
      "without the lines in which requests queue (TTFT over 20 % of the response). In range: linear profile of one shape, every "
      "other concurrency. A shape left out: iteration profile of all other shapes of the series.",
      {},
      {}};
  error_sum in_range, within, beyond;
  std::map<std::string, std::pair<error_sum, error_sum>> by_series;
  for (const auto& [name, which] : t->by("series")) {
    std::map<std::pair<double, double>, rows> shapes;
    for (const auto& r : take(*t, which))
      if (!queues(r)) shapes[{r.in_tokens, r.out_tokens}].push_back(r);
    // A grid of shapes surrounds the one left out; of three, one is the only one of its kind.
    const bool grid = shapes.size() > 3;
    if (shapes.size() < 3) continue;
    auto& [series_in_range, series_left_out] = by_series[name];
    for (const auto& [left_out, measured] : shapes) {
      if (measured.size() >= 4) {
        const auto [known, asked] = alternate(without_ttft(measured));
        predict(known, asked, model::profile_kind::linear, in_range);
        predict(known, asked, model::profile_kind::linear, series_in_range);
      }
      rows known;
      for (const auto& [shape, others] : shapes)
        if (shape != left_out) known.insert(known.end(), others.begin(), others.end());
      predict(without_ttft(known), measured, model::profile_kind::iteration, grid ? within : beyond);
      predict(without_ttft(known), measured, model::profile_kind::iteration, series_left_out);
    }
  }
  out.figures = {in_range.as("ITL, concurrencies between the measured ones", 0.05),
                 within.as("ITL of a shape left out of nine or more", 0.10), beyond.as("ITL of a shape left out of three")};
  out.details = "| series | in range % | shape left out % |\n|---|---:|---:|\n";
  for (const auto& [name, errors] : by_series)
    out.details +=
        fmt::format("| {} | {:.1f} | {:.1f} |\n", name, 100 * errors.first.as("").mean, 100 * errors.second.as("").mean);
  return out;
}

}  // namespace inferno::testbed

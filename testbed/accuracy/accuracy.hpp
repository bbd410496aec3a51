#pragma once
// The model against measurements of real servers: fitted to one part of them, it predicts the other (docs/model.md).
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

namespace inferno::testbed {

/// How far predictions are from measurements they were not fitted to. Relative: 0.05 = 5 %.
struct figure {
  std::string what;
  double mean = 0, worst = 0;
  std::size_t points = 0;
  std::optional<double> aim{};  ///< for the mean
};

/// One published set of measurements.
struct study {
  std::string name;     ///< of the table in tests/data/measurements, without .csv
  std::string setting;  ///< what was measured, what is fitted, what is predicted; one sentence each
  std::vector<figure> figures;
  std::string details;  ///< Markdown: the single predictions, where they are few enough to read; or empty
};

/// `folder` holds the tables; each study is deterministic. The error names file, line and column.
using study_result = tl::expected<study, std::string>;
study_result windows_of_a_server(const std::string& folder);   ///< a100-opt-125m: ITL by concurrency
study_result batches_of_a_server(const std::string& folder);   ///< splitwise-perf: ITL and prefill by batch and prompt
study_result shapes_of_requests(const std::string& folder);    ///< aic-silicon: ITL by concurrency over request shapes
study_result rates_up_to_the_knee(const std::string& folder);  ///< llmd-bench: ITL and TTFT from the arrival rate
study_result bursts_of_requests(const std::string& folder);    ///< iog-vllm: the same, and bursts
study_result choice_of_hardware(const std::string& folder);    ///< llm-pilot: cost regret of the model's choice
tl::expected<std::vector<study>, std::string> run_accuracy(const std::string& folder);

/// The part "accuracy" of docs/model.md, in Markdown: all figures, then the details.
std::string accuracy_tables(const std::vector<study>& studies);

}  // namespace inferno::testbed

#pragma once
// Profiles from measurements.
#include <optional>
#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "model/profile.hpp"

namespace inferno::model {

/// One measured point of a server under steady load; what is missing is nullopt. Concurrency = requests in the batch.
struct measurement {
  std::optional<double> concurrency;
  std::optional<double> rate_per_s;  ///< stands in for the concurrency by Little's law when both latencies are there
  double in_tokens = 0;
  double out_tokens = 0;
  std::optional<double> ttft_ms;
  std::optional<double> itl_ms;
};

enum class profile_kind { linear, iteration };

struct fitted_parameter {
  std::string name;
  double value = 0;
  /// Of the 95 % confidence interval; none when there are only as many measurements as parameters, or it is zero by its bound.
  std::optional<double> half_width;
};

struct fit_error {
  double mean = 0, worst = 0;  ///< relative
  std::size_t rows = 0;
};

struct profile_fit {
  performance_profile profile;
  std::vector<fitted_parameter> parameters;
  fit_error itl, ttft;
};

/// Requests in the batch: as measured, or rate * (TTFT + ITL (out - 1)) by Little's law.
std::optional<double> concurrency_of(const measurement&);

/// What is wrong with it: a value that is none, or no way to tell the concurrency; nullopt: nothing.
std::optional<std::string> flaw_of(const measurement&);

/// Least squares of the relative errors (weight 1/measured^2), parameters >= 0; confidence intervals from the covariance of the
/// fit and Student's t. Linear: ITL = alpha + beta n, TTFT = gamma + delta in n, each from the rows that have it; without any
/// TTFT the profile has no prefill. Iteration: ITL and TTFT of times_at(), linear in alpha, beta and gamma, together. TTFT of
/// rows with a queue would be taken for prefill: measure below saturation. Error: what the rows cannot tell, and why.
tl::expected<profile_fit, std::string> fit_profile(const std::vector<measurement>& rows, profile_kind kind,
                                                   int max_batched_tokens = 8192);

}  // namespace inferno::model

#pragma once
// Demand of a variant from samples of its servers: a window mean that lets go of the past when the rate has visibly changed.
#include <deque>
#include <optional>

#include "model/quantities.hpp"
#include "model/queue.hpp"

namespace inferno::model {

/// Sums over `span_s` seconds that end at `time_s`.
struct load_observation {
  double time_s = 0;
  double span_s = 0;
  double arrivals = 0;
  double completions = 0;
  double in_tokens = 0;
  double out_tokens = 0;
  double itl_sum_s = 0, itl_count = 0;
  double ttft_sum_s = 0, ttft_count = 0;
  double wait_sum_s = 0, wait_count = 0;
};

struct load_estimate {
  req_rate arrival_rate;
  request_shape shape;  ///< mean tokens; of the last window that had completions
  double itl_ms = 0;    ///< measured means over the window, 0 = nothing measured
  double ttft_ms = 0;
  double wait_ms = 0;
};

/// Keeps the observations of the last `window_s` seconds. A change of rate is taken as real when the count of the newest
/// `recent_s` seconds lies more than 3.5 Poisson standard deviations (and 2 requests) from what the older part of the window
/// predicts; the older part is then dropped.
class load_estimator {
 public:
  explicit load_estimator(double window_s = 60, double recent_s = 10) : window_s_(window_s), recent_s_(recent_s) {}
  void set_window(double window_s) { window_s_ = window_s; }
  /// Observations come in order of time; one with a span of zero is ignored.
  void add(const load_observation& o);
  /// Nothing observed yet: nullopt.
  std::optional<load_estimate> estimate() const;

 private:
  void forget(double before_s);
  void detect_change();
  double window_s_;
  double recent_s_;
  std::deque<load_observation> window_;
  request_shape last_shape_{};
};

/// The largest value of the last `hold` of time: demand may rise at once and falls only when it has stayed low.
class sliding_max {
 public:
  /// `time_s` must not decrease. Returns the maximum over (time_s - hold_s, time_s].
  double push(double time_s, double value, double hold_s);

 private:
  struct entry {
    double time_s;
    double value;
  };
  std::deque<entry> entries_;  ///< values strictly decreasing
};

}  // namespace inferno::model

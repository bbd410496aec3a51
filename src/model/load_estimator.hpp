#pragma once
// Demand of a variant from samples of its servers: a window mean that lets go of the past when the rate has visibly changed.
#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

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

/// Keeps the observations of the last `window_s` seconds. Whether the rate changed in between is asked anew with every one: the
/// generalised likelihood ratio of two Poisson rates, before and after the best split, against a single one (Lorden 1971; a ratio
/// of 9 lets fewer than one steady window in a thousand pass for a change). What lies before the change is then dropped.
/// While less than `settle_s` seconds have passed since a rise, the estimate is held back by up to one standard deviation of its
/// count, so that a few requests that happen to come together do not buy a GPU. Lengths are means over the whole window: they do
/// not change with the rate.
class load_estimator {
 public:
  explicit load_estimator(double window_s = 60, double settle_s = 10) : window_s_(window_s), settle_s_(settle_s) {}
  void set_window(double window_s) { window_s_ = window_s; }
  /// Observations come in order of time; one with a span of zero is ignored. One whose span covers earlier ones replaces them.
  void add(const load_observation& o);
  /// Nothing observed yet: nullopt.
  std::optional<load_estimate> estimate() const;

 private:
  /// An observation as it is kept, half as large: ten thousand variants keep dozens each. Sums of a few seconds lose nothing that
  /// could be measured.
  struct kept {
    double time_s, span_s, arrivals;
    float completions, in_tokens, out_tokens, itl_sum_s, itl_count, ttft_sum_s, ttft_count, wait_sum_s, wait_count;
  };
  void forget(double before_s);
  void detect_change();
  double window_s_;
  double settle_s_;
  bool risen_ = false;      ///< a rise lies at since_
  std::vector<kept> kept_;  ///< of the last window_s_ seconds, and the newest in any case
  std::size_t since_ = 0;   ///< the first of them after the last change of the rate
  request_shape last_shape_{};
};

/// What had the largest value in the last `hold` of time: demand may rise at once and falls only when it has stayed low.
template <class T>
class sliding_peak {
 public:
  /// `time_s` must not decrease. Returns what came with the maximum over (time_s - hold_s, time_s], the newest of equals.
  const T& push(double time_s, double value, T what, double hold_s) {
    const auto old = std::find_if(entries_.begin(), entries_.end(), [&](const entry& e) { return e.time_s > time_s - hold_s; });
    entries_.erase(entries_.begin(), old);
    while (!entries_.empty() && entries_.back().value <= value) entries_.pop_back();
    entries_.push_back({time_s, value, std::move(what)});
    return entries_.front().what;
  }
  /// Values every entry anew, when the measure itself has changed.
  template <class Value>
  void revalue(Value value_of) {
    for (auto& e : std::exchange(entries_, {})) {
      const double value = value_of(e.what);
      while (!entries_.empty() && entries_.back().value <= value) entries_.pop_back();
      entries_.push_back({e.time_s, value, std::move(e.what)});
    }
  }

 private:
  struct entry {
    double time_s;
    double value;
    T what;
  };
  std::vector<entry> entries_;  ///< values strictly decreasing; few
};

}  // namespace inferno::model

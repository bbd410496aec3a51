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
  double running = 0, waiting = 0;  ///< requests at the end of the span
  double unseen_rate = 0;           ///< requests a second that queues show to arrive at least, beyond what is counted
};

struct load_estimate {
  req_rate arrival_rate;
  request_shape shape;  ///< mean tokens; of the last window that had completions
  double itl_ms = 0;    ///< measured means over the window, 0 = nothing measured
  double ttft_ms = 0;
  double wait_ms = 0;
  /// Of the requests that wait, by Little's law: their mean number over the rate of first tokens. Those that wait still are in no
  /// mean of what was measured. 0 = none waits, or the servers do not count first tokens.
  double queue_ms = 0;
  /// The rate has risen, and a request of the length known before takes longer than the time since: whether those that make up
  /// the rise are as long is not known. That time, from where the rise began; 0 = lengths are known.
  double assumed_for_s = 0;
};

/// Estimates the arrival rate from the observations of the last `window_s` seconds.
///
/// A change of the rate needs both counts and time. With every observation the generalised likelihood ratio of two rates, before
/// and after the best split, is compared with that of a single one (Lorden 1971; a ratio of 12 lets fewer than one steady window
/// in a thousand pass for a change). What lies before a change is dropped. The ratio is divided by the index of dispersion of the
/// counts, so that arrivals that come in bunches are not taken for changes. On the far side of a rise the largest clump, the
/// observations that requests of less than a second can have fallen into, is left out of the evidence, and what remains must span
/// a second: a clump is a backlog and no rate, and the same holds for the counts that catch up after a stall. A fall must have
/// lasted 5 s in at least two observations.
///
/// The estimate is the mean since the last change. As long as that is less than a window ago, a clump counts with what the rest
/// makes plausible (three standard deviations above its mean). Lengths are means over the whole window: they do not change with
/// the rate. Requests that are long complete late, so completed ones alone are too short where the load has changed: lengths are
/// then the tokens made over the requests completed, those in flight included (the maximum likelihood estimate of the mean of
/// exponential lengths under censoring), with one request of the length known before. For a window after a rise they are so where
/// that is less than before beyond chance, and else what they were before; and at any time when the requests in flight have got
/// further than the known length explains, but no more than if those in flight would have made half as much again, averaged with
/// what was completed in their lifetime. What requests had made that leave without being completed is no more in flight where
/// they are among the arrivals; where they are not, it is work that nothing else tells of. Where requests take longer than the
/// window, lengths are means over twice their age.
class load_estimator {
 public:
  explicit load_estimator(double window_s = 60) : window_s_(window_s) {}
  void set_window(double window_s) { window_s_ = window_s; }
  /// Observations come in order of time; one with a span of zero is ignored. One whose span covers earlier ones replaces them.
  void add(const load_observation& o);
  /// nullopt: nothing observed yet, or for so short a time that a clump cannot be told from a rate: less than 10 s (or the
  /// window) in all, and less than a second besides the largest clump; or, at the beginning, less than 5 s with 1 to 19 requests.
  std::optional<load_estimate> estimate() const;
  /// What arrives at least beyond what is counted: the lowest unseen_rate of the last 15 s, or the window if that is shorter, in
  /// three observations or more.
  req_rate unseen_rate() const;

 private:
  /// An observation as it is kept, half as large: ten thousand variants keep dozens each. Sums of a few seconds lose nothing that
  /// could be measured.
  struct kept {
    double time_s, span_s, arrivals;
    float completions, in_tokens, out_tokens, itl_sum_s, itl_count, ttft_sum_s, ttft_count, wait_sum_s, wait_count, unseen_rate;
  };
  /// Arrivals of consecutive observations.
  struct tally {
    double count = 0, span_s = 0;
    double squares = 0;  ///< sum of count^2 / span
    int size = 0;
    tally& operator+=(const tally& other);
    tally operator-(const tally& other) const;
    double rate() const { return span_s > 0 ? count / span_s : 0; }
    double dispersion() const;
  };
  static tally tally_of(const kept& k);
  tally since(std::size_t from) const;
  tally clump_at(std::size_t from) const;
  tally largest_clump(std::size_t from) const;
  void forget(double before_s);
  void detect_change();
  request_shape measured_shape() const;
  /// Tokens made (of answers), read (of prompts that are done), and requests completed.
  struct tokens {
    double made = 0, read = 0, completions = 0;
  };
  tokens tokens_since(std::size_t from) const;
  request_shape shape() const;
  double assumed_for_s() const;
  double left_running(const load_observation& o);
  double window_s_;
  bool young_ = true;       ///< a rise, or the beginning, lies at since_
  std::vector<kept> kept_;  ///< of the last window_s_ seconds, and the newest in any case
  std::size_t since_ = 0;   ///< the first of them after the last change of the rate
  request_shape last_shape_{};
  request_shape shape_before_rise_{};
  std::optional<double> risen_at_s_;
  bool tells_first_tokens_ = false;
  double running_ = 0;             ///< at the last observation
  double waiting_ = 0;             ///< mean of about a window; 0 = none waits now
  double in_flight_ = 0;           ///< tokens that the running requests have got, as far as they were seen to be made
  double itl_s_ = 0;               ///< at the last observation that had one
  std::optional<double> there_{};  ///< requests running and waiting at the last observation
  double untold_ = 0;   ///< requests that arrived and neither were completed nor are there, as far as they have not been told of
  double unended_ = 0;  ///< likewise of those that had a first token
  tokens begun_with_;   ///< of requests that were completed within the lifetime of those that run, older ones fading
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
    // Of entries of one time, which leave together, the largest is enough.
    if (entries_.empty() || entries_.back().time_s < time_s) entries_.push_back({time_s, value, std::move(what)});
    return entries_.front().what;
  }
  /// Values every entry anew, when the measure itself has changed: `value_of(what, time_s)`, which may also change `what`.
  template <class Value>
  void revalue(Value value_of) {
    for (auto& e : std::exchange(entries_, {})) {
      const double value = value_of(e.what, e.time_s);
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

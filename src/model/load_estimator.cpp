#include "model/load_estimator.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::model {

void load_estimator::forget(double before_s) {
  while (window_.size() > 1 && window_.front().time_s <= before_s) window_.pop_front();
}

void load_estimator::detect_change() {
  const double now = window_.back().time_s;
  double recent_count = 0, recent_span = 0, old_count = 0, old_span = 0;
  for (auto it = window_.rbegin(); it != window_.rend(); ++it) {
    // an observation belongs to the newest part as long as that part is not yet `recent_s_` long
    if (recent_span < recent_s_ && now - it->time_s < recent_s_) {
      recent_count += it->arrivals;
      recent_span += it->span_s;
    } else {
      old_count += it->arrivals;
      old_span += it->span_s;
    }
  }
  if (old_span <= 0 || recent_span < 0.8 * recent_s_) return;
  const double expected = old_count / old_span * recent_span;
  // the older mean is itself an estimate: its variance, scaled to the recent span, adds to the Poisson variance of the recent
  // count
  const double deviation = std::sqrt(std::max(expected, recent_count) * (1 + recent_span / old_span));
  if (std::abs(recent_count - expected) > std::max(3.5 * deviation, 2.0)) forget(now - recent_s_);
}

void load_estimator::add(const load_observation& o) {
  if (!(o.span_s > 0)) return;
  // A sample that spans the window by itself (a rate query) replaces the past.
  if (o.span_s >= 0.5 * window_s_) window_.clear();
  window_.push_back(o);
  forget(o.time_s - window_s_);
  detect_change();
  double completions = 0, in = 0, out = 0;
  for (const auto& w : window_) {
    completions += w.completions;
    in += w.in_tokens;
    out += w.out_tokens;
  }
  if (completions > 0 && out > 0) last_shape_ = {in / completions, out / completions};
}

std::optional<load_estimate> load_estimator::estimate() const {
  if (window_.empty()) return std::nullopt;
  load_observation sum;
  for (const auto& w : window_) {
    sum.span_s += w.span_s;
    sum.arrivals += w.arrivals;
    sum.itl_sum_s += w.itl_sum_s;
    sum.itl_count += w.itl_count;
    sum.ttft_sum_s += w.ttft_sum_s;
    sum.ttft_count += w.ttft_count;
    sum.wait_sum_s += w.wait_sum_s;
    sum.wait_count += w.wait_count;
  }
  const auto mean_ms = [](double sum_s, double count) { return count > 0 ? 1000 * sum_s / count : 0.0; };
  return load_estimate{req_rate::per_sec(std::max(0.0, sum.arrivals) / sum.span_s), last_shape_,
                       mean_ms(sum.itl_sum_s, sum.itl_count), mean_ms(sum.ttft_sum_s, sum.ttft_count),
                       mean_ms(sum.wait_sum_s, sum.wait_count)};
}

double sliding_max::push(double time_s, double value, double hold_s) {
  while (!entries_.empty() && entries_.front().time_s <= time_s - hold_s) entries_.pop_front();
  while (!entries_.empty() && entries_.back().value <= value) entries_.pop_back();
  entries_.push_back({time_s, value});
  return entries_.front().value;
}

}  // namespace inferno::model

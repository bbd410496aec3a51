#include "model/load_estimator.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::model {

void load_estimator::forget(double before_s) {
  while (window_.size() > 1 && window_.front().time_s <= before_s) {
    window_.pop_front();
    risen_ = false;  // a whole window has passed since
  }
}

namespace {

constexpr double change_ratio = 9;  ///< log likelihood ratio that a change must reach
constexpr double least_change = 3;  ///< requests; fewer are no evidence however quiet it was before

/// log likelihood of `count` Poisson events in `span` at their own mean rate, without the terms that cancel.
double log_likelihood(double count, double span) { return count > 0 ? count * std::log(count / span) : 0.0; }

}  // namespace

void load_estimator::detect_change() {
  double count = 0, span = 0;
  for (const auto& w : window_) {
    count += std::max(0.0, w.arrivals);
    span += w.span_s;
  }
  const double whole = log_likelihood(count, span);
  double best = change_ratio;
  double before_count = 0, before_span = 0;
  std::size_t split = 0;
  for (std::size_t i = 0; i + 1 < window_.size(); ++i) {
    before_count += std::max(0.0, window_[i].arrivals);
    before_span += window_[i].span_s;
    const double after_count = count - before_count, after_span = span - before_span;
    const double expected = before_count / before_span * after_span;
    if (std::abs(after_count - expected) < least_change) continue;
    const double ratio = log_likelihood(before_count, before_span) + log_likelihood(after_count, after_span) - whole;
    if (ratio < best) continue;
    best = ratio;
    split = i + 1;
    risen_ = after_count > expected;
  }
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(split));
}

void load_estimator::add(const load_observation& o) {
  if (!(o.span_s > 0)) return;
  // A sample that spans the window by itself (a rate query) replaces the past.
  if (o.span_s >= 0.5 * window_s_) {
    window_.clear();
    risen_ = false;
  }
  window_.push_back(o);
  forget(o.time_s - window_s_);
  detect_change();
  while (!lengths_.empty() && lengths_.front().time_s <= o.time_s - window_s_) lengths_.pop_front();
  if (o.completions > 0) lengths_.push_back({o.time_s, o.completions, o.in_tokens, o.out_tokens});
  double completions = 0, in = 0, out = 0;
  for (const auto& l : lengths_) {
    completions += l.completions;
    in += l.in_tokens;
    out += l.out_tokens;
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
  double arrivals = std::max(0.0, sum.arrivals);
  if (risen_) arrivals -= std::sqrt(arrivals) * std::max(0.0, 1 - sum.span_s / settle_s_);
  return load_estimate{req_rate::per_sec(std::max(0.0, arrivals) / sum.span_s), last_shape_,
                       mean_ms(sum.itl_sum_s, sum.itl_count), mean_ms(sum.ttft_sum_s, sum.ttft_count),
                       mean_ms(sum.wait_sum_s, sum.wait_count)};
}

}  // namespace inferno::model

#include "model/load_estimator.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::model {

namespace {

constexpr double change_ratio = 9;  ///< log likelihood ratio that a change must reach
constexpr double least_change = 3;  ///< requests; fewer are no evidence however quiet it was before

/// log likelihood of `count` Poisson events in `span` at their own mean rate, without the terms that cancel.
double log_likelihood(double count, double span) { return count > 0 ? count * std::log(count / span) : 0.0; }

}  // namespace

void load_estimator::forget(double before_s) {
  const auto first = std::find_if(kept_.begin(), kept_.end() - 1, [&](const kept& k) { return k.time_s > before_s; });
  const auto gone = static_cast<std::size_t>(first - kept_.begin());
  if (gone > since_) risen_ = false;  // a whole window has passed since
  since_ -= std::min(since_, gone);
  kept_.erase(kept_.begin(), first);
}

void load_estimator::detect_change() {
  double count = 0, span = 0;
  for (std::size_t i = since_; i < kept_.size(); ++i) {
    count += kept_[i].arrivals;
    span += kept_[i].span_s;
  }
  const double whole = log_likelihood(count, span);
  double best = change_ratio;
  double before_count = 0, before_span = 0;
  std::size_t split = since_;
  for (std::size_t i = since_; i + 1 < kept_.size(); ++i) {
    before_count += kept_[i].arrivals;
    before_span += kept_[i].span_s;
    const double after_count = count - before_count, after_span = span - before_span;
    const double expected = before_count / before_span * after_span;
    if (std::abs(after_count - expected) < least_change) continue;
    const double ratio = log_likelihood(before_count, before_span) + log_likelihood(after_count, after_span) - whole;
    if (ratio < best) continue;
    best = ratio;
    split = i + 1;
    risen_ = after_count > expected;
  }
  since_ = split;
}

void load_estimator::add(const load_observation& o) {
  if (!(o.span_s > 0)) return;
  // What is mostly within the span of this one was known in part only when it was observed.
  while (!kept_.empty() && kept_.back().time_s - 0.5 * kept_.back().span_s > o.time_s - o.span_s) kept_.pop_back();
  since_ = std::min(since_, kept_.size());
  if (kept_.size() == kept_.capacity()) kept_.reserve(kept_.size() + kept_.size() / 4 + 4);
  const auto small = [](double x) { return static_cast<float>(x); };
  kept_.push_back({o.time_s, o.span_s, std::max(0.0, o.arrivals), small(o.completions), small(o.in_tokens), small(o.out_tokens),
                   small(o.itl_sum_s), small(o.itl_count), small(o.ttft_sum_s), small(o.ttft_count), small(o.wait_sum_s),
                   small(o.wait_count)});
  // A sample that spans the window by itself (a rate query) replaces the past.
  if (o.span_s >= 0.5 * window_s_) {
    since_ = kept_.size() - 1;
    risen_ = false;
  }
  forget(o.time_s - window_s_);
  detect_change();
  double completions = 0, in = 0, out = 0;
  for (const auto& k : kept_) {
    if (k.completions <= 0) continue;
    completions += k.completions;
    in += k.in_tokens;
    out += k.out_tokens;
  }
  if (completions > 0 && out > 0) last_shape_ = {in / completions, out / completions};
}

std::optional<load_estimate> load_estimator::estimate() const {
  if (kept_.empty()) return std::nullopt;
  load_observation sum;
  for (std::size_t i = since_; i < kept_.size(); ++i) {
    const auto& k = kept_[i];
    sum.span_s += k.span_s;
    sum.arrivals += k.arrivals;
    sum.itl_sum_s += k.itl_sum_s;
    sum.itl_count += k.itl_count;
    sum.ttft_sum_s += k.ttft_sum_s;
    sum.ttft_count += k.ttft_count;
    sum.wait_sum_s += k.wait_sum_s;
    sum.wait_count += k.wait_count;
  }
  const auto mean_ms = [](double sum_s, double count) { return count > 0 ? 1000 * sum_s / count : 0.0; };
  double arrivals = sum.arrivals;
  if (risen_) arrivals -= std::sqrt(arrivals) * std::max(0.0, 1 - sum.span_s / settle_s_);
  return load_estimate{req_rate::per_sec(std::max(0.0, arrivals) / sum.span_s), last_shape_,
                       mean_ms(sum.itl_sum_s, sum.itl_count), mean_ms(sum.ttft_sum_s, sum.ttft_count),
                       mean_ms(sum.wait_sum_s, sum.wait_count)};
}

}  // namespace inferno::model

#include "model/load_estimator.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::model {

namespace {

constexpr double change_ratio = 12;     ///< log likelihood ratio that a change must reach
constexpr double least_change = 3;      ///< requests; fewer are no evidence however quiet it was before
constexpr double clump_s = 0.9;         ///< requests that come within this time may be one clump
constexpr double least_rest_s = 1;      ///< a rise must show in so much time besides the clump
constexpr double least_fall_s = 5;      ///< a stall is shorter
constexpr double clump_span_s = 5;      ///< observations that long are not added to for a clump at their edge
constexpr double first_s = 5;           ///< at the beginning a rate takes so long,
constexpr double first_requests = 20;   ///< or as many requests
constexpr double enough_s = 10;         ///< a count over so much time is a rate, however it is spread
constexpr double plausible_sigmas = 3;  ///< of a clump above the rate around it
constexpr double prior_weight = 2;      ///< samples by which a dispersion of 1 is believed before there are any
constexpr double shorter_sigmas = 3;    ///< by which requests since a rise are shorter than before
constexpr double most_busy = 1.5;       ///< by which tokens may seem to have taken longer than the requests were there
constexpr double further_share = 1.5;   ///< of what requests in flight have made, that they will have made in all
constexpr double standing_s = 15;       ///< for which a queue has to stand to be one
constexpr double asynchrony = 8;        ///< requests by which counts and gauges that agree may differ
constexpr double further_sigmas = 3;    ///< by which requests in flight have got further than exponential lengths explain

/// log likelihood of `count` Poisson events in `span` at their own mean rate, without the terms that cancel.
double log_likelihood(double count, double span) { return count > 0 ? count * std::log(count / span) : 0.0; }

double change_likelihood(double count_a, double span_a, double count_b, double span_b) {
  return log_likelihood(count_a, span_a) + log_likelihood(count_b, span_b) - log_likelihood(count_a + count_b, span_a + span_b);
}

}  // namespace

load_estimator::tally& load_estimator::tally::operator+=(const tally& other) {
  count += other.count;
  span_s += other.span_s;
  squares += other.squares;
  size += other.size;
  return *this;
}

load_estimator::tally load_estimator::tally::operator-(const tally& other) const {
  return {std::max(0.0, count - other.count), std::max(0.0, span_s - other.span_s), std::max(0.0, squares - other.squares),
          size - other.size};
}

/// Variance of the counts over that of a Poisson process, at least 1: Pearson's chi squared over its degrees of freedom.
double load_estimator::tally::dispersion() const {
  if (count <= 0 || size < 2) return 1;
  const double chi_squared = std::max(0.0, squares / rate() - count);
  return std::max(1.0, (chi_squared + prior_weight) / (size - 1 + prior_weight));
}

load_estimator::tally load_estimator::tally_of(const kept& k) {
  return {k.arrivals, k.span_s, k.arrivals * k.arrivals / k.span_s, 1};
}

load_estimator::tally load_estimator::since(std::size_t from) const {
  tally sum;
  for (std::size_t i = from; i < kept_.size(); ++i) sum += tally_of(kept_[i]);
  return sum;
}

/// The observations that a clump may have fallen into whose first request is in that of index `from`.
load_estimator::tally load_estimator::clump_at(std::size_t from) const {
  auto sum = tally_of(kept_[from]);
  double inner_s = 0;
  for (std::size_t i = from + 1; i < kept_.size() && inner_s <= clump_s && sum.span_s < clump_span_s; ++i) {
    sum += tally_of(kept_[i]);
    inner_s += kept_[i].span_s;
  }
  return sum;
}

/// Of those that begin at or after `from`, the one that is furthest above the mean rate.
load_estimator::tally load_estimator::largest_clump(std::size_t from) const {
  const double mean = since(from).rate();
  tally best;
  double most = -1;
  for (std::size_t i = from; i < kept_.size(); ++i) {
    const auto clump = clump_at(i);
    const double excess = clump.count - mean * clump.span_s;
    if (best.size > 0 && excess <= most) continue;
    most = excess;
    best = clump;
  }
  return best;
}

void load_estimator::forget(double before_s) {
  const auto first = std::find_if(kept_.begin(), kept_.end() - 1, [&](const kept& k) { return k.time_s > before_s; });
  const auto gone = static_cast<std::size_t>(first - kept_.begin());
  if (gone > since_) young_ = false;  // a whole window has passed since
  since_ -= std::min(since_, gone);
  kept_.erase(kept_.begin(), first);
}

void load_estimator::detect_change() {
  const auto whole = since(since_);
  double best = change_ratio;
  double most_excess = 0;
  std::size_t split = since_;
  tally after, clump;
  for (std::size_t i = kept_.size(); i-- > since_ + 1;) {
    after += tally_of(kept_[i]);
    const auto candidate = clump_at(i);
    const double excess = candidate.count - whole.rate() * candidate.span_s;
    if (clump.size == 0 || excess > most_excess) {
      clump = candidate;
      most_excess = excess;
    }
    const auto before = whole - after;
    const bool rise = after.rate() > before.rate();
    const auto seen = rise ? after - clump : after;
    if (rise ? seen.span_s < least_rest_s : seen.span_s < least_fall_s || seen.size < 2) continue;
    const double expected = before.rate() * seen.span_s;
    if (rise ? seen.count - expected < least_change : expected - seen.count < least_change) continue;
    double ratio = change_likelihood(before.count, before.span_s, seen.count, seen.span_s);
    if (ratio <= best) continue;
    // The change may lie within the last observation before the split, whose count then differs from the others' for that reason.
    ratio /= std::max((before - tally_of(kept_[i - 1])).dispersion(), after.dispersion());
    if (ratio <= best) continue;
    best = ratio;
    split = i;
    young_ = rise;
  }
  if (split == since_) return;
  since_ = split;
  if (!young_) return;
  if (!risen_at_s_) shape_before_rise_ = last_shape_;
  risen_at_s_ = kept_.back().time_s;
}

request_shape load_estimator::measured_shape() const {
  double in_requests = 0, out_requests = 0, in = 0, out = 0;
  for (const auto& k : kept_) {
    if (k.completions <= 0) continue;
    // Requests whose lengths are not told do not make the others shorter.
    if (k.in_tokens > 0) in_requests += k.completions, in += k.in_tokens;
    if (k.out_tokens > 0) out_requests += k.completions, out += k.out_tokens;
  }
  if (out_requests <= 0) return {};
  return {in_requests > 0 ? in / in_requests : 0, out / out_requests};
}

/// Requests that have stopped running without being completed, though they arrived. Counts and gauges are not read at the same
/// instant: what differs fades within a window.
double load_estimator::left_running(const load_observation& o) {
  const double kept_share = std::exp(-o.span_s / window_s_), running = std::max(0.0, o.running);
  const double there = running + std::max(0.0, o.waiting);
  const double untold = untold_ * kept_share + std::max(0.0, o.arrivals) - o.completions - (there - there_.value_or(there));
  const double unended = unended_ * kept_share + o.ttft_count - o.completions - (running - running_);
  const double left = there_ ? std::max(0.0, std::min(untold, unended) - asynchrony) : 0;
  untold_ = std::min(asynchrony, untold);
  unended_ = there_ ? std::min(asynchrony, unended) : 0;
  there_ = there;
  return left;
}

void load_estimator::add(const load_observation& seen) {
  if (!(seen.span_s > 0)) return;
  auto o = seen;
  // Those that are still running and those that have ended had the whole span for their tokens: more are of an earlier time, when
  // the servers did not say how many they made.
  const double most_s = most_busy * std::max(1.0, o.running + o.completions) * o.span_s;
  if (o.itl_sum_s > most_s) {
    o.itl_count *= most_s / o.itl_sum_s;
    o.itl_sum_s = most_s;
  }
  // What is mostly within the span of this one was known in part only when it was observed.
  while (!kept_.empty() && kept_.back().time_s - 0.5 * kept_.back().span_s > o.time_s - o.span_s) kept_.pop_back();
  since_ = std::min(since_, kept_.size());
  if (kept_.size() == kept_.capacity()) kept_.reserve(kept_.size() + kept_.size() / 4 + 4);
  const auto small = [](double x) { return static_cast<float>(x); };
  kept_.push_back({o.time_s, o.span_s, std::max(0.0, o.arrivals), small(o.completions), small(o.in_tokens), small(o.out_tokens),
                   small(o.itl_sum_s), small(o.itl_count), small(o.ttft_sum_s), small(o.ttft_count), small(o.wait_sum_s),
                   small(o.wait_count), small(o.unseen_rate)});
  forget(o.time_s - window_s_);
  detect_change();
  const double made = o.itl_count + o.ttft_count;
  tells_first_tokens_ = tells_first_tokens_ || o.ttft_count > 0;
  const double left = left_running(o);
  running_ = std::max(0.0, o.running);
  waiting_ = o.waiting > 0 ? waiting_ + (o.waiting - waiting_) * -std::expm1(-o.span_s / window_s_) : 0;
  in_flight_ = running_ > 0 ? std::max(0.0, in_flight_ + made - o.out_tokens) * running_ / (running_ + left) : 0;
  if (o.itl_count > 0) itl_s_ = o.itl_sum_s / o.itl_count;
  // Those that began with the ones in flight are remembered for as long as these have run.
  const double age_s = running_ > 0 ? itl_s_ * in_flight_ / running_ : 0;
  const double kept_share = std::exp(-o.span_s / std::max(window_s_, 2 * age_s));
  begun_with_.completions = begun_with_.completions * kept_share + o.completions;
  begun_with_.made = begun_with_.made * kept_share + o.out_tokens;
  // When nothing completes any more, the last few that leave the window are not what is typical.
  if (o.completions > 0 && o.out_tokens > 0) last_shape_ = measured_shape();
  // Nor are the few that complete within a window where requests take longer than that.
  if (2 * age_s > window_s_ && begun_with_.completions > 0) last_shape_.out_tokens = begun_with_.made / begun_with_.completions;
  if (risen_at_s_ && o.time_s - *risen_at_s_ > window_s_) risen_at_s_.reset();
}

load_estimator::tokens load_estimator::tokens_since(std::size_t from) const {
  tokens sum;
  for (std::size_t i = from; i < kept_.size(); ++i) {
    sum.made += 1.0 * kept_[i].itl_count + kept_[i].ttft_count;
    sum.read += kept_[i].in_tokens;
    sum.completions += kept_[i].completions;
  }
  return sum;
}

request_shape load_estimator::shape() const {
  auto out = last_shape_;
  if (risen_at_s_) {
    // Below what is known of lengths only where the requests since the rise show it beyond chance.
    const auto now = tokens_since(since_);
    const auto known = [&](double before, double last, double sum) {
      const double most = std::max(before, last);
      const double mean = (sum + most) / (now.completions + 1);
      return mean * (1 + shorter_sigmas / std::sqrt(now.completions + 1)) < most ? mean : most;
    };
    out.in_tokens = known(shape_before_rise_.in_tokens, out.in_tokens, now.read);
    if (now.made > 0) {
      out.out_tokens = known(shape_before_rise_.out_tokens, out.out_tokens, now.made);
    } else {
      out.out_tokens = std::max(out.out_tokens, shape_before_rise_.out_tokens);
    }
  }
  if (running_ <= 0) return out;
  const double each = in_flight_ / running_;
  if (each <= out.out_tokens * (1 + further_sigmas / std::sqrt(running_))) return out;
  const auto all = tokens_since(risen_at_s_ ? since_ : 0);
  const double exponential = (all.made + out.out_tokens) / (all.completions + 1);
  // Long ones are more often met in flight than they come, and complete late: together with those that began with them.
  const double surely = (begun_with_.made + further_share * in_flight_) / (begun_with_.completions + running_);
  out.out_tokens = std::max(out.out_tokens, std::min(exponential, surely));
  return out;
}

double load_estimator::assumed_for_s() const {
  const double lifetime_s = itl_s_ * std::max(shape_before_rise_.out_tokens, last_shape_.out_tokens);
  const double now_s = kept_.back().time_s;
  if (!risen_at_s_ || now_s - *risen_at_s_ >= lifetime_s) return 0;
  return now_s - kept_[since_].time_s + kept_[since_].span_s;
}

req_rate load_estimator::unseen_rate() const {
  double least = 0, span_s = 0;
  int seen = 0;
  for (auto k = kept_.rbegin(); k != kept_.rend(); ++k) {
    least = seen++ == 0 ? k->unseen_rate : std::min<double>(least, k->unseen_rate);
    span_s += k->span_s;
    if (seen >= 3 && span_s >= std::min(standing_s, window_s_)) return req_rate::per_sec(least);
  }
  return {};
}

std::optional<load_estimate> load_estimator::estimate() const {
  if (kept_.empty()) return std::nullopt;
  const auto all = since(since_);
  double arrivals = all.count;
  const bool short_time = all.span_s < std::min(enough_s, window_s_);
  if (short_time || young_) {
    const auto clump = largest_clump(since_);
    const auto rest = all - clump;
    if (rest.span_s >= least_rest_s) {
      const double plausible = rest.rate() * clump.span_s;
      arrivals -=
          std::max(0.0, clump.count - plausible - plausible_sigmas * std::sqrt(rest.dispersion() * plausible) - least_change);
    } else if (short_time) {
      return std::nullopt;
    }
  }
  // The first requests of all are no rate yet; a rise has proved to be one.
  if (since_ == 0 && all.span_s < std::min(first_s, window_s_) && arrivals > 0 && arrivals < first_requests) return std::nullopt;
  load_observation sum;
  for (std::size_t i = since_; i < kept_.size(); ++i) {
    const auto& k = kept_[i];
    sum.itl_sum_s += k.itl_sum_s;
    sum.itl_count += k.itl_count;
    sum.ttft_sum_s += k.ttft_sum_s;
    sum.ttft_count += k.ttft_count;
    sum.wait_sum_s += k.wait_sum_s;
    sum.wait_count += k.wait_count;
  }
  const auto mean_ms = [](double sum_s, double count) { return count > 0 ? 1000 * sum_s / count : 0.0; };
  double first_tokens = 0, watched_s = 0;
  for (const auto& k : kept_) {
    first_tokens += k.ttft_count;
    watched_s += k.span_s;
  }
  load_estimate out{req_rate::per_sec(arrivals / all.span_s), shape(),
                    mean_ms(sum.itl_sum_s, sum.itl_count),    mean_ms(sum.ttft_sum_s, sum.ttft_count),
                    mean_ms(sum.wait_sum_s, sum.wait_count),  0};
  out.assumed_for_s = assumed_for_s();
  if (tells_first_tokens_) out.queue_ms = 1000 * waiting_ * watched_s / std::max(first_tokens, 1.0);
  return out;
}

}  // namespace inferno::model

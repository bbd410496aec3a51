#include "testbed/sweep/simulation.hpp"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace inferno::testbed {
namespace {

using kind = engine::event_kind;

struct request {
  double arrived = 0;
  double admitted = 0;
  double prefilled = 0;
  int out = 0;
  bool found_room = false;
};

class replica_run {
 public:
  explicit replica_run(const simulation& s)
      : s_(s),
        core_(make_engine(
            {s.replica.profile, s.replica.max_batch, s.replica.max_queue, 0, false, std::max(1.0, s.replica.shape.out_tokens)})),
        random_(s.seed),
        prefills_(has_prefill(s.replica.profile, in())),
        warm_up_(static_cast<std::size_t>(s.requests * s.warm_up)),
        requests_(static_cast<std::size_t>(s.requests)) {
    ttft_.reserve(requests_.size());
  }

  sample run() {
    std::exponential_distribution<double> gap(s_.rate.per_ms());
    double now = 0;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      now += gap(random_);
      core_->advance(now, events_);
      take();
      arrive(i, now);
      take();
    }
    core_->advance(INFINITY, events_);
    take();
    return result(now);
  }

 private:
  int in() const { return static_cast<int>(s_.replica.shape.in_tokens); }

  /// Means are kept: the geometric distribution is the discrete exponential, the uniform one runs from 1 to 2*mean - 1.
  int draw_length() {
    const double mean = s_.replica.shape.out_tokens;
    if (s_.length_cv > 0) {
      const double shape = 1 / (s_.length_cv * s_.length_cv);
      return std::max(1, static_cast<int>(std::lround(std::gamma_distribution<double>(shape, mean / shape)(random_))));
    }
    switch (s_.lengths) {
      case length_distribution::exponential:
        return 1 + std::geometric_distribution<int>(1 / mean)(random_);
      case length_distribution::uniform:
        return std::uniform_int_distribution<int>(1, std::max(1, static_cast<int>(2 * mean) - 1))(random_);
      case length_distribution::constant:
        break;
    }
    return static_cast<int>(std::lround(mean));
  }

  void arrive(std::size_t i, double now) {
    const int out = draw_length();
    tokens_ += out;
    squares_ += static_cast<double>(out) * out;
    requests_[i] = {now, 0, 0, out, core_->running() + core_->waiting() < s_.replica.max_batch};
    if (!core_->submit(i, in(), out, now, events_)) ++blocked_;
  }

  void take() {
    for (const auto& e : events_) {
      auto& r = requests_[e.id];
      if (e.kind == kind::admitted) r.admitted = r.prefilled = e.time_ms;
      if (e.kind == kind::first_token && prefills_) r.prefilled = e.time_ms;
      if (e.kind != kind::finished) continue;
      sum_.over_ms = e.time_ms - requests_.front().arrived;
      if (e.id >= warm_up_) count(r, e.time_ms);
    }
    events_.clear();
  }

  void count(const request& r, double finished) {
    const double waited = r.admitted - r.arrived;
    sum_.wait_ms += waited;
    (r.found_room ? sum_.boundary_ms : sum_.waited) += r.found_room ? waited : 1;
    decode_ms_ += finished - r.prefilled;
    steps_ += prefills_ ? r.out - 1 : r.out;
    ttft_.push_back(r.prefilled - r.arrived);
    sum_.ttft_ms += ttft_.back();
  }

  sample result(double over_ms) {
    const auto counted = static_cast<double>(ttft_.size());
    const double n = s_.requests;
    sample out = sum_;
    for (double* x : {&out.wait_ms, &out.boundary_ms, &out.waited, &out.ttft_ms}) *x /= counted;
    out.itl_ms = steps_ > 0 ? decode_ms_ / steps_ : 0;
    const auto p95 = ttft_.begin() + static_cast<std::ptrdiff_t>(0.95 * counted);
    std::nth_element(ttft_.begin(), p95, ttft_.end());
    out.ttft_p95_ms = *p95;
    out.rate = model::req_rate::per_ms(n / over_ms);
    out.out_tokens = tokens_ / n;
    out.out_cv = std::sqrt(std::max(0.0, squares_ / n - out.out_tokens * out.out_tokens)) / out.out_tokens;
    out.blocked = blocked_ / n;
    return out;
  }

  const simulation& s_;
  std::unique_ptr<engine> core_;
  std::mt19937_64 random_;
  bool prefills_;
  std::size_t warm_up_;
  std::vector<request> requests_;
  std::vector<engine::event> events_;
  std::vector<double> ttft_;
  sample sum_;
  double decode_ms_ = 0, steps_ = 0, tokens_ = 0, squares_ = 0, blocked_ = 0;
};

}  // namespace

sample simulate(const simulation& s) { return replica_run(s).run(); }

model::replica_config as_drawn(const model::replica_config& replica, const sample& s) {
  auto out = replica;
  out.shape.out_tokens = s.out_tokens;
  out.shape.out_cv = s.out_cv;
  return out;
}

}  // namespace inferno::testbed

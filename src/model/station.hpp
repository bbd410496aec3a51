#pragma once
// The queue behind the performance model, one replica prepared for many rates. Inside src/model only.
#include <array>

#include "model/queue.hpp"

namespace inferno::model {

/// Sums over the steady state, unnormalized; every one is of positive terms, so no digits are lost by cancellation.
struct state_sums {
  double occupied = 0;     ///< sum p(n), n >= 1
  double empty = 0;        ///< p(0)
  double in_service = 0;   ///< sum min(n, N) p(n)
  double waiting = 0;      ///< sum (n - N)+ p(n)
  double accepting = 0;    ///< sum p(n), n < K
  double batch_met = 0;    ///< sum min(n + 1, N) p(n), n < K: the batch that an accepted request makes
  double all_busy = 0;     ///< sum p(n), N <= n < K: an accepted request has to wait
  double at_limit = 0;     ///< p(N)
  double full = 0;         ///< p(K)
  int anchor = 0;          ///< a state n <= N whose probability is known also where p(0) and p(N) underflow
  double at_anchor = 0;    ///< p(anchor)
  double itl_met = 0;      ///< sum itl(min(n + 1, N)) p(n), n < K, where the service time is no line
  double largest_itl = 0;  ///< itl(N), likewise

  double total() const { return occupied + empty; }
  /// What is in units of the states before the queue, to be scaled with them.
  std::array<double*, 7> before_limit() { return {&empty, &occupied, &in_service, &accepting, &batch_met, &at_anchor, &itl_met}; }
};

class station {
 public:
  explicit station(const replica_config&);

  double slowest_rate() const { return 1 / service_ms(1); }            ///< mu(1), per ms
  double fastest_rate() const { return batch_ / service_ms(batch_); }  ///< mu(N), per ms
  double wait_factor() const { return wait_factor_; }
  state_sums sums(double rate_per_ms) const;
  replica_metrics metrics(double rate_per_ms) const;
  /// P(TTFT > t) of an accepted request.
  double ttft_tail(double rate_per_ms, double t_ms) const;
  double ttft_quantile(double rate_per_ms, double q) const;
  /// A rate near the one at which ITL is `itl_ms`; 0 = no idea.
  double rate_for_itl(double itl_ms) const;

 private:
  double service_ms(double n) const { return straight_ ? fixed_ + slope_ * n : times_at(*profile_, *shape_, n).service_ms; }
  static double squared_variation_of_work(const replica_config&);
  state_sums windowed_sums(double rate) const;
  state_sums plain_sums(double rate) const;
  void add_tail(state_sums& s, double p, double rate) const;
  batch_times times_of(const state_sums& s, double rate) const;
  /// Admission to first token of a request that finds `seen` < N others in service.
  double first_token_ms(double seen, double itl_ms) const;
  double wait_tail(const state_sums& s, double rate, double t_ms) const;
  /// sum p(n), n <= last, over accepting.
  double seen_at_most(const state_sums& s, double rate, int last) const;

  const performance_profile* profile_;
  const request_shape* shape_;
  bool iterations_ = false;  ///< iteration profile
  bool straight_ = true;     ///< service time(n) = fixed_ + slope_ n for 1 <= n <= N
  double fixed_ = 0, slope_ = 0;
  batch_times base_, per_batch_;  ///< times(n) = base + per_batch n where straight, and nothing is clipped
  int batch_ = 1;
  double queue_ = 0;
  double wait_factor_ = 1;
};

}  // namespace inferno::model

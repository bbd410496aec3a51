#include "model/station.hpp"

#include <algorithm>
#include <boost/math/special_functions/gamma.hpp>
#include <cmath>

#include "model/root.hpp"

namespace inferno::model {
namespace {

/// e^-mean mean^i / i! in doubles: long doubles cost twice the time for digits that no latency has.
double poisson(double i, double mean) {
  using namespace boost::math::policies;
  return boost::math::gamma_p_derivative(i + 1, mean, policy<promote_double<false>>());
}

/// 1 + x + ... + x^(n-1), 0 < x <= 1.
double geometric_sum(double x, double n) { return x == 1 ? n : -std::expm1(n * std::log(x)) / (1 - x); }

/// Terms below this share of the sum are left out.
constexpr double negligible = 1e-26;

/// 1/n, so that the sums over the states need no divisions.
constexpr int reciprocals = 1024;
const struct reciprocal_table {
  double of[reciprocals + 4];
  reciprocal_table() {
    of[0] = 0;
    for (int n = 1; n < reciprocals + 4; ++n) of[n] = 1.0 / n;
  }
} inverse;

/// Sums over the queue's states j = 1..Q, relative to p(N), and times `scale`, as is everything that goes with them.
struct tail {
  double mass = 0;     ///< sum r^j
  double before = 0;   ///< sum r^(j-1): the states in which an arrival still finds room in the queue
  double waiting = 0;  ///< sum j r^j
  double last = 1;     ///< r^Q
  double scale = 1;
};

/// Closed forms of the geometric tail. For r > 1 everything is divided by r^Q, so nothing overflows; close to 1, where the closed
/// forms lose digits, a Taylor series in 1 - r takes their place.
tail geometric_tail(double r, double q) {
  tail t;
  if (q <= 0) return t;
  const double d = 1 - r;
  if (std::abs(d) * q < 1e-3) {
    const double s1 = q * (q + 1) / 2;
    const double s2 = q * (q + 1) * (2 * q + 1) / 6;
    const double s3 = s1 * s1;
    t.mass = q - d * s1 + d * d / 2 * (s2 - s1);
    t.waiting = s1 - d * s2 + d * d / 2 * (s3 - s2);
    t.before = t.mass / r;
    t.last = std::exp(q * std::log(r));
    return t;
  }
  if (r < 1) {
    const double power = q * std::log(r);
    t.last = std::exp(power);
    const double rest = power < -40 ? 1 : -std::expm1(power);  // 1 - r^Q
    t.before = rest / d;
    t.mass = r * t.before;
    t.waiting = r * (rest - q * d * t.last) / (d * d);
    return t;
  }
  const double s = 1 / r;
  const double e = 1 - s;
  const double power = q * std::log(s);
  const double rest = power < -40 ? 1 : -std::expm1(power);  // 1 - r^-Q
  t.scale = std::exp(power);
  t.last = 1;
  t.mass = rest / e;
  t.before = s * t.mass;
  t.waiting = q / e - s * rest / (e * e);
  return t;
}

}  // namespace

station::station(const replica_config& c)
    : profile_(&c.profile), shape_(&c.shape), batch_(c.max_batch), queue_(static_cast<double>(c.max_queue)) {
  const auto one = times_at(c.profile, c.shape, 1);
  if (const auto* p = std::get_if<iteration_profile>(&c.profile)) {
    iterations_ = true;
    straight_ = prefill_chunks(*p, c.shape, 1) == prefill_chunks(*p, c.shape, batch_);
  }
  // Both profiles are lines in n; at n = 0 they give what does not depend on it, at 1 more than that the rest.
  const auto none = times_at(c.profile, c.shape, 0);
  fixed_ = none.service_ms;
  slope_ = one.service_ms - none.service_ms;
  base_ = none;
  per_batch_ = {slope_, one.prefill_ms - none.prefill_ms, one.itl_ms - none.itl_ms, one.first_token_ms - none.first_token_ms};
  if (c.shape.out_cv >= 0) wait_factor_ = (1 + squared_variation_of_work(c)) / 2;
}

/// cv^2 of the service a request asks for at a full batch, where waiting happens. Linear: the output's share of the service time
/// varies as the lengths do. Iteration: the work a1 m + b m^2 of m tokens, of gamma-distributed lengths; an iteration's alpha is
/// shared by the batch.
double station::squared_variation_of_work(const replica_config& c) {
  const double v = c.shape.out_cv * c.shape.out_cv;
  const auto* p = std::get_if<iteration_profile>(&c.profile);
  if (!p) {
    const auto full = times_at(c.profile, c.shape, c.max_batch);
    const double share = std::clamp((full.service_ms - full.prefill_ms) / full.service_ms, 0.0, 1.0);
    return v * share * share;
  }
  const double m = c.shape.out_tokens, in = c.shape.in_tokens, n = c.max_batch;
  const double chunks = prefill_chunks(*p, c.shape, n);
  const double a1 = p->alpha_ms / n + p->beta_ms + p->gamma_ms * (in + 0.5), b = p->gamma_ms * m / 2;
  const double mean = p->alpha_ms * chunks / n + (p->beta_ms + p->gamma_ms * (chunks + 1) / 2) * in + a1 * m + b * m * (1 + v);
  return m * m * v * (a1 * a1 + 4 * a1 * b * (1 + v) + 2 * b * b * (1 + v) * (2 + 3 * v)) / (mean * mean);
}

/// The states that matter: p rises to its mode and falls from there, both sides faster than the normal curve of the mode's
/// curvature on the left, and no slower than geometrically on the right.
state_sums station::windowed_sums(double rate) const {
  const double a = rate * slope_, b = rate * fixed_;  // p(n)/p(n-1) = a + b/n
  const int last = batch_;
  const double mode = a < 1 ? std::min(b / (1 - a), static_cast<double>(last)) : last;
  int from = 0;
  if (b > 0 && mode > 16) {
    const double sigma = std::sqrt(mode * mode * (a + b / mode) / b);
    from = std::max(0, static_cast<int>(mode - 9 * sigma - 8));
  }
  constexpr double big = 1e200;
  state_sums s;
  double p = 1;                     // p(n - 1) of the next n
  double mass = from == 0 ? 0 : 1;  // sum p(n), n < N, without p(0)
  double weighted = from;           // sum n p(n), n < N
  double first = 1;                 // p(from)
  int n = from + 1;
  const auto ratio = [&](int k) { return a + b * (k < reciprocals ? inverse.of[k] : 1.0 / k); };
  while (n + 3 < last) {
    double r1, r2, r3, r4;
    if (n + 3 < reciprocals) {
      const double* inv = inverse.of + n;
      r1 = a + b * inv[0];
      r2 = a + b * inv[1];
      r3 = a + b * inv[2];
      r4 = a + b * inv[3];
    } else {
      r1 = a + b / n;
      r2 = a + b / (n + 1);
      r3 = a + b / (n + 2);
      r4 = a + b / (n + 3);
    }
    const double r12 = r1 * r2, r34 = r3 * r4;
    const double q3 = r12 * r3, q4 = r12 * r34;
    const double block = (r1 + r12) + (q3 + q4);
    const double inside = (r12 + q3) + (q3 + 3 * q4);
    mass += p * block;
    weighted += p * (n * block + inside);
    p *= q4;
    n += 4;
    if (p < negligible * mass && r4 < 1) break;
    if (p > big) {
      p /= big;
      mass /= big;
      weighted /= big;
      first /= big;
    }
  }
  if (p < negligible * mass && n > mode) {
    p = 0;  // the rest, the limit and the queue are out of sight
  } else {
    for (; n < last; ++n) {
      p *= ratio(n);
      mass += p;
      weighted += n * p;
    }
    if (last > from) p *= ratio(last);
  }
  s.empty = from == 0 ? first : 0;
  s.anchor = from;
  s.at_anchor = first;
  s.occupied = mass;
  s.in_service = weighted;
  s.accepting = mass + s.empty;
  s.batch_met = weighted + s.accepting;
  add_tail(s, p, rate);
  return s;
}

/// The same for a service time that is no line: every state. Where one chunk more makes the iterations shorter, the ITL of the
/// smaller batch is kept: a larger batch is not faster.
state_sums station::plain_sums(double rate) const {
  constexpr double big = 1e200;
  state_sums s;
  s.empty = s.accepting = s.batch_met = s.at_anchor = 1;
  double itl = times_at(*profile_, *shape_, 1).itl_ms;
  s.itl_met = itl;
  double p = 1;
  for (int n = 1; n <= batch_; ++n) {
    p *= rate * service_ms(n) / n;
    if (p > big) {
      p /= big;
      for (double* x : s.before_limit()) *x /= big;
    }
    if (p > s.at_anchor) {
      s.anchor = n;
      s.at_anchor = p;
    }
    if (n == batch_) break;
    itl = std::max(itl, times_at(*profile_, *shape_, n + 1).itl_ms);
    s.occupied += p;
    s.in_service += n * p;
    s.accepting += p;
    s.batch_met += (n + 1) * p;
    s.itl_met += itl * p;
  }
  s.largest_itl = itl;
  add_tail(s, p, rate);
  return s;
}

/// States N to N + Q, p = p(N); the sums so far are those of the states before.
void station::add_tail(state_sums& s, double p, double rate) const {
  const auto t = p > 0 ? geometric_tail(rate * service_ms(batch_) / batch_, queue_) : tail{};
  if (t.scale != 1)
    for (double* x : s.before_limit()) *x *= t.scale;
  const double at_limit = p * t.scale;
  s.at_limit = at_limit;
  s.occupied += at_limit + p * t.mass;
  s.in_service += batch_ * (at_limit + p * t.mass);
  s.all_busy = p * t.before;
  s.accepting += s.all_busy;
  s.batch_met += batch_ * s.all_busy;
  s.itl_met += s.largest_itl * s.all_busy;
  s.waiting = p * t.waiting;
  s.full = p * t.last;
}

state_sums station::sums(double rate) const { return straight_ ? windowed_sums(rate) : plain_sums(rate); }

/// Mean times of the accepted requests, at the mean n* of the batches that they make on arrival. Because L_s = sum service(n)
/// mu(n) p(n) with mu(n) p(n) = lambda p(n-1), that is the n* of service time(n*) = L_s/X: no difference of near numbers, and a
/// meaning for a flat curve too. Iteration: the prefill is that of batch L_s, as the reference has it, but the ITL is not what
/// that leaves of the service time: as the rate rises, L_s grows by more than n* does (from 0 to N, n* from 1 to N), and of the
/// service time of a short output less and less would be left.
batch_times station::times_of(const state_sums& s, double rate) const {
  const double n = std::min(s.batch_met / s.accepting, static_cast<double>(batch_));
  if (!iterations_) {
    return {fixed_ + slope_ * n, base_.prefill_ms + per_batch_.prefill_ms * n, base_.itl_ms + per_batch_.itl_ms * n,
            base_.first_token_ms + per_batch_.first_token_ms * n};
  }
  const double busy = s.in_service / s.total();
  batch_times t;
  t.service_ms = s.in_service / (rate * s.accepting);
  if (straight_) {
    t.prefill_ms = times_at(*profile_, *shape_, busy).prefill_ms;
    t.itl_ms = times_at(*profile_, *shape_, n).itl_ms;
  } else {
    // Chunks jump from one batch to the next; between them the time is taken as a line.
    const double below = std::floor(busy);
    const double lower = times_at(*profile_, *shape_, below).prefill_ms;
    const double upper = times_at(*profile_, *shape_, below + 1).prefill_ms;
    t.prefill_ms = lower + (busy - below) * (upper - lower);
    t.itl_ms = s.itl_met / s.accepting;
  }
  t.first_token_ms = t.prefill_ms + t.itl_ms;
  return t;
}

replica_metrics station::metrics(double rate) const {
  const auto s = sums(rate);
  const auto times = times_of(s, rate);
  const double total = s.total();
  const double x = rate * (s.accepting / total);
  replica_metrics m;
  m.blocked = s.full / total;
  m.throughput = req_rate::per_ms(x);
  m.in_service = s.in_service / total;
  m.wait_ms = s.waiting / total / x * wait_factor_;
  m.response_ms = m.wait_ms + m.in_service / x;
  m.effective_batch = std::min(s.batch_met / s.accepting, static_cast<double>(batch_));
  m.prefill_ms = times.prefill_ms;
  m.itl_ms = times.itl_ms;
  m.ttft_ms = m.wait_ms + times.first_token_ms;
  m.busy = s.occupied / total;
  m.rho = m.in_service / batch_;
  return m;
}

double station::first_token_ms(double seen, double itl_ms) const {
  if (!iterations_) return base_.first_token_ms + per_batch_.first_token_ms * (seen + 1);
  return times_at(*profile_, *shape_, seen).prefill_ms + itl_ms;
}

/// P(W > t): j + 1 departures at rate mu for the j-th place of the queue, j < Q, in which an arrival ends with p(N) r^j:
/// sum_j p(N) r^j sum_{i<=j} Pois(i; mu t) = p(N) sum_{i<Q} Pois(i; mu t) sum_{i<=j<Q} r^j. Closed forms in incomplete gamma
/// functions lose their digits near r = 1 and overflow beyond it; this sum is of positive terms, and only those about the
/// largest one count. For r <= 1 the power r^i goes into the Poisson term, Pois(i; mu t) r^i = e^{-(mu-lambda)t} Pois(i; lambda
/// t); for r > 1 the powers are relative to r^Q, because p(N) may have underflowed.
double station::wait_tail(const state_sums& s, double rate, double t_ms) const {
  if (s.all_busy <= 0) return 0;
  if (t_ms <= 0) return s.all_busy / s.accepting;
  const double t = t_ms / wait_factor_;
  const double mu = fastest_rate();
  const bool rising = rate > mu;
  const double x = rising ? mu / rate : rate / mu;
  const double mean = (rising ? mu : rate) * t, per_mean = 1 / mean;
  double i = std::min(queue_ - 1, std::floor(mean));
  double term = poisson(i, mean);
  for (const double least = negligible * term; i < queue_ - 1 && term > least; i += 1) term *= mean / (i + 1);
  double power = rising ? std::exp((queue_ - i) * std::log(x)) : 0;  // x^(Q-i)
  double places = geometric_sum(x, queue_ - i) * (rising ? x : 1);   // sum_{i<=j<Q} r^j over r^i, or over r^Q
  double sum = term * places;
  while (i > 0) {
    term *= i * per_mean;
    i -= 1;
    if (rising) {
      power *= x;
      places += power;
    } else {
      places = 1 + x * places;
    }
    sum += term * places;
    if (i < mean && term * places < negligible * sum) break;
  }
  const double mass = rising ? s.full * sum : s.at_limit * std::exp(-(mu - rate) * t) * sum;
  return std::min(mass / s.accepting, s.all_busy / s.accepting);
}

/// From a state whose p has not underflowed, down to `last` or up to it, and from there down to 0.
double station::seen_at_most(const state_sums& s, double rate, int last) const {
  const bool limit = s.at_limit > s.at_anchor;
  const int start = limit ? batch_ : s.anchor;
  double p = limit ? s.at_limit : s.at_anchor;
  double below = 0;
  int n = start;
  for (; n > last; --n) p *= n / (rate * service_ms(n));
  double q = p;
  for (int k = n; k > 0; --k) {
    const double ratio = k / (rate * service_ms(k));
    q *= ratio;
    below += q;
    // Where the service time is a line p has one mode: beyond it the terms fall faster and faster.
    if (straight_ && ratio < 1 && q < negligible * below) break;
  }
  below += p;
  for (++n; n <= last; ++n) {
    p *= rate * service_ms(n) / n;
    below += p;
  }
  return std::min(below / s.accepting, 1.0);
}

double station::ttft_tail(double rate, double t_ms) const {
  const auto s = sums(rate);
  const double itl = iterations_ ? times_of(s, rate).itl_ms : 0;
  const double of_waiting = first_token_ms(iterations_ ? batch_ : batch_ - 1, itl);
  if (t_ms >= of_waiting) return wait_tail(s, rate, t_ms - of_waiting);
  // The prefill alone takes longer with `from` others or more.
  int good = -1, from = batch_;
  while (from - good > 1) {
    const int middle = good + (from - good) / 2;
    (first_token_ms(middle, itl) <= t_ms ? good : from) = middle;
  }
  return good < 0 ? 1 : 1 - seen_at_most(s, rate, good);
}

double station::ttft_quantile(double rate, double q) const {
  const auto s = sums(rate);
  const double itl = iterations_ ? times_of(s, rate).itl_ms : 0;
  const double beyond = 1 - q;
  if (s.all_busy / s.accepting > beyond) {
    const double of_waiting = first_token_ms(iterations_ ? batch_ : batch_ - 1, itl);
    const double mu = fastest_rate();
    double longest = wait_factor_ * (queue_ + 1) / mu;
    while (wait_tail(s, rate, longest) > beyond) longest *= 2;
    const auto excess = [&](double t) { return std::log(beyond) - std::log(std::max(wait_tail(s, rate, t), 1e-300)); };
    const double begin = std::log(beyond) - std::log(s.all_busy / s.accepting);
    const double guess = rate < mu ? -begin / (mu - rate) * wait_factor_ : 0.5 * longest;
    return of_waiting + find_root(excess, 0.0, begin, longest, excess(longest), guess, 1e-10);
  }
  int enough = batch_ - 1, few = -1;
  while (enough - few > 1) {
    const int middle = few + (enough - few) / 2;
    (seen_at_most(s, rate, middle) >= q ? enough : few) = middle;
  }
  return first_token_ms(enough, itl);
}

double station::rate_for_itl(double itl_ms) const {
  if (iterations_ || per_batch_.itl_ms <= 0) return 0;
  // While the limit is far, arrivals meet the time average: n* = 1 + L_s, and L_s = lambda service time(n*).
  const double n = std::min((itl_ms - base_.itl_ms) / per_batch_.itl_ms, static_cast<double>(batch_));
  return (n - 1) / (fixed_ + slope_ * n);
}

}  // namespace inferno::model

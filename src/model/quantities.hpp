#pragma once
// Strong types for the quantities that are easy to confuse: rates come as requests per second, minute and millisecond.
#include <chrono>
#include <compare>

namespace inferno::model {

/// Time in milliseconds with fractions: the unit of every latency in profiles, targets and predictions.
using ms = std::chrono::duration<double, std::milli>;

/// A rate of requests. Stored per second; made and read in the unit that is named.
class req_rate {
 public:
  constexpr req_rate() = default;
  static constexpr req_rate per_sec(double value) { return req_rate(value); }
  static constexpr req_rate per_min(double value) { return req_rate(value / 60.0); }
  static constexpr req_rate per_ms(double value) { return req_rate(value * 1000.0); }
  constexpr double per_sec() const { return per_sec_; }
  constexpr double per_min() const { return per_sec_ * 60.0; }
  constexpr double per_ms() const { return per_sec_ / 1000.0; }
  constexpr auto operator<=>(const req_rate&) const = default;

 private:
  constexpr explicit req_rate(double value) : per_sec_(value) {}
  double per_sec_ = 0;
};

/// Cost in cents per hour.
struct cost_per_hour {
  double cents = 0;
  constexpr auto operator<=>(const cost_per_hour&) const = default;
};

}  // namespace inferno::model

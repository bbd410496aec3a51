#include "model/assignment/lagrangian.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::model {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// A sum that loses nothing to its order (Neumaier).
class exact_sum {
 public:
  void add(double x) {
    const double t = sum_ + x;
    lost_ += std::abs(sum_) >= std::abs(x) ? (sum_ - t) + x : (x - t) + sum_;
    sum_ = t;
  }
  double value() const { return sum_ + lost_; }

 private:
  double sum_ = 0, lost_ = 0;
};

}  // namespace

double lagrangian_bound(const assignment_problem& p, const std::vector<double>& price, const std::vector<std::size_t>& fixed) {
  exact_sum sum;
  double magnitude = 0;
  for (std::size_t t = 0; t < price.size(); ++t) {
    sum.add(-price[t] * p.capacity[t]);
    magnitude += std::abs(price[t] * p.capacity[t]);
  }
  for (std::size_t i = 0; i < p.items(); ++i) {
    double least = infinity, most = 0;
    const bool only = !fixed.empty() && fixed[i] != unfixed;
    const auto from = only ? fixed[i] : p.item_begin[i], to = only ? from + 1 : p.item_begin[i + 1];
    for (auto o = from; o < to; ++o) {
      double x = p.value[o], size = std::abs(x);
      for (auto u = p.use_begin[o]; u < p.use_begin[o + 1]; ++u) {
        const double part = price[static_cast<std::size_t>(p.uses[u].type)] * p.uses[u].units;
        x += part;
        size += part;
      }
      if (x < least) {
        least = x;
        most = size;
      }
    }
    sum.add(least);
    magnitude += most;
  }
  // A product, and a sum of as many terms as there are uses, are each off by half a unit in the last place.
  const double bound = sum.value() - 4 * std::numeric_limits<double>::epsilon() * magnitude;
  return std::isfinite(bound) ? bound : -infinity;
}

std::vector<double> perturbed_values(const assignment_problem& p) {
  double spread = 0;
  for (std::size_t i = 0; i < p.items(); ++i) {
    const auto first = p.value.begin() + static_cast<std::ptrdiff_t>(p.item_begin[i]);
    const auto [least, most] = std::minmax_element(first, p.value.begin() + static_cast<std::ptrdiff_t>(p.item_begin[i + 1]));
    spread += *most - *least;
  }
  const double most = 1e-7 * spread / static_cast<double>(std::max<std::size_t>(1, p.items()));
  auto out = p.value;
  for (std::size_t o = 0; o < out.size(); ++o) {
    // The fractional part of a multiple of the golden ratio: no two options close to each other get the same.
    const double pattern = static_cast<double>(o + 1) * 0.6180339887498949;
    out[o] += most * (pattern - std::floor(pattern));
  }
  return out;
}

}  // namespace inferno::model

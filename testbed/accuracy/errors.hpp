#pragma once
// Mean and worst of relative errors.
#include <algorithm>
#include <cmath>

#include "testbed/accuracy/accuracy.hpp"

namespace inferno::testbed {

class error_sum {
 public:
  void add(double predicted, double measured) { add_error(predicted / measured - 1); }
  void add_error(double relative) {
    sum_ += std::abs(relative);
    worst_ = std::max(worst_, std::abs(relative));
    ++points_;
  }
  figure as(std::string what, std::optional<double> aim = std::nullopt) const {
    return {std::move(what), points_ > 0 ? sum_ / static_cast<double>(points_) : 0, worst_, points_, aim};
  }

 private:
  double sum_ = 0, worst_ = 0;
  std::size_t points_ = 0;
};

}  // namespace inferno::testbed

#pragma once
// A bracketing root finder.
#include <algorithm>
#include <cmath>
#include <utility>

namespace inferno::model {

/// Chandrupatla's method (Adv. Eng. Software 28, 1997): inverse quadratic steps, bisection when they would not help. Needs
/// f(a) <= 0 < f(b); returns the end of the last bracket where f <= 0, to a relative width of `tolerance`, or a point where
/// -`enough` <= f <= 0. `first` in (a, b) is where to begin; a good guess saves half of the evaluations.
template <class F>
double find_root(F f, double a, double fa, double b, double fb, double first, double tolerance, double enough = 0) {
  if (fa == 0) return a;
  double c = a, fc = fa;
  double t = (first - a) / (b - a);
  if (!(t > 0 && t < 1)) t = 0.5;
  for (int i = 0; i < 200; ++i) {
    const double x = a + t * (b - a);
    const double fx = f(x);
    if (std::signbit(fx) == std::signbit(fa)) {
      c = a;
      fc = fa;
    } else {
      c = std::exchange(b, a);
      fc = std::exchange(fb, fa);
    }
    a = x;
    fa = fx;
    const double width = std::abs(b - a);
    if (fx <= 0 && fx >= -enough) return x;
    const double smallest = tolerance * std::abs(x);
    if (width <= smallest) break;
    const double xi = (a - b) / (c - b);
    const double phi = (fa - fb) / (fc - fb);
    const bool quadratic = 1 - std::sqrt(1 - xi) < phi && phi < std::sqrt(xi);
    t = quadratic ? fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb) : 0.5;
    // Half a tolerance past the estimate, so that the bracket closes from both sides.
    const double least = 0.5 * smallest / width;
    t = std::clamp(t, least, 1 - least);
  }
  return fa < 0 ? a : b;
}

}  // namespace inferno::model

#pragma once
// What the demo shows: a live panel on a terminal, plain lines elsewhere.
#include <chrono>
#include <deque>
#include <string>
#include <vector>

namespace inferno::testbed {

/// One look at the story.
struct demo_frame {
  double elapsed_s = 0;
  std::string phase;
  double offered_per_min = 0;  ///< what the load generator sends
  double seen_per_min = 0;     ///< what the controller sees
  double itl_ms = 0, slo_itl_ms = 0, predicted_itl_ms = 0;
  double ttft_ms = 0, slo_ttft_ms = 0, predicted_ttft_ms = 0;
  int current = 0, ready = 0, desired = 0;
  double cost = 0;
};

class demo_view {
 public:
  explicit demo_view(bool live) : live_(live) {}
  /// Stands above everything that follows.
  void header(const std::vector<std::string>& lines);
  /// Something worth a line of its own.
  void event(double elapsed_s, const std::string& what);
  /// Redraws the panel, or prints a line every few seconds.
  void frame(const demo_frame& f);
  /// Leaves the panel as it is; what is printed later goes below.
  void finish();

 private:
  void erase();
  bool live_;
  int drawn_ = 0;  ///< lines of the panel on the screen
  double last_line_s_ = -1e9;
  demo_frame last_{};
  std::deque<int> replicas_;  ///< one per second
};

}  // namespace inferno::testbed

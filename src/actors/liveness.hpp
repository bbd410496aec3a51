#pragma once
// Whether the actors still answer: what /healthz reports.
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace inferno::actors {

/// Last signs of life by component. Written by the supervisor, read by the probe port. Thread-safe.
class liveness {
 public:
  using clock = std::chrono::steady_clock;
  static constexpr std::chrono::seconds beat{5};    ///< between two questions of the supervisor
  static constexpr std::chrono::seconds limit{60};  ///< a component that has not answered for so long is dead or blocked

  explicit liveness(std::function<clock::time_point()> now = clock::now) : now_(std::move(now)) {}

  /// From now on the component is expected to answer; one that is expected already keeps its last answer, so that restarts in
  /// vain do not count as answers.
  void expect(const std::string& component);
  void answered(const std::string& component);
  /// The supervisor has ended, and with it everything.
  void end();
  /// "" = all have answered lately; else which has not, and for how long.
  std::string problem() const;

 private:
  std::function<clock::time_point()> now_;
  mutable std::mutex mutex_;
  std::map<std::string, clock::time_point> last_;
  bool ended_ = false;
};

}  // namespace inferno::actors

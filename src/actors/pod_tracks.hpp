#pragma once
// The servers of all pods, followed from round to round; what both sources of metrics share.
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "actors/ports.hpp"
#include "actors/server_track.hpp"

namespace inferno::actors {

class pod_tracks {
 public:
  /// A round of metrics begins. `now_s`: the controller's steady clock, as in metrics_source::collect.
  void begin(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s);
  /// What a reading of one of the targets says. `time_s`: when it was made, on the controller's clock.
  pod_sample observe(const scrape_target& target, std::string server, server_reading reading, double time_s);
  void clear() { *this = {}; }

 private:
  struct followed {
    server_track track;
    double heard_s = 0;  ///< in the round of then
  };
  struct pod {
    std::map<std::string, followed> servers;
    std::optional<double> absent_s;  ///< it was not a target yet at this round, while others of its model were
  };
  std::optional<double> new_since(const pod& p, const server_reading& r, double time_s) const;

  std::shared_ptr<const std::vector<scrape_target>> targets_;
  std::map<kube::object_key, pod> pods_;
  std::set<std::pair<std::string, std::string>> models_;  ///< of the targets, by namespace
  std::optional<double> first_round_s_, round_s_;
  double round_before_s_ = 0;
};

}  // namespace inferno::actors

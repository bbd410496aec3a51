#pragma once
// One variant's load from what its servers say, which they say over different spans of time.
#include <array>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "actors/ports.hpp"

namespace inferno::actors {

/// The sums of a load_sample.
constexpr std::array load_counts{&load_sample::arrivals,   &load_sample::completions, &load_sample::in_tokens,
                                 &load_sample::out_tokens, &load_sample::itl_sum_s,   &load_sample::itl_count,
                                 &load_sample::ttft_sum_s, &load_sample::ttft_count,  &load_sample::wait_sum_s,
                                 &load_sample::wait_count};

/// Counts of one server over the sum of their spans.
struct server_load {
  double span_s = 0;
  std::array<double, load_counts.size()> counts{};
  bool whole_life = false;  ///< nothing was before it, or nothing comes after it: the counts are all there is
  void add(const load_sample& more);
};
/// By how much a server's counts are scaled up at most, so that a few requests in a short span do not look like many.
constexpr double most_amplified = 4;
/// Sums of servers side by side over `span_s` > 0. Rates add up: each server's counts are scaled to the span. Those of a whole
/// life are only ever scaled down.
load_sample side_by_side(const std::vector<const server_load*>& servers, double span_s);

/// Gathers what the servers of a variant say until all have said something, and then gives it as one sample over their common
/// span. While pods are silent the others' is given as it comes, marked by pods_reporting < pods; when all are back within
/// `window_s`, one sample over the whole silence replaces what was given meanwhile: it covers that time.
class load_alignment {
 public:
  /// After each round. `pods`: the variant's ready pods; `samples`: what the round has about them; `time_s`: of the result.
  /// span_s = 0: the gauges are new, and no counts are given.
  load_sample next(const std::vector<const pod_sample*>& samples, const std::vector<scrape_target>& pods, double time_s,
                   double window_s);

 private:
  struct server {
    server_load since_given;  ///< since a sample was given last
    server_load since_whole;  ///< since a sample of all pods was given last
    bool here = false;        ///< its pod is still among the variant's
    bool reports = false;     ///< its pod did in the last round
    double heard_s = 0;       ///< when it last told counts, of a span of last_s
    float last_s = 0;
    std::array<float, load_counts.size()> last{};
    void leave(double time_s);
  };
  using server_key = std::pair<kube::object_key, std::string>;
  load_sample state_of(const std::vector<const pod_sample*>& samples, const std::vector<scrape_target>& pods, double time_s);
  load_sample give(server_load server::*what, double elapsed_s);
  std::map<server_key, server> servers_;
  double waits_since_s_ = -1;           ///< counts have waited for those of other servers; -1 = none wait
  double longest_step_s_ = 0;           ///< the longest span of a single sample among these counts
  double round_s_ = -1;                 ///< of the last round; -1 = there was none
  double given_s_ = -1, whole_s_ = -1;  ///< when counts were given last, and those of all pods; -1 = never
};

}  // namespace inferno::actors

#pragma once
// Several instances of one pod in Prometheus: several servers, or one server that is scraped several times.
#include <deque>
#include <map>
#include <string>
#include <vector>

#include "actors/prometheus_join.hpp"

namespace inferno::actors {

/// Follows the instances of one pod from round to round and says which of them count.
///
/// A pod's server may be scraped under two values of the label `instance`: by address and by host name, or on its own port and on
/// the port where a service mesh merges metrics. Its load would count twice. Two servers in a pod are as common, and their loads
/// add up. What tells them apart is what the counters say:
///
/// - Servers of different engines (label `engine`, none in common) are several, at once.
/// - Otherwise instances count as one server until their counters cannot be one server's: a counter read later is lower than the
///   same counter of the other instance, read `apart_s` earlier, although nothing has restarted. That has to be seen twice within
///   five minutes, the second time in newer scrapes of both. It takes two or three scrape intervals.
/// - Instances that were told apart and later have equal counters, in two scrapes of both, are one server again. Two servers are
///   not equal to the token in every counter.
///
/// Until it is known, a duplicate thus buys nothing. A doubled load that is real is not scaled away meanwhile either: it is part
/// of the estimate of the stabilization window by the time the counters have shown it, and at the start of the controller
/// nothing is scaled down before that window has passed. Two servers whose counters stay within what each adds between two
/// scrapes for as long as they are never idle cannot be told from one; a label `engine` tells them.
class pod_instances {
 public:
  /// Seconds between two scrapes that are compared. A server may write its counters that much later than the time Prometheus
  /// gives the scrape, and two Prometheis' clocks may differ.
  static constexpr double apart_s = 5;
  /// More instances than this of one pod are not compared; each then counts with those before it as one server.
  static constexpr std::size_t most_instances = 32;

  /// A round's servers of the pod, each under its own instance. Returns for each whether it counts; the others are duplicates of
  /// one that does.
  std::vector<bool> counted(const std::vector<scraped_server>& servers);

 private:
  struct snapshot {
    double scraped_s = 0;  ///< on Prometheus' clock
    std::vector<server_reading::series> counts;
    std::optional<double> started_s;
  };
  struct instance {
    std::deque<snapshot> before;  ///< newest last, some seconds apart
    double restarted_s = 0;       ///< the scrape that showed it, 0 = none has
    bool counts = false;          ///< in the last round
  };
  /// What is known of two instances, by name.
  struct pair {
    bool several = false;
    int evidence = 0;                  ///< against what `several` says, in a row
    double first_s = 0, second_s = 0;  ///< the scrapes of the last evidence
  };
  enum class verdict { nothing, several, equal };
  static verdict compare(const snapshot& earlier, const snapshot& later);
  void note(const std::string& name, const snapshot& now);
  void judge(const std::string& name, const snapshot& now, const std::string& other);
  bool several(const scraped_server& a, const scraped_server& b) const;
  void forget(double now_s);

  std::map<std::string, instance> instances_;
  std::map<std::pair<std::string, std::string>, pair> pairs_;
};

}  // namespace inferno::actors

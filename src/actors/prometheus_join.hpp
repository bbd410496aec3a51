#pragma once
// From the answers of a Prometheus to one sample a pod; pure.
#include <limits>
#include <map>

#include "actors/ports.hpp"
#include "net/metrics/prometheus.hpp"

namespace inferno::actors {

/// When each server was scraped last. Asked before the others, so that no rate is older than it looks.
std::string prometheus_scraped_query();
/// The queries of a cycle over a window; their number does not depend on the number of variants.
std::vector<std::string> prometheus_queries(std::chrono::milliseconds window);
/// Requests that wait at the gateway (flow control of the Gateway API Inference Extension), by namespace and model.
std::string gateway_queue_query();

/// What Prometheus has of a pod now.
struct pod_reading {
  pod_sample sample;                ///< its time is that of the last scrape
  std::optional<double> scraped_s;  ///< the last scrape, on Prometheus' clock; nullopt: its series have ended
  double age_s = 0;                 ///< since then
  double scrapes = 0;               ///< in the window, by all jobs: while it fills, each scrape makes them more
  double total = 0, in_window = 0;  ///< requests done since the server started, and in the window
};

/// The answers to all queries of a cycle, joined. Pods are known by the labels namespace and pod, or, where a scrape
/// configuration sets none, by instance = ip:port. What several jobs scrape from one instance counts once; a pod's instances add
/// up.
class prometheus_join {
 public:
  prometheus_join(const std::vector<scrape_target>& targets, double now_s, double window_s);
  /// Of prometheus_scraped_query().
  void add_scraped(const std::vector<net::metrics::vector_sample>& values);
  /// Values of one query; `field` is its index in prometheus_queries().
  void add(std::size_t field, const std::vector<net::metrics::vector_sample>& values);
  std::map<kube::object_key, pod_reading> readings() const;
  /// Of gateway_queue_query().
  static std::vector<gateway_queue> queues(const std::vector<net::metrics::vector_sample>& values);

 private:
  /// One server as one job scrapes it.
  struct row {
    std::vector<double> values;
    std::vector<bool> present;
    double scraped_s = -std::numeric_limits<double>::infinity();
    double age_s = 0;
    bool rates() const;
    bool better_than(const row& other) const;
  };
  row* row_of(const net::metrics::vector_sample& v);
  pod_sample sample_of(const kube::object_key& pod, const row& r) const;
  double now_s_;
  double window_s_;
  std::map<std::string, kube::object_key> by_instance_;
  std::map<kube::object_key, std::string> model_of_;
  /// By pod, instance, and job and service.
  std::map<kube::object_key, std::map<std::string, std::map<std::pair<std::string, std::string>, row>>> rows_;
};

/// What was heard of each pod before, by which a pod of which nothing new comes is told from one that has nothing to do.
///
/// A rate over a window falls by itself when scrapes stop, and is too low until the window is full again; neither is a load that
/// falls. So a sample is taken when a scrape is first seen and stays the pod's until the next one; after three scrape intervals
/// without one the pod is silent. What is first seen, or seen again after that, is believed when another scrape does not make the
/// window fuller. A server that has done next to nothing before the window is new, and believed at once.
class scrape_history {
 public:
  /// One sample for each target of which anything is or was known.
  std::vector<pod_sample> judge(const std::vector<scrape_target>& targets, std::map<kube::object_key, pod_reading> readings,
                                double window_s);
  /// Other windows, another Prometheus: nothing is known.
  void clear() { heard_.clear(); }

 private:
  struct heard {
    double scraped_s = 0;
    double interval_s = 0;  ///< between scrapes, 0 = not known
    double scrapes = 0;
    double since_s = 0;  ///< the first scrape, or the first after a silence
    bool filling = true;
    bool silent = false;
    pod_sample sample;
    double limit_s(double window_s) const;
    void scraped(const pod_reading& r, double window_s);
  };
  std::map<kube::object_key, heard> heard_;
};

}  // namespace inferno::actors

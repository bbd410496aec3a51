#pragma once
// From the answers of a Prometheus to readings of the servers' counters; pure.
#include <array>
#include <map>

#include "actors/pod_counters.hpp"
#include "actors/ports.hpp"
#include "net/metrics/prometheus.hpp"

namespace inferno::actors {

/// The queries of a round, whose number depends on nothing: how many requests there are, their lengths, their latencies. Each
/// gives the counters themselves, by server, engine and why requests ended, and when the server was scraped, so that an answer is
/// consistent whichever of several Prometheis gives it. A series that is there several times under labels of the collection
/// counts once. The first gives the start times of the servers' processes too.
std::array<std::string, 3> prometheus_queries();
/// Labels by which its samples, and those of the queue at the gateway, are read.
const std::vector<std::string>& prometheus_labels();
/// What an answer to one of them may have. The largest has 8 series of each engine and two times of each server, about 350 bytes
/// of text a sample: 26 samples of a pod with three engines. Twice that has room, which a second job that scrapes the pods takes,
/// beside the pods of others that the same Prometheus knows.
net::metrics::answer_limits prometheus_limits(std::size_t targets);
/// Requests that wait at the gateway (flow control of the Gateway API Inference Extension), by namespace and model, under the
/// metric's present and its older name.
std::string gateway_queue_query();

/// What Prometheus has of a server.
struct scraped_server {
  const scrape_target* target = nullptr;
  std::string server;      ///< the label instance
  server_reading reading;  ///< clock_s and wall_s: the last scrape, on Prometheus' clock
  double age_s = 0;        ///< since the last scrape
  std::string problem;     ///< a value that cannot be, by name; "" = none
};

/// The answers to all queries of a round, joined. Pods are known by the labels namespace and pod, or, where a scrape
/// configuration sets none, by instance = ip:port. Of several jobs that scrape a server the one with the most metrics counts, of
/// equals the one that scraped it last.
class prometheus_join {
 public:
  /// The targets must outlive it.
  explicit prometheus_join(const std::vector<scrape_target>& targets);
  /// A value of one query; `query` is its index in prometheus_queries(). Only what is said about the targets is kept.
  void add(std::size_t query, const net::metrics::vector_sample& value);
  void add(std::size_t query, const std::vector<net::metrics::vector_sample>& values) {
    for (const auto& v : values) add(query, v);
  }
  /// Why the answers cannot be used: more instances and jobs than the targets can have. "" = they can.
  const std::string& problem() const { return problem_; }
  /// By pod, and within one by server.
  std::vector<scraped_server> servers() const;
  /// Of pods of which nothing else is known: another model of which there are series.
  std::map<kube::object_key, std::string> other_models() const;
  /// Of gateway_queue_query(). A model that is there under the metric's present name counts under that one only.
  static std::vector<gateway_queue> queues(const std::vector<net::metrics::vector_sample>& values);

 private:
  struct value {
    counter_field field;
    bool aborted;
    std::uint64_t labels;
    double number;
  };
  /// What one query said about a server as one job scrapes it.
  struct part {
    double scraped_s = 0;  ///< 0 = never
    double age_s = 0;
    std::vector<value> values;
  };
  struct row {
    std::array<part, 3> parts;
    bool better_than(const row& other) const;
  };
  row* row_of(const net::metrics::vector_sample& v);
  row* make_row(const scrape_target& target, const net::metrics::vector_sample& v);
  static scraped_server server_of(const row& r);
  std::size_t most_rows_;
  std::size_t number_of_rows_ = 0;
  std::string problem_;
  std::map<std::string, const scrape_target*> by_instance_;
  std::map<kube::object_key, const scrape_target*> by_pod_;
  std::map<kube::object_key, std::string> other_model_of_;
  /// By pod, instance, and job and service.
  std::map<kube::object_key, std::map<std::string, std::map<std::pair<std::string, std::string>, row>>> rows_;
};

/// Tells a pod that is not scraped any more from one that has nothing new to say: three scrape intervals without a scrape are a
/// silence.
class scrape_rhythm {
 public:
  /// A round's view of the pod: when it was scraped last, on Prometheus' clock (nullopt: Prometheus does not know it now).
  /// Returns what is wrong, "" = nothing. nullopt: it has never been scraped.
  std::optional<std::string> seen(const kube::object_key& pod, std::optional<double> scraped_s, double age_s, double window_s);
  /// Only these pods are remembered.
  void keep(const std::vector<scrape_target>& targets);

 private:
  struct heard {
    double scraped_s = 0;
    double interval_s = 0;  ///< between scrapes, 0 = not known
  };
  std::map<kube::object_key, heard> heard_;
};

}  // namespace inferno::actors

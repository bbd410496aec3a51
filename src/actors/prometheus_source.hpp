#pragma once
// Metrics from Prometheus: a constant number of grouped queries for all variants together.
#include "actors/ports.hpp"
#include "net/metrics/prometheus.hpp"

namespace inferno::actors {

/// The answers to all queries of a cycle, joined to one sample a pod. Pods are known by the labels namespace and pod, or, where a
/// scrape configuration sets none, by instance = ip:port.
class prometheus_join {
 public:
  prometheus_join(const std::vector<scrape_target>& targets, double now_s, double window_s);
  /// Values of one query; `field` is its index in prometheus_queries().
  void add(std::size_t field, const std::vector<net::metrics::vector_sample>& values);
  std::vector<pod_sample> samples() const;
  /// Of gateway_queue_query().
  static std::vector<gateway_queue> queues(const std::vector<net::metrics::vector_sample>& values);

 private:
  struct row {
    std::vector<double> values;
    std::vector<bool> present;
  };
  double now_s_;
  double window_s_;
  std::map<std::string, kube::object_key> by_instance_;
  std::map<kube::object_key, std::string> model_of_;
  std::map<kube::object_key, row> rows_;
};

/// The queries of a cycle over a window; their number does not depend on the number of variants.
std::vector<std::string> prometheus_queries(std::chrono::milliseconds window);

/// Requests that wait at the gateway (flow control of the Gateway API Inference Extension), by namespace and model.
std::string gateway_queue_query();

class prometheus_source final : public metrics_source {
 public:
  /// `http`: settings of its client but TLS. The URL may be empty until configure() brings one.
  prometheus_source(boost::asio::any_io_executor executor, net::http_client_config http, net::metrics::prometheus_access access,
                    std::chrono::milliseconds window, std::function<void(std::string_view)> on_problem = {});
  ~prometheus_source() override;
  std::string_view name() const override { return "prometheus"; }
  void collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
               std::function<void(std::shared_ptr<const collected_metrics>)> done) override;
  void configure(const runtime_settings& settings) override;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::actors

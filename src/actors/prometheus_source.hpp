#pragma once
// Metrics from Prometheus: a constant number of grouped queries for all variants together.
#include "actors/ports.hpp"

namespace inferno::actors {

class prometheus_source final : public metrics_source {
 public:
  /// `http`: settings of its client but TLS. The URL may be empty until configure() brings one.
  prometheus_source(boost::asio::any_io_executor executor, net::http_client_config http, net::metrics::prometheus_access access,
                    std::chrono::milliseconds window);
  ~prometheus_source() override;
  std::string_view name() const override { return "prometheus"; }
  void collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s, std::chrono::milliseconds allowed,
               std::function<void(std::shared_ptr<const collected_metrics>)> done) override;
  void configure(const runtime_settings& settings) override;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::actors

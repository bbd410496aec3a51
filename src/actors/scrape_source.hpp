#pragma once
// Metrics straight from the pods: every target's /metrics, many at a time.
#include <boost/asio/any_io_executor.hpp>

#include "actors/ports.hpp"
#include "net/http/client.hpp"

namespace inferno::actors {

class scrape_source final : public metrics_source {
 public:
  /// At most `parallel` requests at once, each given `timeout`. A response is read as it comes, within exposition_limits; one
  /// whose end cannot be told from a cut connection is refused.
  scrape_source(std::shared_ptr<net::http_client> http, std::size_t parallel = 128,
                std::chrono::milliseconds timeout = std::chrono::seconds(5));
  ~scrape_source() override;
  std::string_view name() const override { return "scrape"; }
  void collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s, std::chrono::milliseconds allowed,
               std::function<void(std::shared_ptr<const collected_metrics>)> done) override;
  void configure(const runtime_settings&) override {}

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::actors

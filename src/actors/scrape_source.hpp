#pragma once
// Metrics straight from the pods: every target's /metrics, many at a time.
#include <boost/asio/any_io_executor.hpp>

#include "actors/ports.hpp"
#include "net/http/client.hpp"

namespace inferno::actors {

struct scrape_options {
  std::size_t parallel = 128;               ///< requests at once of a round
  std::chrono::milliseconds timeout{5000};  ///< of a request of a round
  /// A pod that takes longer, and four times as long as the median of the last round, is slow: the round goes on without it.
  std::chrono::milliseconds patience{1000};
  /// Of a request to a slow pod. Servers of vLLM answer from the event loop that serves the requests, and when that is
  /// overloaded it takes 6 to 20 s.
  std::chrono::milliseconds slow_timeout{30000};
  std::size_t slow_parallel = 128;                   ///< slow pods that are asked at once, apart from the rounds
  std::chrono::milliseconds longest_backoff{60000};  ///< between two requests to a pod that does not answer
  /// The URL of a target's metrics; empty = http://ip:port/metrics.
  std::function<std::string(const scrape_target&)> url{};
};

/// Slow pods are asked apart from the rounds, so that they delay no other pod: what they answer counts in the next round. One
/// that does not answer within `slow_timeout` is asked again after `timeout`, then after twice as long, and so on. A pod that
/// answers within half the patience takes part in the rounds again. At most `parallel` requests of a round and twice as many
/// that no round waits for are under way.
class scrape_source final : public metrics_source {
 public:
  /// A response is read as it comes, within exposition_limits; one whose end cannot be told from a cut connection is refused.
  explicit scrape_source(std::shared_ptr<net::http_client> http, scrape_options options = {});
  ~scrape_source() override;
  std::string_view name() const override { return "scrape"; }
  bool shows_gateways() const override { return false; }
  void collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s, std::chrono::milliseconds allowed,
               std::function<void(std::shared_ptr<const collected_metrics>)> done) override;
  void configure(const runtime_settings&) override {}

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::actors

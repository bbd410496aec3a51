#pragma once
// Prometheus HTTP API: instant queries.
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/background.hpp"
#include "net/http/client.hpp"
#include "net/metrics/answer_reader.hpp"

namespace inferno::net::metrics {

struct query_options {
  /// Of the whole exchange, and told to Prometheus, so that it does not go on for nobody; absent = 30 s, and Prometheus' own.
  std::optional<std::chrono::milliseconds> timeout{};
  answer_limits limits{};
  std::vector<std::string> labels{};  ///< to keep; empty = all
  std::shared_ptr<background_thread> parser =
      nullptr;  ///< parses the answer and calls the sink; nullptr = the client's executor does
};

/// `base_url` as in PROMETHEUS_BASE_URL. Bearer token as in kube::connection.
class prometheus_client {
 public:
  prometheus_client(std::shared_ptr<http_client> http, std::string base_url, std::function<std::string()> bearer_token = {});
  /// Asks for an instant vector (a scalar becomes one sample without labels) and gives each of its samples to `take`, which owns
  /// what it refers to. They count only if the query succeeds. The answer is read in pieces and never kept as a whole.
  /// Prometheus' own errors carry its errorType and message.
  asio::awaitable<result<void>> query(std::string promql, answer_reader::sink take, query_options options);

 private:
  std::shared_ptr<http_client> http_;
  std::string base_url_;
  std::function<std::string()> bearer_token_;
};

}  // namespace inferno::net::metrics

#pragma once
// Prometheus HTTP API: instant queries.
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/http/client.hpp"

namespace inferno::net::metrics {

struct vector_sample {
  std::vector<std::pair<std::string, std::string>> labels;
  double time_s = 0;
  double value = 0;  ///< may be NaN or infinite
  std::string_view label(std::string_view name) const;
};

/// The answer to an instant query. `who`: whom messages are to name.
result<std::vector<vector_sample>> decode_answer(const http_response& response, const std::string& who);

/// `base_url` as in PROMETHEUS_BASE_URL. Bearer token as in kube::connection.
class prometheus_client {
 public:
  prometheus_client(std::shared_ptr<http_client> http, std::string base_url, std::function<std::string()> bearer_token = {});
  /// An instant vector (a scalar becomes one sample without labels). Prometheus' own errors carry its errorType and message.
  /// `timeout`: of the whole exchange, and told to Prometheus, so that it does not go on for nobody; absent = the HTTP client's.
  asio::awaitable<result<std::vector<vector_sample>>> query(std::string promql,
                                                            std::optional<std::chrono::milliseconds> timeout = {});

 private:
  std::shared_ptr<http_client> http_;
  std::string base_url_;
  std::function<std::string()> bearer_token_;
};

}  // namespace inferno::net::metrics

#pragma once
// How to reach a Prometheus: URL, TLS, token; and the client for it, made anew when settings or certificate files change.
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/files.hpp"
#include "net/http/client.hpp"
#include "net/metrics/prometheus.hpp"
#include "net/tls_files.hpp"
#include "net/token_file.hpp"

namespace inferno::net::metrics {

/// As the PROMETHEUS_* settings give it.
struct prometheus_access {
  std::string url;  ///< BASE_URL
  tls_file_options tls{};
  std::string bearer_token{};  ///< BEARER_TOKEN
  std::string token_path{};    ///< TOKEN_PATH, goes before BEARER_TOKEN; read again when the file changes
  bool operator==(const prometheus_access&) const = default;
};

/// Use from the executor of its clients.
class prometheus_connection {
 public:
  /// `base`: all settings of the client but TLS.
  prometheus_connection(asio::any_io_executor executor, http_client_config base);
  /// Files that were good once and cannot be used now: what there is stays, and problem() says why. Error kind `tls`: field and
  /// path, as long as there was never a usable set; likewise of a token file.
  result<prometheus_client> client(const prometheus_access& access);
  /// What is wrong with changed certificate files, "" = nothing.
  const std::string& problem() const { return problem_; }

 private:
  using stamps = std::vector<std::optional<file_stamp>>;
  asio::any_io_executor executor_;
  http_client_config base_;
  std::optional<prometheus_access> access_;
  stamps stamps_;
  std::string problem_;
  std::shared_ptr<http_client> http_;
  std::function<std::string()> token_;
};

}  // namespace inferno::net::metrics

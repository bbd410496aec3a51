#pragma once
// The whole controller in one object: I/O thread, actor system, ports, HTTP endpoints.
#include <memory>
#include <string>
#include <tl/expected.hpp>

#include "actors/board.hpp"
#include "actors/leader.hpp"
#include "actors/log.hpp"

namespace inferno::actors {

enum class metrics_source_kind { prometheus, scrape };

struct controller_config {
  kube::connection api;
  std::string ns = "inferno-autoscaler-system";  ///< of the ConfigMaps and the lease
  std::string watch_namespace;                   ///< as in supervisor_config
  std::string instance;                          ///< likewise
  std::string metrics_address = ":8080";         ///< /metrics and /api/v1; "0" = none
  /// Metrics over TLS, to clients whose token the API server knows and allows to get /metrics; else plain, to everybody.
  bool metrics_secure = true;
  std::string
      metrics_cert_path;  ///< folder with tls.crt and tls.key, read again when they change; "" = a self-signed certificate
  std::string probe_address = ":8081";  ///< /healthz and /readyz; "0" = none
  metrics_source_kind source = metrics_source_kind::prometheus;
  runtime_settings defaults;  ///< what the ConfigMap does not say
  std::chrono::milliseconds scrape_interval{2000};
  std::optional<leader_config> election{};  ///< lease times and identity; the rest is filled in
  std::size_t threads = 2;                  ///< of the actor scheduler
  log logger;
  wall_clock now = [] { return std::chrono::system_clock::now(); };
};

class controller {
 public:
  /// Error: an address cannot be bound or a setting is wrong; the message names it.
  static tl::expected<std::unique_ptr<controller>, std::string> start(controller_config config);
  ~controller();  ///< stop()
  controller(const controller&) = delete;
  controller& operator=(const controller&) = delete;

  /// Begins no more writes, waits for those under way (at most `grace`), gives the lease back. Idempotent.
  void stop(std::chrono::milliseconds grace = std::chrono::milliseconds(1500));
  std::string metrics_address() const;  ///< "127.0.0.1:8080", "" = none
  std::string probe_address() const;
  std::shared_ptr<const board_view> view() const;

 private:
  struct impl;
  explicit controller(std::unique_ptr<impl>);
  std::unique_ptr<impl> impl_;
};

}  // namespace inferno::actors

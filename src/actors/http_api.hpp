#pragma once
// What the controller serves: /metrics, /api/v1/variants, /healthz, /readyz. Read-only.
#include <atomic>
#include <memory>

#include "actors/board.hpp"
#include "actors/http_auth.hpp"
#include "net/http/server.hpp"

namespace inferno::actors {

/// GET /metrics (Prometheus text), /api/v1/variants (?namespace=...), /api/v1/variants/{namespace}/{name} and .../explain (JSON;
/// ?output=yaml or table). With `auth` to those who may `get` /metrics; nullptr: to everybody.
net::http_handler make_metrics_handler(std::shared_ptr<const board_view> view, std::shared_ptr<http_auth> auth = nullptr);
/// GET /healthz: 200 while the supervisor lives. GET /readyz: 200 once every watch has delivered its first complete state.
net::http_handler make_probe_handler(std::shared_ptr<const board_view> view, std::shared_ptr<const std::atomic<bool>> alive);

}  // namespace inferno::actors

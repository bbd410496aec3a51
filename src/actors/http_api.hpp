#pragma once
// What the controller serves: /metrics, /api/v1/variants, /healthz, /readyz. Read-only.
#include <functional>
#include <memory>
#include <string>

#include "actors/board.hpp"
#include "actors/http_auth.hpp"
#include "net/background.hpp"
#include "net/http/server.hpp"

namespace inferno::actors {

/// GET /metrics (Prometheus text), /api/v1/variants (?namespace=...), /api/v1/variants/{namespace}/{name} and .../explain (JSON;
/// ?output=yaml or table). With `auth` to those who may `get` /metrics; nullptr: to everybody. Answers are rendered on
/// `renderer`, 503 when it has too much to do; nullptr: on the server's own thread.
net::http_handler make_metrics_handler(std::shared_ptr<const board_view> view, std::shared_ptr<http_auth> auth = nullptr,
                                       std::shared_ptr<net::background_thread> renderer = nullptr);
/// GET /healthz: 200 while `problem` returns "", else 503 with what it returns. GET /readyz: 200 once every watch has delivered
/// its first complete state.
net::http_handler make_probe_handler(std::shared_ptr<const board_view> view, std::function<std::string()> problem);

}  // namespace inferno::actors

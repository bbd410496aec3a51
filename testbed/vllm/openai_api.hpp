#pragma once
// The HTTP side of an emulated vLLM server: the OpenAI-compatible endpoints, /health and /metrics.
#include "testbed/vllm/activity.hpp"
#include "testbed/vllm/server.hpp"

namespace inferno::testbed {

/// POST /v1/chat/completions and /v1/completions (plain, or streamed as server-sent events), GET /v1/models, /health, /version,
/// /metrics. Completions are counted and logged in `activity`. A prompt has as many tokens as it has words.
net::http_handler make_vllm_handler(vllm_actor server, std::shared_ptr<const vllm_metrics> metrics, vllm_settings settings,
                                    std::shared_ptr<server_activity> activity, asio::any_io_executor executor);

}  // namespace inferno::testbed

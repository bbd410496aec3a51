#include "testbed/vllm/emulated_vllm.hpp"

#include <fmt/format.h>

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

namespace inferno::testbed {

tl::expected<std::unique_ptr<emulated_vllm>, std::string> emulated_vllm::start(host& where, const vllm_settings& settings,
                                                                               const std::string& address, unsigned short port) {
  auto metrics = std::make_shared<vllm_metrics>(settings.model, settings.engine.kv_tokens);
  const asio::any_io_executor executor = where.io().executor();
  std::unique_ptr<emulated_vllm> out(new emulated_vllm);
  out->actor_ = where.system().spawn(vllm_server, vllm_config{settings, metrics, executor});
  net::http_server_config config;
  config.address = address;
  config.port = port;
  auto server =
      net::http_server::start(executor, config, make_vllm_handler(out->actor_, metrics, settings, out->activity_, executor));
  if (!server) return tl::unexpected(server.error().message);
  out->server_ = std::move(*server);
  out->activity_->log.write(fmt::format("serving model {} at {}: {} requests at once, {} waiting", settings.model, out->url(),
                                        settings.engine.max_batch, settings.engine.max_queue));
  return out;
}

void emulated_vllm::drain() {
  server_->drain();
  activity_->log.write("shutting down: no new requests; those under way are finished");
}

emulated_vllm::~emulated_vllm() {
  if (server_) server_->stop();
  if (actor_) caf::anon_send(actor_, stop_server{});
}

}  // namespace inferno::testbed

#pragma once
// An emulated vLLM server: its actor and its listening socket in one object.
#include "testbed/host.hpp"
#include "testbed/vllm/openai_api.hpp"

namespace inferno::testbed {

class emulated_vllm {
 public:
  /// Error: the address cannot be bound; the message names it. Listens on the I/O thread of `where`, which must live longer.
  static tl::expected<std::unique_ptr<emulated_vllm>, std::string> start(host& where, const vllm_settings& settings,
                                                                         const std::string& address, unsigned short port);
  ~emulated_vllm();
  emulated_vllm(const emulated_vllm&) = delete;
  emulated_vllm& operator=(const emulated_vllm&) = delete;
  /// No new requests from now on; those it has go on.
  void drain();
  const std::shared_ptr<server_activity>& activity() const { return activity_; }
  std::string address() const { return server_->address(); }
  std::string url() const { return "http://" + server_->address(); }

 private:
  emulated_vllm() = default;
  vllm_actor actor_;
  std::shared_ptr<server_activity> activity_ = std::make_shared<server_activity>();
  std::unique_ptr<net::http_server> server_;
};

}  // namespace inferno::testbed

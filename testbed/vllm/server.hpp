#pragma once
// The actor of an emulated vLLM server: owns the engine, keeps time, feeds tokens to those who wait for them.
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/typed_actor.hpp>
#include <random>

#include "net/http/server.hpp"
#include "testbed/vllm/metrics.hpp"
#include "testbed/vllm/settings.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;

/// Where the tokens of one request arrive. Lives on the I/O executor; only `deliver` in server.cpp writes to it.
struct token_channel {
  explicit token_channel(const asio::any_io_executor& executor) : news(executor, asio::steady_timer::time_point::max()) {}
  int tokens = 0;  ///< made so far
  bool done = false;
  bool refused = false;
  bool by_length = false;
  asio::steady_timer news;  ///< cancelled when anything above changes
};

/// max_tokens 0: the request stops by itself. exact: it does not stop before max_tokens.
struct generate {
  std::uint64_t id = 0;
  int in = 0;
  int max_tokens = 0;
  bool exact = false;
  std::shared_ptr<token_channel> channel;
};
struct cancel_request {
  std::uint64_t id = 0;
};
struct engine_tick {
  std::uint64_t epoch = 0;
};
struct stop_server {};

using vllm_actor = caf::typed_actor<caf::reacts_to<generate>, caf::reacts_to<cancel_request>, caf::reacts_to<engine_tick>,
                                    caf::reacts_to<stop_server>>;

struct vllm_config {
  vllm_settings settings;
  std::shared_ptr<vllm_metrics> metrics;
  asio::any_io_executor executor;
};

struct vllm_state {
  static inline const char* name = "vllm_server";
  struct request {
    double arrived_ms = 0, admitted_ms = 0, first_ms = 0, last_ms = 0;
    double prefilled_ms = 0;
    int in = 0, out = 0, made = 0;
    bool by_length = false;
    std::shared_ptr<token_channel> channel;
  };

  vllm_actor::pointer self = nullptr;
  vllm_config config;
  std::unique_ptr<engine> core;
  std::mt19937_64 random;
  std::unordered_map<std::uint64_t, request> requests;
  std::vector<engine::event> events;
  double armed_ms = 0;  ///< when the pending tick comes; 0 = none
  std::uint64_t epoch = 0;

  double now_ms() const;
  int draw_length(const generate& g, bool& by_length);
  void submit(const generate& g);
  void settle();
  void apply(const engine::event& e);
  void arm();
  void refuse(const std::shared_ptr<token_channel>& channel);
};

vllm_actor::behavior_type vllm_server(vllm_actor::stateful_pointer<vllm_state> self, vllm_config config);

}  // namespace inferno::testbed

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::generate)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::cancel_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::engine_tick)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::stop_server)

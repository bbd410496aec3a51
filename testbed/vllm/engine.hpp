#pragma once
// The discrete-event core of an emulated vLLM server: continuous batching without clock, I/O or randomness of its own.
//
// One interface, an engine for each form of profile: linear_engine.hpp, iteration_engine.hpp. Both make the assumptions of the
// queueing model (model/queue.hpp) about the times of a batch, so that the two can be held against each other.
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "model/profile.hpp"

namespace inferno::testbed {

struct engine_config {
  model::performance_profile profile;
  int max_batch = 8;         ///< requests served at once
  long max_queue = 1000;     ///< requests waiting beyond those
  double kv_tokens = 0;      ///< tokens the KV cache holds; 0 = no limit
  bool token_events = true;  ///< false: of the tokens only the last is told, and the first where it ends a prefill
  double usual_out = 128;    ///< iteration profile: output tokens of a request, as far as one knows when it is admitted; >= 1
};

class engine {
 public:
  using request_id = std::uint64_t;
  enum class event_kind {
    admitted,     ///< left the queue, prefill begins
    first_token,  ///< linear profile: prefill is done; iteration profile: and the first decode step
    token,        ///< one more token
    finished,     ///< all tokens are there; the request is forgotten
  };
  struct event {
    double time_ms;
    request_id id;
    event_kind kind;
  };

  virtual ~engine() = default;

  /// A request of `in` prompt and `out` >= 1 output tokens at `now_ms`. false: the queue is full, or the request can never fit
  /// the KV cache. Events up to now must have been taken with advance() before.
  virtual bool submit(request_id id, int in, int out, double now_ms, std::vector<event>& events) = 0;
  /// Drops a request in whatever state; unknown ones are ignored.
  virtual void abort(request_id id, double now_ms, std::vector<event>& events) = 0;
  /// Appends what happens up to and including `now_ms`, in order of time.
  virtual void advance(double now_ms, std::vector<event>& events) = 0;
  /// When something happens next if nothing arrives; nullopt: nothing will.
  virtual std::optional<double> next_event_ms() const = 0;

  virtual int running() const = 0;
  virtual int waiting() const = 0;
  /// Share of the KV cache in use, 0 without a limit.
  virtual double kv_usage() const = 0;
};

/// The engine for the profile of `config`, which must be valid (model::validate).
std::unique_ptr<engine> make_engine(const engine_config& config);

/// Whether the first token of a prompt of `in` tokens ends a prefill. Otherwise it is a decode step like any other.
bool has_prefill(const model::performance_profile& profile, int in);

}  // namespace inferno::testbed

#pragma once
// The discrete-event core of an emulated vLLM server: continuous batching without clock, I/O or randomness of its own.
//
// With n requests in the batch a decode step takes alpha + beta*n ms for each of them and a prefill gamma + delta*in*n ms; both
// change speed at once when n changes. These are the assumptions of the queueing model (model/queue.hpp), so the two can be held
// against each other.
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "model/queue.hpp"

namespace inferno::testbed {

struct engine_config {
  model::linear_profile profile;
  int max_batch = 8;         ///< requests served at once
  long max_queue = 1000;     ///< requests waiting beyond those
  double kv_tokens = 0;      ///< tokens the KV cache holds; 0 = no limit
  bool token_events = true;  ///< false: only the last token is told, for simulations that need no others
};

class engine {
 public:
  using request_id = std::uint64_t;
  enum class event_kind {
    admitted,     ///< left the queue, prefill begins
    first_token,  ///< prefill is done
    token,        ///< one more token
    finished,     ///< all tokens are there; the request is forgotten
  };
  struct event {
    double time_ms;
    request_id id;
    event_kind kind;
  };

  explicit engine(const engine_config& config) : config_(config) {}

  /// A request of `in` prompt and `out` >= 1 output tokens at `now_ms`. false: the queue is full, or the request can never fit
  /// the KV cache. Events up to now must have been taken with advance() before.
  bool submit(request_id id, int in, int out, double now_ms, std::vector<event>& events);
  /// Drops a request in whatever state; unknown ones are ignored.
  void abort(request_id id, double now_ms, std::vector<event>& events);
  /// Appends what happens up to and including `now_ms`, in order of time.
  void advance(double now_ms, std::vector<event>& events);
  /// When something happens next if nothing arrives; nullopt: nothing will.
  std::optional<double> next_event_ms() const;

  int running() const { return static_cast<int>(prefilling_.size() + decoding_); }
  int waiting() const { return static_cast<int>(waiting_.size()); }
  /// Share of the KV cache in use, 0 without a limit.
  double kv_usage() const { return config_.kv_tokens > 0 ? kv_used_ / config_.kv_tokens : 0; }

 private:
  struct job {
    int in = 0;
    int out = 0;
    int made = 0;  ///< tokens so far
    bool decoding = false;
    double joined_steps = 0;  ///< decode clock when decoding began
    double next_steps = 0;    ///< decode clock at its next event
    int steps_made = 0;
    int steps = 0;  ///< decode steps to make in all
  };
  struct prefill {
    request_id id;
    double left = 1;  ///< share of the work
  };
  struct next_step {
    double at_steps;
    request_id id;
    bool operator>(const next_step& o) const { return at_steps != o.at_steps ? at_steps > o.at_steps : id > o.id; }
  };

  double step_ms() const { return config_.profile.alpha_ms + config_.profile.beta_ms * running(); }
  double prefill_ms(const job& j) const;
  int steps_of(int in, int out) const;
  void move_to(double time_ms);
  void admit(std::vector<event>& events);
  void begin_decoding(request_id id, std::vector<event>& events);
  void token(request_id id, std::vector<event>& events);
  void finish(request_id id, std::vector<event>& events);
  void schedule(request_id id, job& j);
  void drop_stale();

  engine_config config_;
  double now_ms_ = 0;
  double steps_ = 0;  ///< decode steps a request that was there from the start would have made
  double kv_used_ = 0;
  std::size_t decoding_ = 0;
  std::unordered_map<request_id, job> jobs_;
  std::deque<request_id> waiting_;
  std::list<prefill> prefilling_;
  std::priority_queue<next_step, std::vector<next_step>, std::greater<>> due_;
};

}  // namespace inferno::testbed

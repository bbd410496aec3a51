#pragma once
// The engine of the iteration profile: the batch works in iterations that prefill chunks and decode steps share.
//
// An iteration takes alpha + the work of every request in the batch: chunk j of c of a prompt (beta + gamma*j)*in/c ms, the k-th
// decode step beta + gamma*(in + k) ms. Over its c + m iterations a request works w_pre = (beta + gamma(c+1)/2) in and
// w_dec = beta m + gamma m (in + (m+1)/2) ms, as in model::iteration_profile. Requests join and leave between iterations.
#include <deque>

#include "testbed/vllm/engine.hpp"

namespace inferno::testbed {

class iteration_engine final : public engine {
 public:
  /// The profile of `config` must be an iteration profile. A request that fits the KV cache is refused when max_batch + max_queue
  /// are there. It is prefilled in the chunks that model::prefill_chunks gives for the batch it joins and `usual_out`.
  explicit iteration_engine(const engine_config& config)
      : config_(config), profile_(std::get<model::iteration_profile>(config.profile)) {}

  bool submit(request_id id, int in, int out, double now_ms, std::vector<event>& events) override;
  /// Its place and memory are free from the next iteration on; the one under way ends when it was to.
  void abort(request_id id, double now_ms, std::vector<event>& events) override;
  void advance(double now_ms, std::vector<event>& events) override;
  /// The end of the iteration under way.
  std::optional<double> next_event_ms() const override { return ends_ms_; }

  int running() const override { return static_cast<int>(batch_.size()); }
  int waiting() const override { return static_cast<int>(waiting_.size()); }
  double kv_usage() const override { return config_.kv_tokens > 0 ? kv_used_ / config_.kv_tokens : 0; }

 private:
  struct request {
    request_id id = 0;
    int in = 0;
    int out = 0;
    double chunks = 0;  ///< of the prefill; a whole number, 0 = waits
    double done = 0;    ///< iterations
    bool operator==(request_id other) const { return id == other; }
  };

  double iteration_ms() const;
  void begin_iteration(double now_ms, std::vector<event>& events);
  void end_iteration(std::vector<event>& events);
  void admit(double now_ms, std::vector<event>& events);
  bool step(request& r, double now_ms, std::vector<event>& events) const;
  void free_memory(const request& r);

  engine_config config_;
  model::iteration_profile profile_;
  std::deque<request> waiting_;
  std::vector<request> batch_;  ///< in the order of admission
  double kv_used_ = 0;
  std::optional<double> ends_ms_;  ///< of the iteration under way
};

}  // namespace inferno::testbed

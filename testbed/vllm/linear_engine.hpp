#pragma once
// The engine of the linear profile. With n requests in the batch a decode step takes alpha + beta*n ms for each of them and a
// prefill gamma + delta*in*n ms; both change speed at once when n changes.
#include <deque>
#include <list>
#include <queue>
#include <unordered_map>

#include "testbed/vllm/engine.hpp"

namespace inferno::testbed {

class linear_engine final : public engine {
 public:
  /// The profile of `config` must be linear.
  explicit linear_engine(const engine_config& config)
      : config_(config), profile_(std::get<model::linear_profile>(config.profile)) {}

  bool submit(request_id id, int in, int out, double now_ms, std::vector<event>& events) override;
  void abort(request_id id, double now_ms, std::vector<event>& events) override;
  void advance(double now_ms, std::vector<event>& events) override;
  std::optional<double> next_event_ms() const override;

  int running() const override { return static_cast<int>(prefilling_.size() + decoding_); }
  int waiting() const override { return static_cast<int>(waiting_.size()); }
  double kv_usage() const override { return config_.kv_tokens > 0 ? kv_used_ / config_.kv_tokens : 0; }

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

  double step_ms() const { return profile_.alpha_ms + profile_.beta_ms * running(); }
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
  model::linear_profile profile_;
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

#include "testbed/vllm/linear_engine.hpp"

#include <algorithm>
#include <cmath>

namespace inferno::testbed {

double linear_engine::prefill_ms(const job& j) const {
  if (!profile_.has_prefill || j.in == 0) return 0;
  return profile_.gamma_ms + profile_.delta_ms * j.in * running();
}

/// As in the model: the prefill makes the first token where there is one; without, every token is a decode step.
int linear_engine::steps_of(int in, int out) const {
  if (!profile_.has_prefill) return out;
  if (in == 0 && out == 1) return 1;
  return out - 1;
}

void linear_engine::move_to(double time_ms) {
  const double span = time_ms - now_ms_;
  now_ms_ = std::max(now_ms_, time_ms);
  if (span <= 0) return;
  if (decoding_ > 0) steps_ += span / step_ms();
  for (auto& p : prefilling_) {
    const double whole = prefill_ms(jobs_.at(p.id));
    p.left = whole > 0 ? std::max(0.0, p.left - span / whole) : 0;
  }
}

/// Entries of requests that were aborted stay in the heap until they come to its top.
void linear_engine::drop_stale() {
  while (!due_.empty()) {
    const auto it = jobs_.find(due_.top().id);
    if (it != jobs_.end() && it->second.decoding && due_.top().at_steps == it->second.next_steps) return;
    due_.pop();
  }
}

std::optional<double> linear_engine::next_event_ms() const {
  std::optional<double> next;
  const auto consider = [&](double t) { next = next ? std::min(*next, t) : t; };
  for (const auto& p : prefilling_) consider(now_ms_ + p.left * prefill_ms(jobs_.at(p.id)));
  if (!due_.empty()) consider(now_ms_ + std::max(0.0, due_.top().at_steps - steps_) * step_ms());
  return next;
}

void linear_engine::admit(std::vector<event>& events) {
  while (!waiting_.empty() && running() < config_.max_batch) {
    const auto id = waiting_.front();
    const auto& j = jobs_.at(id);
    const double need = j.in + j.out;
    // First come, first served: a small request does not overtake a large one that waits for memory.
    if (config_.kv_tokens > 0 && kv_used_ + need > config_.kv_tokens) return;
    waiting_.pop_front();
    kv_used_ += config_.kv_tokens > 0 ? need : 0;
    prefilling_.push_back({id, 1});
    events.push_back({now_ms_, id, event_kind::admitted});
    if (prefill_ms(j) <= 0) {
      prefilling_.pop_back();
      begin_decoding(id, events);
    }
  }
}

void linear_engine::begin_decoding(request_id id, std::vector<event>& events) {
  auto& j = jobs_.at(id);
  j.steps = steps_of(j.in, j.out);
  j.made = j.out - j.steps;
  if (j.made > 0) events.push_back({now_ms_, id, event_kind::first_token});
  if (j.steps == 0) return finish(id, events);
  if (decoding_ == 0) steps_ = 0;  // nobody refers to the clock: keep it small
  j.decoding = true;
  j.joined_steps = steps_;
  ++decoding_;
  schedule(id, j);
}

/// Counted from where it joined, so that rounding does not add up.
void linear_engine::schedule(request_id id, job& j) {
  const int ahead = config_.token_events ? 1 : j.steps - j.steps_made;
  j.steps_made += ahead;
  j.next_steps = j.joined_steps + j.steps_made;
  due_.push({j.next_steps, id});
}

void linear_engine::token(request_id id, std::vector<event>& events) {
  auto& j = jobs_.at(id);
  j.made = j.out - j.steps + j.steps_made;
  events.push_back({now_ms_, id, j.made == 1 ? event_kind::first_token : event_kind::token});
  if (j.steps_made == j.steps) return finish(id, events);
  schedule(id, j);
}

void linear_engine::finish(request_id id, std::vector<event>& events) {
  const auto it = jobs_.find(id);
  if (it->second.decoding) --decoding_;
  if (config_.kv_tokens > 0) kv_used_ -= it->second.in + it->second.out;
  events.push_back({now_ms_, id, event_kind::finished});
  jobs_.erase(it);
  drop_stale();
  admit(events);
}

bool linear_engine::submit(request_id id, int in, int out, double now_ms, std::vector<event>& events) {
  advance(now_ms, events);
  if (config_.kv_tokens > 0 && in + out > config_.kv_tokens) return false;
  if (running() >= config_.max_batch && waiting() >= config_.max_queue) return false;
  job j;
  j.in = in;
  j.out = std::max(out, 1);
  jobs_.emplace(id, j);
  waiting_.push_back(id);
  admit(events);
  return true;
}

void linear_engine::abort(request_id id, double now_ms, std::vector<event>& events) {
  advance(now_ms, events);
  const auto it = jobs_.find(id);
  if (it == jobs_.end()) return;
  const auto waits = std::find(waiting_.begin(), waiting_.end(), id);
  if (waits != waiting_.end()) {
    waiting_.erase(waits);
  } else {
    if (it->second.decoding) --decoding_;
    prefilling_.remove_if([&](const prefill& p) { return p.id == id; });
    if (config_.kv_tokens > 0) kv_used_ -= it->second.in + it->second.out;
  }
  jobs_.erase(it);
  drop_stale();
  admit(events);
}

void linear_engine::advance(double now_ms, std::vector<event>& events) {
  for (;;) {
    const auto next = next_event_ms();
    if (!next || *next > now_ms) break;
    // The step that is due defines the clock, so that rounding does not move requests that joined together apart.
    const double decode_at = due_.empty() ? INFINITY : now_ms_ + std::max(0.0, due_.top().at_steps - steps_) * step_ms();
    if (decode_at <= *next) {
      const auto top = due_.top();
      move_to(*next);
      steps_ = std::max(steps_, top.at_steps);
      due_.pop();
      token(top.id, events);
      drop_stale();
      continue;
    }
    auto first = prefilling_.end();
    double first_ms = INFINITY;
    for (auto it = prefilling_.begin(); it != prefilling_.end(); ++it) {
      const double at = now_ms_ + it->left * prefill_ms(jobs_.at(it->id));
      if (at < first_ms) {
        first_ms = at;
        first = it;
      }
    }
    const auto id = first->id;
    move_to(*next);
    prefilling_.erase(first);
    begin_decoding(id, events);
  }
  move_to(now_ms);
}

}  // namespace inferno::testbed

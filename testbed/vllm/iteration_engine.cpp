#include "testbed/vllm/iteration_engine.hpp"

#include <algorithm>

namespace inferno::testbed {

/// Summed anew for each iteration, the context of the decode steps in whole numbers: nothing drifts in a server that runs long.
double iteration_engine::iteration_ms() const {
  double prefill_ms = 0;
  std::int64_t steps = 0, context = 0;
  for (const auto& r : batch_) {
    if (r.done < r.chunks) {
      prefill_ms += (profile_.beta_ms + profile_.gamma_ms * (r.done + 1)) * r.in / r.chunks;
    } else {
      ++steps;
      context += r.in + static_cast<std::int64_t>(r.done - r.chunks) + 1;
    }
  }
  return profile_.alpha_ms + prefill_ms + profile_.beta_ms * static_cast<double>(steps) +
         profile_.gamma_ms * static_cast<double>(context);
}

void iteration_engine::admit(double now_ms, std::vector<event>& events) {
  while (!waiting_.empty() && running() < config_.max_batch) {
    auto& next = waiting_.front();
    const double need = static_cast<double>(next.in) + next.out;
    // First come, first served: a small request does not overtake a large one that waits for memory.
    if (config_.kv_tokens > 0 && kv_used_ + need > config_.kv_tokens) return;
    if (config_.kv_tokens > 0) kv_used_ += need;
    // The output's length is not known beforehand: the chunks are those of a usual one.
    next.chunks = model::prefill_chunks(profile_, {static_cast<double>(next.in), config_.usual_out}, running() + 1);
    events.push_back({now_ms, next.id, event_kind::admitted});
    batch_.push_back(next);
    waiting_.pop_front();
  }
}

void iteration_engine::begin_iteration(double now_ms, std::vector<event>& events) {
  admit(now_ms, events);
  ends_ms_.reset();
  if (!batch_.empty()) ends_ms_ = now_ms + iteration_ms();
}

/// An iteration of `r` is over; true: it was the last.
bool iteration_engine::step(request& r, double now_ms, std::vector<event>& events) const {
  r.done += 1;
  if (r.done <= r.chunks) return false;
  const double made = r.done - r.chunks;
  const bool last = made >= r.out;
  if (made == 1) {
    events.push_back({now_ms, r.id, event_kind::first_token});
  } else if (last || config_.token_events) {
    events.push_back({now_ms, r.id, event_kind::token});
  }
  if (last) events.push_back({now_ms, r.id, event_kind::finished});
  return last;
}

void iteration_engine::end_iteration(std::vector<event>& events) {
  const double now_ms = *ends_ms_;
  std::size_t kept = 0;
  for (auto& r : batch_) {
    if (step(r, now_ms, events)) {
      free_memory(r);
    } else {
      batch_[kept++] = r;
    }
  }
  batch_.resize(kept);
  begin_iteration(now_ms, events);
}

void iteration_engine::free_memory(const request& r) {
  if (config_.kv_tokens > 0) kv_used_ -= static_cast<double>(r.in) + r.out;
}

bool iteration_engine::submit(request_id id, int in, int out, double now_ms, std::vector<event>& events) {
  advance(now_ms, events);
  out = std::max(out, 1);
  if (config_.kv_tokens > 0 && static_cast<double>(in) + out > config_.kv_tokens) return false;
  if (running() + waiting() >= config_.max_batch + config_.max_queue) return false;
  waiting_.push_back({id, in, out});
  if (!ends_ms_) begin_iteration(now_ms, events);
  return true;
}

void iteration_engine::abort(request_id id, double now_ms, std::vector<event>& events) {
  advance(now_ms, events);
  if (std::erase(waiting_, id) > 0) return;
  const auto at = std::find(batch_.begin(), batch_.end(), id);
  if (at == batch_.end()) return;
  free_memory(*at);
  batch_.erase(at);
}

void iteration_engine::advance(double now_ms, std::vector<event>& events) {
  while (ends_ms_ && *ends_ms_ <= now_ms) end_iteration(events);
}

}  // namespace inferno::testbed

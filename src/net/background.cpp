#include "net/background.hpp"

#include <utility>

namespace inferno::net {

background_thread::background_thread(std::size_t most_waiting) : most_waiting_(most_waiting), thread_([this] { run(); }) {}

background_thread::~background_thread() { stop(); }

bool background_thread::post(std::function<void()> job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopped_ || jobs_.size() > most_waiting_) return false;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
  return true;
}

void background_thread::stop() {
  std::deque<std::function<void()>> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    // The first of them may be running.
    if (jobs_.size() > 1) {
      dropped.assign(std::make_move_iterator(jobs_.begin() + 1), std::make_move_iterator(jobs_.end()));
      jobs_.erase(jobs_.begin() + 1, jobs_.end());
    }
  }
  changed_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void background_thread::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopped_ || !jobs_.empty(); });
    if (jobs_.empty()) return;
    // It stays in the queue while it runs, so that post() counts it. References into a deque survive push_back.
    auto& job = jobs_.front();
    lock.unlock();
    job();
    lock.lock();
    auto done = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    done = nullptr;
    lock.lock();
  }
}

}  // namespace inferno::net

#include "testbed/vllm/activity.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace inferno::testbed {

void server_log::write(std::string text) {
  const std::lock_guard lock(mutex_);
  lines_.push_back({next_++, std::chrono::system_clock::now(), std::move(text)});
  if (lines_.size() > most_lines) lines_.pop_front();
}

std::vector<log_line> server_log::lines() const {
  const std::lock_guard lock(mutex_);
  return {lines_.begin(), lines_.end()};
}

void requests_under_way::end() {
  if (--count_ > 0) return;
  for (const auto& timer : std::exchange(waiting_, {})) timer->cancel();
}

asio::awaitable<void> requests_under_way::wait_for_end(std::shared_ptr<requests_under_way> self,
                                                       std::chrono::milliseconds limit) {
  if (self->count_ == 0) co_return;
  const auto timer = std::make_shared<asio::steady_timer>(co_await asio::this_coro::executor, limit);
  self->waiting_.push_back(timer);
  co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace inferno::testbed

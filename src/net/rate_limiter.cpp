#include "net/rate_limiter.hpp"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cmath>
#include <list>
#include <optional>

namespace inferno::net {

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr double whole = 1 - 1e-9;  ///< a token, whatever the rounding of the time it took to come

}  // namespace

struct rate_limiter::impl : std::enable_shared_from_this<rate_limiter::impl> {
  impl(asio::any_io_executor e, double rate, int most, std::function<clock::time_point()> what_time)
      : executor(std::move(e)), qps(rate), burst(std::max(most, 1)), now(std::move(what_time)), tokens(burst), counted(now()) {}

  /// In its lane's queue from its making until it is let in or cancelled, however its coroutine ends.
  struct waiter {
    waiter(std::shared_ptr<impl> limiter, std::size_t in_lane) : owner(std::move(limiter)), wake(owner->executor), lane(in_lane) {
      wake.expires_at(clock::time_point::max());
      owner->queues[lane].push_back(this);
    }
    ~waiter() {
      if (queued) owner->queues[lane].remove(this);
      // Let in, but cancelled before it could go: the token is the next one's.
      if (let_in && !went) owner->give_back();
    }
    waiter(const waiter&) = delete;
    waiter& operator=(const waiter&) = delete;
    void leave_queue() {
      queued = false;
      wake.cancel();
    }
    std::shared_ptr<impl> owner;
    asio::steady_timer wake;
    std::size_t lane;
    bool queued = true;
    bool let_in = false;
    bool went = false;
  };

  asio::any_io_executor executor;
  double qps;
  double burst;
  std::function<clock::time_point()> now;
  /// Runs out when the first of the queue may go. Not before there is one: where nobody ever waits, the executor's context may go
  /// first.
  std::optional<asio::steady_timer> pace;
  double tokens;
  clock::time_point counted;
  std::array<std::list<waiter*>, lanes> queues;
  std::array<unsigned, lanes> passed_over{};  ///< tokens that went to lanes before it while it had waiters
  bool pacing = false;

  bool limits() const { return qps > 0 && std::isfinite(qps); }

  void count() {
    const auto t = now();
    const std::chrono::duration<double> passed = t - counted;
    if (passed.count() <= 0) return;
    tokens = std::min(burst, tokens + passed.count() * qps);
    counted = t;
  }

  std::size_t waiting() const {
    std::size_t sum = 0;
    for (const auto& queue : queues) sum += queue.size();
    return sum;
  }

  /// The lane that is next; `lanes`: nobody waits.
  std::size_t next_lane() const {
    std::size_t next = lanes;
    for (std::size_t lane = lanes; lane-- > 0;)
      if (!queues[lane].empty() && (next == lanes || passed_over[next] < patience)) next = lane;
    return next;
  }

  waiter& take(std::size_t lane) {
    auto* first = queues[lane].front();
    queues[lane].pop_front();
    passed_over[lane] = 0;
    for (std::size_t later = lane + 1; later < lanes; ++later)
      passed_over[later] = queues[later].empty() ? 0 : passed_over[later] + 1;
    return *first;
  }

  void let_in() {
    count();
    for (auto lane = next_lane(); lane < lanes && tokens >= whole; lane = next_lane()) {
      tokens -= 1;
      auto& first = take(lane);
      first.let_in = true;
      first.leave_queue();
    }
    if (waiting() == 0 || pacing) return;
    // An hour at most: a rate of next to nothing must not overflow the clock.
    const auto wait = std::chrono::duration<double>(std::min((1 - tokens) / qps, 3600.0));
    pacing = true;
    if (!pace) pace.emplace(executor);
    pace->expires_after(std::chrono::duration_cast<clock::duration>(wait) + std::chrono::microseconds(1));
    pace->async_wait([weak = weak_from_this()](const boost::system::error_code&) {
      const auto self = weak.lock();
      if (!self) return;
      self->pacing = false;
      self->let_in();
    });
  }

  void give_back() {
    tokens = std::min(burst, tokens + 1);
    if (pace) pace->cancel();  // which looks at the queue again
  }

  void let_everybody_in() {
    qps = 0;
    for (auto& queue : queues) {
      for (auto* w : queue) {
        w->let_in = true;
        w->leave_queue();
      }
      queue.clear();
    }
    if (pace) pace->cancel();
  }

  void cancel(std::size_t lane) {
    for (auto* w : queues[lane]) w->leave_queue();
    queues[lane].clear();
    passed_over[lane] = 0;
  }
};

rate_limiter::rate_limiter(asio::any_io_executor executor, double qps, int burst, std::function<clock::time_point()> now)
    : impl_(std::make_shared<impl>(std::move(executor), qps, burst, std::move(now))) {}
rate_limiter::~rate_limiter() { impl_->let_everybody_in(); }
std::size_t rate_limiter::waiting() const { return impl_->waiting(); }
void rate_limiter::cancel(std::size_t lane) { impl_->cancel(lane); }

asio::awaitable<result<void>> rate_limiter::acquire(std::size_t lane) {
  const auto state = impl_;
  if (!state->limits()) co_return result<void>{};
  impl::waiter self(state, lane);
  state->let_in();
  if (!self.let_in) co_await self.wake.async_wait(nothrow);
  if (!self.let_in) co_return fail(error_kind::cancelled, "cancelled while waiting for the rate limit");
  self.went = true;
  co_return result<void>{};
}

}  // namespace inferno::net

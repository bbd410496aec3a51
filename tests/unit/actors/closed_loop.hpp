#pragma once
// A cluster with one variant whose servers really serve: requests arrive at random, wait, run at the profile's speed and
// complete; pods take time to start; the controller sees counters and nothing else.
#include <cmath>
#include <deque>
#include <random>

#include "cluster.hpp"

namespace inferno::actors::testing {

class closed_loop {
 public:
  static constexpr double alpha_ms = 20.58, beta_ms = 0.41;  ///< the quick start's
  static constexpr std::size_t batch = 4;

  closed_loop(unsigned seed, int replicas, std::function<double(double)> per_s, double start_s = 20)
      : rate(std::move(per_s)), start_up_s(start_s), random_(seed) {
    w.cluster_follows = false;
    w.source->respond = [this](const std::vector<scrape_target>& t, double now) { return scrape(t, now); };
    populate(w, {"v"}, {}, replicas);
    for (int i = 0; i < replicas; ++i) pods_.push_back({fmt::format("v-{}", i), 0, true, {}, {}, {}, {}, -1});
    made_ = replicas;
    w.replaced("variantautoscalings", {va_json("llm", "v")});
    replicas_ = replicas;
  }

  void live(double until_s) {
    while (w.now_s() < until_s) {
      serve(0.1);
      w.advance(std::chrono::milliseconds(100), std::chrono::milliseconds(100));
      follow();
      if (each) each();
    }
  }
  int replicas() const { return replicas_; }
  double now() { return w.now_s(); }
  std::size_t in_flight() const {
    std::size_t n = gateway_.size();
    for (const auto& p : pods_) n += p.running.size() + p.waiting.size();
    return n;
  }
  /// `n` requests at this moment.
  void clump(int n) {
    for (int i = 0; i < n; ++i) arrive();
  }

  world w;
  std::function<double(double)> rate;  ///< requests a second at a time
  double mean_out = 178;               ///< of geometric lengths
  std::function<double(std::mt19937&)> length_of;
  double start_up_s;
  bool frozen = false;                                      ///< nothing makes progress and nothing arrives
  std::function<bool(pod_sample&, std::size_t pod)> spoil;  ///< false: the pod says nothing
  std::function<void()> each;
  std::vector<std::pair<double, int>> orders;  ///< time and replicas of each scale patch
  std::size_t limit = 0;  ///< requests that a pod has at once; what is more waits at a gateway. 0 = there is none
  bool gateway_says = true;
  std::function<double(double)> queue_odd;  ///< what its queue is said to have besides
  /// Whether the counters stand still (and catch up when they go on).
  bool stalled = false;

 private:
  struct counters {
    double success = 0, out = 0, in_system = 0, itl_s = 0, itl_n = 0, first = 0;
  };
  struct pod {
    std::string name;
    double ready_at_s;
    bool ready;
    std::vector<double> running;  ///< tokens left, tokens in all
    std::vector<double> whole;
    std::vector<double> waiting;
    counters now;
    double scraped_s;
    counters shown{}, last{};
  };

  void arrive() {
    const double length = length_of ? length_of(random_) : 1 + std::geometric_distribution<int>(1 / mean_out)(random_);
    if (!gateway_.empty() || !dispatch(length)) gateway_.push_back(length);
    if (limit == 0) gateway_.clear();
  }
  bool dispatch(double length) {
    pod* best = nullptr;
    for (auto& p : pods_)
      if (p.ready && (!best || p.running.size() + p.waiting.size() < best->running.size() + best->waiting.size())) best = &p;
    if (!best || (limit > 0 && best->running.size() + best->waiting.size() >= limit)) return false;
    best->waiting.push_back(length);
    return true;
  }

  void serve(double dt) {
    if (frozen) return;
    const double mean = rate(w.now_s()) * dt;
    while (!gateway_.empty() && dispatch(gateway_.front())) gateway_.pop_front();
    for (int n = mean > 0 ? std::poisson_distribution<int>(mean)(random_) : 0; n > 0; --n) arrive();
    for (auto& p : pods_) {
      if (!p.ready) continue;
      while (p.running.size() < batch && !p.waiting.empty()) {
        p.running.push_back(p.waiting.front());
        p.whole.push_back(p.waiting.front());
        p.waiting.erase(p.waiting.begin());
        p.now.first += 1;
      }
      const double step_ms = alpha_ms + beta_ms * static_cast<double>(p.running.size());
      for (std::size_t i = p.running.size(); i-- > 0;) {
        p.running[i] -= 1000 * dt / step_ms;
        p.now.itl_s += dt;
        p.now.itl_n += 1000 * dt / step_ms;
        if (p.running[i] > 0) continue;
        p.now.success += 1;
        p.now.out += p.whole[i];
        p.running.erase(p.running.begin() + static_cast<std::ptrdiff_t>(i));
        p.whole.erase(p.whole.begin() + static_cast<std::ptrdiff_t>(i));
      }
      p.now.in_system = static_cast<double>(p.running.size() + p.waiting.size());
    }
  }

  std::shared_ptr<const collected_metrics> scrape(const std::vector<scrape_target>& targets, double now) {
    auto out = std::make_shared<collected_metrics>();
    if (limit > 0 && gateway_says)
      out->queues.push_back({"llm", "default", static_cast<double>(gateway_.size()) + (queue_odd ? queue_odd(w.now_s()) : 0)});
    for (const auto& t : targets)
      for (std::size_t i = 0; i < pods_.size(); ++i) {
        auto& p = pods_[i];
        if (p.name != t.pod.name) continue;
        pod_sample s;
        s.pod = t.pod;
        if (!stalled) p.shown = p.now;
        s.load.time_s = now;
        s.load.running = std::min<double>(static_cast<double>(batch), p.shown.in_system);
        s.load.waiting = p.shown.in_system - s.load.running;
        if (p.scraped_s >= 0) {
          s.load.span_s = now - p.scraped_s;
          s.load.completions = p.shown.success - p.last.success;
          s.load.arrivals = std::max(0.0, s.load.completions + p.shown.in_system - p.last.in_system);
          s.load.out_tokens = p.shown.out - p.last.out;
          s.load.itl_sum_s = p.shown.itl_s - p.last.itl_s;
          s.load.itl_count = p.shown.itl_n - p.last.itl_n;
          s.load.ttft_count = p.shown.first - p.last.first;
          s.load.ttft_sum_s = 0.1 * s.load.ttft_count;
        }
        if (spoil && !spoil(s, i)) continue;
        p.last = p.shown;
        p.scraped_s = now;
        out->pods.push_back(std::move(s));
      }
    return out;
  }

  void follow() {
    for (auto& p : pods_)
      if (!p.ready && w.now_s() >= p.ready_at_s) {
        p.ready = true;
        w.changed("pods", pod_json("llm", p.name, "v"));
        tell_target();
      }
    for (const auto calls = w.api->calls_to("patch", "deployments", "scale"); followed_ < calls.size(); ++followed_) {
      if (!calls[followed_].succeeded) continue;
      set(static_cast<int>(calls[followed_].body.at("spec").at("replicas").as_int64()));
      orders.emplace_back(w.now_s(), replicas_);
    }
  }

  void tell_target() {
    auto d = deployment_json("llm", "v", replicas_);
    const auto ready = std::count_if(pods_.begin(), pods_.end(), [](const pod& p) { return p.ready; });
    d["status"] = json::object{{"readyReplicas", std::min<long>(replicas_, ready)}};
    w.changed("deployments", std::move(d));
  }

  void set(int n) {
    replicas_ = n;
    tell_target();
    while (static_cast<int>(pods_.size()) > n) {
      const auto gone = std::move(pods_.back());
      pods_.pop_back();
      w.changed("pods", pod_json("llm", gone.name, "v"), kube::watch_type::deleted);
      // What it had begun begins anew elsewhere.
      for (const double whole : gone.whole) pods_.front().waiting.push_back(whole);
      for (const double whole : gone.waiting) pods_.front().waiting.push_back(whole);
    }
    while (static_cast<int>(pods_.size()) < n) {
      pods_.push_back({fmt::format("v-{}", made_++), w.now_s() + start_up_s, false, {}, {}, {}, {}, -1});
      w.changed("pods", pod_json("llm", pods_.back().name, "v", false));
    }
  }

  std::mt19937 random_;
  std::vector<pod> pods_;
  std::deque<double> gateway_;  ///< lengths
  int replicas_ = 0, made_ = 0;
  std::size_t followed_ = 0;
};

/// Replicas that carry a rate within the quick start's objectives: ITL 24 ms, and 500 ms of wait at the 95th percentile.
inline int replicas_needed(double per_s, double mean_out = 178) {
  model::replica_config c{model::linear_profile{closed_loop::alpha_ms, closed_loop::beta_ms, 0, 0, false}, {0, mean_out}, 4, 40};
  const auto sized = model::size_replica(c, {24, 0, 500, 0});
  return std::max(1, static_cast<int>(std::ceil(per_s / sized->rate.per_sec())));
}

}  // namespace inferno::actors::testing

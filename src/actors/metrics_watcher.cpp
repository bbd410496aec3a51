#include "actors/metrics_watcher.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <caf/actor_clock.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <cmath>
#include <set>

#include "actors/clocks.hpp"
#include "actors/death.hpp"

namespace inferno::actors {
namespace {

constexpr double queue_clump = 16;    ///< requests by which a queue grows between two readings
constexpr double queue_growth = 4;    ///< and so many times what arrives at the servers
constexpr double queue_proof_s = 15;  ///< in which more is no odd reading

}  // namespace

double metrics_watcher_state::now_s() const {
  return std::chrono::duration<double>(self->clock().now().time_since_epoch()).count();
}

void metrics_watcher_state::set_pods(const pods_changed& m) {
  auto& w = variants[m.key];
  forget_pods(m.key, w.pods);
  if (w.analyzer != m.analyzer) w.gateway.reset();
  w.analyzer = m.analyzer;
  w.model = m.model;
  w.pods = m.pods;
  for (const auto& p : w.pods) variant_of[p.pod] = m.key;
  targets = nullptr;
  if (w.pods.empty()) self->send(w.analyzer, metrics_lost{"NoReadyPods", "the variant has no ready pod"});
  // New pods are asked at once, so that the first decision need not wait for the interval.
  if (!w.pods.empty() && !asked_early && !in_flight) {
    asked_early = true;
    self->send(self, tick{1});
  }
}

/// A pod that went over to another variant stays that one's.
void metrics_watcher_state::forget_pods(const variant_key& key, const std::vector<scrape_target>& pods) {
  for (const auto& p : pods)
    if (const auto it = variant_of.find(p.pod); it != variant_of.end() && it->second == key) variant_of.erase(it);
}

void metrics_watcher_state::remove(const variant_key& key) {
  const auto it = variants.find(key);
  if (it == variants.end()) return;
  forget_pods(key, it->second.pods);
  variants.erase(it);
  targets = nullptr;
}

void metrics_watcher_state::ask() {
  if (in_flight) return give_up();
  if (!targets) {
    auto all = std::make_shared<std::vector<scrape_target>>();
    for (const auto& [key, w] : variants) all->insert(all->end(), w.pods.begin(), w.pods.end());
    targets = std::move(all);
  }
  if (variants.empty()) return;
  in_flight = true;
  asked_at_s = now_s();
  ++round;
  config.source->collect(targets, asked_at_s, allowed(),
                         [handle = metrics_watcher_actor{self}, id = round](std::shared_ptr<const collected_metrics> m) {
                           caf::anon_send(handle, collected{std::move(m), id});
                         });
}

/// The source ends its rounds itself; what it says then comes first.
void metrics_watcher_state::give_up() {
  if (given_up || now_s() - asked_at_s < std::chrono::duration<double>(allowed() + config.interval).count()) return;
  given_up = true;
  collected_metrics none;
  none.problem = fmt::format("too slow: no answer within {:.3g} s", std::chrono::duration<double>(allowed()).count());
  note(none);
  fail(none.problem);
}

void metrics_watcher_state::fail(const std::string& problem) {
  for (const auto& [key, w] : variants)
    if (!w.pods.empty()) self->send(w.analyzer, metrics_lost{"MetricsSourceFailed", problem});
}

/// What waits for a model is divided among those of its variants that have no pods, and once more among those that have, by their
/// pods: together they are to carry it. A queue without a series is unknown and is planned for as an empty one.
void metrics_watcher_state::tell_queues(const std::vector<gateway_queue>& queues) {
  std::map<std::pair<std::string, std::string>, double> waiting;
  for (const auto& q : queues) waiting[{q.ns, q.model}] += std::max(0.0, q.size);
  std::map<std::pair<std::string, std::string>, int> without_pods;
  pods_of_model.clear();
  if (!waiting.empty())
    for (const auto& [key, w] : variants) {
      if (w.pods.empty()) ++without_pods[{key.ns, w.model}];
      pods_of_model[{key.ns, w.model}] += static_cast<double>(w.pods.size());
    }
  for (auto& [key, w] : variants) {
    w.queue.reset();
    for (const auto& ns : {key.ns, std::string()})
      if (const auto it = waiting.find({ns, w.model}); it != waiting.end())
        w.queue = queue_reading{it->second + (w.queue ? w.queue->size : 0), asked_at_s};
    const auto gateway = !config.source->shows_gateways() ? gateway_view::unsupported
                         : w.queue                        ? gateway_view::queue
                         : !waiting.empty()               ? gateway_view::others
                                                          : gateway_view::none;
    double size = w.queue ? w.queue->size : 0;
    if (size <= 0 && !w.queued && w.gateway == gateway) continue;
    w.queued = size > 0;
    w.gateway = gateway;
    size *= w.pods.empty() ? 1.0 / std::max(1, without_pods[{key.ns, w.model}]) : share_of_queue(key, w);
    self->send(w.analyzer, requests_waiting{size, asked_at_s, gateway});
  }
}

/// Of a variant with pods.
double metrics_watcher_state::share_of_queue(const variant_key& key, const watched& w) const {
  const auto all = pods_of_model.find({key.ns, w.model});
  return all == pods_of_model.end() ? 0 : static_cast<double>(w.pods.size()) / all->second;
}

/// Requests that wait at the gateway have arrived, and arrive at the servers when they wait no more: what the queue has grown or
/// shrunk by since counts were given last. A queue that was not known meanwhile has no growth; a leap is believed when it has
/// stood for a while; and a queue that comes and goes without reaching the servers grows only once.
void metrics_watcher_state::count_queue(const variant_key& key, watched& w, load_sample& sample) const {
  if (!w.queue || sample.span_s <= 0) return;
  const double now_s = w.queue->time_s;
  const auto since = std::exchange(w.queue_counted, w.queue);
  if (!since || now_s - since->time_s > 1.5 * sample.span_s + 2 * std::chrono::duration<double>(config.interval).count()) {
    w.queue_owed = 0;
    w.queue_leapt.reset();
    return;
  }
  w.queue_owed *= std::exp((since->time_s - now_s) / window_s);
  double growth = w.queue->size - since->size;
  const double at_once = queue_clump + queue_growth * sample.arrivals;
  if (w.queue_leapt && w.queue->size < w.queue_leapt->size + at_once) w.queue_leapt.reset();
  if (growth > at_once && !w.queue_leapt) w.queue_leapt = queue_reading{since->size, now_s};
  if (w.queue_leapt && now_s - w.queue_leapt->time_s < queue_proof_s) {
    w.queue_counted->size = std::max(since->size, w.queue_leapt->size + at_once);
    growth = w.queue_counted->size - since->size;
  } else {
    w.queue_leapt.reset();
  }
  if (growth > 0) {
    const double repaid = std::min(growth, w.queue_owed);
    w.queue_owed -= repaid;
    growth -= repaid;
  }
  const double part = share_of_queue(key, w) * growth;
  sample.queued = std::max(0.0, part);
  const double counted = sample.arrivals + std::min(0.0, part);
  w.queue_owed += std::max(0.0, -counted);
  sample.arrivals = std::max(0.0, counted);
}

void metrics_watcher_state::note(const collected_metrics& metrics) {
  const auto source = std::string(config.source->name());
  if (metrics.problem != source_problem) {
    if (metrics.problem.empty()) {
      config.logger.info("Metrics source answers again", {{"source", source}});
    } else {
      config.logger.warn("Metrics source fails", {{"source", source}, {"error", metrics.problem}});
      self->send(config.board, error_noted{"metrics", source});
    }
    source_problem = metrics.problem;
  }
  if (metrics.warning != source_warning && metrics.problem.empty()) {
    if (metrics.warning.empty()) {
      config.logger.info("Metrics source has valid settings again", {{"source", source}});
    } else {
      config.logger.warn("Metrics source has invalid settings; the last valid ones stay",
                         {{"source", source}, {"error", metrics.warning}});
      self->send(config.board, error_noted{"metrics", source + " settings"});
    }
    source_warning = metrics.warning;
  }
}

void metrics_watcher_state::arrived(const collected& answer) {
  if (!in_flight || answer.round != round) return;
  in_flight = false;
  if (std::exchange(given_up, false)) return;
  const auto& metrics = *answer.metrics;
  note(metrics);
  if (!metrics.problem.empty()) return fail(metrics.problem);
  tell_queues(metrics.queues);
  tell_samples(metrics);
}

void metrics_watcher_state::tell_samples(const collected_metrics& metrics) {
  std::map<variant_key, std::vector<const pod_sample*>> by_variant;
  for (const auto& p : metrics.pods) {
    const auto it = variant_of.find(p.pod);
    if (it != variant_of.end()) by_variant[it->second].push_back(&p);
  }
  for (auto& [key, w] : variants) {
    if (w.pods.empty()) continue;
    const auto it = by_variant.find(key);
    static const std::vector<const pod_sample*> none;
    const auto& samples = it == by_variant.end() ? none : it->second;
    // The time they are about, not that of the answer: what comes late is old.
    double time_s = 0;
    for (const auto* s : samples)
      if (s->problem.empty()) time_s = std::max(time_s, s->load.time_s);
    if (time_s > 0 && time_s < w.told_s - set_back_s) {
      w.load = {};
      w.told_s = time_s;
    }
    auto sample = w.load.next(samples, w.pods, std::max(w.told_s, time_s), window_s);
    if (sample.span_s > 0 || w.news_s < 0) {
      w.gap_s = w.news_s < 0 ? 0 : asked_at_s - w.news_s;
      w.news_s = asked_at_s;
    }
    // A source that repeats itself, or whose clock was set back, has answers but no news. The controller's own clock tells.
    const double quiet_s = asked_at_s - w.news_s;
    if (sample.pods_reporting > 0 && sample.missing.empty() && quiet_s > std::max(window_s, 3 * w.gap_s)) {
      self->send(w.analyzer, metrics_lost{"MetricsMissing", fmt::format("no new reading of the pods for {:.0f} s", quiet_s)});
    } else if (sample.pods_reporting == 0) {
      const auto why = sample.problem.empty() ? std::string("no sample of any of the variant's pods") : sample.problem;
      self->send(w.analyzer, metrics_lost{"MetricsMissing", why});
    } else {
      w.told_s = sample.time_s;
      count_queue(key, w, sample);
      self->send(w.analyzer, load_arrived{std::move(sample)});
    }
  }
}

metrics_watcher_actor::behavior_type metrics_watcher(metrics_watcher_actor::stateful_pointer<metrics_watcher_state> self,
                                                     metrics_watcher_config config) {
  keep_reason_of_death(self);
  self->state.self = self;
  self->state.config = std::move(config);
  self->delayed_send(self, self->state.config.interval, tick{0});
  return {
      [self](const pods_changed& m) { self->state.set_pods(m); },
      [self](const variant_gone& m) { self->state.remove(m.key); },
      [self](const settings_changed& m) {
        self->state.window_s = std::chrono::duration<double>(m.settings.rate_window).count();
        self->state.config.source->configure(m.settings);
      },
      [self](const collected& m) { self->state.arrived(m); },
      [self](const tick& t) {
        if (t.what == 0) self->delayed_send(self, self->state.config.interval, tick{0});
        self->state.asked_early = false;
        self->state.ask();
      },
  };
}

}  // namespace inferno::actors

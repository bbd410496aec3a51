#pragma once
// One watcher per metrics source: asks for all pods at once, each interval, and tells every analyzer what its own pods said.
#include <algorithm>
#include <chrono>

#include "actors/load_alignment.hpp"
#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct metrics_watcher_config {
  std::shared_ptr<metrics_source> source;
  board_actor board;
  log logger;
  std::chrono::milliseconds interval{2000};
  /// What a round may take, or three intervals if that is more.
  std::chrono::milliseconds least_allowed{10000};
};

/// Requests for a model at the gateway, by the controller's clock.
struct queue_reading {
  double size = 0;
  double time_s = 0;
};

struct metrics_watcher_state {
  static inline const char* name = "metrics_watcher";
  struct watched {
    analyzer_actor analyzer;
    std::string model;
    std::vector<scrape_target> pods;
    load_alignment load;
    double news_s = -1;                     ///< of the controller's clock, when counts were new last; -1 = never asked
    double gap_s = 0;                       ///< between the two last times
    bool queued = false;                    ///< the analyzer knows of requests that wait at the gateway
    std::optional<gateway_view> gateway{};  ///< as the analyzer knows it
    /// What waits at the gateway for its model: now, and as far as it has been counted.
    std::optional<queue_reading> queue, queue_counted;
    double queue_owed = 0;                     ///< requests that were counted and left without reaching a server
    std::optional<queue_reading> queue_leapt;  ///< before more waited than is believed at once
    double told_s = 0;                         ///< time of the last sample; times do not decrease
  };

  metrics_watcher_actor::pointer self = nullptr;
  metrics_watcher_config config;
  std::map<variant_key, watched> variants;
  std::map<kube::object_key, variant_key> variant_of;
  std::shared_ptr<const std::vector<scrape_target>> targets;            ///< rebuilt when pods changed
  std::map<std::pair<std::string, std::string>, double> pods_of_model;  ///< by namespace and model, where requests wait
  bool in_flight = false;  ///< never two rounds at once: a source that is too slow is not helped by more questions
  bool given_up = false;   ///< the round in flight: its answer will be dropped
  bool asked_early = false;
  std::uint64_t round = 0;
  double asked_at_s = 0;
  double window_s = 60;        ///< of the rates, as the settings have it
  std::string source_problem;  ///< said once at its beginning and end
  std::string source_warning;  ///< likewise

  double now_s() const;
  std::chrono::milliseconds allowed() const { return std::max(config.least_allowed, 3 * config.interval); }
  void set_pods(const pods_changed& m);
  void remove(const variant_key& key);
  void forget_pods(const variant_key& key, const std::vector<scrape_target>& pods);
  void ask();
  void give_up();
  void fail(const std::string& problem);
  void note(const collected_metrics& metrics);
  void arrived(const collected& answer);
  void tell_samples(const collected_metrics& metrics);
  void tell_queues(const std::vector<gateway_queue>& queues);
  double share_of_queue(const variant_key& key, const watched& w) const;
  void count_queue(const variant_key& key, watched& w, load_sample& sample) const;
};

metrics_watcher_actor::behavior_type metrics_watcher(metrics_watcher_actor::stateful_pointer<metrics_watcher_state> self,
                                                     metrics_watcher_config config);

}  // namespace inferno::actors

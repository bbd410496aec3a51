#pragma once
// The board holds the latest plan and the metrics everybody may read: /metrics, /api/v1, the demo's view.
#include <prometheus/registry.h>

#include <mutex>
#include <set>

#include "actors/messages.hpp"

namespace inferno::actors {

/// Read from any thread; written by the board actor.
class board_view {
 public:
  std::shared_ptr<const plan_snapshot> plan() const;
  void set_plan(std::shared_ptr<const plan_snapshot> plan);
  /// The variant has no metrics until a later plan has it.
  void forget(const variant_key& key);
  /// A board that starts anew has no series of variants that went meanwhile: it fills a new registry.
  std::shared_ptr<prometheus::Registry> renew_registry();
  /// Every watch has delivered its first complete state: the controller is ready.
  bool synced() const;
  void set_synced(bool synced);
  /// Whether this controller acts on its plans. One that does not shows no series of them: an HPA or KEDA that reads
  /// inferno_desired_replicas is to see one number for a variant.
  bool leading() const;
  void set_leading(bool leading);
  /// Prometheus text format of all metrics.
  std::string metrics_text() const;
  /// The watches that are broken, "" when all are whole.
  std::string trouble() const;
  void set_trouble(watch_kind kind, std::string problem);

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const plan_snapshot> plan_;
  std::set<variant_key> gone_;  ///< since that plan
  std::map<watch_kind, std::string> trouble_;
  bool synced_ = false;
  bool leading_ = true;
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
};

struct board_config {
  std::shared_ptr<board_view> view;
};

struct board_state {
  static inline const char* name = "board";
  struct families {
    prometheus::Family<prometheus::Gauge>*variants, *held, *unsatisfied, *by_reason, *gap, *cost, *gpus, *price, *more_satisfied,
        *more_replicas;
    prometheus::Family<prometheus::Counter>*scalings, *cycles, *errors;
    prometheus::Family<prometheus::Histogram>* seconds;
  };

  board_config config;
  std::shared_ptr<prometheus::Registry> registry;
  families family{};
  std::map<variant_key, std::set<prometheus::Counter*>> scalings;  ///< removed with the variant
  std::map<std::string, prometheus::Gauge*> gpus_of, price_of, satisfied_of, replicas_of, reasons;

  void setup();
  void show(const plan_snapshot& plan);
  void show_gains(const plan_snapshot& plan);
  void forget(const variant_key& key);
  void scaled(const scaling_done& m);
};

board_actor::behavior_type board(board_actor::stateful_pointer<board_state> self, board_config config);

}  // namespace inferno::actors

#pragma once
// Every message between actors, and the typed interface of each actor. Messages stay in process: large parts travel as
// shared_ptr<const T>.
#include <algorithm>
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/typed_actor.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "actors/domain.hpp"
#include "actors/ports.hpp"
#include "model/load_estimator.hpp"
#include "model/one_more.hpp"
#include "model/solver.hpp"

namespace inferno::actors {

// ---- watchers -> fleet ------------------------------------------------------------------------------------------------------

enum class watch_kind { variants, deployments, statefulsets, pods, nodes, configs, autoscalers };
inline constexpr watch_kind watch_kinds[] = {watch_kind::nodes,       watch_kind::configs,      watch_kind::autoscalers,
                                             watch_kind::deployments, watch_kind::statefulsets, watch_kind::pods,
                                             watch_kind::variants};
std::string_view to_string(watch_kind kind);
/// The kind of a workload that is watched as deployments or statefulsets.
std::string_view workload_kind(watch_kind kind);

/// The complete state of a kind: what is not in it is gone.
struct objects_replaced {
  watch_kind kind{};
  std::shared_ptr<const std::vector<kube_object>> objects;
  /// From the subscription: its number. To the fleet: the term of leadership that the list is fresh enough for.
  std::uint64_t term = 0;
};
/// One object is new or different.
struct object_upserted {
  watch_kind kind{};
  std::shared_ptr<const kube_object> object;
};
struct object_removed {
  watch_kind kind{};
  kube::object_key key;
};
/// A watch is broken (`problem` says how) or whole again ("").
struct watch_health {
  watch_kind kind{};
  std::string problem;
};

// Targets of other kinds: their watch tells which there are, their scale the rest.

struct target_change {
  kube::object_key key;
  std::string uid;
  bool deleted = false;
};
struct targets_listed {
  std::shared_ptr<const std::vector<target_change>> targets;
};
struct target_watch_health {
  std::string problem;
};
struct scale_answer {
  kube::object_key key;
  std::uint64_t incarnation = 0;
  std::shared_ptr<const net::result<json::object>> result;
};
struct target_changed {
  std::shared_ptr<const workload_object> target;
};
struct target_removed {
  target_ref ref;
};
/// `complete`: all there are have been told. `problem`: why they cannot be told, "" = nothing is in the way.
struct target_kind_state {
  target_kind kind;
  bool complete = false;
  std::string problem;
};

// ---- fleet -> analyzer, actuator, metrics watcher, optimizer ------------------------------------------------------------------

/// What an actuator needs to know of its VariantAutoscaling besides decisions.
struct variant_facts {
  std::string uid;
  std::vector<condition_age> conditions;  ///< of the status that is there
};

struct analyzer_update {
  std::shared_ptr<const variant_inputs> inputs;
};

/// What the variant's pods said since the sample before.
struct load_arrived {
  load_sample sample;
};
/// Requests for the variant that wait at the gateway: its part of them while it has no pods, else all.
struct requests_waiting {
  double size = 0;
  double time_s = 0;
  gateway_view gateway = gateway_view::queue;
};
struct metrics_lost {
  std::string reason;   ///< CamelCase, for the condition
  std::string problem;  ///< for people
};

/// A Deployment's move to another accelerator for a VariantAutoscaling that is none of this controller's.
struct orphaned_change {
  target_ref target;
  std::string variant;  ///< its name, in the target's namespace
  bool operator==(const orphaned_change&) const = default;
};
/// All of them; none while nothing may be written.
struct orphans_changed {
  std::shared_ptr<const std::vector<orphaned_change>> all;
};

// ---- analyzer -> optimizer
// -----------------------------------------------------------------------------------------------------

/// The latest estimate of a variant's load, written by its analyzer with each sample and read by any thread that has the curve.
/// The figures in the curve itself are those of the last cycle.
class live_estimate {
 public:
  void set(const model::load_estimate& estimate) {
    const std::lock_guard lock(mutex_);
    estimate_ = estimate;
  }
  model::load_estimate get() const {
    const std::lock_guard lock(mutex_);
    return estimate_;
  }

 private:
  mutable std::mutex mutex_;
  model::load_estimate estimate_;
};

/// A condition of the VariantAutoscaling's status.
struct condition {
  std::string type;
  bool status = false;
  std::string reason;
  std::string message;
  bool unknown = false;  ///< neither True nor False
  const char* text() const { return unknown ? "Unknown" : status ? "True" : "False"; }
  bool operator==(const condition&) const = default;
};

/// What a curve was made from, to make others from: for a pool's demand, for an explanation.
struct curve_basis {
  model::server_spec server;
  std::shared_ptr<const catalog> shared;         ///< the accelerators of `view` live here
  std::shared_ptr<const variant_object> object;  ///< and the profiles here
  model::variant_view view;                      ///< of `server`
};

/// What a move to another accelerator needs there, and what the load needs meanwhile.
struct change_load {
  std::string device;     ///< of the new accelerator; "" = not known
  int units = 1;          ///< GPUs of a replica there
  int old_replicas = -1;  ///< that would carry the load on the old accelerator; -1 = not known, or no number does
  int new_replicas = -1;  ///< likewise on the new one
  /// It needs no more than these: all servers report, and have been watched for long enough to scale down.
  bool surely = false;
};

/// The capacity curve of a variant at its demand: what every accelerator could do for it, and what it has now.
struct capacity_curve {
  variant_key key;
  std::uint64_t version = 0;
  std::int64_t generation = 0;       ///< of the VariantAutoscaling it was made from
  std::uint64_t observed_since = 0;  ///< of the inputs it was made from
  std::string class_name;
  std::string model;
  int priority = 0;
  int min_replicas = 1;
  model::slo_targets slo;
  model::current_allocation current;
  std::optional<int> ready;                         ///< Ready replicas of the target; nullopt = its kind does not report them
  std::vector<model::solver_candidate> candidates;  ///< `type` is left to the optimizer; devices are in `device_of`
  std::vector<std::string> device_of;               ///< device of candidates[i]
  std::shared_ptr<const curve_basis> basis;         ///< nullptr when there was nothing to evaluate
  std::string pool;                                 ///< shares its demand with the others of this pool; "" = with nobody
  int least_in_pool = 0;                            ///< replicas it has in a pool whatever the others have
  bool wakes_pool = true;                           ///< its pool has a replica, of whichever member
  model::server_load moment;                        ///< what arrives now, of which the pool's demand is made
  double sampled_s = 0;                             ///< when `moment` was, by the samples' clock
  double horizon_s = 0;                             ///< a pool's demand is the largest sum of its moments of so long
  std::string current_device;                       ///< device and GPUs per replica of the present allocation
  int current_units = 1;
  bool starting = false;  ///< on hold because its replicas have not been Ready, or not been heard of, since they were asked for
  /// On hold without a Ready replica, or without a target, and what arrived at it before: others of its pool may have to serve
  /// it.
  std::optional<model::server_load> orphaned;
  model::load_estimate measured;              ///< what the servers reported when the curve was made
  std::shared_ptr<const live_estimate> live;  ///< and what they report since; nullptr = nothing but that
  model::load_estimate measured_now() const { return live ? live->get() : measured; }
  bool hold = false;        ///< keep the present allocation: there is nothing to decide on, or no candidate
  std::string hold_reason;  ///< CamelCase
  std::string hold_message;
  /// On hold although the load is known: GPUs beyond min_replicas go to more important classes that lack them.
  bool yields = false;
  condition metrics;
  condition target;
  condition objectives;          ///< ObjectivesMet: what the servers report against the targets; no type = these are not known
  std::string owner_uid_needed;  ///< uid of the target that should own the VariantAutoscaling and does not; "" = nothing to do
  target_ref target_key;
  std::shared_ptr<const kube::resource> target_resource;  ///< nullptr: by the kind's name
  bool actuate = false;                                   ///< the target exists, and it is ours to scale
  actuation_mode mode = actuation_mode::direct;
  std::shared_ptr<const autoscaler_object> autoscaler;  ///< of the target; nullptr = none
  /// Nothing runs, and requests wait for it. What it would be without them: while another of its pool is starting for the same
  /// requests, this one sleeps on, unless that takes so long that it insists.
  std::shared_ptr<const capacity_curve> asleep;
  bool insists = false;
  bool urgent = false;
  std::shared_ptr<const accelerator_change> change;  ///< of the target; nullptr = none
  std::shared_ptr<const change_load> change_needs;   ///< while it is under way; nullptr = nothing is known of that
  bool changing() const { return change && change->phase != accelerator_change::step::failed; }
  /// Replicas that the autoscaler in charge lets come; 0 = as many as are wanted.
  int ceiling() const { return mode == actuation_mode::metric && autoscaler ? autoscaler->max_replicas : 0; }
};
struct curve_changed {
  std::shared_ptr<const capacity_curve> curve;
};

// ---- optimizer -> actuator, board ---------------------------------------------------------------------------------------------

/// The demand that the variants of a pool are planned for together.
struct pool_demand {
  struct member {
    variant_key key;
    model::req_rate max_rate;  ///< of a replica where it runs; 0 = it runs nowhere, or nothing is known of it there
    int least = 0;             ///< replicas it has whatever the others have
  };
  std::string name;  ///< as capacity_curve::pool
  model::server_load load;
  model::req_rate demand;
  std::vector<member> members;
  /// The most demand of the last minutes, which other replicas have to carry too before they are started; 0 = no such condition.
  model::req_rate lasting{};
};

/// What the optimizer decided for one variant.
struct decision {
  std::shared_ptr<const capacity_curve> curve;
  model::allocation desired;  ///< prediction included; on hold: the present allocation
  bool hold = false;
  std::string reason;  ///< CamelCase: Optimized, CapacityLimited, Infeasible, MetricsUnavailable, ...
  std::string message;
  std::uint64_t cycle = 0;
  int needed = -1;                          ///< replicas that the load alone needs there; -1 = not known
  std::shared_ptr<const pool_demand> pool;  ///< nullptr: it is planned by itself
  /// On another accelerator than the one in use: replicas of the present target would not be what was decided.
  bool changes_accelerator() const {
    return desired.num_replicas > 0 && !curve->current.accelerator.empty() && desired.accelerator != curve->current.accelerator;
  }
};
struct decision_made {
  std::shared_ptr<const decision> what;
  std::uint64_t term = 1;  ///< of leadership, in which it is carried out
};

/// The decisions of a plan by variant. Copies share them.
class decision_table {
 public:
  using value = std::shared_ptr<const decision>;
  /// `all` by key, each key once.
  explicit decision_table(std::vector<value> all = {}) : all_(std::move(all)) {}
  auto begin() const { return all_.begin(); }
  auto end() const { return all_.end(); }
  std::size_t size() const { return all_.size(); }
  /// nullptr: the plan does not have it.
  value find(const variant_key& key) const {
    const auto it =
        std::lower_bound(all_.begin(), all_.end(), key, [](const value& d, const variant_key& k) { return d->curve->key < k; });
    return it != all_.end() && (*it)->curve->key == key ? *it : nullptr;
  }

 private:
  std::vector<value> all_;
};

/// The plan of a cycle: what metrics, API and log tell. Immutable.
struct plan_snapshot {
  std::uint64_t cycle = 0;
  std::string trigger;  ///< "interval", or what was urgent
  decision_table decisions;
  std::vector<std::shared_ptr<const decision>> changed;  ///< those that are not of the plan before
  std::vector<model::type_usage> by_type;
  std::shared_ptr<const capacity_view> capacity;    ///< planned within; nullptr = not known
  std::map<std::string, model::gpu_gain> one_more;  ///< what one GPU more would change, by device, where that is known
  model::solver_report solver;
  model::cost_per_hour total_cost;
  double solve_seconds = 0;
};
struct plan_made {
  std::shared_ptr<const plan_snapshot> plan;
};

/// An actuator changed the replicas of a target.
struct scaling_done {
  variant_key key;
  int from = 0;
  int to = 0;
  std::string reason;
};
/// Something went wrong that the counters should show.
struct error_noted {
  std::string component;
  std::string reason;
};

struct capacity_changed {
  std::shared_ptr<const capacity_view> capacity;
};
struct settings_changed {
  runtime_settings settings;
};
/// Solve at once; `cause` is for the log.
struct run_now {
  std::string cause;
};
/// Every watch has delivered its first complete state, or one that is fresh for a term.
struct inventory_synced {
  std::uint64_t term = 0;            ///< of leadership, that all are fresh for; 0 = none
  std::uint64_t observed_since = 0;  ///< of the curves that are as fresh
};
struct variant_gone {
  variant_key key;
};
/// The analyzer died; its last curve stays, marked stale, until a new one reports.
struct curve_stale {
  variant_key key;
};
/// The lease is ours (true) or lost. Terms of leadership are counted from 1 by the supervisor; a controller without election has
/// one that does not end. Between leader and supervisor the term is not known yet.
struct leadership {
  bool leading = false;
  std::uint64_t term = 0;  ///< that begins or ends
};
struct stop_request {};
struct tick {
  int what = 0;
};

// ---- completions of ports -----------------------------------------------------------------------------------------------------

struct collected {
  std::shared_ptr<const collected_metrics> metrics;
  std::uint64_t round = 0;
};
struct api_result {
  int step = 0;
  std::uint64_t epoch = 0;
  std::shared_ptr<const net::result<json::object>> result;
};

// ---- interfaces ---------------------------------------------------------------------------------------------------------------

using analyzer_actor = caf::typed_actor<caf::reacts_to<analyzer_update>, caf::reacts_to<load_arrived>,
                                        caf::reacts_to<requests_waiting>, caf::reacts_to<metrics_lost>>;
using actuator_actor = caf::typed_actor<caf::reacts_to<decision_made>, caf::reacts_to<api_result>, caf::reacts_to<variant_facts>,
                                        caf::reacts_to<leadership>, caf::reacts_to<stop_request>, caf::reacts_to<tick>>;

/// Analyzer and actuator of a new variant.
struct variant_added {
  variant_key key;
  analyzer_actor analyzer;
  actuator_actor actuator;
};
/// The ready pods of a variant.
struct pods_changed {
  variant_key key;
  analyzer_actor analyzer;
  std::string model;
  std::vector<scrape_target> pods;
};

using optimizer_actor =
    caf::typed_actor<caf::reacts_to<variant_added>, caf::reacts_to<variant_gone>, caf::reacts_to<curve_changed>,
                     caf::reacts_to<curve_stale>, caf::reacts_to<capacity_changed>, caf::reacts_to<settings_changed>,
                     caf::reacts_to<run_now>, caf::reacts_to<inventory_synced>, caf::reacts_to<leadership>,
                     caf::reacts_to<stop_request>, caf::reacts_to<tick>>;
using metrics_watcher_actor = caf::typed_actor<caf::reacts_to<pods_changed>, caf::reacts_to<variant_gone>,
                                               caf::reacts_to<settings_changed>, caf::reacts_to<collected>, caf::reacts_to<tick>>;
using board_actor =
    caf::typed_actor<caf::reacts_to<plan_made>, caf::reacts_to<scaling_done>, caf::reacts_to<error_noted>,
                     caf::reacts_to<variant_gone>, caf::reacts_to<watch_health>, caf::reacts_to<inventory_synced>>;
using fleet_actor = caf::typed_actor<caf::reacts_to<objects_replaced>, caf::reacts_to<object_upserted>,
                                     caf::reacts_to<object_removed>, caf::reacts_to<watch_health>, caf::reacts_to<target_changed>,
                                     caf::reacts_to<target_removed>, caf::reacts_to<target_kind_state>,
                                     caf::reacts_to<leadership>, caf::reacts_to<api_result>, caf::reacts_to<tick>>;
/// Events of the subscription, decoded off the actor's thread, then forwarded to the fleet.
using kube_watcher_actor =
    caf::typed_actor<caf::reacts_to<objects_replaced>, caf::reacts_to<object_upserted>, caf::reacts_to<object_removed>,
                     caf::reacts_to<watch_health>, caf::reacts_to<leadership>>;
using scale_watcher_actor =
    caf::typed_actor<caf::reacts_to<api_result>, caf::reacts_to<scale_answer>, caf::reacts_to<targets_listed>,
                     caf::reacts_to<target_change>, caf::reacts_to<target_watch_health>, caf::reacts_to<tick>>;
using change_closer_actor = caf::typed_actor<caf::reacts_to<orphans_changed>, caf::reacts_to<api_result>, caf::reacts_to<tick>>;
using leader_actor = caf::typed_actor<caf::reacts_to<api_result>, caf::reacts_to<tick>, caf::reacts_to<stop_request>>;
/// Errors go on to the board, which may be another by then.
using supervisor_actor =
    caf::typed_actor<caf::reacts_to<leadership>, caf::reacts_to<error_noted>, caf::reacts_to<tick>, caf::reacts_to<stop_request>>;

}  // namespace inferno::actors

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::objects_replaced)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::object_upserted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::object_removed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::watch_health)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::analyzer_update)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::variant_facts)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::orphans_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::load_arrived)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::requests_waiting)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::metrics_lost)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::curve_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::decision_made)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::plan_made)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::scaling_done)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::error_noted)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::capacity_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::settings_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::run_now)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::inventory_synced)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::variant_gone)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::curve_stale)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::leadership)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::stop_request)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::tick)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::collected)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::api_result)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::variant_added)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::pods_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::target_change)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::targets_listed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::target_watch_health)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::scale_answer)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::target_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::target_removed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::actors::target_kind_state)

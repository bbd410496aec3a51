#pragma once
// What the controller knows of the cluster: Kubernetes objects reduced to the fields decisions need.
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "model/system.hpp"
#include "net/kube/client.hpp"
#include "net/metrics/prometheus_access.hpp"

namespace inferno::actors {

using variant_key = net::kube::object_key;

/// How a decision reaches the cluster: by patching the target's scale, by the metric alone (an HPA or KEDA scales), or not at
/// all.
enum class actuation_mode { direct, metric, dry_run };
std::string_view to_string(actuation_mode mode);
/// "direct", "metric", "dry-run"; nullopt: none of them.
std::optional<actuation_mode> parse_actuation_mode(std::string_view text);

/// What is scaled: a Deployment, or another kind with a scale subresource.
struct target_ref {
  std::string kind;
  std::string ns;
  std::string name;
  std::string group = "apps";  ///< of its API, "" = core
  auto operator<=>(const target_ref&) const = default;
};
/// A kind of targets, in any version.
struct target_kind {
  std::string group;
  std::string kind;
  auto operator<=>(const target_kind&) const = default;
};
/// Deployments and StatefulSets are always watched; other kinds while a VariantAutoscaling names them.
inline bool well_known(const target_ref& t) { return t.group == "apps" && (t.kind == "Deployment" || t.kind == "StatefulSet"); }

/// Since when a condition of a status has been what it is.
struct condition_age {
  std::string type;
  std::string status;  ///< "True", "False" or "Unknown"
  std::chrono::system_clock::time_point since{};
  bool operator==(const condition_age&) const = default;
};

/// A VariantAutoscaling. `problem` names the field and the value of the first thing wrong with its spec; "" = valid.
struct variant_object {
  variant_key key;
  std::string uid;
  long generation = 0;
  std::string created;  ///< as Kubernetes writes it: it sorts by time
  std::string model_id;
  std::string class_name;         ///< sloClassRef.name
  std::string class_key;          ///< sloClassRef.key
  std::string accelerator_label;  ///< label inference.optimization/acceleratorName
  std::vector<model::model_profile> profiles;
  std::optional<int> min_replicas;
  std::optional<int> max_replicas;
  bool keep_accelerator = true;
  target_ref target;                      ///< scaleTargetRef, else the Deployment of the object's own name
  std::string target_version;             ///< of the target's API group
  std::string owner_uid;                  ///< uid of the target among its owner references, "" = none
  std::vector<condition_age> conditions;  ///< of its status, whoever wrote it
  std::optional<actuation_mode> actuation;
  bool excluded = false;  ///< by annotation: not this controller's business
  /// Pool of the variant: "" = the namespace's one for its model and class, "off" = none, else that of this name.
  std::string pool;
  std::string problem;
};

/// A Deployment's move to another accelerator, by its annotation and its status; see actors/accelerator_change.hpp.
struct accelerator_change {
  enum class step { surge, drain, failed };
  std::string from, to;
  int replicas = 0;  ///< on the new accelerator
  step phase = step::surge;
  int ready = 0;          ///< of those, at least
  bool complete = false;  ///< nothing but new replicas, all ready
  bool stuck = false;     ///< the Deployment's progress deadline has passed
  /// Another writer has changed where the pods go since the change began: what runs is not what was decided.
  bool taken_over = false;
  std::string variant{};  ///< name of the VariantAutoscaling that it is made for, "" = not known
  std::string message{};  ///< why it failed
  std::optional<std::chrono::system_clock::time_point> failed_at{};
  bool operator==(const accelerator_change&) const = default;
};

/// What there is to know of a target whose kind is not well known.
struct scaled_kind {
  std::shared_ptr<const net::kube::resource> resource;
  /// Labels of those of its pods that serve, besides the selector's: of a group of pods that is one replica only the leader does.
  std::map<std::string, std::string> serving;
  std::string problem;  ///< why its scale is not known, "" = it is
  bool operator==(const scaled_kind&) const = default;
};

/// A target as its kind's watch shows it.
struct workload_object {
  target_ref ref;
  std::string uid;
  int replicas = 1;                                    ///< spec.replicas
  std::optional<int> ready_replicas{};                 ///< status.readyReplicas; nullopt = the kind does not report it
  std::map<std::string, std::string> selector;         ///< labels of its pods
  std::string selector_problem{};                      ///< why its pods are not known by it, "" = they are
  std::shared_ptr<const scaled_kind> other{};          ///< of a kind that is not well known; nullptr: it is
  std::shared_ptr<const accelerator_change> change{};  ///< nullptr = none
};

/// A HorizontalPodAutoscaler; KEDA's ScaledObjects act through one.
struct autoscaler_object {
  variant_key key;
  std::string owner;  ///< "ScaledObject NAME" when one owns it
  target_ref target;
  int min_replicas = 1;
  int max_replicas = 0;
  std::string shown() const { return owner.empty() ? "HorizontalPodAutoscaler " + key.name : owner; }
};

struct pod_object {
  variant_key key;
  std::map<std::string, std::string> labels;
  std::string ip;
  int port = 8000;  ///< containerPort named "http" or the first one
  bool ready = false;
  bool serving = false;        ///< Ready, or was so with the containers that still run: it may have requests
  std::size_t containers = 0;  ///< which ones run, all that are there; 0 = some do not, or it is not known
  bool terminal = false;       ///< Succeeded or Failed: holds no GPU
  bool deleting = false;       ///< has a deletionTimestamp
  std::string node;
  int gpus = 0;  ///< requested GPUs, over all containers
};

struct gpu_inventory {
  std::string product;
  int memory_mib = 0;
  int count = 0;  ///< allocatable GPUs
};
struct node_object {
  std::string name;
  bool closed = false;  ///< takes no more pods: cordoned, not ready or being removed
  std::vector<gpu_inventory> gpus;
};

/// One of the controller's ConfigMaps, as it is.
struct config_object {
  variant_key key;
  std::string resource_version;
  std::map<std::string, std::string> data;
};

using kube_object = std::variant<variant_object, workload_object, pod_object, node_object, config_object, autoscaler_object>;

/// How the controller runs; from the variantautoscaling ConfigMap.
struct runtime_settings {
  std::chrono::milliseconds opt_interval{60000};
  std::chrono::milliseconds scale_down_stabilization{60000};
  std::chrono::milliseconds rate_window{60000};
  std::chrono::milliseconds zero_retention{600000};  ///< without any request, before a variant with minReplicas 0 goes to zero
  net::metrics::prometheus_access prometheus;
  bool trigger = false;  ///< GLOBAL_OPT_TRIGGER
  model::saturation_policy saturation = model::saturation_policy::priority_exhaustive;
  model::solver_kind solver = model::solver_kind::automatic;
  bool pools = true;  ///< variants of one model and class in a namespace share their demand unless they say otherwise
  actuation_mode actuation = actuation_mode::direct;  ///< of variants that do not say
  bool search_batch = false;                          ///< search the best batch at or below maxBatchSize
  bool operator==(const runtime_settings&) const = default;
};

/// What puts a pod on an accelerator.
struct pod_placement {
  std::map<std::string, std::string> node_selector;
  std::string resource;  ///< extended resource of its cards; "" = the one the pod template has
  bool operator==(const pod_placement&) const = default;
};

/// What all variants share. Replaced as a whole when a ConfigMap changes.
struct catalog {
  std::map<std::string, model::accelerator> accelerators;
  std::map<std::string, pod_placement> placements;  ///< by accelerator, of those that say how pods get there
  struct named_class {
    std::string entry;  ///< key in service-classes-config
    model::service_class spec;
  };
  std::vector<named_class> classes;  ///< by entry
  /// sloClassRef to class: by entry, by class name, then (key is the model) the most important class with the model. nullptr =
  /// unknown.
  const model::service_class* find_class(const variant_object&) const;
};

/// Everything an analyzer needs about its variant, pushed when any part changes.
struct variant_inputs {
  std::shared_ptr<const variant_object> object;
  std::shared_ptr<const workload_object> target;        ///< nullptr = not found
  std::string target_problem;                           ///< why it is not found, if there is more to say
  std::shared_ptr<const autoscaler_object> autoscaler;  ///< of the target; nullptr = none
  std::shared_ptr<const catalog> shared;                ///< nullptr until the ConfigMaps are known
  /// What contradicts the label acceleratorName: pods of the target are on nodes of another GPU product. "" = nothing does.
  std::string label_conflict;
  runtime_settings settings;
  /// Another number: what was observed before may be incomplete, pods may have served unseen. Demand is watched anew before
  /// anything is scaled down.
  std::uint64_t observed_since = 0;
};

/// GPUs there are, by device, less what pods outside our variants hold.
struct capacity_view {
  std::map<std::string, int> by_device;  ///< negative never
  bool known = false;                    ///< false: no node has ever reported GPUs, so capacity does not limit
  /// Of these, what pods of a variant hold on nodes that take no more pods, or that are GPUs of another kind than the variant is
  /// planned on: of no use to others when it is given up.
  std::map<variant_key, int> bound{};
  /// By device: number of nodes by the GPUs that a node has of `by_device`. A pod takes its GPUs from one node.
  std::map<std::string, std::map<int, int>> nodes{};
};

/// What the metrics source shows of an inference gateway. Nothing else can tell that there are requests for a variant that has no
/// pods.
enum class gateway_view {
  unsupported,  ///< the source cannot show any
  none,         ///< no gateway's queue of any model
  others,       ///< queues of other models only
  queue,        ///< the queue of the variant's model, be it empty
};

/// What one variant's own pods said over a span of time.
struct load_sample {
  double time_s = 0;  ///< of the controller's steady clock
  double span_s = 0;  ///< 0: a baseline, no rates yet
  double arrivals = 0;
  double queued = 0;  ///< requests that have come beside them and wait at the inference gateway
  double completions = 0;
  double in_tokens = 0;   ///< sum over the completions
  double out_tokens = 0;  ///< sum over the completions
  double itl_sum_s = 0, itl_count = 0;
  double ttft_sum_s = 0, ttft_count = 0;
  double wait_sum_s = 0, wait_count = 0;
  double running = 0;
  double waiting = 0;
  /// Requests a second that must arrive beyond `arrivals` for the servers' queues to be as long as they are; 0 = none, or it is
  /// not known.
  double unseen_rate = 0;
  int pods = 0;            ///< ready pods of the variant
  int pods_reporting = 0;  ///< those with a valid sample
  std::string problem;     ///< why not all report
  /// Metric families that reporting pods lack although decisions need them, comma-separated; "" = none. With any missing the sums
  /// above are not the load, and nothing is decided from them.
  std::string missing;
  /// Families that reporting pods export with values that cannot be, and that are left out of account, comma-separated.
  std::string ill{};
};

}  // namespace inferno::actors

#pragma once
// The join of watched objects: which Deployment and which pods belong to which variant, and which GPUs are left. Pure
// bookkeeping.
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "actors/domain.hpp"
#include "actors/ports.hpp"

namespace inferno::actors {

/// What an event changed; the fleet tells the actors concerned and nobody else.
struct state_changes {
  std::set<variant_key> added;
  std::set<variant_key> inputs;  ///< spec or target
  std::set<variant_key> pods;    ///< set of ready pods
  std::set<variant_key> removed;
  bool capacity = false;
  bool nodes = false;  ///< GPUs of a node
};

class cluster_state {
 public:
  void upsert(const variant_object& v, state_changes& changes);
  void upsert(const workload_object& d, state_changes& changes);
  void upsert(pod_object p, state_changes& changes);
  void upsert(const node_object& n, state_changes& changes);
  void upsert(const autoscaler_object& a, state_changes& changes);
  void remove_variant(const variant_key& key, state_changes& changes);
  void remove_workload(const target_ref& ref, state_changes& changes);
  void remove_pod(const variant_key& key, state_changes& changes);
  void remove_node(const std::string& name, state_changes& changes);
  void remove_autoscaler(const variant_key& key, state_changes& changes);

  std::vector<variant_key> variant_keys() const;
  std::vector<target_ref> workload_refs(const target_kind& kind) const;
  /// Kinds of targets that are not well known, with the version they are named by (the lowest, if by several).
  std::map<target_kind, std::string> other_kinds() const;
  std::vector<variant_key> pod_keys() const;
  std::vector<std::string> node_names() const;
  std::vector<variant_key> autoscaler_keys() const;

  std::shared_ptr<const variant_object> variant(const variant_key& key) const;
  /// Targets on their way to another accelerator that no variant has, with the name of the one they move for ("" left out).
  std::vector<std::pair<target_ref, std::string>> changes_without_variant() const;
  /// nullptr when it is not there, or another variant's.
  std::shared_ptr<const workload_object> target_of(const variant_key& key) const;
  /// The variant that has this one's target, when several name it: the oldest of them.
  std::optional<variant_key> target_taken_by(const variant_key& key) const;
  /// The first by name that scales the variant's target; nullptr = none.
  std::shared_ptr<const autoscaler_object> autoscaler_of(const variant_key& key) const;
  /// Pods that may have requests: Ready ones, and those that were so with the containers that still run. A readiness probe that
  /// fails under load does not end what a server does.
  std::vector<scrape_target> serving_pods(const variant_key& key) const;
  /// GPUs that pods of the variant's target hold, by the product of their nodes.
  std::map<std::string, int> gpus_held(const variant_key& key) const;
  const std::map<std::string, node_object>& nodes() const { return nodes_; }
  /// GPUs by device, less those of pods that belong to no variant. Cost: nodes + foreign pods with GPUs.
  capacity_view capacity() const;

 private:
  struct target_entry {
    std::shared_ptr<const workload_object> object;
    std::set<variant_key> pods;
  };
  struct by_value {
    bool operator()(const target_ref* a, const target_ref* b) const { return *a < *b; }
  };
  void attach(const pod_object& p, state_changes& changes);
  void detach(const pod_object& p, state_changes& changes);
  void index_target(const workload_object& d);
  void unindex_target(const workload_object& d);
  void touch_target(const target_ref& target, bool inputs, bool pods, state_changes& changes) const;
  bool foreign(const variant_key& pod) const;
  bool counts_cards(const pod_object& p) const;
  void count_kind(const variant_object& v);
  void uncount_kind(const variant_object& v);

  std::map<variant_key, std::shared_ptr<const variant_object>> variants_;
  std::map<target_ref, target_entry> targets_;
  std::map<variant_key, std::shared_ptr<const pod_object>> pods_;
  std::map<variant_key, const target_ref*> owner_;           ///< pod -> target, a key of targets_
  std::map<target_ref, std::set<variant_key>> variants_of_;  ///< target -> variants
  std::map<target_kind, std::multiset<std::string>> other_kinds_;
  std::set<target_ref> changing_;  ///< targets on their way to another accelerator
  std::map<variant_key, std::shared_ptr<const autoscaler_object>> autoscalers_;
  std::map<target_ref, std::set<variant_key>> autoscalers_of_;  ///< target -> autoscalers
  /// (namespace, "label=value") -> targets whose selector has it as its first requirement: finds a pod's target in O(labels)
  std::map<std::pair<std::string, std::string>, std::set<const target_ref*, by_value>> by_selector_;
  std::map<std::string, std::set<variant_key>> pods_by_label_ns_;  ///< namespace -> pods, for a new target
  std::map<std::string, node_object> nodes_;
  bool gpus_seen_ = false;  ///< a node has reported some
};

}  // namespace inferno::actors

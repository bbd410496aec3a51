#pragma once
// What the controllers of a cluster do, as functions over the store: Deployments make ReplicaSets make Pods, the scheduler binds
// pods to GPUs.
#include "testbed/cluster/store.hpp"

namespace inferno::testbed {

/// ReplicaSet of the template, replicas on both sides of a roll-out, status.
void reconcile_deployment(object_store& store, const object_name& name);
/// Pods up to spec.replicas; those not ready, then the youngest go first. Status.
void reconcile_replicaset(object_store& store, const object_name& name);
/// Binds what fits, oldest first; pods that do not fit say why in a condition.
void schedule_pods(object_store& store);

/// An event as Kubernetes' own components write it; equal ones are counted.
void record_event(object_store& store, const json::object& about, std::string_view component, std::string_view reason,
                  const std::string& message, bool warning = false);
/// Sets a condition in `status`, keeping the transition time when its status stays. Returns whether anything changed.
bool set_condition(object_store& store, json::object& status, std::string_view type, bool value, std::string_view reason,
                   const std::string& message);
bool is_ready(const json::object& pod);

}  // namespace inferno::testbed

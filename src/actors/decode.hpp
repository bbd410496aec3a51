#pragma once
// Kubernetes JSON to domain objects.
#include <boost/json/object.hpp>
#include <tl/expected.hpp>

#include "actors/domain.hpp"

namespace inferno::actors {

/// metadata.namespace and metadata.name; "" when absent.
variant_key key_of(const boost::json::object& object);

/// Never fails as a whole: what is wrong with the spec is in `problem`, with field and value, so the object can be told so in its
/// status.
variant_object decode_variant(const boost::json::object& object);
/// A Deployment or StatefulSet; `kind` says which, lists do not.
workload_object decode_workload(const boost::json::object& object, std::string_view kind);
/// A Scale of autoscaling/v1: replicas and selector of a target of any kind. Error: its selector cannot be followed.
tl::expected<workload_object, std::string> decode_scale(const boost::json::object& scale, const target_kind& kind,
                                                        const variant_key& key);
autoscaler_object decode_autoscaler(const boost::json::object& object);
pod_object decode_pod(const boost::json::object& object);
/// `{nvidia,amd,intel}.com/gpu` by the labels gpu.product and gpu.memory of the same vendor; no GPUs when the node is
/// unschedulable.
node_object decode_node(const boost::json::object& object);
config_object decode_config(const boost::json::object& object);

}  // namespace inferno::actors

// Objects as the API server may send them.
#include <boost/json/parse.hpp>

#include "actors/accelerator_change.hpp"
#include "actors/actuator.hpp"
#include "actors/cluster_state.hpp"
#include "actors/decode.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {

void kube_objects(std::string_view data) {
  boost::system::error_code ec;
  const auto parsed = boost::json::parse(boost::json::string_view(data.data(), data.size()), ec);
  if (ec || !parsed.is_object()) return;
  const auto& object = parsed.get_object();
  actors::cluster_state state;
  actors::state_changes changes;
  const auto variant = actors::decode_variant(object);
  state.upsert(variant, changes);
  const auto workload = actors::decode_workload(object, "Deployment");
  state.upsert(workload, changes);
  const auto pod = actors::decode_pod(object);
  require(pod.gpus >= 0, "cards are counted from 0");
  state.upsert(pod, changes);
  const auto node = actors::decode_node(object);
  for (const auto& g : node.gpus) require(g.count >= 0, "cards are counted from 0");
  state.upsert(node, changes);
  const auto autoscaler = actors::decode_autoscaler(object);
  state.upsert(autoscaler, changes);
  (void)actors::decode_config(object);
  if (const auto scaled = actors::decode_scale(object, {"example.com", "Thing"}, variant.key)) state.upsert(*scaled, changes);
  for (const auto& [device, count] : state.capacity().by_device) require(count >= 0, "no device has less than no cards");
  (void)state.serving_pods(variant.key);
  (void)state.other_kinds();
  (void)state.changes_without_variant();
  (void)actors::add_owner(object, {{"kind", "Thing"}, {"name", "t"}, {"uid", "u"}});

  const actors::pod_placement place{{{"zone", "here"}}, "amd.com/gpu"};
  (void)actors::start_change(object, {"v", "A", "B", 2, 1, &place, nullptr});
  if (const auto change = actors::decode_change(object)) {
    (void)actors::drain_change(object, *change);
    (void)actors::finish_change(object);
    (void)actors::undo_change(object, {});
    (void)actors::abandon_change(object);
  }

  state.remove_workload(workload.ref, changes);
  state.remove_autoscaler(autoscaler.key, changes);
  state.remove_pod(pod.key, changes);
  state.remove_node(node.name, changes);
  state.remove_variant(variant.key, changes);
  require(state.variant_keys().empty() && state.pod_keys().empty() && state.node_names().empty(), "what is removed is gone");
}

}  // namespace inferno::fuzz

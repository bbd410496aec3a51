#include "actors/accelerator_change.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

namespace json = boost::json;

using net::kube::find;
using net::kube::integer_at;
using net::kube::text_at;

constexpr std::string_view accelerator_label = "inference.optimization/acceleratorName";

bool gpu_resource(std::string_view name) { return name.ends_with(".com/gpu"); }
bool product_label(std::string_view name) { return name.ends_with(".com/gpu.product"); }

json::object annotation_of(const json::object& deployment) {
  boost::system::error_code ec;
  auto v = json::parse(text_at(deployment, {"metadata", "annotations", change_annotation}), ec);
  return !ec && v.is_object() ? std::move(v.get_object()) : json::object{};
}

/// null where there is nothing: a merge patch with it takes away what came since.
json::value value_or_null(const json::object& from, std::initializer_list<std::string_view> path) {
  const auto* v = find(from, path);
  return v ? *v : json::value(nullptr);
}

/// A merge patch that leaves exactly `wanted` of a map of strings.
json::object exactly(const json::value& wanted, const json::value& present) {
  json::object out;
  if (present.is_object())
    for (const auto& [name, value] : present.get_object()) out[name] = nullptr;
  if (wanted.is_object())
    for (const auto& [name, value] : wanted.get_object()) out[name] = value;
  return out;
}

/// Fails with 409 unless the object still is the one that was read.
json::object guarded(const json::object& deployment, json::object metadata, json::object spec) {
  metadata["resourceVersion"] = text_at(deployment, {"metadata", "resourceVersion"});
  return {{"metadata", std::move(metadata)}, {"spec", std::move(spec)}};
}

json::object annotated(const json::object& said) {
  return {{"annotations", json::object{{change_annotation, json::serialize(said)}}}};
}

/// The strategy replaces the one there, whatever kind either is: a Recreate must not keep rollingUpdate, nor the reverse.
json::value strategy_patch(const json::value& wanted) {
  if (!wanted.is_object()) return nullptr;
  auto out = wanted.get_object();
  if (!out.contains("rollingUpdate")) out["rollingUpdate"] = nullptr;
  return out;
}

json::object surge(int pods) {
  return {{"type", "RollingUpdate"}, {"rollingUpdate", json::object{{"maxUnavailable", 0}, {"maxSurge", std::max(pods, 1)}}}};
}

bool has_gpus(const json::object& container) {
  for (const auto* kind : {"limits", "requests"})
    if (const auto* r = find(container, {"resources", kind}); r && r->is_object())
      for (const auto& [name, count] : r->get_object())
        if (gpu_resource(name)) return true;
  return false;
}

/// Requests and limits of GPUs become `cards` of `resource` ("" = the one there).
void equip(json::object& container, const std::string& resource, int cards) {
  auto& resources = container["resources"].as_object();
  for (const auto* kind : {"limits", "requests"}) {
    auto* r = resources.if_contains(kind);
    if (!r || !r->is_object()) continue;
    json::object out;
    bool held = false;
    std::string name = resource;
    for (const auto& [key, count] : r->get_object()) {
      if (!gpu_resource(key)) {
        out[key] = count;
        continue;
      }
      held = true;
      if (name.empty()) name = std::string(key);
    }
    if (held) out[name] = std::to_string(cards);
    *r = std::move(out);
  }
}

}  // namespace

std::shared_ptr<const accelerator_change> decode_change(const json::object& deployment) {
  const auto said = annotation_of(deployment);
  if (said.empty()) return nullptr;
  auto out = std::make_shared<accelerator_change>();
  out->from = text_at(said, {"from"});
  out->to = text_at(said, {"to"});
  out->replicas = static_cast<int>(std::clamp<long>(integer_at(said, {"replicas"}, 0), 0, 1000000));
  const auto phase = text_at(said, {"phase"});
  if (out->from.empty() || out->to.empty() || (phase != "surge" && phase != "drain" && phase != "failed")) return nullptr;
  out->phase = phase == "surge"   ? accelerator_change::step::surge
               : phase == "drain" ? accelerator_change::step::drain
                                  : accelerator_change::step::failed;
  out->message = text_at(said, {"message"});
  out->failed_at = net::kube::parse_time(text_at(said, {"failedAt"}));
  if (out->phase == accelerator_change::step::failed) return out;
  // A status of before says nothing about what the annotation began.
  if (integer_at(deployment, {"status", "observedGeneration"}, 0) < integer_at(deployment, {"metadata", "generation"}, 0))
    return out;
  const auto wanted = integer_at(deployment, {"spec", "replicas"}, 1);
  const auto all = integer_at(deployment, {"status", "replicas"}, 0);
  const auto updated = integer_at(deployment, {"status", "updatedReplicas"}, 0);
  const auto ready = integer_at(deployment, {"status", "readyReplicas"}, 0);
  // At least so many: the old ones may not all be ready.
  out->ready = static_cast<int>(std::clamp<long>(ready - (all - updated), 0, updated));
  out->complete = all == updated && updated == wanted && ready >= wanted;
  if (const auto* conditions = find(deployment, {"status", "conditions"}); conditions && conditions->is_array())
    for (const auto& c : conditions->get_array())
      if (c.is_object() && text_at(c.get_object(), {"type"}) == "Progressing" &&
          text_at(c.get_object(), {"reason"}) == "ProgressDeadlineExceeded")
        out->stuck = true;
  return out;
}

tl::expected<json::object, std::string> start_change(const json::object& deployment, const change_request& wanted) {
  const auto* list = find(deployment, {"spec", "template", "spec", "containers"});
  if (!list || !list->is_array()) return tl::unexpected(std::string("the pod template has no containers"));
  auto containers = list->get_array();
  json::object* server = nullptr;
  for (auto& c : containers) {
    if (!c.is_object() || !has_gpus(c.get_object())) continue;
    if (server) return tl::unexpected(std::string("more than one container of the pod template has GPUs"));
    server = &c.get_object();
  }
  if (!server) return tl::unexpected(std::string("no container of the pod template has GPUs"));
  equip(*server, wanted.placement->resource, wanted.cards);

  const auto old_selector = value_or_null(deployment, {"spec", "template", "spec", "nodeSelector"});
  json::object selector;
  if (old_selector.is_object())
    for (const auto& [name, value] : old_selector.get_object())
      if (!product_label(name) && !(wanted.old_place && wanted.old_place->node_selector.count(std::string(name))))
        selector[name] = value;
  for (const auto& [name, value] : wanted.placement->node_selector) selector[name] = value;

  const auto old_replicas = integer_at(deployment, {"spec", "replicas"}, 1);
  const json::object said{{"from", wanted.from},
                          {"to", wanted.to},
                          {"replicas", wanted.replicas},
                          {"phase", "surge"},
                          {"before", json::object{{"replicas", old_replicas},
                                                  {"strategy", value_or_null(deployment, {"spec", "strategy"})},
                                                  {"nodeSelector", old_selector},
                                                  {"acceleratorLabel", value_or_null(deployment, {"spec", "template", "metadata",
                                                                                                  "labels", accelerator_label})},
                                                  {"containers", *list}}}};
  json::object pod_template{
      {"metadata", json::object{{"labels", json::object{{accelerator_label, wanted.to}}}}},
      {"spec", json::object{{"nodeSelector", exactly(selector, old_selector)}, {"containers", std::move(containers)}}}};
  return guarded(deployment, annotated(said),
                 {{"replicas", std::max<std::int64_t>(old_replicas, wanted.replicas)},
                  {"strategy", surge(wanted.replicas)},
                  {"template", std::move(pod_template)}});
}

json::object drain_change(const json::object& deployment, const accelerator_change& change) {
  auto said = annotation_of(deployment);
  said["phase"] = "drain";
  // Room for exactly those that are there: when the number of replicas changes in the middle of an update, the Deployment's
  // controller scales old and new ones in proportion, to that number and maxSurge together.
  const auto all = static_cast<int>(integer_at(deployment, {"status", "replicas"}, 0));
  return guarded(deployment, annotated(said), {{"replicas", change.replicas}, {"strategy", surge(all - change.replicas)}});
}

json::object finish_change(const json::object& deployment) {
  const auto said = annotation_of(deployment);
  return guarded(deployment, {{"annotations", json::object{{change_annotation, nullptr}}}},
                 {{"strategy", strategy_patch(value_or_null(said, {"before", "strategy"}))}});
}

json::object undo_change(const json::object& deployment, std::chrono::system_clock::time_point now) {
  auto said = annotation_of(deployment);
  const auto before = value_or_null(said, {"before"});
  static const json::object none;
  const auto& b = before.is_object() ? before.get_object() : none;
  json::object pod_spec{{"nodeSelector", exactly(value_or_null(b, {"nodeSelector"}),
                                                 value_or_null(deployment, {"spec", "template", "spec", "nodeSelector"}))}};
  if (const auto* containers = b.if_contains("containers"); containers && containers->is_array())
    pod_spec["containers"] = *containers;
  json::object spec{
      {"strategy", strategy_patch(value_or_null(b, {"strategy"}))},
      {"template",
       json::object{
           {"metadata", json::object{{"labels", json::object{{accelerator_label, value_or_null(b, {"acceleratorLabel"})}}}}},
           {"spec", std::move(pod_spec)}}}};
  if (const auto* replicas = b.if_contains("replicas")) spec["replicas"] = *replicas;
  said.erase("before");
  said["phase"] = "failed";
  said["failedAt"] = net::kube::format_time(now);
  said["message"] = "its pods did not become ready within the Deployment's progressDeadlineSeconds";
  return guarded(deployment, annotated(said), std::move(spec));
}

}  // namespace inferno::actors

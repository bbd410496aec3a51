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

/// The cards of a container: {"limits": {resource: count}, "requests": ...}.
json::object gpus_of(const json::object& container) {
  json::object out;
  for (const auto* kind : {"limits", "requests"}) {
    json::object gpus;
    if (const auto* r = find(container, {"resources", kind}); r && r->is_object())
      for (const auto& [name, count] : r->get_object())
        if (gpu_resource(name)) gpus[name] = count;
    if (!gpus.empty()) out[kind] = std::move(gpus);
  }
  return out;
}

/// The containers of the pod template, those of the one of this name with other GPUs.
json::array with_gpus(const json::object& deployment, const std::string& container, const json::value& gpus) {
  const auto* list = find(deployment, {"spec", "template", "spec", "containers"});
  auto out = list && list->is_array() ? list->get_array() : json::array{};
  for (auto& c : out) {
    if (!c.is_object() || text_at(c.get_object(), {"name"}) != container) continue;
    for (const auto* kind : {"limits", "requests"}) {
      const auto* present = find(c.get_object(), {"resources", kind});
      if (!present || !present->is_object()) continue;
      json::object next;
      for (const auto& [name, count] : present->get_object())
        if (!gpu_resource(name)) next[name] = count;
      if (const auto* wanted = find(gpus, {kind}); wanted && wanted->is_object())
        for (const auto& [name, count] : wanted->get_object()) next[name] = count;
      c.get_object()["resources"].get_object()[kind] = std::move(next);
    }
  }
  return out;
}

/// Where the pods go, as far as a change of accelerator has to do with it.
json::object placement_of(const json::object& deployment, const std::string& container) {
  json::object out{{"nodeSelector", value_or_null(deployment, {"spec", "template", "spec", "nodeSelector"})},
                   {"acceleratorLabel", value_or_null(deployment, {"spec", "template", "metadata", "labels", accelerator_label})},
                   {"gpus", nullptr}};
  if (const auto* list = find(deployment, {"spec", "template", "spec", "containers"}); list && list->is_array())
    for (const auto& c : list->get_array())
      if (c.is_object() && text_at(c.get_object(), {"name"}) == container) out["gpus"] = gpus_of(c.get_object());
  return out;
}

bool taken_over(const json::object& deployment, const json::object& said) {
  const auto* left = find(said, {"after", "placement"});
  return left && *left != json::value(placement_of(deployment, text_at(said, {"container"})));
}

/// What the change did, taken back, except what others have changed since.
json::object taken_back(const json::object& deployment, const json::object& said, int needed = 0) {
  json::object spec;
  const auto as_left = [&](std::string_view field) {
    const auto* left = find(said, {"after", field});
    return left && *left == value_or_null(deployment, {"spec", field});
  };
  if (as_left("strategy")) spec["strategy"] = strategy_patch(value_or_null(said, {"before", "strategy"}));
  if (as_left("replicas")) {
    const auto before = integer_at(said, {"before", "replicas"}, 1), present = integer_at(said, {"after", "replicas"}, 1);
    spec["replicas"] = std::max(before, std::min<std::int64_t>(present, needed));
  }
  if (taken_over(deployment, said)) return spec;
  json::object pod_spec{
      {"nodeSelector", exactly(value_or_null(said, {"before", "placement", "nodeSelector"}),
                               value_or_null(deployment, {"spec", "template", "spec", "nodeSelector"}))},
      {"containers", with_gpus(deployment, text_at(said, {"container"}), value_or_null(said, {"before", "placement", "gpus"}))}};
  json::object labels{{accelerator_label, value_or_null(said, {"before", "placement", "acceleratorLabel"})}};
  spec["template"] = json::object{{"metadata", json::object{{"labels", std::move(labels)}}}, {"spec", std::move(pod_spec)}};
  return spec;
}

/// maxSurge for exactly those that are there: when the number of replicas changes in the middle of an update, the Deployment's
/// controller scales old and new ones in proportion, to that number and maxSurge together.
int room_for_present(const json::object& deployment, int replicas) {
  return static_cast<int>(integer_at(deployment, {"status", "replicas"}, 0)) - replicas;
}

/// A change under way with another number of replicas, and room for so many more.
json::object resized(const json::object& deployment, json::object said, int replicas, int more) {
  const auto strategy = surge(more);
  if (auto* after = said.if_contains("after"); after && after->is_object()) {
    after->get_object()["replicas"] = replicas;
    after->get_object()["strategy"] = strategy;
  }
  return guarded(deployment, annotated(said), {{"replicas", replicas}, {"strategy", strategy}});
}

}  // namespace

std::shared_ptr<const accelerator_change> decode_change(const json::object& deployment) {
  const auto said = annotation_of(deployment);
  if (said.empty()) return nullptr;
  auto out = std::make_shared<accelerator_change>();
  out->from = text_at(said, {"from"});
  out->to = text_at(said, {"to"});
  // The change gave the Deployment at least as many: what says more has not been written by it.
  const auto present = std::clamp<long>(integer_at(deployment, {"spec", "replicas"}, 1), 0, 1000000);
  out->replicas = static_cast<int>(std::clamp<long>(integer_at(said, {"replicas"}, 0), 0, present));
  const auto phase = text_at(said, {"phase"});
  if (out->from.empty() || out->to.empty() || out->from == out->to || (phase != "surge" && phase != "drain" && phase != "failed"))
    return nullptr;
  // The controller records where it sends the pods. A record without that, or with another accelerator, is not its own.
  if (phase != "failed" && text_at(said, {"after", "placement", "acceleratorLabel"}) != out->to) return nullptr;
  out->phase = phase == "surge"   ? accelerator_change::step::surge
               : phase == "drain" ? accelerator_change::step::drain
                                  : accelerator_change::step::failed;
  out->message = text_at(said, {"message"});
  out->variant = text_at(said, {"variant"});
  out->failed_at = net::kube::parse_time(text_at(said, {"failedAt"}));
  if (out->phase == accelerator_change::step::failed) return out;
  out->taken_over = taken_over(deployment, said);
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
  const auto container = text_at(*server, {"name"});
  equip(*server, wanted.placement->resource, wanted.cards);

  const auto old_selector = value_or_null(deployment, {"spec", "template", "spec", "nodeSelector"});
  json::object selector;
  if (old_selector.is_object())
    for (const auto& [name, value] : old_selector.get_object())
      if (!product_label(name) && !(wanted.old_place && wanted.old_place->node_selector.count(std::string(name))))
        selector[name] = value;
  for (const auto& [name, value] : wanted.placement->node_selector) selector[name] = value;

  const auto old_replicas = integer_at(deployment, {"spec", "replicas"}, 1);
  const auto replicas = std::max<std::int64_t>(old_replicas, wanted.replicas);
  const auto strategy = surge(wanted.replicas);
  const json::object said{
      {"from", wanted.from},
      {"to", wanted.to},
      {"replicas", wanted.replicas},
      {"phase", "surge"},
      {"variant", wanted.variant},
      {"container", container},
      {"before", json::object{{"replicas", old_replicas},
                              {"strategy", value_or_null(deployment, {"spec", "strategy"})},
                              {"placement", placement_of(deployment, container)}}},
      {"after",
       json::object{{"replicas", replicas},
                    {"strategy", strategy},
                    {"placement",
                     json::object{{"nodeSelector", selector}, {"acceleratorLabel", wanted.to}, {"gpus", gpus_of(*server)}}}}}};
  json::object pod_template{
      {"metadata", json::object{{"labels", json::object{{accelerator_label, wanted.to}}}}},
      {"spec", json::object{{"nodeSelector", exactly(selector, old_selector)}, {"containers", std::move(containers)}}}};
  return guarded(deployment, annotated(said),
                 {{"replicas", replicas}, {"strategy", strategy}, {"template", std::move(pod_template)}});
}

json::object extend_change(const json::object& deployment, const accelerator_change& change, int replicas) {
  auto said = annotation_of(deployment);
  said["replicas"] = replicas;
  if (change.phase == accelerator_change::step::drain)
    return resized(deployment, std::move(said), replicas, room_for_present(deployment, replicas));
  const auto present = integer_at(deployment, {"spec", "replicas"}, 1);
  return resized(deployment, std::move(said), static_cast<int>(std::max<std::int64_t>(present, replicas)), replicas);
}

json::object drain_change(const json::object& deployment, const accelerator_change& change) {
  auto said = annotation_of(deployment);
  said["phase"] = "drain";
  return resized(deployment, std::move(said), change.replicas, room_for_present(deployment, change.replicas));
}

json::object finish_change(const json::object& deployment) {
  const auto said = annotation_of(deployment);
  json::object spec;
  const auto* left = find(said, {"after", "strategy"});
  if (left && *left == value_or_null(deployment, {"spec", "strategy"}))
    spec["strategy"] = strategy_patch(value_or_null(said, {"before", "strategy"}));
  return guarded(deployment, {{"annotations", json::object{{change_annotation, nullptr}}}}, std::move(spec));
}

json::object undo_change(const json::object& deployment, std::chrono::system_clock::time_point now, std::string_view reason,
                         int needed) {
  auto said = annotation_of(deployment);
  auto spec = taken_back(deployment, said, needed);
  said["message"] = !reason.empty() ? reason
                    : taken_over(deployment, said)
                        ? "another writer changed the placement in the pod template during the move; it is left as it is"
                        : "its pods did not become ready within the Deployment's progressDeadlineSeconds";
  for (const auto* field : {"before", "after", "container"}) said.erase(field);
  said["phase"] = "failed";
  said["failedAt"] = net::kube::format_time(now);
  return guarded(deployment, annotated(said), std::move(spec));
}

json::object abandon_change(const json::object& deployment) {
  const auto said = annotation_of(deployment);
  if (text_at(said, {"phase"}) == "drain") return finish_change(deployment);
  return guarded(deployment, {{"annotations", json::object{{change_annotation, nullptr}}}}, taken_back(deployment, said));
}

}  // namespace inferno::actors

#include "actors/cluster_state.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace inferno::actors {
namespace {

bool selects(const std::map<std::string, std::string>& selector, const std::map<std::string, std::string>& labels) {
  return !selector.empty() && std::all_of(selector.begin(), selector.end(), [&](const auto& want) {
    const auto it = labels.find(want.first);
    return it != labels.end() && it->second == want.second;
  });
}

template <class T>
bool same(const std::shared_ptr<const T>& a, const std::shared_ptr<const T>& b) {
  return a && b ? *a == *b : a == b;
}

std::string requirement(const std::pair<const std::string, std::string>& label) { return label.first + "=" + label.second; }

template <class Map>
std::vector<typename Map::key_type> keys_of(const Map& map) {
  std::vector<typename Map::key_type> out;
  out.reserve(map.size());
  for (const auto& entry : map) out.push_back(entry.first);
  return out;
}

}  // namespace

void cluster_state::touch_target(const target_ref& target, bool inputs, bool pods, state_changes& changes) const {
  const auto it = variants_of_.find(target);
  if (it == variants_of_.end()) return;
  if (inputs) changes.inputs.insert(it->second.begin(), it->second.end());
  if (pods) changes.pods.insert(it->second.begin(), it->second.end());
}

void cluster_state::upsert(const variant_object& v, state_changes& changes) {
  if (v.excluded) return remove_variant(v.key, changes);
  // Deleted and made again while nobody watched: what was known of the one before is not true of this one, its status neither.
  if (const auto known = variants_.find(v.key); known != variants_.end() && known->second->uid != v.uid)
    remove_variant(v.key, changes);
  auto& slot = variants_[v.key];
  const auto& target = v.target;
  if (slot) {
    const auto before = slot->target;
    // Status writes (our own) come back as events that change nothing of the spec.
    const bool same = slot->generation == v.generation && slot->generation != 0 && slot->owner_uid == v.owner_uid &&
                      slot->accelerator_label == v.accelerator_label && slot->pool == v.pool;
    if (same) {
      if (slot->conditions != v.conditions) slot = std::make_shared<const variant_object>(v);
      return;
    }
    uncount_kind(*slot);
    if (before != target) {
      variants_of_[before].erase(v.key);
      touch_target(before, true, true, changes);
      changes.pods.insert(v.key);
      changes.capacity = true;
    }
    if (slot->model_id != v.model_id) changes.pods.insert(v.key);  // another model's series
    changes.inputs.insert(v.key);
  } else {
    changes.added.insert(v.key);
    changes.inputs.insert(v.key);
    changes.pods.insert(v.key);
    changes.capacity = changes.capacity || targets_.count(target) != 0;
  }
  // Others that name it may have to leave it to this one.
  if (variants_of_[target].insert(v.key).second) touch_target(target, true, true, changes);
  count_kind(v);
  slot = std::make_shared<const variant_object>(v);
}

void cluster_state::remove_variant(const variant_key& key, state_changes& changes) {
  const auto it = variants_.find(key);
  if (it == variants_.end()) return;
  const auto of = variants_of_.find(it->second->target);
  if (of != variants_of_.end()) {
    of->second.erase(key);
    touch_target(it->second->target, true, true, changes);
    if (of->second.empty()) variants_of_.erase(of);
  }
  uncount_kind(*it->second);
  variants_.erase(it);
  changes.removed.insert(key);
  changes.added.erase(key);
  changes.inputs.erase(key);
  changes.pods.erase(key);
  changes.capacity = true;  // its pods are foreign now
}

void cluster_state::count_kind(const variant_object& v) {
  // One whose spec is wrong names no kind: its version may be missing.
  if (!well_known(v.target) && !v.target_version.empty()) other_kinds_[{v.target.group, v.target.kind}].insert(v.target_version);
}

void cluster_state::uncount_kind(const variant_object& v) {
  const auto it = other_kinds_.find({v.target.group, v.target.kind});
  if (it == other_kinds_.end()) return;
  if (const auto version = it->second.find(v.target_version); version != it->second.end()) it->second.erase(version);
  if (it->second.empty()) other_kinds_.erase(it);
}

std::map<target_kind, std::string> cluster_state::other_kinds() const {
  std::map<target_kind, std::string> out;
  for (const auto& [kind, versions] : other_kinds_) out.emplace(kind, *versions.begin());
  return out;
}

void cluster_state::index_target(const workload_object& d) {
  if (!d.selector.empty()) by_selector_[{d.ref.ns, requirement(*d.selector.begin())}].insert(&targets_.find(d.ref)->first);
}

void cluster_state::unindex_target(const workload_object& d) {
  if (d.selector.empty()) return;
  const auto it = by_selector_.find({d.ref.ns, requirement(*d.selector.begin())});
  if (it == by_selector_.end()) return;
  it->second.erase(&d.ref);
  if (it->second.empty()) by_selector_.erase(it);
}

void cluster_state::upsert(const workload_object& d, state_changes& changes) {
  auto& entry = targets_[d.ref];
  const bool selector_changed = !entry.object || entry.object->selector != d.selector;
  const bool other_changed = entry.object && !same(entry.object->other, d.other);
  const bool inputs_changed = !entry.object || entry.object->replicas != d.replicas || entry.object->uid != d.uid ||
                              entry.object->ready_replicas != d.ready_replicas || other_changed ||
                              entry.object->selector_problem != d.selector_problem || !same(entry.object->change, d.change);
  if (selector_changed) {
    if (entry.object) unindex_target(*entry.object);
    for (const auto& pod : entry.pods) owner_.erase(pod);
    entry.pods.clear();
  }
  entry.object = std::make_shared<const workload_object>(d);
  if (d.change && d.change->phase != accelerator_change::step::failed && !d.change->variant.empty()) {
    changing_.insert(d.ref);
  } else {
    changing_.erase(d.ref);
  }
  if (selector_changed) {
    index_target(d);
    const auto in_namespace = pods_by_label_ns_.find(d.ref.ns);
    if (in_namespace != pods_by_label_ns_.end())
      for (const auto& pod : in_namespace->second)
        if (!owner_.count(pod) && selects(d.selector, pods_.at(pod)->labels)) {
          owner_[pod] = &targets_.find(d.ref)->first;
          entry.pods.insert(pod);
        }
  }
  touch_target(d.ref, inputs_changed, selector_changed || other_changed, changes);
  changes.capacity = changes.capacity || (selector_changed && variants_of_.count(d.ref) != 0);
}

void cluster_state::remove_workload(const target_ref& ref, state_changes& changes) {
  const auto it = targets_.find(ref);
  if (it == targets_.end()) return;
  unindex_target(*it->second.object);
  for (const auto& pod : it->second.pods) owner_.erase(pod);
  targets_.erase(it);
  changing_.erase(ref);
  touch_target(ref, true, true, changes);
  changes.capacity = true;
}

std::vector<std::pair<target_ref, std::string>> cluster_state::changes_without_variant() const {
  std::vector<std::pair<target_ref, std::string>> out;
  for (const auto& ref : changing_) {
    const auto of = variants_of_.find(ref);
    if (of == variants_of_.end() || of->second.empty()) out.emplace_back(ref, targets_.at(ref).object->change->variant);
  }
  return out;
}

void cluster_state::attach(const pod_object& p, state_changes& changes) {
  for (const auto& label : p.labels) {
    const auto found = by_selector_.find({p.key.ns, requirement(label)});
    if (found == by_selector_.end()) continue;
    for (const auto* target : found->second) {
      auto& entry = targets_.at(*target);
      if (!selects(entry.object->selector, p.labels)) continue;
      owner_[p.key] = target;
      entry.pods.insert(p.key);
      touch_target(*target, false, true, changes);
      return;
    }
  }
}

void cluster_state::detach(const pod_object& p, state_changes& changes) {
  const auto it = owner_.find(p.key);
  if (it == owner_.end()) return;
  const auto target = targets_.find(*it->second);
  if (target != targets_.end()) target->second.pods.erase(p.key);
  touch_target(*it->second, false, true, changes);
  owner_.erase(it);
}

void cluster_state::upsert(pod_object p, state_changes& changes) {
  auto& slot = pods_[p.key];
  if (slot) {
    p.serving = p.ready || (slot->serving && p.containers != 0 && p.containers == slot->containers && !p.deleting && !p.terminal);
    const bool same = slot->ready == p.ready && slot->serving == p.serving && slot->containers == p.containers &&
                      slot->ip == p.ip && slot->port == p.port && slot->labels == p.labels && slot->node == p.node &&
                      slot->gpus == p.gpus && slot->terminal == p.terminal && slot->deleting == p.deleting;
    if (same) return;
    if (counts_cards(*slot)) changes.capacity = true;
    detach(*slot, changes);
  }
  slot = std::make_shared<const pod_object>(p);
  pods_by_label_ns_[p.key.ns].insert(p.key);
  attach(p, changes);
  if (counts_cards(p)) changes.capacity = true;
}

void cluster_state::remove_pod(const variant_key& key, state_changes& changes) {
  const auto it = pods_.find(key);
  if (it == pods_.end()) return;
  if (counts_cards(*it->second)) changes.capacity = true;
  detach(*it->second, changes);
  pods_by_label_ns_[key.ns].erase(key);
  pods_.erase(it);
}

void cluster_state::upsert(const node_object& n, state_changes& changes) {
  auto& slot = nodes_[n.name];
  const bool same = !slot.name.empty() && slot.closed == n.closed && slot.gpus.size() == n.gpus.size() &&
                    std::equal(slot.gpus.begin(), slot.gpus.end(), n.gpus.begin(), [](const auto& a, const auto& b) {
                      return a.product == b.product && a.count == b.count && a.memory_mib == b.memory_mib;
                    });
  if (same) return;
  slot = n;
  // Labels and device plugins come and go. After the first report, no report means no GPUs; it does not mean no limit.
  gpus_seen_ = gpus_seen_ || !n.gpus.empty();
  changes.capacity = changes.nodes = true;
}

void cluster_state::remove_node(const std::string& name, state_changes& changes) {
  changes.capacity = nodes_.erase(name) != 0 || changes.capacity;
}

void cluster_state::upsert(const autoscaler_object& a, state_changes& changes) {
  const auto it = autoscalers_.find(a.key);
  if (it != autoscalers_.end()) {
    const auto& known = *it->second;
    if (known.target == a.target && known.min_replicas == a.min_replicas && known.max_replicas == a.max_replicas &&
        known.owner == a.owner)
      return;
    remove_autoscaler(a.key, changes);
  }
  autoscalers_[a.key] = std::make_shared<const autoscaler_object>(a);
  autoscalers_of_[a.target].insert(a.key);
  touch_target(a.target, true, false, changes);
}

void cluster_state::remove_autoscaler(const variant_key& key, state_changes& changes) {
  const auto it = autoscalers_.find(key);
  if (it == autoscalers_.end()) return;
  const auto target = it->second->target;
  const auto of = autoscalers_of_.find(target);
  of->second.erase(key);
  if (of->second.empty()) autoscalers_of_.erase(of);
  autoscalers_.erase(it);
  touch_target(target, true, false, changes);
}

bool cluster_state::foreign(const variant_key& pod) const {
  const auto it = owner_.find(pod);
  if (it == owner_.end()) return true;
  const auto of = variants_of_.find(*it->second);
  return of == variants_of_.end() || of->second.empty();
}

/// Whether the capacity depends on the pod: one without a variant holds GPUs, one of a variant keeps those of a closed node.
bool cluster_state::counts_cards(const pod_object& p) const {
  if (p.gpus == 0 || p.node.empty()) return false;
  const auto node = nodes_.find(p.node);
  return foreign(p.key) || (node != nodes_.end() && node->second.closed);
}

/// What variants may have: the GPUs of the nodes, of a closed one those that their pods still hold and keep, less those of
/// foreign pods.
capacity_view cluster_state::capacity() const {
  capacity_view out;
  out.known = gpus_seen_;
  std::map<std::pair<std::string_view, std::string_view>, int> left_on;  ///< by product and node
  for (const auto& [name, node] : nodes_)
    for (const auto& g : node.gpus) left_on[{g.product, name}] += node.closed ? 0 : g.count;
  for (const auto& [key, pod] : pods_) {
    if (pod->terminal || !counts_cards(*pod)) continue;
    const auto node = nodes_.find(pod->node);
    if (node == nodes_.end() || node->second.gpus.empty()) continue;
    const bool closed = node->second.closed;
    if (closed && (pod->deleting || foreign(key))) continue;
    auto& left = left_on.at({node->second.gpus.front().product, pod->node});
    left = std::max(0, left + (closed ? pod->gpus : -pod->gpus));
    if (!closed) continue;
    for (const auto& variant : variants_of_.at(*owner_.at(key))) out.bound[variant] += pod->gpus;
  }
  for (const auto& [where, left] : left_on) {
    out.by_device[std::string(where.first)] += left;
    if (left > 0) ++out.nodes[std::string(where.first)][left];
  }
  return out;
}

std::vector<variant_key> cluster_state::variant_keys() const { return keys_of(variants_); }
std::vector<target_ref> cluster_state::workload_refs(const target_kind& kind) const {
  auto out = keys_of(targets_);
  std::erase_if(out, [&](const target_ref& t) { return t.kind != kind.kind || t.group != kind.group; });
  return out;
}
std::vector<variant_key> cluster_state::autoscaler_keys() const { return keys_of(autoscalers_); }
std::vector<variant_key> cluster_state::pod_keys() const { return keys_of(pods_); }
std::vector<std::string> cluster_state::node_names() const { return keys_of(nodes_); }

std::shared_ptr<const variant_object> cluster_state::variant(const variant_key& key) const {
  const auto it = variants_.find(key);
  return it == variants_.end() ? nullptr : it->second;
}

std::optional<variant_key> cluster_state::target_taken_by(const variant_key& key) const {
  const auto v = variant(key);
  if (!v) return std::nullopt;
  const auto rivals = variants_of_.find(v->target);
  if (rivals == variants_of_.end() || rivals->second.size() < 2) return std::nullopt;
  const auto first = *std::min_element(rivals->second.begin(), rivals->second.end(), [this](const auto& a, const auto& b) {
    return std::tie(variants_.at(a)->created, a) < std::tie(variants_.at(b)->created, b);
  });
  return first == key ? std::nullopt : std::optional(first);
}

std::shared_ptr<const workload_object> cluster_state::target_of(const variant_key& key) const {
  const auto v = variant(key);
  if (!v || target_taken_by(key)) return nullptr;
  const auto it = targets_.find(v->target);
  return it == targets_.end() ? nullptr : it->second.object;
}

std::shared_ptr<const autoscaler_object> cluster_state::autoscaler_of(const variant_key& key) const {
  const auto v = variant(key);
  if (!v) return nullptr;
  const auto it = autoscalers_of_.find(v->target);
  return it == autoscalers_of_.end() ? nullptr : autoscalers_.at(*it->second.begin());
}

std::vector<scrape_target> cluster_state::serving_pods(const variant_key& key) const {
  std::vector<scrape_target> out;
  const auto v = variant(key);
  if (!v || target_taken_by(key)) return out;
  const auto it = targets_.find(v->target);
  if (it == targets_.end()) return out;
  for (const auto& pod : it->second.pods) {
    const auto& p = *pods_.at(pod);
    const auto& other = it->second.object->other;
    const bool serves = !other || other->serving.empty() || selects(other->serving, p.labels);
    if (p.serving && !p.ip.empty() && serves) out.push_back({p.key, v->model_id, p.ip, p.port});
  }
  return out;
}

std::map<std::string, int> cluster_state::gpus_held(const variant_key& key) const {
  std::map<std::string, int> out;
  const auto v = variant(key);
  if (!v || target_taken_by(key)) return out;
  const auto it = targets_.find(v->target);
  if (it == targets_.end()) return out;
  for (const auto& name : it->second.pods) {
    const auto& pod = *pods_.at(name);
    if (pod.gpus == 0 || pod.terminal || pod.deleting) continue;
    const auto node = nodes_.find(pod.node);
    // On a node of several products nothing tells which of them a pod has.
    if (node != nodes_.end() && node->second.gpus.size() == 1) out[node->second.gpus.front().product] += pod.gpus;
  }
  return out;
}

}  // namespace inferno::actors

// How objects come to their end: owners, definitions, namespaces, old events.
#include <fmt/format.h>

#include <algorithm>

#include "net/kube/client.hpp"
#include "testbed/cluster/store.hpp"

namespace inferno::testbed {

void object_store::note_owners(const kind_info& kind, const object_name& name, const object_ptr& before,
                               const object_ptr& after) {
  const auto owners_of = [](const object_ptr& o, auto visit) {
    const auto* owners = o ? find(*o, {"metadata", "ownerReferences"}) : nullptr;
    if (owners && owners->is_array())
      for (const auto& owner : owners->get_array())
        if (owner.is_object()) visit(text_at(owner.get_object(), {"uid"}));
  };
  owners_of(before, [&](const std::string& uid) {
    const auto it = dependents_.find(uid);
    if (it != dependents_.end() && it->second.erase({kind.qualified(), name}) > 0 && it->second.empty()) dependents_.erase(it);
  });
  owners_of(after, [&](const std::string& uid) { dependents_[uid].insert({kind.qualified(), name}); });
}

/// The kind that a CustomResourceDefinition adds, or changes.
api_result<void> object_store::define(json::object& crd) {
  auto kind = kind_from_definition(crd);
  if (!kind)
    return tl::unexpected(api_error{422, "Invalid",
                                    fmt::format("CustomResourceDefinition.apiextensions.k8s.io \"{}\" is invalid: {}",
                                                text_at(crd, {"metadata", "name"}), kind.error())});
  const auto same = std::find_if(kinds_.begin(), kinds_.end(),
                                 [&](const kind_ptr& k) { return k->group == (*kind)->group && k->plural == (*kind)->plural; });
  if (same == kinds_.end()) {
    kinds_.push_back(*kind);
  } else {
    *same = *kind;
  }
  tables_[(*kind)->qualified()];
  json::object established{
      {"type", "Established"}, {"status", "True"}, {"reason", "InitialNamesAccepted"}, {"lastTransitionTime", timestamp()}};
  if (!find(crd, {"status", "conditions"})) object_at(crd, {"status"})["conditions"] = json::array{std::move(established)};
  object_at(crd, {"status"})["acceptedNames"] = *find(crd, {"spec", "names"});
  return {};
}

void object_store::expire_events(const object_name& newest) {
  events_.push_back(newest);
  const auto kind = kind_named("Event");
  while (events_.size() > settings_.events) {
    const auto oldest = std::move(events_.front());
    events_.pop_front();
    if (oldest != newest) (void)remove(kind, oldest);
  }
}

api_result<object_ptr> object_store::remove(const kind_ptr& kind, const object_name& name, remove_options how) {
  const auto present = get(*kind, name);
  if (!present) return tl::unexpected(present.error());
  const bool on_node = kind->plural == "pods" && !text_at(**present, {"spec", "nodeName"}).empty();
  const auto grace = how.grace_s.value_or(integer_at(**present, {"spec", "terminationGracePeriodSeconds"}, 30));
  if (on_node && !how.at_once && grace > 0) {
    // A second request may shorten the time, not extend it.
    if (find(**present, {"metadata", "deletionTimestamp"}) &&
        grace >= integer_at(**present, {"metadata", "deletionGracePeriodSeconds"}, 0))
      return *present;
    json::object next = **present;
    object_at(next, {"metadata"})["deletionTimestamp"] = net::kube::format_time(now() + std::chrono::seconds(grace));
    object_at(next, {"metadata"})["deletionGracePeriodSeconds"] = grace;
    return put(kind, name, std::move(next), *present);
  }
  if (kind->plural == "customresourcedefinitions")
    for (const auto& k : std::vector<kind_ptr>(kinds_))
      if (k->schema && k->qualified() == name.name) {
        remove_all(k, {});
        std::erase(kinds_, k);
      }
  json::object last = **present;
  change c;
  c.revision = ++revision_;
  object_at(last, {"metadata"})["resourceVersion"] = std::to_string(c.revision);
  c.kind = kind;
  c.name = name;
  c.before = *present;
  c.last = std::make_shared<const json::object>(std::move(last));
  table_of(*kind)->erase(name);
  note_owners(*kind, name, *present, nullptr);
  const auto uid = text_at(**present, {"metadata", "uid"});
  auto gone = c.last;
  publish(std::move(c));
  if (how.orphan) {
    dependents_.erase(uid);
  } else {
    remove_dependents(uid);
  }
  if (kind->plural == "namespaces")
    for (const auto& k : std::vector<kind_ptr>(kinds_))
      if (k->namespaced) remove_all(k, name.name);
  return gone;
}

/// Of a namespace, "" = of all.
void object_store::remove_all(const kind_ptr& kind, const std::string& ns) {
  std::vector<object_name> names;
  for (const auto& [n, o] : *table_of(*kind))
    if (ns.empty() || n.ns == ns) names.push_back(n);
  for (const auto& n : names) (void)remove(kind, n);
}

std::vector<object_ptr> object_store::dependents(const std::string& plural, const std::string& uid) const {
  std::vector<object_ptr> out;
  const auto it = dependents_.find(uid);
  if (it == dependents_.end()) return out;
  for (const auto& k : kinds_)
    if (k->plural == plural)
      for (auto d = it->second.lower_bound({k->qualified(), {}}); d != it->second.end() && d->first == k->qualified(); ++d)
        if (const auto found = get(*k, d->second)) out.push_back(*found);
  return out;
}

void object_store::remove_dependents(const std::string& uid) {
  const auto it = dependents_.find(uid);
  if (it == dependents_.end()) return;
  const auto list = it->second;
  for (const auto& [qualified, name] : list)
    for (const auto& k : std::vector<kind_ptr>(kinds_)) {
      if (k->qualified() != qualified) continue;
      const auto object = get(*k, name);
      if (!object) continue;
      const auto& owners = find(**object, {"metadata", "ownerReferences"})->get_array();
      if (owners.size() <= 1) {
        (void)remove(k, name);
        continue;
      }
      // Another owner lives on: this one is no longer named.
      json::object next = **object;
      auto& left = object_at(next, {"metadata"})["ownerReferences"].get_array();
      left.erase(
          std::find_if(left.begin(), left.end(), [&](const json::value& o) { return text_at(o.get_object(), {"uid"}) == uid; }));
      (void)update(k, name, std::move(next));
    }
  dependents_.erase(uid);
}

}  // namespace inferno::testbed

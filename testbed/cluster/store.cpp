#include "testbed/cluster/store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "net/kube/client.hpp"
#include "testbed/cluster/admission.hpp"
#include "testbed/cluster/managed_fields.hpp"

namespace inferno::testbed {

object_store::object_store(settings s) : settings_(std::move(s)), random_(settings_.seed), kinds_(built_in_kinds()) {
  for (const auto& k : kinds_) tables_[k->qualified()];
  // Not of the seed, which is known.
  std::random_device device;
  for (int i = 0; i < 8; ++i) signing_key_ += fmt::format("{:08x}", device());
}

std::string object_store::timestamp() const { return net::kube::format_time(settings_.now()); }

std::string object_store::new_uid() {
  const auto a = random_(), b = random_();
  return fmt::format("{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}", a & 0xffffffff, (a >> 32) & 0xffff, (a >> 48) & 0xfff, b & 0xfff,
                     b >> 16);
}

std::string object_store::random_suffix(int length) {
  // The letters Kubernetes uses: none that make words.
  static constexpr std::string_view letters = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  for (int i = 0; i < length; ++i) out += letters[random_() % letters.size()];
  return out;
}

kind_ptr object_store::find_kind(const std::string& group, const std::string& version, const std::string& plural) const {
  for (const auto& k : kinds_)
    if (k->group == group && k->version == version && k->plural == plural) return k;
  return nullptr;
}

kind_ptr object_store::kind_named(const std::string& kind) const {
  for (const auto& k : kinds_)
    if (k->kind == kind) return k;
  return nullptr;
}

object_store::table* object_store::table_of(const kind_info& kind) {
  const auto it = tables_.find(kind.qualified());
  return it == tables_.end() ? nullptr : &it->second;
}
const object_store::table* object_store::table_of(const kind_info& kind) const {
  const auto it = tables_.find(kind.qualified());
  return it == tables_.end() ? nullptr : &it->second;
}

api_error object_store::not_found(const kind_info& kind, const std::string& name) const {
  return {404,
          "NotFound",
          fmt::format("{} \"{}\" not found", kind.qualified(), name),
          {{"name", name}, {"group", kind.group}, {"kind", kind.plural}}};
}

api_result<object_ptr> object_store::get(const kind_info& kind, const object_name& name) const {
  const auto* t = table_of(kind);
  if (t)
    if (const auto it = t->find(name); it != t->end()) return it->second;
  return tl::unexpected(not_found(kind, name.name));
}

object_ptr object_store::peek(const std::string& plural, const object_name& name) const {
  for (const auto& k : kinds_)
    if (k->plural == plural) {
      const auto found = get(*k, name);
      return found ? *found : nullptr;
    }
  return nullptr;
}

std::vector<object_ptr> object_store::all(const std::string& plural, const std::string& ns) const {
  std::vector<object_ptr> out;
  for (const auto& k : kinds_)
    if (k->plural == plural)
      for (auto it = table_of(*k)->lower_bound({ns, {}}); it != table_of(*k)->end() && (ns.empty() || it->first.ns == ns); ++it)
        out.push_back(it->second);
  return out;
}

api_result<list_result> object_store::list(const kind_info& kind, const std::string& ns, const selector& labels,
                                           const selector& fields, std::size_t limit, const std::string& continue_token) const {
  list_result out;
  out.revision = revision_;
  object_name after;
  if (!continue_token.empty()) {
    // revision|namespace|name
    const auto a = continue_token.find('|'), b = continue_token.find('|', a + 1);
    std::uint64_t revision = 0;
    if (a == std::string::npos || b == std::string::npos ||
        std::from_chars(continue_token.data(), continue_token.data() + a, revision).ec != std::errc())
      return tl::unexpected(api_error{400, "BadRequest", "continue key is not valid"});
    if (revision < compacted_)
      return tl::unexpected(
          api_error{410, "Expired", "The provided continue parameter is too old to display a consistent list result."});
    out.revision = revision;
    after = {continue_token.substr(a + 1, b - a - 1), continue_token.substr(b + 1)};
  }
  const auto* t = table_of(kind);
  if (!t) return out;
  // A walk shows the list as it was when it began: what has changed since is taken back.
  table then;
  if (out.revision < revision_) {
    then = *t;
    for (auto c = history_.rbegin(); c != history_.rend() && c->revision > out.revision; ++c) {
      if (c->kind->qualified() != kind.qualified()) continue;
      if (c->before) {
        then[c->name] = c->before;
      } else {
        then.erase(c->name);
      }
    }
    t = &then;
  }
  for (auto it = continue_token.empty() ? t->lower_bound({ns, {}}) : t->upper_bound(after);
       it != t->end() && (ns.empty() || it->first.ns == ns); ++it) {
    if (!labels.matches(*it->second) || !fields.matches(*it->second)) continue;
    if (limit > 0 && out.items.size() == limit) {
      if (out.remaining++ == 0) {
        const auto& last = *out.items.back();
        out.next =
            fmt::format("{}|{}|{}", out.revision, text_at(last, {"metadata", "namespace"}), text_at(last, {"metadata", "name"}));
      }
      continue;
    }
    out.items.push_back(it->second);
  }
  return out;
}

object_ptr object_store::put(const kind_ptr& kind, const object_name& name, json::object object, const object_ptr& before) {
  change c;
  c.revision = ++revision_;
  object_at(object, {"metadata"})["resourceVersion"] = std::to_string(c.revision);
  c.kind = kind;
  c.name = name;
  c.before = before;
  c.after = std::make_shared<const json::object>(std::move(object));
  note_owners(*kind, name, before, c.after);
  (*table_of(*kind))[name] = c.after;
  auto stored = c.after;
  publish(std::move(c));
  return stored;
}

void object_store::publish(change c) {
  history_.push_back(c);
  if (history_.size() > settings_.history) {
    compacted_ = history_.front().revision;
    history_.pop_front();
  }
  for (const auto& [id, callback] : watchers_) callback(c);
}

api_result<object_ptr> object_store::create(const kind_ptr& kind, const std::string& ns, json::object object,
                                            std::optional<json::array> managed) {
  auto& meta = object_at(object, {"metadata"});
  auto name = text_at(object, {"metadata", "name"});
  if (const auto prefix = text_at(object, {"metadata", "generateName"}); name.empty() && !prefix.empty()) {
    name = prefix + random_suffix(5);
    meta["name"] = name;
  }
  if (name.empty())
    return tl::unexpected(api_error{
        422, "Invalid",
        fmt::format("{} \"\" is invalid: metadata.name: Required value: name or generateName is required", kind->kind)});
  const object_name key{kind->namespaced ? ns : std::string(), name};
  if (kind->namespaced) {
    if (const auto said = text_at(object, {"metadata", "namespace"}); !said.empty() && said != ns)
      return tl::unexpected(
          api_error{400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request"});
    meta["namespace"] = ns;
    if (!peek("namespaces", {"", ns}))
      return tl::unexpected(api_error{404, "NotFound", fmt::format("namespaces \"{}\" not found", ns)});
  } else {
    meta.erase("namespace");
  }
  if (table_of(*kind)->count(key))
    return tl::unexpected(api_error{409, "AlreadyExists", fmt::format("{} \"{}\" already exists", kind->qualified(), name)});
  object["apiVersion"] = kind->group_version();
  object["kind"] = kind->kind;
  if (kind->plural == "nodes") complete_node(object, timestamp());
  if (const auto ok = admit(*kind, name, object); !ok) return tl::unexpected(ok.error());
  auto& stamped = object_at(object, {"metadata"});
  stamped["uid"] = new_uid();
  stamped["creationTimestamp"] = timestamp();
  stamped["generation"] = 1;
  stamped.erase("managedFields");
  if (managed) stamped["managedFields"] = std::move(*managed);
  // A status comes through /status, except for kinds that are all status (nodes of a manifest) in an emulated cluster.
  if (kind->has_status && kind->schema) object.erase("status");
  if (kind->plural == "customresourcedefinitions")
    if (const auto ok = define(object); !ok) return tl::unexpected(ok.error());
  if (kind->plural == "namespaces") object_at(object, {"status"})["phase"] = "Active";
  if (kind->plural == "events") expire_events(key);
  auto made = put(kind, key, std::move(object), nullptr);
  // As in a real cluster every namespace has an account for its pods.
  if (kind->plural == "namespaces") (void)create(kind_named("ServiceAccount"), name, {{"metadata", {{"name", "default"}}}});
  return made;
}

api_result<object_ptr> object_store::update(const kind_ptr& kind, const object_name& name, json::object object,
                                            const std::string& subresource, std::optional<json::array> managed) {
  const auto present = get(*kind, name);
  if (!present) return tl::unexpected(present.error());
  const auto& before = **present;
  const auto version = text_at(object, {"metadata", "resourceVersion"});
  if (!version.empty() && version != text_at(before, {"metadata", "resourceVersion"}))
    return tl::unexpected(api_error{
        409, "Conflict",
        fmt::format("Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply your changes to the "
                    "latest version and try again",
                    kind->qualified(), name.name)});
  const auto uid = text_at(object, {"metadata", "uid"});
  if (!uid.empty() && uid != text_at(before, {"metadata", "uid"}))
    return tl::unexpected(api_error{409, "Conflict",
                                    fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", uid,
                                                text_at(before, {"metadata", "uid"}))});
  json::object next;
  if (subresource == "status") {
    next = before;
    if (const auto* status = object.if_contains("status")) {
      next["status"] = *status;
    } else {
      next.erase("status");
    }
  } else {
    next = std::move(object);
    // What the server owns stays.
    auto& meta = object_at(next, {"metadata"});
    for (const auto* field :
         {"uid", "creationTimestamp", "generation", "name", "namespace", "deletionTimestamp", "deletionGracePeriodSeconds"}) {
      if (const auto* v = find(before, {"metadata", field})) {
        meta[field] = *v;
      } else {
        meta.erase(field);
      }
    }
    meta.erase("managedFields");
    if (const auto* owned = find(before, {"metadata", "managedFields"})) meta["managedFields"] = *owned;
    if (kind->has_status) {
      next.erase("status");
      if (const auto* status = before.if_contains("status")) next["status"] = *status;
    }
    next["apiVersion"] = kind->group_version();
    next["kind"] = kind->kind;
  }
  if (kind->plural == "nodes") complete_node(next, timestamp());
  if (const auto ok = admit(*kind, name.name, next); !ok) return tl::unexpected(ok.error());
  if (kind->plural == "customresourcedefinitions" && subresource.empty())
    if (const auto ok = define(next); !ok) return tl::unexpected(ok.error());
  object_at(next, {"metadata"})["resourceVersion"] = text_at(before, {"metadata", "resourceVersion"});
  if (managed) {
    object_at(next, {"metadata"})["managedFields"] = std::move(*managed);
  } else if (next != before && subresource.empty() && find(before, {"metadata", "managedFields"})) {
    object_at(next, {"metadata"})["managedFields"] = fields_after_update(*kind, before, next, manager_, timestamp());
  }
  if (next == before) return *present;
  const auto changed_outside = [](const json::object& a, const json::object& b) {
    for (const auto& [field, value] : a) {
      if (field == "metadata" || field == "status") continue;
      const auto* other = b.if_contains(field);
      if (!other || *other != value) return true;
    }
    return false;
  };
  if (changed_outside(next, before) || changed_outside(before, next))
    object_at(next, {"metadata"})["generation"] = integer_at(before, {"metadata", "generation"}, 0) + 1;
  return put(kind, name, std::move(next), *present);
}

api_result<object_ptr> object_store::patch(const kind_ptr& kind, const object_name& name, const json::value& body, patch_kind how,
                                           const std::string& subresource) {
  const auto present = get(*kind, name);
  if (!present) return tl::unexpected(present.error());
  json::value next(**present);
  if (how == patch_kind::json) {
    const auto done = json_patch(next, body);
    if (!done) return tl::unexpected(api_error{422, "Invalid", "the server rejected our request: " + done.error()});
  } else {
    if (!body.is_object()) return tl::unexpected(api_error{400, "BadRequest", "a merge patch must be a JSON object"});
    // Without a resourceVersion of its own a patch applies to whatever is there.
    if (how == patch_kind::merge || kind->schema) {
      merge_patch(next, body);
    } else {
      strategic_merge(next, body);
    }
  }
  if (!next.is_object()) return tl::unexpected(api_error{422, "Invalid", "the patch makes no object"});
  return update(kind, name, std::move(next.get_object()), subresource);
}

api_result<object_store::applied> object_store::apply(const kind_ptr& kind, const object_name& name, json::object config,
                                                      bool force, const std::string& subresource) {
  const auto present = get(*kind, name);
  if (!present && !subresource.empty()) return tl::unexpected(present.error());
  if (const auto* owned = find(config, {"metadata", "managedFields"}); owned && !owned->is_null())
    return tl::unexpected(api_error{400, "BadRequest", "metadata.managedFields must be nil"});
  // What the server writes is no part of a configuration, even if an exported object still has it.
  auto& meta = object_at(config, {"metadata"});
  for (const auto* field : {"managedFields", "creationTimestamp", "generation"}) meta.erase(field);
  if (kind->has_status && subresource.empty() && (present || kind->schema)) config.erase("status");
  auto done = apply_configuration(*kind, present ? present->get() : nullptr, config, manager_, force, timestamp());
  if (!done) {
    std::string all;
    json::array causes;
    for (const auto& c : done.error()) {
      const auto who = fmt::format("conflict with \"{}\" using {}", c.manager, kind->group_version());
      all += fmt::format("\n{}: {}", who, c.field);
      causes.push_back(json::object{{"reason", "FieldManagerConflict"}, {"message", who}, {"field", c.field}});
    }
    return tl::unexpected(
        api_error{409,
                  "Conflict",
                  fmt::format("Apply failed with {} conflict{}:{}", causes.size(), causes.size() == 1 ? "" : "s", all),
                  {{"causes", std::move(causes)}}});
  }
  auto stored = present ? update(kind, name, std::move(done->object), subresource, std::move(done->managed))
                        : create(kind, name.ns, std::move(done->object), std::move(done->managed));
  if (!stored) return tl::unexpected(stored.error());
  return applied{std::move(*stored), !present};
}

json::object object_store::scale_of(const kind_info&, const json::object& object) {
  std::string text;
  if (const auto* labels = find(object, {"spec", "selector", "matchLabels"}); labels && labels->is_object())
    for (const auto& [name, value] : labels->get_object())
      text += fmt::format("{}{}={}", text.empty() ? "" : ",", std::string_view(name), std::string_view(value.as_string()));
  json::object meta;
  for (const auto* field : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"})
    if (const auto* v = find(object, {"metadata", field})) meta[field] = *v;
  return {{"apiVersion", "autoscaling/v1"},
          {"kind", "Scale"},
          {"metadata", std::move(meta)},
          {"spec", json::object{{"replicas", integer_at(object, {"spec", "replicas"}, 1)}}},
          {"status", json::object{{"replicas", integer_at(object, {"status", "replicas"}, 0)}, {"selector", text}}}};
}

api_result<json::object> object_store::update_scale(const kind_ptr& kind, const object_name& name, const json::value& body,
                                                    std::optional<patch_kind> how) {
  const auto present = get(*kind, name);
  if (!present) return tl::unexpected(present.error());
  json::value scale(scale_of(*kind, **present));
  if (!how) {
    scale = body;
  } else if (*how == patch_kind::json) {
    if (const auto done = json_patch(scale, body); !done) return tl::unexpected(api_error{422, "Invalid", done.error()});
  } else {
    merge_patch(scale, body);
  }
  const auto* replicas = find(scale, {"spec", "replicas"});
  if (!replicas || !replicas->is_int64() || replicas->get_int64() < 0)
    return tl::unexpected(
        api_error{422, "Invalid",
                  fmt::format("Scale.autoscaling \"{}\" is invalid: spec.replicas: must be a whole number >= 0", name.name)});
  json::object next = **present;
  const auto version = text_at(scale.get_object(), {"metadata", "resourceVersion"});
  if (!version.empty()) object_at(next, {"metadata"})["resourceVersion"] = version;
  object_at(next, {"spec"})["replicas"] = replicas->get_int64();
  auto stored = update(kind, name, std::move(next));
  if (!stored) return tl::unexpected(stored.error());
  return scale_of(*kind, **stored);
}

api_result<std::vector<change>> object_store::since(std::uint64_t revision) const {
  if (revision < compacted_)
    return tl::unexpected(api_error{410, "Expired", fmt::format("too old resource version: {} ({})", revision, compacted_)});
  // Of another life of this server: what its objects were is not known here.
  if (revision > revision_)
    return tl::unexpected(api_error{410, "Expired", fmt::format("too large resource version: {} ({})", revision, revision_)});
  const auto first =
      std::partition_point(history_.begin(), history_.end(), [&](const change& c) { return c.revision <= revision; });
  return std::vector<change>(first, history_.end());
}

std::uint64_t object_store::subscribe(std::function<void(const change&)> callback) {
  watchers_[next_watcher_] = std::move(callback);
  return next_watcher_++;
}

object_store object_store::fork() const {
  auto out = *this;
  out.watchers_.clear();
  return out;
}

void object_store::compact() {
  history_.clear();
  compacted_ = ++revision_;
}

}  // namespace inferno::testbed

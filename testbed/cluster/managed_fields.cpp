#include "testbed/cluster/managed_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <optional>

namespace inferno::testbed {
namespace {

using tree = json::object;  ///< FieldsV1

/// A value's place: the name of its field and its schema, if it has one.
struct place {
  std::string field;
  const json::object* schema = nullptr;

  place member(std::string_view name) const {
    const auto* inner = schema ? find(*schema, {"properties", name}) : nullptr;
    if (!inner && schema) inner = find(*schema, {"additionalProperties"});
    return {std::string(name), inner ? inner->if_object() : nullptr};
  }
  place item() const {
    const auto* inner = schema ? find(*schema, {"items"}) : nullptr;
    return {{}, inner ? inner->if_object() : nullptr};
  }
};

enum class list_type { atomic, map, set };
struct list_form {
  list_type type = list_type::atomic;
  std::vector<std::string> keys{};
};

list_form form_of(const json::array& list, const place& at) {
  list_form out;
  if (at.schema) {
    const auto type = text_at(*at.schema, {"x-kubernetes-list-type"});
    if (type == "set") return {list_type::set, {}};
    if (const auto* keys = find(*at.schema, {"x-kubernetes-list-map-keys"}); type == "map" && keys && keys->is_array())
      for (const auto& k : keys->get_array()) out.keys.emplace_back(k.as_string());
  } else if (const auto key = list_merge_key(at.field); !key.empty()) {
    const bool of_service = key == "containerPort" && !list.empty() && !find(list.front(), {key});
    out.keys.emplace_back(of_service ? std::string_view("port") : key);
  }
  const bool keyed = !out.keys.empty() && std::all_of(list.begin(), list.end(), [&](const json::value& item) {
    return std::all_of(out.keys.begin(), out.keys.end(), [&](const std::string& k) { return find(item, {k}) != nullptr; });
  });
  if (keyed) out.type = list_type::map;
  return out;
}

/// "k:{...}" or "v:..." of a list's item.
std::string name_of(const json::value& item, const list_form& form) {
  if (form.type == list_type::set) return "v:" + json::serialize(item);
  json::object key;
  for (const auto& k : form.keys) key[k] = *find(item, {k});
  return "k:" + json::serialize(key);
}

json::value* find_item(json::array& list, const std::string& name, const list_form& form) {
  const auto at = std::find_if(list.begin(), list.end(), [&](const json::value& item) { return name_of(item, form) == name; });
  return at == list.end() ? nullptr : &*at;
}

/// The parts of a value that are owned one by one: members of an object, items of a keyed list or set. Empty: it is owned whole.
struct part {
  std::string name;  ///< "f:...", "k:...", "v:..."
  const json::value* value;
  place at;
  bool of_list;
};
std::vector<part> parts_of(const json::value& v, const place& at) {
  std::vector<part> out;
  if (const auto* object = v.if_object()) {
    for (const auto& [name, inner] : *object)
      out.push_back({"f:" + std::string(std::string_view(name)), &inner, at.member(name), false});
  } else if (const auto* list = v.if_array()) {
    const auto form = form_of(*list, at);
    if (form.type != list_type::atomic)
      for (const auto& item : *list) out.push_back({name_of(item, form), &item, at.item(), true});
  }
  return out;
}

tree tree_of(const json::value& v, const place& at) {
  tree out;
  for (const auto& p : parts_of(v, at)) {
    auto inner = p.name.starts_with("v:") ? tree() : tree_of(*p.value, p.at);
    if (p.name.starts_with("k:")) inner["."] = json::object{};
    out[p.name] = std::move(inner);
  }
  return out;
}

const json::object* child(const tree* t, std::string_view name) {
  const auto* inner = t ? t->if_contains(name) : nullptr;
  return inner ? inner->if_object() : nullptr;
}

void unite(tree& into, const tree& more) {
  for (const auto& [name, inner] : more) {
    auto& own = into[name];
    if (!own.is_object()) own.emplace_object();
    unite(own.get_object(), inner.get_object());
  }
}

/// What is in both trees leaves the first one.
void subtract(tree& from, const tree& what) {
  for (const auto& [name, inner] : what) {
    auto* own = from.if_contains(name);
    if (!own || name == ".") continue;
    auto& mine = own->get_object();
    if (!inner.get_object().empty() && !mine.empty()) subtract(mine, inner.get_object());
    if (inner.get_object().empty() || mine.empty()) from.erase(name);
  }
}

/// Fields that `after` does not have leave the tree.
void keep_existing(tree& t, const json::value& after, const place& at) {
  const auto parts = parts_of(after, at);
  std::vector<std::string> gone;
  for (auto& [name, inner] : t) {
    if (name == ".") continue;
    const auto there =
        std::find_if(parts.begin(), parts.end(), [&, n = std::string_view(name)](const part& p) { return p.name == n; });
    if (there == parts.end()) {
      gone.emplace_back(name);
    } else {
      keep_existing(inner.get_object(), *there->value, there->at);
    }
  }
  for (const auto& name : gone) t.erase(name);
}

/// What is new or different in `after`; nullopt: nothing is.
std::optional<tree> changes(const json::value* before, const json::value& after, const place& at) {
  if (before && *before == after) return std::nullopt;
  if (!before) return tree_of(after, at);
  const auto parts = parts_of(after, at);
  const auto old = parts_of(*before, at);
  tree out;
  for (const auto& p : parts) {
    const auto same = std::find_if(old.begin(), old.end(), [&](const part& o) { return o.name == p.name; });
    auto inner = changes(same == old.end() ? nullptr : same->value, *p.value, p.at);
    if (!inner) continue;
    if (same == old.end() && p.of_list && p.name.starts_with("k:")) (*inner)["."] = json::object{};
    out[p.name] = std::move(*inner);
  }
  if (!parts.empty() && out.empty()) return std::nullopt;  // only removals, or another order
  return out;
}

/// A field as messages name it: ".a.b[name=\"c\"].d".
std::string shown(const std::vector<std::string>& path) {
  std::string out;
  for (const auto& step : path) {
    if (step.starts_with("f:")) out += "." + step.substr(2);
    if (step.starts_with("v:")) out += "[=" + step.substr(2) + "]";
    if (!step.starts_with("k:")) continue;
    std::string keys;
    const auto parsed = json::parse(step.substr(2));
    for (const auto& [name, value] : parsed.as_object())
      keys += fmt::format("{}{}={}", keys.empty() ? "" : ",", std::string_view(name), json::serialize(value));
    out += "[" + keys + "]";
  }
  return out;
}

struct owner {
  std::string manager;
  json::object* entry;  ///< of managedFields
  const tree* fields;   ///< at the present place; nullptr: it owns nothing there
};

/// Fields of `config` that differ from `live` and are somebody else's.
void find_conflicts(const json::value& config, const json::value* live, const place& at, std::vector<owner> others,
                    std::vector<std::string>& path, std::vector<field_conflict>& out, tree& taken) {
  if (live && *live == config) return;
  std::erase_if(others, [](const owner& o) { return !o.fields; });
  if (others.empty()) return;
  const auto parts = parts_of(config, at);
  if (parts.empty() && config.is_object() && live && live->is_object()) return;  // nothing in it differs
  if (parts.empty()) {
    for (const auto& o : others) out.push_back({o.manager, shown(path)});
    tree leaf;
    for (auto step = path.rbegin(); step != path.rend(); ++step) leaf = tree{{*step, std::move(leaf)}};
    unite(taken, leaf);
    return;
  }
  const auto old = live ? parts_of(*live, at) : std::vector<part>();
  for (const auto& p : parts) {
    const auto same = std::find_if(old.begin(), old.end(), [&](const part& o) { return o.name == p.name; });
    auto inner = others;
    for (auto& o : inner) o.fields = child(o.fields, p.name);
    path.push_back(p.name);
    find_conflicts(*p.value, same == old.end() ? nullptr : same->value, p.at, std::move(inner), path, out, taken);
    path.pop_back();
  }
}

void merge(json::value& live, const json::value& config, const place& at) {
  if (config.is_object() && live.is_object()) {
    for (const auto& [name, value] : config.get_object()) {
      auto& to = live.get_object()[name];
      merge(to, value, at.member(name));
    }
    return;
  }
  if (config.is_array() && live.is_array()) {
    const auto form = form_of(config.get_array(), at);
    if (form.type != list_type::atomic && form_of(live.get_array(), at).type == form.type) {
      for (const auto& item : config.get_array()) {
        auto* same = find_item(live.get_array(), name_of(item, form), form);
        if (same) {
          merge(*same, item, at.item());
        } else {
          live.get_array().push_back(item);
        }
      }
      return;
    }
  }
  live = config;
}

/// Takes out what was applied before, is not any more, and is nobody else's.
void give_up(json::value& live, const tree& had, const tree* has, const std::vector<const tree*>& others, const place& at) {
  for (const auto& [name, inner] : had) {
    if (name == ".") continue;
    const auto* now = child(has, name);
    std::vector<const tree*> theirs;
    for (const auto* o : others)
      if (const auto* t = child(o, name)) theirs.push_back(t);
    const bool field = name.starts_with("f:");
    const std::string own(std::string_view(name).substr(2));
    list_form form;
    if (!field && live.is_array()) form = form_of(live.get_array(), at);
    json::value* part = nullptr;
    if (field && live.is_object()) part = live.get_object().if_contains(own);
    if (!field && live.is_array()) part = find_item(live.get_array(), std::string(name), form);
    if (!part) continue;
    if (now || !theirs.empty()) {
      give_up(*part, inner.get_object(), now, theirs, field ? at.member(own) : at.item());
    } else if (field) {
      live.get_object().erase(own);
    } else {
      auto& list = live.get_array();
      list.erase(list.begin() + (part - list.data()));
    }
  }
}

/// Only what can be owned: identity and what the server writes are nobody's.
json::value ownable(json::object object) {
  object.erase("apiVersion");
  object.erase("kind");
  if (auto* meta = object.if_contains("metadata"); meta && meta->is_object())
    for (const auto* field : {"name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields",
                              "deletionTimestamp", "deletionGracePeriodSeconds", "generateName"})
      meta->get_object().erase(field);
  if (const auto* meta = object.if_contains("metadata"); meta && meta->is_object() && meta->get_object().empty())
    object.erase("metadata");
  return object;
}

json::object entry_of(const kind_info& kind, const std::string& manager, const char* operation, tree fields,
                      const std::string& now) {
  return {{"manager", manager}, {"operation", operation},   {"apiVersion", kind.group_version()},
          {"time", now},        {"fieldsType", "FieldsV1"}, {"fieldsV1", std::move(fields)}};
}

bool is_entry(const json::value& e, const std::string& manager, std::string_view operation) {
  return text_at(e.get_object(), {"manager"}) == manager && text_at(e.get_object(), {"operation"}) == operation;
}

tree& fields_of(json::value& entry) { return object_at(entry.get_object(), {"fieldsV1"}); }

void drop_empty(json::array& managed) {
  managed.erase(std::remove_if(managed.begin(), managed.end(), [](json::value& e) { return fields_of(e).empty(); }),
                managed.end());
}

/// Gives an entry its fields, and a new time only when they change.
void set_entry(json::array& managed, json::object entry) {
  const auto manager = text_at(entry, {"manager"}), operation = text_at(entry, {"operation"});
  for (auto& e : managed) {
    if (!is_entry(e, manager, operation)) continue;
    if (fields_of(e) != entry.at("fieldsV1")) e = std::move(entry);
    return;
  }
  managed.push_back(std::move(entry));
}

}  // namespace

tl::expected<applied_object, std::vector<field_conflict>> apply_configuration(const kind_info& kind, const json::object* before,
                                                                              const json::object& config,
                                                                              const std::string& manager, bool force,
                                                                              const std::string& now) {
  const place root{{}, kind.schema.get()};
  const auto wanted = ownable(config);
  auto fields = tree_of(wanted, root);
  if (!before) return applied_object{config, {entry_of(kind, manager, "Apply", std::move(fields), now)}};
  json::array managed;
  const auto live = ownable(*before);
  if (const auto* m = find(*before, {"metadata", "managedFields"}); m && m->is_array()) {
    managed = m->get_array();
  } else {
    auto all = tree_of(live, root);
    all.erase("f:status");
    managed.push_back(entry_of(kind, "before-first-apply", "Update", std::move(all), now));
  }
  std::vector<owner> others;
  tree had;
  for (auto& e : managed) {
    if (is_entry(e, manager, "Apply")) {
      had = fields_of(e);
    } else {
      others.push_back({text_at(e.get_object(), {"manager"}), &e.get_object(), &fields_of(e)});
    }
  }
  std::vector<field_conflict> conflicts;
  std::vector<std::string> path;
  tree taken;
  find_conflicts(wanted, &live, root, others, path, conflicts, taken);
  if (!conflicts.empty() && !force) return tl::unexpected(std::move(conflicts));
  for (auto& o : others) subtract(object_at(*o.entry, {"fieldsV1"}), taken);
  json::value next(*before);
  merge(next, config, root);
  std::vector<const tree*> theirs;
  for (const auto& o : others) theirs.push_back(&o.entry->at("fieldsV1").as_object());
  give_up(next, had, &fields, theirs, root);
  set_entry(managed, entry_of(kind, manager, "Apply", std::move(fields), now));
  drop_empty(managed);
  return applied_object{std::move(next.get_object()), std::move(managed)};
}

json::array fields_after_update(const kind_info& kind, const json::object& before, const json::object& after,
                                const std::string& manager, const std::string& now) {
  const place root{{}, kind.schema.get()};
  auto managed = find(before, {"metadata", "managedFields"})->get_array();
  const auto old = ownable(before), made = ownable(after);
  auto changed = changes(&old, made, root).value_or(tree());
  changed.erase("f:status");
  tree own;
  for (auto& e : managed) {
    if (is_entry(e, manager, "Update")) {
      own = fields_of(e);
    } else {
      subtract(fields_of(e), changed);
      keep_existing(fields_of(e), made, root);
    }
  }
  keep_existing(own, made, root);
  unite(own, changed);
  set_entry(managed, entry_of(kind, manager, "Update", std::move(own), now));
  drop_empty(managed);
  return managed;
}

}  // namespace inferno::testbed

#include "testbed/cluster/json_tools.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cmath>
#include <optional>

namespace inferno::testbed {

json::object& object_at(json::object& from, std::initializer_list<std::string_view> path) {
  json::object* at = &from;
  for (const auto& name : path) {
    auto& next = (*at)[name];
    if (!next.is_object()) next.emplace_object();
    at = &next.get_object();
  }
  return *at;
}

namespace {

/// Plain scalars as YAML 1.2's core schema reads them; quoted ones are strings.
json::value scalar(const YAML::Node& node) {
  const auto& s = node.Scalar();
  if (node.Tag() == "!") return json::value(s);
  if (s == "true" || s == "True") return true;
  if (s == "false" || s == "False") return false;
  if (s == "null" || s == "~" || s.empty()) return nullptr;
  std::int64_t n = 0;
  const auto* last = s.data() + s.size();
  if (const auto [end, ec] = std::from_chars(s.data(), last, n); ec == std::errc() && end == last) return n;
  double x = 0;
  if (const auto [end, ec] = std::from_chars(s.data(), last, x); ec == std::errc() && end == last && std::isfinite(x)) return x;
  return json::value(s);
}

json::value convert(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Sequence: {
      json::array out;
      for (const auto& item : node) out.push_back(convert(item));
      return out;
    }
    case YAML::NodeType::Map: {
      json::object out;
      for (const auto& entry : node) out[entry.first.Scalar()] = convert(entry.second);
      return out;
    }
    case YAML::NodeType::Scalar:
      return scalar(node);
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      break;
  }
  return nullptr;
}

}  // namespace

tl::expected<std::vector<json::object>, std::string> parse_manifests(const std::string& text) {
  std::vector<json::object> out;
  try {
    std::size_t number = 0;
    for (const auto& document : YAML::LoadAll(text)) {
      ++number;
      auto v = convert(document);
      if (v.is_null()) continue;
      if (!v.is_object()) return tl::unexpected(fmt::format("document {}: expected an object", number));
      if (text_at(v.get_object(), {"kind"}) == "List") {
        if (const auto* items = find(v, {"items"}); items && items->is_array())
          for (const auto& item : items->get_array())
            if (item.is_object()) out.push_back(item.get_object());
        continue;
      }
      out.push_back(std::move(v.get_object()));
    }
  } catch (const YAML::Exception& e) {
    return tl::unexpected(std::string(e.what()));
  }
  return out;
}

void merge_patch(json::value& target, const json::value& patch) {
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (!target.is_object()) target.emplace_object();
  auto& object = target.get_object();
  for (const auto& [name, value] : patch.get_object()) {
    if (value.is_null()) {
      object.erase(name);
    } else {
      merge_patch(object[name], value);
    }
  }
}

namespace {

std::vector<std::string> pointer_steps(std::string_view pointer) {
  std::vector<std::string> out;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);
    const auto end = pointer.find('/');
    std::string step;
    for (std::size_t i = 0; i < std::min(end, pointer.size()); ++i) {
      if (pointer[i] == '~' && i + 1 < pointer.size()) {
        step += pointer[++i] == '1' ? '/' : '~';
      } else {
        step += pointer[i];
      }
    }
    out.push_back(std::move(step));
    pointer = end == std::string_view::npos ? std::string_view() : pointer.substr(end);
  }
  return out;
}

std::optional<std::size_t> list_index(const std::string& step, std::size_t limit) {
  std::size_t n = 0;
  const auto [end, ec] = std::from_chars(step.data(), step.data() + step.size(), n);
  return ec == std::errc() && end == step.data() + step.size() && n < limit ? std::optional(n) : std::nullopt;
}

json::value* resolve(json::value& root, const std::vector<std::string>& steps, std::size_t count) {
  json::value* at = &root;
  for (std::size_t i = 0; i < count; ++i) {
    if (at->is_object()) {
      at = at->get_object().if_contains(steps[i]);
    } else if (at->is_array()) {
      const auto n = list_index(steps[i], at->get_array().size());
      at = n ? &at->get_array()[*n] : nullptr;
    } else {
      at = nullptr;
    }
    if (!at) return nullptr;
  }
  return at;
}

bool add_at(json::value& root, const std::vector<std::string>& steps, json::value value) {
  if (steps.empty()) {
    root = std::move(value);
    return true;
  }
  auto* parent = resolve(root, steps, steps.size() - 1);
  if (!parent) return false;
  const auto& last = steps.back();
  if (parent->is_object()) {
    parent->get_object()[last] = std::move(value);
    return true;
  }
  if (!parent->is_array()) return false;
  auto& list = parent->get_array();
  if (last == "-") {
    list.push_back(std::move(value));
    return true;
  }
  const auto n = list_index(last, list.size() + 1);
  if (!n) return false;
  list.insert(list.begin() + static_cast<std::ptrdiff_t>(*n), std::move(value));
  return true;
}

bool remove_at(json::value& root, const std::vector<std::string>& steps) {
  if (steps.empty() || !resolve(root, steps, steps.size())) return false;
  auto* parent = resolve(root, steps, steps.size() - 1);
  if (parent->is_object()) {
    parent->get_object().erase(steps.back());
  } else {
    auto& list = parent->get_array();
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(*list_index(steps.back(), list.size())));
  }
  return true;
}

bool apply_operation(json::value& target, const json::object& o) {
  const auto op = text_at(o, {"op"});
  const auto path = pointer_steps(text_at(o, {"path"}));
  const auto* value = o.if_contains("value");
  if (op == "remove") return remove_at(target, path);
  if (op == "test") {
    const auto* at = resolve(target, path, path.size());
    return at && value && *at == *value;
  }
  if (op == "add") return value && add_at(target, path, *value);
  if (op == "replace") {
    auto* at = resolve(target, path, path.size());
    if (!at || !value) return false;
    *at = *value;
    return true;
  }
  const auto from = pointer_steps(text_at(o, {"from"}));
  const auto* source = resolve(target, from, from.size());
  if (!source || (op != "move" && op != "copy")) return false;
  json::value moved = *source;
  if (op == "move" && !remove_at(target, from)) return false;
  return add_at(target, path, std::move(moved));
}

void merge_list(json::array& target, const json::array& patch, std::string_view list_key) {
  const auto directive_of = [](const json::value& item) {
    const auto* said = find(item, {"$patch"});
    return said && said->is_string() ? std::string_view(said->get_string()) : std::string_view();
  };
  // An item that says so makes the others the whole list.
  if (std::any_of(patch.begin(), patch.end(), [&](const json::value& item) { return directive_of(item) == "replace"; }))
    target.clear();
  for (const auto& item : patch) {
    // Ports of a container, or of a Service.
    const auto key = list_key == "containerPort" && !find(item, {list_key}) ? std::string_view("port") : list_key;
    const auto* id = find(item, {key});
    const auto directive = directive_of(item);
    if (!id) {
      if (directive.empty()) target.push_back(item);
      continue;
    }
    auto same = std::find_if(target.begin(), target.end(), [&](const json::value& t) {
      const auto* other = find(t, {key});
      return other && *other == *id;
    });
    if (directive == "delete") {
      if (same != target.end()) target.erase(same);
    } else if (same == target.end()) {
      target.push_back(item);
    } else {
      strategic_merge(*same, item);
    }
  }
}

}  // namespace

std::string_view list_merge_key(std::string_view field) {
  if (field == "containers" || field == "initContainers" || field == "env" || field == "volumes" || field == "imagePullSecrets")
    return "name";
  if (field == "ports") return "containerPort";
  if (field == "volumeMounts") return "mountPath";
  if (field == "conditions") return "type";
  if (field == "ownerReferences") return "uid";
  return {};
}

tl::expected<void, std::string> json_patch(json::value& target, const json::value& patch) {
  if (!patch.is_array()) return tl::unexpected(std::string("a JSON patch is a list of operations"));
  json::value result = target;
  std::size_t i = 0;
  for (const auto& operation : patch.get_array()) {
    if (!operation.is_object() || !apply_operation(result, operation.get_object()))
      return tl::unexpected(
          fmt::format("operation {} of the JSON patch cannot be applied: {}", i, json::serialize(operation).substr(0, 200)));
    ++i;
  }
  target = std::move(result);
  return {};
}

void strategic_merge(json::value& target, const json::value& patch, std::string_view field) {
  if (patch.is_array()) {
    const auto key = list_merge_key(field);
    if (key.empty() || !target.is_array()) {
      target = patch;
    } else {
      merge_list(target.get_array(), patch.get_array(), key);
    }
    return;
  }
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (const auto* directive = find(patch, {"$patch"}); directive && *directive == json::value("replace")) {
    target = patch;
    target.get_object().erase("$patch");
    return;
  }
  if (!target.is_object()) target.emplace_object();
  auto& object = target.get_object();
  for (const auto& [name, value] : patch.get_object()) {
    if (name.starts_with("$")) continue;
    if (value.is_null()) {
      object.erase(name);
    } else {
      strategic_merge(object[name], value, name);
    }
  }
}

}  // namespace inferno::testbed

#include "testbed/cluster/schema.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <regex>

#include "testbed/cluster/rules.hpp"

namespace inferno::testbed {
namespace {

std::string_view type_of(const json::value& v) {
  switch (v.kind()) {
    case json::kind::object:
      return "object";
    case json::kind::array:
      return "array";
    case json::kind::string:
      return "string";
    case json::kind::bool_:
      return "boolean";
    case json::kind::int64:
    case json::kind::uint64:
      return "integer";
    case json::kind::double_:
      return "number";
    case json::kind::null:
      break;
  }
  return "null";
}

class checker {
 public:
  schema_findings found;

  void check(const json::object& schema, json::value& v, const std::string& path) {
    const auto want = text_at(schema, {"type"});
    const auto got = type_of(v);
    const bool fits = want.empty() || want == got || (want == "number" && got == "integer");
    if (!fits) {
      add(path, fmt::format("Invalid value: \"{}\": must be of type {}: \"{}\"", got, want, got), "FieldValueTypeInvalid");
      return;
    }
    if (v.is_object()) members(schema, v.get_object(), path);
    if (v.is_array()) items(schema, v.get_array(), path);
    if (v.is_string()) text(schema, std::string(v.get_string()), path);
    if (v.is_number()) number(schema, v, path);
    if (const auto* allowed = find(schema, {"enum"}); allowed && allowed->is_array()) {
      const auto& list = allowed->get_array();
      if (std::find(list.begin(), list.end(), v) == list.end())
        add(path, fmt::format("Unsupported value: {}: supported values: {}", json::serialize(v), json::serialize(*allowed)),
            "FieldValueNotSupported");
    }
  }

 private:
  void add(const std::string& path, std::string what, const char* reason = "FieldValueInvalid") {
    found.problems.push_back({path, reason, std::move(what)});
  }

  /// A null where none is allowed is as good as nothing, as the API server has it.
  static void drop_nulls(const json::object& schema, json::object& object) {
    const auto* properties = find(schema, {"properties"});
    if (!properties) return;
    for (const auto& [name, inner] : properties->get_object()) {
      const auto* value = object.if_contains(name);
      const auto* nullable = find(inner, {"nullable"});
      if (value && value->is_null() && !(nullable && *nullable == json::value(true))) object.erase(name);
    }
  }

  void rules(const json::object& schema, const json::object& object, const std::string& path) {
    const auto* list = find(schema, {"x-kubernetes-validations"});
    if (!list || !list->is_array()) return;
    for (const auto& r : list->get_array())
      if (!keeps_rule(text_at(r.get_object(), {"rule"}), json::value(object)).value_or(false))
        add(path, fmt::format("Invalid value: \"object\": {}", text_at(r.get_object(), {"message"})));
  }

  void members(const json::object& schema, json::object& object, const std::string& path) {
    drop_nulls(schema, object);
    rules(schema, object, path);
    if (const auto* required = find(schema, {"required"}); required && required->is_array())
      for (const auto& name : required->get_array())
        if (!object.contains(name.get_string())) add(join(path, name.get_string()), "Required value", "FieldValueRequired");
    const auto* properties = find(schema, {"properties"});
    const auto* others = find(schema, {"additionalProperties"});
    const auto* all = find(schema, {"x-kubernetes-preserve-unknown-fields"});
    // An object without properties (metadata) keeps what it has.
    const bool keep = !properties || others || (all && *all == json::value(true));
    std::vector<std::string> unknown;
    for (auto& [name, value] : object) {
      const auto* inner = properties ? properties->get_object().if_contains(name) : nullptr;
      if (!inner && others && others->is_object()) inner = others;
      if (!inner) {
        if (!keep) unknown.emplace_back(name);
      } else if (!value.is_null()) {
        check(inner->get_object(), value, join(path, name));
      }
    }
    for (const auto& name : unknown) {
      found.unknown.push_back(join(path, name));
      object.erase(name);
    }
  }
  static std::string join(const std::string& path, std::string_view name) {
    return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
  }

  void items(const json::object& schema, json::array& list, const std::string& path) {
    if (static_cast<long>(list.size()) < integer_at(schema, {"minItems"}, 0))
      add(path, fmt::format("Invalid value: {}: {} in body should have at least {} items", list.size(), path,
                            integer_at(schema, {"minItems"}, 0)));
    if (const auto most = integer_at(schema, {"maxItems"}, -1); most >= 0 && static_cast<long>(list.size()) > most)
      add(path, fmt::format("Too many: {}: must have at most {} items", list.size(), most), "FieldValueTooMany");
    const auto* inner = find(schema, {"items"});
    if (!inner || !inner->is_object()) return;
    for (std::size_t i = 0; i < list.size(); ++i) check(inner->get_object(), list[i], fmt::format("{}[{}]", path, i));
  }

  void text(const json::object& schema, const std::string& s, const std::string& path) {
    const auto pattern = text_at(schema, {"pattern"});
    if (!pattern.empty() && !std::regex_search(s, std::regex(pattern)))
      add(path, fmt::format("Invalid value: \"{}\": {} in body should match '{}'", s, path, pattern));
    const auto least = integer_at(schema, {"minLength"}, 0);
    if (static_cast<long>(s.size()) < least)
      add(path, fmt::format("Invalid value: \"{}\": {} in body should be at least {} chars long", s, path, least));
    if (const auto most = integer_at(schema, {"maxLength"}, -1); most >= 0 && static_cast<long>(s.size()) > most)
      add(path, fmt::format("Too long: may not be more than {} bytes", most), "FieldValueTooLong");
    static const std::regex date_time(R"(^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$)");
    if (text_at(schema, {"format"}) == "date-time" && !std::regex_match(s, date_time))
      add(path, fmt::format("Invalid value: \"{}\": {} in body must be of type date-time: \"{}\"", s, path, s));
  }

  void number(const json::object& schema, const json::value& v, const std::string& path) {
    const double x = v.to_number<double>();
    if (const auto* least = find(schema, {"minimum"}); least && x < least->to_number<double>())
      add(path, fmt::format("Invalid value: {}: {} in body should be greater than or equal to {}", json::serialize(v), path,
                            json::serialize(*least)));
    if (const auto* most = find(schema, {"maximum"}); most && x > most->to_number<double>())
      add(path, fmt::format("Invalid value: {}: {} in body should be less than or equal to {}", json::serialize(v), path,
                            json::serialize(*most)));
  }
};

}  // namespace

std::string schema_flaw(const json::value& schema, const std::string& path) {
  if (!schema.is_object()) return path + ": expected an object";
  const auto& s = schema.get_object();
  const auto at = [&](std::string_view field) { return fmt::format("{}.{}", path, field); };
  for (const auto* field : {"type", "format", "pattern"})
    if (const auto* v = s.if_contains(field); v && !v->is_string()) return at(field) + ": expected a string";
  for (const auto* field : {"minimum", "maximum", "minLength", "minItems", "maxLength", "maxItems"})
    if (const auto* v = s.if_contains(field); v && !v->is_number()) return at(field) + ": expected a number";
  for (const auto* field : {"required", "enum"})
    if (const auto* v = s.if_contains(field); v && !v->is_array()) return at(field) + ": expected a list";
  if (const auto* required = s.if_contains("required"))
    for (const auto& name : required->get_array())
      if (!name.is_string()) return at("required") + ": expected a list of strings";
  if (const auto* rules = s.if_contains("x-kubernetes-validations")) {
    if (!rules->is_array()) return at("x-kubernetes-validations") + ": expected a list";
    for (const auto& r : rules->get_array())
      if (auto flaw = r.is_object() ? rule_flaw(text_at(r.get_object(), {"rule"})) : std::string("expected an object");
          !flaw.empty())
        return fmt::format("{}: {}", at("x-kubernetes-validations"), flaw);
  }
  try {
    (void)std::regex(text_at(s, {"pattern"}));
  } catch (const std::regex_error& e) {
    return fmt::format("{}: {}: {}", at("pattern"), text_at(s, {"pattern"}), e.what());
  }
  if (const auto* properties = s.if_contains("properties")) {
    if (!properties->is_object()) return at("properties") + ": expected an object";
    for (const auto& [name, inner] : properties->get_object())
      if (auto flaw = schema_flaw(inner, at(fmt::format("properties.{}", std::string_view(name)))); !flaw.empty()) return flaw;
  }
  if (const auto* items = s.if_contains("items"))
    if (auto flaw = schema_flaw(*items, at("items")); !flaw.empty()) return flaw;
  if (const auto* others = s.if_contains("additionalProperties"); others && !others->is_bool())
    return schema_flaw(*others, at("additionalProperties"));
  return {};
}

schema_findings apply_schema(const json::object& schema, json::object& object) {
  checker c;
  json::value whole(std::move(object));
  c.check(schema, whole, "");
  object = std::move(whole.get_object());
  return std::move(c.found);
}

}  // namespace inferno::testbed

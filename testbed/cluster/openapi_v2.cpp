// /openapi/v2 for kubectl before 1.27, which knows it only as protobuf, validates against it before it applies and looks there
// whether a kind supports dry runs.
//
// The message is Document of gnostic's OpenAPIv2.proto; only the fields below are filled. A built-in kind is an object of any
// content: what is wrong with it the server says. A custom resource has its schema.
#include <fmt/format.h>

#include "testbed/cluster/api.hpp"

namespace inferno::testbed {
namespace {

void varint(std::string& out, std::size_t n) {
  for (; n >= 0x80; n >>= 7) out += static_cast<char>(n | 0x80);
  out += static_cast<char>(n);
}

/// A length-delimited field: a string or a message.
std::string field(std::size_t number, const std::string& content) {
  std::string out;
  varint(out, number << 3 | 2);
  varint(out, content.size());
  return out + content;
}

constexpr const char* kind_extension = "x-kubernetes-group-version-kind";

/// NamedAny, its value as YAML.
std::string extension(const char* name, const std::string& yaml) { return field(1, name) + field(2, field(2, yaml)); }

/// Schema of a structural schema: types, properties, items and what is required.
std::string schema_of(const json::object& schema) {
  std::string out;
  if (const auto format = text_at(schema, {"format"}); !format.empty()) out += field(2, format);
  if (const auto said = text_at(schema, {"description"}); !said.empty()) out += field(4, said);
  if (const auto* required = find(schema, {"required"}); required && required->is_array())
    for (const auto& name : required->get_array()) out += field(19, std::string(name.get_string()));
  if (const auto* values = find(schema, {"additionalProperties"}); values && values->is_object())
    out += field(21, field(1, schema_of(values->get_object())));
  if (const auto type = text_at(schema, {"type"}); !type.empty()) out += field(22, field(1, type));
  if (const auto* items = find(schema, {"items"}); items && items->is_object())
    out += field(23, field(1, schema_of(items->get_object())));
  if (const auto* properties = find(schema, {"properties"}); properties && properties->is_object()) {
    std::string named;
    for (const auto& [name, inner] : properties->get_object())
      if (inner.is_object())
        named += field(1, field(1, std::string(std::string_view(name))) + field(2, schema_of(inner.get_object())));
    out += field(25, named);
  }
  return out;
}

/// NamedSchema
std::string definition(const kind_info& k) {
  const auto gvk = fmt::format("- group: \"{}\"\n  kind: {}\n  version: {}\n", k.group, k.kind, k.version);
  const auto schema =
      (k.schema ? schema_of(*k.schema) : field(22, field(1, "object"))) + field(31, extension(kind_extension, gvk));
  return field(1, fmt::format("{}.{}.{}", k.group, k.version, k.kind)) + field(2, schema);
}

/// NamedPathItem: that a patch may be a dry run.
std::string path(const kind_info& k) {
  const auto query = field(2, "query") + field(4, "dryRun") + field(6, "string");
  const auto parameter = field(1, field(2, field(3, query)));  // ParametersItem, Parameter, NonBodyParameter
  const auto gvk = fmt::format("group: \"{}\"\nkind: {}\nversion: {}\n", k.group, k.kind, k.version);
  const auto patch = field(8, parameter) + field(13, extension(kind_extension, gvk));  // Operation
  const auto url = fmt::format("/{}/{}{}/{{name}}", k.group.empty() ? "api/" + k.version : "apis/" + k.group_version(),
                               k.namespaced ? "namespaces/{namespace}/" : "", k.plural);
  return field(1, url) + field(2, field(8, patch));
}

}  // namespace

api_answer openapi_v2(const object_store& store) {
  std::string definitions;
  std::string paths;
  for (const auto& k : store.kinds()) {
    definitions += field(1, definition(*k));
    paths += field(2, path(*k));
  }
  const auto info = field(1, "Kubernetes") + field(2, "v1");
  return {200, field(1, "2.0") + field(2, info) + field(8, paths) + field(9, definitions),
          "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"};
}

}  // namespace inferno::testbed

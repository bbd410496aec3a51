// /openapi/v2 for kubectl before 1.27, which knows it only as protobuf and validates against it before it applies.
//
// The message is Document of gnostic's OpenAPIv2.proto; only the fields below are filled. Every kind is an object of any content:
// what is wrong with it the server says.
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

std::string definition(const kind_info& k) {
  const auto gvk = fmt::format("- group: \"{}\"\n  kind: {}\n  version: {}\n", k.group, k.kind, k.version);
  const auto any = field(2, gvk);                                                           // Any.yaml
  const auto extension = field(1, "x-kubernetes-group-version-kind") + field(2, any);       // NamedAny
  const auto schema = field(22, field(1, "object")) + field(31, extension);                 // Schema.type, .vendor_extension
  return field(1, fmt::format("{}.{}.{}", k.group, k.version, k.kind)) + field(2, schema);  // NamedSchema
}

}  // namespace

api_answer openapi_v2(const object_store& store) {
  std::string definitions;
  for (const auto& k : store.kinds()) definitions += field(1, definition(*k));
  const auto info = field(1, "Kubernetes") + field(2, "v1");
  return {200, field(1, "2.0") + field(2, info) + field(8, "") + field(9, definitions),
          "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"};
}

}  // namespace inferno::testbed

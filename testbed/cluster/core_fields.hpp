#pragma once
// What `kubectl explain` says of the built-in kinds: the fields the emulated cluster reads or writes, described.
#include "testbed/cluster/kinds.hpp"

namespace inferno::testbed {

/// OpenAPI v3 schema of a built-in kind, its metadata left to object_meta_schema(). A kind that is not described has no fields
/// beyond apiVersion, kind and metadata.
json::object core_schema(const kind_info& kind);
json::object object_meta_schema();

}  // namespace inferno::testbed

#pragma once
// The structural schema of a custom resource: validation and pruning.
#include "testbed/cluster/json_tools.hpp"

namespace inferno::testbed {

/// Checks `object` against an openAPIV3Schema (type, required, properties, additionalProperties,
/// x-kubernetes-preserve-unknown-fields, items, pattern, enum, minimum, maximum, minLength,
/// minItems, format date-time, nullable, x-kubernetes-validations as far as rules.hpp goes) and drops what the schema does not
/// know.
struct schema_problem {
  std::string field;    ///< "spec.x"
  std::string reason;   ///< "FieldValueRequired", ...
  std::string message;  ///< as the API server words it: "Required value"
};
struct schema_findings {
  std::vector<schema_problem> problems;
  std::vector<std::string> unknown;  ///< paths of what was dropped
};
schema_findings apply_schema(const json::object& schema, json::object& object);

/// Why this is no schema that apply_schema can use ("path.field: what"), "" when it is one.
std::string schema_flaw(const json::value& schema, const std::string& path);

}  // namespace inferno::testbed

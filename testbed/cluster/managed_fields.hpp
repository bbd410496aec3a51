#pragma once
// Server-side apply: who owns which fields of an object, and what an applied configuration makes of it.
//
// Ownership is kept as in Kubernetes: metadata.managedFields, an entry for each manager and operation, its fields as a FieldsV1
// tree ("f:name", "k:{key of a list's item}", "v:value of a set"; an empty object is a leaf). It is kept for objects that have
// been applied at least once. Lists are merged by key where the schema (x-kubernetes-list-type) or, for built-in kinds, the usual
// strategic merge says so, and are replaced as a whole elsewhere.
#include "testbed/cluster/kinds.hpp"

namespace inferno::testbed {

struct field_conflict {
  std::string manager;
  std::string field;  ///< ".spec.template.spec.containers[name=\"c\"].image"
};

struct applied_object {
  json::object object;  ///< `before` with the configuration in it, without the fields that only this manager had and gave up
  json::array managed;  ///< metadata.managedFields from now on
};

/// `config`: what `manager` applies, without a status unless that is meant. `before`: nullptr = there is none. `now`: RFC 3339.
/// Error: fields that another manager owns and that would get another value; with `force` they change hands instead.
tl::expected<applied_object, std::vector<field_conflict>> apply_configuration(const kind_info& kind, const json::object* before,
                                                                              const json::object& config,
                                                                              const std::string& manager, bool force,
                                                                              const std::string& now);

/// metadata.managedFields after `manager` has changed `before` into `after` by any other write: it owns what it changed.
/// `before` has been applied (it has managedFields).
json::array fields_after_update(const kind_info& kind, const json::object& before, const json::object& after,
                                const std::string& manager, const std::string& now);

}  // namespace inferno::testbed

#pragma once
// Resources that are answered and not stored: tokens of service accounts, and the reviews of tokens and rights.
//
// The emulated cluster authenticates nobody and has no RBAC: every request is the administrator's, and every right is granted to
// everybody but the anonymous user. Tokens are real: signed with the cluster's key, bound to their service account, and expiring.
#include "testbed/cluster/api.hpp"

namespace inferno::testbed {

struct review_kind {
  const char* group;
  const char* plural;
  const char* kind;
  bool namespaced;
};
/// Version v1, verb "create".
const std::vector<review_kind>& review_kinds();

/// The answer to a POST of a review or of serviceaccounts/NAME/token; nullopt: the request is none of these.
std::optional<api_answer> review(const object_store& store, const api_request& request);

/// The answer to a request in the name of another user; nullopt: it is in the sender's own, or can be answered all the same.
std::optional<api_answer> refuse_impersonation(const api_request& request);

}  // namespace inferno::testbed

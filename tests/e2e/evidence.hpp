#pragma once
// What the API server knows of who did what: accounts that tell controllers apart, its audit log, the history of its objects.
#include "tests/e2e/scene.hpp"

namespace inferno::test {

/// Another service account with the rights of the controller's; the file that has its token.
std::string another_account(const scene& s, const std::string& account);

/// A request of a service account, as the audit log tells it.
struct audited {
  std::string at;        ///< when it was received, as kube::format_micro_time() writes it
  std::string verb;      ///< "patch", ...
  std::string resource;  ///< "deployments/scale"
  std::string ns, name;
  int code = 0;
  bool write() const { return verb != "get" && verb != "list" && verb != "watch"; }
  bool done() const { return code >= 200 && code < 300; }
};
constexpr auto the_controller = "inferno-autoscaler-controller-manager";
/// Those of an account of the scene received at `since` or later, in the order in which they were answered.
std::vector<audited> requests_of(const scene& s, const std::string& account, const std::string& since = {});
/// Of these the writes that the server carried out, without leases and Events.
std::vector<audited> writes_of(const scene& s, const std::string& account, const std::string& since = {});
/// One a line, for messages.
std::string shown(const std::vector<audited>& requests);
/// As `since`.
std::string now_text();

/// metadata.resourceVersion of the newest state of all objects of a kind.
std::string version_now(const scene& s, const std::string& kind);
/// All states that the objects of a kind have had after that version, oldest first.
std::vector<json::object> states_since(const scene& s, const std::string& kind, const std::string& version);
/// spec.replicas of a Deployment since then, when it was `before`: each other value it took.
std::vector<long> replicas_since(const scene& s, const std::string& version, long before, const std::string& name = "vllme");

}  // namespace inferno::test

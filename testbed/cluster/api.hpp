#pragma once
// What the emulated API server answers: a pure function of the store and the request. Watches are apart, in watch.hpp.
#include "testbed/cluster/store.hpp"
#include "testbed/cluster/table.hpp"

namespace inferno::testbed {

struct api_request {
  std::string method;
  std::string path;
  std::map<std::string, std::string> query;
  std::string accept;
  std::string content_type;
  std::string body;
  std::string user_agent{};
  std::string bearer_token{};
  std::string impersonated{};  ///< user that the client asks to act as, "" = itself

  std::string parameter(const std::string& name) const {
    const auto it = query.find(name);
    return it == query.end() ? std::string() : it->second;
  }
  bool flag(const std::string& name) const { return parameter(name) == "true" || parameter(name) == "1"; }
  /// The name under which the fields it writes are owned: fieldManager, else the program's name in User-Agent.
  std::string field_manager() const;
  /// The client asked for meta.k8s.io Tables, as kubectl get does.
  bool wants_table() const;
  row_object included() const;
};

struct api_answer {
  int status = 200;
  std::string body;
  std::string content_type = "application/json";
};

/// Where a request leads: "/apis/apps/v1/namespaces/x/deployments/y/scale".
struct api_path {
  std::string group;
  std::string version;
  std::string ns;
  std::string plural;
  std::string name;         ///< "" = the collection
  std::string subresource;  ///< "status", "scale", "log", "token"
};
/// nullopt: no resource's path.
std::optional<api_path> parse_path(std::string_view path);

struct resolved {
  api_path path;
  kind_ptr kind;
};
api_result<resolved> resolve(const object_store& store, const api_request& request);

/// JSON or YAML. Error 400: says what is wrong with it.
api_result<json::value> parse_body(const api_request& request);

/// Everything but watches.
api_answer answer(object_store& store, const api_request& request);
api_answer failure(const api_error& error);
/// The Status object of an error.
json::object status_of(const api_error& error);

/// /version, /api, /apis, the groups' resource lists, /openapi/v3; nullopt: none of these.
std::optional<api_answer> discovery(const object_store& store, const api_request& request, const std::string& git_version);

/// /openapi/v3 of a group and version: its kinds with their fields, as kubectl explain reads them.
json::object openapi_v3(const object_store& store, const std::string& group, const std::string& version);

/// /openapi/v2 as protobuf, the only form older kubectl takes.
api_answer openapi_v2(const object_store& store);

/// Label and field selectors of the request.
struct selectors {
  selector labels;
  selector fields;
};
api_result<selectors> selectors_of(const api_request& request);

}  // namespace inferno::testbed

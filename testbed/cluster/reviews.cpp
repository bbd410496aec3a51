#include "testbed/cluster/reviews.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <map>

#include "net/kube/client.hpp"

namespace inferno::testbed {
namespace {

constexpr const char* authentication = "authentication.k8s.io";
constexpr const char* authorization = "authorization.k8s.io";
constexpr const char* issuer = "https://kubernetes.default.svc";
constexpr const char* anonymous = "system:anonymous";
constexpr const char* no_rbac = "the emulated cluster has no RBAC: every right is granted";

std::string base64url(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  while (out.ends_with('=')) out.pop_back();
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  return out;
}

/// Of text that base64url() made.
std::string from_base64url(std::string text) {
  std::replace(text.begin(), text.end(), '-', '+');
  std::replace(text.begin(), text.end(), '_', '/');
  const auto padding = (4 - text.size() % 4) % 4;
  text.append(padding, '=');
  std::string out(text.size(), '\0');
  const int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), reinterpret_cast<const unsigned char*>(text.data()),
                                static_cast<int>(text.size()));
  out.resize(n < 0 ? 0 : static_cast<std::size_t>(n) - padding);
  return out;
}

std::string signature(const std::string& key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
  unsigned int size = 0;
  HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(text.data()), text.size(),
       mac.data(), &size);
  return base64url({reinterpret_cast<const char*>(mac.data()), size});
}

std::int64_t seconds_of(std::chrono::system_clock::time_point t) {
  return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count();
}

std::vector<std::string> texts(const json::value* list) {
  std::vector<std::string> out;
  if (list && list->is_array())
    for (const auto& v : list->get_array())
      if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

json::array array_of(const std::vector<std::string>& texts) {
  json::array out;
  for (const auto& t : texts) out.emplace_back(t);
  return out;
}

struct identity {
  std::string name, uid;
  std::vector<std::string> groups;
  json::object as_json() const {
    json::object out{{"username", name}, {"groups", array_of(groups)}};
    if (!uid.empty()) out["uid"] = uid;
    return out;
  }
};

struct verdict {
  std::optional<identity> user;
  std::vector<std::string> audiences;
  std::string error;
};

verdict check_token(const object_store& store, const std::string& token, const std::vector<std::string>& audiences) {
  const auto invalid = [](std::string why) { return verdict{std::nullopt, {}, "invalid bearer token: " + std::move(why)}; };
  const auto first = token.find('.'), last = token.rfind('.');
  if (first == std::string::npos || first == last ||
      signature(store.signing_key(), token.substr(0, last)) != token.substr(last + 1))
    return invalid("the signature is not this cluster's");
  // Signed by this cluster, so its form is known.
  const auto claims = json::parse(from_base64url(token.substr(first + 1, last - first - 1))).as_object();
  if (integer_at(claims, {"exp"}, 0) <= seconds_of(store.now())) return invalid("it has expired");
  const auto ns = text_at(claims, {"kubernetes.io", "namespace"});
  const auto name = text_at(claims, {"kubernetes.io", "serviceaccount", "name"});
  const auto uid = text_at(claims, {"kubernetes.io", "serviceaccount", "uid"});
  const auto account = store.peek("serviceaccounts", {ns, name});
  if (!account || text_at(*account, {"metadata", "uid"}) != uid)
    return invalid(fmt::format("its service account {}/{} has been deleted", ns, name));
  verdict out;
  const auto granted = texts(find(claims, {"aud"}));
  const auto wanted = audiences.empty() ? std::vector<std::string>{issuer} : audiences;
  std::copy_if(wanted.begin(), wanted.end(), std::back_inserter(out.audiences),
               [&](const std::string& a) { return std::find(granted.begin(), granted.end(), a) != granted.end(); });
  if (out.audiences.empty()) return invalid("it is for another audience");
  out.user = identity{fmt::format("system:serviceaccount:{}:{}", ns, name),
                      uid,
                      {"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"}};
  return out;
}

/// Status of `review`, whose spec stays as it was sent.
api_answer reviewed(json::object review, const std::string& group, const char* kind, json::object status) {
  review["apiVersion"] = group + "/v1";
  review["kind"] = kind;
  review.insert(json::object::value_type("metadata", json::object{}));
  review["status"] = std::move(status);
  return {201, json::serialize(review)};
}

api_answer request_token(const object_store& store, const object_name& name, json::object body) {
  const auto kind = store.kind_named("ServiceAccount");
  const auto account = store.get(*kind, name);
  if (!account) return failure(account.error());
  const auto seconds = integer_at(body, {"spec", "expirationSeconds"}, 3600);
  if (seconds < 600 || seconds > (std::int64_t{1} << 32))
    return failure({422, "Invalid",
                    fmt::format("TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: {}: "
                                "must be between 600 and 4294967296 seconds",
                                seconds)});
  auto audiences = texts(find(body, {"spec", "audiences"}));
  if (audiences.empty()) audiences.emplace_back(issuer);
  const auto now = store.now();
  const auto end = now + std::chrono::seconds(seconds);
  const json::object claims{
      {"aud", array_of(audiences)},
      {"exp", seconds_of(end)},
      {"iat", seconds_of(now)},
      {"nbf", seconds_of(now)},
      {"iss", issuer},
      {"kubernetes.io",
       json::object{{"namespace", name.ns},
                    {"serviceaccount", json::object{{"name", name.name}, {"uid", text_at(**account, {"metadata", "uid"})}}}}},
      {"sub", fmt::format("system:serviceaccount:{}:{}", name.ns, name.name)}};
  auto token = base64url(R"({"alg":"HS256","typ":"JWT"})") + "." + base64url(json::serialize(claims));
  token += "." + signature(store.signing_key(), token);
  auto& spec = object_at(body, {"spec"});
  spec["audiences"] = array_of(audiences);
  spec["expirationSeconds"] = seconds;
  return reviewed(std::move(body), authentication, "TokenRequest",
                  {{"token", token}, {"expirationTimestamp", net::kube::format_time(end)}});
}

/// Who sends the request: the account of its token, else the administrator.
identity sender(const object_store& store, const api_request& request) {
  if (auto known = check_token(store, request.bearer_token, {}); known.user) return std::move(*known.user);
  return {"kubernetes-admin", {}, {"system:masters", "system:authenticated"}};
}

json::object rights_of(const std::string& user) {
  const bool known = !user.empty() && user != anonymous;
  return {{"allowed", known}, {"reason", known ? no_rbac : "the anonymous user has no rights"}};
}

json::object all_rights() {
  const auto all = [] { return json::array{"*"}; };
  return {{"resourceRules", json::array{json::object{{"verbs", all()}, {"apiGroups", all()}, {"resources", all()}}}},
          {"nonResourceRules", json::array{json::object{{"verbs", all()}, {"nonResourceURLs", all()}}}},
          {"incomplete", false}};
}

api_answer carry_out(const object_store& store, const api_request& request, const review_kind& of, json::object body) {
  const std::string kind = of.kind;
  if (kind == "TokenReview") {
    const auto found = check_token(store, text_at(body, {"spec", "token"}), texts(find(body, {"spec", "audiences"})));
    json::object status{{"authenticated", found.user.has_value()}};
    if (found.user) {
      status["user"] = found.user->as_json();
      status["audiences"] = array_of(found.audiences);
    } else {
      status["error"] = found.error;
    }
    return reviewed(std::move(body), of.group, of.kind, std::move(status));
  }
  if (kind == "SelfSubjectReview")
    return reviewed(std::move(body), of.group, of.kind, {{"userInfo", sender(store, request).as_json()}});
  if (kind == "SelfSubjectAccessReview")
    return reviewed(std::move(body), of.group, of.kind,
                    rights_of(request.impersonated.empty() ? sender(store, request).name : request.impersonated));
  if (kind == "SelfSubjectRulesReview") return reviewed(std::move(body), of.group, of.kind, all_rights());
  auto rights = rights_of(text_at(body, {"spec", "user"}));
  return reviewed(std::move(body), of.group, of.kind, std::move(rights));
}

/// A length-delimited protobuf message by its fields: number -> contents, varints in decimal. Stops at what it cannot read.
std::multimap<int, std::string> message(std::string_view bytes) {
  std::multimap<int, std::string> out;
  const auto varint = [&]() -> std::uint64_t {
    std::uint64_t n = 0;
    for (int shift = 0; !bytes.empty() && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.front());
      bytes.remove_prefix(1);
      n |= std::uint64_t(byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    return n;
  };
  while (!bytes.empty()) {
    const auto key = varint();
    const auto value = varint();
    if (key % 8 == 0) {
      out.emplace(static_cast<int>(key / 8), std::to_string(value));
    } else if (key % 8 == 2 && value <= bytes.size()) {
      out.emplace(static_cast<int>(key / 8), std::string(bytes.substr(0, value)));
      bytes.remove_prefix(value);
    } else {
      break;
    }
  }
  return out;
}

std::string field(const std::multimap<int, std::string>& of, int number) {
  const auto it = of.find(number);
  return it == of.end() ? std::string() : it->second;
}

/// As much of a review or token request in Kubernetes' protobuf form as its answer depends on: runtime.Unknown holds the object
/// (field 2), that its spec (2), and a token request's spec audiences (1) and expirationSeconds (4).
json::value binary_body(const std::string& body, bool token) {
  json::object spec;
  constexpr std::size_t magic = 4;  // "k8s" and a zero
  const auto fields = message(field(message(field(message(std::string_view(body).substr(std::min(magic, body.size()))), 2)), 2));
  if (token) {
    const auto audiences = fields.equal_range(1);
    json::array list;
    for (auto it = audiences.first; it != audiences.second; ++it) list.emplace_back(it->second);
    if (!list.empty()) spec["audiences"] = std::move(list);
    if (const auto seconds = field(fields, 4); !seconds.empty() && seconds.size() < 18)
      spec["expirationSeconds"] = static_cast<std::int64_t>(std::stoll(seconds));
  }
  return json::object{{"spec", std::move(spec)}};
}

}  // namespace

const std::vector<review_kind>& review_kinds() {
  static const std::vector<review_kind> all{{authentication, "tokenreviews", "TokenReview", false},
                                            {authentication, "selfsubjectreviews", "SelfSubjectReview", false},
                                            {authorization, "selfsubjectaccessreviews", "SelfSubjectAccessReview", false},
                                            {authorization, "selfsubjectrulesreviews", "SelfSubjectRulesReview", false},
                                            {authorization, "subjectaccessreviews", "SubjectAccessReview", false},
                                            {authorization, "localsubjectaccessreviews", "LocalSubjectAccessReview", true}};
  return all;
}

std::optional<api_answer> review(const object_store& store, const api_request& request) {
  if (request.method != "POST") return std::nullopt;
  const auto path = parse_path(request.path);
  if (!path || path->version != "v1") return std::nullopt;
  const bool token = path->group.empty() && path->plural == "serviceaccounts" && path->subresource == "token";
  const auto& kinds = review_kinds();
  const auto of = std::find_if(kinds.begin(), kinds.end(), [&](const review_kind& k) {
    return path->group == k.group && path->plural == k.plural && path->name.empty() && path->ns.empty() != k.namespaced;
  });
  if (!token && of == kinds.end()) return std::nullopt;
  // kubectl's own reviews and token requests come as protobuf. Nothing in a review of oneself changes its answer, and a token
  // request without options is the usual one.
  const bool binary = request.content_type.find("protobuf") != std::string::npos;
  if (binary && !token && std::string_view(of->kind).substr(0, 4) != "Self") return failure(parse_body(request).error());
  auto body = binary ? api_result<json::value>(binary_body(request.body, token)) : parse_body(request);
  if (!body) return failure(body.error());
  if (!body->is_object()) return failure({400, "BadRequest", "the body must be an object"});
  auto& object = body->get_object();
  if (token) return request_token(store, {path->ns, path->name}, std::move(object));
  return carry_out(store, request, *of, std::move(object));
}

std::optional<api_answer> refuse_impersonation(const api_request& request) {
  const auto path = parse_path(request.path);
  // Discovery is the same for every user, and kubectl asks for it in the name of the impersonated one.
  if (request.impersonated.empty() || !path) return std::nullopt;
  const bool of_rights = path->group == authorization && path->plural == "selfsubjectaccessreviews";
  if (of_rights && request.impersonated == anonymous) return std::nullopt;
  return failure({403, "Forbidden",
                  fmt::format("impersonation is not emulated: there is no RBAC here, so what \"{}\" may do is not known",
                              request.impersonated)});
}

}  // namespace inferno::testbed

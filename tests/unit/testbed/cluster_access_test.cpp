// Tokens and reviews, logs, OpenAPI documents and what a client's model requires of nodes.
#include "testbed/cluster/pod_log.hpp"
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

class Access : public cluster_test {
 protected:
  api_reply token(const std::string& account, json::object spec = {}) {
    return post("/api/v1/namespaces/default/serviceaccounts/" + account + "/token", json::object{{"spec", std::move(spec)}});
  }
  json::object review(const std::string& token, json::array audiences = {}) {
    json::object spec{{"token", token}};
    if (!audiences.empty()) spec["audiences"] = std::move(audiences);
    const auto r = post("/apis/authentication.k8s.io/v1/tokenreviews", json::object{{"spec", std::move(spec)}});
    EXPECT_EQ(r.status, 201) << r.text;
    return r.object.at("status").as_object();
  }
};

TEST_F(Access, ATokenIsItsAccountsUntilTheAccountIsGone) {
  const auto made = token("default");
  ASSERT_EQ(made.status, 201) << made.text;
  const auto text = made.at({"status", "token"});
  EXPECT_TRUE(net::kube::parse_time(made.at({"status", "expirationTimestamp"})));
  const auto known = review(text);
  EXPECT_EQ(known.at("authenticated"), true);
  EXPECT_EQ(text_at(known, {"user", "username"}), "system:serviceaccount:default:default");
  // Neither another signature nor other claims, nor another audience.
  auto forged = text;
  forged.back() = forged.back() == 'A' ? 'B' : 'A';
  EXPECT_EQ(review(forged).at("authenticated"), false);
  EXPECT_EQ(review("x" + text).at("authenticated"), false);
  EXPECT_EQ(review("no token").at("authenticated"), false);
  EXPECT_EQ(review(text, {"vault"}).at("authenticated"), false);
  EXPECT_EQ(
      review(token("default", {{"audiences", json::array{"vault"}}}).at({"status", "token"}), {"vault"}).at("authenticated"),
      true);
  ASSERT_EQ(call("DELETE", "/api/v1/namespaces/default/serviceaccounts/default").status, 200);
  EXPECT_NE(text_at(review(text), {"error"}).find("has been deleted"), std::string::npos);
  expect_status(token("default"), 404, "NotFound", "serviceaccounts \"default\" not found");
}

TEST_F(Access, ATokensTimeIsChecked) {
  expect_status(token("default", {{"expirationSeconds", 10}}), 422, "Invalid", "spec.expirationSeconds: Invalid value: 10");
}

TEST_F(Access, EverybodyMayButTheAnonymousUser) {
  const auto may = [&](const std::string& user) {
    const auto r =
        post("/apis/authorization.k8s.io/v1/subjectaccessreviews",
             json::object{{"spec", {{"user", user}, {"nonResourceAttributes", {{"path", "/metrics"}, {"verb", "get"}}}}}});
    return r.object.at("status").at("allowed").as_bool();
  };
  EXPECT_TRUE(may("system:serviceaccount:monitoring:prometheus"));
  EXPECT_FALSE(may("system:anonymous"));
}

TEST_F(Access, ImpersonationIsAnsweredForTheAnonymousUserAndElseRefused) {
  const auto as = [&](const std::string& user, const std::string& method, const std::string& path, const std::string& body) {
    net::http_request r;
    r.method = method;
    r.url = cluster->url() + path;
    r.body = body;
    if (!body.empty()) r.content_type = "application/json";
    r.headers.push_back({"Impersonate-User", user});
    const auto got = test::run(context, http.request(std::move(r)));
    api_reply out{got->status, got->body, {}, {}};
    out.object = json::parse(got->body).as_object();
    return out;
  };
  const std::string reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  const std::string review = R"({"spec":{"resourceAttributes":{"verb":"delete","resource":"nodes"}}})";
  EXPECT_TRUE(call("POST", reviews, review).object.at("status").at("allowed").as_bool());
  const auto anonymous = as("system:anonymous", "POST", reviews, review);
  ASSERT_EQ(anonymous.status, 201) << anonymous.text;
  EXPECT_FALSE(anonymous.object.at("status").at("allowed").as_bool());
  expect_status(as("bob", "POST", reviews, review), 403, "Forbidden", "impersonation is not emulated");
  expect_status(as("system:anonymous", "GET", "/api/v1/nodes", ""), 403, "Forbidden", "what \"system:anonymous\" may do");
  EXPECT_EQ(as("bob", "GET", "/api/v1", "").status, 200) << "discovery is nobody's in particular";
}

TEST_F(Access, ANodeHasWhatClientsRequire) {
  apply("apiVersion: v1\nkind: Node\nmetadata: {name: n}\nstatus: {nodeInfo: {kubeletVersion: v1.31.9}}\n");
  const auto node = get("/api/v1/nodes/n");
  // The required fields of V1NodeSystemInfo in the models that are generated from Kubernetes' OpenAPI document.
  for (const auto* field : {"architecture", "bootID", "containerRuntimeVersion", "kernelVersion", "kubeProxyVersion",
                            "kubeletVersion", "machineID", "operatingSystem", "osImage", "systemUUID"})
    EXPECT_NE(find(node.object, {"status", "nodeInfo", field}), nullptr) << field;
  EXPECT_EQ(node.at({"status", "nodeInfo", "kubeletVersion"}), "v1.31.9") << "what is given stays";
}

TEST_F(Access, EveryKindIsInTheOpenApiDocumentOfItsGroup) {
  const auto index = get("/openapi/v3");
  int kinds = 0;
  for (const auto& [group, link] : index.object.at("paths").as_object()) {
    const auto document = get(std::string(link.at("serverRelativeURL").as_string()));
    const auto list = get("/" + std::string(group));
    std::set<std::string> described;
    for (const auto& [name, schema] : document.object.at("components").at("schemas").as_object())
      if (const auto* of = find(schema, {"x-kubernetes-group-version-kind"}))
        described.insert(std::string(of->at(0).at("kind").as_string()));
    for (const auto& r : list.object.at("resources").as_array()) {
      const std::string name(r.at("name").as_string());
      if (name.find('/') != std::string::npos || r.at("verbs").as_array().size() == 1) continue;
      EXPECT_EQ(described.count(std::string(r.at("kind").as_string())), 1u) << group << " " << name;
      ++kinds;
    }
  }
  EXPECT_GE(kinds, 14);
}

TEST(PodLog, GivesTheLinesThatAreAskedFor) {
  const auto now = std::chrono::system_clock::now();
  const std::vector<log_line> lines{{7, now - 60s, "a"}, {8, now - 30s, "b"}, {9, now, "c"}};
  const auto text = [&](std::map<std::string, std::string> query) {
    api_request r;
    r.query = std::move(query);
    return log_text(lines, *log_options_of(r, now), 0, true);
  };
  EXPECT_EQ(text({}), "a\nb\nc\n");
  EXPECT_EQ(text({{"tailLines", "2"}}), "b\nc\n");
  EXPECT_EQ(text({{"tailLines", "0"}}), "");
  EXPECT_EQ(text({{"sinceSeconds", "40"}}), "b\nc\n");
  EXPECT_EQ(text({{"limitBytes", "3"}}), "a\nb");
  EXPECT_EQ(log_text(lines, {}, 9, false), "c\n");
  api_request wrong;
  wrong.query["tailLines"] = "-1";
  EXPECT_NE(log_options_of(wrong, now).error().message.find("tailLines: expected a whole number"), std::string::npos);
}

}  // namespace
}  // namespace inferno::testbed

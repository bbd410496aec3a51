// /metrics and /api/v1 over TLS: the real API server says who may read them.
#include "net/http/client.hpp"
#include "net/io_context_thread.hpp"
#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

/// A GET with this token ("" = none); 0: no answer.
int status_of(const std::string& url, const std::string& token, const std::string& method = "GET") {
  std::vector<std::string> args{"-sk", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", "-X", method};
  if (!token.empty()) args.insert(args.end(), {"-H", "Authorization: Bearer " + token});
  args.push_back(url);
  const auto done = run_program("curl", std::move(args));
  return std::atoi(done.out.c_str());
}

TEST(Endpoints, AreForThoseWhomTheApiServerLetsIn) {
  scene s;
  s.start_scraping_controller({"--metrics-secure=true"});
  s.cluster.apply(fmt::format(R"(
apiVersion: v1
kind: ServiceAccount
metadata: {{name: reader, namespace: {0}}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{name: stranger, namespace: {0}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {0}-reader}}
rules:
  - nonResourceURLs: ["/metrics"]
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: {0}-reader}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {0}-reader}}
subjects:
  - {{kind: ServiceAccount, name: reader, namespace: {0}}}
)",
                              s.ns));
  const auto address = s.address("metrics").substr(std::string("http://").size());
  const auto metrics = "https://" + address + "/metrics";
  const auto api = "https://" + address + "/api/v1/variants";
  const auto reader = s.cluster.token(s.ns, "reader");
  // The authorizer of the API server learns of a new binding through its own watch.
  EXPECT_TRUE(eventually(20s, [&] { return status_of(metrics, reader) == 200; })) << s.log();
  EXPECT_EQ(status_of(metrics, ""), 401);
  EXPECT_EQ(status_of(metrics, "nonsense"), 401);
  EXPECT_EQ(status_of(metrics, s.cluster.token(s.ns, "stranger")), 403);
  EXPECT_EQ(status_of(api, reader), 200);
  EXPECT_EQ(status_of(api, s.cluster.token(s.ns, "stranger")), 403) << "though clusters let everybody get /api/*";
  EXPECT_EQ(status_of(metrics, reader, "POST"), 405);
  EXPECT_EQ(status_of("http://" + address + "/metrics", reader), 400) << "plain on a TLS port";
  EXPECT_EQ(status_of(s.address("probes") + "/readyz", ""), 200) << "probes are apart";
  EXPECT_EQ(s.log().find(reader), std::string::npos) << "tokens are not logged";
}

}  // namespace
}  // namespace inferno::test

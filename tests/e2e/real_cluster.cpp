#include "tests/e2e/real_cluster.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <cstdlib>

namespace inferno::test {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream in(path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

const std::map<std::string, std::pair<std::string, bool>> plurals{
    {"Namespace", {"namespaces", false}},
    {"Node", {"nodes", false}},
    {"Pod", {"pods", true}},
    {"ConfigMap", {"configmaps", true}},
    {"Service", {"services", true}},
    {"ServiceAccount", {"serviceaccounts", true}},
    {"Secret", {"secrets", true}},
    {"Deployment", {"deployments", true}},
    {"StatefulSet", {"statefulsets", true}},
    {"ReplicaSet", {"replicasets", true}},
    {"Lease", {"leases", true}},
    {"HorizontalPodAutoscaler", {"horizontalpodautoscalers", true}},
    {"ClusterRole", {"clusterroles", false}},
    {"ClusterRoleBinding", {"clusterrolebindings", false}},
    {"Role", {"roles", true}},
    {"RoleBinding", {"rolebindings", true}},
    {"CustomResourceDefinition", {"customresourcedefinitions", false}},
    {"VariantAutoscaling", {"variantautoscalings", true}},
    {"LeaderWorkerSet", {"leaderworkersets", true}},
    {"APIService", {"apiservices", false}},
    {"PodDisruptionBudget", {"poddisruptionbudgets", true}},
    {"NetworkPolicy", {"networkpolicies", true}},
    {"ServiceMonitor", {"servicemonitors", true}},
    {"PrometheusRule", {"prometheusrules", true}},
    {"ScaledObject", {"scaledobjects", true}},
};

/// Base64 as JSON Web Tokens have it: for URLs, without padding.
std::string to_base64url(const std::string& bytes) {
  std::string out(bytes.size() * 4 / 3 + 8, '\0');
  const auto n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                 reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  while (!out.empty() && out.back() == '=') out.pop_back();
  for (auto& c : out) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return out;
}

std::string from_base64url(std::string text) {
  for (auto& c : text) c = c == '-' ? '+' : c == '_' ? '/' : c;
  const auto padding = (4 - text.size() % 4) % 4;
  text.append(padding, '=');
  std::string out(text.size() / 4 * 3, '\0');
  const auto n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                 reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (n < 0) throw std::runtime_error("not base64: " + text);
  out.resize(static_cast<std::size_t>(n) - padding);
  return out;
}

}  // namespace

std::string server_binaries() {
  const char* given = std::getenv("INFERNO_E2E_SERVERS");
  if (!given) given = std::getenv("KUBEBUILDER_ASSETS");
  const std::string folder = given ? given : "";
  for (const auto* program : {"etcd", "kube-apiserver", "kube-controller-manager"})
    if (!std::filesystem::exists(folder + "/" + program))
      throw std::runtime_error(fmt::format("{} is not in \"{}\"; run make test-e2e, or set KUBEBUILDER_ASSETS", program, folder));
  return folder;
}

std::string api_path(const std::string& api_version, const std::string& kind, const std::string& ns, const std::string& name) {
  const auto it = plurals.find(kind);
  if (it == plurals.end()) throw std::runtime_error("api_path: unknown kind " + kind);
  auto path = (api_version.find('/') == std::string::npos ? "/api/" : "/apis/") + api_version;
  if (it->second.second) path += "/namespaces/" + ns;
  path += "/" + it->second.first;
  return name.empty() ? path : path + "/" + name;
}

real_cluster::real_cluster() : bin_(server_binaries()) {
  make_certificates();
  // What service accounts ask for: which rights the controller uses.
  std::ofstream(folder_.file("audit-policy.yaml")) << R"(
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - {level: Metadata, userGroups: [system:serviceaccounts]}
  - {level: None}
)";
  start_etcd();
  start_api_server();
  start_controllers();
}

real_cluster::~real_cluster() {
  // In this order nobody waits for somebody who is gone.
  controllers_.reset();
  api_.reset();
  etcd_.reset();
}

/// As of yesterday, for certificates must hold for tests that set clocks back.
void real_cluster::openssl(std::vector<std::string> args) const {
  args.insert(args.begin(), {"-f", "-1d", "openssl"});
  const auto done = run_program("faketime", std::move(args));
  if (done.exit_code != 0) throw std::runtime_error("openssl: " + done.err);
}

void real_cluster::make_certificates() {
  openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3", "-subj",
           "/CN=inferno-test-ca", "-keyout", folder_.file("ca.key"), "-out", folder_.file("ca.crt")});
  std::ofstream(folder_.file("server.ext")) << "subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:kubernetes\n";
  openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=kube-apiserver", "-keyout",
           folder_.file("server.key"), "-out", folder_.file("server.csr")});
  openssl({"x509", "-req", "-in", folder_.file("server.csr"), "-CA", folder_.file("ca.crt"), "-CAkey", folder_.file("ca.key"),
           "-CAcreateserial", "-days", "3", "-extfile", folder_.file("server.ext"), "-out", folder_.file("server.crt")});
  client_certificate("admin", "/O=system:masters/CN=admin");
  openssl({"genrsa", "-out", folder_.file("sa.key"), "2048"});
  openssl({"rsa", "-in", folder_.file("sa.key"), "-pubout", "-out", folder_.file("sa.pub")});
}

key_pair real_cluster::client_certificate(const std::string& name, const std::string& subject) const {
  const key_pair out{folder_.file(name + ".crt"), folder_.file(name + ".key")};
  openssl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject, "-keyout", out.key,
           "-out", folder_.file(name + ".csr")});
  openssl({"x509", "-req", "-in", folder_.file(name + ".csr"), "-CA", folder_.file("ca.crt"), "-CAkey", folder_.file("ca.key"),
           "-CAcreateserial", "-days", "3", "-out", out.cert});
  return out;
}

void real_cluster::start_etcd() {
  for (int attempt = 0; attempt < 5; ++attempt) {
    const auto client = free_port(), peer = free_port();
    etcd_url_ = fmt::format("http://127.0.0.1:{}", client);
    const auto peer_url = fmt::format("http://127.0.0.1:{}", peer);
    etcd_ = std::make_unique<child>(
        bin_ + "/etcd",
        std::vector<std::string>{"--data-dir=" + folder_.file("etcd"), "--listen-client-urls=" + etcd_url_,
                                 "--advertise-client-urls=" + etcd_url_, "--listen-peer-urls=" + peer_url,
                                 "--initial-advertise-peer-urls=" + peer_url, "--initial-cluster=default=" + peer_url,
                                 "--unsafe-no-fsync", "--log-level=warn"},
        folder_.file("etcd.log"));
    const bool up = eventually(20s, [&] {
      const auto answer = http_get(etcd_url_ + "/health");
      return (answer && answer->status == 200) || etcd_->wait(0ms);
    });
    if (up && !etcd_->wait(0ms)) return;
  }
  throw std::runtime_error("etcd does not start: " + etcd_->output());
}

void real_cluster::start_api_server() {
  const auto file = [&](const char* name) { return folder_.file(name); };
  for (int attempt = 0; attempt < 5; ++attempt) {
    // Restarted where it was, as a real one would be.
    if (url_.empty() || attempt > 0) url_ = fmt::format("https://127.0.0.1:{}", free_port());
    const std::vector<std::string> flags{"--etcd-servers=" + etcd_url_,
                                         "--bind-address=127.0.0.1",
                                         "--secure-port=" + url_.substr(url_.rfind(':') + 1),
                                         "--tls-cert-file=" + file("server.crt"),
                                         "--tls-private-key-file=" + file("server.key"),
                                         "--client-ca-file=" + file("ca.crt"),
                                         "--authorization-mode=RBAC",
                                         "--service-account-issuer=https://kubernetes.default.svc",
                                         "--service-account-key-file=" + file("sa.pub"),
                                         "--service-account-signing-key-file=" + file("sa.key"),
                                         "--service-cluster-ip-range=10.0.0.0/24",
                                         "--disable-admission-plugins=ServiceAccount",
                                         "--endpoint-reconciler-type=none",
                                         "--profiling=false",
                                         "--audit-policy-file=" + file("audit-policy.yaml"),
                                         "--audit-log-path=" + file("audit.log"),
                                         "--event-ttl=10m"};
    api_ = std::make_unique<child>(bin_ + "/kube-apiserver", flags, folder_.file("kube-apiserver.log"));
    const bool up = eventually(90s, [&] { return call("GET", "/readyz").status == 200 || api_->wait(0ms); });
    if (up && !api_->wait(0ms)) return;
  }
  throw std::runtime_error("kube-apiserver does not start: " + api_->output());
}

void real_cluster::start_controllers() {
  const auto config = folder_.file("controllers.kubeconfig");
  std::ofstream(config) << kubeconfig();
  controllers_ = std::make_unique<child>(
      bin_ + "/kube-controller-manager",
      std::vector<std::string>{"--kubeconfig=" + config, "--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0",
                               "--controllers=deployment-controller,replicaset-controller,statefulset-controller,"
                               "garbage-collector-controller,namespace-controller,disruption-controller",
                               "--kube-api-qps=200", "--kube-api-burst=400", "--use-service-account-credentials=false",
                               "--concurrent-gc-syncs=2"},
      folder_.file("kube-controller-manager.log"));
}

void real_cluster::kill_api_server() {
  api_->signal(SIGKILL);
  api_->wait(10s);
}

void real_cluster::compact() {
  // Over etcd's JSON gateway: the newest revision, then everything up to it.
  const auto post = [&](const std::string& path, const std::string& body) {
    net::http_request request;
    request.method = "POST";
    request.url = etcd_url_ + path;
    request.body = body;
    request.content_type = "application/json";
    const auto answer = http_send(std::move(request));
    if (!answer || answer->status != 200) throw std::runtime_error("etcd " + path + " failed");
    return json::parse(answer->body);
  };
  const auto range = post("/v3/kv/range", R"({"key":"AA=="})");
  const auto revision = std::string(range.at("header").at("revision").as_string());
  post("/v3/kv/compaction", fmt::format(R"({{"revision":"{}","physical":true}})", revision));
}

std::string real_cluster::log(const std::string& server) const { return slurp(folder_.file(server + ".log")); }
std::string real_cluster::ca_pem() const { return slurp(folder_.file("ca.crt")); }

std::string real_cluster::version() { return testbed::text_at(get("/version"), {"gitVersion"}); }

net::kube::connection real_cluster::admin() const {
  net::kube::connection out;
  out.url = url_;
  out.tls.ca_pem = ca_pem();
  out.tls.cert_pem = slurp(folder_.file("admin.crt"));
  out.tls.key_pem = slurp(folder_.file("admin.key"));
  return out;
}

std::string real_cluster::kubeconfig(const std::string& token_file, const std::string& server) const {
  const auto user = token_file.empty() ? fmt::format("client-certificate: {}, client-key: {}", folder_.file("admin.crt"),
                                                     folder_.file("admin.key"))
                                       : "tokenFile: " + token_file;
  return fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: test\n"
      "contexts: [{{name: test, context: {{cluster: test, user: test}}}}]\n"
      "clusters: [{{name: test, cluster: {{server: \"{}\", certificate-authority: {}}}}}]\n"
      "users: [{{name: test, user: {{{}}}}}]\n",
      server.empty() ? url_ : server, ca_file(), user);
}

api_answer real_cluster::call(const std::string& method, const std::string& path, const json::value& body,
                              const std::string& content_type, const std::string& accept) const {
  const auto conn = admin();
  net::http_request request;
  request.method = method;
  request.url = url_ + path;
  request.headers.push_back({"Accept", accept});
  if (!body.is_null()) {
    request.body = json::serialize(body);
    request.content_type = content_type;
  }
  const auto answer = http_send(std::move(request), conn.tls);
  if (!answer) return {0, nullptr, answer.error().message};
  boost::system::error_code ec;
  auto parsed = json::parse(answer->body, ec);
  return {answer->status, ec ? json::value(answer->body) : std::move(parsed), answer->status >= 400 ? answer->body : ""};
}

json::object real_cluster::get(const std::string& path) const {
  auto answer = call("GET", path);
  return answer.ok() && answer.body.is_object() ? std::move(answer.body.get_object()) : json::object{};
}

void real_cluster::apply(const std::string& yaml) const {
  const auto documents = testbed::parse_manifests(yaml);
  if (!documents) throw std::runtime_error(documents.error());
  for (const auto& o : *documents) {
    const auto version = testbed::text_at(o, {"apiVersion"}), kind = testbed::text_at(o, {"kind"});
    const auto ns = testbed::text_at(o, {"metadata", "namespace"}), name = testbed::text_at(o, {"metadata", "name"});
    auto done = call("POST", api_path(version, kind, ns, ""), o);
    if (done.status == 409) done = call("PATCH", api_path(version, kind, ns, name), o, "application/merge-patch+json");
    if (!done.ok()) throw std::runtime_error(fmt::format("{} {}/{}: {} {}", kind, ns, name, done.status, done.problem));
    if (kind == "CustomResourceDefinition") {
      const auto path = api_path(version, kind, ns, name);
      const bool served = eventually(20s, [&] {
        const auto now = get(path);
        const auto* conditions = testbed::find(now, {"status", "conditions"});
        if (!conditions || !conditions->is_array()) return false;
        for (const auto& c : conditions->get_array())
          if (c.at("type") == "Established" && c.at("status") == "True") return true;
        return false;
      });
      if (!served) throw std::runtime_error("CRD " + name + " is not established");
    }
  }
}

void real_cluster::remove(const std::string& path, const std::string& propagation) const {
  call("DELETE", path, json::object{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}, {"propagationPolicy", propagation}});
}

std::string real_cluster::token(const std::string& ns, const std::string& account, int seconds) const {
  json::object request{{"apiVersion", "authentication.k8s.io/v1"},
                       {"kind", "TokenRequest"},
                       {"spec", json::object{{"expirationSeconds", seconds}}}};
  const auto made = call("POST", api_path("v1", "ServiceAccount", ns, account) + "/token", request);
  if (!made.ok()) throw std::runtime_error("token: " + made.problem);
  return std::string(made.body.at("status").at("token").as_string());
}

std::string real_cluster::short_token(const std::string& ns, const std::string& account, std::chrono::seconds valid) const {
  const auto issued = token(ns, account);
  const auto first = issued.find('.'), second = issued.rfind('.');
  auto claims = json::parse(from_base64url(issued.substr(first + 1, second - first - 1))).as_object();
  // The server lets a minute pass before it believes in the end of a token: clocks differ.
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count();
  claims["exp"] = now + valid.count() - 60;
  claims["iat"] = claims["nbf"] = now - 3600;
  const auto text = issued.substr(0, first + 1) + to_base64url(json::serialize(claims));
  const auto signature = run_program("openssl", {"dgst", "-sha256", "-sign", folder_.file("sa.key")}, text);
  if (signature.exit_code != 0) throw std::runtime_error("openssl: " + signature.err);
  return text + "." + to_base64url(signature.out);
}

}  // namespace inferno::test

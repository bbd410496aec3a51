#include "net/kube/kubeconfig.hpp"

#include "tests/support/net_folder.hpp"

namespace inferno::net::kube {
namespace {

namespace fs = std::filesystem;

class kubeconfig_test : public test::folder_fixture {
 protected:
  result<cluster_access> load(const std::string& text, const std::string& context = {}) {
    put("config", text);
    return load_kubeconfig((folder / "config").string(), context);
  }
  /// The message for this file, without what every message begins with.
  std::string problem(const std::string& text, const std::string& context = {}) {
    const auto loaded = load(text, context);
    if (loaded) return "no problem";
    EXPECT_EQ(loaded.error().kind, error_kind::decode);
    const auto start = "kubeconfig " + (folder / "config").string() + ": ";
    EXPECT_EQ(loaded.error().message.substr(0, start.size()), start) << loaded.error().message;
    return loaded.error().message.substr(std::min(start.size(), loaded.error().message.size()));
  }
  /// A config with these fields of the cluster and the user, in YAML's flow style.
  static std::string config(const std::string& cluster, const std::string& user) {
    return "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u, namespace: n}}]\n"
           "clusters: [{name: k, cluster: {" +
           cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n";
  }
};

const std::string server = "server: \"https://1.2.3.4:6443\"";

TEST_F(kubeconfig_test, reads_the_current_context_or_the_one_asked_for) {
  const std::string text = R"(
apiVersion: v1
kind: Config
current-context: prod
preferences: {}
contexts:
- name: dev
  context: {cluster: dev-cluster, user: dev-user}
- name: prod
  context:
    cluster: prod-cluster
    user: prod-user
    namespace: serving
clusters:
- name: dev-cluster
  cluster: {server: "http://127.0.0.1:8001", insecure-skip-tls-verify: true}
- name: prod-cluster
  cluster:
    server: https://prod.example:6443
    tls-server-name: kubernetes
    certificate-authority-data: Q0EgT0Yg
      UFJPRA==
users:
- name: dev-user
  user: {}
- name: prod-user
  user:
    token: secret-token
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
)";
  const auto prod = load(text);
  ASSERT_TRUE(prod) << prod.error().message;
  EXPECT_EQ(prod->conn.url, "https://prod.example:6443");
  EXPECT_EQ(prod->ns, "serving");
  EXPECT_EQ(prod->conn.tls.ca_pem, "CA OF PROD");
  EXPECT_EQ(prod->conn.tls.cert_pem, "CERT");
  EXPECT_EQ(prod->conn.tls.key_pem, "KEY");
  EXPECT_EQ(prod->conn.tls.server_name, "kubernetes");
  EXPECT_FALSE(prod->conn.tls.insecure_skip_verify);
  EXPECT_EQ(prod->conn.bearer_token(), "secret-token");
  const auto dev = load(text, "dev");
  ASSERT_TRUE(dev) << dev.error().message;
  EXPECT_EQ(dev->conn.url, "http://127.0.0.1:8001");
  EXPECT_EQ(dev->ns, "");
  EXPECT_TRUE(dev->conn.tls.insecure_skip_verify);
  EXPECT_EQ(dev->conn.tls.ca_pem, "");
  EXPECT_FALSE(dev->conn.bearer_token);
  EXPECT_EQ(problem(text, "test"), "contexts has no entry \"test\"");
}

TEST_F(kubeconfig_test, paths_are_relative_to_the_file) {
  fs::create_directory(folder / "pki");
  put("pki/ca.crt", "CA");
  put("pki/c.crt", "CERT");
  put("pki/c.key", "KEY");
  const auto loaded = load(config(server + ", certificate-authority: pki/ca.crt",
                                  "client-certificate: pki/c.crt, client-key: " + (folder / "pki/c.key").string()));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->conn.tls.ca_pem, "CA");
  EXPECT_EQ(loaded->conn.tls.cert_pem, "CERT");
  EXPECT_EQ(loaded->conn.tls.key_pem, "KEY");
  EXPECT_EQ(fs::path(loaded->conn.tls_files.cert).filename(), "c.crt") << "files are read again when they change";
}

TEST_F(kubeconfig_test, data_goes_before_the_file) {
  const auto loaded = load(config(server + ", certificate-authority: absent.crt, certificate-authority-data: Q0E=", ""));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_FALSE(loaded->conn.tls_files.any()) << "what stands in the kubeconfig does not change";
  EXPECT_EQ(loaded->conn.tls.ca_pem, "CA");
}

TEST_F(kubeconfig_test, reads_a_token_file_again_when_it_changes) {
  put("token", "first\n");
  const auto loaded = load(config(server, "tokenFile: token"));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->conn.bearer_token(), "first");
  swap("token", "second");
  EXPECT_EQ(loaded->conn.bearer_token(), "second");
  fs::remove(folder / "token");
  EXPECT_EQ(loaded->conn.bearer_token(), "second") << "a moment without the file must not log us out";
  put("token", "third");
  EXPECT_EQ(loaded->conn.bearer_token(), "third");
}

TEST_F(kubeconfig_test, a_token_file_goes_before_the_token) {
  const auto loaded = load(config(server, "token: inline, tokenFile: token"));
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(loaded->conn.bearer_token(), "inline") << "there is no file yet";
  put("token", "first\n");
  EXPECT_EQ(loaded->conn.bearer_token(), "first");
  swap("token", "second\n");
  EXPECT_EQ(loaded->conn.bearer_token(), "second");
}

TEST_F(kubeconfig_test, of_several_files_the_first_that_has_a_name_counts) {
  fs::create_directory(folder / "team");
  put("ca.crt", "CA HERE");
  put("team/ca.crt", "CA OF TEAM");
  put("team/token", "token of team");
  put("empty", "");
  put("mine",
      "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
      "clusters: [{name: k, cluster: {" +
          server + ", certificate-authority: ca.crt}}]\nusers: [{name: other, user: {token: wrong}}]\n");
  put("team/config",
      "current-context: t\n"
      "contexts: [{name: c, context: {cluster: t, user: other}}, {name: t, context: {cluster: t, user: u, namespace: n}}]\n"
      "clusters: [{name: k, cluster: {server: \"https://wrong\", tls-server-name: wrong}}, "
      "{name: t, cluster: {server: \"https://team\", certificate-authority: ca.crt}}]\n"
      "users: [{name: u, user: {tokenFile: token}}, {name: other, user: {}}]\n");
  put("last", "current-context: absent\n");
  const auto list = path("absent") + ":" + path("empty") + ":" + path("mine") + "::" + path("team/config") + ":" + path("last");
  const auto current = merge_kubeconfigs(list);
  ASSERT_TRUE(current) << current.error().message;
  EXPECT_EQ(current->conn.url, "https://team") << "the first current-context there is";
  EXPECT_EQ(current->ns, "n");
  EXPECT_EQ(current->conn.tls.ca_pem, "CA OF TEAM") << "relative to its own file";
  EXPECT_EQ(current->conn.bearer_token(), "token of team");
  const auto mixed = merge_kubeconfigs(list, "c");
  ASSERT_TRUE(mixed) << mixed.error().message;
  EXPECT_EQ(mixed->conn.url, "https://1.2.3.4:6443");
  EXPECT_EQ(mixed->conn.tls.ca_pem, "CA HERE");
  EXPECT_EQ(mixed->conn.tls.server_name, "") << "nothing of a later entry of the same name";
  EXPECT_EQ(mixed->conn.bearer_token(), "token of team") << "context and user are of two files";
}

TEST_F(kubeconfig_test, of_several_files_an_error_names_the_one_it_is_in) {
  const auto message = [&](const std::string& list) {
    const auto access = merge_kubeconfigs(list);
    return access ? std::string("no problem") : access.error().message;
  };
  const auto one = path("one"), two = path("two");
  EXPECT_EQ(message(one), "kubeconfig " + one + ": cannot be read") << "the only one must be there";
  EXPECT_EQ(message(one + ":" + two), "kubeconfig " + one + ":" + two + ": there is nothing in any of these files");
  EXPECT_EQ(message(":"), "kubeconfig \":\": names no file");
  put("one", "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n");
  EXPECT_EQ(message(two + ":" + one), "kubeconfig " + one + ": clusters has no entry \"k\"");
  put("two", config("certificate-authority: ca.crt", ""));
  EXPECT_EQ(message(one + ":" + two), "kubeconfig " + two + ": clusters \"k\" has no server");
  put("two", config(server + ", certificate-authority: absent.crt", ""));
  EXPECT_EQ(message(one + ":" + two), "kubeconfig " + two + ": certificate-authority: absent.crt cannot be read");
  put("two", config(server, "exec: {command: aws}"));
  EXPECT_EQ(message(one + ":" + two).substr(0, ("kubeconfig " + two).size()), "kubeconfig " + two);
  put("two", "just text");
  EXPECT_EQ(message(one + ":" + two), "kubeconfig " + two + ": is not a YAML mapping");
  fs::remove(folder / "two");
  fs::create_directory(folder / "two");
  EXPECT_EQ(message(one + ":" + two), "kubeconfig " + two + ": is not a regular file") << "it is there";
}

TEST_F(kubeconfig_test, a_context_needs_no_user) {
  const auto loaded = load("current-context: c\ncontexts: [{name: c, context: {cluster: k}}]\nclusters: [{name: k, cluster: {" +
                           server + "}}]\n");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_FALSE(loaded->conn.bearer_token);
}

TEST_F(kubeconfig_test, names_the_field_that_is_wrong) {
  EXPECT_EQ(problem(""), "is not a YAML mapping");
  EXPECT_EQ(problem("just text"), "is not a YAML mapping");
  EXPECT_EQ(problem("[1, 2]"), "is not a YAML mapping");
  EXPECT_NE(problem("a: [1\nb: }"), "no problem");
  EXPECT_EQ(problem("kind: Config"), "current-context is not set");
  EXPECT_EQ(problem("current-context: \"\""), "current-context is not set");
  EXPECT_EQ(problem("current-context: c"), "contexts has no entry \"c\"");
  EXPECT_EQ(problem("current-context: c\ncontexts: {c: 1}"), "contexts has no entry \"c\"");
  EXPECT_EQ(problem("current-context: c\ncontexts: [c, {name: d}]"), "contexts has no entry \"c\"");
  EXPECT_EQ(problem("current-context: c\ncontexts: [{name: c}]"), "contexts \"c\" has no context");
  EXPECT_EQ(problem("current-context: c\ncontexts: [{name: c, context: {cluster: k}}]"), "clusters has no entry \"k\"");
  EXPECT_EQ(problem(config("", "")), "clusters \"k\" has no server");
  EXPECT_EQ(problem(config("server: [a]", "")), "clusters \"k\" has no server");
  EXPECT_EQ(problem(config(server + ", certificate-authority: absent.crt", "")),
            "certificate-authority: absent.crt cannot be read");
  EXPECT_EQ(problem(config(server, "client-certificate-data: Q0VSVA==")),
            "users \"u\": client-certificate and client-key belong together");
  EXPECT_EQ(problem(config(server, "client-key-data: S0VZ")), "users \"u\": client-certificate and client-key belong together");
  for (const char* bad : {"\"!!!!\"", "Q0V*Vlc=", "\"Q0VS VA== and more\"", "Q0E", "Q===", "Q0E=Q0E="})
    EXPECT_EQ(problem(config(server + ", certificate-authority-data: " + bad, "")), "certificate-authority-data is not base64")
        << bad;
  auto no_user = config(server, "");
  no_user.replace(no_user.find("name: u"), 7, "name: v");
  EXPECT_EQ(problem(no_user), "users has no entry \"u\"");
}

TEST_F(kubeconfig_test, refuses_by_name_the_logins_it_does_not_do) {
  EXPECT_EQ(problem(config(server, "exec: {command: aws}")),
            "users \"u\": exec is not supported; use a token, a tokenFile or a client certificate");
  EXPECT_EQ(problem(config(server, "auth-provider: {name: gcp}")).substr(0, 24), "users \"u\": auth-provider");
  const auto password = problem(config(server, "username: admin, password: hunter2"));
  EXPECT_EQ(password.substr(0, 19), "users \"u\": username");
  EXPECT_EQ(password.find("hunter2"), std::string::npos);
}

TEST_F(kubeconfig_test, names_a_file_that_is_not_there) {
  const auto loaded = load_kubeconfig((folder / "absent").string());
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().message, "kubeconfig " + (folder / "absent").string() + ": cannot be read");
}

TEST_F(kubeconfig_test, in_a_cluster_takes_the_service_account) {
  put("ca.crt", "CA");
  put("token", "one\n");
  put("namespace", "inferno-system\n");
  const std::map<std::string, std::string> environment{{"KUBERNETES_SERVICE_HOST", "10.0.0.1"},
                                                       {"KUBERNETES_SERVICE_PORT", "443"}};
  const auto access = in_cluster(environment, folder.string());
  ASSERT_TRUE(access) << access.error().message;
  EXPECT_EQ(access->conn.url, "https://10.0.0.1:443");
  EXPECT_EQ(access->conn.tls.ca_pem, "CA");
  EXPECT_EQ(access->conn.tls_files.ca, (folder / "ca.crt").string()) << "read again when it changes";
  EXPECT_FALSE(access->conn.tls.insecure_skip_verify);
  EXPECT_EQ(access->ns, "inferno-system");
  EXPECT_EQ(access->conn.bearer_token(), "one");
  swap("token", "two\n");
  EXPECT_EQ(access->conn.bearer_token(), "two");
  auto v6 = environment;
  v6["KUBERNETES_SERVICE_HOST"] = "fd00::1";
  EXPECT_EQ(in_cluster(v6, folder.string()).value().conn.url, "https://[fd00::1]:443");
  fs::remove(folder / "namespace");
  EXPECT_EQ(in_cluster(environment, folder.string()).value().ns, "");
}

TEST_F(kubeconfig_test, says_what_of_the_service_account_is_missing) {
  const std::map<std::string, std::string> environment{{"KUBERNETES_SERVICE_HOST", "10.0.0.1"},
                                                       {"KUBERNETES_SERVICE_PORT", "443"}};
  const auto message = [&](const auto& env) {
    const auto access = in_cluster(env, folder.string());
    return access ? std::string("no problem") : access.error().message;
  };
  EXPECT_EQ(message(environment), "service account: " + (folder / "ca.crt").string() + " cannot be read");
  put("ca.crt", "CA");
  EXPECT_EQ(message(environment), "service account: " + (folder / "token").string() + " cannot be read");
  for (const char* name : {"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"}) {
    auto without = environment;
    without.erase(name);
    EXPECT_NE(message(without).find(name), std::string::npos);
  }
}

}  // namespace
}  // namespace inferno::net::kube

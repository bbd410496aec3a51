#include "net/kube/kubeconfig.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>

#include "net/files.hpp"
#include "net/token_file.hpp"

namespace inferno::net::kube {
namespace {

namespace fs = std::filesystem;

struct bad_config {
  std::string message;
};

std::string text_of(const YAML::Node& node) { return node && node.IsScalar() ? node.Scalar() : std::string(); }

/// The entry of `list` with this name, its part `inner`.
YAML::Node named(const YAML::Node& root, const char* list, const char* inner, const std::string& name) {
  const auto entries = root[list];
  if (entries && entries.IsSequence())
    for (const auto& e : entries)
      if (e.IsMap() && text_of(e["name"]) == name) {
        if (!e[inner] || !e[inner].IsMap()) throw bad_config{fmt::format("{} \"{}\" has no {}", list, name, inner)};
        return e[inner];
      }
  throw bad_config{fmt::format("{} has no entry \"{}\"", list, name)};
}

/// FIELD-data (base64) or FIELD (a path, relative to the kubeconfig's folder).
std::string pem_of(const YAML::Node& node, const std::string& field, const fs::path& folder) {
  const auto data = text_of(node[field + "-data"]);
  if (!data.empty()) {
    std::string clean;
    for (const char c : data)
      if (!std::isspace(static_cast<unsigned char>(c))) clean += c;
    const auto padding = std::string_view(clean).substr(std::min(clean.find('='), clean.size()));
    std::string out(clean.size() / 4 * 3, '\0');
    const bool whole = clean.size() % 4 == 0 && (padding.empty() || padding == "=" || padding == "==");
    const auto* in = reinterpret_cast<const unsigned char*>(clean.data());
    if (!whole || EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), in, static_cast<int>(clean.size())) < 0)
      throw bad_config{fmt::format("{}-data is not base64", field)};
    out.resize(out.size() - padding.size());
    return out;
  }
  const auto path = text_of(node[field]);
  if (path.empty()) return {};
  auto text = read_file(folder / path);
  if (!text) throw bad_config{fmt::format("{}: {} cannot be read", field, path)};
  return std::move(*text);
}

cluster_access read_config(const YAML::Node& root, const fs::path& folder, const std::string& wanted) {
  if (!root.IsMap()) throw bad_config{"is not a YAML mapping"};
  const auto context_name = wanted.empty() ? text_of(root["current-context"]) : wanted;
  if (context_name.empty()) throw bad_config{"current-context is not set"};
  const auto context = named(root, "contexts", "context", context_name);
  const auto cluster = named(root, "clusters", "cluster", text_of(context["cluster"]));
  cluster_access out;
  out.ns = text_of(context["namespace"]);
  out.conn.url = text_of(cluster["server"]);
  if (out.conn.url.empty()) throw bad_config{fmt::format("clusters \"{}\" has no server", text_of(context["cluster"]))};
  auto& tls = out.conn.tls;
  tls.ca_pem = pem_of(cluster, "certificate-authority", folder);
  tls.insecure_skip_verify = text_of(cluster["insecure-skip-tls-verify"]) == "true";
  tls.server_name = text_of(cluster["tls-server-name"]);
  const auto user_name = text_of(context["user"]);
  if (user_name.empty()) return out;
  const auto user = named(root, "users", "user", user_name);
  for (const char* refused : {"exec", "auth-provider", "username"})
    if (user[refused])
      throw bad_config{
          fmt::format("users \"{}\": {} is not supported; use a token, a tokenFile or a client certificate", user_name, refused)};
  tls.cert_pem = pem_of(user, "client-certificate", folder);
  tls.key_pem = pem_of(user, "client-key", folder);
  if (tls.cert_pem.empty() != tls.key_pem.empty())
    throw bad_config{fmt::format("users \"{}\": client-certificate and client-key belong together", user_name)};
  const auto token = text_of(user["token"]);
  const auto file = text_of(user["tokenFile"]);
  if (!token.empty()) {
    out.conn.bearer_token = [token] { return token; };
  } else if (!file.empty()) {
    out.conn.bearer_token = [reader = std::make_shared<token_file>(folder / file)] { return (*reader)(); };
  }
  return out;
}

}  // namespace

result<cluster_access> load_kubeconfig(const std::string& path, const std::string& context) {
  const auto bad = [&](const std::string& why) { return fail(error_kind::decode, fmt::format("kubeconfig {}: {}", path, why)); };
  const auto text = read_file(path);
  if (!text) return bad("cannot be read");
  try {
    return read_config(YAML::Load(*text), fs::absolute(path).parent_path(), context);
  } catch (const bad_config& e) {
    return bad(e.message);
  } catch (const YAML::Exception& e) {
    return bad(e.what());
  }
}

result<cluster_access> in_cluster(const std::map<std::string, std::string>& environment, const std::string& directory) {
  const auto value = [&](const char* name) {
    const auto it = environment.find(name);
    return it == environment.end() ? std::string() : it->second;
  };
  const auto host = value("KUBERNETES_SERVICE_HOST");
  const auto port = value("KUBERNETES_SERVICE_PORT");
  if (host.empty() || port.empty())
    return fail(error_kind::address, "not in a cluster: KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set");
  const fs::path folder(directory);
  cluster_access out;
  out.conn.url =
      host.find(':') == std::string::npos ? fmt::format("https://{}:{}", host, port) : fmt::format("https://[{}]:{}", host, port);
  auto ca = read_file(folder / "ca.crt");
  if (!ca) return fail(error_kind::decode, fmt::format("service account: {} cannot be read", (folder / "ca.crt").string()));
  out.conn.tls.ca_pem = std::move(*ca);
  if (!read_file(folder / "token"))
    return fail(error_kind::decode, fmt::format("service account: {} cannot be read", (folder / "token").string()));
  out.conn.bearer_token = [reader = std::make_shared<token_file>(folder / "token")] { return (*reader)(); };
  out.ns = trimmed(read_file(folder / "namespace").value_or(""));
  return out;
}

}  // namespace inferno::net::kube

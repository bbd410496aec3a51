#include "net/kube/kubeconfig.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <sstream>
#include <vector>

#include "net/files.hpp"
#include "net/token_file.hpp"

namespace inferno::net::kube {
namespace {

namespace fs = std::filesystem;

/// Those of hundreds of clusters, each with its CA, are larger than other small files.
constexpr std::size_t max_kubeconfig = 16u << 20;

struct kubeconfig_file {
  std::string path;
  fs::path folder;  ///< what relative paths in it are relative to
  YAML::Node root;
};
using kubeconfig_files = std::vector<kubeconfig_file>;

struct bad_config {
  std::string where;
  std::string message;
};

std::string text_of(const YAML::Node& node) { return node && node.IsScalar() ? node.Scalar() : std::string(); }

std::string paths_of(const kubeconfig_files& files) {
  std::string out;
  for (const auto& f : files) out += (out.empty() ? "" : ":") + f.path;
  return out;
}

/// An entry and the file it is in.
struct entry {
  YAML::Node node;
  const kubeconfig_file* file;
  std::string title;
  [[noreturn]] void refuse(const std::string& message) const { throw bad_config{file->path, message}; }
};

/// The first entry of `list` with this name, its part `inner`.
entry named(const kubeconfig_files& files, const char* list, const char* inner, const std::string& name) {
  for (const auto& f : files) {
    const auto entries = f.root[list];
    if (!entries || !entries.IsSequence()) continue;
    for (const auto& e : entries)
      if (e.IsMap() && text_of(e["name"]) == name) {
        const entry out{e[inner], &f, fmt::format("{} \"{}\"", list, name)};
        if (!out.node || !out.node.IsMap()) out.refuse(fmt::format("{} has no {}", out.title, inner));
        return out;
      }
  }
  throw bad_config{paths_of(files), fmt::format("{} has no entry \"{}\"", list, name)};
}

/// FIELD-data (base64) or FIELD (a path, relative to the kubeconfig's folder), which is left in `file`.
std::string pem_of(const entry& from, const std::string& field, std::string& file) {
  const auto data = text_of(from.node[field + "-data"]);
  if (!data.empty()) {
    std::string clean;
    for (const char c : data)
      if (!std::isspace(static_cast<unsigned char>(c))) clean += c;
    const auto padding = std::string_view(clean).substr(std::min(clean.find('='), clean.size()));
    std::string out(clean.size() / 4 * 3, '\0');
    const bool whole = clean.size() % 4 == 0 && (padding.empty() || padding == "=" || padding == "==");
    const auto* in = reinterpret_cast<const unsigned char*>(clean.data());
    if (!whole || EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), in, static_cast<int>(clean.size())) < 0)
      from.refuse(fmt::format("{}-data is not base64", field));
    out.resize(out.size() - padding.size());
    return out;
  }
  const auto path = text_of(from.node[field]);
  if (path.empty()) return {};
  file = (from.file->folder / path).string();
  auto text = read_file(file);
  if (!text) from.refuse(fmt::format("{}: {} {}", field, path, text.error().message));
  return std::move(*text);
}

/// The token, or the content of tokenFile, which goes before it, as soon as there is one.
std::function<std::string()> token_of(const entry& user) {
  const auto token = text_of(user.node["token"]);
  const auto file = text_of(user.node["tokenFile"]);
  if (!file.empty())
    return [token, reader = std::make_shared<token_file>(user.file->folder / file)] {
      auto read = (*reader)();
      return read.empty() ? token : read;
    };
  if (token.empty()) return {};
  return [token] { return token; };
}

std::string current_context(const kubeconfig_files& files) {
  for (const auto& f : files)
    if (auto name = text_of(f.root["current-context"]); !name.empty()) return name;
  throw bad_config{paths_of(files), "current-context is not set"};
}

cluster_access read_config(const kubeconfig_files& files, const std::string& wanted) {
  const auto context = named(files, "contexts", "context", wanted.empty() ? current_context(files) : wanted);
  const auto cluster = named(files, "clusters", "cluster", text_of(context.node["cluster"]));
  cluster_access out;
  out.ns = text_of(context.node["namespace"]);
  out.conn.url = text_of(cluster.node["server"]);
  if (out.conn.url.empty()) cluster.refuse(cluster.title + " has no server");
  auto& tls = out.conn.tls;
  tls.ca_pem = pem_of(cluster, "certificate-authority", out.conn.tls_files.ca);
  tls.insecure_skip_verify = text_of(cluster.node["insecure-skip-tls-verify"]) == "true";
  tls.server_name = text_of(cluster.node["tls-server-name"]);
  const auto user_name = text_of(context.node["user"]);
  if (user_name.empty()) return out;
  const auto user = named(files, "users", "user", user_name);
  for (const char* refused : {"exec", "auth-provider", "username"})
    if (user.node[refused])
      user.refuse(fmt::format("{}: {} is not supported; use a token, a tokenFile or a client certificate", user.title, refused));
  tls.cert_pem = pem_of(user, "client-certificate", out.conn.tls_files.cert);
  tls.key_pem = pem_of(user, "client-key", out.conn.tls_files.key);
  if (tls.cert_pem.empty() != tls.key_pem.empty())
    user.refuse(user.title + ": client-certificate and client-key belong together");
  out.conn.bearer_token = token_of(user);
  return out;
}

kubeconfig_file read_kubeconfig(const std::string& path) {
  const auto text = read_file(path, max_kubeconfig);
  if (!text) throw bad_config{path, text.error().message};
  try {
    return {path, fs::absolute(path).parent_path(), YAML::Load(*text)};
  } catch (const YAML::Exception& e) {
    throw bad_config{path, e.what()};
  }
}

result<cluster_access> load(const std::vector<std::string>& paths, const std::string& context) {
  try {
    kubeconfig_files files;
    for (const auto& path : paths) {
      std::error_code ignored;
      const bool several = paths.size() > 1;
      if (several && fs::status(path, ignored).type() == fs::file_type::not_found) continue;
      auto file = read_kubeconfig(path);
      if (several && file.root.IsNull()) continue;  // empty, as before kubectl config wrote anything
      if (!file.root.IsMap()) throw bad_config{path, "is not a YAML mapping"};
      files.push_back(std::move(file));
    }
    if (files.empty()) throw bad_config{fmt::format("{}", fmt::join(paths, ":")), "there is nothing in any of these files"};
    return read_config(files, context);
  } catch (const bad_config& e) {
    return fail(error_kind::decode, fmt::format("kubeconfig {}: {}", e.where, e.message));
  } catch (const YAML::Exception& e) {
    return fail(error_kind::decode, fmt::format("kubeconfig {}: {}", fmt::join(paths, ":"), e.what()));
  }
}

}  // namespace

result<cluster_access> load_kubeconfig(const std::string& path, const std::string& context) { return load({path}, context); }

result<cluster_access> merge_kubeconfigs(const std::string& list, const std::string& context) {
  std::vector<std::string> paths;
  std::istringstream in(list);
  for (std::string path; std::getline(in, path, ':');)
    if (!path.empty()) paths.push_back(path);
  if (paths.empty()) return fail(error_kind::decode, fmt::format("kubeconfig \"{}\": names no file", list));
  return load(paths, context);
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
  if (!ca)
    return fail(error_kind::decode, fmt::format("service account: {} {}", (folder / "ca.crt").string(), ca.error().message));
  out.conn.tls.ca_pem = std::move(*ca);
  out.conn.tls_files.ca = (folder / "ca.crt").string();
  if (const auto token = read_file(folder / "token"); !token)
    return fail(error_kind::decode, fmt::format("service account: {} {}", (folder / "token").string(), token.error().message));
  out.conn.bearer_token = [reader = std::make_shared<token_file>(folder / "token")] { return (*reader)(); };
  out.ns = trimmed(read_file(folder / "namespace").value_or(""));
  return out;
}

}  // namespace inferno::net::kube

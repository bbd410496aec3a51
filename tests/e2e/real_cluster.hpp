#pragma once
// etcd, kube-apiserver and kube-controller-manager as they are shipped, on free loopback ports, in a folder of their own.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <map>

#include "net/kube/client.hpp"
#include "testbed/cluster/json_tools.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace inferno::test {

namespace json = boost::json;

/// The folder with etcd, kube-apiserver and kube-controller-manager. Throws when it lacks one of them.
std::string server_binaries();

struct api_answer {
  int status = 0;  ///< 0: no answer
  json::value body;
  std::string problem;
  bool ok() const { return status >= 200 && status < 300; }
};

/// A certificate and its key, as file names.
struct key_pair {
  std::string cert, key;
};

class real_cluster {
 public:
  real_cluster();
  ~real_cluster();
  real_cluster(const real_cluster&) = delete;
  real_cluster& operator=(const real_cluster&) = delete;

  const std::string& url() const { return url_; }
  std::string ca_pem() const;
  std::string ca_file() const { return folder_.file("ca.crt"); }
  std::string version();

  /// As system:masters, over the given connection or the server's own.
  net::kube::connection admin() const;
  /// A kubeconfig with this token (file), or with the administrator's client certificate when it is empty. `server` instead of
  /// the server's own URL.
  std::string kubeconfig(const std::string& token_file = {}, const std::string& server = {}) const;
  /// A client certificate of the cluster's CA; subject as in "/CN=me/O=group".
  key_pair client_certificate(const std::string& name, const std::string& subject) const;
  /// The API server's own, for somebody who stands in its place.
  key_pair server_certificate() const { return {folder_.file("server.crt"), folder_.file("server.key")}; }

  // The API, blocking, as the administrator.
  api_answer call(const std::string& method, const std::string& path, const json::value& body = nullptr,
                  const std::string& content_type = "application/json", const std::string& accept = "application/json") const;
  json::object get(const std::string& path) const;  ///< {} when it is not there
  /// Creates the documents of a YAML text, or merges them into what is there. Throws what the server says against it.
  void apply(const std::string& yaml) const;
  void remove(const std::string& path, const std::string& propagation = "Background") const;
  /// A token of the service account, valid for `seconds`.
  std::string token(const std::string& ns, const std::string& account, int seconds = 3600) const;
  /// The same, signed here as the server signs them, so that its end can be as near as a test likes: the server accepts it for
  /// `valid`, and then, as soon as it looks again (10 s), not any more.
  std::string short_token(const std::string& ns, const std::string& account, std::chrono::seconds valid) const;

  void start_api_server();
  void kill_api_server();  ///< SIGKILL, and reaped
  void compact();          ///< etcd forgets its history up to now
  std::string log(
      const std::string& server) const;  ///< "kube-apiserver", ...; "audit": a line of JSON per request of a service account

 private:
  void start_etcd();
  void start_controllers();
  void openssl(std::vector<std::string> args) const;
  void make_certificates();

  temp_folder folder_;
  std::string bin_;
  std::string etcd_url_, url_;
  std::unique_ptr<child> etcd_, api_, controllers_;
};

/// The URL path of an object (or of its collection when `name` is empty) by kind.
std::string api_path(const std::string& api_version, const std::string& kind, const std::string& ns, const std::string& name);

}  // namespace inferno::test

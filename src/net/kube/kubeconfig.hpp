#pragma once
// Where the API server is and who we are: kubeconfig files and the in-cluster environment.
#include <map>
#include <string>

#include "net/kube/client.hpp"

namespace inferno::net::kube {

struct cluster_access {
  connection conn;
  std::string ns;  ///< namespace of the context; "" when it names none
};

/// Reads a kubeconfig (current-context, or `context`): server, certificate-authority[-data], insecure-skip-tls-verify,
/// tls-server-name, client-certificate[-data], client-key[-data], token, tokenFile (read again when it changes; it goes before
/// token). exec and auth-provider are refused by name. Errors name file and field.
result<cluster_access> load_kubeconfig(const std::string& path, const std::string& context = {});

/// The files of a KUBECONFIG, separated by colons, taken together as kubectl does: of the clusters, users and contexts of one
/// name the first counts, of current-context too. Paths in a file are relative to that file. Of several files those that are not
/// there are passed over.
result<cluster_access> merge_kubeconfigs(const std::string& list, const std::string& context = {});

/// In a pod: KUBERNETES_SERVICE_HOST/PORT from `environment`, token (re-read for each request when the file changes), CA and
/// namespace under `directory`.
result<cluster_access> in_cluster(const std::map<std::string, std::string>& environment,
                                  const std::string& directory = "/var/run/secrets/kubernetes.io/serviceaccount");

}  // namespace inferno::net::kube

#pragma once
// TLS settings whose certificates and keys are in files.
#include <string>

#include "net/error.hpp"
#include "net/tls.hpp"

namespace inferno::net {

struct tls_file_options {
  bool insecure_skip_verify = false;
  std::string ca_path{};      ///< "" = the system's
  std::string cert_path{};    ///< "" = no client certificate
  std::string key_path{};     ///< of the client certificate
  std::string server_name{};  ///< name to verify instead of the URL's host
  bool operator==(const tls_file_options&) const = default;
};

/// Reads the files once. Error kind `tls`: a file that cannot be read or has nothing of what it should have, or a certificate
/// without its key; the message says which by field and path, never what is in it.
result<tls_options> read_tls_files(const tls_file_options& options);

/// The files that some of the texts of a tls_options come from; "" = that text comes from elsewhere.
struct tls_paths {
  std::string ca{};
  std::string cert{};
  std::string key{};
  bool any() const { return !ca.empty() || !cert.empty() || !key.empty(); }
};

/// `texts` with those that have a path read again. Error kind `tls`: as of read_tls_files.
result<tls_options> read_again(tls_options texts, const tls_paths& paths);

/// A PEM file with such a block ("CERTIFICATE", "PRIVATE KEY") in it. `field` is its name in the message of an error.
result<std::string> read_pem(const std::string& path, std::string_view field, std::string_view block);

}  // namespace inferno::net

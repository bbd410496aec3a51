#pragma once
// TLS settings of a client or a server. Verified by default, TLS 1.2 or newer.
#include <string>

namespace inferno::net {

struct tls_options {
  bool insecure_skip_verify = false;
  std::string ca_pem;       ///< CA bundle, PEM text; "" = the system's
  std::string cert_pem;     ///< client (or server) certificate chain, PEM text; "" = none
  std::string key_pem;      ///< its private key
  std::string server_name;  ///< name to verify instead of the URL's host; "" = the host
};

}  // namespace inferno::net

#pragma once
// What a server needs to speak TLS: a context, and the certificate in it, from files that are rotated or made on the spot.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.hpp"
#include "net/tls.hpp"

namespace boost::asio::ssl {
class context;
}

namespace inferno::net {

class reloaded_context;

/// A server's context: TLS 1.2 or newer, with cert_pem and key_pem. With ca_pem clients must show a certificate signed by one of
/// these CAs. Error kind `tls`: a PEM text that is missing or cannot be used; the message says which one, never what is in it.
result<std::shared_ptr<boost::asio::ssl::context>> make_server_context(const tls_options& options);

struct certificate {
  std::string cert_pem, key_pem;
};

/// A new ECDSA P-256 key and a certificate for it, for servers and for clients, valid from a little before `now` for a year.
/// `names`: DNS names and IP literals, at least one. Error kind `tls` names what cannot be a name.
result<certificate> self_signed_certificate(std::vector<std::string> names, std::chrono::system_clock::time_point now);

struct certificate_paths {
  std::string cert{};
  std::string key{};
  std::string client_ca{};  ///< "" = clients need no certificate
};

/// The context of certificate and key in files, made anew when the files change: a reloaded_context.
class certificate_files {
 public:
  using clock = std::chrono::steady_clock;
  explicit certificate_files(certificate_paths paths, std::function<void(std::string_view)> on_problem = {},
                             std::function<clock::time_point()> now = clock::now);
  ~certificate_files();
  /// Error kind `tls`, naming field and path: only as long as there was never a good one.
  result<std::shared_ptr<boost::asio::ssl::context>> operator()();

 private:
  std::unique_ptr<reloaded_context> context_;
};

}  // namespace inferno::net

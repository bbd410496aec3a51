#include "net/tls_server.hpp"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/context.hpp>

#include "net/tls_context.hpp"
#include "net/tls_files.hpp"

namespace inferno::net {

namespace ssl = boost::asio::ssl;

result<std::shared_ptr<ssl::context>> make_server_context(const tls_options& options) {
  if (options.cert_pem.empty() || options.key_pem.empty())
    return fail(error_kind::tls, "TLS: a server needs a certificate and its private key");
  auto made = make_context(ssl::context::tls_server);
  if (!made) return made;
  auto& context = **made;
  if (const auto used = use_certificate(context, options, "server"); !used) return tl::unexpected<error>(used.error());
  if (options.ca_pem.empty()) return made;
  if (const auto used = use_authorities(context, options.ca_pem); !used) return tl::unexpected<error>(used.error());
  boost::system::error_code ec;
  context.set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, ec);
  // Without it OpenSSL fails the handshake of a client that comes back with a session of this context.
  constexpr std::string_view name = "inferno";
  const auto set = ::SSL_CTX_set_session_id_context(context.native_handle(), reinterpret_cast<const unsigned char*>(name.data()),
                                                    static_cast<unsigned>(name.size()));
  if (ec || set != 1) return fail(error_kind::tls, "TLS: the library cannot ask for certificates of clients");
  return made;
}

certificate_files::certificate_files(certificate_paths paths, std::function<void(std::string_view)> on_problem,
                                     std::function<clock::time_point()> now)
    : paths_(std::move(paths)), on_problem_(std::move(on_problem)), now_(std::move(now)) {}

result<std::shared_ptr<ssl::context>> certificate_files::load() const {
  tls_options options;
  struct field {
    const std::string& path;
    const char* name;
    const char* block;
    std::string& text;
  };
  std::string read;
  for (const field& f : {field{paths_.cert, "server certificate", "CERTIFICATE", options.cert_pem},
                         field{paths_.key, "server key", "PRIVATE KEY", options.key_pem},
                         field{paths_.client_ca, "client CA certificate", "CERTIFICATE", options.ca_pem}}) {
    if (f.path.empty()) continue;
    auto text = read_pem(f.path, f.name, f.block);
    if (!text) return tl::unexpected<error>(text.error());
    f.text = std::move(*text);
    read += fmt::format("{}{}", read.empty() ? "" : ", ", f.path);
  }
  auto made = make_server_context(options);
  if (!made) return fail(made.error().kind, fmt::format("{}: {}", read, made.error().message));
  return made;
}

result<std::shared_ptr<ssl::context>> certificate_files::operator()() {
  std::string tell;
  result<std::shared_ptr<ssl::context>> out;
  {
    const std::lock_guard lock(mutex_);
    const auto now = now_();
    if (!looked_ || now - *looked_ >= std::chrono::seconds(1)) {
      looked_ = now;
      // Taken before the files are read: what changes meanwhile is seen the next time.
      stamps found{stamp_of(paths_.cert), stamp_of(paths_.key), stamp_of(paths_.client_ca)};
      if (found != stamps_ || !problem_.empty()) {
        stamps_ = std::move(found);
        auto made = load();
        if (made) good_ = *made;
        auto problem = made ? std::string() : made.error().message;
        if (problem != problem_) tell = problem;
        problem_ = std::move(problem);
      }
    }
    if (good_) {
      out = good_;
    } else {
      out = fail(error_kind::tls, problem_);
    }
  }
  if (!tell.empty() && on_problem_) on_problem_(tell);
  return out;
}

}  // namespace inferno::net

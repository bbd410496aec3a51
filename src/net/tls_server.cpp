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

namespace {

reloaded_context::made load(const certificate_paths& paths) {
  tls_options options;
  struct field {
    const std::string& path;
    const char* name;
    const char* block;
    std::string& text;
  };
  std::string read;
  for (const field& f : {field{paths.cert, "server certificate", "CERTIFICATE", options.cert_pem},
                         field{paths.key, "server key", "PRIVATE KEY", options.key_pem},
                         field{paths.client_ca, "client CA certificate", "CERTIFICATE", options.ca_pem}}) {
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

}  // namespace

certificate_files::certificate_files(certificate_paths paths, std::function<void(std::string_view)> on_problem,
                                     std::function<clock::time_point()> now)
    : context_(std::make_unique<reloaded_context>(
          std::vector{paths.cert, paths.key, paths.client_ca}, [paths] { return load(paths); }, std::move(on_problem),
          std::move(now))) {}

certificate_files::~certificate_files() = default;

result<std::shared_ptr<ssl::context>> certificate_files::operator()() { return (*context_)(); }

}  // namespace inferno::net

#include "net/tls_context.hpp"

#include <fmt/format.h>
#include <openssl/x509.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/verify_context.hpp>

namespace inferno::net {

namespace ssl = boost::asio::ssl;

result<std::shared_ptr<ssl::context>> make_client_context(const tls_options& options) {
  boost::system::error_code ec;
  const auto bad = [&](const char* what, const std::string& why) {
    return fail(error_kind::tls, fmt::format("TLS: {} cannot be used: {}", what, why));
  };
  auto out = std::make_shared<ssl::context>(ssl::context::tls_client);
  out->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                       ssl::context::no_tlsv1_1,
                   ec);
  if (!ec) out->set_verify_mode(options.insecure_skip_verify ? ssl::verify_none : ssl::verify_peer, ec);
  if (ec) return bad("the library", ec.message());
  if (options.ca_pem.empty()) {
    out->set_default_verify_paths(ec);
    if (ec) return bad("the system's CA certificates", ec.message());
  } else {
    // Asio takes a text without any certificate for an empty bundle and says nothing.
    if (options.ca_pem.find("-----BEGIN") == std::string::npos) return bad("the CA bundle", "there is no PEM certificate in it");
    out->add_certificate_authority(boost::asio::buffer(options.ca_pem), ec);
    if (ec) return bad("the CA bundle", ec.message());
  }
  if (options.cert_pem.empty() != options.key_pem.empty())
    return bad("the client certificate", "certificate and private key belong together");
  if (options.cert_pem.empty()) return out;
  out->use_certificate_chain(boost::asio::buffer(options.cert_pem), ec);
  if (ec) return bad("the client certificate", ec.message());
  out->use_private_key(boost::asio::buffer(options.key_pem), ssl::context::pem, ec);
  if (ec) return bad("the client key", ec.message());
  return out;
}

const std::string& verified_name(const tls_options& options, const std::string& host) {
  return options.server_name.empty() ? host : options.server_name;
}

bool certificate_check::operator()(bool preverified, ssl::verify_context& context) const {
  if (ssl::host_name_verification(host_)(preverified, context)) return true;
  *problem_ = preverified ? fmt::format("the certificate is not for {}", host_)
                          : std::string(::X509_verify_cert_error_string(::X509_STORE_CTX_get_error(context.native_handle())));
  return false;
}

}  // namespace inferno::net

#pragma once
// OpenSSL contexts made from tls_options.
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "net/error.hpp"
#include "net/tls.hpp"

namespace inferno::net {

/// A client's context: TLS 1.2 or newer, the peer verified unless insecure_skip_verify. Error kind `tls`: a PEM text that cannot
/// be used; the message says which one, never what is in it.
result<std::shared_ptr<boost::asio::ssl::context>> make_client_context(const tls_options& options);

/// The parts of a context that clients and servers have in common. An empty one: TLS 1.2 or newer.
result<std::shared_ptr<boost::asio::ssl::context>> make_context(boost::asio::ssl::context::method method);
/// Certificate chain and private key of `options`; `whose` ("client", "server") they are is for the message.
result<void> use_certificate(boost::asio::ssl::context& context, const tls_options& options, std::string_view whose);
/// The CAs whose certificates are believed.
result<void> use_authorities(boost::asio::ssl::context& context, const std::string& ca_pem);

/// The name to verify and to send as SNI: options.server_name, or `host` when that is empty.
const std::string& verified_name(const tls_options& options, const std::string& host);

/// A callback for ssl::stream::set_verify_callback: the chain and the name. IP literals are matched against the certificate's
/// addresses. `problem` receives, for people, why a certificate was refused.
class certificate_check {
 public:
  certificate_check(std::string host, std::shared_ptr<std::string> problem)
      : host_(std::move(host)), problem_(std::move(problem)) {}
  bool operator()(bool preverified, boost::asio::ssl::verify_context& context) const;

 private:
  std::string host_;
  std::shared_ptr<std::string> problem_;
};

}  // namespace inferno::net

#pragma once
// OpenSSL contexts made from tls_options.
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "net/error.hpp"
#include "net/files.hpp"
#include "net/tls.hpp"
#include "net/tls_files.hpp"

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

/// A context made from files, and made anew when they change, as cert-manager and the kubelet change them. The files are looked
/// at once a second at most. What cannot be used is reported to `on_problem` once, and the last good context stays. Thread-safe.
class reloaded_context {
 public:
  using clock = std::chrono::steady_clock;
  using made = result<std::shared_ptr<boost::asio::ssl::context>>;
  /// `load` reads the files and is called for the first time by the first operator().
  reloaded_context(std::vector<std::string> paths, std::function<made()> load,
                   std::function<void(std::string_view)> on_problem = {}, std::function<clock::time_point()> now = clock::now);
  /// An error of `load`: only as long as there was never a good context.
  made operator()();

 private:
  std::vector<std::string> paths_;
  std::function<made()> load_;
  std::function<void(std::string_view)> on_problem_;
  std::function<clock::time_point()> now_;
  std::mutex mutex_;
  std::optional<clock::time_point> looked_;
  std::vector<std::optional<file_stamp>> stamps_;
  std::string problem_;  ///< of the last attempt; "" = it was good
  std::shared_ptr<boost::asio::ssl::context> good_;
};

/// A client's context source for http_client_config::tls_context: `texts`, of which those with a path are read again when their
/// file changes.
std::function<reloaded_context::made()> client_certificate_files(
    tls_options texts, tls_paths paths, std::function<void(std::string_view)> on_problem = {},
    std::function<reloaded_context::clock::time_point()> now = reloaded_context::clock::now);

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

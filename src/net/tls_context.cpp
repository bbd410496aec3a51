#include "net/tls_context.hpp"

#include <fmt/format.h>
#include <openssl/x509.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/verify_context.hpp>

namespace inferno::net {

namespace ssl = boost::asio::ssl;

namespace {

tl::unexpected<error> bad(std::string_view what, const std::string& why) {
  return fail(error_kind::tls, fmt::format("TLS: {} cannot be used: {}", what, why));
}

}  // namespace

result<std::shared_ptr<ssl::context>> make_context(ssl::context::method method) {
  boost::system::error_code ec;
  auto out = std::make_shared<ssl::context>(method);
  out->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 | ssl::context::no_sslv3 | ssl::context::no_tlsv1 |
                       ssl::context::no_tlsv1_1 | ssl::context::no_compression,
                   ec);
  // OpenSSL asks the terminal for the password of a key that has one, and waits.
  if (!ec) out->set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, ec);
  if (ec) return bad("the library", ec.message());
  return out;
}

result<void> use_certificate(ssl::context& context, const tls_options& options, std::string_view whose) {
  boost::system::error_code ec;
  context.use_certificate_chain(boost::asio::buffer(options.cert_pem), ec);
  if (ec) return bad(fmt::format("the {} certificate", whose), ec.message());
  context.use_private_key(boost::asio::buffer(options.key_pem), ssl::context::pem, ec);
  if (ec) return bad(fmt::format("the {} key", whose), ec.message());
  return {};
}

result<void> use_authorities(ssl::context& context, const std::string& ca_pem) {
  // Asio takes a text without any certificate for an empty bundle and says nothing.
  if (ca_pem.find("-----BEGIN") == std::string::npos) return bad("the CA bundle", "there is no PEM certificate in it");
  boost::system::error_code ec;
  context.add_certificate_authority(boost::asio::buffer(ca_pem), ec);
  if (ec) return bad("the CA bundle", ec.message());
  return {};
}

result<std::shared_ptr<ssl::context>> make_client_context(const tls_options& options) {
  auto made = make_context(ssl::context::tls_client);
  if (!made) return made;
  auto& context = **made;
  boost::system::error_code ec;
  context.set_verify_mode(options.insecure_skip_verify ? ssl::verify_none : ssl::verify_peer, ec);
  if (ec) return bad("the library", ec.message());
  if (options.ca_pem.empty()) {
    context.set_default_verify_paths(ec);
    if (ec) return bad("the system's CA certificates", ec.message());
  } else if (const auto used = use_authorities(context, options.ca_pem); !used) {
    return tl::unexpected<error>(used.error());
  }
  if (options.cert_pem.empty() != options.key_pem.empty())
    return bad("the client certificate", "certificate and private key belong together");
  if (options.cert_pem.empty()) return made;
  if (const auto used = use_certificate(context, options, "client"); !used) return tl::unexpected<error>(used.error());
  return made;
}

reloaded_context::reloaded_context(std::vector<std::string> paths, std::function<made()> load,
                                   std::function<void(std::string_view)> on_problem, std::function<clock::time_point()> now)
    : paths_(std::move(paths)), load_(std::move(load)), on_problem_(std::move(on_problem)), now_(std::move(now)) {}

reloaded_context::made reloaded_context::operator()() {
  std::string tell;
  made out;
  {
    const std::lock_guard lock(mutex_);
    const auto now = now_();
    if (!looked_ || now - *looked_ >= std::chrono::seconds(1)) {
      looked_ = now;
      // Taken before the files are read: what changes meanwhile is seen the next time.
      std::vector<std::optional<file_stamp>> found;
      for (const auto& path : paths_) found.push_back(stamp_of(path));
      if (found != stamps_ || !problem_.empty()) {
        stamps_ = std::move(found);
        auto loaded = load_();
        if (loaded) good_ = *loaded;
        auto problem = loaded ? std::string() : loaded.error().message;
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

std::function<reloaded_context::made()> client_certificate_files(tls_options texts, tls_paths paths,
                                                                 std::function<void(std::string_view)> on_problem,
                                                                 std::function<reloaded_context::clock::time_point()> now) {
  std::vector files{paths.ca, paths.cert, paths.key};
  auto load = [texts = std::move(texts), paths = std::move(paths)]() -> reloaded_context::made {
    const auto options = read_again(texts, paths);
    if (!options) return tl::unexpected<error>(options.error());
    return make_client_context(*options);
  };
  auto source = std::make_shared<reloaded_context>(std::move(files), std::move(load), std::move(on_problem), std::move(now));
  return [source] { return (*source)(); };
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

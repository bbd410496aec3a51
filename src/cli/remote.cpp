#include "cli/remote.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <filesystem>

#include "cli/input.hpp"
#include "net/http/client.hpp"
#include "net/http/url.hpp"
#include "net/io_context_thread.hpp"

namespace inferno::cli {
namespace {

constexpr const char* pod_token = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// The flag's file, else the pod's service account's; "" when there is neither, or nobody asked for the token to be sent in the
/// clear.
tl::expected<std::string, std::string> bearer_token(const remote_flags& f, bool in_the_clear) {
  auto file = f.token_file;
  if (!file.empty() && in_the_clear)
    return tl::unexpected(
        fmt::format("--token-file: --url {} is not https, and everybody on the way could read the token; use an https URL or "
                    "a port-forward to localhost, or allow it with --allow-token-over-http",
                    f.url));
  if (file.empty()) {
    // A controller that serves plain HTTP asks for no token.
    if (in_the_clear) return std::string();
    std::error_code none;
    if (!std::filesystem::exists(pod_token, none)) return std::string();
    file = pod_token;
  }
  auto text = read_input(file);
  if (!text) return tl::unexpected(fmt::format("--token-file: {}: {}", input_name(file), text.error()));
  text->erase(text->find_last_not_of(" \t\r\n") + 1);
  if (text->empty()) return tl::unexpected(fmt::format("--token-file: {}: no token in it", input_name(file)));
  if (text->find_first_of(" \t\r\n") != std::string::npos)
    return tl::unexpected(fmt::format("--token-file: {}: more than one word", input_name(file)));
  return text;
}

std::string first_line(const std::string& body) { return body.substr(0, body.find('\n')); }

}  // namespace

void add_remote_flags(CLI::App& command, remote_flags& f) {
  command.add_option("--url", f.url, "metrics port of the controller, as kubectl port-forward shows it")
      ->envname("INFERNO_URL")
      ->capture_default_str();
  command.add_option("--token-file", f.token_file,
                     "bearer token of somebody who may get /metrics; - = standard input (default: the pod's service account)");
  command.add_option("--certificate-authority", f.ca_file, "CA of the controller's certificate (default: the system's)")
      ->check(CLI::ExistingFile);
  command.add_flag("--allow-token-over-http", f.token_over_http, "send the token to an http URL that is not on this host");
  command.add_flag("--insecure-skip-tls-verify", f.insecure, "trust any certificate, a self-signed one for example");
}

tl::expected<std::string, std::string> fetch(const remote_flags& f, const std::string& path) {
  auto url = f.url;
  while (url.ends_with('/')) url.pop_back();
  const auto to = net::parse_url(url + path);
  if (!to) return tl::unexpected(fmt::format("--url {}: {}", f.url, to.error().message));
  auto token = bearer_token(f, !to->where.tls && !to->where.loopback() && !f.token_over_http);
  if (!token) return tl::unexpected(token.error());
  net::http_client_config config;
  config.tls.insecure_skip_verify = f.insecure;
  if (!f.ca_file.empty()) {
    auto ca = read_input(f.ca_file);
    if (!ca) return tl::unexpected(fmt::format("--certificate-authority: {}: {}", f.ca_file, ca.error()));
    config.tls.ca_pem = std::move(*ca);
  }
  net::http_request request;
  request.url = url + path;
  if (!token->empty()) request.headers.push_back({"Authorization", "Bearer " + *token});
  net::io_context_thread io;
  net::http_client client(io.executor(), std::move(config));
  const auto answer = boost::asio::co_spawn(io.executor(), client.request(std::move(request)), boost::asio::use_future).get();
  if (!answer) {
    const auto hint = answer.error().message.find("certificate") == std::string::npos
                          ? ""
                          : "; --certificate-authority or --insecure-skip-tls-verify says whom to trust";
    return tl::unexpected(fmt::format("--url {}: {}{}", f.url, answer.error().message, hint));
  }
  if (answer->status == 401)
    return tl::unexpected(fmt::format("--url {}: 401: {}; --token-file names a token, of `kubectl create token` for example",
                                      f.url, first_line(answer->body)));
  if (answer->status == 403)
    return tl::unexpected(fmt::format("--url {}: 403: {}; the ClusterRole inferno-autoscaler-metrics-reader lets one in", f.url,
                                      first_line(answer->body)));
  if (answer->status != 200)
    return tl::unexpected(fmt::format("--url {}: {}: {}", f.url, answer->status, first_line(answer->body)));
  return answer->body;
}

}  // namespace inferno::cli

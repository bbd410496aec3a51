#include "net/metrics/prometheus_access.hpp"

namespace inferno::net::metrics {
namespace {

std::function<std::string()> token_of(const prometheus_access& access) {
  if (!access.token_path.empty()) return [file = std::make_shared<token_file>(access.token_path)] { return (*file)(); };
  if (access.bearer_token.empty()) return {};
  return [token = access.bearer_token] { return token; };
}

}  // namespace

prometheus_connection::prometheus_connection(asio::any_io_executor executor, http_client_config base)
    : executor_(std::move(executor)), base_(std::move(base)) {}

result<prometheus_client> prometheus_connection::client(const prometheus_access& access) {
  stamps now;
  for (const auto* path : {&access.tls.ca_path, &access.tls.cert_path, &access.tls.key_path})
    now.push_back(path->empty() ? std::nullopt : stamp_of(*path));
  const bool other = access_ != access;
  if (other || now != stamps_ || !http_) {
    // Connections of other settings are not to be used any more, even if the new ones turn out unusable.
    if (other) {
      http_ = nullptr;
      token_ = token_of(access);
      problem_.clear();
    }
    access_ = access;
    stamps_ = std::move(now);
    auto options = read_tls_files(access.tls);
    if (options) {
      auto config = base_;
      config.tls = std::move(*options);
      http_ = std::make_shared<http_client>(executor_, std::move(config));
      problem_.clear();
    } else {
      if (!http_) return tl::unexpected(options.error());
      problem_ = options.error().message;
    }
  }
  if (!access.token_path.empty() && token_().empty())
    return fail(error_kind::tls, "bearer token " + access.token_path + ": cannot be read or is empty");
  return prometheus_client(http_, access.url, token_);
}

}  // namespace inferno::net::metrics

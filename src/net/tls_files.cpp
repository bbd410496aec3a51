#include "net/tls_files.hpp"

#include <fmt/format.h>

#include "net/files.hpp"

namespace inferno::net {

result<std::string> read_pem(const std::string& path, std::string_view field, std::string_view block) {
  auto text = read_file(path);
  if (!text) return fail(error_kind::tls, fmt::format("{} {}: cannot be read", field, path));
  // An empty text would mean "the system's" or "none" from here on, which is not what a path asks for. "BEGIN EC PRIVATE KEY" and
  // the like end with the block's name too.
  if (text->find("-----BEGIN ") == std::string::npos || text->find(fmt::format("{}-----", block)) == std::string::npos)
    return fail(error_kind::tls, fmt::format("{} {}: there is no PEM block of a {} in it", field, path, block));
  return std::move(*text);
}

result<tls_options> read_tls_files(const tls_file_options& options) {
  tls_options out;
  out.insecure_skip_verify = options.insecure_skip_verify;
  out.server_name = options.server_name;
  if (options.cert_path.empty() && !options.key_path.empty())
    return fail(error_kind::tls, fmt::format("client key {}: a client certificate belongs to it", options.key_path));
  if (!options.cert_path.empty() && options.key_path.empty())
    return fail(error_kind::tls, fmt::format("client certificate {}: a client key belongs to it", options.cert_path));
  struct field {
    const std::string& path;
    const char* name;
    const char* block;
    std::string& text;
  };
  for (const field& f : {field{options.ca_path, "CA certificate", "CERTIFICATE", out.ca_pem},
                         field{options.cert_path, "client certificate", "CERTIFICATE", out.cert_pem},
                         field{options.key_path, "client key", "PRIVATE KEY", out.key_pem}}) {
    if (f.path.empty()) continue;
    auto text = read_pem(f.path, f.name, f.block);
    if (!text) return tl::unexpected<error>(text.error());
    f.text = std::move(*text);
  }
  return out;
}

}  // namespace inferno::net

#include "net/tls_files.hpp"

#include <fmt/format.h>

#include "net/files.hpp"

namespace inferno::net {

result<std::string> read_pem(const std::string& path, std::string_view field, std::string_view block) {
  auto text = read_file(path);
  if (!text) return fail(error_kind::tls, fmt::format("{} {}: {}", field, path, text.error().message));
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
  return read_again(std::move(out), {options.ca_path, options.cert_path, options.key_path});
}

result<tls_options> read_again(tls_options texts, const tls_paths& paths) {
  struct field {
    const std::string& path;
    const char* name;
    const char* block;
    std::string& text;
  };
  for (const field& f : {field{paths.ca, "CA certificate", "CERTIFICATE", texts.ca_pem},
                         field{paths.cert, "client certificate", "CERTIFICATE", texts.cert_pem},
                         field{paths.key, "client key", "PRIVATE KEY", texts.key_pem}}) {
    if (f.path.empty()) continue;
    auto text = read_pem(f.path, f.name, f.block);
    if (!text) return tl::unexpected<error>(text.error());
    f.text = std::move(*text);
  }
  return texts;
}

}  // namespace inferno::net

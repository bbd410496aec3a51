#pragma once
// A running controller, as the commands that ask it reach it.
#include <string>
#include <tl/expected.hpp>

namespace CLI {
class App;
}

namespace inferno::cli {

struct remote_flags {
  std::string url = "https://localhost:8080";
  std::string token_file;
  std::string ca_file;
  bool insecure = false;
  bool token_over_http = false;
};
/// --url, --token-file, --certificate-authority, --insecure-skip-tls-verify, --allow-token-over-http.
void add_remote_flags(CLI::App& command, remote_flags& f);

/// GET of a path on the metrics port. Error: what is wrong and, where it is the flags, which one helps.
tl::expected<std::string, std::string> fetch(const remote_flags& f, const std::string& path);

}  // namespace inferno::cli

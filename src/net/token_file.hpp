#pragma once
// A bearer token in a file.
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include "net/files.hpp"

namespace inferno::net {

/// Reads a token file again when it has changed, which is how Kubernetes rotates tokens. Not logged, not kept elsewhere.
/// Thread-safe.
class token_file {
 public:
  explicit token_file(std::filesystem::path path) : path_(std::move(path)) {}
  /// The token without the white space at its end; "" as long as there was none. While the file cannot be read, the last one.
  std::string operator()();

 private:
  std::filesystem::path path_;
  std::mutex mutex_;
  std::string token_;
  std::optional<file_stamp> stamp_;
};

}  // namespace inferno::net

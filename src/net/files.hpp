#pragma once
// Small files that others replace while we run: tokens, certificates.
#include <sys/types.h>

#include <ctime>
#include <filesystem>
#include <optional>
#include <string>

namespace inferno::net {

/// The whole file; nullopt when it cannot be read (a folder cannot either).
std::optional<std::string> read_file(const std::filesystem::path& path);

/// Without white space at the end.
std::string trimmed(std::string text);

/// What tells one version of a file from the next, links followed.
struct file_stamp {
  std::time_t seconds = 0;
  long nanoseconds = 0;
  ino_t inode = 0;
  off_t size = 0;
  bool operator==(const file_stamp&) const = default;
};

/// nullopt: there is no such file.
std::optional<file_stamp> stamp_of(const std::filesystem::path& path);

}  // namespace inferno::net

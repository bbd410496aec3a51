#pragma once
// Small files that others replace while we run: tokens, certificates.
#include <sys/types.h>

#include <ctime>
#include <filesystem>
#include <optional>
#include <string>

#include "net/error.hpp"

namespace inferno::net {

inline constexpr std::size_t small_file = 1u << 20;

/// The whole of a regular file of at most `max_bytes`. A device, a pipe or a folder is refused, so that no path reads without
/// end. Error kind `decode`: the message follows the name of the file ("is not a regular file") and does not repeat it.
result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes = small_file);

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

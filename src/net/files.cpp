#include "net/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace inferno::net {

namespace {

/// A descriptor that is closed at the end of its scope.
struct descriptor {
  int fd;
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

result<std::string> read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const auto bad = [](std::string why) { return fail(error_kind::decode, std::move(why)); };
  // Without O_NONBLOCK, opening a pipe waits for its writer.
  const descriptor file{::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC)};
  struct stat info {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0) return bad("cannot be read");
  if (!S_ISREG(info.st_mode)) return bad("is not a regular file");
  std::string out;
  std::array<char, 16384> part;
  // The size that stat reports is not relied upon: files of /proc report 0, and a file may grow while it is read.
  for (;;) {
    const auto n = ::read(file.fd, part.data(), part.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return bad("cannot be read");
    if (n == 0) return out;
    if (static_cast<std::size_t>(n) > max_bytes - out.size()) return bad(fmt::format("is larger than {} bytes", max_bytes));
    out.append(part.data(), static_cast<std::size_t>(n));
  }
}

std::string trimmed(std::string text) {
  const auto last = text.find_last_not_of(" \t\r\n");
  text.erase(last == std::string::npos ? 0 : last + 1);
  return text;
}

std::optional<file_stamp> stamp_of(const std::filesystem::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return file_stamp{info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ino, info.st_size};
}

}  // namespace inferno::net

#include "net/token_file.hpp"

namespace inferno::net {

std::string token_file::operator()() {
  const std::lock_guard lock(mutex_);
  const auto stamp = stamp_of(path_);
  if (!stamp || (stamp == stamp_ && !token_.empty())) return token_;
  if (auto text = read_file(path_)) {
    token_ = trimmed(std::move(*text));
    stamp_ = stamp;
  }
  return token_;
}

}  // namespace inferno::net

#pragma once
// Pauses between attempts at what failed.
#include <algorithm>
#include <chrono>
#include <functional>
#include <string>

#include "net/error.hpp"

namespace inferno::actors {

/// Errors of what was asked, not of the server's moment: it is there and has understood.
inline bool refused(const net::error& e) {
  return e.kind == net::error_kind::status && e.status >= 400 && e.status < 500 && e.status != 408 && e.status != 429;
}

/// A quarter more at most, another part of it for each text: a server that comes back is not run over by all at once.
inline std::chrono::milliseconds jittered(std::chrono::milliseconds pause, const std::string& of) {
  return pause + pause * static_cast<int>(std::hash<std::string>{}(of) % 256) / 1024;
}

/// Doubles with each failure, is never shorter than the server's Retry-After, and has jitter.
class backoff {
 public:
  explicit backoff(std::string name = {}) : name_(std::move(name)) {}
  void reset() { pause_ = std::chrono::milliseconds(0); }
  std::chrono::milliseconds next(std::chrono::milliseconds least, std::chrono::milliseconds most, const net::error* error) {
    pause_ = std::clamp(pause_ * 2, least, most);
    const auto pause = error && error->retry_after ? std::max(pause_, *error->retry_after) : pause_;
    return jittered(pause, name_ + " " + std::to_string(++failures_));
  }

 private:
  std::string name_;
  unsigned failures_ = 0;
  std::chrono::milliseconds pause_{0};
};

}  // namespace inferno::actors

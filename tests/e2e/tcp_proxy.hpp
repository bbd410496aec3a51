#pragma once
// A bad network between a controller and the API server: a TCP proxy that passes, stalls, resets, truncates or slows down.
#include <memory>
#include <string>

namespace inferno::test {

enum class network {
  pass,
  stalled,          ///< nothing comes through, either way; nothing is closed
  answers_stalled,  ///< requests arrive, answers do not
  resets,           ///< every connection is reset, new ones too
  truncates,        ///< every answer ends in its middle
  slow              ///< some KiB a second
};

/// Forwards to 127.0.0.1:port from a port of its own, in a thread of its own. What stalled goes on when it passes again.
class tcp_proxy {
 public:
  explicit tcp_proxy(const std::string& target_url);  ///< "https://127.0.0.1:6443"
  ~tcp_proxy();
  tcp_proxy(const tcp_proxy&) = delete;
  tcp_proxy& operator=(const tcp_proxy&) = delete;
  /// From now on, for connections there are and those to come. Thread-safe.
  void set(network behaviour);
  std::string url() const;
  /// Connections there are.
  int connections() const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::test

#pragma once
// A bad network between a controller and the API server: a TCP proxy that passes, stalls, resets, truncates or slows down.
#include <memory>
#include <string>

namespace inferno::test {

enum class network {
  pass,
  stalled,    ///< nothing comes through, either way; nothing is closed
  resets,     ///< every connection is reset, new ones too
  truncates,  ///< every answer ends in its middle
  slow,       ///< some KiB a second
  // Of a proxy that speaks TLS itself:
  scale_patches_stalled,  ///< those that come are held, all else passes
  scale_patches_reset,    ///< their connections are, all else passes
  scale_answers_stalled   ///< the patches arrive, nothing comes back on their connections
};

/// Forwards to 127.0.0.1:port from a port of its own, in a thread of its own. What stalled goes on when it passes again, also
/// when the client has given up meanwhile: it was on its way.
class tcp_proxy {
 public:
  explicit tcp_proxy(const std::string& target_url);  ///< "https://127.0.0.1:6443"
  /// Reads what it forwards: TLS with this certificate (PEM files) towards the client, without verification towards the server.
  tcp_proxy(const std::string& target_url, const std::string& cert_file, const std::string& key_file);
  ~tcp_proxy();
  tcp_proxy(const tcp_proxy&) = delete;
  tcp_proxy& operator=(const tcp_proxy&) = delete;
  /// From now on, for connections there are and those to come. Thread-safe.
  void set(network behaviour);
  std::string url() const;
  /// Connections there are.
  int connections() const;
  /// Patches of a scale that were held or reset, or whose answers were held.
  int scale_patches() const;

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

}  // namespace inferno::test

#pragma once
// The one error type of everything that talks over a network.
#include <chrono>
#include <optional>
#include <string>
#include <tl/expected.hpp>

namespace inferno::net {

enum class error_kind {
  address,    ///< a URL that cannot be used
  connect,    ///< resolve, connect
  tls,        ///< handshake, certificate
  timeout,    ///< the deadline of the operation passed
  closed,     ///< the peer went away in the middle
  protocol,   ///< not HTTP, not what was asked for
  too_large,  ///< a bound was exceeded
  status,     ///< an HTTP status >= 400; `status` holds it
  decode,     ///< the body is not what it should be
  cancelled,  ///< stopped by us
};

struct error {
  error_kind kind = error_kind::protocol;
  int status = 0;       ///< HTTP status for kind `status`, else 0
  std::string message;  ///< for people; names host and what was asked, never a secret
  std::optional<std::chrono::milliseconds> retry_after{};
};

template <class T>
using result = tl::expected<T, error>;

inline tl::unexpected<error> fail(error_kind kind, std::string message, int status = 0) {
  return tl::unexpected<error>(error{kind, status, std::move(message), std::nullopt});
}

}  // namespace inferno::net

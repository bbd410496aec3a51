#pragma once
// URLs as the client takes them.
#include <compare>
#include <string>
#include <string_view>

#include "net/error.hpp"

namespace inferno::net {

/// Where a request goes: connections are shared between requests with equal origins.
struct origin {
  bool tls = false;
  std::string host;  ///< in lower case; an IPv6 literal without brackets
  unsigned short port = 0;
  auto operator<=>(const origin&) const = default;
  std::string name() const;         ///< "host:port", "[::1]:port"
  std::string host_header() const;  ///< the same without a scheme's usual port
  bool loopback() const;            ///< "localhost" and names below it, 127.0.0.0/8, ::1: what is sent stays on this host
};

struct http_address {
  origin where;
  std::string target;              ///< path and query, still encoded; "/" when the URL has no path
  std::string_view path() const {  ///< the target without the query
    return std::string_view(target).substr(0, target.find('?'));
  }
};

/// An absolute http or https URL. Error kind `address`; user information is refused and never repeated in the message.
result<http_address> parse_url(const std::string& text);

/// RFC 3986 unreserved characters stay, all others become %XX.
std::string percent_encoded(std::string_view text);

}  // namespace inferno::net

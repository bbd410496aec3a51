#include <fmt/format.h>

#include <boost/asio/ip/address.hpp>
#include <charconv>

#include "net/http/server.hpp"

namespace inferno::net {

result<std::pair<std::string, unsigned short>> parse_bind_address(std::string_view text) {
  const auto bad = [&](const char* why) { return fail(error_kind::address, fmt::format("bind address \"{}\": {}", text, why)); };
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad("expected HOST:PORT or :PORT");
  const auto digits = text.substr(colon + 1);
  unsigned short port = 0;
  const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (digits.empty() || ec != std::errc() || end != digits.data() + digits.size())
    return bad("the port must be a number from 0 to 65535");
  auto host = text.substr(0, colon);
  if (host.empty()) return std::pair(std::string("0.0.0.0"), port);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return bad("an IPv6 address needs brackets");
  }
  if (host == "localhost") return std::pair(std::string("127.0.0.1"), port);
  boost::system::error_code address_error;
  boost::asio::ip::make_address(host, address_error);
  if (address_error) return bad("the host must be an IP address");
  return std::pair(std::string(host), port);
}

}  // namespace inferno::net

#include "net/http/url.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <charconv>

namespace inferno::net {

std::string origin::name() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port) : fmt::format("[{}]:{}", host, port);
}

std::string origin::host_header() const {
  auto out = name();
  if (port == (tls ? 443 : 80)) out.resize(out.rfind(':'));
  return out;
}

bool origin::loopback() const {
  if (host == "localhost" || host.ends_with(".localhost")) return true;
  boost::system::error_code not_literal;
  const auto address = boost::asio::ip::make_address(host, not_literal);
  return !not_literal && address.is_loopback();
}

result<http_address> parse_url(const std::string& text) {
  if (text.find('@') != std::string::npos) {
    const auto start = text.find("://");
    const auto end = start == std::string::npos ? start : text.find_first_of("/?#", start + 3);
    if (start == std::string::npos || text.find('@') < end)
      return fail(error_kind::address, "a URL with user information is not accepted");
  }
  const auto bad = [&](const char* why) { return fail(error_kind::address, fmt::format("\"{}\" {}", text, why)); };
  const auto parsed = boost::urls::parse_uri(text);
  if (!parsed) return bad("is not a URL");
  const auto scheme = parsed->scheme_id();
  if (scheme != boost::urls::scheme::http && scheme != boost::urls::scheme::https) return bad("is neither http nor https");
  http_address out;
  out.where.tls = scheme == boost::urls::scheme::https;
  out.where.host = parsed->host_address();
  std::transform(out.where.host.begin(), out.where.host.end(), out.where.host.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  if (out.where.host.empty()) return bad("has no host");
  if (out.where.host.find_first_of(" \r\n\t") != std::string::npos || out.where.host.find('\0') != std::string::npos)
    return bad("has no usable host");
  out.where.port = out.where.tls ? 443 : 80;
  if (parsed->has_port() && !parsed->port().empty()) {
    // Boost.URL's port_number() is the number modulo 65536.
    const auto digits = parsed->port();
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), out.where.port);
    if (ec != std::errc() || end != digits.data() + digits.size() || out.where.port == 0)
      return bad("has a port outside 1 to 65535");
  }
  out.target = std::string(parsed->encoded_path());
  if (out.target.empty()) out.target = "/";
  // Boost.URL takes what follows the digits of a port for a path.
  if (out.target.front() != '/') return bad("has a port that is not a number");
  if (parsed->has_query()) out.target += "?" + std::string(parsed->encoded_query());
  return out;
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                       c == '.' || c == '~';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

}  // namespace inferno::net

#include "net/http/url.hpp"

#include <gtest/gtest.h>

#include "net/http/server.hpp"

namespace inferno::net {
namespace {

TEST(url_test, has_origin_and_target) {
  const auto url = parse_url("https://API.Example:6443/a%20b/c?x=1&y=%2F#fragment");
  ASSERT_TRUE(url) << url.error().message;
  EXPECT_TRUE(url->where.tls);
  EXPECT_EQ(url->where.host, "api.example");
  EXPECT_EQ(url->where.port, 6443);
  EXPECT_EQ(url->target, "/a%20b/c?x=1&y=%2F");
  EXPECT_EQ(url->path(), "/a%20b/c");
}

TEST(url_test, fills_in_what_is_usual) {
  const auto plain = parse_url("http://host").value();
  EXPECT_EQ(plain.where.port, 80);
  EXPECT_EQ(plain.target, "/");
  EXPECT_EQ(plain.where.name(), "host:80");
  EXPECT_EQ(plain.where.host_header(), "host");
  EXPECT_EQ(parse_url("https://host:").value().where.port, 443);
  EXPECT_EQ(parse_url("https://host:80/").value().where.host_header(), "host:80");
  EXPECT_EQ(parse_url("http://host?q").value().target, "/?q");
}

TEST(url_test, takes_ipv6_in_brackets) {
  const auto url = parse_url("http://[::1]:9090/x").value();
  EXPECT_EQ(url.where.host, "::1");
  EXPECT_EQ(url.where.name(), "[::1]:9090");
  EXPECT_EQ(parse_url("http://[fe80::1]/").value().where.host_header(), "[fe80::1]");
}

TEST(url_test, equal_origins_are_equal_however_they_are_written) {
  EXPECT_EQ(parse_url("http://Host/a").value().where, parse_url("HTTP://host:80/b").value().where);
  EXPECT_NE(parse_url("http://host:443/").value().where, parse_url("https://host/").value().where);
}

TEST(url_test, refuses_what_cannot_be_asked) {
  for (const char* bad : {"",
                          "/path",
                          "host:80",
                          "ftp://host/",
                          "http://",
                          "http:///x",
                          "http://host:0/",
                          "http://host:65536/",
                          "http://host:99999/",
                          "http://host:4294967376/",
                          "http://host:18446744073709551617/",
                          "http://host:abc/",
                          "http://host:9090x",
                          "http://host:1:2/",
                          "http://[::1]:x/",
                          "http://ho st/",
                          "http://host/a b",
                          "http://host/\r\nX: 1",
                          "http://[::1/",
                          "http://a%0d%0ab/"}) {
    const auto url = parse_url(bad);
    ASSERT_FALSE(url) << bad;
    EXPECT_EQ(url.error().kind, error_kind::address) << bad;
  }
}

TEST(url_test, knows_what_stays_on_this_host) {
  const auto loopback = [](const char* text) {
    const auto url = parse_url(text);
    EXPECT_TRUE(url) << text << ": " << (url ? "" : url.error().message);
    return url && url->where.loopback();
  };
  for (const char* here : {"http://localhost:8080", "http://LocalHost", "http://a.localhost/", "http://127.0.0.1",
                           "http://127.9.9.9:1/", "http://[::1]:8080/"})
    EXPECT_TRUE(loopback(here)) << here;
  for (const char* away :
       {"http://10.0.0.1", "http://localhost.example.org", "http://notlocalhost", "http://0.0.0.0", "http://[fe80::1]"})
    EXPECT_FALSE(loopback(away)) << away;
}

TEST(url_test, refuses_user_information_without_repeating_it) {
  for (const char* secret : {"http://user:hunter2@host/", "http://hunter2@host", "user:hunter2@host"}) {
    const auto url = parse_url(secret);
    ASSERT_FALSE(url);
    EXPECT_EQ(url.error().message.find("hunter2"), std::string::npos) << url.error().message;
  }
  EXPECT_TRUE(parse_url("http://host/a@b?c@d"));
}

TEST(bind_address_test, reads_host_and_port) {
  using pair = std::pair<std::string, unsigned short>;
  EXPECT_EQ(parse_bind_address("127.0.0.1:8080").value(), pair("127.0.0.1", 8080));
  EXPECT_EQ(parse_bind_address(":8080").value(), pair("0.0.0.0", 8080));
  EXPECT_EQ(parse_bind_address("[::1]:0").value(), pair("::1", 0));
  EXPECT_EQ(parse_bind_address("localhost:65535").value(), pair("127.0.0.1", 65535));
}

TEST(bind_address_test, names_what_it_cannot_read) {
  for (const char* bad : {"", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:80x", ":+1",
                          "::1:80", "[::1]", "[]:80", "example.org:80", "1.2.3:80", "1.2.3.4.5:80"}) {
    const auto address = parse_bind_address(bad);
    ASSERT_FALSE(address) << bad;
    EXPECT_EQ(address.error().kind, error_kind::address);
    EXPECT_NE(address.error().message.find(std::string("\"") + bad + "\""), std::string::npos) << address.error().message;
  }
}

}  // namespace
}  // namespace inferno::net

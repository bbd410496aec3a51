#include <boost/asio/ssl/context.hpp>

#include "net/tls_context.hpp"
#include "net/tls_server.hpp"
#include "tests/support/net_folder.hpp"
#include "tests/support/net_tls_pair.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::make_certificate;

class certificate_files_test : public test::folder_fixture {
 protected:
  void write(const certificate& c) {
    swap("tls.crt", c.cert_pem);
    swap("tls.key", c.key_pem);
  }
  /// Whether the context that is current now has this certificate.
  bool serves(const certificate& c) {
    const auto context = files();
    if (!context) return false;
    tls_options trusting;
    trusting.ca_pem = c.cert_pem;
    return test::shake_hands(**context, **make_client_context(trusting)).client.empty();
  }
  void pass(std::chrono::milliseconds time) { now += time; }

  certificate_files::clock::time_point now{1h};
  std::vector<std::string> problems;
  certificate first = make_certificate(), second = make_certificate();
  certificate_files files{{.cert = path("tls.crt"), .key = path("tls.key")},
                          [this](std::string_view problem) { problems.emplace_back(problem); },
                          [this] { return now; }};
};

TEST_F(certificate_files_test, takes_new_files_within_a_second_and_keeps_the_context_of_old_ones) {
  write(first);
  EXPECT_TRUE(serves(first));
  const auto before = files();
  EXPECT_EQ(files().value(), before.value());
  write(second);
  pass(999ms);
  EXPECT_EQ(files().value(), before.value()) << "the files are not looked at for every connection";
  pass(1ms);
  EXPECT_TRUE(serves(second));
  EXPECT_FALSE(serves(first));
  const auto after = files();
  pass(10s);
  EXPECT_EQ(files().value(), after.value()) << "nothing changed";
  EXPECT_TRUE(problems.empty());
}

TEST_F(certificate_files_test, keeps_the_last_good_one_and_tells_once) {
  write(first);
  EXPECT_TRUE(serves(first));
  swap("tls.crt", "broken");
  pass(1s);
  EXPECT_TRUE(serves(first));
  EXPECT_EQ(problems, std::vector{"server certificate " + path("tls.crt") + ": there is no PEM block of a CERTIFICATE in it"});
  for (int i = 0; i < 5; ++i) {
    pass(1s);
    EXPECT_TRUE(serves(first));
  }
  EXPECT_EQ(problems.size(), 1u);
  // The new certificate before its key, as a rotation may be seen.
  swap("tls.crt", second.cert_pem);
  pass(1s);
  EXPECT_TRUE(serves(first));
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_NE(problems[1].find(path("tls.key")), std::string::npos) << problems[1];
  EXPECT_NE(problems[1].find("key values mismatch"), std::string::npos) << problems[1];
  swap("tls.key", second.key_pem);
  pass(1s);
  EXPECT_TRUE(serves(second));
  std::filesystem::remove(folder / "tls.key");
  pass(1s);
  EXPECT_TRUE(serves(second));
  ASSERT_EQ(problems.size(), 3u);
  EXPECT_EQ(problems[2], "server key " + path("tls.key") + ": cannot be read");
  swap("tls.key", second.key_pem);
  pass(1s);
  EXPECT_TRUE(serves(second));
  std::filesystem::remove(folder / "tls.key");
  pass(1s);
  EXPECT_TRUE(serves(second));
  EXPECT_EQ(problems.size(), 4u) << "a problem that comes back is told again";
}

TEST_F(certificate_files_test, without_files_is_an_error_until_they_come) {
  for (int i = 0; i < 3; ++i) {
    const auto none = files();
    ASSERT_FALSE(none);
    EXPECT_EQ(none.error().kind, error_kind::tls);
    EXPECT_EQ(none.error().message, "server certificate " + path("tls.crt") + ": cannot be read");
    pass(1s);
  }
  EXPECT_EQ(problems.size(), 1u);
  write(first);
  EXPECT_TRUE(serves(first));
}

TEST_F(certificate_files_test, the_clients_ca_is_rotated_too) {
  write(first);
  const auto client = make_certificate({"client"}), newer = make_certificate({"client"});
  put("ca.crt", client.cert_pem);
  certificate_files mutual{
      {.cert = path("tls.crt"), .key = path("tls.key"), .client_ca = path("ca.crt")}, {}, [this] { return now; }};
  const auto accepted = [&](const certificate& c) {
    tls_options options;
    options.ca_pem = first.cert_pem;
    options.cert_pem = c.cert_pem;
    options.key_pem = c.key_pem;
    const auto context = mutual();
    return context && test::shake_hands(**context, **make_client_context(options)).server.empty();
  };
  EXPECT_TRUE(accepted(client));
  EXPECT_FALSE(accepted(newer));
  swap("ca.crt", newer.cert_pem);
  pass(1s);
  EXPECT_FALSE(accepted(client));
  EXPECT_TRUE(accepted(newer));
  swap("ca.crt", "");
  pass(1s);
  EXPECT_TRUE(accepted(newer)) << "an empty CA must not open the server to everybody";
  EXPECT_FALSE(accepted(client));
}

}  // namespace
}  // namespace inferno::net

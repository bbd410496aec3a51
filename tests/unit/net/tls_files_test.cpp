#include "net/tls_files.hpp"

#include "tests/support/net_folder.hpp"

namespace inferno::net {
namespace {

const std::string certificate = "-----BEGIN CERTIFICATE-----\nQ0VSVA==\n-----END CERTIFICATE-----\n";
const std::string key = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n";

class tls_files_test : public test::folder_fixture {
 protected:
  tls_files_test() {
    put("ca.crt", "# our CA\n" + certificate);
    put("tls.crt", certificate + certificate);
    put("tls.key", key);
  }
  std::string problem(const tls_file_options& options) {
    const auto read = read_tls_files(options);
    if (read) return "no problem";
    EXPECT_EQ(read.error().kind, error_kind::tls);
    EXPECT_EQ(read.error().message.find("c2VjcmV0"), std::string::npos) << "contents in a message";
    return read.error().message;
  }
};

TEST_F(tls_files_test, reads_what_is_named_and_leaves_the_rest_empty) {
  const auto all = read_tls_files({.insecure_skip_verify = false,
                                   .ca_path = path("ca.crt"),
                                   .cert_path = path("tls.crt"),
                                   .key_path = path("tls.key"),
                                   .server_name = "prometheus"});
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_EQ(all->ca_pem, "# our CA\n" + certificate);
  EXPECT_EQ(all->cert_pem, certificate + certificate);
  EXPECT_EQ(all->key_pem, key);
  EXPECT_EQ(all->server_name, "prometheus");
  EXPECT_FALSE(all->insecure_skip_verify);

  const auto none = read_tls_files({.insecure_skip_verify = true});
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(none->ca_pem + none->cert_pem + none->key_pem + none->server_name, "");
  EXPECT_TRUE(none->insecure_skip_verify);
}

TEST_F(tls_files_test, names_field_and_path_of_what_cannot_be_used) {
  put("empty", "");
  const auto absent = path("absent"), empty = path("empty"), cert = path("tls.crt"), secret = path("tls.key");
  EXPECT_EQ(problem({.ca_path = absent}), "CA certificate " + absent + ": cannot be read");
  EXPECT_EQ(problem({.ca_path = folder.string()}), "CA certificate " + folder.string() + ": is not a regular file");
  EXPECT_EQ(problem({.ca_path = "/dev/zero"}), "CA certificate /dev/zero: is not a regular file");
  EXPECT_EQ(problem({.ca_path = empty}), "CA certificate " + empty + ": there is no PEM block of a CERTIFICATE in it")
      << "an empty CA must not become the system's";
  EXPECT_EQ(problem({.cert_path = absent, .key_path = secret}), "client certificate " + absent + ": cannot be read");
  EXPECT_EQ(problem({.cert_path = cert, .key_path = absent}), "client key " + absent + ": cannot be read");
  EXPECT_EQ(problem({.cert_path = secret, .key_path = cert}),
            "client certificate " + secret + ": there is no PEM block of a CERTIFICATE in it")
      << "exchanged";
  EXPECT_EQ(problem({.cert_path = cert, .key_path = cert}),
            "client key " + cert + ": there is no PEM block of a PRIVATE KEY in it");
}

TEST_F(tls_files_test, certificate_and_key_belong_together) {
  EXPECT_EQ(problem({.cert_path = path("tls.crt")}), "client certificate " + path("tls.crt") + ": a client key belongs to it");
  EXPECT_EQ(problem({.key_path = path("tls.key")}), "client key " + path("tls.key") + ": a client certificate belongs to it");
}

}  // namespace
}  // namespace inferno::net

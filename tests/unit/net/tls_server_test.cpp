#include "net/tls_server.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "net/tls_context.hpp"
#include "tests/support/net_tls_pair.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::make_certificate;
using test::shake_hands;

tls_options identity(const certificate& c, const std::string& ca = {}) {
  tls_options out;
  out.cert_pem = c.cert_pem;
  out.key_pem = c.key_pem;
  out.ca_pem = ca;
  return out;
}

std::string problem(const tls_options& options) {
  const auto made = make_server_context(options);
  if (made) return "no problem";
  EXPECT_EQ(made.error().kind, error_kind::tls);
  return made.error().message;
}

std::unique_ptr<X509, void (*)(X509*)> parsed(const std::string& cert_pem) {
  const std::unique_ptr<BIO, void (*)(BIO*)> bio(::BIO_new_mem_buf(cert_pem.data(), static_cast<int>(cert_pem.size())),
                                                 ::BIO_free_all);
  std::unique_ptr<X509, void (*)(X509*)> out(::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), ::X509_free);
  if (!out) throw std::runtime_error("not a certificate");
  return out;
}

TEST(self_signed_test, is_for_its_names_and_no_others) {
  const auto made = make_certificate({"127.0.0.1", "::1", "localhost", "*.svc.example"});
  const auto cert = parsed(made.cert_pem);
  const auto host = [&](const char* name) { return ::X509_check_host(cert.get(), name, 0, 0, nullptr) == 1; };
  const auto ip = [&](const char* name) { return ::X509_check_ip_asc(cert.get(), name, 0) == 1; };
  EXPECT_TRUE(host("localhost"));
  EXPECT_TRUE(host("a.svc.example"));
  EXPECT_FALSE(host("svc.example"));
  EXPECT_FALSE(host("other"));
  EXPECT_TRUE(ip("127.0.0.1"));
  EXPECT_TRUE(ip("::1"));
  EXPECT_FALSE(ip("127.0.0.2"));
}

TEST(self_signed_test, is_valid_for_a_year_with_a_key_on_p256) {
  const std::chrono::system_clock::time_point now = std::chrono::sys_days(std::chrono::year(2031) / 5 / 6) + 7h;
  const auto made = self_signed_certificate({"a"}, now);
  ASSERT_TRUE(made) << made.error().message;
  const auto cert = parsed(made->cert_pem);
  const auto compared = [](const ASN1_TIME* t, std::chrono::system_clock::time_point to) {
    return ::ASN1_TIME_cmp_time_t(t, std::chrono::system_clock::to_time_t(to));
  };
  EXPECT_LT(compared(::X509_get0_notBefore(cert.get()), now), 0);
  EXPECT_GT(compared(::X509_get0_notBefore(cert.get()), now - 1h), 0);
  EXPECT_EQ(compared(::X509_get0_notAfter(cert.get()), now + 24h * 365), 0);
  char curve[32] = {};
  ASSERT_EQ(::EVP_PKEY_get_group_name(::X509_get0_pubkey(cert.get()), curve, sizeof curve, nullptr), 1);
  EXPECT_STREQ(curve, "prime256v1");
  EXPECT_EQ(::X509_check_ca(cert.get()), 0);
  EXPECT_EQ(::X509_self_signed(cert.get(), 1), 1);
  EXPECT_NE(made->key_pem.find("-----BEGIN PRIVATE KEY-----"), std::string::npos);
  EXPECT_NE(made->key_pem, make_certificate({"a"}).key_pem);
  EXPECT_NE(made->cert_pem, make_certificate({"a"}).cert_pem);
}

TEST(self_signed_test, says_what_is_no_name) {
  const auto message = [](std::vector<std::string> names) {
    const auto made = self_signed_certificate(std::move(names), std::chrono::system_clock::now());
    return made ? std::string("no problem") : made.error().message;
  };
  EXPECT_EQ(message({}), "self-signed certificate: a certificate needs a name");
  EXPECT_EQ(message({"good", "a,DNS:evil"}), "self-signed certificate: \"a,DNS:evil\" is neither a DNS name nor an IP address");
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("a\0b", 3), std::string(254, 'x')})
    EXPECT_NE(message({bad}), "no problem");
  EXPECT_EQ(message({std::string(200, 'x')}), "no problem") << "longer than a common name may be";
}

TEST(server_context_test, serves_a_client_that_trusts_the_certificate) {
  const auto made = make_certificate();
  const auto server = make_server_context(identity(made));
  ASSERT_TRUE(server) << server.error().message;
  tls_options trusting;
  trusting.ca_pem = made.cert_pem;
  auto outcome = shake_hands(**server, **make_client_context(trusting));
  EXPECT_EQ(outcome.client + outcome.server, "");
  EXPECT_EQ(outcome.protocol, "TLSv1.3");
  trusting.ca_pem = make_certificate().cert_pem;
  outcome = shake_hands(**server, **make_client_context(trusting));
  EXPECT_EQ(outcome.client, "certificate verify failed");
}

TEST(server_context_test, speaks_tls_1_2_and_nothing_older) {
  const auto server = make_server_context(identity(make_certificate()));
  ASSERT_TRUE(server) << server.error().message;
  const auto with = [&](int version) {
    // Otherwise OpenSSL's own defaults would keep such a client from asking at all.
    test::ssl::context client(test::ssl::context::tls_client);
    ::SSL_CTX_set_min_proto_version(client.native_handle(), version);
    ::SSL_CTX_set_max_proto_version(client.native_handle(), version);
    ::SSL_CTX_set_cipher_list(client.native_handle(), "ALL:@SECLEVEL=0");
    return shake_hands(**server, client);
  };
  EXPECT_EQ(with(TLS1_2_VERSION).client, "");
  EXPECT_EQ(with(TLS1_2_VERSION).server, "");
  for (const int old : {TLS1_VERSION, TLS1_1_VERSION}) {
    const auto outcome = with(old);
    EXPECT_EQ(outcome.server, "unsupported protocol");
    EXPECT_EQ(outcome.client, "tlsv1 alert protocol version");
  }
}

TEST(server_context_test, with_a_ca_asks_for_a_certificate_signed_by_it) {
  const auto own = make_certificate(), known = make_certificate({"client"}), unknown = make_certificate({"client"});
  const auto server = make_server_context(identity(own, known.cert_pem));
  ASSERT_TRUE(server) << server.error().message;
  const auto with = [&](const tls_options& options) { return shake_hands(**server, **make_client_context(options)); };
  auto outcome = with(identity(known, own.cert_pem));
  EXPECT_EQ(outcome.client + outcome.server, "");
  tls_options none;
  none.ca_pem = own.cert_pem;
  outcome = with(none);
  EXPECT_EQ(outcome.server, "peer did not return a certificate");
  EXPECT_EQ(outcome.client, "tlsv13 alert certificate required");
  EXPECT_EQ(with(identity(unknown, own.cert_pem)).server, "certificate verify failed");
  const auto expired = make_certificate({"client"}, 24h * 400);
  const auto careless = make_server_context(identity(own, expired.cert_pem));
  EXPECT_EQ(shake_hands(**careless, **make_client_context(identity(expired, own.cert_pem))).server, "certificate verify failed");
}

TEST(client_context_test, refuses_a_server_that_has_nothing_newer_than_tls_1_1) {
  const auto own = make_certificate();
  const auto with = [&](int version) {
    // All of OpenSSL's defaults, and what a system's configuration adds, that would refuse it too are off: our own word is left.
    const auto everything = [](test::ssl::context& context) {
      ::SSL_CTX_set_min_proto_version(context.native_handle(), 0);
      ::SSL_CTX_set_max_proto_version(context.native_handle(), 0);
      ::SSL_CTX_set_security_level(context.native_handle(), 0);
      ::SSL_CTX_set_cipher_list(context.native_handle(), "ALL:@SECLEVEL=0");
    };
    const auto client = make_client_context(identity(own, own.cert_pem));
    everything(**client);
    test::ssl::context server(test::ssl::context::tls_server);
    server.use_certificate_chain(boost::asio::buffer(own.cert_pem));
    server.use_private_key(boost::asio::buffer(own.key_pem), test::ssl::context::pem);
    everything(server);
    ::SSL_CTX_set_max_proto_version(server.native_handle(), version);
    return shake_hands(server, **client);
  };
  const auto newer = with(TLS1_2_VERSION);
  EXPECT_EQ(newer.client + newer.server, "");
  EXPECT_EQ(newer.protocol, "TLSv1.2");
  for (const int old : {TLS1_VERSION, TLS1_1_VERSION}) {
    const auto outcome = with(old);
    EXPECT_EQ(outcome.server, "unsupported protocol") << "not among those the client offers";
    EXPECT_EQ(outcome.client, "tlsv1 alert protocol version");
  }
}

TEST(server_context_test, lets_a_known_client_come_back_with_its_session) {
  const auto own = make_certificate(), known = make_certificate({"client"});
  const auto server = make_server_context(identity(own, known.cert_pem));
  const auto client = make_client_context(identity(known, own.cert_pem));
  ASSERT_TRUE(server && client);
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    ::SSL_CTX_set_max_proto_version((*client)->native_handle(), version);
    test::tls_session session;
    EXPECT_FALSE(shake_hands(**server, **client, &session).resumed);
    const auto again = shake_hands(**server, **client, &session);
    EXPECT_EQ(again.client + again.server, "");
    EXPECT_TRUE(again.resumed);
  }
}

TEST(server_context_test, says_what_it_cannot_use_and_not_what_is_in_it) {
  const auto one = make_certificate(), other = make_certificate();
  EXPECT_EQ(problem({}), "TLS: a server needs a certificate and its private key");
  EXPECT_EQ(problem(identity({one.cert_pem, ""})), "TLS: a server needs a certificate and its private key");
  EXPECT_EQ(problem(identity({one.cert_pem, other.key_pem})),
            "TLS: the server key cannot be used: key values mismatch (x509 certificate routines)");
  EXPECT_EQ(problem(identity({"nonsense", one.key_pem})).substr(0, 43), "TLS: the server certificate cannot be used:");
  EXPECT_EQ(problem(identity({one.cert_pem, "nonsense"})).substr(0, 35), "TLS: the server key cannot be used:");
  EXPECT_EQ(problem(identity(one, "nonsense")), "TLS: the CA bundle cannot be used: there is no PEM certificate in it");
}

TEST(server_context_test, does_not_ask_the_terminal_for_the_password_of_a_key) {
  const auto made = make_certificate();
  std::unique_ptr<BIO, void (*)(BIO*)> in(::BIO_new_mem_buf(made.key_pem.data(), static_cast<int>(made.key_pem.size())),
                                          ::BIO_free_all);
  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(::PEM_read_bio_PrivateKey(in.get(), nullptr, nullptr, nullptr),
                                                     ::EVP_PKEY_free);
  std::unique_ptr<BIO, void (*)(BIO*)> out(::BIO_new(::BIO_s_mem()), ::BIO_free_all);
  const char* password = "hunter2";
  ASSERT_EQ(::PEM_write_bio_PKCS8PrivateKey(out.get(), key.get(), ::EVP_aes_128_cbc(), password, 7, nullptr, nullptr), 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  const std::string locked(data, static_cast<std::size_t>(size));
  EXPECT_EQ(problem(identity({made.cert_pem, locked})).substr(0, 35), "TLS: the server key cannot be used:");
}

}  // namespace
}  // namespace inferno::net

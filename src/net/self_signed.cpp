#include <fmt/format.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <boost/asio/ip/address.hpp>

#include "net/tls_server.hpp"

namespace inferno::net {
namespace {

template <class T, void (*Free)(T*)>
struct freed {
  void operator()(T* p) const { Free(p); }
};
template <class T, void (*Free)(T*)>
using owned = std::unique_ptr<T, freed<T, Free>>;

using owned_cert = owned<X509, ::X509_free>;
using owned_key = owned<EVP_PKEY, ::EVP_PKEY_free>;
using owned_number = owned<BIGNUM, ::BN_free>;
using owned_bytes = owned<ASN1_STRING, ::ASN1_STRING_free>;
using owned_name = owned<GENERAL_NAME, ::GENERAL_NAME_free>;
using owned_names = owned<GENERAL_NAMES, ::GENERAL_NAMES_free>;
using owned_extension = owned<X509_EXTENSION, ::X509_EXTENSION_free>;
using owned_bio = owned<BIO, ::BIO_free_all>;

/// Thrown inside this file only.
struct refused {
  std::string message;
};

void must(bool done, const char* what) {
  if (!done) throw refused{fmt::format("OpenSSL cannot make {}", what)};
}

bool may_be_dns_name(std::string_view name) {
  constexpr std::string_view allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._*";
  return !name.empty() && name.size() <= 253 && name.find_first_not_of(allowed) == name.npos;
}

/// An entry of subjectAltName. Built, not written as OpenSSL's text form, in which a comma would begin another entry.
owned_name alternative_name(const std::string& name) {
  boost::system::error_code not_literal;
  const auto literal = boost::asio::ip::make_address(name, not_literal);
  const bool is_literal = !not_literal;
  if (!is_literal && !may_be_dns_name(name)) throw refused{fmt::format("\"{}\" is neither a DNS name nor an IP address", name)};
  std::string bytes = name;
  if (is_literal && literal.is_v4()) {
    const auto octets = literal.to_v4().to_bytes();
    bytes.assign(octets.begin(), octets.end());
  } else if (is_literal) {
    const auto octets = literal.to_v6().to_bytes();
    bytes.assign(octets.begin(), octets.end());
  }
  owned_bytes value(::ASN1_STRING_type_new(is_literal ? V_ASN1_OCTET_STRING : V_ASN1_IA5STRING));
  must(value && ::ASN1_STRING_set(value.get(), bytes.data(), static_cast<int>(bytes.size())) == 1, "a name");
  owned_name out(::GENERAL_NAME_new());
  must(out != nullptr, "a name");
  ::GENERAL_NAME_set0_value(out.get(), is_literal ? GEN_IPADD : GEN_DNS, value.release());
  return out;
}

void add_names(X509* cert, const std::vector<std::string>& names) {
  owned_names list(sk_GENERAL_NAME_new_null());
  must(list != nullptr, "a list of names");
  for (const auto& name : names) {
    auto entry = alternative_name(name);
    must(sk_GENERAL_NAME_push(list.get(), entry.get()) > 0, "a list of names");
    entry.release();
  }
  must(::X509_add1_ext_i2d(cert, NID_subject_alt_name, list.get(), 0, X509V3_ADD_DEFAULT) == 1, "the certificate's names");
}

void add_extension(X509* cert, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  ::X509V3_set_ctx(&context, cert, cert, nullptr, nullptr, 0);
  const owned_extension extension(::X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  must(extension && ::X509_add_ext(cert, extension.get(), -1) == 1, "an extension of the certificate");
}

/// Positive, as RFC 5280 wants it, and of its own: browsers remember serial numbers by issuer.
void set_serial(X509* cert) {
  const owned_number number(::BN_new());
  must(number && ::BN_rand(number.get(), 120, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1, "a serial number");
  must(::BN_to_ASN1_INTEGER(number.get(), ::X509_get_serialNumber(cert)) != nullptr, "a serial number");
}

template <class Write>
std::string pem(Write write) {
  const owned_bio bio(::BIO_new(::BIO_s_mem()));
  must(bio && write(bio.get()) == 1, "PEM text");
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

certificate make(const std::vector<std::string>& names, std::chrono::system_clock::time_point now) {
  if (names.empty()) throw refused{"a certificate needs a name"};
  const owned_key key(EVP_EC_gen("P-256"));
  must(key != nullptr, "a key");
  const owned_cert cert(::X509_new());
  must(cert && ::X509_set_version(cert.get(), X509_VERSION_3) == 1, "a certificate");
  set_serial(cert.get());
  // Clocks differ a little: somebody else's may be behind ours.
  const auto from = std::chrono::system_clock::to_time_t(now - std::chrono::minutes(5));
  const auto until = std::chrono::system_clock::to_time_t(now + std::chrono::days(365));
  must(::ASN1_TIME_set(::X509_getm_notBefore(cert.get()), from) && ::ASN1_TIME_set(::X509_getm_notAfter(cert.get()), until),
       "the time of validity");
  // A common name has 64 characters at most; nobody verifies by it any more.
  const std::string common = names.front().size() <= 64 ? names.front() : "inferno";
  auto* subject = ::X509_get_subject_name(cert.get());
  must(::X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common.data()),
                                    static_cast<int>(common.size()), -1, 0) == 1,
       "a subject");
  must(::X509_set_issuer_name(cert.get(), subject) == 1 && ::X509_set_pubkey(cert.get(), key.get()) == 1, "a certificate");
  add_names(cert.get(), names);
  add_extension(cert.get(), NID_basic_constraints, "critical,CA:FALSE");
  add_extension(cert.get(), NID_key_usage, "critical,digitalSignature");
  add_extension(cert.get(), NID_ext_key_usage, "serverAuth,clientAuth");
  add_extension(cert.get(), NID_subject_key_identifier, "hash");
  must(::X509_sign(cert.get(), key.get(), ::EVP_sha256()) > 0, "a signature");
  certificate out;
  out.cert_pem = pem([&](BIO* bio) { return ::PEM_write_bio_X509(bio, cert.get()); });
  out.key_pem =
      pem([&](BIO* bio) { return ::PEM_write_bio_PKCS8PrivateKey(bio, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
  return out;
}

}  // namespace

result<certificate> self_signed_certificate(std::vector<std::string> names, std::chrono::system_clock::time_point now) {
  try {
    return make(names, now);
  } catch (const refused& e) {
    ::ERR_clear_error();
    return fail(error_kind::tls, fmt::format("self-signed certificate: {}", e.message));
  }
}

}  // namespace inferno::net

#pragma once
// Both ends of a TLS handshake in memory: what a client says of a server's context, and the server of the client.
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <boost/asio/ssl/context.hpp>
#include <chrono>
#include <memory>
#include <string>

#include "net/tls_server.hpp"

namespace inferno::test {

namespace ssl = boost::asio::ssl;

inline net::certificate make_certificate(std::vector<std::string> names = {"127.0.0.1", "localhost"},
                                         std::chrono::hours age = std::chrono::hours(0)) {
  auto made = net::self_signed_certificate(std::move(names), std::chrono::system_clock::now() - age);
  if (!made) throw std::runtime_error(made.error().message);
  return std::move(*made);
}

/// How a handshake ended on each side: "" well, else why not.
struct handshake_outcome {
  std::string client, server, protocol;
  bool resumed = false;
};
using tls_session = std::shared_ptr<SSL_SESSION>;

/// `session`, if any: the one the client wants to resume, then the one it has got.
inline handshake_outcome shake_hands(ssl::context& server_context, ssl::context& client_context, tls_session* session = nullptr) {
  const std::unique_ptr<SSL, void (*)(SSL*)> server(::SSL_new(server_context.native_handle()), ::SSL_free);
  const std::unique_ptr<SSL, void (*)(SSL*)> client(::SSL_new(client_context.native_handle()), ::SSL_free);
  BIO *near = nullptr, *far = nullptr;
  if (!server || !client || ::BIO_new_bio_pair(&near, 0, &far, 0) != 1) throw std::runtime_error("out of memory");
  ::SSL_set_bio(server.get(), near, near);
  ::SSL_set_bio(client.get(), far, far);
  ::SSL_set_accept_state(server.get());
  ::SSL_set_connect_state(client.get());
  if (session && *session) ::SSL_set_session(client.get(), session->get());
  handshake_outcome out;
  const auto step = [](SSL* side, std::string& problem) {
    if (!problem.empty()) return;
    ::ERR_clear_error();
    // Reading, for a client learns only after its handshake that its certificate was refused.
    char byte = 0;
    const int n = ::SSL_read(side, &byte, 1);
    if (n > 0 || ::SSL_get_error(side, n) == SSL_ERROR_WANT_READ || ::SSL_get_error(side, n) == SSL_ERROR_WANT_WRITE) return;
    const char* words = ::ERR_reason_error_string(::ERR_get_error());
    problem = words ? words : "closed";
  };
  for (int i = 0; i < 10; ++i) {
    step(client.get(), out.client);
    step(server.get(), out.server);
  }
  out.protocol = ::SSL_get_version(client.get());
  out.resumed = ::SSL_session_reused(client.get()) == 1;
  // A connection that ends without a goodbye takes its session with it.
  ::SSL_set_shutdown(client.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  ::SSL_set_shutdown(server.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  if (session) *session = tls_session(::SSL_get1_session(client.get()), ::SSL_SESSION_free);
  return out;
}

}  // namespace inferno::test

// A client whose CA and certificate are in files that rotate.
#include <fmt/format.h>

#include "net/http/client.hpp"
#include "net/http/server.hpp"
#include "net/tls_context.hpp"
#include "tests/support/net_folder.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_tls_pair.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;
using test::make_certificate;

class client_certificate_files_test : public test::folder_fixture {
 protected:
  client_certificate_files_test() {
    http_server_config config;
    config.tls = [this] {
      tls_options own;
      own.cert_pem = served.cert_pem;
      own.key_pem = served.key_pem;
      own.ca_pem = client_ca;
      return make_server_context(own);
    };
    auto started = http_server::start(context.get_executor(), std::move(config), [](http_exchange& x) {
      std::string type = "text/plain", text = "ok";
      return x.respond(200, std::move(type), std::move(text), {});
    });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
  }
  void make_client(tls_options texts, tls_paths paths) {
    http_client_config config;
    config.request_timeout = 10s;
    config.tls = texts;
    config.tls_context = client_certificate_files(
        texts, paths, [this](std::string_view problem) { problems.emplace_back(problem); }, [this] { return now; });
    client = std::make_unique<http_client>(context.get_executor(), std::move(config));
  }
  std::string get() {
    http_request req;
    req.url = fmt::format("https://{}/", server->address());
    const auto r = test::run(context, client->request(std::move(req)));
    return r ? r->body : r.error().message;
  }

  asio::io_context context;
  certificate first = make_certificate(), second = make_certificate();
  certificate served = first;
  std::string client_ca;
  std::unique_ptr<http_server> server;
  std::unique_ptr<http_client> client;
  reloaded_context::clock::time_point now{1h};
  std::vector<std::string> problems;
};

TEST_F(client_certificate_files_test, a_new_ca_is_trusted_without_a_restart) {
  put("ca.crt", first.cert_pem);
  tls_options at_the_start;
  at_the_start.ca_pem = first.cert_pem;
  make_client(at_the_start, {.ca = path("ca.crt")});
  EXPECT_EQ(get(), "ok");
  served = second;
  swap("ca.crt", second.cert_pem);
  now += 1s;
  EXPECT_EQ(get(), "ok") << "the kept connection is of the old context and not used again";
  swap("ca.crt", "broken");
  now += 1s;
  EXPECT_EQ(get(), "ok");
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0], "CA certificate " + path("ca.crt") + ": there is no PEM block of a CERTIFICATE in it");
  served = first;
  server->drop_connections();
  now += 1s;
  EXPECT_NE(get(), "ok") << "the old CA is not trusted any more";
}

TEST_F(client_certificate_files_test, the_clients_own_certificate_is_rotated) {
  const auto mine = make_certificate({"client"}), newer = make_certificate({"client"});
  client_ca = mine.cert_pem;
  put("tls.crt", mine.cert_pem);
  put("tls.key", mine.key_pem);
  tls_options texts;
  texts.ca_pem = first.cert_pem;  // given as text: it stays
  make_client(texts, {.cert = path("tls.crt"), .key = path("tls.key")});
  EXPECT_EQ(get(), "ok");
  client_ca = newer.cert_pem;
  server->drop_connections();
  EXPECT_NE(get(), "ok");
  swap("tls.crt", newer.cert_pem);
  now += 1s;
  EXPECT_NE(get(), "ok") << "the certificate came before its key";
  swap("tls.key", newer.key_pem);
  now += 1s;
  EXPECT_EQ(get(), "ok");
}

}  // namespace
}  // namespace inferno::net

#include "net/metrics/prometheus_access.hpp"

#include <fstream>

#include "net/http/server.hpp"
#include "net/tls_server.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_tls_pair.hpp"
#include "tests/support/process.hpp"

namespace inferno::net::metrics {
namespace {

/// A Prometheus that wants clients with certificates of its own CA, and notes their tokens.
class prometheus_access_test : public ::testing::Test {
 protected:
  prometheus_access_test() : own(test::make_certificate()), mine(test::make_certificate()) {
    http_server_config config;
    config.tls = [this] {
      tls_options options;
      options.cert_pem = own.cert_pem;
      options.key_pem = own.key_pem;
      options.ca_pem = mine.cert_pem;
      return make_server_context(options);
    };
    auto started = http_server::start(context.get_executor(), config, [this](http_exchange& x) {
      tokens.emplace_back(x.header("Authorization"));
      return x.respond(200, "application/json", R"({"status":"success","data":{"resultType":"vector","result":[]}})", {});
    });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
    write("ca", own.cert_pem);
    write("cert", mine.cert_pem);
    write("key", mine.key_pem);
    access.url = "https://" + server->address();
    access.tls.ca_path = folder.file("ca");
    access.tls.cert_path = folder.file("cert");
    access.tls.key_path = folder.file("key");
  }
  ~prometheus_access_test() override {
    server->stop();
    context.restart();
    context.poll();
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder.file(name)) << text; }
  /// "" when it answered, else why not.
  std::string query() {
    auto client = connection.client(access);
    if (!client) return client.error().message;
    net::metrics::query_options options;
    const auto answer = test::run(context, client->query(
                                               "up", [](const auto&) {}, options));
    return answer ? "" : answer.error().message;
  }

  asio::io_context context;
  test::temp_folder folder;
  certificate own, mine;
  std::unique_ptr<http_server> server;
  prometheus_access access;
  prometheus_connection connection{context.get_executor(), http_client_config{}};
  std::vector<std::string> tokens;
};

TEST_F(prometheus_access_test, shows_its_certificate_and_verifies_the_servers) {
  EXPECT_EQ(query(), "");
  access.tls.cert_path = access.tls.key_path = "";
  EXPECT_NE(query(), "") << "the server wants a certificate";
}

TEST_F(prometheus_access_test, another_ca_is_refused_unless_told_to_skip) {
  write("other", test::make_certificate().cert_pem);
  access.tls.ca_path = folder.file("other");
  EXPECT_NE(query(), "");
  access.tls.insecure_skip_verify = true;
  EXPECT_EQ(query(), "");
}

TEST_F(prometheus_access_test, verifies_the_name_it_is_told) {
  access.tls.server_name = "prometheus.monitoring";
  EXPECT_NE(query(), "");
  access.tls.server_name = "localhost";
  EXPECT_EQ(query(), "");
}

TEST_F(prometheus_access_test, a_token_file_goes_before_the_token_and_is_read_again) {
  access.bearer_token = "of-the-setting";
  EXPECT_EQ(query(), "");
  write("token", "first\n");
  access.token_path = folder.file("token");
  EXPECT_EQ(query(), "");
  write("token", "the-second\n");
  EXPECT_EQ(query(), "");
  EXPECT_EQ(tokens, (std::vector<std::string>{"Bearer of-the-setting", "Bearer first", "Bearer the-second"}));
}

TEST_F(prometheus_access_test, files_that_change_are_read_again_and_bad_ones_change_nothing) {
  EXPECT_EQ(query(), "");
  write("cert", "nonsense");
  EXPECT_EQ(query(), "");
  EXPECT_NE(connection.problem().find(folder.file("cert")), std::string::npos) << connection.problem();
  mine = test::make_certificate();
  write("cert", mine.cert_pem);
  write("key", mine.key_pem);
  server->drop_connections();
  EXPECT_EQ(query(), "");
  EXPECT_EQ(connection.problem(), "");
}

TEST_F(prometheus_access_test, names_a_token_file_without_a_token) {
  access.token_path = folder.file("token");
  EXPECT_NE(query().find("bearer token " + folder.file("token")), std::string::npos) << query();
  write("token", "\n");
  EXPECT_NE(query().find("bearer token " + folder.file("token")), std::string::npos) << query();
  write("token", "the-token\n");
  EXPECT_EQ(query(), "");
  EXPECT_EQ(tokens, (std::vector<std::string>{"Bearer the-token"})) << "and nothing is asked without it";
}

TEST_F(prometheus_access_test, names_the_file_that_never_was_good) {
  access.tls.ca_path = folder.file("nowhere");
  EXPECT_NE(query().find("nowhere"), std::string::npos);
}

}  // namespace
}  // namespace inferno::net::metrics

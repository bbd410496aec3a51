// Who may read the endpoints, against an API server that knows two tokens.
#include "actors/http_auth.hpp"

#include <fmt/format.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::actors {
namespace {

namespace json = boost::json;
namespace asio = boost::asio;

/// "good" belongs to alice, who may get /metrics only; anything else to nobody.
std::string review(const std::string& path, const json::value& question) {
  if (path.find("tokenreviews") != std::string::npos) {
    const bool known = question.at("spec").at("token").as_string() == "good";
    return known ? R"({"status":{"authenticated":true,"user":{"username":"alice","uid":"1","groups":["readers"]}}})"
                 : R"({"status":{"authenticated":false}})";
  }
  const auto& spec = question.at("spec");
  const auto& attributes = spec.at("nonResourceAttributes");
  const bool may = spec.at("user").as_string() == "alice" && spec.at("groups").at(0).as_string() == "readers" &&
                   attributes.at("path").as_string() == "/metrics" && attributes.at("verb").as_string() == "get";
  return fmt::format(R"({{"status":{{"allowed":{}}}}})", may);
}

class http_auth_test : public ::testing::Test {
 protected:
  explicit http_auth_test(double unknown_per_second = 0) {
    auto started = net::http_server::start(context.get_executor(), {}, [this](net::http_exchange& x) {
      ++calls;
      const bool broken = failing;
      std::string body = broken ? "{}" : review(std::string(x.path()), json::parse(x.body()));
      return x.respond(broken ? 500 : 201, "application/json", std::move(body), {});
    });
    if (!started) throw std::runtime_error(started.error().message);
    server = std::move(*started);
    net::kube::connection api;
    api.url = "http://" + server->address();
    http_auth::settings settings;
    settings.now = [this] { return now; };
    settings.most_allowed = 2;
    settings.most_refused = 4;
    settings.most_pending = 6;
    settings.most_pending_of_peer = 3;
    const auto http = std::make_shared<net::http_client>(context.get_executor(), net::http_client_config{});
    auto slow = api;
    slow.qps = unknown_per_second;
    slow.burst = 4;
    auth.emplace(std::make_shared<net::kube::client>(http, slow), std::make_shared<net::kube::client>(http, api), settings);
  }
  ~http_auth_test() override {
    auth.reset();
    server->stop();
    context.restart();
    context.poll();
  }
  int check(std::string authorization, std::string path = "/metrics") {
    return test::run(context, auth->check(std::move(authorization), "get", std::move(path))).status;
  }

  asio::io_context context;
  std::unique_ptr<net::http_server> server;
  std::optional<http_auth> auth;
  http_auth::clock::time_point now{};
  int calls = 0;
  bool failing = false;
};

TEST_F(http_auth_test, asks_who_and_whether_he_may) {
  EXPECT_EQ(check("Bearer good"), 200);
  EXPECT_EQ(check("Bearer good", "/api/v1/variants"), 403);
  EXPECT_EQ(check("Bearer bad"), 401);
}

TEST_F(http_auth_test, without_a_bearer_token_nobody_is_asked) {
  for (const auto* header : {"", "Bearer ", "Bearer", "Basic Z29vZA==", "bearer good"}) EXPECT_EQ(check(header), 401) << header;
  EXPECT_EQ(calls, 0);
}

TEST_F(http_auth_test, of_what_cannot_be_a_token_nobody_is_asked) {
  for (const auto* header : {"Bearer \xff\xff", "Bearer two words", "Bearer \"quoted\"", "Bearer tab\t"})
    EXPECT_EQ(check(header), 401) << header;
  EXPECT_EQ(calls, 0);
}

TEST_F(http_auth_test, what_was_decided_holds_for_its_time) {
  EXPECT_EQ(check("Bearer good"), 200);
  EXPECT_EQ(calls, 2);
  now += std::chrono::seconds(59);
  EXPECT_EQ(check("Bearer good"), 200);
  EXPECT_EQ(calls, 2);
  now += std::chrono::seconds(1);
  EXPECT_EQ(check("Bearer good"), 200);
  EXPECT_EQ(calls, 4);
  EXPECT_EQ(check("Bearer bad"), 401);
  EXPECT_EQ(calls, 5);
  now += std::chrono::seconds(9);
  EXPECT_EQ(check("Bearer bad"), 401);
  EXPECT_EQ(calls, 5);
  now += std::chrono::seconds(1);
  EXPECT_EQ(check("Bearer bad"), 401);
  EXPECT_EQ(calls, 6);
}

TEST_F(http_auth_test, what_is_allowed_on_one_path_is_not_on_another) {
  EXPECT_EQ(check("Bearer good", "/metrics"), 200);
  EXPECT_EQ(check("Bearer good", "/metricsx"), 403);
}

TEST_F(http_auth_test, an_api_server_in_trouble_lets_nobody_in_and_is_asked_again) {
  failing = true;
  EXPECT_EQ(check("Bearer good"), 503);
  failing = false;
  EXPECT_EQ(check("Bearer good"), 200);
}

TEST_F(http_auth_test, many_wrong_tokens_do_not_displace_one_that_is_allowed) {
  EXPECT_EQ(check("Bearer good"), 200);
  for (int i = 0; i < 20; ++i) {
    now += std::chrono::milliseconds(1);
    EXPECT_EQ(check(fmt::format("Bearer {}", i)), 401);
  }
  calls = 0;
  EXPECT_EQ(check("Bearer good"), 200);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(check("Bearer 19"), 401);
  EXPECT_EQ(calls, 0);
  EXPECT_EQ(check("Bearer 0"), 401) << "the oldest refusal was forgotten";
  EXPECT_EQ(calls, 1);
}

/// One review of an unknown token in a quarter of an hour: whoever has to wait for one waits for the whole test.
class http_auth_flood_test : public http_auth_test {
 protected:
  http_auth_flood_test() : http_auth_test(0.001) {}
  ~http_auth_flood_test() override { context.stop(); }
  /// Returns when so many have been answered.
  void flood(int number, const std::string& peer, int answered) {
    for (int i = 0; i < number; ++i)
      asio::co_spawn(context, auth->check(fmt::format("Bearer {}-{}", peer, i), "get", "/metrics", peer),
                     [this](std::exception_ptr, http_auth::verdict v) { ++answers[v.status]; });
    test::run_until(context, [&] {
      int n = 0;
      for (const auto& [status, times] : answers) n += times;
      return n == answered;
    });
  }
  std::map<int, int> answers;
};

TEST_F(http_auth_flood_test, a_known_reader_does_not_wait_behind_wrong_tokens) {
  EXPECT_EQ(check("Bearer good"), 200);  // two of the burst of four
  flood(1000, "10.0.0.1", 999);
  EXPECT_EQ(answers[503], 997) << "more than the reviews under way is refused at once";
  for (int i = 0; i < 5; ++i) {
    now += std::chrono::seconds(60);
    const auto began = std::chrono::steady_clock::now();
    EXPECT_EQ(check("Bearer good"), 200) << "its refresh has a limit of its own";
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(1));
  }
}

TEST_F(http_auth_flood_test, one_peer_does_not_take_all_reviews) {
  flood(1000, "10.0.0.1", 1000);
  EXPECT_EQ(answers[401], 3) << "its three reviews are within the burst";
  EXPECT_EQ(check("Bearer new"), 401) << "another peer has its turn";
}

}  // namespace
}  // namespace inferno::actors

#include "net/metrics/prometheus.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::net::metrics {
namespace {

using namespace std::chrono_literals;
using test::raw_server;
using test::receive;
using test::send;
using test::tcp;

/// All the samples of an answer.
asio::awaitable<result<std::vector<vector_sample>>> all_of(prometheus_client& prometheus, std::string promql,
                                                           query_options options) {
  std::vector<vector_sample> out;
  const answer_reader::sink keep = [&out](const vector_sample& s) { out.push_back(s); };
  const auto done = co_await prometheus.query(std::move(promql), keep, std::move(options));
  if (!done) co_return tl::unexpected<error>(done.error());
  co_return out;
}

class prometheus_test : public ::testing::Test {
 protected:
  prometheus_test() {
    http_client_config config;
    config.connect_timeout = 5s;
    config.request_timeout = 5s;
    http = std::make_shared<http_client>(context.get_executor(), config);
  }
  /// What the client makes of this answer.
  result<std::vector<vector_sample>> answer_to(std::string status, std::string body) {
    raw_server server(context,
                      test::always(fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n\r\n{}", status, body.size(), body)));
    prometheus_client prometheus(http, server.url(""));
    address = server.address();
    return ask(prometheus, "up");
  }
  result<std::vector<vector_sample>> ask(prometheus_client& prometheus, std::string promql,
                                         std::optional<std::chrono::milliseconds> timeout = {}) {
    auto how = options;
    how.timeout = timeout;
    return test::run(context, all_of(prometheus, std::move(promql), std::move(how)));
  }
  error problem_of(std::string status, std::string body) {
    auto answer = answer_to(std::move(status), std::move(body));
    EXPECT_FALSE(answer);
    return answer ? error{} : answer.error();
  }

  asio::io_context context;
  std::shared_ptr<http_client> http;
  query_options options;
  std::string address;
};

std::string vector_of(std::string_view samples) {
  return fmt::format(R"({{"status":"success","data":{{"resultType":"vector","result":[{}]}}}})", samples);
}

TEST_F(prometheus_test, asks_by_post_with_the_query_escaped_and_the_newest_token) {
  std::vector<std::string> seen;
  raw_server server(context, [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    for (;;) {
      auto request = co_await receive(socket, held);
      if (request.empty()) co_return;
      seen.push_back(std::move(request));
      auto bytes = test::ok(vector_of(""));
      co_await send(socket, std::move(bytes));
    }
  });
  std::string token = "one";
  prometheus_client prometheus(http, server.url("/prometheus//"), [&] { return token; });
  ASSERT_TRUE(ask(prometheus, "sum by (a) (rate(x{m=\"a&b+c\"}[1m])) * 100%"));
  token = "two";
  ASSERT_TRUE(ask(prometheus, "up"));
  token = "";
  ASSERT_TRUE(ask(prometheus, "up", 2500ms));
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_EQ(seen[0].substr(0, seen[0].find('\r')), "POST /prometheus/api/v1/query HTTP/1.1");
  EXPECT_NE(seen[0].find("\r\nContent-Type: application/x-www-form-urlencoded\r\n"), std::string::npos);
  EXPECT_EQ(seen[0].substr(seen[0].find("\r\n\r\n") + 4),
            "query=sum%20by%20%28a%29%20%28rate%28x%7Bm%3D%22a%26b%2Bc%22%7D%5B1m%5D%29%29%20%2A%20100%25");
  EXPECT_NE(seen[0].find("\r\nAuthorization: Bearer one\r\n"), std::string::npos);
  EXPECT_NE(seen[1].find("\r\nAuthorization: Bearer two\r\n"), std::string::npos);
  EXPECT_EQ(seen[2].find("Authorization"), std::string::npos);
  EXPECT_EQ(seen[1].substr(seen[1].find("\r\n\r\n") + 4), "query=up");
  EXPECT_EQ(seen[2].substr(seen[2].find("\r\n\r\n") + 4), "query=up&timeout=2500ms");
}

TEST_F(prometheus_test, reads_an_instant_vector) {
  const auto answer =
      answer_to("200 OK", vector_of(R"({"metric":{"__name__":"up","pod":"a-0","q":"\"\u00e4"},)"
                                    R"("value":[1700000000.25,"1.5"]},{"metric":{},"value":[1700000001,"-3e2"]})"));
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->size(), 2u);
  EXPECT_EQ((*answer)[0].label("__name__"), "up");
  EXPECT_EQ((*answer)[0].label("pod"), "a-0");
  EXPECT_EQ((*answer)[0].label("q"), "\"\xC3\xA4");
  EXPECT_EQ((*answer)[0].label("absent"), "");
  EXPECT_EQ((*answer)[0].time_s, 1700000000.25);
  EXPECT_EQ((*answer)[0].value, 1.5);
  EXPECT_TRUE((*answer)[1].labels.empty());
  EXPECT_EQ((*answer)[1].time_s, 1700000001.0);
  EXPECT_EQ((*answer)[1].value, -300.0);
}

TEST_F(prometheus_test, an_empty_vector_is_an_answer) {
  const auto answer = answer_to("200 OK", vector_of(""));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(answer->empty());
}

TEST_F(prometheus_test, gives_nan_and_infinities_as_they_are) {
  const auto answer = answer_to("200 OK", vector_of(R"({"metric":{},"value":[1,"NaN"]},{"metric":{},"value":[1,"+Inf"]},)"
                                                    R"({"metric":{},"value":[1,"-Inf"]})"));
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->size(), 3u);
  EXPECT_TRUE(std::isnan((*answer)[0].value));
  EXPECT_EQ((*answer)[1].value, std::numeric_limits<double>::infinity());
  EXPECT_EQ((*answer)[2].value, -std::numeric_limits<double>::infinity());
}

TEST_F(prometheus_test, a_scalar_is_one_sample_without_labels) {
  const auto answer = answer_to("200 OK", R"({"status":"success","data":{"resultType":"scalar","result":[12.5,"7"]}})");
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->size(), 1u);
  EXPECT_TRUE((*answer)[0].labels.empty());
  EXPECT_EQ((*answer)[0].time_s, 12.5);
  EXPECT_EQ((*answer)[0].value, 7.0);
}

TEST_F(prometheus_test, warnings_are_no_errors) {
  const auto answer =
      answer_to("200 OK", R"({"status":"success","warnings":["partial"],"infos":[],"data":{"resultType":"vector","result":[]}})");
  EXPECT_TRUE(answer) << answer.error().message;
}

TEST_F(prometheus_test, its_own_errors_carry_type_and_message) {
  const auto bad = problem_of("400 Bad Request", R"({"status":"error","errorType":"bad_data","error":"1:4: parse error"})");
  EXPECT_EQ(bad.kind, error_kind::status);
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.message, "Prometheus at " + address + ": bad_data: 1:4: parse error");
  const auto slow =
      problem_of("503 Service Unavailable", R"({"status":"error","errorType":"timeout","error":"query timed out"})");
  EXPECT_EQ(slow.status, 503);
  EXPECT_EQ(slow.message, "Prometheus at " + address + ": timeout: query timed out");
  const auto odd = problem_of("200 OK", R"({"status":"error","errorType":"execution","error":"too many samples"})");
  EXPECT_EQ(odd.kind, error_kind::status);
  EXPECT_NE(odd.message.find("too many samples"), std::string::npos);
}

TEST_F(prometheus_test, other_bodies_of_failed_requests_leave_the_status) {
  for (const auto& [status, body] : {std::pair(500, "Internal Server Error"), std::pair(503, "<html>upstream</html>"),
                                     std::pair(401, ""), std::pair(404, R"({"message":"not here"})"), std::pair(502, "[]")}) {
    const auto e = problem_of(fmt::format("{} Failed", status), body);
    EXPECT_EQ(e.kind, error_kind::status);
    EXPECT_EQ(e.status, status);
    EXPECT_EQ(e.message, fmt::format("Prometheus at {}: HTTP status {}", address, status));
  }
}

TEST_F(prometheus_test, what_is_no_answer_is_a_decode_error) {
  for (const char* body : {"",
                           "not JSON",
                           "[]",
                           "null",
                           "{}",
                           R"({"status":"success"})",
                           R"({"status":"success","data":null})",
                           R"({"status":"success","data":{}})",
                           R"({"status":"success","data":{"resultType":"vector"}})",
                           R"({"status":"success","data":{"resultType":"vector","result":{}}})",
                           R"({"status":"other","data":{"resultType":"vector","result":[]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[]}} trailing)",
                           R"({"status":"success","data":{"resultType":"vector","result":[7]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{}}]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[{"value":[1,"2"]}]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":["1","2"]}]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"two"]}]}})",
                           R"({"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1]}]}})",
                           R"({"status":"success","data":{"resultType":"scalar","result":[]}})"}) {
    const auto e = problem_of("200 OK", body);
    EXPECT_EQ(e.kind, error_kind::decode) << body;
    EXPECT_EQ(e.message.substr(0, e.message.find(": ")), "Prometheus at " + address) << body;
  }
}

TEST_F(prometheus_test, a_query_of_another_kind_is_named) {
  const auto e = problem_of("200 OK", R"({"status":"success","data":{"resultType":"matrix","result":[]}})");
  EXPECT_EQ(e.kind, error_kind::decode);
  EXPECT_EQ(e.message, "Prometheus at " + address + ": expected an instant vector, got \"matrix\"");
}

std::string samples_of(int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += fmt::format(R"({}{{"metric":{{"pod":"p{}"}},"value":[1,"1"]}})", i > 0 ? "," : "", i);
  return out;
}

TEST_F(prometheus_test, an_answer_beyond_a_limit_is_refused_and_both_are_named) {
  options.limits = {100, 10000};
  EXPECT_TRUE(answer_to("200 OK", vector_of(samples_of(100))));
  const auto many = problem_of("200 OK", vector_of(samples_of(101)));
  EXPECT_EQ(many.kind, error_kind::too_large);
  EXPECT_EQ(many.message, "Prometheus at " + address + ": the answer has more than 100 samples, which is the limit");
  const auto large = vector_of(samples_of(400));
  const auto announced = problem_of("200 OK", large);
  EXPECT_EQ(announced.kind, error_kind::too_large);
  EXPECT_EQ(announced.message,
            fmt::format("Prometheus at {}: the answer has {} bytes, and 10000 is the limit", address, large.size()));
  const auto chunks = [&](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    co_await receive(socket, held);
    std::string bytes =
        fmt::format("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n", large.size(), large);
    co_await send(socket, std::move(bytes));
  };
  options.limits.samples = 1000;
  raw_server server(context, chunks);
  prometheus_client prometheus(http, server.url(""));
  const auto unannounced = ask(prometheus, "up");
  ASSERT_FALSE(unannounced);
  EXPECT_EQ(unannounced.error().kind, error_kind::too_large);
  EXPECT_NE(unannounced.error().message.find("bytes or more, and 10000 is the limit"), std::string::npos)
      << unannounced.error().message;
}

TEST_F(prometheus_test, what_no_prometheus_sends_is_refused_before_it_costs_memory) {
  const std::string long_value(5000, 'x'), deep(1000, '[');
  EXPECT_EQ(problem_of("200 OK", vector_of(R"({"metric":{"pod":")" + long_value + R"("},"value":[1,"1"]})")).kind,
            error_kind::too_large);
  std::string labels;
  for (int i = 0; i < 100; ++i) labels += fmt::format(R"({}"l{}":"v")", i > 0 ? "," : "", i);
  EXPECT_EQ(problem_of("200 OK", vector_of(R"({"metric":{)" + labels + R"(},"value":[1,"1"]})")).kind, error_kind::too_large);
  EXPECT_EQ(problem_of("200 OK", R"({"status":"success","more":)" + deep).kind, error_kind::decode);
  options.labels = {"job"};
  const auto kept = answer_to("200 OK", vector_of(R"({"metric":{"pod":")" + long_value + R"(","job":"j"},"value":[1,"1"]})"));
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->at(0).labels.size(), 1u) << "what nobody asked for is not kept";
  EXPECT_EQ(kept->at(0).label("job"), "j");
}

TEST_F(prometheus_test, order_and_what_else_there_is_do_not_matter) {
  const auto answer =
      answer_to("200 OK", R"({"data":{"stats":{"result":[[1]],"a":[{}]},"result":[{"value":[1,"2"],"exemplar":{"metric":{}},)"
                          R"("metric":{"pod":"a"}}],"resultType":"vector"},"infos":[{"data":{}}],"status":"success"})");
  ASSERT_TRUE(answer) << answer.error().message;
  ASSERT_EQ(answer->size(), 1u);
  EXPECT_EQ(answer->at(0).label("pod"), "a");
  EXPECT_EQ(answer->at(0).value, 2);
}

TEST_F(prometheus_test, an_answer_may_be_cut_anywhere) {
  const auto text =
      vector_of(R"({"metric":{"__name__":"up","q":"\"\u00e4"},"value":[1700000000.25,"1.5"]},{"metric":{},"value":[3,"-Inf"]})");
  for (std::size_t piece = 1; piece < text.size(); ++piece) {
    std::vector<vector_sample> seen;
    answer_reader reader("P", [&](const vector_sample& s) { seen.push_back(s); });
    for (std::size_t at = 0; at < text.size(); at += piece) {
      const auto fed = reader.feed(std::string_view(text).substr(at, piece));
      ASSERT_TRUE(fed) << fed.error().message;
    }
    const auto end = reader.finish(200);
    ASSERT_TRUE(end) << end.error().message;
    ASSERT_EQ(seen.size(), 2u);
    EXPECT_EQ(seen[0].label("q"), "\"\xC3\xA4");
    EXPECT_EQ(seen[0].time_s, 1700000000.25);
  }
}

TEST_F(prometheus_test, a_thread_of_its_own_parses_and_what_the_sink_throws_comes_back) {
  options.parser = std::make_shared<background_thread>(1);
  const auto here = std::this_thread::get_id();
  raw_server server(context, test::always(test::ok(vector_of(samples_of(3)))));
  prometheus_client prometheus(http, server.url(""));
  int seen = 0;
  answer_reader::sink take = [&](const vector_sample&) {
    EXPECT_NE(std::this_thread::get_id(), here);
    if (++seen == 5) throw std::bad_alloc();
  };
  EXPECT_TRUE(test::run(context, prometheus.query("up", take, options)));
  EXPECT_EQ(seen, 3);
  EXPECT_THROW((void)test::run(context, prometheus.query("up", take, options)), std::bad_alloc);
  options.parser->stop();
}

TEST_F(prometheus_test, a_query_is_sent_again_when_the_idle_connection_was_closed) {
  // A query may be repeated though it is a POST.
  raw_server server(context, [](tcp::socket& socket, int) -> asio::awaitable<void> {
    std::string held;
    co_await receive(socket, held);
    auto bytes = test::ok(vector_of(""));
    co_await send(socket, std::move(bytes));
    co_await receive(socket, held);
  });
  prometheus_client prometheus(http, server.url(""));
  for (int i = 0; i < 3; ++i) {
    const auto answer = ask(prometheus, "up");
    ASSERT_TRUE(answer) << answer.error().message;
  }
  EXPECT_EQ(server.connections(), 3);
}

TEST_F(prometheus_test, says_that_nobody_answers) {
  unsigned short port = 0;
  {
    tcp::acceptor brief(context, tcp::endpoint(asio::ip::make_address("127.0.0.1"), 0));
    port = brief.local_endpoint().port();
  }
  prometheus_client prometheus(http, fmt::format("http://127.0.0.1:{}", port));
  const auto answer = ask(prometheus, "up");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().kind, error_kind::connect);
  prometheus_client nowhere(http, "prometheus:9090");
  const auto refused = ask(nowhere, "up");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, error_kind::address);
}

}  // namespace
}  // namespace inferno::net::metrics

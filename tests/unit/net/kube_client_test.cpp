#include <fmt/format.h>
#include <gmock/gmock.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "net/kube/client.hpp"
#include "tests/support/net_io.hpp"
#include "tests/support/net_raw_client.hpp"

namespace inferno::net::kube {
namespace {

using namespace std::chrono_literals;
using test::body_of;
using test::first_line;
using test::raw_server;
using test::tcp;

/// Answers every request with the next of `answers`, the last one again and again; keeps what was asked.
class kube_client_test : public ::testing::Test {
 protected:
  kube_client_test() {
    http_client_config config;
    config.connect_timeout = 5s;
    config.request_timeout = 5s;
    connection conn;
    conn.url = server.url("/");
    conn.bearer_token = [this] { return token; };
    api = std::make_unique<client>(std::make_shared<http_client>(context.get_executor(), config), std::move(conn));
  }
  asio::awaitable<void> serve(tcp::socket& socket) {
    std::string held;
    for (;;) {
      auto request = co_await test::receive(socket, held);
      if (request.empty()) co_return;
      asked.push_back(std::move(request));
      auto bytes = answers.front();
      if (answers.size() > 1) answers.erase(answers.begin());
      if (!co_await test::send(socket, std::move(bytes))) co_return;
    }
  }
  void answer(std::string body) { answers = {test::ok(body)}; }
  void answer(int status, std::string body, std::string_view headers = {}) {
    answers = {fmt::format("HTTP/1.1 {} X\r\n{}Content-Length: {}\r\n\r\n{}", status, headers, body.size(), body)};
  }
  template <class T>
  T run(asio::awaitable<T> work) {
    return test::run(context, std::move(work));
  }
  error problem_of_get() {
    auto got = run(api->get(resources::pods, {"ns", "p"}));
    EXPECT_FALSE(got);
    return got ? error{} : got.error();
  }
  /// "METHOD target" of the last request.
  std::string line() const { return asked.empty() ? "" : first_line(asked.back()); }
  bool last_had(const std::string& header) const { return asked.back().find("\r\n" + header + "\r\n") != std::string::npos; }

  asio::io_context context;
  raw_server server{context, [this](tcp::socket& socket, int) { return serve(socket); }};
  std::string token = "t1";
  std::vector<std::string> asked, answers{test::ok("{}")};
  std::unique_ptr<client> api;
};

json::object object(std::string_view text) { return json::parse(json::string_view(text.data(), text.size())).as_object(); }

TEST_F(kube_client_test, knows_where_every_resource_is) {
  const std::pair<const resource*, const char*> places[] = {
      {&resources::pods, "/api/v1/namespaces/ns/pods/x"},
      {&resources::configmaps, "/api/v1/namespaces/ns/configmaps/x"},
      {&resources::events, "/api/v1/namespaces/ns/events/x"},
      {&resources::nodes, "/api/v1/nodes/x"},
      {&resources::namespaces, "/api/v1/namespaces/x"},
      {&resources::deployments, "/apis/apps/v1/namespaces/ns/deployments/x"},
      {&resources::replicasets, "/apis/apps/v1/namespaces/ns/replicasets/x"},
      {&resources::leases, "/apis/coordination.k8s.io/v1/namespaces/ns/leases/x"},
      {&resources::variantautoscalings, "/apis/llmd.ai/v1alpha1/namespaces/ns/variantautoscalings/x"},
      {&resources::crds, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/x"}};
  for (const auto& [res, path] : places) {
    ASSERT_TRUE(run(api->get(*res, {"ns", "x"})));
    EXPECT_EQ(line(), fmt::format("GET {} HTTP/1.1", path));
    EXPECT_FALSE(res->kind.empty());
  }
  ASSERT_TRUE(run(api->get(resources::pods, {"n/s", "a b?c"})));
  EXPECT_EQ(line(), "GET /api/v1/namespaces/n%2Fs/pods/a%20b%3Fc HTTP/1.1");
}

TEST_F(kube_client_test, asks_for_json_with_the_newest_token) {
  ASSERT_TRUE(run(api->get(resources::pods, {"ns", "x"})));
  EXPECT_TRUE(last_had("Accept: application/json"));
  EXPECT_TRUE(last_had("Authorization: Bearer t1"));
  token = "t2";
  ASSERT_TRUE(run(api->get(resources::pods, {"ns", "x"})));
  EXPECT_TRUE(last_had("Authorization: Bearer t2"));
  token = "";
  ASSERT_TRUE(run(api->get(resources::pods, {"ns", "x"})));
  EXPECT_EQ(asked.back().find("Authorization"), std::string::npos);
}

TEST_F(kube_client_test, lists_page_by_page) {
  answers = {test::ok(R"({"metadata":{"resourceVersion":"10","continue":"a/b=="},"items":[{"n":1},{"n":2}]})"),
             test::ok(R"({"metadata":{"resourceVersion":"10"},"items":[{"n":3}]})")};
  list_options options;
  options.ns = "ns";
  options.label_selector = "app in (a,b),!x";
  options.field_selector = "status.phase!=Failed";
  options.limit = 2;
  const auto first = run(api->list(resources::pods, options));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(line(),
            "GET /api/v1/namespaces/ns/pods?labelSelector=app%20in%20%28a%2Cb%29%2C%21x&fieldSelector=status.phase%21%3DFailed"
            "&limit=2 HTTP/1.1");
  EXPECT_EQ(first->items.size(), 2u);
  EXPECT_EQ(first->resource_version, "10");
  EXPECT_EQ(first->next, "a/b==");
  options.label_selector = options.field_selector = "";
  const auto second = run(api->list(resources::pods, options, first->next));
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(line(), "GET /api/v1/namespaces/ns/pods?limit=2&continue=a%2Fb%3D%3D HTTP/1.1");
  ASSERT_EQ(second->items.size(), 1u);
  EXPECT_EQ(second->items[0].at("n"), 3);
  EXPECT_EQ(second->next, "");
  list_options all;
  all.limit = 0;
  ASSERT_TRUE(run(api->list(resources::deployments, all)));
  EXPECT_EQ(line(), "GET /apis/apps/v1/deployments HTTP/1.1");
}

TEST_F(kube_client_test, an_empty_list_may_be_null_but_not_absent) {
  answer(R"({"metadata":{"resourceVersion":"3"},"items":null})");
  const auto none = run(api->list(resources::pods, {}));
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_TRUE(none->items.empty());
  EXPECT_EQ(none->resource_version, "3");
  for (const char* bad : {"{}", R"({"items":{}})", R"({"items":[{},7]})", "[]", "nonsense"}) {
    answer(bad);
    const auto refused = run(api->list(resources::pods, {}));
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().kind, error_kind::decode);
    EXPECT_EQ(refused.error().message.substr(0, 11), "list pods: ") << refused.error().message;
  }
}

TEST_F(kube_client_test, creates_replaces_and_removes) {
  answer(201, R"({"metadata":{"uid":"u"}})");
  const auto created = run(api->create(resources::leases, "ns", object(R"({"a":1})")));
  ASSERT_TRUE(created) << created.error().message;
  EXPECT_EQ(created->at("metadata").at("uid"), "u");
  EXPECT_EQ(line(), "POST /apis/coordination.k8s.io/v1/namespaces/ns/leases HTTP/1.1");
  EXPECT_TRUE(last_had("Content-Type: application/json"));
  EXPECT_EQ(body_of(asked.back()), R"({"a":1})");
  ASSERT_TRUE(run(api->replace(resources::variantautoscalings, {"ns", "v"}, object(R"({"b":2})"), "status")));
  EXPECT_EQ(line(), "PUT /apis/llmd.ai/v1alpha1/namespaces/ns/variantautoscalings/v/status HTTP/1.1");
  EXPECT_TRUE(last_had("Content-Type: application/json"));
  EXPECT_EQ(body_of(asked.back()), R"({"b":2})");
  answer(R"({"kind":"Status","status":"Success"})");
  ASSERT_TRUE(run(api->remove(resources::pods, {"ns", "p"})));
  EXPECT_EQ(line(), "DELETE /api/v1/namespaces/ns/pods/p HTTP/1.1");
}

TEST_F(kube_client_test, patches_with_the_content_type_of_each_kind) {
  const auto merge = json::parse(R"({"spec":{"replicas":3}})");
  ASSERT_TRUE(run(api->patch(resources::deployments, {"ns", "d"}, merge)));
  EXPECT_EQ(line(), "PATCH /apis/apps/v1/namespaces/ns/deployments/d HTTP/1.1");
  EXPECT_TRUE(last_had("Content-Type: application/merge-patch+json"));
  EXPECT_EQ(body_of(asked.back()), R"({"spec":{"replicas":3}})");
  ASSERT_TRUE(run(api->patch(resources::deployments, {"ns", "d"}, merge, patch_type::strategic_merge)));
  EXPECT_TRUE(last_had("Content-Type: application/strategic-merge-patch+json"));
  const auto ops = json::parse(R"([{"op":"remove","path":"/a"}])");
  ASSERT_TRUE(run(api->patch(resources::deployments, {"ns", "d"}, ops, patch_type::json_patch)));
  EXPECT_TRUE(last_had("Content-Type: application/json-patch+json"));
  EXPECT_EQ(body_of(asked.back()), R"([{"op":"remove","path":"/a"}])");
}

TEST_F(kube_client_test, reaches_scale_and_status) {
  answer(R"({"kind":"Scale","spec":{"replicas":2}})");
  const auto scale = run(api->get(resources::deployments, {"ns", "d"}, "scale"));
  ASSERT_TRUE(scale) << scale.error().message;
  EXPECT_EQ(line(), "GET /apis/apps/v1/namespaces/ns/deployments/d/scale HTTP/1.1");
  EXPECT_EQ(scale->at("spec").at("replicas"), 2);
  const auto three = json::parse(R"({"spec":{"replicas":3}})");
  ASSERT_TRUE(run(api->patch(resources::deployments, {"ns", "d"}, three, patch_type::merge, "scale")));
  EXPECT_EQ(line(), "PATCH /apis/apps/v1/namespaces/ns/deployments/d/scale HTTP/1.1");
  ASSERT_TRUE(run(api->patch(resources::variantautoscalings, {"ns", "v"}, json::parse("{}"), patch_type::merge, "status")));
  EXPECT_EQ(line(), "PATCH /apis/llmd.ai/v1alpha1/namespaces/ns/variantautoscalings/v/status HTTP/1.1");
}

TEST_F(kube_client_test, an_api_error_has_the_message_of_its_status) {
  const auto status = [](int code, const char* text) {
    return fmt::format(R"({{"kind":"Status","status":"Failure","message":"{}","code":{}}})", text, code);
  };
  answer(404, status(404, "pods \\\"p\\\" not found"));
  auto e = problem_of_get();
  EXPECT_EQ(e.kind, error_kind::status);
  EXPECT_EQ(e.status, 404);
  EXPECT_EQ(e.message, "pods \"p\" not found");
  EXPECT_FALSE(e.retry_after);
  answer(409, status(409, "the object has been modified"));
  const auto conflict = run(api->replace(resources::leases, {"ns", "l"}, {}));
  ASSERT_FALSE(conflict);
  EXPECT_EQ(conflict.error().status, 409);
  EXPECT_EQ(conflict.error().message, "the object has been modified");
  answer(403, "forbidden: User cannot");
  e = problem_of_get();
  EXPECT_EQ(e.status, 403);
  EXPECT_EQ(e.message, "get pods ns/p: HTTP status 403");
  const auto kept = run(api->remove(resources::pods, {"ns", "p"}));
  ASSERT_FALSE(kept);
  EXPECT_EQ(kept.error().message, "delete pods ns/p: HTTP status 403");
}

TEST_F(kube_client_test, reads_retry_after_in_seconds_or_as_a_date) {
  const auto after = [&](const char* value) {
    answer(429, "{}", fmt::format("Retry-After: {}\r\n", value));
    return problem_of_get().retry_after;
  };
  EXPECT_EQ(after("7"), std::chrono::milliseconds(7000));
  EXPECT_EQ(after("0"), std::chrono::milliseconds(0));
  EXPECT_EQ(after("999999"), std::chrono::milliseconds(60000)) << "a minute at most";
  EXPECT_EQ(after("Sun, 06 Nov 1994 08:49:37 GMT"), std::chrono::milliseconds(0));
  EXPECT_EQ(after("Fri, 31 Dec 2255 23:59:59 GMT"), std::chrono::milliseconds(60000));
  for (const char* bad : {"soon", "-1", "1.5", "7 s"}) EXPECT_FALSE(after(bad)) << bad;
}

TEST_F(kube_client_test, what_is_no_object_is_a_decode_error) {
  for (const char* bad : {"", "[]", "<html>", "{} {}"}) {
    answer(bad);
    const auto e = problem_of_get();
    EXPECT_EQ(e.kind, error_kind::decode) << bad;
    EXPECT_EQ(e.message.substr(0, 15), "get pods ns/p: ");
  }
}

TEST_F(kube_client_test, opens_a_watch) {
  answers = {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"};
  list_options options;
  options.ns = "ns";
  options.label_selector = "a=b";
  auto watch = run(api->open_watch(resources::pods, options, "41", 300s));
  ASSERT_TRUE(watch) << watch.error().message;
  EXPECT_EQ(line(),
            "GET /api/v1/namespaces/ns/pods?watch=true&labelSelector=a%3Db&allowWatchBookmarks=true&resourceVersion=41"
            "&timeoutSeconds=300 HTTP/1.1");
  const auto part = run((*watch)->read_some(5000ms));
  ASSERT_TRUE(part) << part.error().message;
  EXPECT_EQ(*part, "abc");
  const auto end = run((*watch)->read_some(5000ms));
  ASSERT_TRUE(end) << end.error().message;
  EXPECT_EQ(*end, std::nullopt);
}

TEST_F(kube_client_test, a_refused_watch_has_the_message_of_its_status) {
  answer(410, R"({"kind":"Status","message":"too old resource version: 1","code":410})", "Retry-After: 2\r\n");
  const auto watch = run(api->open_watch(resources::pods, {}, "1", 300s));
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().kind, error_kind::status);
  EXPECT_EQ(watch.error().status, 410);
  EXPECT_EQ(watch.error().message, "too old resource version: 1");
  EXPECT_EQ(watch.error().retry_after, std::chrono::milliseconds(2000));
}

class kube_limit_test : public kube_client_test {
 protected:
  /// One request at once, and then one in about a quarter of an hour.
  kube_limit_test() {
    http_client_config config;
    config.connect_timeout = 5s;
    config.request_timeout = 5s;
    connection conn;
    conn.url = server.url("/");
    conn.qps = 0.001;
    conn.burst = 1;
    conn.bearer_token = [this] { return token; };
    api = std::make_unique<client>(std::make_shared<http_client>(context.get_executor(), config), std::move(conn));
  }
  template <class T>
  void begin(asio::awaitable<T> work) {
    asio::co_spawn(context, std::move(work), [this](std::exception_ptr, T r) {
      ++ended;
      if (!r) problems.push_back(r.error().message);
    });
    run_turns();
  }
  void run_turns() { test::run(context, test::yield_turns(60)); }

  int ended = 0;
  std::vector<std::string> problems;
};

TEST_F(kube_limit_test, every_kind_of_request_waits_for_its_turn) {
  answer(R"({"items":[]})");
  const json::object object;
  const object_key key{"ns", "x"};
  const std::function<void()> requests[] = {
      [&] { begin(api->get(resources::pods, key)); },
      [&] { begin(api->list(resources::pods, {})); },
      [&] { begin(api->create(resources::pods, "ns", object)); },
      [&] { begin(api->replace(resources::pods, key, object)); },
      [&] { begin(api->patch(resources::pods, key, object)); },
      [&] { begin(api->remove(resources::pods, key)); },
      [&] { begin(api->get_path("/version")); },
  };
  ASSERT_TRUE(run(api->get(resources::pods, key))) << "the burst";
  for (const auto& request : requests) request();
  EXPECT_EQ(ended, 0);
  EXPECT_EQ(asked.size(), 1u);
}

TEST_F(kube_limit_test, watches_and_leases_do_not) {
  ASSERT_TRUE(run(api->get(resources::pods, {"ns", "x"})));
  begin(api->get(resources::pods, {"ns", "x"}));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(run(api->get(resources::leases, {"ns", "l"})));
    ASSERT_TRUE(run(api->create(resources::leases, "ns", {})));
    ASSERT_TRUE(run(api->replace(resources::leases, {"ns", "l"}, {})));
    ASSERT_TRUE(run(api->open_watch(resources::pods, {}, "1", 300s)));
  }
  EXPECT_EQ(asked.size(), 13u);
  EXPECT_EQ(ended, 0);
}

TEST_F(kube_limit_test, what_waits_is_sent_in_the_order_of_asking_and_with_the_newest_token) {
  connection conn;
  conn.url = server.url("/");
  conn.qps = 500;
  conn.burst = 1;
  conn.bearer_token = [this] { return token + std::to_string(asked.size()); };
  http_client_config config;
  config.max_idle_per_origin = 1;
  api = std::make_unique<client>(std::make_shared<http_client>(context.get_executor(), config), std::move(conn));
  for (int i = 0; i < 10; ++i) begin(api->get(resources::pods, {"ns", std::to_string(i)}));
  api.reset();  // those who wait go on without it
  test::run_until(context, [&] { return ended == 10; });
  EXPECT_TRUE(problems.empty()) << problems.front();
  for (std::size_t i = 0; i < asked.size(); ++i)
    EXPECT_EQ(first_line(asked[i]), fmt::format("GET /api/v1/namespaces/ns/pods/{} HTTP/1.1", i));
}

TEST_F(kube_limit_test, a_write_is_guarded_after_its_wait) {
  bool closed = false;
  connection conn;
  conn.url = server.url("/");
  conn.qps = 4;
  conn.burst = 1;
  api = std::make_unique<client>(std::make_shared<http_client>(context.get_executor(), http_client_config()), std::move(conn));
  api->guard_writes([&](const resource& res) -> result<std::shared_ptr<void>> {
    if (!closed || res == resources::leases) return nullptr;
    return fail(error_kind::cancelled, "closed");
  });
  ASSERT_TRUE(run(api->create(resources::pods, "ns", {})));
  begin(api->create(resources::pods, "ns", {}));
  closed = true;
  test::run_until(context, [&] { return ended == 1; });
  EXPECT_EQ(problems, std::vector<std::string>{"closed"});
  EXPECT_TRUE(run(api->replace(resources::leases, {"ns", "l"}, {})));
  EXPECT_EQ(asked.size(), 2u);
}

TEST(kube_time_test, is_written_as_kubernetes_does) {
  using namespace std::chrono;
  const system_clock::time_point t = sys_days(2026y / 1 / 2) + 3h + 4min + 5s + 67890us;
  EXPECT_EQ(format_time(t), "2026-01-02T03:04:05Z");
  EXPECT_EQ(format_micro_time(t), "2026-01-02T03:04:05.067890Z");
  EXPECT_EQ(format_micro_time(floor<seconds>(t)), "2026-01-02T03:04:05.000000Z");
  EXPECT_EQ(format_time(sys_days(2024y / 2 / 29) + 23h + 59min + 59s + 999ms), "2024-02-29T23:59:59Z");
  EXPECT_EQ(format_micro_time(system_clock::time_point(-1us)), "1969-12-31T23:59:59.999999Z");
}

}  // namespace
}  // namespace inferno::net::kube

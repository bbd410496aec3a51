// What becomes of a deleted pod and of the requests it has: its grace period.
#include <future>

#include "testbed/load/load_generator.hpp"
#include "testbed/load/pod_targets.hpp"
#include "testbed/vllm/vllm_runtime.hpp"
#include "tests/support/wait.hpp"
#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

const std::string pod = "/api/v1/namespaces/default/pods/p";

class PodDeletion : public cluster_test {
 protected:
  PodDeletion() {
    cluster_config config;
    config.start_delay = 20ms;
    config.runtime = runtime;
    start(std::move(config));
    apply("apiVersion: v1\nkind: Node\nmetadata: {name: n}\n");
  }
  /// The cluster goes first: nothing but this test may be the last to hold the host of the servers.
  ~PodDeletion() override { cluster.reset(); }
  /// A pod whose requests take 20 ms for each of `tokens`.
  void run_pod(int tokens, const std::string& more = {}) {
    apply(fmt::format(R"(apiVersion: v1
kind: Pod
metadata: {{name: p, namespace: default, labels: {{app: p}}}}
spec:
  {}
  containers:
  - name: server
    image: vllm
    env: [{{name: MODEL_NAME, value: m}}, {{name: DECODE_TIME, value: "20"}}, {{name: AVG_TOKENS, value: "{}"}},
          {{name: TOKENS_DISTRIBUTION, value: deterministic}}]
    ports: [{{name: http, containerPort: 8000}}]
)",
                      more, tokens));
    ASSERT_TRUE(eventually(pod, [](const api_reply& r) { return ready_url(r.object).has_value(); }));
  }
  net::result<net::http_response> fetch(const std::string& url) {
    net::http_request r;
    r.url = url;
    return test::run(context, http.request(std::move(r)));
  }
  /// Sends one completion and comes back when the server has begun with it.
  std::unique_ptr<load_generator> send_one() {
    load_config load;
    load.targets = [url = *ready_url(get(pod).object)] { return std::vector<std::string>{url}; };
    load.model = "m";
    load.mode = arrival_mode::deterministic;
    load.phases = {{1.5, 60}};  // one, after a second; nothing else is due before the end
    load.content_length = 3;
    auto out = std::make_unique<load_generator>(where->io().executor(), load);
    out->start();
    const auto begun = "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 1";
    const auto limit = std::chrono::steady_clock::now() + 20s;
    while (fetch(url_ + "/metrics").value().body.find(begun) == std::string::npos)
      if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("the request has not arrived");
    return out;
  }
  /// How the one request has ended.
  static load_statistics end_of(const load_generator& load) {
    EXPECT_TRUE(test::eventually(30s, [&] { return load.statistics().ended() > 0; }));
    return load.statistics();
  }
  void note_url() { url_ = *ready_url(get(pod).object); }

  std::shared_ptr<host> where = std::make_shared<host>();
  std::shared_ptr<vllm_runtime> runtime = std::make_shared<vllm_runtime>(where);
  std::string url_;
};

TEST_F(PodDeletion, FinishesTheRequestsItHas) {
  run_pod(150);  // 3 s
  note_url();
  const auto load = send_one();
  const auto asked = std::chrono::system_clock::now();
  const auto deleted = call("DELETE", pod);
  EXPECT_EQ(deleted.status, 200);
  EXPECT_EQ(deleted.number({"metadata", "deletionGracePeriodSeconds"}), 30);
  const auto end = net::kube::parse_time(deleted.at({"metadata", "deletionTimestamp"}));
  ASSERT_TRUE(end);
  EXPECT_GE(*end, asked + 28s) << "when it will be gone, not when it was asked for";
  // At once no endpoint any more, and no new requests.
  ASSERT_TRUE(
      eventually(pod, [](const api_reply& r) { return r.text.find(R"("type":"Ready","status":"False")") != std::string::npos; }));
  EXPECT_EQ(get(pod).at({"status", "phase"}), "Running");
  EXPECT_TRUE(runtime->urls().empty());
  const auto refused = fetch(url_ + "/health");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, net::error_kind::connect) << refused.error().message;
  EXPECT_EQ(load->statistics().ended(), 0) << "the request is under way";
  EXPECT_NE(get(pod + "/log").text.find("shutting down"), std::string::npos);
  EXPECT_EQ(end_of(*load).ok, 1) << load->statistics().first_error;
  EXPECT_TRUE(eventually(pod, [](const api_reply& r) { return r.status == 404; })) << "long before the 30 s are over";
  EXPECT_LT(std::chrono::system_clock::now(), asked + 25s);
}

TEST_F(PodDeletion, IsKilledWhenItsTimeIsOver) {
  run_pod(2000, "terminationGracePeriodSeconds: 1");  // 40 s
  note_url();
  const auto load = send_one();
  EXPECT_EQ(call("DELETE", pod).number({"metadata", "deletionGracePeriodSeconds"}), 1);
  EXPECT_EQ(end_of(*load).failed, 1);
  EXPECT_TRUE(eventually(pod, [](const api_reply& r) { return r.status == 404; }));
}

TEST_F(PodDeletion, ASecondRequestMayShortenTheTime) {
  run_pod(2000);
  note_url();
  const auto load = send_one();
  EXPECT_EQ(call("DELETE", pod + "?gracePeriodSeconds=20").number({"metadata", "deletionGracePeriodSeconds"}), 20);
  EXPECT_EQ(call("DELETE", pod + "?gracePeriodSeconds=60").number({"metadata", "deletionGracePeriodSeconds"}), 20);
  EXPECT_EQ(load->statistics().ended(), 0);
  const auto asked = std::chrono::steady_clock::now();
  EXPECT_EQ(call("DELETE", pod, R"({"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0})").status, 200);
  EXPECT_EQ(get(pod).status, 404);
  EXPECT_EQ(end_of(*load).failed, 1);
  EXPECT_LT(std::chrono::steady_clock::now() - asked, 15s);
  expect_status(call("DELETE", pod + "?gracePeriodSeconds=soon"), 400, "BadRequest",
                "gracePeriodSeconds: expected a whole number");
}

TEST_F(PodDeletion, ItsLogHasItsRequests) {
  run_pod(3);
  note_url();
  load_config load;
  load.targets = [this] { return std::vector<std::string>{url_}; };
  load.model = "m";
  load.phases = {{0.1, 1200}};
  load.mode = arrival_mode::deterministic;
  load.content_length = 3;
  load_generator one(where->io().executor(), load);
  one.start();
  ASSERT_EQ(end_of(one).ok, 1);
  EXPECT_TRUE(eventually(pod + "/log", [](const api_reply& r) {
    return r.text.find("POST /v1/chat/completions 200: 3 prompt and 3 output tokens in ") != std::string::npos;
  })) << get(pod + "/log").text;
  const auto first = get(pod + "/log?container=server&limitBytes=15");
  EXPECT_EQ(first.text, "serving model m");
  expect_status(get(pod + "/log?container=other"), 400, "BadRequest", "container other is not valid for pod p");
  expect_status(get(pod + "x/log"), 404, "NotFound", "pods \"px\" not found");
  // A log that is followed ends with its server.
  const auto followed = test::run(context, [&]() -> asio::awaitable<std::string> {
    net::http_request r;
    r.url = cluster->url() + pod + "/log?follow=true&tailLines=0";
    auto stream = co_await http.open_stream(std::move(r));
    net::http_request stop;
    stop.method = "DELETE";
    stop.url = cluster->url() + pod;
    (void)co_await http.request(std::move(stop));
    std::string out;
    while (true) {
      const auto part = co_await (*stream)->read_some(20s);
      if (!part || !*part) break;
      out += **part;
    }
    co_return out;
  }());
  EXPECT_EQ(get(pod).status, 404);
  EXPECT_TRUE(followed.empty() || followed.find("shutting down") != std::string::npos) << followed;
}

TEST_F(PodDeletion, PodsComeAndGoAndNoRequestIsLost) {
  apply(R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: d, namespace: default}
spec:
  replicas: 1
  selector: {matchLabels: {app: d}}
  template:
    metadata: {labels: {app: d}}
    spec:
      containers:
      - name: server
        image: vllm
        env: [{name: MODEL_NAME, value: m}, {name: DECODE_TIME, value: "10"}, {name: AVG_TOKENS, value: "20"}]
        ports: [{name: http, containerPort: 8000}]
)");
  net::kube::connection api;
  api.url = cluster->url();
  const pod_targets pods(where->io().executor(), api, "default", "app=d");
  const auto becomes = [&](std::size_t n) { return test::eventually(20s, [&] { return pods.urls().size() == n; }); };
  ASSERT_TRUE(becomes(1)) << pods.problem();
  load_config load;
  load.targets = [&] { return pods.urls(); };
  load.model = "m";
  load.phases = {{0, 3000}};
  load.content_length = 3;
  load.reconnect = true;
  load.slo_ttft_ms = 10000;
  load.slo_itl_ms = 0.001;
  load_generator running(where->io().executor(), load);
  running.start();
  const auto scale = [&](int n) {
    ASSERT_EQ(
        merge("/apis/apps/v1/namespaces/default/deployments/d/scale", fmt::format(R"({{"spec":{{"replicas":{}}}}})", n)).status,
        200);
    ASSERT_TRUE(becomes(static_cast<std::size_t>(n)));
    const auto before = running.statistics().ok;
    ASSERT_TRUE(test::eventually(20s, [&] { return running.statistics().ok >= before + 30; }));
  };
  for (const int n : {3, 1, 4, 2}) scale(n);
  running.stop();
  ASSERT_TRUE(test::eventually(20s, [&] { return running.statistics().outstanding() == 0; }));
  const auto s = running.statistics();
  EXPECT_GE(s.ok, 120);
  EXPECT_EQ(s.failed, 0) << s.first_error;
  EXPECT_EQ(s.within_ttft, s.ok);
  EXPECT_EQ(s.within, s.within_itl) << "both objectives count";
  EXPECT_LT(s.within_itl, s.ok);
}

// A kubelet on the servers' own thread deletes an idle pod: the drain ends at once, within the call.
TEST_F(PodDeletion, AnIdleServerEndsWhenItsOwnThreadStopsIt) {
  std::promise<void> ended;
  pod_spec idle;
  idle.ns = "default";
  idle.name = "idle";
  idle.ip = "127.0.0.1";
  idle.port = test::free_port();
  idle.env = {{"MODEL_NAME", "m"}};
  runtime->start(std::move(idle), [](bool ok, const std::string& error) { ASSERT_TRUE(ok) << error; });
  asio::post(where->io().executor(), [&] { runtime->stop("default", "idle", 30s, [&] { ended.set_value(); }); });
  ASSERT_EQ(ended.get_future().wait_for(10s), std::future_status::ready);
  EXPECT_TRUE(runtime->urls().empty());
}

}  // namespace
}  // namespace inferno::testbed

// How the controller reaches a Prometheus that does not let everybody in, and what it says when it is not let in.
#include <gmock/gmock.h>

#include <cmath>
#include <future>
#include <map>
#include <mutex>

#include "actors/prometheus_source.hpp"
#include "net/http/url.hpp"
#include "net/tls_server.hpp"
#include "tests/e2e/scene.hpp"

namespace inferno::test {
namespace {

using ::testing::HasSubstr;

/// Certificates of a Prometheus and of its clients, each its own CA.
struct papers {
  papers() {
    const auto make = [](const std::string& name) {
      auto made = net::self_signed_certificate({name}, std::chrono::system_clock::now());
      if (!made) throw std::runtime_error(made.error().message);
      return std::move(*made);
    };
    own = make("prometheus.monitoring.svc");
    client = make("inferno");
    put("prometheus.crt", own.cert_pem);
    put("prometheus.key", own.key_pem);
    put("client.crt", client.cert_pem);
    put("client.key", client.key_pem);
    put("other-ca.crt", make("prometheus.monitoring.svc").cert_pem);
  }
  /// As Kubernetes replaces a mounted file: another one, at once.
  void put(const std::string& name, const std::string& text) const {
    std::ofstream(file(name) + ".new") << text;
    std::filesystem::rename(file(name) + ".new", file(name));
  }
  std::string file(const std::string& name) const { return folder.file(name); }
  prometheus_options guarded() const {
    prometheus_options o;
    o.web_config = fmt::format(
        "tls_server_config: {{cert_file: {}, key_file: {}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: {}}}\n",
        file("prometheus.crt"), file("prometheus.key"), file("client.crt"));
    o.tls.ca_pem = own.cert_pem;
    o.tls.cert_pem = client.cert_pem;
    o.tls.key_pem = client.key_pem;
    o.tls.server_name = "prometheus.monitoring.svc";
    return o;
  }
  temp_folder folder;
  net::certificate own, client;
};

/// The environment of programs started while it lives.
class environment {
 public:
  explicit environment(std::map<std::string, std::string> values) : values_(std::move(values)) {
    for (const auto& [name, value] : values_) ::setenv(name.c_str(), value.c_str(), 1);
  }
  ~environment() {
    for (const auto& [name, value] : values_) ::unsetenv(name.c_str());
  }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;

 private:
  std::map<std::string, std::string> values_;
};

/// A variant whose metrics come from a guarded Prometheus.
struct visitor : scene {
  visitor() {
    settings("RATE_WINDOW: \"6s\", GLOBAL_OPT_INTERVAL: \"2s\"");
    deployment();
    variant();
    traffic = load(60);
  }
  void set(const json::object& entries) { configure("inferno-autoscaler-variantautoscaling-config", entries); }
  bool found() {
    return eventually(30s, [&] { return is("MetricsAvailable", "True MetricsFound"); });
  }
  /// With these entries the source fails as told, with them gone it works again; both are logged and the failure is counted.
  void fails_with(const json::object& entries, const std::string& says) {
    SCOPED_TRACE(json::serialize(entries));
    const auto failed = count_logged("Metrics source fails"), back = count_logged("Metrics source answers again");
    const auto counted = errors();
    set(entries);
    EXPECT_TRUE(eventually(20s, [&] {
      const auto c = condition("MetricsAvailable");
      return c.rfind("False MetricsSourceFailed", 0) == 0 && c.find(says) != std::string::npos;
    })) << condition("MetricsAvailable");
    EXPECT_GT(count_logged("Metrics source fails"), failed);
    EXPECT_GT(errors(), counted);
    json::object none;
    for (const auto& e : entries) none[e.key()] = nullptr;
    set(none);
    EXPECT_TRUE(found()) << condition("MetricsAvailable") << log();
    EXPECT_GT(count_logged("Metrics source answers again"), back);
  }
  /// inferno_errors_total of the metrics source.
  double errors(const std::string& reason = "prometheus") const {
    const auto series = "inferno_errors_total{component=\"metrics\",reason=\"" + reason + "\"} ";
    const auto text = http("metrics", "/metrics").body;
    const auto at = text.find(series);
    return at == std::string::npos ? 0 : std::stod(text.substr(at + series.size()));
  }
  papers its;
  std::unique_ptr<testbed::load_generator> traffic;
};

TEST(PrometheusAccess, MutualTlsFromTheEnvironmentAndTheConfigMap) {
  visitor v;
  prometheus guarded(v.all.where->io().executor(), v.all.servers, v.its.folder, v.its.guarded());
  net::http_request plain;
  plain.url = guarded.url + "/-/ready";
  auto without = v.its.guarded().tls;
  without.cert_pem = without.key_pem = "";
  ASSERT_FALSE(http_send(plain, without)) << "it lets everybody in: this test shows nothing";
  {
    const environment given({{"PROMETHEUS_BASE_URL", guarded.url},
                             {"PROMETHEUS_CA_CERT_PATH", v.its.file("prometheus.crt")},
                             {"PROMETHEUS_CLIENT_CERT_PATH", v.its.file("client.crt")},
                             {"PROMETHEUS_CLIENT_KEY_PATH", v.its.file("client.key")},
                             {"PROMETHEUS_SERVER_NAME", "prometheus.monitoring.svc"}});
    v.start_controller();
  }
  ASSERT_TRUE(v.found()) << v.condition("MetricsAvailable") << v.log();
  // The ConfigMap goes before the environment.
  v.fails_with({{"PROMETHEUS_CA_CERT_PATH", v.its.file("other-ca.crt")}}, "certificate");
  v.fails_with({{"PROMETHEUS_CA_CERT_PATH", v.its.file("no-such-ca.crt")}}, v.its.file("no-such-ca.crt"));
  v.fails_with({{"PROMETHEUS_CLIENT_CERT_PATH", ""}, {"PROMETHEUS_CLIENT_KEY_PATH", ""}}, "certificate");
  v.fails_with({{"PROMETHEUS_CLIENT_KEY_PATH", ""}}, "a client key belongs to it");
  v.fails_with({{"PROMETHEUS_SERVER_NAME", "another.monitoring.svc"}}, "another.monitoring.svc");
  v.set({{"PROMETHEUS_CA_CERT_PATH", v.its.file("other-ca.crt")}, {"PROMETHEUS_TLS_INSECURE_SKIP_VERIFY", "true"}});
  ASSERT_TRUE(eventually(10s, [&] { return v.cycles_pass(); }));
  EXPECT_TRUE(v.found()) << v.condition("MetricsAvailable");

  // Files that go bad later: what there is stays, which is said and counted too.
  v.set({{"PROMETHEUS_CA_CERT_PATH", nullptr}, {"PROMETHEUS_TLS_INSECURE_SKIP_VERIFY", nullptr}});
  ASSERT_TRUE(v.cycles_pass());
  v.its.put("client.crt", "nonsense");
  ASSERT_TRUE(eventually(20s, [&] { return v.logged("Metrics source has invalid settings"); })) << v.log();
  EXPECT_THAT(v.log_line("Metrics source has invalid settings"), HasSubstr(v.its.file("client.crt")));
  EXPECT_EQ(v.errors("prometheus settings"), 1);
  EXPECT_TRUE(v.is("MetricsAvailable", "True MetricsFound")) << v.condition("MetricsAvailable");
  v.its.put("client.crt", v.its.client.cert_pem);
  EXPECT_TRUE(eventually(20s, [&] { return v.logged("Metrics source has valid settings again"); })) << v.log();
}

/// A proxy in front of a Prometheus, over TLS, that wants a token: what Prometheus itself cannot ask for.
class doorkeeper {
 public:
  doorkeeper(asio::any_io_executor executor, std::string behind, const papers& its) : state_(std::make_shared<state>()) {
    state_->behind = std::move(behind);
    state_->client = std::make_shared<net::http_client>(executor, net::http_client_config{});
    net::tls_options options;
    options.cert_pem = its.own.cert_pem;
    options.key_pem = its.own.key_pem;
    net::http_server_config config;
    config.tls = [options] { return net::make_server_context(options); };
    auto started = net::http_server::start(executor, config, [s = state_](net::http_exchange& x) { return answer(s, x); });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }
  void wants(const std::string& token) {
    const std::lock_guard lock(state_->mutex);
    state_->token = token;
  }
  std::string url() const { return "https://" + server_->address(); }

 private:
  struct state {
    std::mutex mutex;
    std::string token, behind;
    std::shared_ptr<net::http_client> client;
  };
  static asio::awaitable<void> answer(std::shared_ptr<state> s, net::http_exchange& x) {
    std::string wanted;
    {
      const std::lock_guard lock(s->mutex);
      wanted = "Bearer " + s->token;
    }
    int status = 401;
    std::string body = "who are you?", type = "text/plain";
    if (x.header("Authorization") == wanted) {
      net::http_request request;
      request.method = std::string(x.method());
      request.body = x.body();
      request.content_type = std::string(x.header("Content-Type"));
      request.url = s->behind + std::string(x.path());
      const auto got = co_await s->client->request(std::move(request));
      status = got ? got->status : 502;
      body = got ? got->body : got.error().message;
      type = "application/json";
    }
    std::vector<net::http_header> none;
    co_await x.respond(status, std::move(type), std::move(body), std::move(none));
  }
  std::shared_ptr<state> state_;
  std::unique_ptr<net::http_server> server_;
};

TEST(PrometheusAccess, BearerTokens) {
  visitor v;
  doorkeeper door(v.all.where->io().executor(), v.all.metrics->url, v.its);
  door.wants("of-the-environment");
  {
    const environment given({{"PROMETHEUS_BASE_URL", door.url()},
                             {"PROMETHEUS_CA_CERT_PATH", v.its.file("prometheus.crt")},
                             {"PROMETHEUS_SERVER_NAME", "prometheus.monitoring.svc"},
                             {"PROMETHEUS_BEARER_TOKEN", "of-the-environment"}});
    v.start_controller();
  }
  ASSERT_TRUE(v.found()) << v.condition("MetricsAvailable") << v.log();
  v.fails_with({{"PROMETHEUS_BEARER_TOKEN", "wrong"}}, "401");

  v.fails_with({{"PROMETHEUS_TOKEN_PATH", v.its.file("token")}}, "bearer token " + v.its.file("token"));
  v.its.put("token", "first\n");
  door.wants("first");
  v.set({{"PROMETHEUS_TOKEN_PATH", v.its.file("token")}});
  ASSERT_TRUE(eventually(20s, [&] { return v.condition("MetricsAvailable").find("401") == std::string::npos; }));
  ASSERT_TRUE(v.found()) << v.condition("MetricsAvailable") << v.log();
  // Rotated: refused until the file has the new one.
  door.wants("the-second");
  ASSERT_TRUE(eventually(20s, [&] { return v.is("MetricsAvailable", "False MetricsSourceFailed"); })) << v.log();
  EXPECT_THAT(v.condition("MetricsAvailable"), HasSubstr("401"));
  v.its.put("token", "the-second\n");
  EXPECT_TRUE(v.found()) << v.condition("MetricsAvailable") << v.log();
  for (const auto* secret : {"of-the-environment", "the-second"})
    EXPECT_THAT(v.log(), ::testing::Not(HasSubstr(secret))) << "a token is nobody's business";
}

// ---- the queries against a real Prometheus
// --------------------------------------------------------------------------------------

/// A server of two engines that complete a request each 100 ms each, and exports what vLLM does.
class counting_server {
 public:
  counting_server(asio::any_io_executor executor, double completed_before) {
    auto started = net::http_server::start(executor, {}, [completed_before](net::http_exchange& x) -> asio::awaitable<void> {
      const double ms = std::chrono::duration<double, std::milli>(steady::now().time_since_epoch()).count();
      const double done = std::floor(completed_before + ms / 100);
      std::string body = "process_start_time_seconds 1700000000\n", type = "text/plain; version=0.0.4";
      for (const int engine : {0, 1}) {
        const auto line = [&](const std::string& name, double value, const std::string& more = {}) {
          body += fmt::format("vllm:{}{{model_name=\"m\",engine=\"{}\"{}}} {}\n", name, engine, more, value);
        };
        line("num_requests_running", 3);
        line("num_requests_waiting", 1);
        // Two ends that add up.
        line("request_success_total", done - std::floor(done / 4), ",finished_reason=\"stop\"");
        line("request_success_total", std::floor(done / 4), ",finished_reason=\"length\"");
        for (const auto& [family, each] :
             {std::pair("request_prompt_tokens", 100.0), std::pair("request_generation_tokens", 50.0),
              std::pair("inter_token_latency_seconds", 0.01), std::pair("time_to_first_token_seconds", 0.2),
              std::pair("request_queue_time_seconds", 0.1)}) {
          line(std::string(family) + "_sum", each * done);
          line(std::string(family) + "_count", done);
          line(std::string(family) + "_bucket", done, ",le=\"+Inf\"");
        }
      }
      std::vector<net::http_header> none;
      co_await x.respond(200, std::move(type), std::move(body), std::move(none));
    });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }
  std::string address() const { return server_->address(); }
  std::string address_by_name() const { return fmt::format("localhost:{}", server_->port()); }

 private:
  std::unique_ptr<net::http_server> server_;
};

/// A Prometheus with these scrape targets, and what the controller makes of it.
struct queried {
  struct target {
    std::string pod, address, job = "vllm", more{};  ///< `more`: further labels
  };
  queried(net::io_context_thread& io, const std::vector<target>& all)
      : real(io.executor(), nullptr, folder, {.more = jobs_of(all), .jobs = {}}),
        source(io.executor(), {}, {.url = real.url}, 5s) {
    std::vector<actors::scrape_target> pods;
    for (const auto& t : all)
      if (pods.empty() || pods.back().pod.name != t.pod) pods.push_back({{"llm", t.pod}, "m", "10.0.0.1", 8000});
    targets = std::make_shared<const std::vector<actors::scrape_target>>(std::move(pods));
  }
  static std::string jobs_of(const std::vector<target>& all) {
    std::map<std::string, std::string> jobs;
    for (const auto& t : all)
      jobs[t.job] += fmt::format("{}{{targets: [\"{}\"], labels: {{namespace: llm, pod: {}{}}}}}",
                                 jobs[t.job].empty() ? "" : ", ", t.address, t.pod, t.more);
    std::string out;
    for (const auto& [job, groups] : jobs) out += fmt::format("- job_name: {}\n  static_configs: [{}]\n", job, groups);
    return out;
  }
  /// One round, at the steady clock's time; by pod.
  std::map<std::string, actors::load_sample> collect() {
    std::promise<std::shared_ptr<const actors::collected_metrics>> answer;
    source.collect(targets, std::chrono::duration<double>(steady::now().time_since_epoch()).count(), 10s,
                   [&](auto m) { answer.set_value(std::move(m)); });
    const auto m = answer.get_future().get();
    EXPECT_EQ(m->problem, "");
    std::map<std::string, actors::load_sample> out;
    for (const auto& s : m->pods) {
      EXPECT_EQ(s.problem, "") << s.pod.name;
      EXPECT_EQ(s.load.missing, "") << s.pod.name;
      auto& sum = out[s.pod.name];
      // Of servers side by side.
      sum.span_s = std::max(sum.span_s, s.load.span_s);
      sum.completions += s.load.completions;
      sum.in_tokens += s.load.in_tokens;
      sum.running += s.load.running;
      sum.waiting += s.load.waiting;
    }
    return out;
  }
  /// The series of running requests that Prometheus has.
  std::string series() const {
    const auto seen = real.get("/api/v1/query?query=" + net::percent_encoded("count(vllm:num_requests_running)"));
    return seen ? seen->body : seen.error().message;
  }
  /// Differences of rounds, added up over so many seconds of the wall clock; gauges are the last. Spans are not added up: a
  /// pod's servers are not read at the same time.
  std::map<std::string, actors::load_sample> over(std::chrono::seconds time) {
    std::map<std::string, actors::load_sample> sum;
    const auto began = steady::now();
    eventually(time + 30s, [&] {
      for (const auto& [pod, l] : collect()) {
        auto& s = sum[pod];
        s.completions += l.completions;
        s.in_tokens += l.in_tokens;
        s.running = l.running;
        s.waiting = l.waiting;
      }
      return steady::now() - began >= time;
    });
    const double took_s = std::chrono::duration<double>(steady::now() - began).count();
    for (auto& [pod, s] : sum) s.span_s = took_s;
    return sum;
  }
  temp_folder folder;
  prometheus real;
  actors::prometheus_source source;
  std::shared_ptr<const std::vector<actors::scrape_target>> targets;
};

TEST(PrometheusQueries, JobsThatScrapeTheSamePodCountOnceAndItsEnginesAddUp) {
  net::io_context_thread io;
  counting_server server(io.executor(), 0);
  // Two jobs, and in one of them two endpoints, as of a ServiceMonitor; two Prometheis behind one Thanos look like this too.
  queried q(io, {{"vllm-0", server.address(), "llm/vllm", ", endpoint: http"},
                 {"vllm-0", server.address(), "llm/vllm", ", endpoint: metrics"},
                 {"vllm-0", server.address(), "llm/vllm", ", endpoint: http, prometheus_replica: prometheus-1"},
                 {"vllm-0", server.address(), "vllm-service"}});
  ASSERT_TRUE(eventually(30s, [&] { return q.series().find("\"8\"") != std::string::npos; }))
      << "all of them scrape both engines, or this test shows nothing: " << q.series();
  ASSERT_TRUE(eventually(30s, [&] { return q.collect()["vllm-0"].span_s > 0; }));
  auto l = q.over(10s)["vllm-0"];
  // A scrape more or less at either end.
  EXPECT_NEAR(l.completions / l.span_s, 20, 3);
  EXPECT_NEAR(l.in_tokens / l.completions, 100, 1);
  EXPECT_EQ(l.running, 6);
  EXPECT_EQ(l.waiting, 2);
}

TEST(PrometheusQueries, AServerUnderTwoInstancesCountsOnceAndTwoServersOfAPodAddUp) {
  net::io_context_thread io;
  counting_server one(io.executor(), 0), two(io.executor(), 500), other(io.executor(), 90000);
  queried q(io, {{"one", one.address()}, {"one", one.address_by_name()}, {"two", two.address()}, {"two", other.address()}});
  ASSERT_TRUE(eventually(30s, [&] { return q.series().find("\"8\"") != std::string::npos; })) << q.series();
  int rounds = 0;
  // Until their counters have shown it, two servers count as one, and one under two instances never counts as two.
  EXPECT_TRUE(eventually(60s, [&] {
    auto seen = q.collect();
    EXPECT_EQ(seen["one"].running, 6);
    return ++rounds > 1 && seen["two"].running == 12;
  }));
  auto l = q.over(20s);
  EXPECT_NEAR(l["one"].completions / l["one"].span_s, 20, 2);
  EXPECT_EQ(l["one"].running, 6);
  EXPECT_NEAR(l["two"].completions / l["two"].span_s, 40, 4);
  EXPECT_EQ(l["two"].running, 12);
}

}  // namespace
}  // namespace inferno::test

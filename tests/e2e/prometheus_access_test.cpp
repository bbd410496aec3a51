// How the controller reaches a Prometheus that does not let everybody in, and what it says when it is not let in.
#include <gmock/gmock.h>

#include <algorithm>
#include <deque>
#include <future>
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

/// A server of two engines that counts a request each 100 ms for each.
class counting_server {
 public:
  explicit counting_server(asio::any_io_executor executor) {
    auto started = net::http_server::start(executor, {}, [](net::http_exchange& x) -> asio::awaitable<void> {
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(steady::now().time_since_epoch()).count();
      std::string body, type = "text/plain; version=0.0.4";
      for (const int engine : {0, 1})
        body += fmt::format(
            "vllm:request_success_total{{model_name=\"m\",engine=\"{0}\",finished_reason=\"stop\"}} {1}\n"
            "vllm:num_requests_running{{model_name=\"m\",engine=\"{0}\"}} "
            "3\nvllm:num_requests_waiting{{model_name=\"m\",engine=\"{0}\"}} 1\n",
            engine, ms / 100);
      std::vector<net::http_header> none;
      co_await x.respond(200, std::move(type), std::move(body), std::move(none));
    });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
  }
  std::string address() const { return server_->address(); }

 private:
  std::unique_ptr<net::http_server> server_;
};

TEST(PrometheusQueries, JobsThatScrapeTheSamePodCountOnceAndItsEnginesAddUp) {
  net::io_context_thread io;
  counting_server server(io.executor());
  std::string jobs;
  for (const auto* job : {"llm/vllm", "vllm-service"})
    jobs += fmt::format("- job_name: {}\n  static_configs: [{{targets: [\"{}\"], labels: {{namespace: llm, pod: vllm-0}}}}]\n",
                        job, server.address());
  temp_folder folder;
  prometheus real(io.executor(), nullptr, folder, {.more = jobs, .jobs = {}});
  actors::prometheus_source source(io.executor(), {}, {.url = real.url}, 5s);
  const auto targets = std::make_shared<const std::vector<actors::scrape_target>>(
      std::vector<actors::scrape_target>{{{"llm", "vllm-0"}, "m", "10.0.0.1", 8000}});
  const auto collected = [&] {
    std::promise<std::shared_ptr<const actors::collected_metrics>> answer;
    source.collect(targets, 0, 10s, [&](auto m) { answer.set_value(std::move(m)); });
    return answer.get_future().get();
  };
  std::shared_ptr<const actors::collected_metrics> last;
  ASSERT_TRUE(eventually(30s,
                         [&] {
                           last = collected();
                           return last->pods.size() == 1 && last->pods[0].problem.empty() && last->pods[0].load.span_s > 0;
                         }))
      << last->problem << (last->pods.empty() ? "no pod" : last->pods[0].problem);
  const auto seen = real.get("/api/v1/query?query=" + net::percent_encoded("count(vllm:num_requests_running)"));
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_THAT(seen->body, HasSubstr("\"4\"")) << "both jobs scrape both engines, or this test shows nothing";
  // While the window fills the rate rises: it counts when it has stood still for some scrapes.
  std::deque<std::pair<steady::time_point, double>> rates;
  EXPECT_TRUE(eventually(30s, [&] {
    last = collected();
    if (last->pods.size() != 1 || last->pods[0].load.span_s <= 0) return false;
    rates.emplace_back(steady::now(), last->pods[0].load.completions / last->pods[0].load.span_s);
    while (rates.back().first - rates.front().first > 4s) rates.pop_front();
    const auto [least, most] =
        std::minmax_element(rates.begin(), rates.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    return rates.back().first - rates.front().first > 3s && most->second - least->second < 1.5;
  }));
  const auto& l = last->pods[0].load;
  EXPECT_NEAR(l.completions / l.span_s, 20, 2);
  EXPECT_EQ(l.running, 6);
  EXPECT_EQ(l.waiting, 2);
}

}  // namespace
}  // namespace inferno::test

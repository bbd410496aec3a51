// Who the controller is, what time it is, and how much comes at once.
#include <gmock/gmock.h>

#include <atomic>
#include <cstdlib>

#include "tests/e2e/evidence.hpp"

namespace inferno::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// What the API server answers to a token.
int answer_to(const scene& s, const std::string& token) {
  net::http_request request;
  request.url = s.cluster.url() + "/api";
  request.headers.push_back({"Authorization", "Bearer " + token});
  net::tls_options ca;
  ca.ca_pem = s.cluster.ca_pem();
  const auto answer = http_send(std::move(request), ca);
  return answer ? answer->status : 0;
}

TEST(Faults, AnExpiredToken) {
  scene s({{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 6}});
  s.deployment();
  s.variant();
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  const auto good = s.cluster.token(s.system_ns, the_controller);
  const auto brief = s.cluster.short_token(s.system_ns, the_controller, 3s);
  ASSERT_NE(answer_to(s, brief), 401) << "it is a good one at first";
  const auto issued = steady::now();
  std::ofstream(s.token_file) << brief;
  ASSERT_TRUE(eventually(40s, [&] { return answer_to(s, brief) == 401; }));
  fmt::print("a token for 3 s is refused after {:.1f} s\n", seconds_since(issued));

  // Work of all kinds comes in, through watches that were begun before: one whose load rises, and two that nothing happens to any
  // more: one at zero that is to have a replica, and one whose Deployment is not there.
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  s.deployment({.name = "idle", .replicas = 0, .model = "llama0-70b"});
  s.variant({.name = "idle", .model = "llama0-70b"});
  s.variant({.name = "lonely", .model = "llama0-7b", .cls = "Freemium"});
  const auto refused = [&](const std::string& variant) {
    std::istringstream lines(s.log());
    for (std::string line; std::getline(lines, line);)
      if (line.find("\"status\":401") != std::string::npos && line.find("\"variant\":\"" + variant) != std::string::npos)
        return true;
    return false;
  };
  for (const auto* variant : {"vllme", "idle", "lonely"})
    ASSERT_TRUE(eventually(30s, [&] { return refused(variant); })) << variant << s.log();
  EXPECT_EQ(s.replicas(), 1);
  EXPECT_EQ(s.replicas("idle"), 0);
  EXPECT_EQ(s.condition("TargetResolved", "lonely"), "");

  std::ofstream(s.token_file) << good;
  const auto renewed = steady::now();
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  fmt::print("new token to new replica ready: {:.1f} s\n", seconds_since(renewed));
  // Half a minute between two tries.
  EXPECT_TRUE(
      eventually(60s, [&] { return s.replicas("idle") == 1 && s.is("TargetResolved", "False TargetNotFound", "lonely"); }))
      << s.condition("OptimizationReady", "idle") << s.condition("TargetResolved", "lonely") << s.log();
  fmt::print("new token to the idle ones served: {:.1f} s\n", seconds_since(renewed));
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << s.log();
  EXPECT_EQ(s.generation("idle"), 2) << s.log();
  for (const auto& token : {good, brief})
    EXPECT_THAT(s.log(), Not(HasSubstr(token.substr(token.rfind('.'))))) << "tokens are nobody's business";
}

TEST(Faults, AWrongCa) {
  scene s;
  s.deployment();
  s.variant();
  // A kubeconfig whose CA signed nothing here.
  const temp_folder other;
  const auto made = run_program("openssl", {"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", other.file("ca.key"),
                                            "-out", other.file("ca.crt"), "-days", "1", "-subj", "/CN=another"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const auto config = s.folder.file("kubeconfig");
  std::ofstream(config) << fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: c, cluster: {{server: \"{}\", certificate-authority: "
      "{}}}}}]\n"
      "users: [{{name: u, user: {{tokenFile: {}}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n",
      s.cluster.url(), other.file("ca.crt"), s.token_file);
  child controller(INFERNO_BIN,
                   {"controller", "--kubeconfig", config, "--namespace", s.system_ns, "--metrics-bind-address", "0",
                    "--health-probe-bind-address", "127.0.0.1:0", "--metrics-source", "scrape"},
                   s.folder.file("log"));
  ASSERT_TRUE(eventually(15s, [&] { return controller.output().find("issuer certificate") != std::string::npos; }))
      << controller.output();
  EXPECT_THAT(controller.output(), HasSubstr("Watch is broken"));
  EXPECT_THAT(controller.output(), Not(HasSubstr("Watches synced")));
  std::istringstream lines(controller.output());
  std::string probes;
  for (std::string line; std::getline(lines, line);)
    if (line.find("Controller started") != std::string::npos) probes = std::string(json::parse(line).at("probes").as_string());
  const auto ready = http_get("http://" + probes + "/readyz");
  ASSERT_TRUE(ready) << probes;
  EXPECT_NE(ready->status, 200) << "it knows nothing, and must not say that it is ready";
}

/// For the programs started while it lives.
class environment {
 public:
  environment(std::string name, const std::string& value) : name_(std::move(name)) { ::setenv(name_.c_str(), value.c_str(), 1); }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;
  ~environment() { ::unsetenv(name_.c_str()); }

 private:
  std::string name_;
};

TEST(Faults, TheClockSteps) {
  scene s;
  s.deployment();
  s.variant();
  const auto steps = s.folder.file("clock");
  const auto set_clock = [&](const char* offset) {
    std::ofstream(steps + ".new") << offset << "\n";
    std::filesystem::rename(steps + ".new", steps);
  };
  set_clock("+0");
  {
    const auto library = std::string("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
    ASSERT_TRUE(std::filesystem::exists(library)) << library;
    const environment preload("LD_PRELOAD", library), file("FAKETIME_TIMESTAMP_FILE", steps), fresh("FAKETIME_NO_CACHE", "1"),
        real_monotonic("FAKETIME_DONT_FAKE_MONOTONIC", "1"), real_monotonic_older("DONT_FAKE_MONOTONIC", "1");
    s.start_scraping_controller({"--leader-elect", "--leader-elect-identity", "me", "--leader-elect-lease-duration", "4s",
                                 "--leader-elect-renew-deadline", "3s", "--leader-elect-retry-period", "500ms"});
  }
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  const auto year = [&] {
    const auto va = s.va();
    return testbed::text_at(va, {"status", "desiredOptimizedAlloc", "lastRunTime"});
  };
  const auto before = year();
  const auto load = s.load(240, "vllme", {}, "default", scene::evenly);
  for (const auto* offset : {"+2h", "-2h", "+0"}) {
    set_clock(offset);
    ASSERT_TRUE(s.cycles_pass()) << offset << s.log();
  }
  ASSERT_TRUE(s.settles(2)) << s.condition("OptimizationReady") << s.log();
  ASSERT_TRUE(s.cycles_pass()) << s.log();
  EXPECT_EQ(s.generation(), 2) << "the steps are no reason to scale\n" << s.log();
  EXPECT_FALSE(s.logged("Lost leadership")) << s.log();
  // That the steps were seen at all: the wall clock is in the log's times.
  set_clock("+2h");
  const auto hour = [](const std::string& line) {
    const auto at = line.find("\"ts\":\"");
    return at == std::string::npos ? std::string() : line.substr(at + 6, 13);
  };
  std::set<std::string> hours;
  EXPECT_TRUE(eventually(15s,
                         [&] {
                           std::istringstream lines(s.log());
                           for (std::string line; std::getline(lines, line);) hours.insert(hour(line));
                           return hours.size() >= 3;
                         }))
      << "the clock of the controller did not step\n"
      << s.log();
  EXPECT_NE(before, "");
}

TEST(Faults, FiveThousandVariantsAtOnce) {
  scene s;
  s.deployment();
  s.variant();
  s.start_scraping_controller();
  ASSERT_TRUE(s.settles(1)) << s.condition("OptimizationReady") << s.log();
  std::unique_ptr<testbed::load_generator> load;
  std::chrono::milliseconds load_began{};

  constexpr int number = 5000;
  auto body = testbed::parse_manifests(s.variant_yaml({}))->front();
  const auto path = api_path("llmd.ai/v1alpha1", "VariantAutoscaling", s.ns, "");
  const auto began = steady::now();
  std::atomic<int> next{0}, failed{0};
  std::vector<std::thread> hands;
  for (int h = 0; h < 8; ++h)
    hands.emplace_back([&, object = body]() mutable {
      for (int i = next++; i < number; i = next++) {
        object["metadata"].as_object()["name"] = fmt::format("many-{:04}", i);
        object["spec"].as_object()["scaleTargetRef"] =
            json::object{{"kind", "Deployment"}, {"name", fmt::format("none-{:04}", i)}};
        if (!s.cluster.call("POST", path, object).ok()) ++failed;
      }
    });
  // In the middle of it the load of the one that works rises.
  EXPECT_TRUE(eventually(120s, [&] { return next > number / 3; }));
  load_began = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch());
  load = s.load(240, "vllme", {}, "default", scene::evenly);
  for (auto& h : hands) h.join();
  ASSERT_EQ(failed, 0);
  fmt::print("{} VariantAutoscalings created in {:.1f} s\n", number, seconds_since(began));

  // The one that works is not kept waiting by them: of a hundred calls a second its patch is the next.
  EXPECT_TRUE(eventually(60s, [&] { return s.replicas() == 2 && s.ready() == 2; })) << s.condition("OptimizationReady");
  const auto patches = s.scalings();
  ASSERT_FALSE(patches.empty()) << "no patch";
  const auto waited = patches.front().at - load_began;
  fmt::print("the working one scaled {:.1f} s after its load rose\n", std::chrono::duration<double>(waited).count());
  EXPECT_LT(waited, 15s);
  const auto told = [&] {
    const auto all = s.cluster.get(path);
    const auto* items = testbed::find(all, {"items"});
    int n = 0;
    if (items && items->is_array())
      for (const auto& o : items->get_array())
        if (json::serialize(o).find("TargetNotFound") != std::string::npos) ++n;
    return n;
  };
  int n = 0;
  ASSERT_TRUE(eventually(180s, [&] { return (n = told()) == number; })) << n << " of them have been told";
  fmt::print("each has its status {:.1f} s after the first was created\n", seconds_since(began));
  const auto mib = resident_mib(s.controllers[0]->pid());
  fmt::print("the controller holds {:.0f} MiB\n", mib);
  RecordProperty("resident_mib", fmt::format("{:.0f}", mib));
  EXPECT_GT(mib, 10);
  EXPECT_LT(mib, 400);
  EXPECT_EQ(s.generation(), 2) << "once";

  ASSERT_TRUE(eventually(120s, [&] {
    s.cluster.remove(path + "?limit=500");
    const auto left = s.cluster.get(path + "?limit=1");
    return left.at("items").as_array().empty();
  }));
  EXPECT_TRUE(eventually(120s, [&] { return s.http("metrics", "/metrics").body.find("many-") == std::string::npos; }));
}

}  // namespace
}  // namespace inferno::test

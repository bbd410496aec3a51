#include "tests/e2e/scene.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "testbed/cluster/embedded.hpp"
#include "testbed/samples.hpp"

namespace inferno::test {
namespace {

using testbed::find;
using testbed::integer_at;
using testbed::text_at;

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
}

/// An accelerator of the samples: its GPU, and the speed of a server on it.
struct card {
  std::string vendor, product, alpha, beta;
};
const std::map<std::string, card> cards{{"A100", {"nvidia", "NVIDIA-A100-PCIE-80GB", "20.58", "0.41"}},
                                        {"MI300X", {"amd", "AMD-MI300X-192G", "7.77", "0.15"}},
                                        {"G2", {"intel", "Intel-Gaudi-2-96GB", "17.15", "0.34"}}};

std::string version_of(const std::string& kind) {
  static const std::map<std::string, std::string> versions{{"VariantAutoscaling", "llmd.ai/v1alpha1"},
                                                           {"Deployment", "apps/v1"},
                                                           {"StatefulSet", "apps/v1"},
                                                           {"Lease", "coordination.k8s.io/v1"},
                                                           {"HorizontalPodAutoscaler", "autoscaling/v2"}};
  const auto it = versions.find(kind);
  return it == versions.end() ? "v1" : it->second;
}

std::unique_ptr<stage> the_stage;

/// The ClusterRoles of deploy/, whose bindings have the same names, without "inferno-autoscaler-".
const std::vector<std::string>& cluster_roles() {
  static const auto names = [] {
    std::vector<std::string> out;
    const auto objects = testbed::parse_manifests(repository_file("deploy/rbac/rbac.yaml")).value();
    for (const auto& o : objects)
      if (text_at(o, {"kind"}) == "ClusterRole") out.push_back(text_at(o, {"metadata", "name"}).substr(19));
    return out;
  }();
  return names;
}

/// Ends the servers before main() returns, whatever the tests did.
class stage_end : public ::testing::Environment {
 public:
  void TearDown() override { the_stage.reset(); }
};
const auto* const registered = ::testing::AddGlobalTestEnvironment(new stage_end);

/// "2025-08-04T19:18:16.481Z", since the epoch.
std::chrono::milliseconds log_time(const std::string& text) {
  std::tm day{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &day);
  if (!rest || *rest != '.') throw std::runtime_error("not a time of the log: " + text);
  return std::chrono::seconds(::timegm(&day)) + std::chrono::milliseconds(std::stol(rest + 1));
}

}  // namespace

std::string repository_file(const std::string& path) {
  std::ifstream in(std::string(REPO_DIR) + "/" + path);
  if (!in) throw std::runtime_error("cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

struct gateway::queues {
  std::mutex mutex;
  std::map<std::pair<std::string, std::string>, double> sizes;
};

gateway::gateway(asio::any_io_executor executor) : queues_(std::make_shared<queues>()) {
  auto started = net::http_server::start(executor, {}, [q = queues_](net::http_exchange& x) -> asio::awaitable<void> {
    std::string body, type = "text/plain; version=0.0.4";
    {
      const std::lock_guard lock(q->mutex);
      for (const auto& [of, size] : q->sizes)
        body += fmt::format(
            "inference_extension_flow_control_queue_size{{namespace=\"{}\",model_name=\"{}\",target_model_name=\"\"}} {}\n",
            of.first, of.second, size);
    }
    std::vector<net::http_header> none;
    co_await x.respond(200, std::move(type), std::move(body), std::move(none));
  });
  if (!started) throw std::runtime_error(started.error().message);
  server_ = std::move(*started);
}

void gateway::queue(const std::string& ns, const std::string& model, double size) {
  const std::lock_guard lock(queues_->mutex);
  queues_->sizes[{ns, model}] = size;
}

stage::stage() {
  (void)registered;
  testbed::node_emulator_config config;
  config.api = cluster.admin();
  config.runtime = servers;
  config.start_delay = 300ms;
  // Other processes have theirs: pods get addresses of this one only.
  config.second_octet = 10 + static_cast<int>(::getpid() % 200);
  kubelets = std::make_unique<testbed::node_emulator>(*where, config);
  metrics = std::make_unique<prometheus>(
      where->io().executor(), servers, folder,
      prometheus_options{.more =
                             fmt::format("- job_name: gateway\n  static_configs: [{{targets: [\"{}\"]}}]\n", waiting.address())});
  cluster.apply(testbed::embedded::crd);
  fmt::print("Kubernetes {}\n", cluster.version());
}

stage& stage::get() {
  if (!the_stage) the_stage = std::make_unique<stage>();
  return *the_stage;
}

scene::scene(std::vector<gpu_nodes> nodes) {
  static int number = 0;
  ++number;
  system_ns = fmt::format("inferno-{}", number);
  ns = fmt::format("llm-{}", number);
  namespaces_ = {system_ns, ns};
  for (const auto& n : namespaces_) cluster.apply(fmt::format("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n", n));
  cluster.apply(replaced(repository_file("deploy/rbac/rbac.yaml")));
  cluster.apply(replaced(testbed::embedded::configmaps));
  settings();
  for (const auto& n : nodes) add_nodes(n);
  token_file = folder.file("token");
  std::ofstream(token_file) << cluster.token(system_ns, "inferno-autoscaler-controller-manager");
}

scene::~scene() {
  controllers.clear();
  for (std::size_t i = 1; i < namespaces_.size(); ++i)
    for (const auto* kind : {"VariantAutoscaling", "Deployment", "StatefulSet", "Pod"})
      cluster.remove(api_path(version_of(kind), kind, namespaces_[i], ""));
  // The next test's nodes are to have all their GPUs.
  json::object left;
  const auto empty = [&] {
    for (std::size_t i = 1; i < namespaces_.size(); ++i) {
      left = cluster.get(api_path("v1", "Pod", namespaces_[i], ""));
      const auto* items = left.if_contains("items");
      if (items && items->is_array() && !items->get_array().empty()) return false;
    }
    return true;
  };
  if (!eventually(60s, empty)) ADD_FAILURE() << "pods are left over in " << ns << ": " << json::serialize(left);
  for (const auto& n : namespaces_) cluster.remove(api_path("v1", "Namespace", "", n));
  for (const auto& n : nodes_) cluster.remove(api_path("v1", "Node", "", n));
  for (const auto& role : cluster_roles())
    for (const auto* kind : {"ClusterRoleBinding", "ClusterRole"})
      cluster.remove(api_path("rbac.authorization.k8s.io/v1", kind, "", system_ns + "-" + role));
}

std::string scene::replaced(std::string text) const {
  replace_all(text, "inferno-autoscaler-system", system_ns);
  for (const auto& role : cluster_roles())
    replace_all(text, "name: inferno-autoscaler-" + role, "name: " + system_ns + "-" + role);
  return text;
}

void scene::add_nodes(const gpu_nodes& n) {
  for (int i = 0; i < n.nodes; ++i) {
    const auto name = fmt::format("{}-node{}", ns, nodes_.size());
    cluster.apply(
        fmt::format("apiVersion: v1\nkind: Node\nmetadata: {{name: {0}, labels: {{{1}.com/gpu.product: {2}, {1}.com/gpu.memory: "
                    "\"81920\"}}}}\n"
                    "status: {{capacity: {{{1}.com/gpu: \"{3}\", cpu: \"64\", memory: 512Gi, pods: \"250\"}}, "
                    "allocatable: {{{1}.com/gpu: \"{3}\", cpu: \"64\", memory: 512Gi, pods: \"250\"}}}}\n",
                    name, n.vendor, n.product, n.gpus));
    nodes_.push_back(name);
  }
}

void scene::settings(const std::string& more) {
  cluster.apply(fmt::format(
      "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: inferno-autoscaler-variantautoscaling-config, namespace: {}}}\n"
      "data: {{GLOBAL_OPT_INTERVAL: \"5s\", RATE_WINDOW: \"10s\", SCALE_DOWN_STABILIZATION: \"8s\"{}{}}}\n",
      system_ns, more.empty() ? "" : ", ", more));
}

void scene::configure(const std::string& map, const json::object& entries) const {
  patch("ConfigMap", map, json::object{{"data", entries}}, system_ns);
}

void scene::deployment(const deployment_options& o, const std::string& in) {
  auto text = testbed::sample_deployment(o.tokens);
  replace_all(text, "llm-d-sim", in.empty() ? ns : in);
  replace_all(text, "vllme-deployment", o.name);
  replace_all(text, "app: vllme", "app: " + o.name);
  replace_all(text, "replicas: 1", fmt::format("replicas: {}", o.replicas));
  replace_all(text, "value: \"default\"", fmt::format("value: \"{}\"", o.model));
  const auto& [vendor, product, alpha, beta] = cards.at(o.accelerator);
  if (!o.random_lengths)
    replace_all(text, "- {name: AVG_TOKENS",
                "- {name: TOKENS_DISTRIBUTION, value: deterministic}\n            - {name: AVG_TOKENS");
  replace_all(text, "20.58", alpha);
  replace_all(text, "0.41", beta);
  replace_all(text, "nvidia.com/gpu.product: NVIDIA-A100-PCIE-80GB", fmt::format("{}.com/gpu.product: {}", vendor, product));
  replace_all(text, "nvidia.com/gpu:", vendor + ".com/gpu:");
  cluster.apply(text);
}

std::string scene::variant_yaml(const variant_options& o, const std::string& in) const {
  std::string text = testbed::embedded::sample_variant;
  replace_all(text, "llm-d-sim", in.empty() ? ns : in);
  replace_all(text, "vllme-deployment", o.name);
  replace_all(text, "acceleratorName: A100",
              fmt::format("acceleratorName: {}{}", o.accelerator, o.labels.empty() ? "" : "\n    " + o.labels));
  replace_all(text, "modelID: default", "modelID: " + o.model);
  replace_all(text, "name: Premium", "name: " + o.cls);
  replace_all(text, "key: default", "key: " + o.model);
  if (!o.annotations.empty()) replace_all(text, "  labels:", "  annotations: {" + o.annotations + "}\n  labels:");
  if (!o.extra_spec.empty()) text += o.extra_spec;
  return text;
}

void scene::variant(const variant_options& o, const std::string& in) { cluster.apply(variant_yaml(o, in)); }

child& scene::start_controller(std::vector<std::string> more, const std::string& api_url) {
  const auto config = folder.file(fmt::format("kubeconfig{}", controllers.size()));
  std::ofstream(config) << cluster.kubeconfig(token_file, api_url);
  std::vector<std::string> args{"controller",  "--kubeconfig",
                                config,        "--namespace",
                                system_ns,     "--log-level",
                                "debug",       "--metrics-bind-address",
                                "127.0.0.1:0", "--health-probe-bind-address",
                                "127.0.0.1:0"};
  if (!std::getenv("PROMETHEUS_BASE_URL")) args.insert(args.end(), {"--prometheus-url", all.metrics->url});
  if (std::find(more.begin(), more.end(), "--metrics-secure=true") == more.end()) args.push_back("--metrics-secure=false");
  if (std::find(more.begin(), more.end(), "--scrape-interval") == more.end())
    args.insert(args.end(), {"--scrape-interval", "1s"});
  args.insert(args.end(), more.begin(), more.end());
  controllers.push_back(
      std::make_unique<child>(INFERNO_BIN, std::move(args), folder.file(fmt::format("controller{}.log", controllers.size()))));
  const auto which = controllers.size() - 1;
  if (!eventually(20s, [&] { return logged("Watches synced", which); }))
    throw std::runtime_error("the controller does not start:\n" + log(which));
  return *controllers.back();
}

child& scene::start_scraping_controller(std::vector<std::string> more, const std::string& api_url) {
  more.insert(more.end(), {"--metrics-source", "scrape", "--scrape-interval", "500ms"});
  return start_controller(std::move(more), api_url);
}

std::string scene::log_line(const std::string& part, std::size_t controller) const {
  std::istringstream in(log(controller));
  for (std::string line; std::getline(in, line);)
    if (line.find(part) != std::string::npos) return line;
  return {};
}

std::string scene::address(const std::string& what, std::size_t controller) const {
  return "http://" + std::string(json::parse(log_line("Controller started", controller)).at(what).as_string());
}

std::size_t scene::count_logged(const std::string& part, std::size_t controller) const {
  const auto text = log(controller);
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++n;
  return n;
}

std::vector<scaling> scene::scalings(const std::string& name, const std::string& in, std::size_t controller) const {
  std::vector<scaling> out;
  std::istringstream lines(log(controller));
  for (std::string line; std::getline(lines, line);) {
    if (line.find("Patched Deployment") == std::string::npos) continue;
    const auto o = json::parse(line).as_object();
    if (text_at(o, {"name"}) != name || text_at(o, {"namespace"}) != (in.empty() ? ns : in)) continue;
    out.push_back({log_time(text_at(o, {"ts"})), integer_at(o, {"from"}, -1), integer_at(o, {"num-replicas"}, -1)});
  }
  return out;
}

net::http_response scene::http(const std::string& what, const std::string& path, std::size_t controller) const {
  auto answer = http_get(address(what, controller) + path);
  return answer ? std::move(*answer) : net::http_response{};
}

std::optional<double> scene::metric(const std::string& series, const std::string& name, const std::string& in,
                                    std::size_t controller) const {
  std::istringstream lines(http("metrics", "/metrics", controller).body);
  for (std::string line; std::getline(lines, line);)
    if (line.rfind(series + "{", 0) == 0 &&
        line.find(fmt::format("namespace=\"{}\"", in.empty() ? ns : in)) != std::string::npos &&
        line.find(fmt::format("variant_name=\"{}\"", name)) != std::string::npos)
      return std::stod(line.substr(line.rfind(' ') + 1));
  return std::nullopt;
}

bool scene::cycles_pass(std::size_t controller) const {
  const auto done = [&] { return count_logged("Reconciliation completed", controller); };
  const auto before = done();
  return eventually(20s, [&] { return done() >= before + 2; });
}

json::object scene::get(const std::string& kind, const std::string& name, const std::string& in) const {
  return cluster.get(api_path(version_of(kind), kind, in.empty() ? ns : in, name));
}

long scene::replicas(const std::string& name, const std::string& in) const {
  return integer_at(get("Deployment", name, in), {"spec", "replicas"}, -1);
}
long scene::generation(const std::string& name, const std::string& in) const {
  return integer_at(get("Deployment", name, in), {"metadata", "generation"}, -1);
}
long scene::ready(const std::string& name, const std::string& in) const {
  return integer_at(get("Deployment", name, in), {"status", "readyReplicas"}, 0);
}
long scene::desired(const std::string& name, const std::string& in) const {
  return integer_at(va(name, in), {"status", "desiredOptimizedAlloc", "numReplicas"}, -1);
}

std::string scene::condition(const std::string& type, const std::string& name, const std::string& in) const {
  const auto v = va(name, in);
  const auto* list = find(v, {"status", "conditions"});
  if (list && list->is_array())
    for (const auto& c : list->get_array())
      if (text_at(c.get_object(), {"type"}) == type)
        return fmt::format("{} {}: {}", text_at(c.get_object(), {"status"}), text_at(c.get_object(), {"reason"}),
                           text_at(c.get_object(), {"message"}));
  return {};
}

void scene::patch(const std::string& kind, const std::string& name, const json::value& body, const std::string& in) const {
  const auto done =
      cluster.call("PATCH", api_path(version_of(kind), kind, in.empty() ? ns : in, name), body, "application/merge-patch+json");
  if (!done.ok()) throw std::runtime_error(fmt::format("patch {} {}: {}", kind, name, done.problem));
}

void scene::remove(const std::string& kind, const std::string& name, const std::string& in,
                   const std::string& propagation) const {
  cluster.remove(api_path(version_of(kind), kind, in.empty() ? ns : in, name), propagation);
}

void scene::foreign_pod(const std::string& name, int gpus, const std::string& in) const {
  cluster.apply(
      fmt::format("apiVersion: v1\nkind: Pod\nmetadata: {{name: {}, namespace: {}}}\n"
                  "spec:\n  nodeSelector: {{nvidia.com/gpu.product: NVIDIA-A100-PCIE-80GB}}\n"
                  "  containers: [{{name: main, image: training, resources: {{limits: {{nvidia.com/gpu: \"{}\"}}}}}}]\n",
                  name, in.empty() ? ns : in, gpus));
}

bool scene::settles(long n, const std::string& name, std::chrono::seconds limit) {
  return eventually(limit, [&] {
    return replicas(name) == n && ready(name) == n && is("OptimizationReady", "True", name) && desired(name) == n;
  });
}

std::string scene::more_namespace() {
  const auto name = fmt::format("{}-{}", ns, namespaces_.size());
  cluster.apply(fmt::format("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n", name));
  namespaces_.push_back(name);
  return name;
}

std::unique_ptr<testbed::load_generator> scene::load(double per_minute, const std::string& name, const std::string& in,
                                                     const std::string& model,
                                                     const std::function<void(testbed::load_config&)>& tune) {
  testbed::load_config config;
  config.targets = [servers = all.servers, name, where = in.empty() ? ns : in] {
    std::vector<std::string> out;
    for (auto& s : servers->servers())
      if (s.ns == where && s.pod.rfind(name, 0) == 0) out.push_back(std::move(s.url));
    return out;
  };
  config.model = model;
  config.phases = {{0, per_minute}};
  config.route = testbed::routing::random;
  if (tune) tune(config);
  auto out = std::make_unique<testbed::load_generator>(all.where->io().executor(), config);
  out->start();
  return out;
}

}  // namespace inferno::test

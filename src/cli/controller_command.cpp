// `inferno controller`: flags, where the API server is, signals.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>

#include "actors/config_maps.hpp"
#include "actors/controller.hpp"
#include "cli/commands.hpp"
#include "net/http/url.hpp"
#include "net/kube/kubeconfig.hpp"
#include "net/token_file.hpp"

namespace inferno::cli {
namespace {

namespace kube = net::kube;

struct flags {
  std::string kubeconfig;
  std::string context;
  std::string kube_api_url;
  std::string token_file;
  std::string ns;
  std::string watch_namespace;
  std::string instance;
  std::string metrics_address = ":8080";
  std::string probe_address = ":8081";
  bool metrics_secure = true;
  std::string metrics_cert_path;
  double kube_api_qps = 100;
  int kube_api_burst = 200;
  std::string prometheus_url;
  std::string source = "prometheus";
  std::string scrape_interval = "2s";
  std::string log_level = "info";
  std::string log_format = "json";
  bool leader_elect = false;
  std::string leader_identity;
  std::string lease_duration = "15s";
  std::string renew_deadline = "10s";
  std::string retry_period = "2s";
  std::size_t threads = 2;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno controller: " << message << "\n";
  throw CLI::RuntimeError(2);
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

/// A namespace's name is an RFC 1123 label. "" = not given.
const std::string& namespace_flag(const char* name, const std::string& text) {
  constexpr std::string_view inside = "abcdefghijklmnopqrstuvwxyz0123456789-";
  if (text.size() > 63 || text.find_first_not_of(inside) != std::string::npos || text.starts_with('-') || text.ends_with('-'))
    refuse(fmt::format("{}: expected the name of a namespace (at most 63 of a-z, 0-9 and -, no - at either end), got \"{}\"",
                       name, text));
  return text;
}

/// An http or https URL. "" = not given.
std::string url_flag(const char* name, std::string text) {
  if (text.empty()) return text;
  if (const auto url = net::parse_url(text); !url) refuse(fmt::format("{}: {}", name, url.error().message));
  return text;
}

std::chrono::milliseconds duration_flag(const char* name, const std::string& text) {
  const auto d = actors::parse_duration(text);
  if (!d) refuse(fmt::format("{}: {}", name, d.error()));
  if (d->count() <= 0) refuse(fmt::format("{}: must be positive, got \"{}\"", name, text));
  return *d;
}

/// What the ConfigMap does not say, from the environment.
net::metrics::prometheus_access prometheus_from(const flags& f) {
  net::metrics::prometheus_access access;
  access.url = f.prometheus_url.empty() ? url_flag("PROMETHEUS_BASE_URL", environment("PROMETHEUS_BASE_URL"))
                                        : url_flag("--prometheus-url", f.prometheus_url);
  const auto skip = environment("PROMETHEUS_TLS_INSECURE_SKIP_VERIFY");
  if (!skip.empty() && skip != "true" && skip != "false")
    refuse(fmt::format("PROMETHEUS_TLS_INSECURE_SKIP_VERIFY: expected true or false, got \"{}\"", skip));
  access.tls.insecure_skip_verify = skip == "true";
  access.tls.ca_path = environment("PROMETHEUS_CA_CERT_PATH");
  access.tls.cert_path = environment("PROMETHEUS_CLIENT_CERT_PATH");
  access.tls.key_path = environment("PROMETHEUS_CLIENT_KEY_PATH");
  access.tls.server_name = environment("PROMETHEUS_SERVER_NAME");
  access.bearer_token = environment("PROMETHEUS_BEARER_TOKEN");
  access.token_path = environment("PROMETHEUS_TOKEN_PATH");
  return access;
}

/// Where and who: --kube-api-url, --kubeconfig, KUBECONFIG, the pod's service account, ~/.kube/config; the first that is there.
/// Only a pod has a namespace of its own: that of a kubeconfig's context is where its user works.
kube::cluster_access find_access(const flags& f) {
  if (!f.kube_api_url.empty()) {
    kube::cluster_access access;
    access.conn.url = url_flag("--kube-api-url", f.kube_api_url);
    if (f.token_file.empty()) return access;
    const auto where = net::parse_url(f.kube_api_url)->where;
    if (!where.tls && !where.loopback())
      refuse(fmt::format("--kube-token-file: --kube-api-url {} is not https, and everybody on the way could read the token",
                         f.kube_api_url));
    access.conn.bearer_token = [file = std::make_shared<net::token_file>(f.token_file)] { return (*file)(); };
    return access;
  }
  auto path = f.kubeconfig;
  const auto list = path.empty() ? environment("KUBECONFIG") : "";
  if (path.empty() && list.empty() && !environment("KUBERNETES_SERVICE_HOST").empty()) {
    auto access = kube::in_cluster({{"KUBERNETES_SERVICE_HOST", environment("KUBERNETES_SERVICE_HOST")},
                                    {"KUBERNETES_SERVICE_PORT", environment("KUBERNETES_SERVICE_PORT")}});
    if (!access) refuse(access.error().message);
    return *access;
  }
  if (path.empty() && list.empty()) {
    const auto home = environment("HOME") + "/.kube/config";
    if (!std::filesystem::exists(home))
      refuse("no cluster: give --kubeconfig or --kube-api-url, set KUBECONFIG, or run in a pod");
    path = home;
  }
  auto access = list.empty() ? kube::load_kubeconfig(path, f.context) : kube::merge_kubeconfigs(list, f.context);
  if (!access) refuse(access.error().message);
  access->ns.clear();
  return *access;
}

std::string default_identity() {
  char host[256] = "inferno";
  ::gethostname(host, sizeof host - 1);
  return fmt::format("{}_{:08x}", host, std::random_device{}());
}

actors::controller_config make_config(const flags& f) {
  static const std::map<std::string, spdlog::level::level_enum> levels{{"debug", spdlog::level::debug},
                                                                       {"info", spdlog::level::info},
                                                                       {"warn", spdlog::level::warn},
                                                                       {"error", spdlog::level::err}};
  actors::controller_config config;
  const auto access = find_access(f);
  config.api = access.conn;
  config.api.qps = f.kube_api_qps;
  config.api.burst = f.kube_api_burst;
  if (const auto& ns = f.ns.empty() ? access.ns : namespace_flag("--namespace", f.ns); !ns.empty()) config.ns = ns;
  config.watch_namespace = namespace_flag("--watch-namespace", f.watch_namespace);
  constexpr std::string_view ends = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  if (f.instance.size() > 63 || f.instance.find_first_not_of(std::string(ends) + "-_.") != std::string::npos ||
      (!f.instance.empty() && (ends.find(f.instance.front()) == ends.npos || ends.find(f.instance.back()) == ends.npos)))
    refuse(fmt::format("--controller-instance: expected a label value, got \"{}\"", f.instance));
  config.instance = f.instance;
  config.metrics_address = f.metrics_address;
  config.metrics_secure = f.metrics_secure;
  config.metrics_cert_path = f.metrics_cert_path;
  config.probe_address = f.probe_address;
  config.source = f.source == "scrape" ? actors::metrics_source_kind::scrape : actors::metrics_source_kind::prometheus;
  config.defaults.prometheus = prometheus_from(f);
  config.scrape_interval = duration_flag("--scrape-interval", f.scrape_interval);
  config.threads = f.threads;
  config.logger =
      actors::make_log(levels.at(f.log_level), f.log_format == "text" ? actors::log_format::text : actors::log_format::json);
  if (f.leader_elect) {
    actors::leader_config election;
    election.lease.ns = config.ns;
    if (!f.instance.empty()) election.lease.name += "-" + f.instance;
    election.identity = f.leader_identity.empty() ? default_identity() : f.leader_identity;
    election.lease_duration = duration_flag("--leader-elect-lease-duration", f.lease_duration);
    election.renew_deadline = duration_flag("--leader-elect-renew-deadline", f.renew_deadline);
    election.retry_period = duration_flag("--leader-elect-retry-period", f.retry_period);
    config.election = std::move(election);
  }
  return config;
}

void run(const flags& f) {
  // Blocked before any thread starts, so that only sigwait sees them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto config = make_config(f);
  const auto logger = config.logger;
  auto started = actors::controller::start(std::move(config));
  if (!started) refuse(started.error());
  logger.info("Controller started", {{"version", INFERNO_VERSION},
                                     {"metrics", (*started)->metrics_address()},
                                     {"probes", (*started)->probe_address()},
                                     {"metrics_source", f.source}});
  int received = 0;
  sigwait(&signals, &received);
  logger.info("Signal received", {{"signal", received}});
  (*started)->stop();
}

}  // namespace

void add_controller(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("controller", "Watch VariantAutoscalings and their load, decide, scale");
  command->add_option("--kubeconfig", f->kubeconfig,
                      "kubeconfig file (default: KUBECONFIG, the pod's service account, ~/.kube/config)");
  command->add_option("--context", f->context, "context of the kubeconfig (default: its current-context)");
  command->add_option("--kube-api-url", f->kube_api_url, "URL of the API server, without a kubeconfig");
  command->add_option("--kube-token-file", f->token_file, "bearer token for --kube-api-url, read anew for every request")
      ->check(CLI::ExistingFile);
  command->add_option("--namespace", f->ns,
                      "namespace of the controller's ConfigMaps and lease (default: the pod's, else inferno-autoscaler-system)");
  command->add_option(
      "--watch-namespace", f->watch_namespace,
      "namespace of the variants, their targets and pods (default: all). Nodes are read cluster-wide: pods of other "
      "namespaces then do not count against their GPUs");
  command->add_option("--controller-instance", f->instance,
                      "manage only VariantAutoscalings with the label inference.optimization/controller-instance of this value "
                      "(default: those without the label)");
  command->add_option("--metrics-bind-address", f->metrics_address, "/metrics and /api/v1; \"0\" = none")->capture_default_str();
  command->add_flag(
      "--metrics-secure,!--no-metrics-secure", f->metrics_secure,
      "serve them over TLS, to clients whose bearer token may get /metrics (RBAC on nonResourceURLs); =false: plain, "
      "to everybody (default: true)");
  command
      ->add_option("--metrics-cert-path", f->metrics_cert_path,
                   "folder with tls.crt and tls.key for them, read again when they change (default: a self-signed certificate)")
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--kube-api-qps", f->kube_api_qps,
                   "calls a second to the API server in the long run; 0 = no limit. Watches and the lease are exempt")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--kube-api-burst", f->kube_api_burst, "calls at once")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--health-probe-bind-address", f->probe_address, "/healthz and /readyz; \"0\" = none")
      ->capture_default_str();
  command->add_option("--prometheus-url", f->prometheus_url, "Prometheus, unless the ConfigMap has PROMETHEUS_BASE_URL");
  command->add_option("--metrics-source", f->source, "where the load comes from: Prometheus, or the pods' /metrics directly")
      ->check(CLI::IsMember({"prometheus", "scrape"}))
      ->capture_default_str();
  command->add_option("--scrape-interval", f->scrape_interval, "time between two looks at the metrics")->capture_default_str();
  command->add_option("--log-level", f->log_level, "debug, info, warn, error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->capture_default_str();
  command->add_option("--log-format", f->log_format, "json: an object a line; text: for terminals")
      ->check(CLI::IsMember({"json", "text"}))
      ->capture_default_str();
  command->add_flag("--leader-elect", f->leader_elect, "write only while holding the Lease inferno-autoscaler-leader");
  command->add_option("--leader-elect-identity", f->leader_identity,
                      "name of this candidate (default: host name and a random number)");
  command->add_option("--leader-elect-lease-duration", f->lease_duration, "others wait for so long")->capture_default_str();
  command->add_option("--leader-elect-renew-deadline", f->renew_deadline, "the holder gives up after so long without renewal")
      ->capture_default_str();
  command->add_option("--leader-elect-retry-period", f->retry_period, "time between two attempts")->capture_default_str();
  command->add_option("--threads", f->threads, "threads of the actor scheduler")->check(CLI::Range(1, 64))->capture_default_str();
  command->callback([f] { run(*f); });
}

}  // namespace inferno::cli

// `inferno-testbed load`: the quick start's load generator.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <cstdlib>
#include <iostream>

#include "net/io_context_thread.hpp"
#include "net/kube/kubeconfig.hpp"
#include "testbed/commands.hpp"
#include "testbed/load/load_generator.hpp"
#include "testbed/load/pod_targets.hpp"
#include "testbed/signals.hpp"

namespace inferno::testbed {
namespace {

struct flags {
  std::vector<std::string> urls{"http://127.0.0.1:8000/v1"};
  std::string model = "default";
  std::string rate = "60";
  std::string mode = "deterministic";
  std::string output = "text";
  int content_length = 150;
  int max_tokens = 0;
  double duration = 0;
  std::uint64_t seed = 1;
  bool no_stream = false;
  std::string selector, ns, kubeconfig, context;
  std::string routing = "least-requests";
  double slo_ttft_ms = 0, slo_itl_ms = 0;
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed load: " << message << "\n";
  throw CLI::RuntimeError(2);
}

double share(long of, long all) { return all > 0 ? static_cast<double>(of) / static_cast<double>(all) : 0; }

/// "within objectives: 97.00 % of 200 requests (TTFT <= 500 ms 98.50 %, ITL <= 24 ms 97.50 %)", "" without objectives.
std::string objectives_text(const flags& f, const load_statistics& s) {
  std::string each;
  const auto add = [&](const char* name, double limit, long within) {
    if (limit > 0)
      each += fmt::format("{}{} <= {} ms {:.2f} %", each.empty() ? "" : ", ", name, limit, 100 * share(within, s.ended()));
  };
  add("TTFT", f.slo_ttft_ms, s.within_ttft);
  add("ITL", f.slo_itl_ms, s.within_itl);
  if (each.empty() || s.ended() == 0) return {};
  return fmt::format("within objectives: {:.2f} % of {} requests ({})\n", 100 * share(s.within, s.ended()), s.ended(), each);
}

std::string as_text(const flags& f, const load_statistics& s) {
  const auto row = [](const char* name, const latency_summary& l) {
    return fmt::format("{:<8}  mean {:9.2f}  p50 {:9.2f}  p90 {:9.2f}  p95 {:9.2f}  p99 {:9.2f}\n", name, l.mean, l.p50, l.p90,
                       l.p95, l.p99);
  };
  auto out = fmt::format("sent {}  ok {}  failed {}  tokens {}\n", s.sent, s.ok, s.failed, s.tokens);
  out += row("TTFT ms", s.ttft) + row("ITL ms", s.itl);
  out += objectives_text(f, s);
  if (!s.first_error.empty()) out += "first failure: " + s.first_error + "\n";
  return out;
}

std::string as_json(const flags& f, const load_statistics& s) {
  const auto object = [](const latency_summary& l) {
    return boost::json::object{{"mean", l.mean}, {"p50", l.p50}, {"p90", l.p90}, {"p95", l.p95}, {"p99", l.p99}};
  };
  boost::json::object out{{"sent", s.sent},
                          {"ok", s.ok},
                          {"failed", s.failed},
                          {"tokens", s.tokens},
                          {"ttft_ms", object(s.ttft)},
                          {"itl_ms", object(s.itl)},
                          {"first_failure", s.first_error}};
  if (s.ended() > 0 && (f.slo_ttft_ms > 0 || f.slo_itl_ms > 0)) {
    boost::json::object objectives{{"within", share(s.within, s.ended())}};
    const auto add = [&](const char* name, double limit, long within) {
      if (limit > 0) objectives[name] = boost::json::object{{"objective_ms", limit}, {"within", share(within, s.ended())}};
    };
    add("ttft", f.slo_ttft_ms, s.within_ttft);
    add("itl", f.slo_itl_ms, s.within_itl);
    out["objectives"] = std::move(objectives);
  }
  return boost::json::serialize(out) + "\n";
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

net::kube::cluster_access access_of(const flags& f) {
  const auto list = environment("KUBECONFIG");
  auto access = !f.kubeconfig.empty() ? net::kube::load_kubeconfig(f.kubeconfig, f.context)
                : !list.empty()       ? net::kube::merge_kubeconfigs(list, f.context)
                                      : net::kube::load_kubeconfig(environment("HOME") + "/.kube/config", f.context);
  if (!access) refuse(access.error().message);
  return *access;
}

/// False: a signal came first.
bool wait_for_a_pod(const pod_targets& pods, const std::string& where, const stop_signals& signals) {
  for (bool told = false; pods.urls().empty(); told = true) {
    if (signals.wait_for(100)) return false;
    if (told || !pods.urls().empty()) continue;
    const auto problem = pods.problem();
    std::cerr << fmt::format("inferno-testbed load: waiting for a ready pod of {}{}{}\n", where, problem.empty() ? "" : ": ",
                             problem);
  }
  return true;
}

std::vector<std::string> bases_of(const std::vector<std::string>& urls) {
  std::vector<std::string> bases;
  for (auto url : urls) {
    if (url.rfind("http://", 0) != 0 && url.rfind("https://", 0) != 0)
      refuse(fmt::format("--url: expected http://HOST:PORT[/v1], got \"{}\"", url));
    while (!url.empty() && url.back() == '/') url.pop_back();
    if (url.size() > 3 && url.substr(url.size() - 3) == "/v1") url.resize(url.size() - 3);
    bases.push_back(url);
  }
  return bases;
}

void run(const flags& f) {
  auto phases = parse_rate(f.rate);
  if (!phases) refuse("--rate: " + phases.error());
  if (f.duration > 0) {
    if (phases->size() != 1 || phases->front().seconds > 0) refuse("--duration: the pairs of --rate have durations of their own");
    phases->front().seconds = f.duration;
  }
  load_config config;
  if (f.no_stream && (f.slo_ttft_ms > 0 || f.slo_itl_ms > 0))
    refuse("--slo-ttft and --slo-itl: only streamed answers are measured, so --no-stream excludes them");
  config.slo_ttft_ms = f.slo_ttft_ms;
  config.slo_itl_ms = f.slo_itl_ms;
  config.route = f.routing == "random" ? routing::random : routing::least_outstanding;
  config.model = f.model;
  config.phases = *phases;
  config.mode = f.mode == "poisson" ? arrival_mode::poisson : arrival_mode::deterministic;
  config.content_length = f.content_length;
  config.max_tokens = f.max_tokens;
  config.stream = !f.no_stream;
  config.seed = f.seed;
  const stop_signals signals;
  net::io_context_thread io;
  std::unique_ptr<pod_targets> pods;
  if (f.selector.empty()) {
    config.targets = [bases = bases_of(f.urls)] { return bases; };
  } else {
    const auto access = access_of(f);
    const auto ns = !f.ns.empty() ? f.ns : !access.ns.empty() ? access.ns : "default";
    pods = std::make_unique<pod_targets>(io.executor(), access.conn, ns, f.selector);
    config.targets = [p = pods.get()] { return p->urls(); };
    config.reconnect = true;
    if (!wait_for_a_pod(*pods, fmt::format("{} in namespace {}", f.selector, ns), signals)) return io.stop();
  }
  load_generator load(io.executor(), config);
  // A run with an end stops itself; one without is stopped by a signal, and reports then too.
  load.start([] { stop_signals::raise(); });
  signals.wait();
  load.stop();
  const auto s = load.statistics();
  std::cout << (f.output == "json" ? as_json(f, s) : as_text(f, s)) << std::flush;
  io.stop();
  if (s.sent > 0 && s.ok == 0) throw CLI::RuntimeError(1);
}

}  // namespace

void add_load(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("load", "Send chat completions at a rate and report latencies");
  auto* url =
      command->add_option("--url", f->urls, "server, with or without /v1; several: --routing chooses")->capture_default_str();
  auto* selector = command
                       ->add_option("-l,--selector", f->selector,
                                    "the ready pods with these labels instead of --url, as they come and go; begins with the "
                                    "first one")
                       ->excludes(url);
  command->add_option("-n,--namespace", f->ns, "of those pods (default: the kubeconfig's, else default)")->needs(selector);
  command->add_option("--kubeconfig", f->kubeconfig, "of their cluster (default: KUBECONFIG, else ~/.kube/config)")
      ->needs(selector);
  command->add_option("--context", f->context, "context of the kubeconfig (default: its current-context)")->needs(selector);
  command->add_option("--routing", f->routing, "which server a request goes to: least-requests or random")
      ->check(CLI::IsMember({"least-requests", "random"}))
      ->capture_default_str();
  command->add_option("--slo-ttft", f->slo_ttft_ms, "ms; prints the share of requests whose first token is no later")
      ->check(CLI::Range(0.0, 1e7));
  command->add_option("--slo-itl", f->slo_itl_ms, "ms; prints the share of requests whose mean time between tokens is no longer")
      ->check(CLI::Range(0.0, 1e7));
  command->add_option("--model", f->model, "model name")->capture_default_str();
  command->add_option("--rate", f->rate, "requests per minute, or '[[seconds,rate],[seconds,rate]]'")->capture_default_str();
  command->add_option("--mode", f->mode, "poisson or deterministic arrivals")
      ->check(CLI::IsMember({"poisson", "deterministic"}))
      ->capture_default_str();
  command->add_option("--content-length", f->content_length, "words of the prompt")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--max-tokens", f->max_tokens, "output tokens at most; 0 = the server decides")
      ->check(CLI::Range(0, 1000000))
      ->capture_default_str();
  command->add_option("--duration", f->duration, "seconds; 0 = until stopped")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--seed", f->seed, "of the arrivals")->capture_default_str();
  command->add_option("--output", f->output, "text or json")->check(CLI::IsMember({"text", "json"}))->capture_default_str();
  command->add_flag("--no-stream", f->no_stream, "whole answers instead of server-sent events");
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

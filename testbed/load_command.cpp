// `inferno-testbed load`: the quick start's load generator.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <iostream>

#include "net/io_context_thread.hpp"
#include "testbed/commands.hpp"
#include "testbed/load/load_generator.hpp"
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
};

[[noreturn]] void refuse(const std::string& message) {
  std::cerr << "inferno-testbed load: " << message << "\n";
  throw CLI::RuntimeError(2);
}

std::string as_text(const load_statistics& s) {
  const auto row = [](const char* name, const latency_summary& l) {
    return fmt::format("{:<8}  mean {:9.2f}  p50 {:9.2f}  p95 {:9.2f}  p99 {:9.2f}\n", name, l.mean, l.p50, l.p95, l.p99);
  };
  auto out = fmt::format("sent {}  ok {}  failed {}  tokens {}\n", s.sent, s.ok, s.failed, s.tokens);
  out += row("TTFT ms", s.ttft) + row("ITL ms", s.itl);
  if (!s.first_error.empty()) out += "first failure: " + s.first_error + "\n";
  return out;
}

std::string as_json(const load_statistics& s) {
  const auto object = [](const latency_summary& l) {
    return boost::json::object{{"mean", l.mean}, {"p50", l.p50}, {"p95", l.p95}, {"p99", l.p99}};
  };
  return boost::json::serialize(boost::json::object{{"sent", s.sent},
                                                    {"ok", s.ok},
                                                    {"failed", s.failed},
                                                    {"tokens", s.tokens},
                                                    {"ttft_ms", object(s.ttft)},
                                                    {"itl_ms", object(s.itl)},
                                                    {"first_failure", s.first_error}}) +
         "\n";
}

void run(const flags& f) {
  auto phases = parse_rate(f.rate);
  if (!phases) refuse("--rate: " + phases.error());
  if (f.duration > 0) {
    if (phases->size() != 1 || phases->front().seconds > 0) refuse("--duration: the pairs of --rate have durations of their own");
    phases->front().seconds = f.duration;
  }
  load_config config;
  std::vector<std::string> bases;
  for (auto url : f.urls) {
    if (url.rfind("http://", 0) != 0 && url.rfind("https://", 0) != 0)
      refuse(fmt::format("--url: expected http://HOST:PORT[/v1], got \"{}\"", url));
    while (!url.empty() && url.back() == '/') url.pop_back();
    if (url.size() > 3 && url.substr(url.size() - 3) == "/v1") url.resize(url.size() - 3);
    bases.push_back(url);
  }
  config.targets = [bases] { return bases; };
  config.model = f.model;
  config.phases = *phases;
  config.mode = f.mode == "poisson" ? arrival_mode::poisson : arrival_mode::deterministic;
  config.content_length = f.content_length;
  config.max_tokens = f.max_tokens;
  config.stream = !f.no_stream;
  config.seed = f.seed;
  const stop_signals signals;
  net::io_context_thread io;
  load_generator load(io.executor(), config);
  // A run with an end stops itself; one without is stopped by a signal, and reports then too.
  load.start([] { stop_signals::raise(); });
  signals.wait();
  load.stop();
  const auto s = load.statistics();
  std::cout << (f.output == "json" ? as_json(s) : as_text(s)) << std::flush;
  io.stop();
  if (s.sent > 0 && s.ok == 0) throw CLI::RuntimeError(1);
}

}  // namespace

void add_load(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("load", "Send chat completions at a rate and report latencies");
  command->add_option("--url", f->urls, "server, with or without /v1; several: the least busy one is taken")
      ->capture_default_str();
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

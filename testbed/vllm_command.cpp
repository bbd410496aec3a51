// `inferno-testbed vllm`: one emulated vLLM server.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <iostream>

#include "testbed/commands.hpp"
#include "testbed/signals.hpp"
#include "testbed/vllm/emulated_vllm.hpp"

namespace inferno::testbed {
namespace {

struct setting {
  const char* flag;
  const char* variable;
  const char* help;
};
constexpr setting settings_table[] = {
    {"--model", "MODEL_NAME", "model name"},
    {"--max-batch-size", "MAX_BATCH_SIZE", "requests served at once"},
    {"--max-queue", "MAX_QUEUE", "requests waiting beyond those"},
    {"--avg-tokens", "AVG_TOKENS", "mean output tokens"},
    {"--tokens-distribution", "TOKENS_DISTRIBUTION", "deterministic, exponential or uniform"},
    {"--max-seq-len", "MAX_SEQ_LEN", "prompt and output tokens of a request"},
    {"--profile", "PROFILE", "linear, or iteration: prefill chunks and decode steps share iterations"},
    {"--alpha", "ALPHA", "linear: decode step = alpha + beta * batch, ms; iteration: of every one, ms"},
    {"--beta", "BETA", "linear: ms per request in the batch; iteration: ms per token"},
    {"--gamma", "GAMMA",
     "linear: prefill = gamma + delta * prompt tokens * batch, ms; iteration: ms per token and token of its context"},
    {"--delta", "DELTA", "ms per prompt token and request in the batch"},
    {"--max-num-batched-tokens", "MAX_NUM_BATCHED_TOKENS", "iteration: tokens of an iteration"},
    {"--decode-time", "DECODE_TIME", "decode step whatever the batch, ms"},
    {"--prefill-time", "PREFILL_TIME", "prefill whatever the batch, ms"},
    {"--mem-size", "MEM_SIZE", "memory of the GPU, MB"},
    {"--model-size", "MODEL_SIZE", "memory of the weights, MB"},
    {"--kvc-per-token", "KVC_PER_TOKEN", "KV cache of a token, MB"},
    {"--seed", "SEED", "of the output lengths"},
};

struct flags {
  std::string address = "127.0.0.1";
  unsigned short port = 8000;
  std::string values[std::size(settings_table)];
};

void run(const flags& f) {
  const auto refuse = [](const std::string& message) {
    std::cerr << "inferno-testbed vllm: " << message << "\n";
    throw CLI::RuntimeError(2);
  };
  std::map<std::string, std::string> env;
  for (std::size_t i = 0; i < std::size(settings_table); ++i) {
    const char* inherited = std::getenv(settings_table[i].variable);
    if (!f.values[i].empty()) {
      env[settings_table[i].variable] = f.values[i];
    } else if (inherited) {
      env[settings_table[i].variable] = inherited;
    }
  }
  const auto settings = parse_settings(env);
  if (!settings) refuse(settings.error());
  const stop_signals signals;
  host where;
  auto server = emulated_vllm::start(where, *settings, f.address, f.port);
  if (!server) refuse(server.error());
  std::cout << fmt::format("serving {} at {}\n", settings->model, (*server)->url()) << std::flush;
  signals.wait();
}

}  // namespace

void add_vllm(CLI::App& app) {
  auto f = std::make_shared<flags>();
  auto* command = app.add_subcommand("vllm", "An emulated vLLM server; every setting also by its environment name");
  command->add_option("--address", f->address, "IP address to listen on")->capture_default_str();
  command->add_option("--port", f->port, "port; 0 = a free one")->capture_default_str();
  for (std::size_t i = 0; i < std::size(settings_table); ++i)
    command->add_option(settings_table[i].flag, f->values[i],
                        fmt::format("{} ({})", settings_table[i].help, settings_table[i].variable));
  command->callback([f] { run(*f); });
}

}  // namespace inferno::testbed

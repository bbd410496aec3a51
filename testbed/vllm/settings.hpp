#pragma once
// Settings of an emulated vLLM server, from the environment names of the quick start's emulator and our own.
#include <map>
#include <string>
#include <tl/expected.hpp>

#include "testbed/vllm/engine.hpp"

namespace inferno::testbed {

enum class length_distribution { constant, exponential, uniform };

struct vllm_settings {
  std::string model = "default";
  engine_config engine{model::linear_profile{20.58, 0.41, 0, 0, false}, 8, 1000, 0, true};
  double avg_tokens = 128;  ///< output tokens of a request that may stop by itself
  length_distribution lengths = length_distribution::exponential;
  int max_model_len = 32768;  ///< prompt and output tokens of a request
  std::uint64_t seed = 1;
};

/// MODEL_NAME, MAX_BATCH_SIZE, AVG_TOKENS, TOKENS_DISTRIBUTION (deterministic | exponential | uniform), MAX_SEQ_LEN, MEM_SIZE,
/// MODEL_SIZE, KVC_PER_TOKEN (MB; KV capacity = (MEM_SIZE - MODEL_SIZE) / KVC_PER_TOKEN tokens), DECODE_TIME and PREFILL_TIME
/// (ms, whatever the batch), and for times that depend on it ALPHA, BETA, GAMMA, DELTA (ms); MAX_QUEUE, SEED. Others are ignored.
/// PROFILE: linear (the above) or iteration, which takes ALPHA (ms per iteration), BETA (ms per token), GAMMA (ms per token and
/// token of its context) and MAX_NUM_BATCHED_TOKENS (tokens of an iteration). Error: names the variable and its value.
tl::expected<vllm_settings, std::string> parse_settings(const std::map<std::string, std::string>& env);

}  // namespace inferno::testbed

#include "testbed/vllm/settings.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <optional>

namespace inferno::testbed {
namespace {

constexpr double most_tokens = 1e6;

struct bad_setting {
  std::string message;
};

class environment {
 public:
  explicit environment(const std::map<std::string, std::string>& env) : env_(env) {}

  std::optional<std::string> text(const char* name) const {
    const auto it = env_.find(name);
    return it == env_.end() || it->second.empty() ? std::nullopt : std::optional(it->second);
  }
  std::optional<double> number(const char* name, double least) const {
    const auto t = text(name);
    if (!t) return std::nullopt;
    double x = 0;
    const auto [end, ec] = std::from_chars(t->data(), t->data() + t->size(), x);
    if (ec != std::errc() || end != t->data() + t->size() || !std::isfinite(x) || x < least)
      throw bad_setting{fmt::format("{}: expected a number >= {}, got \"{}\"", name, least, *t)};
    return x;
  }
  std::optional<long> count(const char* name, long least) const {
    const auto x = number(name, static_cast<double>(least));
    if (x && (*x != std::floor(*x) || *x > 1e9))
      throw bad_setting{fmt::format("{}: expected a whole number, got \"{}\"", name, *text(name))};
    return x ? std::optional(static_cast<long>(*x)) : std::nullopt;
  }

 private:
  const std::map<std::string, std::string>& env_;
};

model::linear_profile read_linear(const environment& env, model::linear_profile p) {
  if (const auto tokens = env.text("MAX_NUM_BATCHED_TOKENS"))
    throw bad_setting{fmt::format("MAX_NUM_BATCHED_TOKENS: only PROFILE=iteration has it, got \"{}\"", *tokens)};
  if (const auto fixed = env.number("DECODE_TIME", 0)) p = {*fixed, 0, p.gamma_ms, p.delta_ms, p.has_prefill};
  p.alpha_ms = env.number("ALPHA", 0).value_or(p.alpha_ms);
  p.beta_ms = env.number("BETA", 0).value_or(p.beta_ms);
  if (p.alpha_ms + p.beta_ms <= 0) throw bad_setting{"ALPHA and BETA (or DECODE_TIME): a decode step must take time"};
  const auto prefill = env.number("PREFILL_TIME", 0);
  const auto gamma = env.number("GAMMA", 0);
  const auto delta = env.number("DELTA", 0);
  p.has_prefill = prefill || gamma || delta;
  p.gamma_ms = gamma.value_or(prefill.value_or(0));
  p.delta_ms = delta.value_or(0);
  return p;
}

model::iteration_profile read_iteration(const environment& env) {
  for (const char* name : {"DELTA", "DECODE_TIME", "PREFILL_TIME"})
    if (const auto t = env.text(name))
      throw bad_setting{fmt::format("{}: PROFILE=iteration has ALPHA, BETA and GAMMA only, got \"{}\"", name, *t)};
  const auto needed = [&](const char* name) {
    if (const auto x = env.number(name, 0)) return *x;
    throw bad_setting{fmt::format("{}: PROFILE=iteration needs it", name)};
  };
  model::iteration_profile p;
  p.alpha_ms = needed("ALPHA");
  p.beta_ms = needed("BETA");
  p.gamma_ms = env.number("GAMMA", 0).value_or(0);
  p.max_batched_tokens = static_cast<int>(env.count("MAX_NUM_BATCHED_TOKENS", 1).value_or(p.max_batched_tokens));
  if (p.alpha_ms + p.beta_ms <= 0) throw bad_setting{"ALPHA and BETA: an iteration must take time, got 0 and 0"};
  return p;
}

model::performance_profile read_profile(const environment& env, const model::linear_profile& usual) {
  const auto kind = env.text("PROFILE").value_or("linear");
  if (kind == "iteration") return read_iteration(env);
  if (kind == "linear") return read_linear(env, usual);
  throw bad_setting{fmt::format("PROFILE: expected linear or iteration, got \"{}\"", kind)};
}

vllm_settings read(const environment& env) {
  vllm_settings s;
  s.model = env.text("MODEL_NAME").value_or(s.model);
  auto& e = s.engine;
  e.max_batch = static_cast<int>(env.count("MAX_BATCH_SIZE", 1).value_or(e.max_batch));
  e.max_queue = env.count("MAX_QUEUE", 0).value_or(e.max_queue);
  s.avg_tokens = env.number("AVG_TOKENS", 1).value_or(s.avg_tokens);
  if (s.avg_tokens > most_tokens) throw bad_setting{fmt::format("AVG_TOKENS: {} is more than {}", s.avg_tokens, most_tokens)};
  s.max_model_len = static_cast<int>(env.count("MAX_SEQ_LEN", 1).value_or(s.max_model_len));
  s.seed = static_cast<std::uint64_t>(env.count("SEED", 0).value_or(static_cast<long>(s.seed)));
  const auto lengths = env.text("TOKENS_DISTRIBUTION").value_or("exponential");
  if (lengths == "deterministic" || lengths == "constant") {
    s.lengths = length_distribution::constant;
  } else if (lengths == "exponential") {
    s.lengths = length_distribution::exponential;
  } else if (lengths == "uniform") {
    s.lengths = length_distribution::uniform;
  } else {
    throw bad_setting{fmt::format("TOKENS_DISTRIBUTION: expected deterministic, exponential or uniform, got \"{}\"", lengths)};
  }
  e.usual_out = s.avg_tokens;
  e.profile = read_profile(env, std::get<model::linear_profile>(e.profile));
  const auto memory = env.number("MEM_SIZE", 0);
  const auto model = env.number("MODEL_SIZE", 0);
  const auto per_token = env.number("KVC_PER_TOKEN", 0);
  if (memory && per_token && *per_token > 0) {
    e.kv_tokens = std::floor((*memory - model.value_or(0)) / *per_token);
    if (e.kv_tokens < 1)
      throw bad_setting{
          fmt::format("MEM_SIZE: {} MB leave no room for a token beside MODEL_SIZE {} MB", *memory, model.value_or(0))};
    // As vLLM does: a request that cannot ever fit is refused as too long.
    s.max_model_len = static_cast<int>(std::min<double>(s.max_model_len, e.kv_tokens));
  }
  return s;
}

}  // namespace

tl::expected<vllm_settings, std::string> parse_settings(const std::map<std::string, std::string>& env) {
  try {
    return read(environment(env));
  } catch (const bad_setting& e) {
    return tl::unexpected(e.message);
  }
}

}  // namespace inferno::testbed

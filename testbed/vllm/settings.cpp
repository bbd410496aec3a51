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
  auto& p = e.profile;
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

#include "model/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace inferno::model {
namespace {

template <std::size_t n>
std::optional<std::string> bad_numbers(const number_limits& limits, const std::pair<const char*, double> (&numbers)[n]) {
  for (const auto& [name, value] : numbers)
    if (!limits.hold(value)) return fmt::format("{}: expected {}, got {}", name, limits.text(), value);
  return std::nullopt;
}

batch_times times(const linear_profile& p, const request_shape& shape, double n) {
  batch_times t;
  if (p.has_prefill && shape.in_tokens > 0) t.prefill_ms = p.gamma_ms + p.delta_ms * shape.in_tokens * n;
  t.itl_ms = p.alpha_ms + p.beta_ms * n;
  double steps = shape.out_tokens;
  if (p.has_prefill) steps = shape.in_tokens == 0 && shape.out_tokens == 1 ? 1 : std::max(0.0, shape.out_tokens - 1);
  t.service_ms = t.prefill_ms + steps * t.itl_ms;
  t.first_token_ms = t.prefill_ms;
  return t;
}

batch_times times(const iteration_profile& p, const request_shape& shape, double n) {
  const double m = shape.out_tokens, in = shape.in_tokens;
  const double c = prefill_chunks(p, shape, n);
  const double prefill_work = (p.beta_ms + p.gamma_ms * (c + 1) / 2) * in;
  // The work of an answer grows with the square of its length, and E[m^2] = m^2 (1 + cv^2).
  const double spread = shape.out_cv > 0 ? shape.out_cv * shape.out_cv : 0;
  const double decode_work = p.beta_ms * m + p.gamma_ms * m * (in + (m * (1 + spread) + 1) / 2);
  const double per_request = (prefill_work + decode_work) / (c + m);
  batch_times t;
  t.service_ms = (c + m) * (p.alpha_ms + n * per_request);
  t.prefill_ms = c * std::max(p.alpha_ms + (n - 1) * per_request, 0.0) + prefill_work;
  t.itl_ms = (t.service_ms - t.prefill_ms) / m;
  t.first_token_ms = t.prefill_ms + t.itl_ms;
  return t;
}

}  // namespace

double prefill_chunks(const iteration_profile& p, const request_shape& shape, double n) {
  const double in = shape.in_tokens, m = shape.out_tokens, budget = p.max_batched_tokens;
  const double wanted = std::max(1.0, std::floor(n));
  const auto enough = [&](double c) { return (c + m) * (budget - in / c) >= wanted * (in + m); };
  // (c + m)(M - in/c) = n(in + m) is a quadratic in c, whose root is written so that it loses no digits.
  const double half = (m * budget - in - wanted * (in + m)) / (2 * budget);
  const double radical = std::sqrt(half * half + m * in / budget);
  const double root = half > 0 ? m * in / budget / (half + radical) : radical - half;
  // Rounding may put it a chunk off; where a chunk more is below the precision of c, it makes no difference either.
  double c = std::max(1.0, std::ceil(root) - 1);
  for (int more = 0; more < 3 && !enough(c); ++more) c += 1;
  return c;
}

batch_times times_at(const performance_profile& profile, const request_shape& shape, double n) {
  return std::visit([&](const auto& p) { return times(p, shape, n); }, profile);
}

std::optional<int> kv_batch_limit(const kv_memory& memory, const request_shape& shape) {
  if (memory.bytes <= 0 || memory.bytes_per_token <= 0) return std::nullopt;
  const double cv = shape.out_cv < 0 ? 1 : shape.out_cv;
  const double held = shape.in_tokens + shape.out_tokens * (1 + cv * cv) / 2;
  const double fits = std::floor(memory.bytes / (memory.bytes_per_token * std::max(held, 1.0)));
  return static_cast<int>(std::clamp(fits, 1.0, static_cast<double>(max_batch_limit)));
}

std::optional<std::string> validate(const performance_profile& profile) {
  if (const auto* p = std::get_if<iteration_profile>(&profile)) {
    if (auto problem = bad_numbers(limits::profile_ms, {{"alpha", p->alpha_ms}, {"beta", p->beta_ms}, {"gamma", p->gamma_ms}}))
      return problem;
    if (!limits::iteration_tokens.hold(p->max_batched_tokens))
      return fmt::format("max_batched_tokens: expected {}, got {}", limits::iteration_tokens.text(), p->max_batched_tokens);
    if (p->alpha_ms + p->beta_ms <= 0) return std::string("alpha and beta are both 0: an iteration must take time");
    return std::nullopt;
  }
  const auto& p = std::get<linear_profile>(profile);
  if (auto problem = bad_numbers(limits::profile_ms,
                                 {{"alpha", p.alpha_ms}, {"beta", p.beta_ms}, {"gamma", p.gamma_ms}, {"delta", p.delta_ms}}))
    return problem;
  if (p.alpha_ms + p.beta_ms <= 0) return std::string("alpha and beta are both 0: a decode step must take time");
  return std::nullopt;
}

std::optional<std::string> validate(const request_shape& shape) {
  if (auto problem = bad_numbers(limits::tokens, {{"in_tokens", shape.in_tokens}, {"out_tokens", shape.out_tokens}}))
    return problem;
  if (!(shape.out_cv < 0) && !limits::variation.hold(shape.out_cv))
    return fmt::format("out_cv: expected {}, got {}", limits::variation.text(), shape.out_cv);
  if (shape.out_tokens <= 0) return fmt::format("out_tokens: expected a number > 0, got {}", shape.out_tokens);
  return std::nullopt;
}

std::optional<std::string> validate(const kv_memory& memory) {
  if (memory.bytes > 0 && memory.bytes_per_token <= 0) return std::string("kvBytesPerToken: required with kvCacheGiB");
  if (memory.bytes <= 0 && memory.bytes_per_token > 0) return std::string("kvCacheGiB: required with kvBytesPerToken");
  if (memory.bytes < memory.bytes_per_token)
    return fmt::format("kvCacheGiB: {:.6g} GiB do not hold one token, which takes kvBytesPerToken {:.6g}",
                       memory.bytes / (1 << 30), memory.bytes_per_token);
  return std::nullopt;
}

}  // namespace inferno::model

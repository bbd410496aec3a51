#pragma once
// What a replica is made of: how long a batch takes on an accelerator, the lengths of its requests, its memory.
#include <optional>
#include <string>
#include <variant>

#include "model/limits.hpp"

namespace inferno::model {

/// Linear profile of a model on an accelerator: decode step(n) = alpha + beta*n ms, prefill(n) = gamma + delta*in*n ms for batch
/// n. The form of the Go autoscaler's `perfParms`.
struct linear_profile {
  double alpha_ms = 0;
  double beta_ms = 0;
  double gamma_ms = 0;
  double delta_ms = 0;
  bool has_prefill =
      false;  ///< false: a profile without prefill parameters; prefill(n) = 0 and every output token is a decode step
  bool operator==(const linear_profile&) const = default;
};

/// Iteration profile: chunked prefill shares its iterations with decoding. With m output tokens, `in` input tokens in c chunks,
/// an iteration of batch n takes T(n) = alpha + n*D ms, D = (w_pre + w_dec)/(c + m), with the work of a request
/// w_pre = (beta + gamma(c+1)/2) in and w_dec = beta m + gamma m (in + (m+1)/2). A request takes c + m iterations. (The model of
/// the Go autoscaler's successor: linear work per token, and attention's work by the tokens in context.) Where the variation cv
/// of the lengths is known, m (1 + cv^2) stands in the last bracket for m: the mean work of answers is not the work of the mean
/// one.
struct iteration_profile {
  double alpha_ms = 0;            ///< of an iteration, whatever its tokens
  double beta_ms = 0;             ///< per token computed
  double gamma_ms = 0;            ///< per token computed and token of its context (ms/token^2)
  int max_batched_tokens = 8192;  ///< vLLM's --max-num-batched-tokens
  bool operator==(const iteration_profile&) const = default;
};

using performance_profile = std::variant<linear_profile, iteration_profile>;

/// Lengths of a request, in tokens.
struct request_shape {
  double in_tokens = 0;   ///< mean
  double out_tokens = 0;  ///< mean
  /// Standard deviation of the output tokens over their mean. Negative: not known, service times are taken as exponential.
  double out_cv = -1;
  bool operator==(const request_shape&) const = default;
};

inline constexpr int max_batch_limit = static_cast<int>(limits::batch.most);

/// Memory of one replica for the keys and values of its tokens; 0 = not known.
struct kv_memory {
  double bytes = 0;            ///< of the whole replica, weights and activations not counted
  double bytes_per_token = 0;  ///< 2 * layers * KV heads * head size * bytes of a number
  bool operator==(const kv_memory&) const = default;
};

/// The times of a request that shares a batch of n, constant over its life.
struct batch_times {
  double service_ms = 0;      ///< prefill and all decode steps
  double prefill_ms = 0;      ///< of the prompt
  double itl_ms = 0;          ///< between two tokens
  double first_token_ms = 0;  ///< admission to first token
};

/// Batch `n` >= 0, whole or not. Linear: decode step and prefill of batch n; service = prefill + d steps, d = out - 1 (1 when
/// in = 0 and out = 1), or d = out without prefill parameters. Iteration: service = (c + m) T(n), prefill = c max(alpha +
/// (n-1) D, 0) + w_pre, ITL = (service - prefill)/m, and the first token comes an ITL after the prefill.
batch_times times_at(const performance_profile&, const request_shape&, double n);

/// Chunks in which a prompt is prefilled while n requests share the token budget M of an iteration: the smallest c with
/// floor((c+m)(M - in/c)/(in+m)) >= n.
double prefill_chunks(const iteration_profile&, const request_shape&, double n);

/// The batch that fits the KV memory when each request holds `in` plus what it has made so far. A request seen at a random moment
/// /// comes from the length-biased distribution (inspection paradox): it has made out (1 + cv^2)/2 tokens, with cv = 1 when that
/// is not known. At least 1, at most max_batch_limit; nullopt: memory is not known.
std::optional<int> kv_batch_limit(const kv_memory&, const request_shape&);

/// Refuses what is outside of model/limits.hpp, NaN, and a profile of zeros; empty = valid. The message names the parameter and
/// the value.
std::optional<std::string> validate(const performance_profile&);
std::optional<std::string> validate(const request_shape&);
/// Refuses one of the two numbers without the other, and a memory that does not hold one token; the message begins with the
/// field's name in SystemData and in VariantAutoscalings.
std::optional<std::string> validate(const kv_memory&);

}  // namespace inferno::model

#pragma once
// Limits of the numbers that come from outside. SystemData, VariantAutoscalings and ConfigMaps are read by this one table, and
// the CustomResourceDefinition repeats it (a test compares the two).
#include <optional>
#include <string>
#include <string_view>

namespace inferno::model {

/// The accepted range, both ends included.
struct number_limits {
  double least = 0;
  double most = 0;
  bool whole = false;  ///< no fraction
  bool zero = true;    ///< false: 0 is outside although `least` is 0

  bool hold(double x) const;
  /// What is expected, for messages: "a whole number from 1 to 65536", "a number from 0 to 1000000".
  std::string text() const;
};

namespace limits {
inline constexpr number_limits replicas{0, 100'000, true};       ///< of one variant
inline constexpr number_limits most_replicas{1, 100'000, true};  ///< spec.maxReplicas
inline constexpr number_limits batch{1, 65'536, true};           ///< analysis takes time proportional to it
inline constexpr number_limits units{1, 1'024, true};            ///< accelerators of a replica, GPUs of an accelerator
inline constexpr number_limits gpus{0, 1'000'000'000, true};     ///< of one type
inline constexpr number_limits priority{1, 100, true};           ///< 1 is the most important
inline constexpr number_limits tokens{0, 10'000'000};            ///< mean length of prompts or answers
inline constexpr number_limits token_count{0, 10'000'000, true};
inline constexpr number_limits iteration_tokens{1, 10'000'000, true};
inline constexpr number_limits profile_ms{0, 1'000'000};                  ///< alpha, beta, gamma, delta
inline constexpr number_limits target{0, 1'000'000'000};                  ///< ms, or tokens per second
inline constexpr number_limits cost{0, 1'000'000'000};                    ///< cents per hour of one accelerator
inline constexpr number_limits kv_gib{0, 1'000'000, false, false};        ///< of one replica
inline constexpr number_limits kv_bytes{0, 1'000'000'000, false, false};  ///< per token
inline constexpr number_limits rate_per_min{0, 1'000'000'000};            ///< requests of one variant
inline constexpr number_limits variation{0, 100};                         ///< coefficient of variation of lengths
inline constexpr number_limits observed{0, 1e15};                         ///< what is only shown or compared
}  // namespace limits

/// A decimal number, all of `text`: no sign but '-', no space, no hexadecimal, infinite or NaN; nullopt: it is none.
std::optional<double> parse_number(std::string_view text);

}  // namespace inferno::model

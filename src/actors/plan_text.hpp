#pragma once
// A plan as people and programs read it: JSON, YAML, and the tables of `inferno get` and `inferno explain`.
#include <optional>
#include <string>
#include <string_view>

#include "actors/messages.hpp"

namespace inferno::actors {

enum class text_format { json, yaml, table };
/// nullopt: there is no such format.
std::optional<text_format> parse_text_format(std::string_view);

/// The whole plan (`plan` may be nullptr: there is none yet), or the variants of one namespace of it. `leading`: it is acted on.
std::string plan_text(const plan_snapshot* plan, text_format, const std::string& ns = {}, bool leading = true);
/// One variant of it; nullopt when the plan does not have it.
std::optional<std::string> variant_text(const plan_snapshot* plan, const variant_key& key, text_format);
/// Why it got what it got: candidates, what denied them, prices of GPUs, next best, other SLOs. nullopt as above.
std::optional<std::string> explain_text(const plan_snapshot* plan, const variant_key& key, text_format);

}  // namespace inferno::actors

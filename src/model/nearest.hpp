#pragma once
// The known name that a mistyped one was meant to be.
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace inferno::model {

/// The candidate that is fewest edits (insertion, removal, replacement, exchange of neighbours; case does not count) from `word`,
/// if those are at most a third of its length (two at least); of several the first.
std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates);

/// `unknown field; did you mean "slo-itl"?`, without the question if no known name is near.
std::string unknown_field(std::string_view name, std::span<const std::string_view> known);

}  // namespace inferno::model

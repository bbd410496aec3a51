#pragma once
// Mistyped subcommands and flags: what was meant.
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace inferno::cli {

/// The candidate that is fewest edits (insertion, removal, replacement, exchange of neighbours) from `word`, if those are at most
/// a third of its length (two at least); of several the first.
std::optional<std::string> nearest(const std::string& word, const std::vector<std::string>& candidates);

/// The first argument that is neither a subcommand nor a flag of the subcommand before it, as a message for people with the
/// nearest one there is; nullopt: what is wrong is something else.
std::optional<std::string> unknown_word(CLI::App& app, int argc, const char* const* argv);

}  // namespace inferno::cli

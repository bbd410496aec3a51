#pragma once
// Mistyped subcommands and flags: what was meant.
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace inferno::cli {

/// The first argument that is neither a subcommand nor a flag of the subcommand before it, as a message for people with the
/// nearest one there is; nullopt: what is wrong is something else.
std::optional<std::string> unknown_word(CLI::App& app, int argc, const char* const* argv);

}  // namespace inferno::cli

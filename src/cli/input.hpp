#pragma once
// Files that users name on the command line.
#include <string>
#include <tl/expected.hpp>

namespace inferno::cli {

/// The whole file; "-" = standard input. Error: why it cannot be read.
tl::expected<std::string, std::string> read_input(const std::string& file);
/// How messages call it.
std::string input_name(const std::string& file);

}  // namespace inferno::cli

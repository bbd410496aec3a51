#pragma once
// Pages of which a command writes a part.
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>

namespace inferno::testbed {

/// `page` with `text` in place of what stands between the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`; error: it has
/// none.
tl::expected<std::string, std::string> with_part(const std::string& page, std::string_view name, const std::string& text);

tl::expected<std::string, std::string> read_file(const std::string& path);
/// Empty = done.
std::optional<std::string> write_file(const std::string& path, const std::string& text);

}  // namespace inferno::testbed

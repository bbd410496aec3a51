#include "testbed/page.hpp"

#include <fmt/format.h>

#include <fstream>
#include <sstream>

namespace inferno::testbed {

tl::expected<std::string, std::string> with_part(const std::string& page, std::string_view name, const std::string& text) {
  const auto begin_marker = fmt::format("<!-- {}: begin -->", name);
  const auto end_marker = fmt::format("<!-- {}: end -->", name);
  const auto begin = page.find(begin_marker + "\n");
  const auto end = page.find(end_marker);
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    return tl::unexpected(fmt::format("no line \"{}\" with \"{}\" after it", begin_marker, end_marker));
  return page.substr(0, begin + begin_marker.size() + 1) + "\n" + text + "\n" + page.substr(end);
}

tl::expected<std::string, std::string> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return tl::unexpected("cannot read " + path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::optional<std::string> write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) return "cannot write " + path;
  return std::nullopt;
}

}  // namespace inferno::testbed

#include <fmt/format.h>

#include <boost/json/parse.hpp>

#include "net/kube/client.hpp"

namespace inferno::net::kube {
namespace {

result<watch_event> decode(std::string_view line) {
  boost::system::error_code ec;
  auto v = json::parse(json::string_view(line.data(), line.size()), ec);
  if (ec) return fail(error_kind::decode, fmt::format("watch: a line is not JSON: {}", ec.message()));
  auto* object = v.if_object();
  const auto* type = object ? object->if_contains("type") : nullptr;
  auto* inner = object ? object->if_contains("object") : nullptr;
  if (!type || !type->is_string() || !inner || !inner->is_object())
    return fail(error_kind::decode, "watch: a line is not an event with type and object");
  static constexpr std::pair<std::string_view, watch_type> types[] = {{"ADDED", watch_type::added},
                                                                      {"MODIFIED", watch_type::modified},
                                                                      {"DELETED", watch_type::deleted},
                                                                      {"BOOKMARK", watch_type::bookmark},
                                                                      {"ERROR", watch_type::error}};
  const std::string_view name(type->get_string().data(), type->get_string().size());
  for (const auto& [known, value] : types)
    if (known == name) return watch_event{value, std::move(inner->get_object())};
  return fail(error_kind::decode, fmt::format("watch: unknown event type \"{}\"", name));
}

}  // namespace

watch_decoder::watch_decoder(std::size_t max_line) : max_line_(max_line) {}

result<void> watch_decoder::feed(std::string_view bytes, std::vector<watch_event>& out) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const auto part = bytes.substr(0, end);
    if (buffer_.size() + part.size() > max_line_)
      return fail(error_kind::too_large, fmt::format("watch: a line is longer than {} bytes", max_line_));
    if (end == std::string_view::npos) {
      buffer_ += part;
      return {};
    }
    bytes.remove_prefix(end + 1);
    std::string_view line = part;
    if (!buffer_.empty()) {
      buffer_ += part;
      line = buffer_;
    }
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      auto event = decode(line);
      if (!event) return tl::unexpected<error>(event.error());
      out.push_back(std::move(*event));
    }
    buffer_.clear();
  }
  return {};
}

}  // namespace inferno::net::kube

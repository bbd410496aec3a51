#include "testbed/cluster/selectors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace inferno::testbed {
namespace {

std::string trimmed(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return std::string(s);
}

/// At commas outside parentheses.
std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> out;
  int depth = 0;
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] == '(') ++depth;
    if (i < text.size() && text[i] == ')') --depth;
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      auto part = trimmed(text.substr(begin, i - begin));
      if (!part.empty()) out.push_back(std::move(part));
      begin = i + 1;
    }
  }
  return out;
}

std::vector<std::string> listed(std::string_view text) {
  const auto open = text.find('('), close = text.rfind(')');
  if (open == std::string_view::npos || close == std::string_view::npos || close < open) return {};
  return split(text.substr(open + 1, close - open - 1));
}

/// "metadata.name" and the like; anything that is not text is compared as it is written.
std::optional<std::string> field_value(const json::object& object, std::string_view path) {
  const json::object* at = &object;
  for (;;) {
    const auto dot = path.find('.');
    const auto* v = at->if_contains(path.substr(0, dot));
    if (!v) return std::nullopt;
    if (dot == std::string_view::npos) {
      if (v->is_string()) return std::string(v->get_string());
      if (v->is_bool()) return v->get_bool() ? "true" : "false";
      if (v->is_int64()) return std::to_string(v->get_int64());
      return std::nullopt;
    }
    if (!v->is_object()) return std::nullopt;
    at = &v->get_object();
    path.remove_prefix(dot + 1);
  }
}

}  // namespace

tl::expected<selector, std::string> selector::labels(std::string_view text) {
  selector out;
  for (const auto& part : split(text)) {
    const auto word = part.find_first_of(" =!(");
    requirement r;
    if (part.front() == '!') {
      r = {trimmed(std::string_view(part).substr(1)), op::absent, {}};
    } else if (word == std::string::npos) {
      r = {part, op::exists, {}};
    } else {
      r.name = part.substr(0, word);
      const auto rest = trimmed(std::string_view(part).substr(word));
      if (const bool set = rest.rfind("notin", 0) == 0 || rest.rfind("in", 0) == 0;
          set && (rest.back() != ')' || listed(rest).empty())) {
        return tl::unexpected(fmt::format("unable to parse requirement: \"{}\" lacks its values in parentheses", part));
      } else if (rest.rfind("notin", 0) == 0) {
        r.what = op::not_in;
        r.values = listed(rest);
      } else if (rest.rfind("in", 0) == 0) {
        r.what = op::in;
        r.values = listed(rest);
      } else if (rest.rfind("!=", 0) == 0) {
        r.what = op::not_in;
        r.values = {trimmed(std::string_view(rest).substr(2))};
      } else if (rest.rfind("=", 0) == 0) {
        r.what = op::in;
        r.values = {trimmed(std::string_view(rest).substr(rest.rfind("==", 0) == 0 ? 2 : 1))};
      } else {
        return tl::unexpected(fmt::format("unable to parse requirement: \"{}\"", part));
      }
    }
    if (r.name.empty()) return tl::unexpected(fmt::format("unable to parse requirement: \"{}\"", part));
    out.all_.push_back(std::move(r));
  }
  return out;
}

tl::expected<selector, std::string> selector::fields(std::string_view text) {
  selector out;
  out.by_field_ = true;
  for (const auto& part : split(text)) {
    const auto equals = part.find('=');
    if (equals == std::string::npos || equals == 0)
      return tl::unexpected(fmt::format("invalid selector: '{}'; can't understand '{}'", text, part));
    const bool negative = part[equals - 1] == '!';
    auto value = std::string_view(part).substr(equals + 1);
    if (!value.empty() && value.front() == '=') value.remove_prefix(1);
    out.all_.push_back({trimmed(part.substr(0, equals - (negative ? 1 : 0))), negative ? op::not_in : op::in, {trimmed(value)}});
  }
  return out;
}

bool selector::matches(const json::object& object) const {
  return std::all_of(all_.begin(), all_.end(), [&](const requirement& r) {
    std::optional<std::string> value;
    if (by_field_) {
      value = field_value(object, r.name).value_or("");
    } else if (const auto* v = find(object, {"metadata", "labels", r.name}); v && v->is_string()) {
      value = std::string(v->get_string());
    }
    const bool among = value && std::find(r.values.begin(), r.values.end(), *value) != r.values.end();
    switch (r.what) {
      case op::in:
        return among;
      case op::not_in:
        return !among;
      case op::exists:
        return value.has_value();
      case op::absent:
        break;
    }
    return !value.has_value();
  });
}

}  // namespace inferno::testbed

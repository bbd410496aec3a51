#include "net/kube/json_path.hpp"

namespace inferno::net::kube {

namespace json = boost::json;

const json::value* find(const json::object& from, std::initializer_list<std::string_view> path) {
  const json::object* at = &from;
  const json::value* found = nullptr;
  for (const auto& name : path) {
    if (!at) return nullptr;
    found = at->if_contains(name);
    if (!found) return nullptr;
    at = found->if_object();
  }
  return found;
}

const json::value* find(const json::value& from, std::initializer_list<std::string_view> path) {
  return from.is_object() ? find(from.get_object(), path) : nullptr;
}

std::string text_at(const json::object& from, std::initializer_list<std::string_view> path) {
  const auto* v = find(from, path);
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

long integer_at(const json::object& from, std::initializer_list<std::string_view> path, long fallback) {
  const auto* v = find(from, path);
  if (!v || !v->is_number()) return fallback;
  std::error_code ec;
  const auto n = v->to_number<std::int64_t>(ec);
  return ec ? fallback : n;
}

}  // namespace inferno::net::kube

#pragma once
// Reading Kubernetes objects as JSON by paths of names.
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <initializer_list>
#include <string>
#include <string_view>

namespace inferno::net::kube {

/// The value at a path of names, nullptr when a step is missing.
const boost::json::value* find(const boost::json::object& from, std::initializer_list<std::string_view> path);
const boost::json::value* find(const boost::json::value& from, std::initializer_list<std::string_view> path);
/// "" when absent or not a string.
std::string text_at(const boost::json::object& from, std::initializer_list<std::string_view> path);
/// `fallback` when absent or not a whole number.
long integer_at(const boost::json::object& from, std::initializer_list<std::string_view> path, long fallback);

}  // namespace inferno::net::kube

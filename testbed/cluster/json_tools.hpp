#pragma once
// Small helpers for Kubernetes objects as JSON.
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <initializer_list>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "net/kube/json_path.hpp"

namespace inferno::testbed {

namespace json = boost::json;

using net::kube::find;
using net::kube::integer_at;
using net::kube::text_at;
/// The object at a path, made where it is missing.
json::object& object_at(json::object& from, std::initializer_list<std::string_view> path);

/// The documents of a YAML (or JSON) text; empty documents are left out. Error: says where.
tl::expected<std::vector<json::object>, std::string> parse_manifests(const std::string& text);

/// RFC 7386.
void merge_patch(json::value& target, const json::value& patch);
/// RFC 6902. Error: names the operation.
tl::expected<void, std::string> json_patch(json::value& target, const json::value& patch);
/// The merge key of a list of the core API by the name of its field, "" for lists that are replaced as a whole.
std::string_view list_merge_key(std::string_view field);
/// Kubernetes' strategic merge: lists of the usual objects are merged by their key; $patch: delete and replace, $setElementOrder
/// ignored.
void strategic_merge(json::value& target, const json::value& patch, std::string_view field = {});

}  // namespace inferno::testbed

#include "testbed/cluster/api.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>

#include "testbed/cluster/reviews.hpp"
#include "testbed/cluster/schema.hpp"

namespace inferno::testbed {
namespace {

constexpr const char* apply_type = "application/apply-patch+yaml";

std::vector<std::string> split(std::string_view path) {
  std::vector<std::string> out;
  while (!path.empty()) {
    const auto slash = path.find('/');
    if (slash != 0) out.emplace_back(path.substr(0, slash));
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash + 1);
  }
  return out;
}

api_error bad_request(std::string message) { return {400, "BadRequest", std::move(message)}; }

api_result<std::optional<patch_kind>> patch_kind_of(const api_request& r) {
  if (r.method != "PATCH") return std::nullopt;
  const auto type = r.content_type.substr(0, r.content_type.find(';'));
  if (type == "application/merge-patch+json") return patch_kind::merge;
  if (type == "application/json-patch+json") return patch_kind::json;
  if (type == "application/strategic-merge-patch+json") return patch_kind::strategic;
  return tl::unexpected(api_error{
      415, "UnsupportedMediaType",
      fmt::format(
          "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
          "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml; got \"{}\"",
          type)});
}

/// fieldValidation=Strict, kubectl's default: what the schema does not know is an error instead of being dropped.
api_result<void> check_strict(const api_request& r, const kind_info& kind, const json::value& body) {
  if (r.parameter("fieldValidation") != "Strict" || !kind.schema || !body.is_object()) return {};
  auto copy = body.get_object();
  const auto found = apply_schema(*kind.schema, copy);
  if (found.unknown.empty()) return {};
  std::string all;
  for (const auto& path : found.unknown) all += fmt::format("{}unknown field \"{}\"", all.empty() ? "" : ", ", path);
  return tl::unexpected(bad_request("strict decoding error: " + all));
}

api_answer object_answer(const api_request& r, const resolved& at, const object_store& store, const object_ptr& object,
                         int status = 200) {
  if (r.wants_table()) return {status, json::serialize(make_table(*at.kind, {object}, store.now(), r.included()))};
  return {status, json::serialize(*object)};
}

api_answer list_answer(const object_store& store, const api_request& r, const resolved& at) {
  const auto chosen = selectors_of(r);
  if (!chosen) return failure(chosen.error());
  std::size_t limit = 0;
  const auto text = r.parameter("limit");
  if (!text.empty() && std::from_chars(text.data(), text.data() + text.size(), limit).ec != std::errc())
    return failure(bad_request(fmt::format("limit: expected a whole number, got \"{}\"", text)));
  const auto found = store.list(*at.kind, at.path.ns, chosen->labels, chosen->fields, limit, r.parameter("continue"));
  if (!found) return failure(found.error());
  json::object meta{{"resourceVersion", std::to_string(found->revision)}};
  if (!found->next.empty()) {
    meta["continue"] = found->next;
    meta["remainingItemCount"] = found->remaining;
  }
  if (r.wants_table()) {
    auto table = make_table(*at.kind, found->items, store.now(), r.included());
    table["metadata"] = std::move(meta);
    return {200, json::serialize(table)};
  }
  // Written by hand: the items are shared and need not be copied into one value.
  std::string out = fmt::format(R"({{"kind":"{}List","apiVersion":"{}","metadata":{},"items":[)", at.kind->kind,
                                at.kind->group_version(), json::serialize(meta));
  for (std::size_t i = 0; i < found->items.size(); ++i) {
    if (i > 0) out += ',';
    out += json::serialize(*found->items[i]);
  }
  return {200, out + "]}"};
}

api_answer create_answer(object_store& store, const api_request& r, const resolved& at) {
  auto body = parse_body(r);
  if (!body) return failure(body.error());
  if (!body->is_object()) return failure(bad_request("the body must be an object"));
  auto& object = body->get_object();
  const auto kind = text_at(object, {"kind"});
  const auto version = text_at(object, {"apiVersion"});
  if ((!kind.empty() && kind != at.kind->kind) || (!version.empty() && version != at.kind->group_version()))
    return failure(bad_request(fmt::format("the object provided is {} of {}, this is the path of {} of {}", kind, version,
                                           at.kind->kind, at.kind->group_version())));
  if (const auto strict = check_strict(r, *at.kind, *body); !strict) return failure(strict.error());
  const auto made = store.create(at.kind, at.path.ns, std::move(object));
  return made ? object_answer(r, at, store, *made, 201) : failure(made.error());
}

/// Server-side apply: application/apply-patch+yaml.
api_answer apply_answer(object_store& store, const api_request& r, const resolved& at) {
  auto body = parse_body(r);
  if (!body) return failure(body.error());
  if (!body->is_object()) return failure(bad_request("the body must be an object"));
  auto& config = body->get_object();
  if (r.parameter("fieldManager").empty()) return failure(bad_request("fieldManager is required for apply patch"));
  if (text_at(config, {"kind"}) != at.kind->kind || text_at(config, {"apiVersion"}) != at.kind->group_version())
    return failure(
        bad_request(fmt::format("the object provided is {} of {}, this is the path of {} of {}", text_at(config, {"kind"}),
                                text_at(config, {"apiVersion"}), at.kind->kind, at.kind->group_version())));
  if (const auto said = text_at(config, {"metadata", "name"}); said != at.path.name)
    return failure(
        bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", said, at.path.name)));
  if (const auto strict = check_strict(r, *at.kind, *body); !strict) return failure(strict.error());
  const auto done = store.apply(at.kind, {at.path.ns, at.path.name}, std::move(config), r.flag("force"), at.path.subresource);
  return done ? object_answer(r, at, store, done->object, done->created ? 201 : 200) : failure(done.error());
}

api_answer change_answer(object_store& store, const api_request& r, const resolved& at) {
  if (r.method == "PATCH" && r.content_type.starts_with(apply_type)) {
    if (at.path.subresource != "scale") return apply_answer(store, r, at);
    return failure({415, "UnsupportedMediaType", "server-side apply of the scale subresource is not emulated"});
  }
  auto body = parse_body(r);
  if (!body) return failure(body.error());
  const auto how = patch_kind_of(r);
  if (!how) return failure(how.error());
  const object_name name{at.path.ns, at.path.name};
  if (at.path.subresource == "scale") {
    const auto scale = store.update_scale(at.kind, name, *body, *how);
    return scale ? api_answer{200, json::serialize(*scale)} : failure(scale.error());
  }
  if (*how != patch_kind::json)
    if (const auto strict = check_strict(r, *at.kind, *body); !strict) return failure(strict.error());
  if (*how == patch_kind::strategic && at.kind->schema)
    return failure({415, "UnsupportedMediaType",
                    "the body of the request was in an unknown format - accepted media types include: "
                    "application/json-patch+json, application/merge-patch+json"});
  if (*how) {
    const auto stored = store.patch(at.kind, name, *body, **how, at.path.subresource);
    return stored ? object_answer(r, at, store, *stored) : failure(stored.error());
  }
  if (!body->is_object()) return failure(bad_request("the body must be an object"));
  if (const auto said = text_at(body->get_object(), {"metadata", "name"}); said != at.path.name)
    return failure(
        bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", said, at.path.name)));
  const auto stored = store.update(at.kind, name, std::move(body->get_object()), at.path.subresource);
  return stored ? object_answer(r, at, store, *stored) : failure(stored.error());
}

api_answer delete_answer(object_store& store, const api_request& r, const resolved& at) {
  object_store::remove_options how;
  if (const auto text = r.parameter("gracePeriodSeconds"); !text.empty()) {
    std::int64_t seconds = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (ec != std::errc() || end != text.data() + text.size() || seconds < 0)
      return failure(bad_request(fmt::format("gracePeriodSeconds: expected a whole number >= 0, got \"{}\"", text)));
    how.grace_s = seconds;
  }
  how.orphan = r.parameter("propagationPolicy") == "Orphan";
  if (!r.body.empty()) {
    const auto options = parse_body(r);
    if (!options) return failure(options.error());
    if (options->is_object()) {
      if (const auto* seconds = find(*options, {"gracePeriodSeconds"}); seconds && seconds->is_int64())
        how.grace_s = seconds->get_int64();
      how.orphan = how.orphan || text_at(options->get_object(), {"propagationPolicy"}) == "Orphan";
      const auto present = at.path.name.empty() ? nullptr : store.peek(at.kind->plural, {at.path.ns, at.path.name});
      for (const auto* field : {"uid", "resourceVersion"}) {
        const auto wanted = text_at(options->get_object(), {"preconditions", field});
        if (present && !wanted.empty() && wanted != text_at(*present, {"metadata", field}))
          return failure({409, "Conflict",
                          fmt::format("Precondition failed: {} in precondition: {}, in object meta: {}", field, wanted,
                                      text_at(*present, {"metadata", field}))});
      }
    }
  }
  how.at_once = how.grace_s && *how.grace_s <= 0;
  if (!at.path.name.empty()) {
    const auto gone = store.remove(at.kind, {at.path.ns, at.path.name}, how);
    if (!gone) return failure(gone.error());
    if (find(**gone, {"metadata", "deletionTimestamp"})) return object_answer(r, at, store, *gone);
    json::object details{{"name", at.path.name},
                         {"group", at.kind->group},
                         {"kind", at.kind->plural},
                         {"uid", text_at(**gone, {"metadata", "uid"})}};
    return {200, json::serialize(json::object{{"kind", "Status"},
                                              {"apiVersion", "v1"},
                                              {"metadata", json::object{}},
                                              {"status", "Success"},
                                              {"details", std::move(details)}})};
  }
  const auto chosen = selectors_of(r);
  if (!chosen) return failure(chosen.error());
  const auto found = store.list(*at.kind, at.path.ns, chosen->labels, chosen->fields);
  if (!found) return failure(found.error());
  for (const auto& o : found->items)
    (void)store.remove(at.kind, {text_at(*o, {"metadata", "namespace"}), text_at(*o, {"metadata", "name"})}, how);
  return {200, json::serialize(
                   json::object{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", json::object{}}, {"status", "Success"}})};
}

/// The parameter, or as kubectl sends it with a deletion: in its options.
bool is_dry_run(const api_request& r) {
  if (r.parameter("dryRun") == "All") return true;
  if (r.method != "DELETE" || r.body.empty()) return false;
  const auto options = parse_body(r);
  const auto* asked = options ? find(*options, {"dryRun"}) : nullptr;
  return asked && asked->is_array() &&
         std::find(asked->get_array().begin(), asked->get_array().end(), json::value("All")) != asked->get_array().end();
}

api_answer carry_out(object_store& store, const api_request& request, const resolved& at) {
  const bool collection = at.path.name.empty();
  if (request.method == "GET") {
    if (collection) return list_answer(store, request, at);
    const auto found = store.get(*at.kind, {at.path.ns, at.path.name});
    if (!found) return failure(found.error());
    if (at.path.subresource == "scale") return {200, json::serialize(object_store::scale_of(*at.kind, **found))};
    return object_answer(request, at, store, *found);
  }
  if (request.method == "POST" && collection) return create_answer(store, request, at);
  if ((request.method == "PUT" || request.method == "PATCH") && !collection) return change_answer(store, request, at);
  if (request.method == "DELETE" && at.path.subresource.empty()) return delete_answer(store, request, at);
  return failure({405, "MethodNotAllowed", "the server does not allow this method on the requested resource"});
}

}  // namespace

api_result<json::value> parse_body(const api_request& r) {
  if (r.content_type.find("yaml") != std::string::npos) {
    auto documents = parse_manifests(r.body);
    if (!documents) return tl::unexpected(bad_request(documents.error()));
    if (documents->size() != 1) return tl::unexpected(bad_request("the body must hold one document"));
    return json::value(std::move(documents->front()));
  }
  if (r.content_type.find("protobuf") != std::string::npos)
    return tl::unexpected(api_error{415, "UnsupportedMediaType",
                                    "the emulated API server takes JSON and YAML, not protobuf: create the object from a file"});
  boost::system::error_code ec;
  auto v = json::parse(r.body, ec);
  if (ec) return tl::unexpected(bad_request("the body is not valid JSON: " + ec.message()));
  return v;
}

bool api_request::wants_table() const { return accept.find("as=Table") != std::string::npos; }

row_object api_request::included() const {
  const auto what = parameter("includeObject");
  if (what == "None") return row_object::none;
  return what == "Object" ? row_object::full : row_object::metadata;
}

std::string api_request::field_manager() const {
  const auto given = parameter("fieldManager");
  if (!given.empty()) return given;
  const auto program = user_agent.substr(0, user_agent.find('/'));
  return program.empty() ? "unknown" : program;
}

std::optional<api_path> parse_path(std::string_view path) {
  auto parts = split(path);
  api_path out;
  std::size_t at = 0;
  if (parts.size() >= 3 && parts[0] == "api") {
    out.version = parts[1];
    at = 2;
  } else if (parts.size() >= 4 && parts[0] == "apis") {
    out.group = parts[1];
    out.version = parts[2];
    at = 3;
  } else {
    return std::nullopt;
  }
  const auto left = parts.size() - at;
  const bool own = left >= 3 && (parts[at + 2] == "status" || parts[at + 2] == "finalize");
  if (parts[at] == "namespaces" && left >= 3 && !(left == 3 && own)) {
    out.ns = parts[at + 1];
    at += 2;
  }
  out.plural = parts[at];
  if (at + 1 < parts.size()) out.name = parts[at + 1];
  if (at + 2 < parts.size()) out.subresource = parts[at + 2];
  if (at + 3 < parts.size()) return std::nullopt;
  return out;
}

api_result<selectors> selectors_of(const api_request& request) {
  auto labels = selector::labels(request.parameter("labelSelector"));
  if (!labels) return tl::unexpected(bad_request("unable to parse the labelSelector: " + labels.error()));
  auto fields = selector::fields(request.parameter("fieldSelector"));
  if (!fields) return tl::unexpected(bad_request("unable to parse the fieldSelector: " + fields.error()));
  return selectors{std::move(*labels), std::move(*fields)};
}

api_result<resolved> resolve(const object_store& store, const api_request& request) {
  const api_error nothing{404, "NotFound", "the server could not find the requested resource"};
  auto path = parse_path(request.path);
  if (!path) return tl::unexpected(nothing);
  auto kind = store.find_kind(path->group, path->version, path->plural);
  if (!kind || (!kind->namespaced && !path->ns.empty())) return tl::unexpected(nothing);
  const auto& sub = path->subresource;
  if (!sub.empty() && !(sub == "status" && kind->has_status) && !(sub == "scale" && kind->has_scale))
    return tl::unexpected(nothing);
  // Only lists and watches go over all namespaces.
  if (kind->namespaced && path->ns.empty() && (!path->name.empty() || request.method != "GET"))
    return tl::unexpected(api_error{405, "MethodNotAllowed", "the server does not allow this method on the requested resource"});
  return resolved{std::move(*path), std::move(kind)};
}

json::object status_of(const api_error& e) {
  return {{"kind", "Status"},     {"apiVersion", "v1"}, {"metadata", json::object{}}, {"status", "Failure"},
          {"message", e.message}, {"reason", e.reason}, {"details", e.details},       {"code", e.code}};
}

api_answer failure(const api_error& error) { return {error.code, json::serialize(status_of(error))}; }

api_answer answer(object_store& store, const api_request& request) {
  if (auto reviewed = review(store, request)) return std::move(*reviewed);
  const auto at = resolve(store, request);
  if (!at) return failure(at.error());
  const bool trial = request.method != "GET" && is_dry_run(request);
  std::optional<object_store> copy;
  if (trial) copy.emplace(store.fork());
  auto& on = trial ? *copy : store;
  on.writes_as(request.field_manager());
  auto out = carry_out(on, request, *at);
  on.writes_as("emulated-cluster");
  return out;
}

}  // namespace inferno::testbed

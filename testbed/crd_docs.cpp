#include "testbed/crd_docs.hpp"

#include <fmt/format.h>

#include <set>
#include <stdexcept>

#include "testbed/cluster/json_tools.hpp"

namespace inferno::testbed {
namespace {

std::string cell(std::string text) {
  for (auto at = text.find('|'); at != std::string::npos; at = text.find('|', at + 2)) text.insert(at, "\\");
  return text;
}

std::string words(const json::value* list, const char* between) {
  std::string out;
  if (!list) return out;
  for (const auto& w : list->as_array())
    out += (out.empty() ? "" : between) + fmt::format("`{}`", std::string_view(w.as_string()));
  return out;
}

/// "integer, at least 1", "one of `a`, `b`".
std::string accepted(const json::object& schema) {
  if (const auto* choices = schema.if_contains("enum")) return "one of " + words(choices, ", ");
  auto out = text_at(schema, {"type"});
  if (out == "array") out = "list";
  if (const auto* items = find(schema, {"items"})) out += " of " + text_at(items->as_object(), {"type"}) + "s";
  if (text_at(schema, {"format"}) == "date-time") out = "time";
  if (schema.contains("pattern")) out = "number as string";
  const auto* least = schema.if_contains("minimum");
  const auto* most = schema.if_contains("maximum");
  if (least && most) {
    out += fmt::format(", from {} to {}", least->as_int64(), most->as_int64());
  } else if (least) {
    out += fmt::format(", at least {}", least->as_int64());
  } else if (most) {
    out += fmt::format(", at most {}", most->as_int64());
  }
  if (schema.contains("minLength")) out += ", not empty";
  if (schema.contains("minItems")) out += ", not empty";
  return out;
}

void add_rows(const json::object& schema, const std::string& path, std::string& out) {
  const auto* properties = find(schema, {"properties"});
  if (!properties) return;
  std::set<std::string> required;
  if (const auto* list = schema.if_contains("required"))
    for (const auto& name : list->as_array()) required.emplace(name.as_string());
  for (const auto& entry : properties->as_object()) {
    const auto& field = entry.value().as_object();
    const auto name = path + std::string(entry.key());
    const auto description = text_at(field, {"description"});
    if (description.empty()) throw std::runtime_error(name + ": has no description");
    out += fmt::format("| `{}` | {}{} | {} |\n", name, accepted(field), required.count(entry.key()) ? ", required" : "",
                       cell(description));
    add_rows(field, name + ".", out);
    if (const auto* items = find(field, {"items"})) add_rows(items->as_object(), name + "[].", out);
  }
}

std::string page(const json::object& crd) {
  const auto& version = crd.at("spec").at("versions").as_array().at(0).as_object();
  const auto& schema = version.at("schema").at("openAPIV3Schema").as_object();
  const auto names = crd.at("spec").at("names").as_object();
  std::string out = fmt::format(
      "# {}\n\n<!-- Written by `make docs` from deploy/crd/variantautoscalings.yaml. -->\n\n{}\n\n"
      "`apiVersion: {}/{}`, `kind: {}`; `kubectl get {}`, short {}. Fields of a list's entries are written `list[].field`. A "
      "pattern or a "
      "limit that is broken is refused by the API server, which names the field. `inferno fit` makes profiles "
      "([profiles.md](profiles.md)), [operations.md](operations.md) explains what the fields do together.\n",
      text_at(names, {"kind"}), text_at(schema, {"description"}), text_at(crd, {"spec", "group"}), text_at(version, {"name"}),
      text_at(names, {"kind"}), text_at(names, {"plural"}), words(names.if_contains("shortNames"), ", "));
  for (const auto* part : {"spec", "status"}) {
    const auto& fields = schema.at("properties").at(part).as_object();
    out += fmt::format("\n## {}\n\n{}\n\n| field | value | |\n|---|---|---|\n", part, text_at(fields, {"description"}));
    add_rows(fields, std::string(part) + ".", out);
  }
  out += "\n## Columns of `kubectl get`\n\n| column | field |\n|---|---|\n";
  for (const auto& column : version.at("additionalPrinterColumns").as_array())
    out += fmt::format("| {} | `{}` |\n", text_at(column.as_object(), {"name"}),
                       text_at(column.as_object(), {"jsonPath"}).substr(1));
  return out;
}

}  // namespace

tl::expected<std::string, std::string> crd_docs(const std::string& manifest) {
  auto documents = parse_manifests(manifest);
  if (!documents) return tl::unexpected(documents.error());
  if (documents->size() != 1 || text_at(documents->front(), {"kind"}) != "CustomResourceDefinition")
    return tl::unexpected(std::string("expected one CustomResourceDefinition"));
  // What a schema lacks, Boost.JSON's accessors throw about.
  try {
    return page(documents->front());
  } catch (const std::exception& e) {
    return tl::unexpected(std::string(e.what()));
  }
}

}  // namespace inferno::testbed

#pragma once
// The fields of a CustomResourceDefinition as a page for people.
#include <string>
#include <tl/expected.hpp>

namespace inferno::testbed {

/// Markdown of the definition in `manifest` (YAML): a table of the fields of spec and one of status (path, type, what values are
/// accepted, description), and the columns of `kubectl get`. Error: names the field that has no description, or what is wrong
/// with the manifest.
tl::expected<std::string, std::string> crd_docs(const std::string& manifest);

}  // namespace inferno::testbed

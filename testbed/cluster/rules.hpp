#pragma once
// x-kubernetes-validations: the part of CEL that compares fields of an object.
#include <optional>
#include <string>
#include <string_view>

#include "testbed/cluster/json_tools.hpp"

namespace inferno::testbed {

/// Whether `self` keeps the rule: `self.a.b`, `has(self.a)`, integers, 'strings', true, false, ==, !=, <, <=, >, >=, !, &&, ||
/// parentheses, and `self.list.all(x, ...)` and `self.list.exists_one(x, ...)`. As in CEL, || and && hold whatever an operand
/// that cannot be evaluated would say, if the other one decides. nullopt: the rule cannot be evaluated for this object (a field
/// that is not there, or of another type).
std::optional<bool> keeps_rule(std::string_view rule, const json::value& self);

/// Why this is no rule that keeps_rule can evaluate, "" when it is one.
std::string rule_flaw(std::string_view rule);

}  // namespace inferno::testbed

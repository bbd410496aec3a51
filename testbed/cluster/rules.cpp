#include "testbed/cluster/rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <stdexcept>
#include <utility>
#include <vector>

namespace inferno::testbed {
namespace {

using operand = std::optional<json::value>;  ///< nullopt: cannot be evaluated

/// Parses and evaluates in one pass; throws std::invalid_argument for what is no rule.
class evaluation {
 public:
  evaluation(std::string_view text, const json::value& self) : rest_(text), self_(self) {}

  operand all() {
    auto out = either();
    if (!rest_.empty()) throw std::invalid_argument(fmt::format("cannot read \"{}\"", rest_));
    return out;
  }

 private:
  bool takes(std::string_view token) {
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    const bool found = rest_.starts_with(token);
    if (found) rest_.remove_prefix(token.size());
    while (!rest_.empty() && rest_.front() == ' ') rest_.remove_prefix(1);
    return found;
  }
  void needs(std::string_view token) {
    if (!takes(token)) throw std::invalid_argument(fmt::format("expected {} before \"{}\"", token, rest_));
  }
  static bool is(const operand& o, bool value) { return o && *o == json::value(value); }
  static operand truth(const operand& o) { return o && o->is_bool() ? o : std::nullopt; }

  operand either() {
    auto out = both();
    while (takes("||")) {
      const auto other = both();
      out = is(out, true) || is(other, true) ? operand(true) : truth(out) && truth(other) ? operand(false) : std::nullopt;
    }
    return out;
  }
  operand both() {
    auto out = negation();
    while (takes("&&")) {
      const auto other = negation();
      out = is(out, false) || is(other, false) ? operand(false) : truth(out) && truth(other) ? operand(true) : std::nullopt;
    }
    return out;
  }
  operand negation() {
    if (rest_.starts_with("!=") || !takes("!")) return comparison();
    const auto of = truth(negation());
    return of ? operand(!of->get_bool()) : std::nullopt;
  }
  operand comparison() {
    const auto left = primary();
    for (const std::string_view op : {"==", "!=", "<=", ">=", "<", ">"}) {
      if (!takes(op)) continue;
      const auto right = primary();
      if (!left || !right || left->is_number() != right->is_number()) return std::nullopt;
      if (op == "==") return *left == *right;
      if (op == "!=") return *left != *right;
      if (!left->is_number()) return std::nullopt;
      const double a = left->to_number<double>(), b = right->to_number<double>();
      return op == "<=" ? a <= b : op == ">=" ? a >= b : op == "<" ? a < b : a > b;
    }
    return left;
  }
  operand primary() {
    if (takes("(")) {
      auto out = either();
      needs(")");
      return out;
    }
    if (takes("has(")) {
      const bool there = field().has_value();
      needs(")");
      return json::value(there);
    }
    if (takes("true")) return json::value(true);
    if (takes("false")) return json::value(false);
    if (takes("'")) {
      const auto end = rest_.find('\'');
      if (end == std::string_view::npos) throw std::invalid_argument("a string without an end");
      const std::string text(rest_.substr(0, end));
      rest_.remove_prefix(end + 1);
      return json::value(text);
    }
    std::int64_t n = 0;
    if (const auto [end, ec] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), n); ec == std::errc()) {
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      return json::value(n);
    }
    return field();
  }
  std::string_view name() {
    std::size_t length = 0;
    while (length < rest_.size() && (std::isalnum(static_cast<unsigned char>(rest_[length])) || rest_[length] == '_')) ++length;
    if (length == 0) throw std::invalid_argument(fmt::format("expected a name before \"{}\"", rest_));
    const auto out = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return out;
  }
  operand field() {
    const auto root = name();
    const auto variable = std::find_if(variables_.rbegin(), variables_.rend(), [&](const auto& v) { return v.first == root; });
    if (root != "self" && variable == variables_.rend()) throw std::invalid_argument(fmt::format("nothing is called {}", root));
    const auto* at = root == "self" ? &self_ : variable->second;
    while (rest_.starts_with(".")) {
      rest_.remove_prefix(1);
      const auto member = name();
      if ((member == "all" || member == "exists_one") && takes("(")) return for_each(at, member == "all");
      at = at && at->is_object() ? at->get_object().if_contains(member) : nullptr;
    }
    return at ? operand(*at) : std::nullopt;
  }
  /// The rest of `list.all(x, condition)` or `list.exists_one(x, condition)`.
  operand for_each(const json::value* list, bool all) {
    const auto variable = name();
    needs(",");
    const auto condition = rest_;
    const auto evaluated = [&](const json::value* item) {
      rest_ = condition;
      variables_.emplace_back(variable, item);
      const auto out = truth(either());
      variables_.pop_back();
      return out;
    };
    std::size_t holds = 0, fails = 0, unknown = 0;
    const auto* items = list && list->is_array() ? &list->get_array() : nullptr;
    if (!items || items->empty()) evaluated(nullptr);
    if (items)
      for (const auto& item : *items) {
        const auto out = evaluated(&item);
        ++(!out ? unknown : out->get_bool() ? holds : fails);
      }
    needs(")");
    if (!items || (unknown > 0 && !(all && fails > 0))) return std::nullopt;
    return operand(all ? fails == 0 : holds == 1);
  }

  std::string_view rest_;
  const json::value& self_;
  std::vector<std::pair<std::string_view, const json::value*>> variables_;
};

}  // namespace

std::optional<bool> keeps_rule(std::string_view rule, const json::value& self) {
  const auto out = evaluation(rule, self).all();
  return out && out->is_bool() ? std::optional(out->get_bool()) : std::nullopt;
}

std::string rule_flaw(std::string_view rule) {
  try {
    (void)evaluation(rule, json::value(nullptr)).all();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return {};
}

}  // namespace inferno::testbed

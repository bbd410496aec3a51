#include "testbed/cluster/placement.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace inferno::testbed {
namespace {

using resources = std::map<std::string, long>;

/// GPUs and other extended resources ("vendor/name"); CPU and memory are not emulated.
void add_extended(const json::value* from, resources& into) {
  if (!from || !from->is_object()) return;
  for (const auto& [name, value] : from->get_object()) {
    if (std::string_view(name).find('/') == std::string_view::npos) continue;
    long n = 0;
    if (value.is_string()) {
      const auto& s = value.get_string();
      std::from_chars(s.data(), s.data() + s.size(), n);
    } else if (value.is_int64()) {
      n = value.get_int64();
    }
    into[std::string(name)] += n;
  }
}

resources asked(const json::object& pod) {
  resources out;
  const auto* containers = find(pod, {"spec", "containers"});
  if (containers && containers->is_array())
    for (const auto& c : containers->get_array()) {
      const auto* limits = find(c, {"resources", "limits"});
      resources of;
      add_extended(limits, of);
      if (of.empty()) add_extended(find(c, {"resources", "requests"}), of);
      for (const auto& [name, n] : of) out[name] += n;
    }
  std::erase_if(out, [](const auto& entry) { return entry.second <= 0; });
  return out;
}

bool label_is_among(const json::object& node, const json::object& expression) {
  const auto key = text_at(expression, {"key"});
  const auto op = text_at(expression, {"operator"});
  const auto* label = find(node, {"metadata", "labels", key});
  if (op == "Exists") return label != nullptr;
  if (op == "DoesNotExist") return label == nullptr;
  const auto* values = find(expression, {"values"});
  const bool among = label && values && values->is_array() &&
                     std::find(values->get_array().begin(), values->get_array().end(), *label) != values->get_array().end();
  return op == "NotIn" ? !among : among;
}

bool tolerates_place(const json::object& pod, const json::object& node) {
  if (const auto* selector = find(pod, {"spec", "nodeSelector"}); selector && selector->is_object())
    for (const auto& [name, value] : selector->get_object()) {
      const auto* label = find(node, {"metadata", "labels", name});
      if (!label || *label != value) return false;
    }
  const auto* terms =
      find(pod, {"spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"});
  if (!terms || !terms->is_array()) return true;
  return std::any_of(terms->get_array().begin(), terms->get_array().end(), [&](const json::value& term) {
    const auto* expressions = find(term, {"matchExpressions"});
    return expressions && expressions->is_array() &&
           std::all_of(expressions->get_array().begin(), expressions->get_array().end(),
                       [&](const json::value& e) { return e.is_object() && label_is_among(node, e.get_object()); });
  });
}

struct place {
  object_ptr node;
  resources free;
};

std::vector<place> places_of(const std::vector<object_ptr>& nodes, const std::vector<object_ptr>& pods) {
  std::vector<place> out;
  std::map<std::string, std::size_t> index;
  for (const auto& node : nodes) {
    const auto* cordoned = find(*node, {"spec", "unschedulable"});
    place p;
    p.node = node;
    if (!(cordoned && *cordoned == json::value(true))) add_extended(find(*node, {"status", "allocatable"}), p.free);
    index[text_at(*node, {"metadata", "name"})] = out.size();
    out.push_back(std::move(p));
  }
  for (const auto& pod : pods) {
    const auto at = index.find(text_at(*pod, {"spec", "nodeName"}));
    const auto phase = text_at(*pod, {"status", "phase"});
    if (at == index.end() || phase == "Succeeded" || phase == "Failed") continue;
    for (const auto& [name, n] : asked(*pod)) out[at->second].free[name] -= n;
  }
  return out;
}

std::string why_nowhere(std::size_t nodes, std::size_t elsewhere, const resources& need) {
  std::string why = fmt::format("0/{} nodes are available:", nodes);
  if (elsewhere > 0) why += fmt::format(" {} node(s) didn't match Pod's node affinity/selector", elsewhere);
  if (nodes > elsewhere)
    for (const auto& [name, n] : need)
      why += fmt::format("{} {} Insufficient {}", elsewhere > 0 ? "," : "", nodes - elsewhere, name);
  return why + ".";
}

}  // namespace

std::vector<placement> place_pods(const std::vector<object_ptr>& nodes, const std::vector<object_ptr>& pods) {
  std::vector<placement> out;
  for (const auto& pod : pods)
    if (text_at(*pod, {"spec", "nodeName"}).empty() && !find(*pod, {"metadata", "deletionTimestamp"}))
      out.push_back({pod, {}, {}});
  if (out.empty()) return out;
  std::stable_sort(out.begin(), out.end(), [](const placement& a, const placement& b) {
    return text_at(*a.pod, {"metadata", "creationTimestamp"}) < text_at(*b.pod, {"metadata", "creationTimestamp"});
  });
  auto places = places_of(nodes, pods);
  for (auto& p : out) {
    const auto need = asked(*p.pod);
    std::size_t elsewhere = 0;
    place* best = nullptr;
    for (auto& at : places) {
      if (!tolerates_place(*p.pod, *at.node)) {
        ++elsewhere;
        continue;
      }
      const bool fits = std::all_of(need.begin(), need.end(), [&](const auto& r) {
        const auto it = at.free.find(r.first);
        return it != at.free.end() && it->second >= r.second;
      });
      if (fits && !best) best = &at;
    }
    if (!best) {
      p.problem = why_nowhere(places.size(), elsewhere, need);
      continue;
    }
    for (const auto& [name, n] : need) best->free[name] -= n;
    p.node = text_at(*best->node, {"metadata", "name"});
  }
  return out;
}

}  // namespace inferno::testbed

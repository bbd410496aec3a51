#include "testbed/cluster/table.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <ctime>
#include <functional>

namespace inferno::testbed {
namespace {

using time_point = std::chrono::system_clock::time_point;

struct column {
  const char* name;
  const char* type;
  int priority;  ///< above 0: only with -o wide
  std::function<json::value(const json::object&, time_point)> cell;
};

std::string age_of(const std::string& stamp, time_point now) {
  std::tm when{};
  if (!::strptime(stamp.c_str(), "%Y-%m-%dT%H:%M:%S", &when)) return "<unknown>";
  return human_duration(
      std::chrono::duration_cast<std::chrono::seconds>(now - std::chrono::system_clock::from_time_t(::timegm(&when))));
}

json::value name_cell(const json::object& o, time_point) { return json::value(text_at(o, {"metadata", "name"})); }
json::value age_cell(const json::object& o, time_point now) {
  return json::value(age_of(text_at(o, {"metadata", "creationTimestamp"}), now));
}

auto text_cell(std::initializer_list<std::string_view> path, std::string fallback = "") {
  return
      [steps = std::vector<std::string>(path.begin(), path.end()), fallback](const json::object& o, time_point) -> json::value {
        const json::value* at = nullptr;
        const json::object* from = &o;
        for (const auto& s : steps) {
          at = from ? from->if_contains(s) : nullptr;
          from = at ? at->if_object() : nullptr;
        }
        return at && at->is_string() ? *at : json::value(fallback);
      };
}
auto number_cell(std::vector<std::string> steps) {
  return [steps = std::move(steps)](const json::object& o, time_point) -> json::value {
    return integer_at(o, {steps[0], steps[1]}, 0);
  };
}
auto size_cell(const char* field) {
  return [field](const json::object& o, time_point) -> json::value {
    const auto* v = o.if_contains(field);
    return v && v->is_object() ? static_cast<std::int64_t>(v->get_object().size()) : 0;
  };
}

std::string pod_status(const json::object& pod) {
  if (find(pod, {"metadata", "deletionTimestamp"})) return "Terminating";
  const auto* statuses = find(pod, {"status", "containerStatuses"});
  if (statuses && statuses->is_array())
    for (const auto& s : statuses->get_array())
      if (const auto* reason = find(s, {"state", "waiting", "reason"}); reason && reason->is_string())
        return std::string(reason->get_string());
  const auto phase = text_at(pod, {"status", "phase"});
  return phase.empty() ? "Pending" : phase;
}

json::value pod_ready(const json::object& pod, time_point) {
  const auto* containers = find(pod, {"spec", "containers"});
  const auto* statuses = find(pod, {"status", "containerStatuses"});
  long ready = 0;
  if (statuses && statuses->is_array())
    for (const auto& s : statuses->get_array())
      if (const auto* r = find(s, {"ready"}); r && *r == json::value(true)) ++ready;
  return json::value(fmt::format("{}/{}", ready, containers && containers->is_array() ? containers->get_array().size() : 0));
}

json::value pod_restarts(const json::object& pod, time_point) {
  long n = 0;
  const auto* statuses = find(pod, {"status", "containerStatuses"});
  if (statuses && statuses->is_array())
    for (const auto& s : statuses->get_array())
      if (s.is_object()) n += integer_at(s.get_object(), {"restartCount"}, 0);
  return n;
}

json::value node_status(const json::object& node, time_point) {
  std::string out = "Unknown";
  if (const auto* conditions = find(node, {"status", "conditions"}); conditions && conditions->is_array())
    for (const auto& c : conditions->get_array())
      if (c.is_object() && text_at(c.get_object(), {"type"}) == "Ready")
        out = text_at(c.get_object(), {"status"}) == "True" ? "Ready" : "NotReady";
  const auto* cordoned = find(node, {"spec", "unschedulable"});
  return json::value(cordoned && *cordoned == json::value(true) ? out + ",SchedulingDisabled" : out);
}

json::value node_roles(const json::object& node, time_point) {
  std::string out;
  if (const auto* labels = find(node, {"metadata", "labels"}); labels && labels->is_object())
    for (const auto& [name, value] : labels->get_object()) {
      constexpr std::string_view prefix = "node-role.kubernetes.io/";
      if (std::string_view(name).substr(0, prefix.size()) == prefix)
        out += (out.empty() ? "" : ",") + std::string(std::string_view(name).substr(prefix.size()));
    }
  return json::value(out.empty() ? "<none>" : out);
}

json::value event_object(const json::object& e, time_point) {
  auto kind = text_at(e, {"involvedObject", "kind"});
  for (auto& c : kind) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return json::value(kind + "/" + text_at(e, {"involvedObject", "name"}));
}

json::value service_ports(const json::object& s, time_point) {
  std::string out;
  if (const auto* ports = find(s, {"spec", "ports"}); ports && ports->is_array())
    for (const auto& p : ports->get_array())
      if (p.is_object())
        out += fmt::format("{}{}/{}", out.empty() ? "" : ",", integer_at(p.get_object(), {"port"}, 0),
                           text_at(p.get_object(), {"protocol"}).empty() ? "TCP" : text_at(p.get_object(), {"protocol"}));
  return json::value(out.empty() ? "<none>" : out);
}

const std::vector<column>& columns_of(const std::string& plural) {
  static const column name{"Name", "string", 0, name_cell};
  static const column age{"Age", "string", 0, age_cell};
  static const std::map<std::string, std::vector<column>> table{
      {"nodes",
       {name,
        {"Status", "string", 0, node_status},
        {"Roles", "string", 0, node_roles},
        age,
        {"Version", "string", 0, text_cell({"status", "nodeInfo", "kubeletVersion"})}}},
      {"pods",
       {name,
        {"Ready", "string", 0, pod_ready},
        {"Status", "string", 0, [](const json::object& o, time_point) { return json::value(pod_status(o)); }},
        {"Restarts", "integer", 0, pod_restarts},
        age,
        {"IP", "string", 1, text_cell({"status", "podIP"}, "<none>")},
        {"Node", "string", 1, text_cell({"spec", "nodeName"}, "<none>")}}},
      {"deployments",
       {name,
        {"Ready", "string", 0,
         [](const json::object& o, time_point) {
           return json::value(
               fmt::format("{}/{}", integer_at(o, {"status", "readyReplicas"}, 0), integer_at(o, {"spec", "replicas"}, 1)));
         }},
        {"Up-to-date", "integer", 0, number_cell({"status", "updatedReplicas"})},
        {"Available", "integer", 0, number_cell({"status", "availableReplicas"})},
        age}},
      {"replicasets",
       {name,
        {"Desired", "integer", 0, number_cell({"spec", "replicas"})},
        {"Current", "integer", 0, number_cell({"status", "replicas"})},
        {"Ready", "integer", 0, number_cell({"status", "readyReplicas"})},
        age}},
      {"configmaps", {name, {"Data", "integer", 0, size_cell("data")}, age}},
      {"secrets", {name, {"Type", "string", 0, text_cell({"type"}, "Opaque")}, {"Data", "integer", 0, size_cell("data")}, age}},
      {"namespaces", {name, {"Status", "string", 0, text_cell({"status", "phase"})}, age}},
      {"leases", {name, {"Holder", "string", 0, text_cell({"spec", "holderIdentity"})}, age}},
      {"customresourcedefinitions", {name, {"Created At", "date", 0, text_cell({"metadata", "creationTimestamp"})}}},
      {"services",
       {name,
        {"Type", "string", 0, text_cell({"spec", "type"}, "ClusterIP")},
        {"Cluster-IP", "string", 0, text_cell({"spec", "clusterIP"}, "<none>")},
        {"External-IP", "string", 0, [](const json::object&, time_point) { return json::value("<none>"); }},
        {"Port(s)", "string", 0, service_ports},
        age}},
      {"events",
       {{"Last Seen", "string", 0,
         [](const json::object& o, time_point now) { return json::value(age_of(text_at(o, {"lastTimestamp"}), now)); }},
        {"Type", "string", 0, text_cell({"type"})},
        {"Reason", "string", 0, text_cell({"reason"})},
        {"Object", "string", 0, event_object},
        {"Message", "string", 0, text_cell({"message"})},
        {"Name", "string", 1, name_cell}}}};
  static const std::vector<column> plain{name, age};
  const auto it = table.find(plural);
  return it == table.end() ? plain : it->second;
}

/// ".spec.a.b", the only form printer columns of CRDs usually have.
json::value at_path(const json::object& o, std::string_view path) {
  const json::object* from = &o;
  const json::value* at = nullptr;
  while (!path.empty()) {
    path.remove_prefix(1);
    std::string step;
    while (!path.empty() && path.front() != '.') {
      if (path.front() == '\\') path.remove_prefix(1);
      step += path.front();
      path.remove_prefix(1);
    }
    at = from ? from->if_contains(step) : nullptr;
    if (!at) return nullptr;
    from = at->if_object();
  }
  return at ? *at : json::value(nullptr);
}

json::object definition(std::string_view name, std::string_view type, int priority) {
  return {
      {"name", name}, {"type", type}, {"format", name == "Name" ? "name" : ""}, {"description", name}, {"priority", priority}};
}

}  // namespace

std::string human_duration(std::chrono::seconds age) {
  const long s = std::max(0l, static_cast<long>(age.count()));
  const long m = s / 60, h = m / 60, d = h / 24;
  if (s < 120) return fmt::format("{}s", s);
  if (m < 10) return s % 60 == 0 ? fmt::format("{}m", m) : fmt::format("{}m{}s", m, s % 60);
  if (h < 3) return fmt::format("{}m", m);
  if (h < 8) return m % 60 == 0 ? fmt::format("{}h", h) : fmt::format("{}h{}m", h, m % 60);
  if (h < 48) return fmt::format("{}h", h);
  if (d < 8) return h % 24 == 0 ? fmt::format("{}d", d) : fmt::format("{}d{}h", d, h % 24);
  return fmt::format("{}d", d);
}

json::object make_table(const kind_info& kind, const std::vector<object_ptr>& objects, time_point now, row_object include,
                        bool with_columns) {
  json::array definitions, rows;
  const bool custom = !kind.columns.empty();
  const auto& columns = columns_of(kind.plural);
  if (with_columns) {
    if (custom) {
      definitions.push_back(definition("Name", "string", 0));
      for (const auto& c : kind.columns) definitions.push_back(definition(c.name, c.type == "date" ? "date" : c.type, 0));
    } else {
      for (const auto& c : columns) definitions.push_back(definition(c.name, c.type, c.priority));
    }
  }
  for (const auto& o : objects) {
    json::array cells;
    if (custom) {
      cells.push_back(name_cell(*o, now));
      for (const auto& c : kind.columns) {
        auto v = at_path(*o, c.json_path);
        if (c.type == "date" && v.is_string()) v = age_of(std::string(v.get_string()), now);
        cells.push_back(std::move(v));
      }
    } else {
      for (const auto& c : columns) cells.push_back(c.cell(*o, now));
    }
    json::object row{{"cells", std::move(cells)}};
    if (include == row_object::full) row["object"] = *o;
    if (include == row_object::metadata) {
      json::object partial{{"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}};
      if (const auto* meta = o->if_contains("metadata")) partial["metadata"] = *meta;
      row["object"] = std::move(partial);
    }
    rows.push_back(std::move(row));
  }
  json::object out{{"kind", "Table"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", json::object{}}};
  if (with_columns) {
    out["columnDefinitions"] = std::move(definitions);
  } else {
    out["columnDefinitions"] = nullptr;
  }
  out["rows"] = std::move(rows);
  return out;
}

}  // namespace inferno::testbed

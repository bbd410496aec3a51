#include "actors/decode.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json/serialize.hpp>
#include <cctype>
#include <climits>

#include "actors/accelerator_change.hpp"
#include "model/codec.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

namespace json = boost::json;

using net::kube::find;
using net::kube::text_at;

int integer_at(const json::object& object, std::initializer_list<std::string_view> path, int fallback) {
  return static_cast<int>(std::clamp<long>(net::kube::integer_at(object, path, fallback), INT_MIN, INT_MAX));
}

/// spec.replicas of a workload, which may be any integer: a number that no cluster has is limited, so that GPUs and costs do not
/// overflow.
int replicas_of(const json::object& object, int fallback) {
  return std::clamp(integer_at(object, {"spec", "replicas"}, fallback), 0, 10 * model::most_replicas);
}

std::map<std::string, std::string> string_map(const json::value* v) {
  std::map<std::string, std::string> out;
  if (v && v->is_object())
    for (const auto& [name, value] : v->get_object())
      if (value.is_string()) out.emplace(name, value.get_string());
  return out;
}

/// A count of GPUs or MiB as Kubernetes writes quantities of extended resources: 2, "2", and "1k" for 1000 (the API server
/// shortens it so). 0 for what is none.
int quantity(const json::value& v) {
  double scale = 1;
  auto number = model::number_in_json(v);
  if (!number && v.is_string()) {
    std::string_view text = v.get_string();
    constexpr std::pair<std::string_view, double> suffixes[] = {{"Ki", 1024}, {"Mi", 1 << 20}, {"k", 1e3}, {"M", 1e6}};
    for (const auto& [suffix, factor] : suffixes)
      if (text.ends_with(suffix)) {
        number = model::parse_number(text.substr(0, text.size() - suffix.size()));
        scale = factor;
        break;
      }
  }
  return number && model::limits::gpus.hold(*number * scale) ? static_cast<int>(*number * scale) : 0;
}

constexpr std::array vendors{"nvidia.com", "amd.com", "intel.com"};

std::string shown(const json::value& v) { return json::serialize(v); }

/// A number within limits, as string or number.
tl::expected<double, std::string> number(const json::value& v, const model::number_limits& limits) {
  const auto x = model::number_in_json(v);
  if (x && limits.hold(*x)) return *x;
  return tl::unexpected(fmt::format("expected {}, got {}", limits.text(), shown(v)));
}

/// Reads one entry of spec.modelProfile.accelerators; returns what is wrong with it.
class profile_reader {
 public:
  profile_reader(const json::object& entry, std::string path) : entry_(entry), path_(std::move(path)) {}

  std::string read(model::model_profile& out) {
    out.acc = text_at(entry_, {"acc"});
    if (out.acc.empty()) return fmt::format("{}.acc: must not be empty", path_);
    if (auto two = two_forms(); !two.empty()) return two;
    out.acc_count = count({"accCount"}, model::limits::units, 1);
    out.max_batch = count({"maxBatchSize"}, model::limits::batch, 0);
    // Checked, then left alone: a server is started with maxBatchSize whatever the outputs' length, and the quick start decides
    // so.
    count({"atTokens"}, model::limits::token_count, 0);
    if (find(entry_, {"perfParms", "iterationParms"})) {
      out.params = iteration();
    } else {
      out.params = linear(entry_.contains("perfParms"));
    }
    out.kv.bytes = optional({"kvCacheGiB"}, model::limits::kv_gib) * (1 << 30);
    out.kv.bytes_per_token = optional({"kvBytesPerToken"}, model::limits::kv_bytes);
    if (problem_.empty())
      if (const auto problem = model::validate(out.params)) problem_ = fmt::format("{}: {}", path_, *problem);
    if (problem_.empty())
      if (const auto problem = model::validate(out.kv)) problem_ = fmt::format("{}.{}", path_, *problem);
    return problem_;
  }

 private:
  /// The profile is given in two forms, or a parameter in two places: one of them would be left out.
  std::string two_forms() const {
    const auto given = [&](std::initializer_list<std::string_view> path) { return find(entry_, path) != nullptr; };
    for (const std::string_view part : {"decodeParms", "prefillParms"})
      if (given({"perfParms", "iterationParms"}) && given({"perfParms", part}))
        return fmt::format("{}.perfParms: iterationParms and {} are given; a profile has one form", path_, part);
    for (const std::string_view part : {"alpha", "beta"})
      if (given({"perfParms"}) && given({part}))
        return fmt::format("{}: {} and perfParms are given; a profile has one form", path_, part);
    return {};
  }
  model::linear_profile linear(bool newer) {
    model::linear_profile p;
    if (!newer) {
      p.alpha_ms = parameter({"alpha"});
      p.beta_ms = parameter({"beta"});
      return p;
    }
    p.alpha_ms = parameter({"perfParms", "decodeParms", "alpha"});
    p.beta_ms = parameter({"perfParms", "decodeParms", "beta"});
    p.has_prefill = find(entry_, {"perfParms", "prefillParms"}) != nullptr;
    if (p.has_prefill) {
      p.gamma_ms = parameter({"perfParms", "prefillParms", "gamma"});
      p.delta_ms = parameter({"perfParms", "prefillParms", "delta"});
    }
    return p;
  }
  model::iteration_profile iteration() {
    model::iteration_profile p;
    p.alpha_ms = parameter({"perfParms", "iterationParms", "alpha"});
    p.beta_ms = parameter({"perfParms", "iterationParms", "beta"});
    p.gamma_ms = parameter({"perfParms", "iterationParms", "gamma"});
    p.max_batched_tokens =
        count({"perfParms", "iterationParms", "maxBatchedTokens"}, model::limits::iteration_tokens, p.max_batched_tokens);
    return p;
  }
  std::string name(std::initializer_list<std::string_view> path) const {
    std::string full = path_;
    for (const auto& p : path) full += fmt::format(".{}", p);
    return full;
  }
  /// A parameter of the profile, ms.
  double parameter(std::initializer_list<std::string_view> path) {
    if (!find(entry_, path) && problem_.empty()) problem_ = fmt::format("{}: required", name(path));
    return optional(path, model::limits::profile_ms);
  }
  /// 0 when it is absent.
  double optional(std::initializer_list<std::string_view> path, const model::number_limits& limits) {
    const auto* v = find(entry_, path);
    if (!v) return 0;
    const auto n = number(*v, limits);
    if (!n && problem_.empty()) problem_ = fmt::format("{}: {}", name(path), n.error());
    return n.value_or(0);
  }
  int count(std::initializer_list<std::string_view> path, const model::number_limits& limits, int fallback) {
    return find(entry_, path) ? static_cast<int>(optional(path, limits)) : fallback;
  }

  const json::object& entry_;
  std::string path_;
  std::string problem_;
};

/// "group/version" or "version" of the core group; absent: apps/v1.
std::pair<std::string, std::string> api_version(const std::string& text) {
  if (text.empty()) return {"apps", "v1"};
  const auto slash = text.find('/');
  if (slash == std::string::npos) return {"", text};
  return {text.substr(0, slash), text.substr(slash + 1)};
}

std::string trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string_view::npos ? "" : std::string(text.substr(first, text.find_last_not_of(' ') - first + 1));
}

/// A label selector in its text form, when it asks for nothing but equality; nullopt: for something else.
std::optional<std::map<std::string, std::string>> equalities(std::string_view text) {
  std::map<std::string, std::string> out;
  while (!text.empty()) {
    const auto comma = text.find(',');
    const auto requirement = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    const auto equals = requirement.find('=');
    if (equals == std::string_view::npos || equals == 0 || requirement.find_first_of("!()") != std::string_view::npos)
      return std::nullopt;
    const auto value = requirement.find_first_not_of('=', equals);
    out[trimmed(requirement.substr(0, equals))] = value == std::string_view::npos ? "" : trimmed(requirement.substr(value));
  }
  return out;
}

void read_replicas(const json::object& spec, std::string_view field, const model::number_limits& limits, std::optional<int>& out,
                   std::string& problem) {
  const auto* v = spec.if_contains(field);
  if (!v || v->is_null()) return;
  const auto n = number(*v, limits);
  if (n) {
    out = static_cast<int>(*n);
  } else if (problem.empty()) {
    problem = fmt::format("spec.{}: {}", field, n.error());
  }
}

void read_profiles(const json::object& object, variant_object& out) {
  const auto* list = find(object, {"spec", "modelProfile", "accelerators"});
  if (!list || !list->is_array() || list->get_array().empty()) {
    if (out.problem.empty()) out.problem = "spec.modelProfile.accelerators: must have at least one entry";
    return;
  }
  std::size_t i = 0;
  std::map<std::string, std::size_t> first;  // entry of each accelerator
  for (const auto& entry : list->get_array()) {
    const auto path = fmt::format("spec.modelProfile.accelerators[{}]", i++);
    model::model_profile profile;
    profile.model = out.model_id;
    std::string problem =
        entry.is_object() ? profile_reader(entry.get_object(), path).read(profile) : path + ": expected an object";
    // The first one counts, also when it cannot be read: which of two was meant is not known.
    if (const auto [at, is_first] = first.try_emplace(profile.acc, i - 1); !is_first && !profile.acc.empty())
      problem = fmt::format("{}.acc: \"{}\" is that of accelerators[{}] already", path, profile.acc, at->second);
    // A bad entry is said by name; the good ones are used.
    if (problem.empty()) {
      out.profiles.push_back(std::move(profile));
    } else if (out.problem.empty()) {
      out.problem = std::move(problem);
    }
  }
}

/// Whether the scheduler puts no more pods on a node, whatever it has left: it is cordoned, being removed, or not ready. A node
/// without the condition Ready is judged by its taints alone, as the scheduler does. Taints that keep GPUs for who tolerates
/// them are not meant.
bool takes_no_pods(const json::object& node) {
  if (const auto* cordoned = find(node, {"spec", "unschedulable"}); cordoned && *cordoned == json::value(true)) return true;
  if (find(node, {"metadata", "deletionTimestamp"})) return true;
  if (const auto* conditions = find(node, {"status", "conditions"}); conditions && conditions->is_array())
    for (const auto& c : conditions->get_array())
      if (c.is_object() && text_at(c.get_object(), {"type"}) == "Ready" && text_at(c.get_object(), {"status"}) != "True")
        return true;
  constexpr std::string_view removers[] = {"ToBeDeletedByClusterAutoscaler", "karpenter.sh/disrupted", "karpenter.sh/disruption",
                                           "node.cloudprovider.kubernetes.io/shutdown",
                                           "node.cloudprovider.kubernetes.io/uninitialized"};
  if (const auto* taints = find(node, {"spec", "taints"}); taints && taints->is_array())
    for (const auto& t : taints->get_array()) {
      if (!t.is_object() || text_at(t.get_object(), {"effect"}) == "PreferNoSchedule") continue;
      const auto key = text_at(t.get_object(), {"key"});
      // Every node begins with it and keeps it where no controller takes it away: the condition Ready decides.
      if (key == "node.kubernetes.io/not-ready") continue;
      if (key.starts_with("node.kubernetes.io/") ||
          std::find(std::begin(removers), std::end(removers), key) != std::end(removers))
        return true;
    }
  return false;
}

void read_conditions(const json::object& object, variant_object& out) {
  const auto* list = find(object, {"status", "conditions"});
  if (!list || !list->is_array()) return;
  for (const auto& c : list->get_array()) {
    if (!c.is_object()) continue;
    const auto since = net::kube::parse_time(text_at(c.get_object(), {"lastTransitionTime"}));
    if (since) out.conditions.push_back({text_at(c.get_object(), {"type"}), text_at(c.get_object(), {"status"}), *since});
  }
}

/// Of the ids of its containers, which change with every restart; 0 when one of them does not run.
std::size_t running_containers(const json::object& pod) {
  const auto* statuses = find(pod, {"status", "containerStatuses"});
  if (!statuses || !statuses->is_array()) return 0;
  std::string ids;
  for (const auto& s : statuses->get_array()) {
    if (!s.is_object() || !find(s.get_object(), {"state", "running"})) return 0;
    const auto id = text_at(s.get_object(), {"containerID"});
    if (id.empty()) return 0;
    ids += id + '\n';
  }
  return ids.empty() ? 0 : std::hash<std::string>{}(ids);
}

/// In lower case, without blanks at the ends.
std::string plain(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\n"), to = text.find_last_not_of(" \t\n");
  std::string out(from == text.npos ? std::string_view() : text.substr(from, to - from + 1));
  for (auto& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// Those that ask for one value of a label; no other expression is followed.
void read_expressions(const json::object& object, workload_object& out) {
  const auto* list = find(object, {"spec", "selector", "matchExpressions"});
  if (!list || !list->is_array()) return;
  for (const auto& each : list->get_array()) {
    const auto* e = each.if_object();
    const auto key = e ? text_at(*e, {"key"}) : std::string();
    const auto* values = e ? find(*e, {"values"}) : nullptr;
    const bool one = values && values->is_array() && values->get_array().size() == 1 && values->get_array()[0].is_string();
    if (!key.empty() && one && text_at(*e, {"operator"}) == "In") {
      out.selector.emplace(key, values->get_array()[0].get_string());
    } else {
      out.selector_problem = fmt::format("{} {}/{}: spec.selector.matchExpressions: only In with one value is followed",
                                         out.ref.kind, out.ref.ns, out.ref.name);
    }
  }
  // What it selects beyond is not known, so nothing is taken for its.
  if (!out.selector_problem.empty()) out.selector.clear();
}

}  // namespace

std::string_view to_string(actuation_mode mode) {
  switch (mode) {
    case actuation_mode::direct:
      return "direct";
    case actuation_mode::metric:
      return "metric";
    case actuation_mode::dry_run:
      break;
  }
  return "dry-run";
}

std::optional<actuation_mode> parse_actuation_mode(std::string_view text) {
  for (const auto mode : {actuation_mode::direct, actuation_mode::metric, actuation_mode::dry_run})
    if (text == to_string(mode)) return mode;
  return std::nullopt;
}

variant_key key_of(const json::object& object) {
  return {text_at(object, {"metadata", "namespace"}), text_at(object, {"metadata", "name"})};
}

variant_object decode_variant(const json::object& object) {
  variant_object out;
  out.key = key_of(object);
  out.uid = text_at(object, {"metadata", "uid"});
  out.generation = integer_at(object, {"metadata", "generation"}, 0);
  out.created = text_at(object, {"metadata", "creationTimestamp"});
  out.accelerator_label = text_at(object, {"metadata", "labels", "inference.optimization/acceleratorName"});
  out.pool = text_at(object, {"metadata", "annotations", "inference.optimization/pool"});
  if (plain(out.pool) == "off") out.pool = "off";
  // Who writes anything but a no wants no hands on the variant.
  const auto exclude = plain(text_at(object, {"metadata", "annotations", "inference.optimization/exclude"}));
  out.excluded = !exclude.empty() && exclude != "false" && exclude != "no" && exclude != "off" && exclude != "0";
  out.model_id = text_at(object, {"spec", "modelID"});
  out.class_name = text_at(object, {"spec", "sloClassRef", "name"});
  out.class_key = text_at(object, {"spec", "sloClassRef", "key"});
  if (out.model_id.empty()) out.problem = "spec.modelID: must not be empty";
  if (out.problem.empty() && out.class_name.empty() && out.class_key.empty()) out.problem = "spec.sloClassRef: needs name or key";
  read_profiles(object, out);
  const auto* spec = find(object, {"spec"});
  if (spec && spec->is_object()) {
    read_replicas(spec->get_object(), "minReplicas", model::limits::replicas, out.min_replicas, out.problem);
    read_replicas(spec->get_object(), "maxReplicas", model::limits::most_replicas, out.max_replicas, out.problem);
    if (const auto* keep = spec->get_object().if_contains("keepAccelerator"); keep && keep->is_bool())
      out.keep_accelerator = keep->get_bool();
  }
  if (out.problem.empty() && out.min_replicas && out.max_replicas && *out.max_replicas < *out.min_replicas)
    out.problem =
        fmt::format("spec.maxReplicas: must not be less than minReplicas {}, got {}", *out.min_replicas, *out.max_replicas);
  if (const auto mode = text_at(object, {"spec", "actuationMode"}); !mode.empty()) {
    out.actuation = parse_actuation_mode(mode);
    if (!out.actuation && out.problem.empty())
      out.problem = fmt::format("spec.actuationMode: expected direct, metric or dry-run, got \"{}\"", mode);
  }
  const auto kind = text_at(object, {"spec", "scaleTargetRef", "kind"});
  const auto [group, version] = api_version(text_at(object, {"spec", "scaleTargetRef", "apiVersion"}));
  out.target = {kind.empty() ? "Deployment" : kind, out.key.ns, text_at(object, {"spec", "scaleTargetRef", "name"}), group};
  out.target_version = version;
  if (out.target.name.empty()) out.target.name = out.key.name;
  const bool apps_by_default = !find(object, {"spec", "scaleTargetRef", "apiVersion"});
  if (apps_by_default && !well_known(out.target)) {
    out.target_version.clear();
    if (out.problem.empty())
      out.problem = fmt::format("spec.scaleTargetRef.apiVersion: required for kind \"{}\"", out.target.kind);
  }
  if (const auto* owners = find(object, {"metadata", "ownerReferences"}); owners && owners->is_array())
    for (const auto& o : owners->get_array())
      if (o.is_object() && text_at(o.get_object(), {"kind"}) == out.target.kind &&
          text_at(o.get_object(), {"name"}) == out.target.name)
        out.owner_uid = text_at(o.get_object(), {"uid"});
  read_conditions(object, out);
  return out;
}

workload_object decode_workload(const json::object& object, std::string_view kind) {
  workload_object out;
  const auto key = key_of(object);
  out.ref = {std::string(kind), key.ns, key.name};
  out.uid = text_at(object, {"metadata", "uid"});
  out.replicas = replicas_of(object, 1);
  out.selector = string_map(find(object, {"spec", "selector", "matchLabels"}));
  read_expressions(object, out);
  // Kubernetes leaves out a count of zero.
  if (find(object, {"status"})) out.ready_replicas = std::max(0, integer_at(object, {"status", "readyReplicas"}, 0));
  if (kind == "Deployment") out.change = decode_change(object);
  return out;
}

tl::expected<workload_object, std::string> decode_scale(const json::object& scale, const target_kind& kind,
                                                        const variant_key& key) {
  workload_object out;
  out.ref = {kind.kind, key.ns, key.name, kind.group};
  out.replicas = replicas_of(scale, 0);
  const auto text = text_at(scale, {"status", "selector"});
  auto selector = equalities(text);
  if (!selector)
    return tl::unexpected(fmt::format("selector of {} {}/{}: expected label=value, separated by commas, got \"{}\"", kind.kind,
                                      key.ns, key.name, text));
  out.selector = std::move(*selector);
  // A LeaderWorkerSet's scale selects the leaders; its other pods have the same labels, serve nothing and hold GPUs.
  scaled_kind other;
  if (const auto leader = out.selector.find("leaderworkerset.sigs.k8s.io/worker-index"); leader != out.selector.end())
    other.serving.insert(out.selector.extract(leader));
  out.other = std::make_shared<const scaled_kind>(std::move(other));
  return out;
}

autoscaler_object decode_autoscaler(const json::object& object) {
  autoscaler_object out;
  out.key = key_of(object);
  out.target = {text_at(object, {"spec", "scaleTargetRef", "kind"}), out.key.ns,
                text_at(object, {"spec", "scaleTargetRef", "name"}),
                api_version(text_at(object, {"spec", "scaleTargetRef", "apiVersion"})).first};
  out.min_replicas = integer_at(object, {"spec", "minReplicas"}, 1);
  out.max_replicas = integer_at(object, {"spec", "maxReplicas"}, 0);
  if (const auto* owners = find(object, {"metadata", "ownerReferences"}); owners && owners->is_array())
    for (const auto& o : owners->get_array())
      if (o.is_object() && text_at(o.get_object(), {"kind"}) == "ScaledObject")
        out.owner = "ScaledObject " + text_at(o.get_object(), {"name"});
  return out;
}

pod_object decode_pod(const json::object& object) {
  pod_object out;
  out.key = key_of(object);
  out.labels = string_map(find(object, {"metadata", "labels"}));
  out.ip = text_at(object, {"status", "podIP"});
  out.node = text_at(object, {"spec", "nodeName"});
  const auto phase = text_at(object, {"status", "phase"});
  out.terminal = phase == "Succeeded" || phase == "Failed";
  out.deleting = find(object, {"metadata", "deletionTimestamp"}) != nullptr;
  if (const auto* conditions = find(object, {"status", "conditions"}); conditions && conditions->is_array())
    for (const auto& c : conditions->get_array())
      if (c.is_object() && text_at(c.get_object(), {"type"}) == "Ready")
        out.ready = !out.deleting && text_at(c.get_object(), {"status"}) == "True";
  out.serving = out.ready;
  out.containers = running_containers(object);
  bool port_named = false;
  bool port_found = false;
  if (const auto* containers = find(object, {"spec", "containers"}); containers && containers->is_array()) {
    for (const auto& c : containers->get_array()) {
      if (!c.is_object()) continue;
      if (const auto* ports = find(c.get_object(), {"ports"}); ports && ports->is_array())
        for (const auto& p : ports->get_array()) {
          if (!p.is_object()) continue;
          const bool named = text_at(p.get_object(), {"name"}) == "http";
          if ((named && !port_named) || !port_found) out.port = integer_at(p.get_object(), {"containerPort"}, out.port);
          port_named = port_named || named;
          port_found = true;
        }
      for (const auto* kind : {"limits", "requests"}) {
        int cards = 0;
        for (const auto* vendor : vendors)
          if (const auto* v = find(c.get_object(), {"resources", kind, fmt::format("{}/gpu", vendor)})) cards += quantity(*v);
        // Extended resources have equal requests and limits; one of them may be left out.
        if (cards > 0) {
          out.gpus += cards;
          break;
        }
      }
    }
  }
  return out;
}

node_object decode_node(const json::object& object) {
  node_object out;
  out.name = text_at(object, {"metadata", "name"});
  out.closed = takes_no_pods(object);
  for (const std::string vendor : vendors) {
    const auto product = text_at(object, {"metadata", "labels", vendor + "/gpu.product"});
    const auto* cards = find(object, {"status", "allocatable", vendor + "/gpu"});
    if (product.empty() || !cards) continue;
    gpu_inventory entry;
    entry.product = product;
    entry.count = quantity(*cards);
    if (const auto* memory = find(object, {"metadata", "labels", vendor + "/gpu.memory"})) entry.memory_mib = quantity(*memory);
    out.gpus.push_back(std::move(entry));
  }
  return out;
}

config_object decode_config(const json::object& object) {
  return {key_of(object), text_at(object, {"metadata", "resourceVersion"}), string_map(find(object, {"data"}))};
}

}  // namespace inferno::actors

#include "actors/config_maps.hpp"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <optional>
#include <set>

#include "model/codec.hpp"
#include "model/nearest.hpp"
#include "net/http/url.hpp"

namespace inferno::actors {
namespace {

namespace json = boost::json;

/// A number within limits that stands in YAML; `path` names it in the error, which is thrown.
double number_in(const YAML::Node& node, const model::number_limits& limits, const std::string& path) {
  const bool scalar = node && node.IsScalar();
  const auto text = scalar ? node.Scalar() : node ? "a structure" : "nothing";
  const auto x = scalar ? model::parse_number(text) : std::nullopt;
  if (!x || !limits.hold(*x)) throw std::invalid_argument(fmt::format("{}: expected {}, got {}", path, limits.text(), text));
  return *x;
}

/// The same in JSON, as number or string.
tl::expected<double, std::string> number_in(const json::object& o, const char* field, const model::number_limits& limits) {
  const auto* v = o.if_contains(field);
  const auto x = v ? model::number_in_json(*v) : std::nullopt;
  if (x && limits.hold(*x)) return *x;
  return tl::unexpected(fmt::format("{}: expected {}, got {}", field, limits.text(), v ? json::serialize(*v) : "nothing"));
}

/// Adds `path.name: unknown field; did you mean ...?` to `unknown`, unless the name is known.
void check_name(std::string_view path, std::string_view name, std::span<const std::string_view> known, std::string& unknown) {
  if (std::find(known.begin(), known.end(), name) != known.end()) return;
  unknown += fmt::format("{}{}{}{}: {}", unknown.empty() ? "" : "; ", path, path.empty() ? "" : ".", name,
                         model::unknown_field(name, known));
}

/// How pods get there; nothing when the entry does not say.
tl::expected<std::optional<pod_placement>, std::string> parse_placement(const json::object& o) {
  const auto* selector = o.if_contains("nodeSelector");
  const auto* resource = o.if_contains("resource");
  pod_placement out;
  if (resource) {
    if (!resource->is_string() || !resource->get_string().ends_with(".com/gpu"))
      return tl::unexpected(
          fmt::format("resource: expected nvidia.com/gpu, amd.com/gpu or intel.com/gpu, got {}", json::serialize(*resource)));
    out.resource = std::string(resource->get_string());
  }
  if (!selector) {
    if (resource) return tl::unexpected(std::string("nodeSelector: required with resource"));
    return std::nullopt;
  }
  if (!selector->is_object() || selector->get_object().empty())
    return tl::unexpected(fmt::format("nodeSelector: expected labels and values, got {}", json::serialize(*selector)));
  for (const auto& [label, value] : selector->get_object()) {
    if (!value.is_string())
      return tl::unexpected(
          fmt::format("nodeSelector.{}: expected a string, got {}", std::string_view(label), json::serialize(value)));
    out.node_selector.emplace(label, value.get_string());
  }
  return out;
}

/// An entry that was read, and the names in it that mean nothing.
template <class T>
struct read_entry {
  T value;
  std::string unknown;
};

tl::expected<read_entry<config_reader::accelerator_entry>, std::string> parse_accelerator(const std::string& name,
                                                                                          const std::string& text) {
  boost::system::error_code ec;
  const auto v = json::parse(text, ec);
  if (ec || !v.is_object()) return tl::unexpected(fmt::format("expected a JSON object, got {}", text));
  if (const auto twice = model::duplicate_field(text)) return tl::unexpected(fmt::format("{}: is there twice", *twice));
  const auto& o = v.get_object();
  constexpr std::string_view fields[] = {"device", "cost", "multiplicity", "nodeSelector", "resource"};
  std::string unknown;
  for (const auto& field : o) check_name("", field.key(), fields, unknown);
  model::accelerator acc;
  acc.name = name;
  const auto* device = o.if_contains("device");
  if (!device || !device->is_string() || device->get_string().empty())
    return tl::unexpected(std::string("device: required, a string"));
  acc.type = std::string(device->get_string());
  const auto cost = number_in(o, "cost", model::limits::cost);
  if (!cost) return tl::unexpected(cost.error());
  acc.cost.cents = *cost;
  if (o.contains("multiplicity")) {
    const auto units = number_in(o, "multiplicity", model::limits::units);
    if (!units) return tl::unexpected(units.error());
    acc.multiplicity = static_cast<int>(*units);
  }
  auto placement = parse_placement(o);
  if (!placement) return tl::unexpected(std::move(placement.error()));
  return read_entry<config_reader::accelerator_entry>{{std::move(acc), std::move(*placement)}, std::move(unknown)};
}

/// A target of a class: 0 when absent.
double target_ms(const YAML::Node& entry, const char* field, const std::string& path) {
  const auto node = entry[field];
  return node ? number_in(node, model::limits::target, fmt::format("{}.{}", path, field)) : 0;
}

/// slo-ttft-percentile: 0 = the mean.
double percentile(const YAML::Node& entry, const std::string& path) {
  const auto node = entry["slo-ttft-percentile"];
  if (!node) return 0;
  const auto p = node.IsScalar() ? model::parse_percentile(node.Scalar()) : std::nullopt;
  if (!p)
    throw std::invalid_argument(fmt::format("{}.slo-ttft-percentile: expected mean or a percentile between 0 and 100, got {}",
                                            path, node.IsScalar() ? node.Scalar() : "a structure"));
  return *p;
}

/// Throws when a name is in the mapping twice: the reader would take the first value and leave out the other.
void check_names(const YAML::Node& mapping, const std::string& path, std::span<const std::string_view> known,
                 std::string& unknown) {
  std::set<std::string> seen;
  for (const auto& entry : mapping) {
    const auto name = entry.first.IsScalar() ? entry.first.Scalar() : std::string("(no name)");
    if (!seen.insert(name).second)
      throw std::invalid_argument(fmt::format("{}{}{}: is there twice", path, path.empty() ? "" : ".", name));
    check_name(path, name, known, unknown);
  }
}

tl::expected<read_entry<model::service_class>, std::string> parse_class(const std::string& text) {
  constexpr std::string_view fields[] = {"name", "priority", "data"};
  constexpr std::string_view targets[] = {"model",   "slo-itl", "slo-tpot",           "slo-ttft",
                                          "slo-ttw", "slo-tps", "slo-ttft-percentile"};
  try {
    const auto root = YAML::Load(text);
    if (!root.IsMap()) return tl::unexpected(std::string("expected a YAML mapping"));
    std::string unknown;
    check_names(root, "", fields, unknown);
    model::service_class c;
    if (!root["name"] || !root["name"].IsScalar()) return tl::unexpected(std::string("name: required"));
    c.name = root["name"].Scalar();
    c.priority = static_cast<int>(number_in(root["priority"], model::limits::priority, "priority"));
    const auto data = root["data"];
    if (data && !data.IsSequence()) return tl::unexpected(std::string("data: expected a list"));
    for (std::size_t i = 0; data && i < data.size(); ++i) {
      const auto path = fmt::format("data[{}]", i);
      const auto entry = data[i];
      if (!entry.IsMap() || !entry["model"] || !entry["model"].IsScalar()) return tl::unexpected(path + ".model: required");
      check_names(entry, path, targets, unknown);
      model::class_target t;
      t.model = entry["model"].Scalar();
      if (std::any_of(c.targets.begin(), c.targets.end(), [&](const auto& other) { return other.model == t.model; }))
        return tl::unexpected(fmt::format("{}.model: \"{}\" is there twice", path, t.model));
      if (entry["slo-itl"] && entry["slo-tpot"])
        return tl::unexpected(fmt::format("{}.slo-tpot: another name of slo-itl, which is there too", path));
      t.slo.itl_ms = target_ms(entry, entry["slo-itl"] ? "slo-itl" : "slo-tpot", path);
      t.slo.ttft_ms = target_ms(entry, "slo-ttft", path);
      t.slo.wait_p95_ms = target_ms(entry, "slo-ttw", path);
      t.slo.tps = target_ms(entry, "slo-tps", path);
      t.slo.ttft_percentile = percentile(entry, path);
      c.targets.push_back(std::move(t));
    }
    return read_entry<model::service_class>{std::move(c), std::move(unknown)};
  } catch (const std::exception& e) {
    return tl::unexpected(std::string(e.what()));
  }
}

/// Reads every entry into `into`: a bad one is reported and keeps its last value, one that is gone is dropped.
template <class T, class Parse>
std::vector<config_problem> read_entries(std::string_view map, const std::map<std::string, std::string>& data,
                                         std::map<std::string, T>& into, Parse parse) {
  std::vector<config_problem> problems;
  std::map<std::string, T> next;
  for (const auto& [key, text] : data) {
    auto parsed = parse(key, text);
    if (parsed) {
      if (!parsed->unknown.empty()) problems.push_back({fmt::format("{}/{}", map, key), std::move(parsed->unknown), true});
      next.emplace(key, std::move(parsed->value));
      continue;
    }
    const auto last = into.find(key);
    problems.push_back(
        {fmt::format("{}/{}", map, key), parsed.error() + (last != into.end() ? "; the last valid entry stays" : "")});
    if (last != into.end()) next.insert(*last);
  }
  into = std::move(next);
  return problems;
}

}  // namespace

tl::expected<std::chrono::milliseconds, std::string> parse_duration(std::string_view text) {
  const auto bad = [&] { return tl::unexpected(fmt::format("expected a duration such as \"60s\", got \"{}\"", text)); };
  double total_ms = 0;
  std::string_view rest = text;
  if (rest.empty()) return bad();
  while (!rest.empty()) {
    double n = 0;
    const auto [end, ec] = std::from_chars(rest.data(), rest.data() + rest.size(), n);
    if (ec != std::errc() || n < 0) return bad();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const auto takes = [&rest](std::string_view unit) {
      if (rest.substr(0, unit.size()) != unit) return false;
      rest.remove_prefix(unit.size());
      return true;
    };
    if (takes("ms")) {
      total_ms += n;
    } else if (takes("s")) {
      total_ms += n * 1e3;
    } else if (takes("m")) {
      total_ms += n * 6e4;
    } else if (takes("h")) {
      total_ms += n * 36e5;
    } else {
      return bad();
    }
  }
  if (!(total_ms <= 7 * 24 * 36e5)) return tl::unexpected(fmt::format("must be at most 168h, got \"{}\"", text));
  return std::chrono::milliseconds(static_cast<long>(total_ms));
}

/// Before the first valid value the mode is dry-run: a mistyped "dry-run" must not let the controller scale.
void config_reader::read_actuation_mode(const std::map<std::string, std::string>& data, std::vector<config_problem>& problems) {
  const auto it = data.find("ACTUATION_MODE");
  const auto mode = it == data.end() ? defaults_.actuation : parse_actuation_mode(it->second);
  if (mode) {
    settings_.actuation = *mode;
    mode_known_ = true;
    return;
  }
  if (!mode_known_) settings_.actuation = actuation_mode::dry_run;
  problems.push_back({fmt::format("{}/ACTUATION_MODE", settings_map),
                      fmt::format("expected direct, metric or dry-run, got \"{}\"; {}", it->second,
                                  mode_known_ ? "the last valid value stays" : "dry-run until it is valid")});
}

std::vector<config_problem> config_reader::read_settings(const std::map<std::string, std::string>& data) {
  std::vector<config_problem> problems;
  std::vector<std::string_view> known;  ///< collected by the lines that read them
  const auto entry = [&](const char* key, auto apply) {
    known.emplace_back(key);
    const auto it = data.find(key);
    if (it == data.end()) return;
    const std::string problem = apply(it->second);
    if (!problem.empty()) problems.push_back({fmt::format("{}/{}", settings_map, key), problem + "; the last valid value stays"});
  };
  const auto duration_entry = [&](const char* key, std::chrono::milliseconds& field, std::chrono::milliseconds fallback,
                                  int least_ms) {
    if (!data.count(key)) field = fallback;
    entry(key, [&](const std::string& text) -> std::string {
      const auto d = parse_duration(text);
      if (!d) return d.error();
      if (d->count() < least_ms) return fmt::format("must be at least {}ms, got \"{}\"", least_ms, text);
      field = *d;
      return {};
    });
  };
  duration_entry("GLOBAL_OPT_INTERVAL", settings_.opt_interval, defaults_.opt_interval, 100);
  duration_entry("SCALE_DOWN_STABILIZATION", settings_.scale_down_stabilization, defaults_.scale_down_stabilization, 0);
  duration_entry("RATE_WINDOW", settings_.rate_window, defaults_.rate_window, 1000);
  duration_entry("SCALE_TO_ZERO_RETENTION", settings_.zero_retention, defaults_.zero_retention, 0);
  const auto text_entry = [&](const char* key, std::string& field, const std::string& fallback) {
    known.emplace_back(key);
    const auto it = data.find(key);
    field = it == data.end() ? fallback : it->second;
  };
  auto& prometheus = settings_.prometheus;
  const auto& given = defaults_.prometheus;
  if (!data.count("PROMETHEUS_BASE_URL")) prometheus.url = given.url;
  entry("PROMETHEUS_BASE_URL", [&](const std::string& text) -> std::string {
    const auto url = net::parse_url(text);
    if (!url && !text.empty()) return url.error().message;
    prometheus.url = text;
    return {};
  });
  text_entry("PROMETHEUS_CA_CERT_PATH", prometheus.tls.ca_path, given.tls.ca_path);
  text_entry("PROMETHEUS_CLIENT_CERT_PATH", prometheus.tls.cert_path, given.tls.cert_path);
  text_entry("PROMETHEUS_CLIENT_KEY_PATH", prometheus.tls.key_path, given.tls.key_path);
  text_entry("PROMETHEUS_SERVER_NAME", prometheus.tls.server_name, given.tls.server_name);
  text_entry("PROMETHEUS_BEARER_TOKEN", prometheus.bearer_token, given.bearer_token);
  text_entry("PROMETHEUS_TOKEN_PATH", prometheus.token_path, given.token_path);
  settings_.trigger = false;
  entry("GLOBAL_OPT_TRIGGER", [&](const std::string& text) -> std::string {
    settings_.trigger = text == "true" || text == "1";
    if (settings_.trigger || text.empty() || text == "false" || text == "0") return {};
    return fmt::format("expected true or false, got \"{}\"", text);
  });
  if (!data.count("SATURATION_POLICY")) settings_.saturation = defaults_.saturation;
  entry("SATURATION_POLICY", [&](const std::string& text) -> std::string {
    using policy = model::saturation_policy;
    static const std::map<std::string, policy> names{{"None", policy::none},
                                                     {"PriorityExhaustive", policy::priority_exhaustive},
                                                     {"PriorityRoundRobin", policy::priority_round_robin},
                                                     {"RoundRobin", policy::round_robin}};
    const auto it = names.find(text);
    if (it == names.end())
      return fmt::format("expected None, PriorityExhaustive, PriorityRoundRobin or RoundRobin, got \"{}\"", text);
    settings_.saturation = it->second;
    return {};
  });
  read_actuation_mode(data, problems);
  known.emplace_back("ACTUATION_MODE");
  if (!data.count("SOLVER")) settings_.solver = defaults_.solver;
  entry("SOLVER", [&](const std::string& text) -> std::string {
    using kind = model::solver_kind;
    static const std::map<std::string, kind> names{{"auto", kind::automatic}, {"greedy", kind::greedy}, {"exact", kind::exact}};
    const auto it = names.find(text);
    if (it == names.end()) return fmt::format("expected auto, greedy or exact, got \"{}\"", text);
    settings_.solver = it->second;
    return {};
  });
  const auto flag_entry = [&](const char* key, bool& field, bool fallback) {
    if (!data.count(key)) field = fallback;
    entry(key, [&](const std::string& text) -> std::string {
      if (text != "true" && text != "false") return fmt::format("expected true or false, got \"{}\"", text);
      field = text == "true";
      return {};
    });
  };
  flag_entry("PROMETHEUS_TLS_INSECURE_SKIP_VERIFY", prometheus.tls.insecure_skip_verify, given.tls.insecure_skip_verify);
  flag_entry("BATCH_SEARCH", settings_.search_batch, defaults_.search_batch);
  flag_entry("MODEL_POOLS", settings_.pools, defaults_.pools);
  for (const auto& [key, text] : data) {
    std::string unknown;
    check_name("", key, known, unknown);
    if (!unknown.empty()) problems.push_back({fmt::format("{}/{}", settings_map, key), std::move(unknown), true});
  }
  return problems;
}

std::vector<config_problem> config_reader::read_accelerators(const std::map<std::string, std::string>& data) {
  have_accelerators_ = true;
  return read_entries(accelerators_map, data, accelerators_, parse_accelerator);
}

std::vector<config_problem> config_reader::read_classes(const std::map<std::string, std::string>& data) {
  have_classes_ = true;
  // Two classes of one name cannot be told apart: the entry that has had the name keeps it, else the first by key.
  std::map<std::string, std::string> owners;
  for (const auto& [key, last] : classes_) {
    const auto now = data.find(key);
    if (now == data.end()) continue;
    const auto parsed = parse_class(now->second);
    if (!parsed || parsed->value.name == last.name) owners.emplace(last.name, key);
  }
  return read_entries(classes_map, data, classes_, [&](const std::string& key, const std::string& text) {
    auto parsed = parse_class(text);
    if (!parsed) return parsed;
    const auto owner = owners.emplace(parsed->value.name, key).first->second;
    if (owner == key) return parsed;
    const auto last = classes_.find(key);
    if (last != classes_.end()) owners.emplace(last->second.name, key);
    return decltype(parsed)(
        tl::unexpected(fmt::format("name: {} is the name of the class in {} already", parsed->value.name, owner)));
  });
}

std::shared_ptr<const catalog> config_reader::current() const {
  if (!have_accelerators_ || !have_classes_) return nullptr;
  auto out = std::make_shared<catalog>();
  for (const auto& [name, entry] : accelerators_) {
    out->accelerators.emplace(name, entry.spec);
    if (entry.placement) out->placements.emplace(name, *entry.placement);
  }
  for (const auto& [entry, spec] : classes_) out->classes.push_back({entry, spec});
  return out;
}

}  // namespace inferno::actors

#include "model/system_json.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json/stream_parser.hpp>
#include <set>

#include "model/codec.hpp"
#include "model/nearest.hpp"
#include "model/system_json_write.hpp"

namespace inferno::model {
namespace {

namespace json = boost::json;

/// Thrown inside the reader, caught at its door.
struct bad_field {
  std::string message;
};

[[noreturn]] void refuse(const std::string& path, std::string_view expected, const json::value* got) {
  auto value = got ? write_json(*got) : std::string("nothing");
  if (value.size() > 100) value.replace(100, std::string::npos, "...");  // one line, whatever the file holds
  throw bad_field{fmt::format("{}: expected {}, got {}", path, expected, value)};
}

/// A value and the way to it, so that every error names its field.
class reader {
 public:
  reader(const json::value* value, std::string path) : value_(value), path_(std::move(path)) {}

  bool present() const { return value_ && !value_->is_null(); }
  const std::string& path() const { return path_; }

  reader operator[](std::string_view name) const {
    const json::value* found = nullptr;
    if (present()) {
      if (!value_->is_object()) refuse(path_, "an object", value_);
      found = value_->get_object().if_contains(name);
    }
    return {found, path_.empty() ? std::string(name) : fmt::format("{}.{}", path_, name)};
  }
  /// Refuses every field but these: a misspelt one would be left out without a word.
  void only(std::initializer_list<std::string_view> known) const { only(std::span(known.begin(), known.size())); }
  void only(std::span<const std::string_view> known) const {
    if (!present()) return;
    if (!value_->is_object()) refuse(path_, "an object", value_);
    for (const auto& field : value_->get_object())
      if (std::find(known.begin(), known.end(), std::string_view(field.key())) == known.end())
        throw bad_field{fmt::format("{}: {}", (*this)[field.key()].path(), unknown_field(field.key(), known))};
  }
  /// Absent = empty.
  std::vector<reader> list() const {
    std::vector<reader> out;
    if (!present()) return out;
    if (!value_->is_array()) refuse(path_, "a list", value_);
    std::size_t i = 0;
    for (const auto& v : value_->get_array()) out.emplace_back(&v, fmt::format("{}[{}]", path_, i++));
    return out;
  }
  std::string name() const {
    if (!present() || !value_->is_string() || value_->get_string().empty()) refuse(path_, "a string that is not empty", value_);
    return std::string(value_->get_string());
  }
  std::string text(std::string fallback = {}) const {
    if (!present()) return fallback;
    if (!value_->is_string()) refuse(path_, "a string", value_);
    return std::string(value_->get_string());
  }
  bool flag(bool fallback) const {
    if (!present()) return fallback;
    if (!value_->is_bool()) refuse(path_, "true or false", value_);
    return value_->get_bool();
  }
  /// Also as a string.
  double number(const number_limits& l, double fallback) const { return present() ? number(l) : fallback; }
  double number(const number_limits& l) const {
    const auto x = present() ? number_in_json(*value_) : std::nullopt;
    if (!x || !l.hold(*x)) refuse(path_, l.text(), value_);
    return *x;
  }
  /// "mean" (also when absent) = 0; else a percentile, as 95 or "p95".
  double percentile() const {
    if (!present()) return 0;
    const auto x = value_->is_string()   ? parse_percentile(value_->get_string())
                   : value_->is_number() ? parse_percentile(fmt::format("{}", number(limits::observed)))
                                         : std::nullopt;
    if (x) return *x;
    refuse(path_, "mean or a percentile between 0 and 100, as p95", value_);
  }
  int count(const number_limits& l, int fallback) const { return present() ? static_cast<int>(number(l)) : fallback; }

 private:
  const json::value* value_;
  std::string path_;
};

// Each reader lists the fields of the Go autoscaler's form too, also those that nothing here depends on.

accelerator read_accelerator(const reader& r) {
  r.only({"name", "type", "multiplicity", "cost", "memSize", "memBW", "power"});
  r["power"].only({"idle", "full", "midPower", "midUtil"});
  accelerator a;
  a.name = r["name"].name();
  a.type = r["type"].text(a.name);
  a.multiplicity = r["multiplicity"].count(limits::units, 1);
  a.cost.cents = r["cost"].number(limits::cost);
  return a;
}

performance_profile read_linear(const reader& r) {
  linear_profile p;
  r["decodeParms"].only({"alpha", "beta"});
  r["prefillParms"].only({"gamma", "delta"});
  const auto decode = r["decodeParms"].present() ? r["decodeParms"] : r;
  p.alpha_ms = decode["alpha"].number(limits::profile_ms);
  p.beta_ms = decode["beta"].number(limits::profile_ms);
  const auto prefill = r["prefillParms"].present() ? r["prefillParms"] : r;
  p.has_prefill = prefill["gamma"].present() || prefill["delta"].present();
  if (p.has_prefill) {
    p.gamma_ms = prefill["gamma"].number(limits::profile_ms);
    p.delta_ms = prefill["delta"].number(limits::profile_ms);
  }
  return p;
}

performance_profile read_iteration(const reader& r) {
  r.only({"alpha", "beta", "gamma", "maxBatchedTokens"});
  iteration_profile p;
  p.alpha_ms = r["alpha"].number(limits::profile_ms);
  p.beta_ms = r["beta"].number(limits::profile_ms);
  p.gamma_ms = r["gamma"].number(limits::profile_ms);
  p.max_batched_tokens = r["maxBatchedTokens"].count(limits::iteration_tokens, p.max_batched_tokens);
  return p;
}

/// A parameter that is given in two places has two values, of which one would be left out.
void require_one_form(const reader& r) {
  const auto exclusive = [&](std::string_view form, std::initializer_list<std::string_view> others) {
    if (!r[form].present()) return;
    for (const auto other : others)
      if (r[other].present())
        throw bad_field{fmt::format("{}: {} and {} are given; a profile has one form", r.path(), form, other)};
  };
  exclusive("iterationParms", {"decodeParms", "prefillParms", "alpha", "beta", "gamma", "delta"});
  exclusive("decodeParms", {"alpha", "beta"});
  exclusive("prefillParms", {"gamma", "delta"});
}

model_profile read_profile(const reader& r) {
  r.only({"name", "acc", "accCount", "maxBatchSize", "atTokens", "alpha", "beta", "gamma", "delta", "decodeParms", "prefillParms",
          "iterationParms", "kvCacheGiB", "kvBytesPerToken",
          // What fit_json() says of a profile besides.
          "confidence95", "relativeError"});
  require_one_form(r);
  model_profile p;
  p.model = r["name"].name();
  p.acc = r["acc"].name();
  p.acc_count = r["accCount"].count(limits::units, 1);
  p.max_batch = r["maxBatchSize"].count(limits::batch, 0);
  p.at_tokens = r["atTokens"].count(limits::token_count, 0);
  p.params = r["iterationParms"].present() ? read_iteration(r["iterationParms"]) : read_linear(r);
  p.kv.bytes = r["kvCacheGiB"].number(limits::kv_gib, 0) * (1 << 30);
  p.kv.bytes_per_token = r["kvBytesPerToken"].number(limits::kv_bytes, 0);
  if (p.max_batch == 0) refuse(r.path() + ".maxBatchSize", limits::batch.text(), nullptr);
  if (const auto problem = validate(p.params)) throw bad_field{fmt::format("{}: {}", r.path(), *problem)};
  if (const auto problem = validate(p.kv)) throw bad_field{fmt::format("{}.{}", r.path(), *problem)};
  return p;
}

service_class read_class(const reader& r) {
  r.only({"name", "priority", "modelTargets"});
  service_class c;
  c.name = r["name"].name();
  // Without one a class is the least important, as in the reference.
  c.priority = r["priority"].count(limits::priority, static_cast<int>(limits::priority.most));
  for (const auto& t : r["modelTargets"].list()) {
    t.only({"model", "slo-itl", "slo-tpot", "slo-ttft", "slo-ttw", "slo-tps", "slo-ttft-percentile"});
    class_target target;
    target.model = t["model"].name();
    if (std::any_of(c.targets.begin(), c.targets.end(), [&](const auto& other) { return other.model == target.model; }))
      throw bad_field{fmt::format("{}: \"{}\" is there twice", t["model"].path(), target.model)};
    if (t["slo-itl"].present() && t["slo-tpot"].present())
      throw bad_field{t["slo-tpot"].path() + ": another name of slo-itl, which is there too"};
    target.slo.itl_ms = t["slo-itl"].present() ? t["slo-itl"].number(limits::target) : t["slo-tpot"].number(limits::target, 0);
    target.slo.ttft_ms = t["slo-ttft"].number(limits::target, 0);
    target.slo.wait_p95_ms = t["slo-ttw"].number(limits::target, 0);
    target.slo.tps = t["slo-tps"].number(limits::target, 0);
    target.slo.ttft_percentile = t["slo-ttft-percentile"].percentile();
    c.targets.push_back(std::move(target));
  }
  return c;
}

current_allocation read_allocation(const reader& r) {
  r.only({"accelerator", "numReplicas", "maxBatch", "cost", "itlAverage", "waitAverage", "ttftAverage", "load"});
  r["load"].only({"arrivalRate", "avgInTokens", "avgOutTokens", "avgLength", "cvOutTokens", "arrivalCOV", "serviceCOV"});
  current_allocation a;
  a.accelerator = r["accelerator"].text();
  a.num_replicas = r["numReplicas"].count(limits::replicas, 0);
  a.max_batch = r["maxBatch"].count(limits::gpus, 0);
  a.cost.cents = r["cost"].number(limits::observed, 0);
  a.itl_ms = r["itlAverage"].number(limits::observed, 0);
  a.wait_ms = r["waitAverage"].number(limits::observed, 0);
  a.ttft_ms = r["ttftAverage"].number(limits::observed, 0);
  const auto load = r["load"];
  a.load.arrival_rate = req_rate::per_min(load["arrivalRate"].number(limits::rate_per_min, 0));
  a.load.avg_in_tokens = load["avgInTokens"].number(limits::tokens, 0);
  // The quick start's form has one length: of the output.
  a.load.avg_out_tokens =
      load["avgOutTokens"].present() ? load["avgOutTokens"].number(limits::tokens) : load["avgLength"].number(limits::tokens, 0);
  if (a.load.arrival_rate.per_sec() > 0 && a.load.avg_out_tokens <= 0)
    throw bad_field{fmt::format("{}: expected more than 0 where {} is, got {}", load["avgOutTokens"].path(),
                                load["arrivalRate"].path(), load["avgOutTokens"].present() ? "0" : "nothing")};
  a.load.out_cv = load["cvOutTokens"].number(limits::variation, -1);
  return a;
}

/// 0 = that of the profile.
constexpr number_limits max_batch_override{0, limits::batch.most, true};

server_spec read_server(const reader& r) {
  r.only({"name", "class", "model", "keepAccelerator", "minNumReplicas", "maxNumReplicas", "maxBatchSize", "pool", "currentAlloc",
          "desiredAlloc"});
  server_spec s;
  s.name = r["name"].name();
  s.class_name = r["class"].name();
  s.model = r["model"].name();
  s.keep_accelerator = r["keepAccelerator"].flag(false);
  s.min_replicas = r["minNumReplicas"].count(limits::replicas, 1);
  s.max_replicas = r["maxNumReplicas"].count(limits::replicas, 0);
  s.max_batch = r["maxBatchSize"].count(max_batch_override, 0);
  s.pool = r["pool"].text();
  if (s.max_replicas > 0 && s.max_replicas < s.min_replicas)
    throw bad_field{fmt::format("{}.maxNumReplicas: expected 0 or a number >= minNumReplicas, which is {}, got {}", r.path(),
                                s.min_replicas, s.max_replicas)};
  s.current = read_allocation(r["currentAlloc"]);
  return s;
}

constexpr std::pair<std::string_view, saturation_policy> policies[] = {
    {"None", saturation_policy::none},
    {"PriorityExhaustive", saturation_policy::priority_exhaustive},
    {"PriorityRoundRobin", saturation_policy::priority_round_robin},
    {"RoundRobin", saturation_policy::round_robin}};

optimizer_spec read_optimizer(const reader& r) {
  r.only({"unlimited", "delayedBestEffort", "batchSearch", "saturationPolicy", "heterogeneous", "milpSolver", "useCplex"});
  optimizer_spec o;
  o.unlimited = r["unlimited"].flag(!r.present());
  o.delayed_best_effort = r["delayedBestEffort"].flag(false);
  o.search_batch = r["batchSearch"].flag(false);
  const auto policy = r["saturationPolicy"].text("None");
  for (const auto& [name, value] : policies)
    if (policy == name) {
      o.saturation = value;
      return o;
    }
  throw bad_field{fmt::format("{}: expected None, PriorityExhaustive, PriorityRoundRobin or RoundRobin, got \"{}\"",
                              r["saturationPolicy"].path(), policy)};
}

/// Two entries with one name would make one of them silently void.
template <class List, class Key>
void require_unique(const List& list, const std::string& path, Key key) {
  std::set<decltype(key(list.front()))> seen;
  for (const auto& entry : list)
    if (!seen.insert(key(entry)).second) throw bad_field{fmt::format("{}: \"{}\" is there twice", path, key(entry))};
}

constexpr std::string_view sections[] = {"acceleratorData", "modelData",     "serviceClassData",
                                         "serverData",      "optimizerData", "capacityData"};

/// What stands beside `system` is left alone, as results are in the Go autoscaler's files, but not a section that is misplaced.
void require_no_section_outside(const json::object& file) {
  for (const auto name : sections)
    if (file.contains(name)) throw bad_field{fmt::format("{}: belongs into \"system\", and stands beside it", name)};
}

void require_known_sections(const reader& root) {
  root.only(sections);
  root["acceleratorData"].only({"accelerators"});
  root["modelData"].only({"models"});
  root["serviceClassData"].only({"serviceClasses"});
  root["serverData"].only({"servers"});
  root["optimizerData"].only({"optimizer"});
  root["capacityData"].only({"count"});
}

system_data read_system(const reader& root) {
  system_data s;
  for (const auto& a : root["acceleratorData"]["accelerators"].list()) s.accelerators.push_back(read_accelerator(a));
  for (const auto& m : root["modelData"]["models"].list()) s.profiles.push_back(read_profile(m));
  for (const auto& c : root["serviceClassData"]["serviceClasses"].list()) s.classes.push_back(read_class(c));
  for (const auto& v : root["serverData"]["servers"].list()) s.servers.push_back(read_server(v));
  s.optimizer = read_optimizer(root["optimizerData"]["optimizer"]);
  for (const auto& c : root["capacityData"]["count"].list()) {
    c.only({"type", "count"});
    s.capacity.push_back({c["type"].name(), c["count"].count(limits::gpus, 0)});
  }
  const auto path = [&](std::string_view of) {
    return root.path().empty() ? std::string(of) : fmt::format("{}.{}", root.path(), of);
  };
  require_unique(s.accelerators, path("acceleratorData.accelerators"), [](const auto& a) { return a.name; });
  require_unique(s.classes, path("serviceClassData.serviceClasses"), [](const auto& c) { return c.name; });
  require_unique(s.servers, path("serverData.servers"), [](const auto& v) { return v.name; });
  require_unique(s.profiles, path("modelData.models"), [](const auto& p) { return p.model + " on " + p.acc; });
  // Who says how many GPUs there are means them.
  if (!root["optimizerData"]["optimizer"].present()) s.optimizer.unlimited = s.capacity.empty();
  require_unique(s.capacity, path("capacityData.count"), [](const auto& c) { return c.type; });
  std::set<std::string> accelerators;
  for (const auto& a : s.accelerators) accelerators.insert(a.name);
  for (std::size_t i = 0; i < s.profiles.size(); ++i)
    if (!accelerators.count(s.profiles[i].acc))
      throw bad_field{fmt::format("{}[{}].acc: unknown accelerator \"{}\"", path("modelData.models"), i, s.profiles[i].acc)};
  std::set<std::string> classes;
  for (const auto& c : s.classes) classes.insert(c.name);
  for (std::size_t i = 0; i < s.servers.size(); ++i)
    if (!classes.count(s.servers[i].class_name))
      throw bad_field{
          fmt::format("{}[{}].class: unknown service class \"{}\"", path("serverData.servers"), i, s.servers[i].class_name)};
  return s;
}

void put_profile(json::object& m, const performance_profile& profile) {
  if (const auto* i = std::get_if<iteration_profile>(&profile)) {
    m["iterationParms"] = json::object{
        {"alpha", i->alpha_ms}, {"beta", i->beta_ms}, {"gamma", i->gamma_ms}, {"maxBatchedTokens", i->max_batched_tokens}};
    return;
  }
  const auto& l = std::get<linear_profile>(profile);
  m["decodeParms"] = json::object{{"alpha", l.alpha_ms}, {"beta", l.beta_ms}};
  if (l.has_prefill) m["prefillParms"] = json::object{{"gamma", l.gamma_ms}, {"delta", l.delta_ms}};
}

json::object load_json(const server_load& l) {
  json::object out{
      {"arrivalRate", rounded_per_min(l.arrival_rate)}, {"avgInTokens", l.avg_in_tokens}, {"avgOutTokens", l.avg_out_tokens}};
  if (l.out_cv >= 0) out["cvOutTokens"] = l.out_cv;
  return out;
}

}  // namespace

tl::expected<system_data, std::string> parse_system(std::string_view text) {
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = 32;
  json::stream_parser parser({}, options);
  auto used = parser.write_some(text.data(), text.size(), ec);
  if (!ec && used < text.size()) {
    // write_some stops at the end of the value; only space may follow.
    const auto rest = text.find_first_not_of(" \t\r\n", used);
    if (rest != std::string_view::npos) {
      used = rest;
      ec = json::error::extra_data;
    }
  }
  if (!ec) parser.finish(ec);
  if (ec) return tl::unexpected(fmt::format("not JSON: {} at byte {}", ec.message(), used));
  try {
    const auto value = parser.release();
    if (!value.is_object())
      return tl::unexpected(std::string("expected a JSON object with acceleratorData, modelData, serviceClassData, serverData"));
    const auto& object = value.get_object();
    const auto* inner = object.if_contains("system");
    const reader root(inner ? inner : &value, inner ? "system" : "");
    if (const auto twice = duplicate_field(text)) return tl::unexpected(fmt::format("{}: is there twice", *twice));
    if (inner) require_no_section_outside(object);
    require_known_sections(root);
    if (!root["serverData"].present()) return tl::unexpected(root["serverData"].path() + ": expected an object, got nothing");
    return read_system(root);
  } catch (const bad_field& e) {
    return tl::unexpected(e.message);
  }
}

std::string to_json(const system_data& s) {
  json::array accelerators, models, classes, servers, counts;
  for (const auto& a : s.accelerators)
    accelerators.push_back(
        json::object{{"name", a.name}, {"type", a.type}, {"multiplicity", a.multiplicity}, {"cost", a.cost.cents}});
  for (const auto& p : s.profiles) {
    json::object m{
        {"name", p.model}, {"acc", p.acc}, {"accCount", p.acc_count}, {"maxBatchSize", p.max_batch}, {"atTokens", p.at_tokens}};
    put_profile(m, p.params);
    if (p.kv.bytes > 0) m["kvCacheGiB"] = p.kv.bytes / (1 << 30);
    if (p.kv.bytes_per_token > 0) m["kvBytesPerToken"] = p.kv.bytes_per_token;
    models.push_back(std::move(m));
  }
  for (const auto& c : s.classes) {
    json::array targets;
    for (const auto& t : c.targets) {
      json::object target{{"model", t.model},
                          {"slo-itl", t.slo.itl_ms},
                          {"slo-ttft", t.slo.ttft_ms},
                          {"slo-ttw", t.slo.wait_p95_ms},
                          {"slo-tps", t.slo.tps}};
      if (t.slo.ttft_percentile > 0) target["slo-ttft-percentile"] = t.slo.ttft_percentile;
      targets.push_back(std::move(target));
    }
    classes.push_back(json::object{{"name", c.name}, {"priority", c.priority}, {"modelTargets", std::move(targets)}});
  }
  for (const auto& v : s.servers) {
    const auto& c = v.current;
    json::object current{{"accelerator", c.accelerator}, {"numReplicas", c.num_replicas}, {"maxBatch", c.max_batch},
                         {"cost", c.cost.cents},         {"itlAverage", c.itl_ms},        {"waitAverage", c.wait_ms},
                         {"ttftAverage", c.ttft_ms},     {"load", load_json(c.load)}};
    servers.push_back(json::object{{"name", v.name},
                                   {"class", v.class_name},
                                   {"model", v.model},
                                   {"keepAccelerator", v.keep_accelerator},
                                   {"minNumReplicas", v.min_replicas},
                                   {"maxNumReplicas", v.max_replicas},
                                   {"maxBatchSize", v.max_batch},
                                   {"currentAlloc", std::move(current)}});
    if (!v.pool.empty()) servers.back().get_object()["pool"] = v.pool;
  }
  for (const auto& c : s.capacity) counts.push_back(json::object{{"type", c.type}, {"count", c.count}});
  std::string_view policy = "None";
  for (const auto& [name, value] : policies)
    if (value == s.optimizer.saturation) policy = name;
  json::object optimizer{
      {"unlimited", s.optimizer.unlimited}, {"delayedBestEffort", s.optimizer.delayed_best_effort}, {"saturationPolicy", policy}};
  if (s.optimizer.search_batch) optimizer["batchSearch"] = true;
  json::object out{{"acceleratorData", json::object{{"accelerators", std::move(accelerators)}}},
                   {"modelData", json::object{{"models", std::move(models)}}},
                   {"serviceClassData", json::object{{"serviceClasses", std::move(classes)}}},
                   {"serverData", json::object{{"servers", std::move(servers)}}},
                   {"optimizerData", json::object{{"optimizer", std::move(optimizer)}}},
                   {"capacityData", json::object{{"count", std::move(counts)}}}};
  return write_json(json::object{{"system", std::move(out)}});
}

std::string fit_json(const profile_fit& fit) {
  json::object out, intervals, errors;
  put_profile(out, fit.profile);
  for (const auto& p : fit.parameters)
    if (p.half_width) intervals[p.name] = json::array{p.value - *p.half_width, p.value + *p.half_width};
  const auto error = [](const fit_error& e) { return json::object{{"mean", e.mean}, {"worst", e.worst}, {"rows", e.rows}}; };
  if (fit.itl.rows > 0) errors["itl"] = error(fit.itl);
  if (fit.ttft.rows > 0) errors["ttft"] = error(fit.ttft);
  out["confidence95"] = std::move(intervals);
  out["relativeError"] = std::move(errors);
  return write_json(out);
}

}  // namespace inferno::model

#pragma once
// A controller on CAF's deterministic test coordinator: virtual time, a fake API server that remembers every call, a fake metrics
// source.
#include <fmt/format.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/ostream_sink.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <deque>
#include <sstream>

#include "actors/supervisor.hpp"

namespace inferno::actors::testing {

struct api_call {
  std::string verb;
  std::string plural;
  std::string subresource;
  kube::object_key key;
  json::value body;
  double at_s = 0;
  bool succeeded = true;
};

/// Answers every write with success unless an answer is queued for it; remembers all.
class fake_api final : public kube_api {
 public:
  struct running_watch final : subscription {
    running_watch(fake_api* api, std::string plural) : owner(api), resource(std::move(plural)) {}
    ~running_watch() override { owner->sinks.erase(resource); }
    fake_api* owner;
    std::string resource;
  };

  std::unique_ptr<subscription> watch(const kube::resource& res, kube::list_options, kube::reflector_sink sink) override {
    ++watches[res.plural];
    // Nobody has any of these unless the test says so.
    if (res.plural == "statefulsets" || res.plural == "horizontalpodautoscalers") sink.replaced({});
    sinks[res.plural] = std::move(sink);
    if (lists && watches[res.plural] > 1) {
      std::vector<json::object> all;
      for (const auto& [key, object] : objects[res.plural]) all.push_back(object);
      sinks[res.plural].replaced(std::move(all));
    }
    return std::make_unique<running_watch>(this, res.plural);
  }
  void get(const kube::resource& res, kube::object_key key, std::string subresource, kube::lane, object_done done) override {
    answer({"get", res.plural, std::move(subresource), key, {}}, std::move(done));
  }
  void get_path(std::string path, object_done done) override { answer({"get", std::move(path), "", {}, {}}, std::move(done)); }
  void create(const kube::resource& res, std::string ns, json::object object, object_done done) override {
    answer({"create", res.plural, "", {std::move(ns), ""}, std::move(object)}, std::move(done));
  }
  void replace(const kube::resource& res, kube::object_key key, json::object object, object_done done) override {
    answer({"replace", res.plural, "", std::move(key), std::move(object)}, std::move(done));
  }
  void merge_patch(const kube::resource& res, kube::object_key key, json::value body, std::string subresource,
                   object_done done) override {
    answer({"patch", res.plural, std::move(subresource), std::move(key), std::move(body)}, std::move(done));
  }
  void allow_writes(clock::time_point until) override { open_until = until; }
  void end_writes() override { ended = true; }
  /// Whether a write would go out now.
  bool writing() const { return !ended && steady_now() < open_until; }
  int writes_in_flight() const override { return static_cast<int>(held.size()); }

  /// Calls of a verb on a resource (and subresource), in order.
  std::vector<api_call> calls_to(std::string_view verb, std::string_view plural, std::string_view subresource = "") const {
    std::vector<api_call> out;
    for (const auto& c : calls)
      if (c.verb == verb && c.plural == plural && c.subresource == subresource) out.push_back(c);
    return out;
  }
  /// The next matching calls fail with this status.
  void fail(const std::string& verb, const std::string& plural, int status, int times = 1,
            std::optional<std::chrono::milliseconds> retry_after = {}) {
    for (int i = 0; i < times; ++i) failures.push_back({verb, plural, status, retry_after});
  }

  /// What the API server has of the targets that tests tell of, by "plural namespace/name".
  struct scale {
    int replicas = 0;
    int version = 1;
  };
  std::map<std::string, scale> scales;
  std::function<scale*(const api_call&)> find_scale;  ///< for tests that keep them themselves
  void keep_scale(const std::string& plural, const json::object& target, kube::watch_type type) {
    if (plural != "deployments" && plural != "statefulsets") return;
    const auto& meta = target.at("metadata");
    const auto key = fmt::format("{} {}/{}", plural, std::string_view(meta.at("namespace").as_string()),
                                 std::string_view(meta.at("name").as_string()));
    if (type == kube::watch_type::deleted) {
      scales.erase(key);
    } else {
      auto& s = scales[key];
      s = {static_cast<int>(target.at("spec").at("replicas").as_int64()), s.version + 1};
    }
  }

  /// What tests told of, by plural: given to later watches of the kind if `lists`, and to whoever gets a VariantAutoscaling,
  /// which is kept with the status and the owners that are written to it.
  std::map<std::string, std::map<kube::object_key, json::object>> objects;
  bool lists = false;
  std::function<const json::object*(const api_call&)> find_object;  ///< for tests that keep them themselves
  static kube::object_key key_of_object(const json::object& o) {
    const auto& meta = o.at("metadata").as_object();
    const auto* ns = meta.if_contains("namespace");
    return {ns ? std::string(ns->as_string()) : std::string(), std::string(meta.at("name").as_string())};
  }
  void keep_object(const std::string& plural, const json::object& o, kube::watch_type type) {
    if (type == kube::watch_type::deleted) {
      objects[plural].erase(key_of_object(o));
    } else {
      objects[plural][key_of_object(o)] = o;
    }
  }
  void keep_variant(const api_call& c) {
    const auto it = objects["variantautoscalings"].find(c.key);
    if (it == objects["variantautoscalings"].end()) return;
    const auto& body = c.body.as_object();
    if (const auto* status = body.if_contains("status"))
      for (const auto& [field, value] : status->as_object()) {
        auto& kept = it->second["status"];
        if (!kept.is_object()) kept = json::object{};
        kept.as_object()[field] = value;
      }
    const auto* meta = body.if_contains("metadata");
    const auto* owners = meta ? meta->as_object().if_contains("ownerReferences") : nullptr;
    if (owners) it->second["metadata"].as_object()["ownerReferences"] = *owners;
  }

  enum class fate { carried_out, refused, answer_lost };
  /// What becomes of a write, and with which status it is refused; unset: all are carried out.
  std::function<std::pair<fate, int>(const api_call&)> judge;
  /// Told of every write that is carried out.
  std::function<void(const api_call&)> on_write;
  bool remember = true;  ///< calls, for the test to look at

  std::map<std::string, kube::reflector_sink> sinks;
  std::map<std::string, int> watches;
  std::vector<api_call> calls;
  /// What a get of a resource ("leases", "things/scale") or path returns, whatever the object; absent = 404. Replaces and creates
  /// of leases are stored here.
  std::map<std::string, json::object> stored;
  std::function<double()> now_s = [] { return 0.0; };
  std::function<clock::time_point()> steady_now = [] { return clock::time_point(); };
  clock::time_point open_until = always;  ///< as the leader left it
  bool ended = false;
  bool hold_answers = false;  ///< keeps completions in `held` instead of calling them
  std::deque<std::function<void()>> held;

 private:
  struct failure {
    std::string verb, plural;
    int status;
    std::optional<std::chrono::milliseconds> retry_after;
  };
  void answer(api_call call, object_done done) {
    call.at_s = now_s();
    const bool lease = call.plural == "leases";
    const bool write = call.verb != "get";
    const auto [what, status] = judge && write ? judge(call) : std::pair(fate::carried_out, 0);
    auto result =
        what == fate::refused ? net::fail(net::error_kind::status, fmt::format("refused {}", status), status) : outcome(call);
    if (result && write && on_write) on_write(call);
    if (result && what == fate::answer_lost) result = net::fail(net::error_kind::timeout, "no answer");
    call.succeeded = result.has_value();
    if (call.succeeded && call.verb == "patch" && call.plural == "variantautoscalings") keep_variant(call);
    if (lease && result && (call.verb == "create" || call.verb == "replace")) {
      auto& kept = stored["leases"] = call.body.as_object();
      kept["metadata"].as_object()["resourceVersion"] = std::to_string(++lease_version_);
    }
    if (remember) calls.push_back(std::move(call));
    auto complete = [done = std::move(done), result = std::move(result)] { done(result); };
    if (hold_answers) {
      held.push_back(std::move(complete));
    } else {
      complete();
    }
  }
  net::result<json::object> outcome(const api_call& call) {
    if (!writing() && call.verb != "get" && call.plural != "leases")
      return net::fail(net::error_kind::cancelled, "not the leader any more");
    for (auto it = failures.begin(); it != failures.end(); ++it)
      if (it->verb == call.verb && it->plural == call.plural) {
        const auto f = *it;
        failures.erase(it);
        auto error = net::fail(net::error_kind::status, fmt::format("injected failure {}", f.status), f.status);
        error.value().retry_after = f.retry_after;
        return error;
      }
    if (call.verb == "get") {
      const auto it = stored.find(call.subresource.empty() ? call.plural : call.plural + "/" + call.subresource);
      if (it == stored.end() && call.subresource == "scale")
        if (const auto* now = scale_of(call)) return scale_object(*now);
      if (it == stored.end() && call.plural == "variantautoscalings")
        if (const auto* o = object_of(call)) return *o;
      if (it == stored.end()) return net::fail(net::error_kind::status, call.plural + " not found", 404);
      return it->second;
    }
    if (call.subresource == "scale")
      if (auto* now = scale_of(call)) return patch_scale(call, *now);
    if (call.plural == "leases" && lease_conflicts(call))
      return net::fail(net::error_kind::status, "the lease was written meanwhile", 409);
    return call.body.is_object() ? call.body.get_object() : json::object{};
  }
  const json::object* object_of(const api_call& call) {
    if (find_object) return find_object(call);
    const auto it = objects[call.plural].find(call.key);
    return it == objects[call.plural].end() ? nullptr : &it->second;
  }
  scale* scale_of(const api_call& call) {
    if (find_scale) return find_scale(call);
    const auto it = scales.find(call.plural + " " + call.key.ns + "/" + call.key.name);
    return it == scales.end() ? nullptr : &it->second;
  }
  /// As the API server writes it: without the field at zero replicas.
  static json::object scale_object(const scale& s) {
    json::object spec;
    if (s.replicas > 0) spec["replicas"] = s.replicas;
    return {
        {"kind", "Scale"}, {"metadata", json::object{{"resourceVersion", std::to_string(s.version)}}}, {"spec", std::move(spec)}};
  }
  net::result<json::object> patch_scale(const api_call& call, scale& now) {
    const auto& body = call.body.as_object();
    if (const auto* meta = body.if_contains("metadata"))
      if (meta->at("resourceVersion") != json::value(std::to_string(now.version)))
        return net::fail(net::error_kind::status, "the scale was written meanwhile", 409);
    now = {static_cast<int>(body.at("spec").at("replicas").as_int64()), now.version + 1};
    return scale_object(now);
  }
  /// Leases are written as in a real cluster: a create of what exists, and a replace of another version, are refused.
  bool lease_conflicts(const api_call& call) const {
    const auto it = stored.find("leases");
    if (call.verb == "create") return it != stored.end();
    if (call.verb != "replace" || it == stored.end()) return false;
    const auto* version = call.body.at("metadata").as_object().if_contains("resourceVersion");
    return version && *version != it->second.at("metadata").at("resourceVersion");
  }
  std::deque<failure> failures;
  int lease_version_ = 0;
};

/// Answers when the test says so.
class fake_source final : public metrics_source {
 public:
  std::string_view name() const override { return "fake"; }
  bool shows_gateways() const override { return gateways; }
  void collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s, std::chrono::milliseconds,
               std::function<void(std::shared_ptr<const collected_metrics>)> done) override {
    ++rounds;
    last_targets = *targets;
    if (!respond) return done(std::make_shared<collected_metrics>());
    if (!hold_answers) return done(respond(*targets, now_s));
    held.push_back([done = std::move(done), answer = respond(*targets, now_s)] { done(answer); });
  }
  void configure(const runtime_settings& s) override { settings = s; }

  std::function<std::shared_ptr<const collected_metrics>(const std::vector<scrape_target>&, double)> respond;
  std::vector<scrape_target> last_targets;
  runtime_settings settings;
  bool gateways = true;
  int rounds = 0;
  bool hold_answers = false;  ///< keeps them in `held`, made when they were asked for
  std::deque<std::function<void()>> held;
};

inline json::object parse_object(std::string_view text) { return json::parse(text).as_object(); }

// ---- Kubernetes objects of the quick start ------------------------------------------------------------------------------------

inline json::object va_json(const std::string& ns, const std::string& name, const std::string& extra_spec = "",
                            const std::string& model = "default", const std::string& alpha = "20.58", int generation = 1) {
  return parse_object(fmt::format(
      R"({{"metadata":{{"namespace":"{0}","name":"{1}","uid":"va-{0}-{1}","generation":{5},"labels":{{"inference.optimization/acceleratorName":"A100"}},
          "annotations":{{"inference.optimization/pool":"off"}}}},
      "spec":{{"modelID":"{3}","sloClassRef":{{"name":"premium-slo","key":"{3}"}},"modelProfile":{{"accelerators":[
      {{"acc":"A100","accCount":1,"alpha":"{4}","beta":"0.41","maxBatchSize":4,"atTokens":0}},
      {{"acc":"MI300X","accCount":1,"alpha":"7.77","beta":"0.15","maxBatchSize":4}},
      {{"acc":"G2","accCount":1,"alpha":"17.15","beta":"0.34","maxBatchSize":4}}]}}{2}}}}})",
      ns, name, extra_spec, model, alpha, generation));
}
inline json::object deployment_json(const std::string& ns, const std::string& name, int replicas) {
  return parse_object(fmt::format(
      R"({{"metadata":{{"namespace":"{0}","name":"{1}","uid":"dep-{0}-{1}"}},"spec":{{"replicas":{2},"selector":{{"matchLabels":{{"app":"{1}"}}}}}},"status":{{"readyReplicas":{2}}}}})",
      ns, name, replicas));
}
inline json::object pod_json(const std::string& ns, const std::string& name, const std::string& app, bool ready = true,
                             const std::string& node = "n1", int gpus = 1) {
  return parse_object(fmt::format(
      R"({{"metadata":{{"namespace":"{0}","name":"{1}","labels":{{"app":"{2}"}}}},"spec":{{"nodeName":"{4}","containers":[{{"ports":[{{"name":"http","containerPort":8000}}],
      "resources":{{"limits":{{"nvidia.com/gpu":"{5}"}}}}}}]}},"status":{{"phase":"Running","podIP":"127.0.0.2","conditions":[{{"type":"Ready","status":"{3}"}}]}}}})",
      ns, name, app, ready ? "True" : "False", node, gpus));
}
inline json::object node_json(const std::string& name, const std::string& vendor, const std::string& product, int gpus) {
  return parse_object(fmt::format(
      R"({{"metadata":{{"name":"{0}","labels":{{"{1}.com/gpu.product":"{2}","{1}.com/gpu.memory":"81920"}}}},"status":{{"allocatable":{{"{1}.com/gpu":"{3}"}}}}}})",
      name, vendor, product, gpus));
}
inline json::object config_json(const std::string& name, const std::map<std::string, std::string>& data,
                                const std::string& ns = "inferno-autoscaler-system") {
  json::object entries;
  for (const auto& [k, v] : data) entries[k] = v;
  return {{"metadata", json::object{{"namespace", ns}, {"name", name}}}, {"data", std::move(entries)}};
}
inline json::object settings_json(std::map<std::string, std::string> data = {{"GLOBAL_OPT_INTERVAL", "60s"}}) {
  return config_json(std::string(settings_map), data);
}
inline std::map<std::string, std::string> default_accelerators() {
  return {{"A100", R"({"device":"NVIDIA-A100-PCIE-80GB","cost":"40.00"})"},
          {"MI300X", R"({"device":"AMD-MI300X-192G","cost":"65.00"})"},
          {"G2", R"({"device":"Intel-Gaudi-2-96GB","cost":"23.00"})"}};
}
inline std::map<std::string, std::string> default_classes() {
  return {
      {"premium.yaml", "name: Premium\npriority: 1\ndata:\n  - model: default\n    slo-itl: 24\n    slo-ttw: 500\n"},
      {"freemium.yaml", "name: Freemium\npriority: 10\ndata:\n  - model: granite-13b\n    slo-itl: 200\n    slo-ttw: 2000\n"}};
}

// ---- the controller under test
// --------------------------------------------------------------------------------------------------

struct test_system_config : caf::actor_system_config {
  test_system_config() { set("scheduler.policy", caf::atom("testing")); }
};

class world {
 public:
  explicit world(std::function<void(supervisor_config&)> adjust = {})
      : system_(config_), scheduler_(dynamic_cast<caf::scheduler::test_coordinator&>(system_.scheduler())) {
    // The clock's zero means "never" to nobody here, but a start away from it shows mistaken zeros.
    scheduler_.advance_time(std::chrono::hours(1));
    api->now_s = [this] { return now_s(); };
    api->steady_now = [this] { return scheduler_.clock().now(); };
    auto sink = std::make_shared<spdlog::sinks::ostream_sink_mt>(trace_, true);
    auto logger = std::make_shared<spdlog::logger>("test", sink);
    logger->set_pattern("{%v}");
    logger->set_level(spdlog::level::debug);
    supervisor_config s;
    s.api = api;
    s.source = source;
    s.view = view;
    s.now = [this] {
      return std::chrono::system_clock::time_point(std::chrono::seconds(1700000000) +
                                                   std::chrono::milliseconds(static_cast<long>(now_s() * 1000)));
    };
    s.logger = log(logger, log_format::json);
    if (adjust) adjust(s);
    root = system_.spawn(supervisor, std::move(s));
    scheduler_.run();
  }
  ~world() {
    caf::anon_send(root, stop_request{});
    root = nullptr;
    for (int i = 0; i < 500; ++i) {
      while (!api->held.empty()) release_one();
      advance(std::chrono::milliseconds(10));
    }
  }

  void run() { scheduler_.run(); }
  /// Moves the virtual clock in steps, running what falls due in between.
  void advance(std::chrono::milliseconds by, std::chrono::milliseconds step = std::chrono::milliseconds(10)) {
    for (auto left = by; left.count() > 0; left -= step) {
      scheduler_.advance_time(std::min(left, step));
      messages += scheduler_.run();
      if (cluster_follows) follow();
    }
  }
  double now_s() { return std::chrono::duration<double>(scheduler_.clock().now().time_since_epoch()).count() - 3600; }

  void replaced(const std::string& plural, std::vector<json::object> objects) {
    api->objects[plural].clear();
    for (const auto& o : objects) {
      api->keep_scale(plural, o, kube::watch_type::added);
      api->keep_object(plural, o, kube::watch_type::added);
    }
    api->sinks.at(plural).replaced(std::move(objects));
    run();
  }
  void changed(const std::string& plural, json::object object, kube::watch_type type = kube::watch_type::modified) {
    api->keep_scale(plural, object, type);
    api->keep_object(plural, object, type);
    api->sinks.at(plural).changed({type, std::move(object)});
    run();
  }
  void release_one() {
    auto f = std::move(api->held.front());
    api->held.pop_front();
    f();
    run();
  }

  /// The quick start's cluster: three nodes, ConfigMaps, one variant with its Deployment and a ready pod for each replica.
  void quickstart(int replicas = 1) {
    replaced("nodes", {node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 2), node_json("n2", "amd", "AMD-MI300X-192G", 2),
                       node_json("n3", "intel", "Intel-Gaudi-2-96GB", 2)});
    replaced("configmaps", {settings_json(), config_json(std::string(accelerators_map), default_accelerators()),
                            config_json(std::string(classes_map), default_classes())});
    replaced("deployments", {deployment_json("llm", "vllme", replicas)});
    std::vector<json::object> pods;
    for (int i = 0; i < replicas; ++i) pods.push_back(pod_json("llm", fmt::format("vllme-{}", i), "vllme"));
    replaced("pods", std::move(pods));
    replaced("variantautoscalings", {va_json("llm", "vllme")});
  }
  /// From now on every variant's pods report `per_min` requests per minute of these lengths between them.
  void load(double per_min, double out_tokens = 178, double in_tokens = 0, double span_s = 2) {
    source->respond = [this, per_min, out_tokens, in_tokens, span_s](const std::vector<scrape_target>& targets, double now) {
      auto out = std::make_shared<collected_metrics>();
      std::map<std::string, int> pods_of;
      for (const auto& t : targets) ++pods_of[t.pod.ns + t.model];
      for (const auto& t : targets) {
        pod_sample s;
        s.pod = t.pod;
        s.load.time_s = now;
        s.load.span_s = span_s;
        s.load.arrivals = per_min / 60 * span_s / pods_of[t.pod.ns + t.model];
        s.load.completions = s.load.arrivals;
        s.load.out_tokens = s.load.completions * out_tokens;
        s.load.in_tokens = s.load.completions * in_tokens;
        s.load.itl_sum_s = 0.0215;
        s.load.itl_count = 1;
        out->pods.push_back(std::move(s));
      }
      return out;
    };
  }
  /// Replicas asked for by each scale patch so far.
  std::vector<int> scale_patches(const std::string& name = "") const {
    std::vector<int> out;
    for (const auto& c : api->calls_to("patch", "deployments", "scale"))
      if (name.empty() || c.key.name == name) out.push_back(static_cast<int>(c.body.at("spec").at("replicas").as_int64()));
    return out;
  }
  /// The newest status written for a variant.
  json::object status(const std::string& name = "vllme") const {
    json::object out;
    for (const auto& c : api->calls_to("patch", "variantautoscalings", "status"))
      if (c.key.name == name) out = c.body.at("status").as_object();
    return out;
  }
  /// "True MetricsFound: message" of a condition in the newest status, "" when absent.
  std::string condition_of(const std::string& type, const std::string& name = "vllme") const {
    const auto s = status(name);
    const auto* list = s.if_contains("conditions");
    if (!list) return {};
    for (const auto& c : list->as_array())
      if (c.at("type").as_string() == std::string_view(type))
        return fmt::format("{} {}: {}", std::string_view(c.at("status").as_string()),
                           std::string_view(c.at("reason").as_string()), std::string_view(c.at("message").as_string()));
    return {};
  }
  std::string trace() const { return trace_.str(); }
  /// Whether a log line has all the parts.
  bool logged(std::initializer_list<std::string_view> parts) const {
    std::istringstream lines(trace_.str());
    for (std::string line; std::getline(lines, line);)
      if (std::all_of(parts.begin(), parts.end(), [&](auto p) { return line.find(p) != std::string::npos; })) return true;
    return false;
  }
  caf::actor_system& system() { return system_; }

  std::shared_ptr<fake_api> api = std::make_shared<fake_api>();
  std::shared_ptr<fake_source> source = std::make_shared<fake_source>();
  std::shared_ptr<board_view> view = std::make_shared<board_view>();
  supervisor_actor root;

  std::size_t messages = 0;  ///< that actors handled while time went by

  /// Scale patches take effect, as they would in a cluster: the Deployment changes, pods come and go.
  bool cluster_follows = true;

 private:
  void follow() {
    for (; followed_ < api->calls.size(); ++followed_) {
      const auto call = api->calls[followed_];
      if (call.verb != "patch" || call.plural != "deployments" || call.subresource != "scale" || !call.succeeded) continue;
      const auto replicas = static_cast<int>(call.body.at("spec").at("replicas").as_int64());
      changed("deployments", deployment_json(call.key.ns, call.key.name, replicas));
      for (int i = 0; i < 20; ++i) {
        const auto pod = pod_json(call.key.ns, fmt::format("{}-{}", call.key.name, i), call.key.name);
        changed("pods", pod, i < replicas ? kube::watch_type::modified : kube::watch_type::deleted);
      }
    }
  }
  std::size_t followed_ = 0;
  std::ostringstream trace_;
  test_system_config config_;
  caf::actor_system system_;
  caf::scheduler::test_coordinator& scheduler_;
};

}  // namespace inferno::actors::testing

#pragma once
// A cluster that lives for a day of virtual time: its truth, what of it reaches the controller, and everything that can go wrong.
#include <spdlog/sinks/null_sink.h>

#include <cmath>
#include <random>

#include "cluster.hpp"

namespace inferno::actors::testing {

/// A day with or without faults. The load depends on the seed and the time alone.
class soak_cluster {
 public:
  static constexpr double day_s = 24 * 3600;
  static constexpr double quiet_s = 23 * 3600;  ///< from here on nothing fails and the load is constant

  soak_cluster(unsigned seed, bool faults) : seed_(seed), random_(seed), faults_(faults) {
    w.cluster_follows = false;
    auto& api = *w.api;
    api.remember = false;
    api.judge = [this](const api_call& c) { return judge(c); };
    api.on_write = [this](const api_call& c) { written(c); };
    api.find_scale = [this](const api_call& c) -> fake_api::scale* {
      const auto it = targets_.find(c.key.name);
      return it == targets_.end() || it->second.plural != c.plural || missing_.count(c.key.name) ? nullptr : &it->second.scale;
    };
    api.find_object = [this](const api_call& c) -> const json::object* {
      const auto it = variants_.find(c.key.name);
      return it == variants_.end() ? nullptr : &it->second;
    };
    w.source->respond = [this](const std::vector<scrape_target>& t, double now) { return collect(t, now); };
    for (const auto* v : {"solo-0", "solo-1", "solo-2", "solo-3", "comes", "pool-a", "pool-m", "free", "zero", "set", "metric"})
      targets_[v];
    targets_["set"].plural = "statefulsets";
    for (auto& [name, t] : targets_) {
      set_replicas(name, 1);
      for (auto& p : t.pods) p.ready_at_s = 0;
      variants_[name] = variant_of(name);
    }
    nodes_["n1"] = node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 48);
    nodes_["n2"] = node_json("n2", "amd", "AMD-MI300X-192G", 8);
    nodes_["n3"] = node_json("n3", "nvidia", "NVIDIA-A100-PCIE-80GB", 8);
  }

  void live(double until_s) {
    while (now() < until_s) {
      w.advance(std::chrono::milliseconds(100), std::chrono::milliseconds(100));
      turn();
    }
  }

  double now() { return w.now_s(); }

  /// What the cluster is like, without times: replicas and status of everything.
  std::string state() {
    std::string out;
    for (const auto& [name, t] : targets_)
      out += fmt::format("{}: {} replicas, {}\n", name, t.scale.replicas, status_without_times(name));
    return out;
  }
  /// What the controller believes of what there is; "" = the truth.
  std::string misbelief() {
    std::string out;
    const auto& c = fleet_of(w).cluster;
    if (c.variant_keys().size() != variants_.size())
      out += fmt::format("{} variants, not {}\n", c.variant_keys().size(), variants_.size());
    if (c.node_names().size() != nodes_.size()) out += fmt::format("{} nodes, not {}\n", c.node_names().size(), nodes_.size());
    std::size_t pods = 0;
    for (const auto& [name, t] : targets_) {
      pods += t.pods.size();
      const auto seen = c.target_of({"llm", name});
      if (!seen || seen->replicas != t.scale.replicas)
        out += fmt::format("{}: {} replicas, not {}\n", name, seen ? seen->replicas : -1, t.scale.replicas);
      if (c.serving_pods({"llm", name}).size() != t.pods.size()) out += fmt::format("{}: other pods\n", name);
    }
    if (c.pod_keys().size() != pods) out += fmt::format("{} pods, not {}\n", c.pod_keys().size(), pods);
    return out;
  }

  world w{[](supervisor_config& s) {
    s.logger = log(std::make_shared<spdlog::logger>("none", std::make_shared<spdlog::sinks::null_sink_mt>()), log_format::json);
  }};
  std::map<std::string, int> faults_made;
  std::vector<std::string> violations;
  int scale_patches = 0;
  int reversals = 0;  ///< down again within the stabilization time

 private:
  struct pod {
    std::string name;
    double ready_at_s = 0;
    bool shown_ready = false;
  };
  struct workload {
    std::string plural = "deployments";
    std::string uid = "uid-0";
    fake_api::scale scale;
    int pods_made = 0;
    std::vector<pod> pods;
    double crashing_until_s = -1;
  };
  struct delivery {
    double due_s = 0;
    std::string plural;
    json::object object;
    kube::watch_type type = kube::watch_type::modified;
  };

  // ---- the load ---------------------------------------------------------------------------------------------------------------

  /// Requests a minute: a curve of the day, a ripple, hours without any for the one that may go to zero.
  double load_of(const std::string& name, double t) const {
    const double at = std::min(t, quiet_s - 1);
    const auto h = std::hash<std::string>{}(name) + seed_;
    const double phase = static_cast<double>(h % 628) / 100;
    const double day = 1 + 0.8 * std::sin(2 * M_PI * at / 43200 + phase);
    const auto minute = static_cast<std::uint64_t>(at / 300);
    const double ripple = 1 + 0.1 * (static_cast<double>((minute * 2654435761u + h) % 100) / 50 - 1);
    if (name == "zero" && std::fmod(at / 3600, 6) < 3 && t < quiet_s) return 0;
    return 45 * day * ripple;
  }

  // ---- objects ----------------------------------------------------------------------------------------------------------------

  static json::object variant_of(const std::string& name) {
    std::string extra = R"(,"maxReplicas":12)";
    if (name == "zero") extra += R"(,"minReplicas":0)";
    if (name == "set") extra += R"(,"scaleTargetRef":{"kind":"StatefulSet","name":"set"})";
    if (name == "metric") extra += R"(,"actuationMode":"metric")";
    auto v = va_json("llm", name, extra);
    auto& meta = v["metadata"].as_object();
    if (name.starts_with("pool")) meta.erase("annotations");
    if (name == "pool-m") meta["labels"].as_object()["inference.optimization/acceleratorName"] = "MI300X";
    if (name == "free") {
      v["spec"].as_object()["modelID"] = "granite-13b";
      v["spec"].as_object()["sloClassRef"] = json::object{{"name", "freemium"}, {"key", "granite-13b"}};
    }
    if (name == "zero") {
      v["spec"].as_object()["modelID"] = "zed";
      v["spec"].as_object()["sloClassRef"] = json::object{{"name", "premium"}, {"key", "zed"}};
    }
    return v;
  }
  std::vector<json::object> configs() const {
    auto classes = default_classes();
    classes["premium.yaml"] =
        "name: Premium\npriority: 1\ndata:\n  - {model: default, slo-itl: 24, slo-ttw: 500}\n  - {model: zed, slo-itl: 24, "
        "slo-ttw: 500}\n";
    auto accelerators = default_accelerators();
    if (config_broken_) accelerators["A100"] = "{";
    return {settings_json({{"GLOBAL_OPT_INTERVAL", "60s"}}), config_json(std::string(accelerators_map), accelerators),
            config_json(std::string(classes_map), classes)};
  }
  json::object target_json(const std::string& name) {
    const auto& t = targets_.at(name);
    auto o = deployment_json("llm", name, t.scale.replicas);
    const auto ready = std::count_if(t.pods.begin(), t.pods.end(), [&](const pod& p) { return is_ready(t, p); });
    o["status"] = json::object{{"readyReplicas", std::min<long>(t.scale.replicas, ready)}};
    o["metadata"].as_object()["uid"] = t.uid;
    return o;
  }
  static json::object pod_of(const std::string& name, const pod& p, bool ready) {
    return pod_json("llm", p.name, name, ready, name == "pool-m" ? "n2" : "n1");
  }
  std::vector<json::object> all_of(const std::string& plural) {
    std::vector<json::object> out;
    if (plural == "variantautoscalings")
      for (const auto& [name, v] : variants_) out.push_back(v);
    if (plural == "configmaps") out = configs();
    if (plural == "nodes")
      for (const auto& [name, n] : nodes_) out.push_back(n);
    for (auto& [name, t] : targets_) {
      if (plural == t.plural && !missing_.count(name)) out.push_back(target_json(name));
      if (plural == "pods")
        for (auto& p : t.pods) {
          p.shown_ready = is_ready(t, p);
          out.push_back(pod_of(name, p, p.shown_ready));
        }
    }
    return out;
  }
  bool is_ready(const workload& t, const pod& p) { return now() >= p.ready_at_s && now() >= t.crashing_until_s; }

  void set_replicas(const std::string& name, int n) {
    auto& t = targets_.at(name);
    if (t.scale.replicas != n) t.scale = {n, t.scale.version + 1};
    before_[name] = n;
    show(t.plural, target_json(name));
    while (static_cast<int>(t.pods.size()) > n) {
      show("pods", pod_of(name, t.pods.back(), false), kube::watch_type::deleted);
      t.pods.pop_back();
    }
    while (static_cast<int>(t.pods.size()) < n) {
      t.pods.push_back({fmt::format("{}-{}", name, t.pods_made++), now() + 20, false});
      show("pods", pod_of(name, t.pods.back(), false));
    }
  }

  // ---- the API ----------------------------------------------------------------------------------------------------------------

  std::pair<fake_api::fate, int> judge(const api_call& c) {
    if (c.plural != "deployments" && c.plural != "statefulsets" && c.plural != "variantautoscalings")
      return {fake_api::fate::carried_out, 0};
    if (refusals_ > 0) {
      --refusals_;
      constexpr int statuses[] = {409, 429, 500, 503};
      return {fake_api::fate::refused, statuses[refusals_ % 4]};
    }
    if (lost_answers_ > 0) {
      --lost_answers_;
      return {fake_api::fate::answer_lost, 0};
    }
    return {fake_api::fate::carried_out, 0};
  }

  void written(const api_call& c) {
    if (!leading_) violations.push_back(fmt::format("{:.0f} s: {} {} written without the lease", now(), c.plural, c.key.name));
    if (c.subresource == "scale") {
      const auto n = static_cast<int>(c.body.at("spec").at("replicas").as_int64());
      const auto& t = targets_.at(c.key.name);
      ++scale_patches;
      if (t.plural != c.plural || c.key.name == "metric") violations.push_back("scaled what is not to be: " + c.key.name);
      if (n > 12 || n < (c.key.name == "zero" ? 0 : 1)) violations.push_back(fmt::format("{} scaled to {}", c.key.name, n));
      // Whatever happened to answers, watches and actors.
      if (before_[c.key.name] == n) violations.push_back(fmt::format("{:.0f} s: {} scaled to {} twice", now(), c.key.name, n));
      if (n > before_[c.key.name]) raised_at_s_[c.key.name] = now();
      if (n < before_[c.key.name] && now() - raised_at_s_[c.key.name] < 30) ++reversals;
      set_replicas(c.key.name, n);
      return;
    }
    if (c.plural != "variantautoscalings" || !variants_.count(c.key.name)) return;
    auto& v = variants_[c.key.name];
    if (c.subresource == "status") {
      v["status"] = c.body.at("status");
    } else if (const auto* owners = c.body.at("metadata").as_object().if_contains("ownerReferences")) {
      v["metadata"].as_object()["ownerReferences"] = *owners;
    }
    show("variantautoscalings", v);
  }

  std::string status_without_times(const std::string& name) {
    auto v = variants_.at(name);
    const auto* found = v.if_contains("status");
    if (!found) return "no status";
    auto s = found->as_object();
    s["desiredOptimizedAlloc"].as_object().erase("lastRunTime");
    for (auto& c : s["conditions"].as_array()) {
      c.as_object().erase("lastTransitionTime");
    }
    auto& actuation = s["actuation"].as_object();
    actuation.erase("lastAttemptTime");
    actuation.erase("lastSuccessTime");
    return json::serialize(s);
  }

  // ---- what reaches the controller
  // -----------------------------------------------------------------------------------------------

  void show(const std::string& plural, json::object object, kube::watch_type type = kube::watch_type::modified) {
    deliveries_.push_back({now() + 0.1, plural, std::move(object), type});
  }

  void deliver() {
    auto due = std::exchange(deliveries_, {});
    for (auto& d : due) {
      if (d.due_s > now()) {
        deliveries_.push_back(std::move(d));
        continue;
      }
      const auto sink = w.api->sinks.find(d.plural);
      // An event that nobody watches for is in the next list.
      if (sink == w.api->sinks.end() || down_.count(d.plural)) continue;
      auto copy = sink->second.changed;
      copy({d.type, d.object});
      if (twice_) copy({d.type, d.object});
    }
    for (const auto* plural : {"nodes", "configmaps", "deployments", "statefulsets", "pods", "variantautoscalings"}) {
      const auto watches = w.api->watches[plural];
      if (watches == listed_[plural] || down_.count(plural) || !w.api->sinks.count(plural)) continue;
      listed_[plural] = watches;
      auto copy = w.api->sinks.at(plural);
      copy.replaced(all_of(plural));
      copy.health(std::nullopt);
    }
    w.run();
  }

  std::shared_ptr<collected_metrics> collect(const std::vector<scrape_target>& asked, double t) {
    auto out = std::make_shared<collected_metrics>();
    if (metrics_ == "down") {
      out->problem = "connection refused";
      return out;
    }
    std::map<std::string, int> serving;
    for (const auto& a : asked) ++serving[app_of(a)];
    std::size_t i = 0;
    for (const auto& a : asked) {
      const auto name = app_of(a);
      if (metrics_ == "partial" && i++ % 3 == 0) continue;
      const auto& at = targets_.at(name);
      auto s = healthy_sample(a, t, load_of(name, t) / serving[name]);
      if (at.crashing_until_s > now() || metrics_ == "nan") s.problem = "vllm:request_success_total is nan";
      out->pods.push_back(std::move(s));
    }
    const auto& zero = targets_.at("zero");
    const bool served = std::any_of(zero.pods.begin(), zero.pods.end(), [&](const pod& p) { return is_ready(zero, p); });
    out->queues.push_back({"llm", "zed", served ? 0.0 : std::floor(load_of("zero", t) / 10)});
    return out;
  }

  // ---- what goes wrong --------------------------------------------------------------------------------------------------------

  int pick(int n) { return std::uniform_int_distribution<int>(0, n - 1)(random_); }
  std::string any_target() {
    auto it = targets_.begin();
    std::advance(it, pick(static_cast<int>(targets_.size())));
    return it->first;
  }
  void until(double seconds, std::function<void()> mend) { mends_.push_back({now() + seconds, std::move(mend)}); }

  void fault() {
    const double seconds = 5 + pick(115);
    const auto made = [&](const char* kind) { ++faults_made[kind]; };
    switch (pick(13)) {
      case 0: {
        made("watch lost");
        const std::string plurals[] = {"nodes", "configmaps", "deployments", "statefulsets", "pods", "variantautoscalings"};
        const auto plural = plurals[pick(6)];
        down_.insert(plural);
        if (const auto s = w.api->sinks.find(plural); s != w.api->sinks.end())
          s->second.health(net::error{net::error_kind::closed, 0, "connection reset", std::nullopt});
        return until(seconds, [this, plural] {
          down_.erase(plural);
          listed_[plural] = -1;
        });
      }
      case 1:
        made("writes refused");
        refusals_ += 1 + pick(20);
        return until(seconds, [this] { refusals_ = 0; });
      case 2:
        made("answers lost");
        lost_answers_ += 1 + pick(10);
        return until(seconds, [this] { lost_answers_ = 0; });
      case 3: {
        made("metrics");
        const std::string how[] = {"down", "partial", "nan"};
        metrics_ = how[pick(3)];
        return until(seconds, [this] { metrics_.clear(); });
      }
      case 4: {
        made("variant's actor killed");
        auto& members = fleet_of(w).members;
        const auto it = members.find({"llm", any_target()});
        if (it == members.end()) return;
        if (pick(2) == 0) {
          kill(w, it->second.analyzer);
        } else {
          kill(w, it->second.actuator);
        }
        return until(30, [] {});
      }
      case 5: {
        made("central actor killed");
        auto& s = supervisor_of(w);
        switch (pick(5)) {
          case 0:
            kill(w, s.optimizer_handle);
            break;
          case 1:
            kill(w, s.metrics_handle);
            break;
          case 2:
            kill(w, s.board_handle);
            break;
          case 3:
            kill(w, s.fleet_handle);
            break;
          default:
            kill(w, s.watchers.at(watch_kind::pods));
        }
        return until(60, [] {});
      }
      case 6:
        made("configuration broken");
        config_broken_ = true;
        show("configmaps", configs()[1]);
        return until(seconds, [this] {
          config_broken_ = false;
          show("configmaps", configs()[1]);
        });
      case 7: {
        made("node gone");
        if (!nodes_.count("n3")) return;
        const auto node = nodes_.at("n3");
        nodes_.erase("n3");
        show("nodes", node, kube::watch_type::deleted);
        return until(seconds, [this, node] {
          nodes_["n3"] = node;
          show("nodes", node);
        });
      }
      case 8: {
        made("pods crash");
        targets_.at(any_target()).crashing_until_s = now() + seconds;
        return until(seconds, [] {});
      }
      case 9:
        made("lease lost");
        if (!leading_) return;
        leading_ = false;
        w.api->allow_writes(kube_api::never);
        caf::anon_send(w.root, leadership{false});
        return until(seconds, [this] {
          leading_ = true;
          w.api->allow_writes(kube_api::always);
          caf::anon_send(w.root, leadership{true});
        });
      case 10: {
        made("object deleted and made again");
        if (!variants_.count("comes") || missing_.count("comes")) return;
        auto& t = targets_.at("comes");
        if (pick(2) == 0) {
          const auto v = variants_.at("comes");
          variants_.erase("comes");
          show("variantautoscalings", v, kube::watch_type::deleted);
          return until(seconds, [this] {
            variants_["comes"] = variant_of("comes");
            show("variantautoscalings", variants_["comes"]);
          });
        }
        missing_.insert("comes");
        show(t.plural, target_json("comes"), kube::watch_type::deleted);
        return until(seconds, [this] {
          missing_.erase("comes");
          auto& again = targets_.at("comes");
          again.uid = fmt::format("uid-{:.0f}", now());
          show(again.plural, target_json("comes"));
        });
      }
      case 11:
        made("events twice");
        twice_ = true;
        return until(seconds, [this] { twice_ = false; });
      default:
        made("answers late");
        w.api->hold_answers = true;
        return until(5 + pick(20), [this] {
          w.api->hold_answers = false;
          while (!w.api->held.empty()) w.release_one();
        });
    }
  }

  void turn() {
    auto due = std::exchange(mends_, {});
    for (auto& m : due) {
      if (m.first > now()) {
        mends_.push_back(std::move(m));
      } else {
        m.second();
      }
    }
    if (faults_ && now() < quiet_s - 600 && now() >= next_fault_s_) {
      fault();
      next_fault_s_ = now() + 20 + pick(300);
    }
    // The autoscaler of the one in metric mode.
    if (const auto& v = variants_.at("metric"); std::fmod(now(), 15) < 0.1 && v.contains("status")) {
      const auto n = static_cast<int>(v.at("status").at("desiredOptimizedAlloc").at("numReplicas").as_int64());
      if (n > 0 && n != targets_.at("metric").scale.replicas) set_replicas("metric", n);
    }
    for (auto& [name, t] : targets_)
      for (auto& p : t.pods)
        if (const bool ready = is_ready(t, p); ready != p.shown_ready) {
          p.shown_ready = ready;
          if (!missing_.count(name)) show(t.plural, target_json(name));
          show("pods", pod_of(name, p, ready));
        }
    deliver();
  }

  unsigned seed_;
  std::mt19937 random_;
  bool faults_;
  std::map<std::string, workload> targets_;
  std::map<std::string, json::object> variants_;
  std::map<std::string, json::object> nodes_;
  std::set<std::string> missing_;  ///< targets deleted for the time being
  std::vector<delivery> deliveries_;
  std::map<std::string, int> listed_;
  std::set<std::string> down_;
  std::vector<std::pair<double, std::function<void()>>> mends_;
  double next_fault_s_ = 600;
  std::map<std::string, int> before_;          ///< replicas as the API server has them
  std::map<std::string, double> raised_at_s_;  ///< when they last became more
  int refusals_ = 0;
  int lost_answers_ = 0;
  bool leading_ = true;
  bool twice_ = false;
  bool config_broken_ = false;
  std::string metrics_;
};

}  // namespace inferno::actors::testing

#pragma once
// A fleet of emulated servers under real arrivals in virtual time, with the real controller over it: what its users get.
//
// Requests arrive by a Poisson process of a known rate, a balancer sends each to the ready pod with the fewest requests, the
// engines' own cores serve them, and every scrape reads an exposition text in vLLM's form, which a test may spoil on its way. The
// controller sees nothing else. The oracle is the rate of the arrivals, which no code under test computes.
#include <spdlog/sinks/null_sink.h>

#include <cmath>
#include <random>

#include "actors/pod_tracks.hpp"
#include "model/queue.hpp"
#include "testbed/vllm/engine.hpp"
#include "tests/unit/actors/cluster.hpp"

namespace inferno::testbed::testing {

namespace act = inferno::actors;
using act::testing::world;
namespace json = boost::json;

/// vLLM's counters of one engine.
struct engine_counters {
  double arrived = 0;  ///< only exported where a test does it
  double stopped = 0, cut = 0, aborted = 0;
  double lengths = 0;  ///< requests in the histograms of lengths
  double prompt_tokens = 0, output_tokens = 0;
  double itl_sum_s = 0, itl_count = 0;
  double ttft_sum_s = 0, ttft_count = 0;
  double wait_sum_s = 0, wait_count = 0;
};

/// A pod and its engine.
struct served_pod {
  std::string name;
  double ready_at_s = 0;
  bool shown_ready = false;
  bool deaf = false;         ///< its scrapes fail
  bool probe_fails = false;  ///< it is not shown as Ready, whatever it does
  int restarts = 0;
  double frozen_until_s = 0;
  double started_s = 0;
  double engine_ms = 0;  ///< of the engine's own clock: it stands still while frozen
  std::unique_ptr<engine> core;
  engine_counters counters;
  struct request {
    double arrived_ms = 0, admitted_ms = 0, first_ms = 0;
    int in = 0, out = 0;
  };
  std::map<engine::request_id, request> requests;
};

struct fleet_options {
  unsigned seed = 1;
  double start_up_s = 120;  ///< of a pod, from the order to Ready
  int replicas = 1;         ///< at the beginning, all ready
  int gpus = 64;
  int tokens_in = 200;
  double tokens_out = 400;                                      ///< mean of an exponential distribution
  std::function<double(double)> rate_per_s;                     ///< of the arrivals, by time
  std::function<int(double)> clump = [](double) { return 1; };  ///< requests that arrive together
  double patience_s = 0;         ///< after which a request without a first token is given up; 0 = never
  bool tells_of_aborted = true;  ///< engines count what is given up, with the lengths it had
  std::string extra_spec{};
  std::shared_ptr<act::metrics_source> source{};  ///< instead of one that answers at once
};

/// What happened, in outcomes.
struct fleet_outcome {
  long arrived = 0, finished = 0, within = 0, lost = 0, given_up = 0;
  double replica_seconds = 0;
  int orders = 0;  ///< scale patches
  int most = 0;    ///< replicas ever asked for
  int least = 1 << 20;
  std::vector<std::string> violations;
  double attainment() const { return finished > 0 ? static_cast<double>(within) / static_cast<double>(finished) : 1; }
  std::string text() const {
    return fmt::format("{} requests, {:.2f} % within objectives, {} lost, {:.1f} replica-hours, {} orders, {} to {} replicas",
                       arrived, 100 * attainment(), lost, replica_seconds / 3600, orders, least, most);
  }
};

class served_fleet {
 public:
  /// Objectives of the class: an ITL and a mean TTFT in ms.
  static constexpr double slo_itl_ms = 12, slo_ttft_ms = 500;
  static constexpr int batch = 32;
  static constexpr double step_ms = 100;  ///< arrivals of a step come at its beginning

  explicit served_fleet(fleet_options o) : w(with(o.source)), options_(std::move(o)), random_(options_.seed) {
    w.cluster_follows = false;
    w.api->remember = false;
    w.api->find_scale = [this](const act::testing::api_call&) { return &scale_; };
    w.api->on_write = [this](const act::testing::api_call& c) {
      if (c.subresource == "scale") scaled(static_cast<int>(c.body.at("spec").at("replicas").as_int64()));
      if (c.subresource == "status") status = c.body.at("status").as_object();
    };
    w.source->respond = [this](const std::vector<act::scrape_target>& t, double now_s) { return scrape(t, now_s); };
    scale_ = {options_.replicas, 1};
    while (static_cast<int>(pods_.size()) < options_.replicas) add_pod(0);
    w.replaced("nodes", {act::testing::node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", options_.gpus)});
    auto classes = act::testing::default_classes();
    classes["premium.yaml"] = fmt::format(
        "name: Premium\npriority: 1\ndata:\n  - {{model: default, slo-itl: {}, slo-ttft: {}}}\n", slo_itl_ms, slo_ttft_ms);
    w.replaced("configmaps", {act::testing::settings_json(),
                              act::testing::config_json(std::string(act::accelerators_map), act::testing::default_accelerators()),
                              act::testing::config_json(std::string(act::classes_map), classes)});
    w.replaced("deployments", {target_json()});
    std::vector<json::object> all;
    for (auto& p : pods_) all.push_back(pod_json(*p));
    w.replaced("pods", std::move(all));
    w.replaced("variantautoscalings", {variant_json(options_.extra_spec)});
  }

  /// Lives until `until_s`; `each` runs ten times a second.
  void live(double until_s, const std::function<void(double)>& each = {}) {
    while (now() < until_s) {
      w.advance(std::chrono::milliseconds(100), std::chrono::milliseconds(100));
      if (each) each(now());
      arrive();
      for (auto& p : pods_) serve(*p);
      for (auto& p : draining_) serve(*p);
      std::erase_if(draining_, [](const auto& p) { return p->requests.empty(); });
      show_ready();
      outcome.replica_seconds += 0.1 * scale_.replicas;
      judge();
    }
  }

  double now() { return w.now_s(); }
  int replicas() const { return scale_.replicas; }
  int ready() {
    return static_cast<int>(std::count_if(pods_.begin(), pods_.end(), [&](const auto& p) { return now() >= p->ready_at_s; }));
  }
  std::vector<std::unique_ptr<served_pod>>& pods() { return pods_; }

  /// Replicas that the arrivals of this moment need.
  int needed(double at_s) const {
    const double per_replica = replica_rate();
    return std::max(1, static_cast<int>(std::ceil(options_.rate_per_s(at_s) / per_replica - 1e-9)));
  }
  /// Requests per second of one replica within the objectives.
  double replica_rate() const {
    static const double rate = [this] {
      const model::replica_config c{
          profile(), {static_cast<double>(options_.tokens_in), options_.tokens_out}, batch, 10L * batch};
      return model::size_replica(c, {slo_itl_ms, slo_ttft_ms, 0, 0, 0})->at.throughput.per_sec();
    }();
    return rate;
  }

  /// Restarts the engine of a pod in place: its counters begin anew, what it had is lost.
  void restart(served_pod& p) {
    outcome.lost += static_cast<long>(p.requests.size());
    p.requests.clear();
    p.counters = {};
    ++p.restarts;
    p.core = make_core();
    p.engine_ms = 0;
    p.started_s = now();
  }

  /// Replaces a pod as a rollout does: first another comes up, then this one goes.
  void roll(const served_pod& p) {
    leaving_[p.name] = now() + options_.start_up_s;
    add_pod(now() + options_.start_up_s);
    pending_.push_back({"pods", pod_json(*pods_.back()), net::kube::watch_type::added});
  }

  /// May change the text of a scrape; false: no answer.
  std::function<bool(const served_pod&, std::string&)> spoil;
  /// No round of scrapes is answered.
  bool source_down = false;
  /// Replicas may not leave [needed, 1.5 needed + 2] for longer than this, in seconds; 0 = not judged.
  double tolerance_s = 0;
  fleet_outcome outcome;
  json::object status;

  world w;

  /// What a server's /metrics has at this moment.
  static std::string exposition(const served_pod& p) {
    const auto& c = p.counters;
    std::string out;
    const auto family = [&](const char* name, const char* type) { out += fmt::format("# TYPE {} {}\n", name, type); };
    const auto line = [&](const char* name, double v, const char* more = "") {
      out += fmt::format("{}{{engine=\"0\",{}model_name=\"default\"}} {}\n", name, more, v);
    };
    const auto histogram = [&](const char* name, double sum, double count) {
      family(name, "histogram");
      line(fmt::format("{}_bucket", name).c_str(), count, "le=\"+Inf\",");
      line(fmt::format("{}_count", name).c_str(), count);
      line(fmt::format("{}_sum", name).c_str(), sum);
    };
    family("vllm:num_requests_running", "gauge");
    line("vllm:num_requests_running", p.core->running());
    family("vllm:num_requests_waiting", "gauge");
    line("vllm:num_requests_waiting", p.core->waiting());
    family("vllm:request_success_total", "counter");
    line("vllm:request_success_total", c.stopped, "finished_reason=\"stop\",");
    line("vllm:request_success_total", c.cut, "finished_reason=\"length\",");
    line("vllm:request_success_total", c.aborted, "finished_reason=\"abort\",");
    histogram("vllm:request_prompt_tokens", c.prompt_tokens, c.lengths);
    histogram("vllm:request_generation_tokens", c.output_tokens, c.lengths);
    histogram("vllm:inter_token_latency_seconds", c.itl_sum_s, c.itl_count);
    histogram("vllm:time_to_first_token_seconds", c.ttft_sum_s, c.ttft_count);
    histogram("vllm:request_queue_time_seconds", c.wait_sum_s, c.wait_count);
    return out;
  }

 private:
  static std::function<void(act::supervisor_config&)> with(std::shared_ptr<act::metrics_source> source) {
    return [source = std::move(source)](act::supervisor_config& s) {
      s.logger = act::log(std::make_shared<spdlog::logger>("none", std::make_shared<spdlog::sinks::null_sink_mt>()),
                          act::log_format::json);
      if (source) s.source = source;
    };
  }
  static model::performance_profile profile() { return model::linear_profile{8, 0.1, 10, 0.002, true}; }
  static std::unique_ptr<engine> make_core() {
    engine_config c;
    c.profile = profile();
    c.max_batch = batch;
    c.max_queue = 100'000;
    c.token_events = false;
    return make_engine(c);
  }

  static json::object variant_json(const std::string& extra) {
    auto v = act::testing::va_json("llm", "vllme", extra);
    v["spec"].as_object()["modelProfile"] = json::parse(fmt::format(
        R"({{"accelerators":[{{"acc":"A100","accCount":1,"maxBatchSize":{},"perfParms":{{"decodeParms":{{"alpha":"8","beta":"0.1"}},"prefillParms":{{"gamma":"10","delta":"0.002"}}}}}}]}})",
        batch));
    return v;
  }
  json::object target_json() {
    auto d = act::testing::deployment_json("llm", "vllme", scale_.replicas);
    d["status"] =
        json::object{{"readyReplicas", std::count_if(pods_.begin(), pods_.end(), [](const auto& p) { return p->shown_ready; })}};
    return d;
  }
  json::object pod_json(const served_pod& p) {
    auto out = act::testing::pod_json("llm", p.name, "vllme", p.shown_ready);
    if (now() < p.ready_at_s) return out;
    out["status"].as_object()["containerStatuses"] = json::array{json::object{
        {"containerID", fmt::format("containerd://{}-{}", p.name, p.restarts)}, {"state", {{"running", json::object{}}}}}};
    return out;
  }

  void add_pod(double ready_at_s) {
    auto p = std::make_unique<served_pod>();
    p->name = fmt::format("vllme-{}", made_++);
    p->ready_at_s = ready_at_s;
    p->shown_ready = ready_at_s <= 0;
    p->started_s = now();
    p->core = make_core();
    pods_.push_back(std::move(p));
  }

  void scaled(int n) {
    ++outcome.orders;
    outcome.most = std::max(outcome.most, n);
    outcome.least = std::min(outcome.least, n);
    scale_ = {n, scale_.version + 1};
    // The youngest go first, as a ReplicaSet does; what they have is finished by the others here, so that losses are of faults
    // only.
    while (static_cast<int>(pods_.size() - leaving_.size()) > n) remove(pods_.size() - 1, false);
    while (static_cast<int>(pods_.size() - leaving_.size()) < n) {
      add_pod(now() + options_.start_up_s);
      pending_.push_back({"pods", pod_json(*pods_.back()), net::kube::watch_type::added});
    }
    pending_.push_back({"deployments", target_json(), net::kube::watch_type::modified});
  }

  /// What it has is finished by others, or by itself before it ends.
  void remove(std::size_t i, bool drained) {
    auto& p = *pods_[i];
    pending_.push_back({"pods", pod_json(p), net::kube::watch_type::deleted});
    leaving_.erase(p.name);
    if (drained) {
      draining_.push_back(std::move(pods_[i]));
    } else {
      for (auto& [id, r] : p.requests) returned_.push_back(r);
    }
    pods_.erase(pods_.begin() + static_cast<std::ptrdiff_t>(i));
  }

  void show_ready() {
    bool changed = false;
    for (std::size_t i = pods_.size(); i-- > 0;)
      if (const auto it = leaving_.find(pods_[i]->name); it != leaving_.end() && now() >= it->second) {
        remove(i, true);
        changed = true;
      }
    for (auto& p : pods_)
      if (const bool is = now() >= p->ready_at_s && !p->probe_fails; is != p->shown_ready) {
        p->shown_ready = is;
        changed = true;
        pending_.push_back({"pods", pod_json(*p), net::kube::watch_type::modified});
      }
    if (changed) pending_.push_back({"deployments", target_json(), net::kube::watch_type::modified});
    for (auto& c : std::exchange(pending_, {})) {
      const auto sink = w.api->sinks.find(c.plural);
      if (sink == w.api->sinks.end()) continue;
      auto copy = sink->second.changed;
      copy({c.type, std::move(c.object)});
    }
    w.run();
  }

  // ---- requests ---------------------------------------------------------------------------------------------------------------

  int draw_out() {
    return std::clamp(static_cast<int>(std::exponential_distribution<double>(1 / options_.tokens_out)(random_)), 2, 4000);
  }
  void arrive() {
    for (auto& r : std::exchange(returned_, {})) send(r);
    const int clump = std::max(1, options_.clump(now()));
    const int n = std::poisson_distribution<int>(options_.rate_per_s(now()) * 0.1 / clump)(random_) * clump;
    for (int i = 0; i < n; ++i) {
      ++outcome.arrived;
      send({now() * 1000 - step_ms, 0, 0, options_.tokens_in, draw_out()});
    }
  }
  void send(const served_pod::request& r) {
    served_pod* best = nullptr;
    for (auto& p : pods_)
      if (now() >= p->ready_at_s && (!best || p->requests.size() < best->requests.size())) best = p.get();
    if (!best) {
      returned_.push_back(r);
      return;
    }
    const auto id = ++last_id_;
    ++best->counters.arrived;
    best->requests[id] = r;
    if (!best->core->submit(id, r.in, r.out, best->engine_ms, events_)) {
      best->requests.erase(id);
      ++outcome.lost;
    }
    note(*best, now() * 1000 - step_ms - best->engine_ms);
  }
  void serve(served_pod& p) {
    if (now() < p.frozen_until_s) return;
    p.engine_ms += step_ms;
    p.core->advance(p.engine_ms, events_);
    if (options_.patience_s > 0) give_up(p);
    note(p, now() * 1000 - p.engine_ms);
  }
  void give_up(served_pod& p) {
    note(p, now() * 1000 - p.engine_ms);
    const double since_ms = (now() - options_.patience_s) * 1000;
    for (auto it = p.requests.begin(); it != p.requests.end();) {
      const auto& [id, r] = *it;
      if (r.first_ms > 0 || r.arrived_ms > since_ms) {
        ++it;
        continue;
      }
      p.core->abort(id, p.engine_ms, events_);
      ++outcome.given_up;
      if (options_.tells_of_aborted) {
        ++p.counters.aborted;
        ++p.counters.lengths;
        p.counters.prompt_tokens += r.in;
      }
      it = p.requests.erase(it);
    }
  }
  /// Events carry the engine's own time, which `shift_ms` turns into the fleet's.
  void note(served_pod& p, double shift_ms) {
    for (const auto& e : std::exchange(events_, {})) {
      const auto it = p.requests.find(e.id);
      if (it == p.requests.end()) continue;
      auto& r = it->second;
      const double at_ms = e.time_ms + shift_ms;
      if (e.kind == engine::event_kind::admitted) r.admitted_ms = at_ms;
      if (e.kind == engine::event_kind::first_token) {
        r.first_ms = at_ms;
        p.counters.ttft_sum_s += (at_ms - r.arrived_ms) / 1000;
        ++p.counters.ttft_count;
      }
      if (e.kind != engine::event_kind::finished) continue;
      auto& c = p.counters;
      ++c.stopped;
      ++c.lengths;
      c.prompt_tokens += r.in;
      c.output_tokens += r.out;
      c.itl_sum_s += (at_ms - r.first_ms) / 1000;
      c.itl_count += r.out - 1;
      c.wait_sum_s += (r.admitted_ms - r.arrived_ms) / 1000;
      ++c.wait_count;
      ++outcome.finished;
      const double itl = (at_ms - r.first_ms) / (r.out - 1);
      if (itl <= slo_itl_ms * 1.02 && r.first_ms - r.arrived_ms <= slo_ttft_ms) ++outcome.within;
      p.requests.erase(it);
    }
  }

  // ---- metrics ----------------------------------------------------------------------------------------------------------------

  std::shared_ptr<act::collected_metrics> scrape(const std::vector<act::scrape_target>& targets, double now_s) {
    auto out = std::make_shared<act::collected_metrics>();
    if (source_down) {
      out->problem = "connection refused";
      return out;
    }
    tracks_.begin(std::make_shared<const std::vector<act::scrape_target>>(targets), now_s);
    for (const auto& t : targets) {
      const auto p = std::find_if(pods_.begin(), pods_.end(), [&](const auto& q) { return q->name == t.pod.name; });
      if (p == pods_.end()) continue;
      std::string text = exposition(**p);
      const bool answered = !(*p)->deaf && (!spoil || spoil(**p, text));
      out->pods.push_back(answered ? read(t, text, now_s) : unusable(t, "no answer"));
    }
    return out;
  }
  static act::pod_sample unusable(const act::scrape_target& t, std::string why) {
    act::pod_sample s;
    s.pod = t.pod;
    s.problem = std::move(why);
    return s;
  }
  /// As the source does it that scrapes pods.
  act::pod_sample read(const act::scrape_target& t, const std::string& text, double now_s) {
    act::counter_reader reader(t.model);
    if (auto why = reader.feed(text); !why.empty()) return unusable(t, std::move(why));
    auto reading = reader.finish();
    if (!reading) return unusable(t, std::move(reading.error()));
    reading->clock_s = now_s;
    reading->wall_s = 1.7e9 + now_s;
    return tracks_.observe(t, "", std::move(*reading), now_s);
  }

  // ---- the oracle -------------------------------------------------------------------------------------------------------------

  void judge() {
    if (tolerance_s <= 0) return;
    const double t = now();
    // After a change of the rate either number is right for as long as a change takes.
    if (needed(t) != needed(std::max(0.0, t - 0.2))) outside_since_s_.reset();
    // A share of a replica that no count of a minute can tell from none is not missed.
    const int least = std::max(1, static_cast<int>(std::ceil(0.97 * options_.rate_per_s(t) / replica_rate())));
    std::size_t in_flight = 0;
    for (const auto& p : pods_) in_flight += p->requests.size();
    // While a backlog lasts, those that could be busy with it may stay.
    const double most = std::max(1.5 * least + 2, std::ceil(1.0 * static_cast<double>(in_flight) / batch));
    if (replicas() >= least && replicas() <= most) {
      outside_since_s_.reset();
      return;
    }
    if (!outside_since_s_) outside_since_s_ = t;
    if (t - *outside_since_s_ < tolerance_s) return;
    outcome.violations.push_back(
        fmt::format("{:.0f} s: {} replicas for {:.0f} s, [{}, {:.1f}] are needed", t, replicas(), tolerance_s, least, most));
    outside_since_s_ = t;
  }

  struct change {
    std::string plural;
    json::object object;
    net::kube::watch_type type;
  };
  fleet_options options_;
  std::mt19937_64 random_;
  act::testing::fake_api::scale scale_;
  std::vector<std::unique_ptr<served_pod>> pods_;
  std::vector<std::unique_ptr<served_pod>> draining_;  ///< deleted, and finishing what they have
  std::map<std::string, double> leaving_;              ///< pods that go when others have come for them, and when
  std::vector<served_pod::request> returned_;          ///< that no pod has yet
  std::vector<engine::event> events_;
  std::vector<change> pending_;
  act::pod_tracks tracks_;
  engine::request_id last_id_ = 0;
  int made_ = 0;
  std::optional<double> outside_since_s_;
};

}  // namespace inferno::testbed::testing

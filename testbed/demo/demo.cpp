#include "testbed/demo/demo.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>

#include "actors/controller.hpp"
#include "model/queue.hpp"
#include "testbed/cluster/cluster.hpp"
#include "testbed/cluster/embedded.hpp"
#include "testbed/demo/view.hpp"
#include "testbed/load/load_generator.hpp"
#include "testbed/samples.hpp"
#include "testbed/signals.hpp"
#include "testbed/vllm/vllm_runtime.hpp"

namespace inferno::testbed {
namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

const actors::variant_key variant{"llm-d-sim", "vllme-deployment"};

/// The quick start's settings, except that nobody wants to wait for minutes.
constexpr const char* faster_settings = R"(apiVersion: v1
kind: ConfigMap
metadata: {name: inferno-autoscaler-variantautoscaling-config, namespace: inferno-autoscaler-system}
data: {GLOBAL_OPT_INTERVAL: "10s", RATE_WINDOW: "20s", SCALE_DOWN_STABILIZATION: "20s"}
)";
/// Shorter answers than the quick start's 178 tokens: a minute of load then holds enough requests to measure latencies.
constexpr int output_tokens = 20;
/// The sample's profile of the A100.
constexpr double sample_alpha_ms = 20.58, sample_beta_ms = 0.41;

/// The sample's profile has no prefill part, so the model counts the first token's step among the decode steps.
template <class Prediction>
double first_token_ms(const Prediction& p) {
  return p.ttft_ms + p.itl_ms;
}

/// What the model says of the decision's replicas at a rate: the controller plans for more than it has just seen.
model::replica_metrics predict(const actors::decision& d, double per_minute) {
  model::replica_config replica;
  replica.profile = model::linear_profile{sample_alpha_ms, sample_beta_ms, 0, 0, false};
  replica.shape = d.curve->measured.shape;
  replica.max_batch = d.desired.max_batch;
  replica.max_queue = 10L * d.desired.max_batch;
  return model::analyze(replica, model::req_rate::per_min(per_minute / d.desired.num_replicas));
}

/// A folder of this run: kubeconfig and the controller's log. It goes unless something is to be looked up in it.
struct work_folder {
  std::string path;
  bool keep = false;
  work_folder() {
    auto pattern = (std::filesystem::temp_directory_path() / "inferno-demo-XXXXXX").string();
    if (const char* made = ::mkdtemp(pattern.data())) path = made;
  }
  work_folder(const work_folder&) = delete;
  work_folder& operator=(const work_folder&) = delete;
  ~work_folder() {
    std::error_code ignored;
    if (!keep && !path.empty()) std::filesystem::remove_all(path, ignored);
  }
  std::string file(const char* name) const { return path + "/" + name; }
};

struct stopped_by_user {};

/// Steps of the story; each throws what went wrong as text.
class story {
 public:
  story(const demo_options& options, const stop_signals& signals)
      : options_(options), signals_(signals), view_(!options.plain && ::isatty(1) == 1) {}

  void begin();
  void tell();
  void summary() const;
  void stay();
  /// Leaves the controller's log where it is and returns its path.
  std::string keep_log() {
    folder_.keep = true;
    return folder_.file("controller.log");
  }

 private:
  double elapsed() const { return std::chrono::duration<double>(steady::now() - start_).count(); }
  std::shared_ptr<const actors::decision> decision() const;
  demo_frame look() const;
  void enter(std::string phase, const std::string& what);
  /// Looks on, drawing, until `done` or the limit; returns whether it was done.
  template <class Condition>
  bool until(double limit_s, Condition done);
  void need(bool happened, const std::string& otherwise) const {
    if (!happened) throw std::runtime_error(otherwise);
  }

  const demo_options& options_;
  const stop_signals& signals_;
  demo_view view_;
  work_folder folder_;
  steady::time_point start_ = steady::now();
  std::string phase_;
  double offered_ = 0;

  // Stopped in the opposite order: load, controller, cluster, servers.
  std::shared_ptr<host> where_ = std::make_shared<host>();
  std::shared_ptr<vllm_runtime> servers_ = std::make_shared<vllm_runtime>(where_);
  std::unique_ptr<emulated_cluster> cluster_;
  std::unique_ptr<actors::controller> controller_;
  std::unique_ptr<load_generator> load_;

  // What the summary tells.
  double scaled_up_after_s_ = 0, scaled_down_after_s_ = 0;
  int peak_ = 0;
  load_statistics steady_load_{}, whole_load_{};
  double steady_per_min_ = 0;  ///< what was sent while the load was steady
  std::shared_ptr<const actors::decision> steady_decision_;
};

std::shared_ptr<const actors::decision> story::decision() const {
  const auto plan = controller_ ? controller_->view()->plan() : nullptr;
  return plan ? plan->decisions.find(variant) : nullptr;
}

demo_frame story::look() const {
  demo_frame f;
  f.elapsed_s = elapsed();
  f.phase = phase_;
  f.offered_per_min = offered_;
  f.ready = static_cast<int>(servers_->urls().size());
  if (const auto d = decision()) {
    f.seen_per_min = d->curve->measured.arrival_rate.per_min();
    f.slo_itl_ms = d->curve->slo.itl_ms;
    f.slo_ttft_ms = d->curve->slo.wait_p95_ms;
    f.predicted_itl_ms = d->hold ? 0 : d->desired.itl_ms;
    f.predicted_ttft_ms = d->hold ? 0 : first_token_ms(d->desired);
    f.current = d->curve->current.num_replicas;
    f.desired = d->desired.num_replicas;
    f.cost = d->desired.cost.cents;
  }
  if (load_) {
    const auto recent = load_->statistics(10s);
    f.itl_ms = recent.itl.mean;
    f.ttft_ms = recent.ttft.mean;
  }
  return f;
}

template <class Condition>
bool story::until(double limit_s, Condition done) {
  const double end = elapsed() + limit_s;
  while (!done()) {
    if (elapsed() > end) return false;
    view_.frame(look());
    if (signals_.wait_for(250)) throw stopped_by_user{};
  }
  return true;
}

void story::enter(std::string phase, const std::string& what) {
  phase_ = std::move(phase);
  view_.event(elapsed(), what);
}

void story::begin() {
  need(!folder_.path.empty(), "no folder for temporary files");
  cluster_config cluster;
  cluster.quickstart = true;
  cluster.manifests = {faster_settings, sample_deployment(output_tokens)};
  cluster.runtime = servers_;
  cluster.seed = options_.seed;
  cluster.start_delay = 2s;
  auto api = emulated_cluster::start(cluster);
  need(api.has_value(), api ? "" : api.error());
  cluster_ = std::move(*api);
  std::ofstream(folder_.file("kubeconfig")) << cluster_->kubeconfig();

  actors::controller_config config;
  config.api.url = cluster_->url();
  config.metrics_address = "127.0.0.1:0";
  config.metrics_secure = false;
  config.probe_address = "0";
  config.source = actors::metrics_source_kind::scrape;
  config.scrape_interval = 1s;
  config.logger = actors::make_log(spdlog::level::debug, actors::log_format::json, folder_.file("controller.log"));
  auto controller = actors::controller::start(std::move(config));
  need(controller.has_value(), controller ? "" : controller.error());
  controller_ = std::move(*controller);

  view_.header(
      {"Inferno demo: one emulated cluster (2 x A100, 2 x MI300X, 2 x Gaudi 2), emulated vLLM servers, the real controller.",
       "Variant llm-d-sim/vllme-deployment, model \"default\", class Premium: inter-token latency at most 24 ms.", "",
       "Look at it from another terminal:", fmt::format("  export KUBECONFIG={}", folder_.file("kubeconfig")),
       "  kubectl get va -n llm-d-sim -w", "  kubectl get deployments,pods -n llm-d-sim",
       "  kubectl describe va vllme-deployment -n llm-d-sim",
       fmt::format("  curl http://{}/api/v1/variants", controller_->metrics_address()),
       fmt::format("  tail -f {}", folder_.file("controller.log")), ""});
}

void story::tell() {
  enter("starting", "Deployment vllme-deployment: 1 replica, no autoscaling yet");
  need(until(20, [&] { return servers_->urls().size() == 1; }), "the first replica did not start");

  enter("idle", "VariantAutoscaling applied, no load");
  const auto applied = cluster_->apply(embedded::sample_variant);
  need(applied.has_value(), applied ? "" : applied.error());
  need(until(20, [&] { return decision() && !decision()->hold; }), "no decision on the new VariantAutoscaling");
  view_.event(elapsed(),
              fmt::format("first decision: {} replica on {}", decision()->desired.num_replicas, decision()->desired.accelerator));
  need(!until(options_.idle_s, [&] { return decision()->desired.num_replicas != 1; }), "idle, and yet not 1 replica");

  offered_ = options_.per_minute;
  enter("load",
        fmt::format("load on: {:.0f} requests per minute, Poisson, {} output tokens on average", offered_, output_tokens));
  load_config load;
  load.targets = [servers = servers_] { return servers->urls(); };
  load.phases = {{0, options_.per_minute}};
  load.route = routing::random;  // as a Service does, and as the model takes it
  load.seed = options_.seed;
  load_ = std::make_unique<load_generator>(where_->io().executor(), std::move(load));
  load_->start();
  const double load_began = elapsed();
  need(until(options_.load_s / 2, [&] { return decision()->desired.num_replicas >= 2; }),
       "load, and yet no second replica wanted");
  scaled_up_after_s_ = elapsed() - load_began;
  peak_ = decision()->desired.num_replicas;
  enter("scaling up", fmt::format("scaled up: 1 -> {} replicas, {:.1f} s after the load began", peak_, scaled_up_after_s_));
  const auto flapped = [&] { return decision()->desired.num_replicas != peak_; };
  const auto no_flapping = [&] {
    need(!flapped(), fmt::format("the load is steady, and yet {} replicas became {}", peak_, decision()->desired.num_replicas));
  };
  need(until(20, [&] { return flapped() || static_cast<int>(servers_->urls().size()) >= peak_; }),
       "the new replica did not become ready");
  no_flapping();
  enter("load", fmt::format("{} replicas ready", peak_));
  const double left = load_began + options_.load_s - elapsed();
  const double settle = std::min(10.0, left / 3);
  until(settle, flapped);
  no_flapping();
  const auto sent_before = load_->statistics().sent;
  const double steady_from = elapsed();
  until(left - settle, flapped);
  no_flapping();
  steady_per_min_ = 60 * static_cast<double>(load_->statistics().sent - sent_before) / (elapsed() - steady_from);
  steady_load_ = load_->statistics(std::chrono::milliseconds(static_cast<long>((left - settle) * 1000)));
  steady_decision_ = decision();

  offered_ = 0;
  load_->stop();
  const double load_ended = elapsed();
  enter("load off", fmt::format("load off after {:.0f} s; steady at {} replicas, no flapping", options_.load_s, peak_));
  need(until(90, [&] { return decision()->desired.num_replicas == 1; }), "no load any more, and yet more than 1 replica wanted");
  scaled_down_after_s_ = elapsed() - load_ended;
  view_.event(elapsed(), fmt::format("scaled down: {} -> 1 replica, {:.1f} s after the load ended", peak_, scaled_down_after_s_));
  need(until(20, [&] { return servers_->urls().size() == 1; }), "the surplus replica did not end");
  until(1, [] { return false; });
  view_.finish();
  whole_load_ = load_->statistics();
}

void story::summary() const {
  const auto& d = *steady_decision_;
  const auto row = [](const char* name, double measured, double predicted, const std::string& objective) {
    fmt::print("  {:<20} {:>9.2f} {:>10.2f} {:>7.1f} %   {}\n", name, measured, predicted,
               100 * (predicted - measured) / measured, objective);
  };
  const auto predicted = predict(d, steady_per_min_);
  fmt::print("\nSteady load of {:.0f} requests/min on {} replicas of {} (planned for {:.0f}):\n", steady_per_min_, peak_,
             d.desired.accelerator, d.curve->current.load.arrival_rate.per_min());
  fmt::print("  {:<20} {:>9} {:>10} {:>9}   {}\n", "milliseconds", "measured", "predicted", "error", "objective");
  row("inter-token latency", steady_load_.itl.mean, predicted.itl_ms, fmt::format("at most {:.9g}", d.curve->slo.itl_ms));
  row("time to first token", steady_load_.ttft.mean, first_token_ms(predicted),
      fmt::format("95 % wait at most {:.9g}", d.curve->slo.wait_p95_ms));
  fmt::print(
      "Requests: {} sent, {} ok, {} failed. Replicas 1 -> {} in {:.1f} s, {} -> 1 in {:.1f} s. Cost {:.0f} -> {:.0f} -> {:.0f} "
      "cents/hour.\n",
      whole_load_.sent, whole_load_.ok, whole_load_.failed, peak_, scaled_up_after_s_, peak_, scaled_down_after_s_,
      d.desired.cost.cents / peak_, d.desired.cost.cents, d.desired.cost.cents / peak_);
  need(steady_load_.ok > 0 && steady_load_.itl.mean <= d.curve->slo.itl_ms,
       fmt::format("measured inter-token latency {:.2f} ms, the objective is {:.9g} ms", steady_load_.itl.mean,
                   d.curve->slo.itl_ms));
  need(whole_load_.failed == 0, fmt::format("{} requests failed: {}", whole_load_.failed, whole_load_.first_error));
  fmt::print("The story happened as told.\n");
  std::fflush(stdout);
}

void story::stay() {
  fmt::print("Still up; Ctrl-C ends it.\n");
  std::fflush(stdout);
  signals_.wait();
}

}  // namespace

int run_demo(const demo_options& options) {
  const stop_signals signals;
  story s(options, signals);
  bool begun = false;
  try {
    s.begin();
    begun = true;
    s.tell();
    s.summary();
    if (options.keep) s.stay();
    return 0;
  } catch (const stopped_by_user&) {
    fmt::print("\nstopped\n");
    return 130;
  } catch (const std::exception& e) {
    std::fflush(stdout);
    fmt::print(stderr, "\ninferno-testbed demo: {}\n", e.what());
    if (begun) fmt::print(stderr, "The controller's log: {}\n", s.keep_log());
    return begun ? 1 : 2;
  }
}

}  // namespace inferno::testbed

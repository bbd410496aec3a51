#include "actors/prometheus_source.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cmath>

namespace inferno::actors {

namespace asio = boost::asio;

namespace {

enum column : std::size_t {
  success,
  arrivals,
  prompt_sum,
  prompt_count,
  generation_sum,
  generation_count,
  itl_sum,
  itl_count,
  newer_itl_sum,
  newer_itl_count,
  ttft_sum,
  ttft_count,
  wait_sum,
  wait_count,
  in_system_growth,
  running,
  waiting,
  columns
};

constexpr std::array<std::string_view, in_system_growth> counters{"vllm:request_success_total",
                                                                  "vllm:request_arrival_total",
                                                                  "vllm:request_prompt_tokens_sum",
                                                                  "vllm:request_prompt_tokens_count",
                                                                  "vllm:request_generation_tokens_sum",
                                                                  "vllm:request_generation_tokens_count",
                                                                  "vllm:time_per_output_token_seconds_sum",
                                                                  "vllm:time_per_output_token_seconds_count",
                                                                  "vllm:inter_token_latency_seconds_sum",
                                                                  "vllm:inter_token_latency_seconds_count",
                                                                  "vllm:time_to_first_token_seconds_sum",
                                                                  "vllm:time_to_first_token_seconds_count",
                                                                  "vllm:request_queue_time_seconds_sum",
                                                                  "vllm:request_queue_time_seconds_count"};

}  // namespace

std::vector<std::string> prometheus_queries(std::chrono::milliseconds window) {
  const auto w = fmt::format("{}ms", window.count());
  constexpr std::string_view by = "sum by (namespace, pod, instance, model_name)";
  std::vector<std::string> out;
  for (const auto name : counters) out.push_back(fmt::format("{} (rate({}[{}]))", by, name, w));
  out.push_back(fmt::format("{0} (delta(vllm:num_requests_running[{1}])) + {0} (delta(vllm:num_requests_waiting[{1}]))", by, w));
  // Gauges of a pod that is no longer scraped must not look alive for Prometheus' whole look-back.
  out.push_back(fmt::format("{} (last_over_time(vllm:num_requests_running[{}]))", by, w));
  out.push_back(fmt::format("{} (last_over_time(vllm:num_requests_waiting[{}]))", by, w));
  return out;
}

std::string gateway_queue_query() {
  return "sum by (namespace, model_name, target_model_name) (inference_extension_flow_control_queue_size)";
}

/// The model that the servers know a request by is the target model; without a rewrite it is left empty.
std::vector<gateway_queue> prometheus_join::queues(const std::vector<net::metrics::vector_sample>& values) {
  std::vector<gateway_queue> out;
  for (const auto& v : values) {
    const auto target = v.label("target_model_name");
    const auto model = target.empty() ? v.label("model_name") : target;
    if (!model.empty() && std::isfinite(v.value)) out.push_back({std::string(v.label("namespace")), std::string(model), v.value});
  }
  return out;
}

prometheus_join::prometheus_join(const std::vector<scrape_target>& targets, double now_s, double window_s)
    : now_s_(now_s), window_s_(window_s) {
  for (const auto& t : targets) {
    by_instance_[fmt::format("{}:{}", t.ip, t.port)] = t.pod;
    model_of_[t.pod] = t.model;
  }
}

void prometheus_join::add(std::size_t field, const std::vector<net::metrics::vector_sample>& values) {
  for (const auto& v : values) {
    kube::object_key pod{std::string(v.label("namespace")), std::string(v.label("pod"))};
    auto known = model_of_.find(pod);
    if (known == model_of_.end()) {
      const auto it = by_instance_.find(std::string(v.label("instance")));
      if (it == by_instance_.end()) continue;
      pod = it->second;
      known = model_of_.find(pod);
    }
    const auto model = v.label("model_name");
    if (!model.empty() && model != known->second) continue;
    auto& r = rows_[pod];
    if (r.values.empty()) {
      r.values.assign(columns, 0.0);
      r.present.assign(columns, false);
    }
    r.values[field] += v.value;
    r.present[field] = true;
  }
}

std::vector<pod_sample> prometheus_join::samples() const {
  std::vector<pod_sample> out;
  for (const auto& [pod, r] : rows_) {
    pod_sample s;
    s.pod = pod;
    const auto bad = std::find_if(r.values.begin(), r.values.end(), [](double v) { return !std::isfinite(v); });
    if (bad != r.values.end()) {
      const auto field = static_cast<std::size_t>(bad - r.values.begin());
      s.problem =
          fmt::format("{} is {}", field < counters.size() ? counters[field] : std::string_view("vllm:num_requests"), *bad);
    } else if (!r.present[running] && !r.present[success]) {
      s.problem = "no recent sample";
    }
    auto& l = s.load;
    l.time_s = now_s_;
    l.running = r.values[running];
    l.waiting = r.values[waiting];
    // Two scrapes in the window make a rate; before that there is a baseline only.
    if (s.problem.empty() && (r.present[success] || r.present[arrivals])) {
      const double w = window_s_;
      l.span_s = w;
      l.completions = r.values[success] * w;
      l.arrivals = r.present[arrivals] ? r.values[arrivals] * w : std::max(0.0, l.completions + r.values[in_system_growth]);
      if (r.values[prompt_count] > 0) l.in_tokens = r.values[prompt_sum] / r.values[prompt_count] * l.completions;
      if (r.values[generation_count] > 0) l.out_tokens = r.values[generation_sum] / r.values[generation_count] * l.completions;
      const bool older = r.values[itl_count] > 0;
      l.itl_sum_s = r.values[older ? itl_sum : newer_itl_sum] * w;
      l.itl_count = r.values[older ? itl_count : newer_itl_count] * w;
      l.ttft_sum_s = r.values[ttft_sum] * w;
      l.ttft_count = r.values[ttft_count] * w;
      l.wait_sum_s = r.values[wait_sum] * w;
      l.wait_count = r.values[wait_count] * w;
    }
    out.push_back(std::move(s));
  }
  return out;
}

struct prometheus_source::impl {
  asio::any_io_executor executor;
  net::metrics::prometheus_connection connection;
  net::metrics::prometheus_access access;
  std::chrono::milliseconds window;

  using done_function = std::function<void(std::shared_ptr<const collected_metrics>)>;

  static asio::awaitable<void> run(std::shared_ptr<impl> self, std::shared_ptr<const std::vector<scrape_target>> targets,
                                   double now_s, done_function done) {
    auto out = std::make_shared<collected_metrics>();
    if (self->access.url.empty()) {
      out->problem = "PROMETHEUS_BASE_URL is not set";
      done(out);
      co_return;
    }
    auto made = self->connection.client(self->access);
    if (!made) {
      out->problem = made.error().message;
      done(out);
      co_return;
    }
    auto client = std::move(*made);
    prometheus_join join(*targets, now_s, std::chrono::duration<double>(self->window).count());
    const auto queries = prometheus_queries(self->window);
    for (std::size_t i = 0; i < queries.size(); ++i) {
      const auto answer = co_await client.query(queries[i]);
      if (!answer) {
        out->problem = answer.error().message;
        break;
      }
      join.add(i, *answer);
    }
    if (out->problem.empty()) {
      const auto waiting = co_await client.query(gateway_queue_query());
      if (waiting) {
        out->queues = prometheus_join::queues(*waiting);
      } else {
        out->problem = waiting.error().message;
      }
    }
    if (out->problem.empty()) out->pods = join.samples();
    done(out);
  }
};

prometheus_source::prometheus_source(asio::any_io_executor executor, net::http_client_config http,
                                     net::metrics::prometheus_access access, std::chrono::milliseconds window,
                                     std::function<void(std::string_view)> on_problem)
    : impl_(std::make_shared<impl>(impl{executor, {executor, std::move(http)}, std::move(access), window})) {
  impl_->connection.on_problem = std::move(on_problem);
}
prometheus_source::~prometheus_source() = default;

void prometheus_source::collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s,
                                std::function<void(std::shared_ptr<const collected_metrics>)> done) {
  asio::co_spawn(impl_->executor, impl::run(impl_, std::move(targets), now_s, std::move(done)), asio::detached);
}

void prometheus_source::configure(const runtime_settings& settings) {
  asio::post(impl_->executor, [self = impl_, access = settings.prometheus, window = settings.rate_window] {
    self->access = access;
    self->window = window;
  });
}

}  // namespace inferno::actors

#include "testbed/vllm/metrics.hpp"

#include <prometheus/text_serializer.h>

#include <chrono>

namespace inferno::testbed {
namespace {

using buckets = prometheus::Histogram::BucketBoundaries;

// The boundaries of vLLM's own histograms.
const buckets ttft_buckets{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75,
                           1,     2.5,   5,    7.5,  10,   20,   40,   80,  160,  640, 2560};
const buckets itl_buckets{0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80};
const buckets request_buckets{0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
const buckets token_buckets{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

}  // namespace

vllm_metrics::vllm_metrics(const std::string& model, double kv_tokens) {
  const prometheus::Labels labels{{"model_name", model}, {"engine", "0"}};
  auto& r = *registry_;
  const auto gauge = [&](const char* name, const char* help) {
    return &prometheus::BuildGauge().Name(name).Help(help).Register(r).Add(labels);
  };
  const auto counter = [&](const char* name, const char* help) {
    return &prometheus::BuildCounter().Name(name).Help(help).Register(r).Add(labels);
  };
  const auto histogram = [&](const char* name, const char* help, const buckets& b) {
    return &prometheus::BuildHistogram().Name(name).Help(help).Register(r).Add(labels, b);
  };
  running_ = gauge("vllm:num_requests_running", "Number of requests in model execution batches.");
  waiting_ = gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.");
  kv_ = gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.");
  gpu_kv_ = gauge("vllm:gpu_cache_usage_perc", "GPU KV-cache usage. 1 means 100 percent usage.");
  prompt_tokens_ = counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.");
  generation_tokens_ = counter("vllm:generation_tokens_total", "Number of generation tokens processed.");
  tokens_ = counter("vllm:tokens_total", "Number of prefill plus generation tokens processed.");
  arrivals_ = counter("vllm:request_arrival_total", "Count of requests that arrived.");
  auto& success =
      prometheus::BuildCounter().Name("vllm:request_success_total").Help("Count of successfully processed requests.").Register(r);
  stopped_ = &success.Add({{"model_name", model}, {"engine", "0"}, {"finished_reason", "stop"}});
  cut_ = &success.Add({{"model_name", model}, {"engine", "0"}, {"finished_reason", "length"}});
  ttft_ = histogram("vllm:time_to_first_token_seconds", "Histogram of time to first token in seconds.", ttft_buckets);
  itl_ = histogram("vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", itl_buckets);
  tpot_ = histogram("vllm:time_per_output_token_seconds", "Histogram of time per output token in seconds.", itl_buckets);
  e2e_ = histogram("vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", request_buckets);
  queue_ = histogram("vllm:request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", request_buckets);
  inference_ =
      histogram("vllm:request_inference_time_seconds", "Histogram of time spent in RUNNING phase for request.", request_buckets);
  prefill_ =
      histogram("vllm:request_prefill_time_seconds", "Histogram of time spent in PREFILL phase for request.", request_buckets);
  decode_ =
      histogram("vllm:request_decode_time_seconds", "Histogram of time spent in DECODE phase for request.", request_buckets);
  prompt_length_ = histogram("vllm:request_prompt_tokens", "Number of prefill tokens processed.", token_buckets);
  generation_length_ = histogram("vllm:request_generation_tokens", "Number of generation tokens processed.", token_buckets);
  prometheus::BuildGauge()
      .Name("process_start_time_seconds")
      .Help("Start time of the process since unix epoch in seconds.")
      .Register(r)
      .Add({})
      .Set(std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count());
  if (kv_tokens > 0)
    prometheus::BuildGauge()
        .Name("vllm:cache_config_info")
        .Help("Information of the LLMEngine CacheConfig")
        .Register(r)
        .Add({{"engine", "0"}, {"block_size", "16"}, {"num_gpu_blocks", std::to_string(static_cast<long>(kv_tokens / 16))}})
        .Set(1);
}

std::string vllm_metrics::text() const { return prometheus::TextSerializer().Serialize(registry_->Collect()); }

void vllm_metrics::observe(const finished& f) {
  (f.by_length ? cut_ : stopped_)->Increment();
  prompt_tokens_->Increment(f.in);
  generation_tokens_->Increment(f.out);
  tokens_->Increment(f.in + f.out);
  prompt_length_->Observe(f.in);
  generation_length_->Observe(f.out);
  queue_->Observe(f.queue_s);
  prefill_->Observe(f.prefill_s);
  decode_->Observe(f.decode_s);
  inference_->Observe(f.prefill_s + f.decode_s);
  e2e_->Observe(f.e2e_s);
}

void vllm_metrics::state(int running, int waiting, double kv_usage) {
  running_->Set(running);
  waiting_->Set(waiting);
  kv_->Set(kv_usage);
  gpu_kv_->Set(kv_usage);
}

}  // namespace inferno::testbed

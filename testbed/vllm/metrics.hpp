#pragma once
// vLLM's metrics, with vLLM's names, types, labels and buckets.
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>

namespace inferno::testbed {

class vllm_metrics {
 public:
  vllm_metrics(const std::string& model, double kv_tokens);
  std::string text() const;

  /// Everything about a request that has ended well; times in seconds.
  struct finished {
    int in = 0;
    int out = 0;
    double queue_s = 0;
    double prefill_s = 0;
    double decode_s = 0;
    double e2e_s = 0;        ///< from arrival to the last token
    bool by_length = false;  ///< finished_reason "length" instead of "stop"
  };
  void observe(const finished& f);
  /// Time between two tokens of a request; vLLM's older and newer name.
  void token_gap(double seconds) {
    itl_->Observe(seconds);
    tpot_->Observe(seconds);
  }
  void first_token(double seconds) { ttft_->Observe(seconds); }
  void arrived() { arrivals_->Increment(); }
  void state(int running, int waiting, double kv_usage);

 private:
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  prometheus::Gauge *running_, *waiting_, *kv_, *gpu_kv_;
  prometheus::Counter *prompt_tokens_, *generation_tokens_, *tokens_, *arrivals_, *stopped_, *cut_;
  prometheus::Histogram *ttft_, *itl_, *tpot_, *e2e_, *queue_, *inference_, *prefill_, *decode_, *prompt_length_,
      *generation_length_;
};

}  // namespace inferno::testbed

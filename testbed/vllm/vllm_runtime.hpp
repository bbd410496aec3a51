#pragma once
// Runs pods as emulated vLLM servers of this process.
#include <mutex>
#include <vector>

#include "testbed/cluster/pod_runtime.hpp"
#include "testbed/vllm/emulated_vllm.hpp"

namespace inferno::testbed {

class vllm_runtime final : public pod_runtime {
 public:
  explicit vllm_runtime(std::shared_ptr<host> where) : host_(std::move(where)) {}
  void start(pod_spec spec, std::function<void(bool ok, std::string error)> done) override;
  void stop(const std::string& ns, const std::string& name) override;
  struct running_server {
    std::string ns;
    std::string pod;
    std::string url;
  };
  /// Those that run now. Thread-safe.
  std::vector<running_server> servers() const;
  /// Base URLs of the servers that run now: the endpoints a Service would have. Thread-safe.
  std::vector<std::string> urls() const;

 private:
  std::shared_ptr<host> host_;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<emulated_vllm>> running_;
};

}  // namespace inferno::testbed

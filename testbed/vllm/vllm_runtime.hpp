#pragma once
// Runs pods as emulated vLLM servers of this process.
#include <list>
#include <mutex>
#include <vector>

#include "testbed/cluster/pod_runtime.hpp"
#include "testbed/vllm/emulated_vllm.hpp"

namespace inferno::testbed {

class vllm_runtime final : public pod_runtime {
 public:
  /// A server that is stopped gets no new requests any more, and goes on with those it has for `grace`.
  explicit vllm_runtime(std::shared_ptr<host> where, std::chrono::milliseconds grace = std::chrono::milliseconds(0))
      : host_(std::move(where)), grace_(grace) {}
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
  struct ending_servers {
    std::mutex mutex;
    std::list<std::unique_ptr<emulated_vllm>> list;
  };
  static asio::awaitable<void> end_later(std::weak_ptr<ending_servers> of, const emulated_vllm* which,
                                         std::chrono::milliseconds grace);
  std::shared_ptr<host> host_;
  std::chrono::milliseconds grace_;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<emulated_vllm>> running_;
  std::shared_ptr<ending_servers> ending_ = std::make_shared<ending_servers>();
};

}  // namespace inferno::testbed

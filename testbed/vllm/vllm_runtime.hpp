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
  /// `ended` must not call this runtime.
  void stop(const std::string& ns, const std::string& name, std::chrono::milliseconds grace,
            std::function<void()> ended) override;
  std::optional<std::vector<log_line>> log(const std::string& ns, const std::string& name) const override;
  struct running_server {
    std::string ns;
    std::string pod;
    std::string url;
  };
  /// Those that take requests now. Thread-safe.
  std::vector<running_server> servers() const;
  /// Base URLs of the servers that take requests now: the endpoints a Service would have. Thread-safe.
  std::vector<std::string> urls() const;

 private:
  using pod_name = std::pair<std::string, std::string>;
  /// A server that goes on with the requests it has.
  struct ending_server {
    std::unique_ptr<emulated_vllm> server;
    std::vector<std::function<void()>> ended;
  };
  /// Also the coroutines', which must not keep the servers.
  struct state {
    std::mutex mutex;
    std::map<pod_name, std::unique_ptr<emulated_vllm>> running;
    std::map<pod_name, ending_server> ending;

    /// Calls `ended` under the mutex: whoever has stopped a pod with a grace of 0 knows afterwards that nothing calls it any
    /// more.
    void end(const pod_name& name);
  };
  static asio::awaitable<void> end_later(std::weak_ptr<state> of, pod_name name, const emulated_vllm* which,
                                         std::shared_ptr<requests_under_way> requests, std::chrono::milliseconds grace);
  std::shared_ptr<host> host_;
  std::shared_ptr<state> state_ = std::make_shared<state>();
};

}  // namespace inferno::testbed

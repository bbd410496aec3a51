#pragma once
// The kube_api port over the network.
#include <atomic>

#include "actors/ports.hpp"

namespace inferno::actors {

/// Calls may come from any thread; everything runs on the executor of the client.
class kube_api_net final : public kube_api {
 public:
  /// Becomes the guard of the client's writes.
  explicit kube_api_net(std::shared_ptr<kube::client> client);
  std::unique_ptr<subscription> watch(const kube::resource& res, kube::list_options options, kube::reflector_sink sink) override;
  void get(const kube::resource& res, kube::object_key key, std::string subresource, kube::lane where, object_done done) override;
  void get_path(std::string path, object_done done) override;
  void create(const kube::resource& res, std::string ns, json::object object, object_done done) override;
  void replace(const kube::resource& res, kube::object_key key, json::object object, object_done done) override;
  void merge_patch(const kube::resource& res, kube::object_key key, json::value body, std::string subresource,
                   object_done done) override;
  void allow_writes(clock::time_point until) override;
  void end_writes() override;
  int writes_in_flight() const override { return gate_->in_flight; }

 private:
  void cancel_waiting();

  std::shared_ptr<kube::client> client_;
  struct gate {
    std::atomic<clock::time_point> until{always};
    std::atomic<bool> ended{false};
    std::atomic<int> in_flight{0};
  };
  std::shared_ptr<gate> gate_ = std::make_shared<gate>();
};

}  // namespace inferno::actors

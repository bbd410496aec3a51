#include "testbed/vllm/vllm_runtime.hpp"

#include <functional>

namespace inferno::testbed {

void vllm_runtime::start(pod_spec spec, std::function<void(bool ok, std::string error)> done) {
  auto settings = parse_settings(spec.env);
  if (!settings) return done(false, settings.error());
  // Replicas must not draw the same lengths.
  if (!spec.env.count("SEED")) settings->seed = std::hash<std::string>{}(spec.ns + "/" + spec.name);
  auto server = emulated_vllm::start(*host_, *settings, spec.ip, static_cast<unsigned short>(spec.port));
  if (!server) return done(false, server.error());
  {
    const std::lock_guard lock(mutex_);
    running_[{spec.ns, spec.name}] = std::move(*server);
  }
  done(true, {});
}

void vllm_runtime::stop(const std::string& ns, const std::string& name) {
  std::unique_ptr<emulated_vllm> ending;
  const std::lock_guard lock(mutex_);
  const auto it = running_.find({ns, name});
  if (it == running_.end()) return;
  ending = std::move(it->second);
  running_.erase(it);
}

std::vector<std::string> vllm_runtime::urls() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [pod, server] : running_) out.push_back(server->url());
  return out;
}

}  // namespace inferno::testbed

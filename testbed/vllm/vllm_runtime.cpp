#include "testbed/vllm/vllm_runtime.hpp"

#include <fmt/format.h>

#include <functional>

namespace inferno::testbed {

void vllm_runtime::start(pod_spec spec, std::function<void(bool ok, std::string error)> done) {
  auto settings = parse_settings(spec.env);
  if (!settings) return done(false, settings.error());
  if (spec.port < 1 || spec.port > 65535) return done(false, fmt::format("containerPort: {} is no port", spec.port));
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

std::vector<vllm_runtime::running_server> vllm_runtime::servers() const {
  const std::lock_guard lock(mutex_);
  std::vector<running_server> out;
  for (const auto& [pod, running] : running_) out.push_back({pod.first, pod.second, running->url()});
  return out;
}

std::vector<std::string> vllm_runtime::urls() const {
  std::vector<std::string> out;
  for (auto& s : servers()) out.push_back(std::move(s.url));
  return out;
}

}  // namespace inferno::testbed

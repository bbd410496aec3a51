#include "testbed/vllm/vllm_runtime.hpp"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
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
    const std::lock_guard lock(state_->mutex);
    state_->running[{spec.ns, spec.name}] = std::move(*server);
  }
  done(true, {});
}

void vllm_runtime::state::end(const pod_name& name) {
  auto node = ending.extract(name);
  if (node.empty()) return;
  node.mapped().server.reset();
  for (const auto& tell : node.mapped().ended) tell();
}

void vllm_runtime::stop(const std::string& ns, const std::string& name, std::chrono::milliseconds grace,
                        std::function<void()> ended) {
  const pod_name pod{ns, name};
  std::unique_lock lock(state_->mutex);
  if (auto node = state_->running.extract(pod); !node.empty()) {
    state_->end(pod);  // a server of an earlier pod of that name
    state_->ending[pod].server = std::move(node.mapped());
  }
  const auto it = state_->ending.find(pod);
  if (it == state_->ending.end()) return ended();
  it->second.ended.push_back(std::move(ended));
  if (grace.count() <= 0) return state_->end(pod);
  const auto& server = it->second.server;
  server->drain();
  auto later = end_later(state_, pod, server.get(), server->activity()->requests, grace);
  // On the I/O thread the coroutine begins at once, and takes the mutex itself.
  lock.unlock();
  asio::co_spawn(host_->io().executor(), std::move(later), asio::detached);
}

asio::awaitable<void> vllm_runtime::end_later(std::weak_ptr<state> of, pod_name name, const emulated_vllm* which,
                                              std::shared_ptr<requests_under_way> requests, std::chrono::milliseconds grace) {
  co_await requests_under_way::wait_for_end(std::move(requests), grace);
  const auto there = of.lock();
  if (!there) co_return;
  const std::lock_guard lock(there->mutex);
  const auto it = there->ending.find(name);
  if (it != there->ending.end() && it->second.server.get() == which) there->end(name);
}

std::optional<std::vector<log_line>> vllm_runtime::log(const std::string& ns, const std::string& name) const {
  const std::lock_guard lock(state_->mutex);
  if (const auto it = state_->running.find({ns, name}); it != state_->running.end()) return it->second->activity()->log.lines();
  if (const auto it = state_->ending.find({ns, name}); it != state_->ending.end())
    return it->second.server->activity()->log.lines();
  return std::nullopt;
}

std::vector<vllm_runtime::running_server> vllm_runtime::servers() const {
  const std::lock_guard lock(state_->mutex);
  std::vector<running_server> out;
  for (const auto& [pod, running] : state_->running) out.push_back({pod.first, pod.second, running->url()});
  return out;
}

std::vector<std::string> vllm_runtime::urls() const {
  std::vector<std::string> out;
  for (auto& s : servers()) out.push_back(std::move(s.url));
  return out;
}

}  // namespace inferno::testbed

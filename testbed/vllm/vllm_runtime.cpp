#include "testbed/vllm/vllm_runtime.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
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
  if (grace_.count() == 0) return;
  const auto* which = ending.get();
  {
    const std::lock_guard also(ending_->mutex);
    ending_->list.push_back(std::move(ending));
  }
  asio::co_spawn(host_->io().executor(), end_later(ending_, which, grace_), asio::detached);
}

/// The list owns the server, so that it does not outlive the runtime.
asio::awaitable<void> vllm_runtime::end_later(std::weak_ptr<ending_servers> of, const emulated_vllm* which,
                                              std::chrono::milliseconds grace) {
  asio::steady_timer over(co_await asio::this_coro::executor, grace);
  co_await over.async_wait(asio::use_awaitable);
  const auto there = of.lock();
  if (!there) co_return;
  std::list<std::unique_ptr<emulated_vllm>> ended;
  const std::lock_guard lock(there->mutex);
  const auto at = std::find_if(there->list.begin(), there->list.end(), [&](const auto& s) { return s.get() == which; });
  if (at != there->list.end()) ended.splice(ended.begin(), there->list, at);
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

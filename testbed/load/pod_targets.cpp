#include "testbed/load/pod_targets.hpp"

#include <fmt/format.h>

#include "net/kube/json_path.hpp"

namespace inferno::testbed {

namespace kube = net::kube;
using kube::find;
using kube::integer_at;
using kube::text_at;

std::optional<std::string> ready_url(const json::object& pod) {
  const auto ip = text_at(pod, {"status", "podIP"});
  if (ip.empty() || find(pod, {"metadata", "deletionTimestamp"})) return std::nullopt;
  bool ready = false;
  if (const auto* conditions = find(pod, {"status", "conditions"}); conditions && conditions->is_array())
    for (const auto& c : conditions->get_array())
      if (c.is_object() && text_at(c.get_object(), {"type"}) == "Ready") ready = text_at(c.get_object(), {"status"}) == "True";
  if (!ready) return std::nullopt;
  std::int64_t port = 0;
  bool named = false;
  if (const auto* containers = find(pod, {"spec", "containers"}); containers && containers->is_array())
    for (const auto& c : containers->get_array())
      if (const auto* ports = find(c, {"ports"}); ports && ports->is_array())
        for (const auto& p : ports->get_array()) {
          if (!p.is_object() || named) continue;
          named = text_at(p.get_object(), {"name"}) == "http";
          if (named || port == 0) port = integer_at(p.get_object(), {"containerPort"}, 0);
        }
  const bool v6 = ip.find(':') != std::string::npos;
  return fmt::format(fmt::runtime(v6 ? "http://[{}]:{}" : "http://{}:{}"), ip, port == 0 ? 8000 : port);
}

struct pod_targets::state {
  mutable std::mutex mutex;
  std::map<std::pair<std::string, std::string>, std::string> urls;  ///< by namespace and name
  std::string problem = "the pods have not been listed yet";

  void take(const json::object& pod) {
    const std::pair name{text_at(pod, {"metadata", "namespace"}), text_at(pod, {"metadata", "name"})};
    if (auto url = ready_url(pod)) {
      urls[name] = std::move(*url);
    } else {
      urls.erase(name);
    }
  }
};

pod_targets::pod_targets(asio::any_io_executor executor, kube::connection api, const std::string& ns, const std::string& selector)
    : state_(std::make_shared<state>()) {
  net::http_client_config http;
  http.tls = api.tls;
  auto client = std::make_shared<kube::client>(std::make_shared<net::http_client>(executor, std::move(http)), std::move(api));
  kube::reflector_sink sink;
  sink.replaced = [s = state_](const std::vector<json::object>& pods) {
    const std::lock_guard lock(s->mutex);
    s->urls.clear();
    s->problem.clear();
    for (const auto& pod : pods) s->take(pod);
  };
  sink.changed = [s = state_](kube::watch_event e) {
    const std::lock_guard lock(s->mutex);
    if (e.type == kube::watch_type::deleted) {
      s->urls.erase({text_at(e.object, {"metadata", "namespace"}), text_at(e.object, {"metadata", "name"})});
    } else {
      s->take(e.object);
    }
  };
  sink.health = [s = state_](const std::optional<net::error>& e) {
    const std::lock_guard lock(s->mutex);
    s->problem = e ? e->message : std::string();
  };
  kube::list_options options;
  options.ns = ns;
  options.label_selector = selector;
  watch_ = std::make_unique<kube::reflector>(std::move(client), kube::resources::pods, std::move(options), std::move(sink));
  watch_->start();
}

pod_targets::~pod_targets() = default;

std::vector<std::string> pod_targets::urls() const {
  const std::lock_guard lock(state_->mutex);
  std::vector<std::string> out;
  for (const auto& [name, url] : state_->urls) out.push_back(url);
  return out;
}

std::string pod_targets::problem() const {
  const std::lock_guard lock(state_->mutex);
  return state_->problem;
}

}  // namespace inferno::testbed

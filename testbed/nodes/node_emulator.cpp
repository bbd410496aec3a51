#include "testbed/nodes/node_emulator.hpp"

#include <fmt/format.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <set>

#include "testbed/cluster/placement.hpp"
#include "testbed/cluster/pod_status.hpp"

namespace inferno::testbed {

namespace asio = boost::asio;
namespace kube = net::kube;

namespace {

constexpr auto nothrow = asio::as_tuple(asio::use_awaitable);
constexpr int attempts = 60;  ///< of a write, while the server is away

std::string now_text() { return kube::format_time(std::chrono::system_clock::now()); }
std::string uid_of(const json::object& o) { return text_at(o, {"metadata", "uid"}); }
kube::object_key key_of(const json::object& o) {
  return {text_at(o, {"metadata", "namespace"}), text_at(o, {"metadata", "name"})};
}

/// What comes right by itself when it is tried again.
bool passing(const net::error& e) {
  return e.kind != net::error_kind::status || e.status >= 500 || e.status == 409 || e.status == 429;
}

}  // namespace

struct node_emulator::impl : std::enable_shared_from_this<impl> {
  struct running {
    std::string ip;
    int restarts = 0;
    bool bound = false;  ///< a binding is under way or done
    bool started = false;
    std::optional<std::chrono::seconds> ending{};  ///< its grace period
  };

  impl(host& where, node_emulator_config c)
      : executor(where.io().executor()),
        config(std::move(c)),
        api(std::make_shared<kube::client>(std::make_shared<net::http_client>(executor, http_config()), config.api)) {}

  net::http_client_config http_config() const {
    net::http_client_config out;
    out.tls = config.api.tls;
    return out;
  }

  asio::any_io_executor executor;
  node_emulator_config config;
  std::shared_ptr<kube::client> api;
  std::vector<std::unique_ptr<kube::reflector>> watches;
  std::map<std::string, object_ptr> nodes;  ///< by name
  std::map<std::string, object_ptr> pods;   ///< by uid
  std::map<std::string, running> states;    ///< by uid
  std::map<kube::object_key, std::string> uids;
  std::set<std::string> addresses;
  unsigned next_address = 0;
  bool placing = false;
  bool stopped = false;

  template <class F>
  void later(std::chrono::milliseconds delay, F what) {
    auto timer = std::make_shared<asio::steady_timer>(executor, delay);
    timer->async_wait([self = shared_from_this(), timer, what = std::move(what)](boost::system::error_code ec) {
      if (!ec && !self->stopped) what();
    });
  }
  void spawn(asio::awaitable<void> what) { asio::co_spawn(executor, std::move(what), asio::detached); }

  void watch(const kube::resource& res, const std::string& ns, std::map<std::string, object_ptr>& into, bool by_uid) {
    const auto id = [by_uid](const json::object& o) { return by_uid ? uid_of(o) : text_at(o, {"metadata", "name"}); };
    kube::reflector_sink sink;
    sink.replaced = [this, &into, id](std::vector<json::object> all) {
      auto gone = std::move(into);
      into.clear();
      for (auto& o : all) {
        const auto name = id(o);
        into[name] = std::make_shared<const json::object>(std::move(o));
        gone.erase(name);
      }
      for (const auto& [name, object] : gone) forget(name);
      look();
    };
    sink.changed = [this, &into, id](kube::watch_event e) {
      const auto name = id(e.object);
      if (e.type == kube::watch_type::deleted) {
        into.erase(name);
        forget(name);
      } else {
        into[name] = std::make_shared<const json::object>(std::move(e.object));
      }
      look();
    };
    kube::list_options options;
    options.ns = ns;
    watches.push_back(std::make_unique<kube::reflector>(api, res, options, std::move(sink)));
    watches.back()->start();
  }

  /// A pod that is gone from the API: its server goes and its address is free.
  void forget(const std::string& uid) {
    const auto it = states.find(uid);
    if (it == states.end()) return;
    for (auto at = uids.begin(); at != uids.end(); ++at) {
      if (at->second != uid) continue;
      if (config.runtime) config.runtime->stop(at->first.ns, at->first.name, std::chrono::milliseconds(0), [] {});
      uids.erase(at);
      break;
    }
    addresses.erase(it->second.ip);
    states.erase(it);
  }

  /// Many events, one look.
  void look() {
    if (std::exchange(placing, true) || stopped) return;
    asio::post(executor, [self = shared_from_this()] {
      self->placing = false;
      if (self->stopped) return;
      self->place();
      for (const auto& [uid, pod] : self->pods) self->attend(uid, *pod);
    });
  }

  void place() {
    std::vector<object_ptr> all_nodes, all_pods;
    for (const auto& [name, node] : nodes) all_nodes.push_back(node);
    for (const auto& [uid, pod] : pods) {
      const auto it = states.find(uid);
      // What is being bound counts as bound: the API has not said so yet.
      if (it != states.end() && it->second.bound && text_at(*pod, {"spec", "nodeName"}).empty()) {
        json::object copy = *pod;
        object_at(copy, {"spec"})["nodeName"] = it->second.ip;
        all_pods.push_back(std::make_shared<const json::object>(std::move(copy)));
      } else {
        all_pods.push_back(pod);
      }
    }
    for (auto& p : place_pods(all_nodes, all_pods)) {
      if (p.node.empty()) {
        refuse(*p.pod, p.problem);
      } else {
        auto& s = states[uid_of(*p.pod)];
        s.bound = true;
        s.ip = p.node;  // the node, until it has an address
        spawn(bind(shared_from_this(), p.pod, p.node));
      }
    }
  }

  void refuse(const json::object& pod, const std::string& why) {
    json::object status;
    if (const auto* s = pod.if_contains("status"); s && s->is_object()) status = s->get_object();
    if (!set_condition(status, "PodScheduled", false, "Unschedulable", why, now_text())) return;
    spawn(write_status(shared_from_this(), key_of(pod), std::move(status)));
  }

  static asio::awaitable<void> bind(std::shared_ptr<impl> self, object_ptr pod, std::string node) {
    const auto key = key_of(*pod);
    static const kube::resource bindings{"", "v1", "bindings", "Binding", true};
    for (int i = 0; i < attempts && !self->stopped; ++i) {
      json::object body{{"apiVersion", "v1"},
                        {"kind", "Binding"},
                        {"metadata", json::object{{"name", key.name}, {"namespace", key.ns}}},
                        {"target", json::object{{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}};
      const auto done = co_await self->api->create(bindings, key.ns, std::move(body));
      if (done || !passing(done.error()) || done.error().status == 409) co_return;
      asio::steady_timer pause(self->executor, std::chrono::milliseconds(500));
      co_await pause.async_wait(nothrow);
    }
  }

  static asio::awaitable<void> write_status(std::shared_ptr<impl> self, kube::object_key key, json::object status) {
    for (int i = 0; i < attempts && !self->stopped; ++i) {
      json::value body = json::object{{"status", status}};
      const auto done = co_await self->api->patch(kube::resources::pods, key, std::move(body), kube::patch_type::merge, "status");
      if (done || !passing(done.error())) co_return;
      asio::steady_timer pause(self->executor, std::chrono::milliseconds(500));
      co_await pause.async_wait(nothrow);
    }
  }

  static asio::awaitable<void> remove(std::shared_ptr<impl> self, kube::object_key key, std::string uid) {
    for (int i = 0; i < attempts && !self->stopped; ++i) {
      kube::remove_options now;
      now.grace_period_s = 0;
      now.uid = uid;
      const auto done = co_await self->api->remove(kube::resources::pods, key, std::move(now));
      if (done || !passing(done.error()) || done.error().status == 409) co_return;
      asio::steady_timer pause(self->executor, std::chrono::milliseconds(500));
      co_await pause.async_wait(nothrow);
    }
  }

  std::string new_address() {
    constexpr unsigned all = 250 * 250;
    for (unsigned tried = 0; tried < all; ++tried) {
      const unsigned n = next_address++;
      auto ip = fmt::format("127.{}.{}.{}", config.second_octet, n / 250 % 250, 1 + n % 250);
      if (addresses.insert(ip).second) return ip;
    }
    throw std::runtime_error(fmt::format("all {} pod addresses are in use", all));
  }

  void write_state(const std::string& uid) {
    const auto pod = pods.find(uid);
    const auto it = states.find(uid);
    if (pod == pods.end() || it == states.end()) return;
    const auto& s = it->second;
    pod_state shown{s.ip, s.started, s.restarts, s.restarts > 0 ? "CrashLoopBackOff" : "ContainerCreating", "not started"};
    auto status = pod_status(*pod->second, shown, now_text());
    set_condition(status, "PodScheduled", true, "", "", now_text());
    spawn(write_status(shared_from_this(), key_of(*pod->second), std::move(status)));
  }

  /// What a pod's kubelet has to do for it, if anything.
  void attend(const std::string& uid, const json::object& pod) {
    const auto node = text_at(pod, {"spec", "nodeName"});
    if (node.empty() || !nodes.count(node)) return;
    const auto key = key_of(pod);
    const bool deleted = find(pod, {"metadata", "deletionTimestamp"}) != nullptr;
    const bool fresh = !uids.count(key) || uids[key] != uid;
    auto& s = states[uid];
    if (deleted) {
      const std::chrono::seconds grace(integer_at(pod, {"metadata", "deletionGracePeriodSeconds"}, 30));
      if (s.ending && grace >= *s.ending) return;
      const bool again = s.ending.has_value();
      s.ending = grace;
      if (!again) spawn(write_status(shared_from_this(), key, terminating_status(pod, now_text())));
      const auto ended = [self = shared_from_this(), key, uid] {
        asio::post(self->executor, [self, key, uid] { self->ended(key, uid); });
      };
      if (!config.runtime) return ended();
      config.runtime->stop(key.ns, key.name, grace, ended);
      return;
    }
    if (!fresh || s.ending) return;
    uids[key] = uid;
    s.ip = new_address();
    write_state(uid);
    later(config.start_delay, [this, uid] { start(uid); });
  }

  /// The server of a deleted pod is gone, and the pod goes with it.
  void ended(const kube::object_key& key, const std::string& uid) {
    if (stopped) return;
    later(config.stop_delay, [this, key, uid] { spawn(remove(shared_from_this(), key, uid)); });
  }

  void start(const std::string& uid) {
    const auto pod = pods.find(uid);
    const auto it = states.find(uid);
    if (pod == pods.end() || it == states.end() || it->second.ending) return;
    auto spec = config.runtime ? server_of(*pod->second, it->second.ip) : std::nullopt;
    if (!spec) return started(uid, true);
    if (const auto node = nodes.find(spec->node); node != nodes.end()) spec->accelerator = gpu_product(*node->second);
    config.runtime->start(std::move(*spec), [self = shared_from_this(), uid](bool ok, const std::string&) {
      asio::post(self->executor, [self, uid, ok] {
        if (!self->stopped) self->started(uid, ok);
      });
    });
  }

  void started(const std::string& uid, bool ok) {
    const auto it = states.find(uid);
    if (it == states.end()) return;
    auto& s = it->second;
    s.started = ok && !s.ending;
    if (!ok) ++s.restarts;
    if (s.ending) return;
    write_state(uid);
    if (!ok) later(std::chrono::seconds(std::min(60, 1 << std::min(s.restarts, 6))), [this, uid] { start(uid); });
  }

  void stop() {
    stopped = true;
    watches.clear();
    if (config.runtime)
      for (const auto& [key, uid] : uids) config.runtime->stop(key.ns, key.name, std::chrono::milliseconds(0), [] {});
    // What is still under way keeps this object, and must not keep the host whose thread it runs on.
    config.runtime = nullptr;
  }
};

node_emulator::node_emulator(host& where, node_emulator_config config) : impl_(std::make_shared<impl>(where, std::move(config))) {
  asio::post(impl_->executor, [self = impl_] {
    self->watch(kube::resources::nodes, "", self->nodes, false);
    self->watch(kube::resources::pods, self->config.ns, self->pods, true);
  });
}

node_emulator::~node_emulator() {
  std::promise<void> done;
  asio::post(impl_->executor, [&done, self = impl_] {
    self->stop();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace inferno::testbed

#include "testbed/cluster/cluster.hpp"

#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>
#include <future>

#include "testbed/cluster/api_server.hpp"
#include "testbed/cluster/embedded.hpp"
#include "testbed/host.hpp"

namespace inferno::testbed {
namespace {

/// The kubectl order: what others need comes first in the manifests themselves.
api_result<void> create_or_replace(object_store& store, json::object object) {
  const auto version = text_at(object, {"apiVersion"});
  const auto name = text_at(object, {"metadata", "name"});
  kind_ptr kind;
  for (const auto& k : store.kinds())
    if (k->kind == text_at(object, {"kind"}) && k->group_version() == version) kind = k;
  if (!kind)
    return tl::unexpected(api_error{404, "NotFound", fmt::format("no kind {} in {}", text_at(object, {"kind"}), version)});
  auto ns = text_at(object, {"metadata", "namespace"});
  if (kind->namespaced && ns.empty()) ns = "default";
  const object_name key{kind->namespaced ? ns : std::string(), name};
  const auto stored =
      store.get(*kind, key) ? store.update(kind, key, std::move(object)) : store.create(kind, ns, std::move(object));
  if (!stored) return tl::unexpected(stored.error());
  return {};
}

/// A second octet of 127.x.y.z that no other cluster of this machine uses: held by a socket for as long as the cluster lives.
class address_block {
 public:
  address_block(boost::asio::io_context& context, std::uint64_t seed) : guard_(context) {
    namespace ip = boost::asio::ip;
    for (unsigned i = 0; i < 240; ++i) {
      octet_ = static_cast<int>(10 + (seed + i) % 240);
      boost::system::error_code ec;
      guard_.open(ip::tcp::v4(), ec);
      guard_.bind({ip::make_address_v4(fmt::format("127.{}.255.254", octet_)), 6443}, ec);
      if (!ec) guard_.listen(1, ec);
      if (!ec) return;
      guard_.close(ec);
    }
    octet_ = 0;
  }
  int octet() const { return octet_; }

 private:
  boost::asio::ip::tcp::acceptor guard_;
  int octet_ = 0;
};

std::string base_objects() {
  std::string out;
  for (const auto* ns : {"default", "kube-system", "kube-public", "kube-node-lease"})
    out += fmt::format("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {}}}\n", ns);
  return out;
}

}  // namespace

struct emulated_cluster::impl {
  explicit impl(std::uint64_t seed) : addresses(where.io().context(), seed) {}

  host where{1};
  address_block addresses;
  store_actor store;
  std::unique_ptr<api_server> server;
  bool stopped = false;

  template <class Function>
  auto on_store(Function function) {
    std::promise<std::invoke_result_t<Function, object_store&>> done;
    caf::anon_send(store, store_call{[&](object_store& s) {
                     try {
                       done.set_value(function(s));
                     } catch (...) {
                       done.set_exception(std::current_exception());
                     }
                   }});
    return done.get_future().get();
  }
};

tl::expected<std::unique_ptr<emulated_cluster>, std::string> emulated_cluster::start(cluster_config config) {
  const auto seed = config.seed != 0 ? config.seed : std::random_device{}();
  auto state = std::make_unique<impl>(seed);
  if (state->addresses.octet() == 0) return tl::unexpected(std::string("no loopback addresses left for pods"));
  object_store::settings objects;
  objects.history = config.history;
  objects.seed = seed;
  kubelet_config nodes;
  nodes.start_delay = config.start_delay;
  nodes.stop_delay = config.stop_delay;
  nodes.runtime = config.runtime;
  nodes.second_octet = state->addresses.octet();
  state->store = state->where.system().spawn(api_store, objects, nodes);
  api_server::settings http{config.address,      config.port,    config.bookmark_interval,
                            config.watch_buffer, config.version, config.runtime};
  auto server = api_server::start(state->where.io().executor(), std::move(http), state->store);
  // From here on the destructor stops the actors.
  std::unique_ptr<emulated_cluster> out(new emulated_cluster(std::move(state)));
  if (!server) return tl::unexpected(server.error());
  out->impl_->server = std::move(*server);
  std::vector<std::string> manifests{base_objects()};
  if (config.quickstart) manifests.insert(manifests.end(), {embedded::quickstart, embedded::crd, embedded::configmaps});
  manifests.insert(manifests.end(), config.manifests.begin(), config.manifests.end());
  for (const auto& m : manifests)
    if (const auto ok = out->apply(m); !ok) return tl::unexpected(ok.error());
  return out;
}

emulated_cluster::emulated_cluster(std::unique_ptr<impl> state) : impl_(std::move(state)) {}
emulated_cluster::~emulated_cluster() { stop(); }

std::string emulated_cluster::url() const { return impl_->server->url(); }

void emulated_cluster::stop() {
  if (std::exchange(impl_->stopped, true)) return;
  if (impl_->server) impl_->server->stop();
  caf::anon_send(impl_->store, stop_cluster{});
  impl_->store = nullptr;
}

tl::expected<void, std::string> emulated_cluster::apply(std::string_view yaml) {
  auto documents = parse_manifests(std::string(yaml));
  if (!documents) return tl::unexpected(documents.error());
  return impl_->on_store([&](object_store& s) -> tl::expected<void, std::string> {
    for (std::size_t i = 0; i < documents->size(); ++i) {
      const auto& d = (*documents)[i];
      const auto done = create_or_replace(s, d);
      if (!done)
        return tl::unexpected(fmt::format("document {} ({} {}): {}", i + 1, text_at(d, {"kind"}),
                                          text_at(d, {"metadata", "name"}), done.error().message));
    }
    return {};
  });
}

std::string emulated_cluster::kubeconfig() const {
  return fmt::format(
      "apiVersion: v1\nkind: Config\ncurrent-context: inferno\nclusters:\n- name: inferno\n  cluster:\n    server: "
      "{}\ncontexts:\n- name: inferno\n"
      "  context:\n    cluster: inferno\n    user: inferno\nusers:\n- name: inferno\n  user: {{}}\n",
      url());
}

void emulated_cluster::compact() {
  impl_->on_store([](object_store& s) {
    s.compact();
    return true;
  });
}
void emulated_cluster::drop_connections() { impl_->server->drop_connections(); }
void emulated_cluster::fail_next(int count, int status, fault_filter filter, std::chrono::seconds retry_after) {
  impl_->server->fail_next(count, status, std::move(filter), retry_after);
}
std::uint64_t emulated_cluster::requests() const { return impl_->server->requests(); }

}  // namespace inferno::testbed

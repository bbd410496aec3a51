#include "actors/kube_api_net.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace inferno::actors {
namespace {

namespace asio = boost::asio;
using object_result = net::result<json::object>;

class reflector_subscription final : public kube_api::subscription {
 public:
  explicit reflector_subscription(std::unique_ptr<kube::reflector> reflector) : reflector_(std::move(reflector)) {
    reflector_->start();
  }
  ~reflector_subscription() override { reflector_->stop(); }

 private:
  std::unique_ptr<kube::reflector> reflector_;
};

/// Runs a call and hands its outcome to `done`; an exception becomes an error, so `done` is always called.
template <class Call>
void run(asio::any_io_executor executor, std::shared_ptr<std::atomic<int>> in_flight, Call call, kube_api::object_done done) {
  if (in_flight) ++*in_flight;
  asio::co_spawn(executor, std::move(call),
                 [in_flight = std::move(in_flight), done = std::move(done)](std::exception_ptr failure, object_result r) {
                   if (in_flight) --*in_flight;
                   if (failure) {
                     try {
                       std::rethrow_exception(failure);
                     } catch (const std::exception& e) {
                       r = net::fail(net::error_kind::protocol, e.what());
                     }
                   }
                   done(std::move(r));
                 });
}

asio::awaitable<object_result> get_call(std::shared_ptr<kube::client> client, kube::resource res, kube::object_key key,
                                        std::string subresource, bool urgent) {
  co_return co_await client->get(res, std::move(key), std::move(subresource), urgent);
}
asio::awaitable<object_result> get_path_call(std::shared_ptr<kube::client> client, std::string path) {
  co_return co_await client->get_path(std::move(path));
}
asio::awaitable<object_result> create_call(std::shared_ptr<kube::client> client, kube::resource res, std::string ns,
                                           json::object object) {
  co_return co_await client->create(res, std::move(ns), std::move(object));
}
asio::awaitable<object_result> replace_call(std::shared_ptr<kube::client> client, kube::resource res, kube::object_key key,
                                            json::object object) {
  co_return co_await client->replace(res, std::move(key), std::move(object));
}
asio::awaitable<object_result> patch_call(std::shared_ptr<kube::client> client, kube::resource res, kube::object_key key,
                                          json::value body, std::string subresource) {
  co_return co_await client->patch(res, std::move(key), std::move(body), kube::patch_type::merge, std::move(subresource));
}

}  // namespace

kube_api_net::kube_api_net(std::shared_ptr<kube::client> client) : client_(std::move(client)) {
  client_->guard_writes([gate = gate_](const kube::resource& res) -> std::optional<net::error> {
    // Leases decide about it.
    if (res == kube::resources::leases || (!gate->ended && clock::now() < gate->until.load())) return std::nullopt;
    return net::error{net::error_kind::cancelled, 0, "not the leader any more: nothing is written", std::nullopt};
  });
}

std::unique_ptr<kube_api::subscription> kube_api_net::watch(const kube::resource& res, kube::list_options options,
                                                            kube::reflector_sink sink) {
  kube::reflector_config config;
  config.jitter_seed = std::hash<std::string>{}(res.plural);
  return std::make_unique<reflector_subscription>(
      std::make_unique<kube::reflector>(client_, res, std::move(options), std::move(sink), config));
}

void kube_api_net::get(const kube::resource& res, kube::object_key key, std::string subresource, turn when, object_done done) {
  run(client_->executor(), nullptr, get_call(client_, res, std::move(key), std::move(subresource), when == turn::first),
      std::move(done));
}

void kube_api_net::get_path(std::string path, object_done done) {
  run(client_->executor(), nullptr, get_path_call(client_, std::move(path)), std::move(done));
}

void kube_api_net::create(const kube::resource& res, std::string ns, json::object object, object_done done) {
  run(client_->executor(), writes_, create_call(client_, res, std::move(ns), std::move(object)), std::move(done));
}

void kube_api_net::replace(const kube::resource& res, kube::object_key key, json::object object, object_done done) {
  run(client_->executor(), writes_, replace_call(client_, res, std::move(key), std::move(object)), std::move(done));
}

void kube_api_net::merge_patch(const kube::resource& res, kube::object_key key, json::value body, std::string subresource,
                               object_done done) {
  run(client_->executor(), writes_, patch_call(client_, res, std::move(key), std::move(body), std::move(subresource)),
      std::move(done));
}

}  // namespace inferno::actors

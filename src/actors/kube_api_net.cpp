#include "actors/kube_api_net.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>

#include "net/words_of.hpp"

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
void run(asio::any_io_executor executor, Call call, kube_api::object_done done) {
  asio::co_spawn(executor, std::move(call), [done = std::move(done)](std::exception_ptr failure, object_result r) {
    if (failure) r = net::fail(net::error_kind::protocol, net::words_of(failure));
    done(std::move(r));
  });
}

asio::awaitable<object_result> get_call(std::shared_ptr<kube::client> client, kube::resource res, kube::object_key key,
                                        std::string subresource, kube::lane where) {
  co_return co_await client->get(res, std::move(key), std::move(subresource), where);
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
  client_->guard_writes([gate = gate_](const kube::resource& res) -> net::result<std::shared_ptr<void>> {
    // Counted before the gate is looked at: whoever closes it and then counts none knows that none goes out.
    ++gate->in_flight;
    std::shared_ptr<void> ticket(nullptr, [gate](void*) { --gate->in_flight; });
    // Leases decide about it.
    if (res == kube::resources::leases || (!gate->ended && clock::now() < gate->until.load())) return ticket;
    return net::fail(net::error_kind::cancelled, "not the leader any more: nothing is written");
  });
}

void kube_api_net::allow_writes(clock::time_point until) {
  gate_->until = until;
  if (until <= clock::now()) cancel_waiting();
}

void kube_api_net::end_writes() {
  gate_->ended = true;
  cancel_waiting();
}

void kube_api_net::cancel_waiting() {
  asio::post(client_->executor(), [client = client_] { client->cancel_waiting_writes(); });
}

std::unique_ptr<kube_api::subscription> kube_api_net::watch(const kube::resource& res, kube::list_options options,
                                                            kube::reflector_sink sink) {
  kube::reflector_config config;
  config.jitter_seed = std::hash<std::string>{}(res.plural);
  return std::make_unique<reflector_subscription>(
      std::make_unique<kube::reflector>(client_, res, std::move(options), std::move(sink), config));
}

void kube_api_net::get(const kube::resource& res, kube::object_key key, std::string subresource, kube::lane where,
                       object_done done) {
  run(client_->executor(), get_call(client_, res, std::move(key), std::move(subresource), where), std::move(done));
}

void kube_api_net::get_path(std::string path, object_done done) {
  run(client_->executor(), get_path_call(client_, std::move(path)), std::move(done));
}

void kube_api_net::create(const kube::resource& res, std::string ns, json::object object, object_done done) {
  run(client_->executor(), create_call(client_, res, std::move(ns), std::move(object)), std::move(done));
}

void kube_api_net::replace(const kube::resource& res, kube::object_key key, json::object object, object_done done) {
  run(client_->executor(), replace_call(client_, res, std::move(key), std::move(object)), std::move(done));
}

void kube_api_net::merge_patch(const kube::resource& res, kube::object_key key, json::value body, std::string subresource,
                               object_done done) {
  run(client_->executor(), patch_call(client_, res, std::move(key), std::move(body), std::move(subresource)), std::move(done));
}

}  // namespace inferno::actors

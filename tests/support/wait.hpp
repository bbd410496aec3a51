#pragma once
// Waiting for conditions, blocking HTTP and free ports, for tests that run real programs.
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <thread>

#include "net/http/client.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::test {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

inline double seconds_since(steady::time_point from) { return std::chrono::duration<double>(steady::now() - from).count(); }

/// Looks again every few milliseconds until `condition` holds; false when it has not within `limit`.
template <class Condition>
bool eventually(std::chrono::milliseconds limit, Condition condition) {
  const auto end = steady::now() + limit;
  while (!condition()) {
    if (steady::now() > end) return false;
    std::this_thread::sleep_for(10ms);
  }
  return true;
}

/// A blocking request.
inline net::result<net::http_response> http_send(net::http_request request, net::tls_options tls = {}) {
  asio::io_context context;
  net::http_client_config config;
  config.tls = std::move(tls);
  net::http_client client(context.get_executor(), std::move(config));
  return run(context, client.request(std::move(request)));
}
inline net::result<net::http_response> http_get(const std::string& url) {
  net::http_request request;
  request.url = url;
  return http_send(std::move(request));
}

/// A TCP port of 127.0.0.1 that nobody listens on now; somebody may until it is used.
inline unsigned short free_port() {
  asio::io_context context;
  asio::ip::tcp::acceptor probe(context, {asio::ip::make_address("127.0.0.1"), 0});
  return probe.local_endpoint().port();
}

}  // namespace inferno::test

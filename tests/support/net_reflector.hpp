#pragma once
// A reflector and the mirror it keeps of a fake API, for tests.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/kube/client.hpp"
#include "tests/support/net_fake_api.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::test {

namespace kube = net::kube;

class reflector_fixture : public ::testing::Test {
 protected:
  reflector_fixture() {
    config.backoff_min = std::chrono::milliseconds(2);
    config.backoff_max = std::chrono::milliseconds(10);
    options.ns = "ns";
  }
  void start() {
    net::http_client_config http;
    http.connect_timeout = std::chrono::seconds(5);
    http.request_timeout = std::chrono::seconds(5);
    if (max_body > 0) http.max_body = max_body;
    auto access = std::make_shared<kube::client>(std::make_shared<net::http_client>(context.get_executor(), http),
                                                 kube::connection{.url = api.url()});
    kube::reflector_sink sink;
    sink.replaced = [this](std::vector<json::object> all) { replace(std::move(all)); };
    sink.changed = [this](kube::watch_event event) {
      if (std::exchange(sink_throws, false)) throw std::bad_alloc();
      change(std::move(event));
    };
    sink.health = [this](std::optional<net::error> e) {
      health.push_back(e ? fmt::format("{} {}", e->status, e->message) : "well");
      last_error = e ? e : last_error;
    };
    watcher.emplace(std::move(access), kube::resources::pods, options, std::move(sink), config);
    watcher->start();
  }
  /// Started, with the list told and a watch open.
  void start_watching() {
    start();
    until([&] { return api.watches.size() == 1; });
    settle();
  }
  void until(const std::function<bool()>& ready) { test::run_until(context, ready); }
  void settle() { test::run(context, test::yield_turns(40)); }
  bool state_is_the_servers() const {
    std::map<std::string, int> expected;
    for (const auto& [name, object] : api.objects) expected[name] = static_cast<int>(object.at("value").as_int64());
    return state == expected;
  }

  void replace(std::vector<json::object> all) {
    state.clear();
    std::string names;
    for (const auto& o : all) {
      const std::string name(o.at("metadata").at("name").as_string());
      EXPECT_TRUE(state.emplace(name, o.at("value").as_int64()).second) << name << " is twice in the list";
      names += name;
    }
    seen_at = api.listed_version;
    told.push_back("=" + names);
    after_call();
  }
  /// Each event must be the very next one of the server's history: none twice, none lost.
  void change(kube::watch_event event) {
    const auto& meta = event.object.at("metadata");
    const std::string name(meta.at("name").as_string());
    const long at = std::stol(std::string(meta.at("resourceVersion").as_string()));
    long next = 0;
    for (const auto& h : api.history)
      if (h.object && h.version > seen_at) {
        next = h.version;
        break;
      }
    EXPECT_EQ(at, next) << "after " << seen_at;
    seen_at = at;
    const int value = static_cast<int>(event.object.at("value").as_int64());
    EXPECT_EQ(state.count(name), event.type == kube::watch_type::added ? 0u : 1u) << name;
    if (event.type == kube::watch_type::deleted) {
      state.erase(name);
    } else {
      state[name] = value;
    }
    constexpr std::string_view marks = "+~-#!";
    told.push_back(fmt::format("{}{}", marks[static_cast<std::size_t>(event.type)], name));
    after_call();
  }
  void after_call() {
    if (told.size() == stop_after) watcher->stop();
  }

  asio::io_context context;
  fake_api api{context};
  std::size_t max_body = 0;  ///< bytes of an answer; 0 = as usual
  kube::list_options options;
  kube::reflector_config config;
  std::map<std::string, int> state;
  long seen_at = 0;
  std::size_t stop_after = 0;
  bool sink_throws = false;  ///< once
  std::vector<std::string> told, health;
  std::optional<net::error> last_error;
  std::optional<kube::reflector> watcher;
};

}  // namespace inferno::test

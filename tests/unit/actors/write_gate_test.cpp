// The gate of the real API port: what reaches a server once the lease is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <mutex>

#include "actors/kube_api_net.hpp"
#include "net/http/server.hpp"
#include "net/io_context_thread.hpp"
#include "tests/support/wait.hpp"

namespace inferno::actors {
namespace {

using namespace std::chrono_literals;
namespace asio = boost::asio;

class WriteGate : public ::testing::Test {
 protected:
  /// An API server that says yes to all, and remembers what it was asked.
  explicit WriteGate(double qps = 0) {
    auto started = net::http_server::start(io_.executor(), {}, [this](net::http_exchange& x) -> asio::awaitable<void> {
      {
        const std::lock_guard lock(mutex_);
        seen_.push_back(std::string(x.method()) + " " + std::string(x.path()));
      }
      std::string type = "application/json", body = "{}";
      std::vector<net::http_header> none;
      co_await x.respond(200, std::move(type), std::move(body), std::move(none));
    });
    if (!started) throw std::runtime_error(started.error().message);
    server_ = std::move(*started);
    kube::connection conn;
    conn.url = "http://" + server_->address();
    conn.qps = qps;
    conn.burst = 1;
    client = std::make_shared<kube::client>(std::make_shared<net::http_client>(io_.executor(), net::http_client_config{}), conn);
    api = std::make_unique<kube_api_net>(client);
  }
  ~WriteGate() override {
    server_->stop();
    io_.stop();
    api.reset();  // while its executor is there
    client.reset();
  }

  /// The outcome of a scale patch: "" or the error.
  void patch(std::string name) {
    ++asked_;
    api->merge_patch(kube::resources::deployments, {"llm", std::move(name)}, json::object{{"spec", json::object{}}}, "scale",
                     done());
  }
  kube_api::object_done done() {
    return [this](net::result<json::object> r) {
      const std::lock_guard lock(mutex_);
      outcomes_.push_back(r ? "" : r.error().message);
    };
  }
  std::vector<std::string> outcomes() {
    EXPECT_TRUE(test::eventually(10s, [&] {
      const std::lock_guard lock(mutex_);
      return outcomes_.size() == asked_;
    }));
    return outcomes_;
  }
  std::vector<std::string> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

  void write_status(std::string name) {
    ++asked_;
    api->merge_patch(kube::resources::variantautoscalings, {"llm", std::move(name)}, json::object{}, "status", done());
  }
  /// How many calls of the path's end have arrived.
  std::size_t arrived(std::string_view end) {
    const auto all = seen();
    return static_cast<std::size_t>(std::count_if(all.begin(), all.end(), [&](const auto& c) { return c.ends_with(end); }));
  }

  std::shared_ptr<kube::client> client;
  std::unique_ptr<kube_api_net> api;
  std::size_t asked_ = 0;

 private:
  net::io_context_thread io_;
  std::unique_ptr<net::http_server> server_;
  std::mutex mutex_;
  std::vector<std::string> seen_, outcomes_;
};

constexpr auto closed = "not the leader any more: nothing is written";

TEST_F(WriteGate, NothingIsWrittenWhenItIsClosed) {
  using strings = std::vector<std::string>;
  patch("a");
  EXPECT_EQ(outcomes(), strings({""}));
  api->allow_writes(kube_api::never);
  patch("b");
  api->create(kube::resources::events, "llm", {}, done());
  ++asked_;
  EXPECT_EQ(outcomes(), strings({"", closed, closed}));
  // Reading goes on, and so do leases, which decide about it.
  api->get(kube::resources::deployments, {"llm", "c"}, "", kube::lane::status, done());
  api->replace(kube::resources::leases, {"sys", "lease"}, {}, done());
  asked_ += 2;
  EXPECT_EQ(outcomes(), strings({"", closed, closed, "", ""}));
  EXPECT_EQ(seen().size(), 3u);
  api->allow_writes(kube_api::always);
  patch("d");
  EXPECT_EQ(outcomes().back(), "");
}

TEST_F(WriteGate, ClosesByItselfAtItsTime) {
  api->allow_writes(kube_api::clock::now() + 50ms);
  // Nobody closes it: an actor that should may not get to run.
  std::size_t written = 0;
  EXPECT_TRUE(test::eventually(10s, [&] {
    patch("a");
    if (outcomes().back() == closed) return true;
    ++written;
    return false;
  }));
  EXPECT_EQ(seen().size(), written);
}

TEST_F(WriteGate, EndsForGood) {
  api->end_writes();
  api->allow_writes(kube_api::always);
  patch("a");
  EXPECT_EQ(outcomes().back(), closed);
  EXPECT_TRUE(seen().empty());
}

class SlowWriteGate : public WriteGate {
 protected:
  SlowWriteGate() : WriteGate(5) {}
};

TEST_F(SlowWriteGate, IsAskedWhenTheWriteGoesOutNotWhenItIsAskedFor) {
  patch("a");  // takes the only token
  patch("b");  // waits for a fifth of a second
  api->allow_writes(kube_api::clock::now() + 50ms);
  const auto all = outcomes();
  EXPECT_EQ(all.back(), closed);
  for (const auto& call : seen()) EXPECT_EQ(call.find("/b/"), std::string::npos) << call;
}

/// A queue of 6,000 status patches at 20 calls a second lasts five minutes.
class CrowdedWriteGate : public WriteGate {
 protected:
  CrowdedWriteGate() : WriteGate(20) {
    for (int i = 0; i < 6000; ++i) write_status(std::to_string(i));
    EXPECT_TRUE(test::eventually(10s, [&] { return arrived("/status") > 0; }));
  }
};

/// GCC 12 destroys twice an aggregate made inside a co_await.
asio::awaitable<void> list_pods(std::shared_ptr<kube::client> client) {
  kube::list_options options;
  (void)co_await client->list(kube::resources::pods, options);
}

TEST_F(CrowdedWriteGate, ScalePatchesAndListPagesOvertakeStatusPatches) {
  patch("urgent");
  asio::co_spawn(client->executor(), list_pods(client), asio::detached);
  const auto before = arrived("/status");
  EXPECT_TRUE(test::eventually(10s, [&] { return arrived("/urgent/scale") == 1 && arrived("/pods") == 1; }));
  EXPECT_LE(arrived("/status"), before + 10);
  api->end_writes();
  outcomes();
}

TEST_F(CrowdedWriteGate, ThoseThatWaitAreNotInFlightAndEndWithTheGate) {
  const auto began = std::chrono::steady_clock::now();
  EXPECT_LT(api->writes_in_flight(), 100) << "of 6,000";
  api->end_writes();
  outcomes();
  EXPECT_EQ(api->writes_in_flight(), 0);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s) << "nobody waits for a turn that is of no use any more";
  EXPECT_LT(arrived("/status"), 200u);
}

}  // namespace
}  // namespace inferno::actors

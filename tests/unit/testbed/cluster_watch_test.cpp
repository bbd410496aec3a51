// Watches of the emulated API server.
#include <ctime>

#include "tests/unit/testbed/api_client.hpp"

namespace inferno::testbed {
namespace {

class Watch : public cluster_test {
 protected:
  /// An open watch. next() waits for an event, a few seconds at most.
  struct watcher {
    std::unique_ptr<net::http_stream> stream;
    net::kube::watch_decoder decoder;
    std::vector<net::kube::watch_event> events{};
    std::size_t taken = 0;
  };
  watcher open(const std::string& query, const std::string& path = config_maps) {
    net::http_request r;
    r.url = cluster->url() + path + "?watch=true&" + query;
    auto stream = test::run(context, http.open_stream(std::move(r)));
    if (!stream) throw std::runtime_error(stream.error().message);
    return {std::move(*stream), net::kube::watch_decoder{}};
  }
  /// nullopt: the stream has ended.
  std::optional<net::kube::watch_event> next(watcher& w) {
    while (w.taken == w.events.size()) {
      const auto part = test::run(context, w.stream->read_some(10s));
      if (!part) throw std::runtime_error(part.error().message);
      if (!*part) return std::nullopt;
      const auto ok = w.decoder.feed(**part, w.events);
      if (!ok) throw std::runtime_error(ok.error().message);
    }
    return w.events[w.taken++];
  }
  /// "ADDED name" and so on.
  std::string told(watcher& w) {
    const auto e = next(w);
    if (!e) return "END";
    static const char* words[] = {"ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"};
    return fmt::format("{} {}", words[static_cast<int>(e->type)], text_at(e->object, {"metadata", "name"}));
  }
  std::string revision() { return get(config_maps).at({"metadata", "resourceVersion"}); }
  static long version(const net::kube::watch_event& e) { return std::stol(text_at(e.object, {"metadata", "resourceVersion"})); }
};

TEST_F(Watch, TellsEveryChangeInOrder) {
  auto w = open("resourceVersion=" + revision());
  post(config_maps, config_map("a"));
  merge(config_maps + "/a", R"({"data":{"k":"v"}})");
  post(config_maps, config_map("b"));
  call("DELETE", config_maps + "/a");
  long last = 0;
  for (const auto* expected : {"ADDED a", "MODIFIED a", "ADDED b", "DELETED a"}) {
    EXPECT_EQ(told(w), expected);
    EXPECT_GT(version(w.events[w.taken - 1]), last);
    last = version(w.events[w.taken - 1]);
  }
}

TEST_F(Watch, ResumesWhereAnotherEnded) {
  post(config_maps, config_map("a"));
  const auto from = revision();
  post(config_maps, config_map("b"));
  call("DELETE", config_maps + "/b");
  auto w = open("resourceVersion=" + from);
  EXPECT_EQ(told(w), "ADDED b");
  EXPECT_EQ(told(w), "DELETED b");
}

TEST_F(Watch, WithoutARevisionBeginsWithWhatIsThere) {
  post(config_maps, config_map("a"));
  auto w = open("");
  post(config_maps, config_map("b"));
  EXPECT_EQ(told(w), "ADDED a");
  EXPECT_EQ(told(w), "ADDED b");
}

TEST_F(Watch, WhatLeavesTheSelectionIsDeletedAndWhatComesInIsAdded) {
  auto w = open("labelSelector=app%3Dx&resourceVersion=" + revision());
  post(config_maps, config_map("a", {{"app", "y"}}));
  merge(config_maps + "/a", R"({"metadata":{"labels":{"app":"x"}}})");
  merge(config_maps + "/a", R"({"data":{"k":"v"}})");
  merge(config_maps + "/a", R"({"metadata":{"labels":{"app":"y"}}})");
  merge(config_maps + "/a", R"({"metadata":{"labels":{"app":"x"}}})");
  for (const auto* expected : {"ADDED a", "MODIFIED a", "DELETED a", "ADDED a"}) EXPECT_EQ(told(w), expected);
}

TEST_F(Watch, TwoOfThemAreToldTheSame) {
  const auto from = revision();
  auto one = open("resourceVersion=" + from), two = open("resourceVersion=" + from);
  for (int i = 0; i < 30; ++i) {
    post(config_maps, config_map(fmt::format("m{}", i)));
    if (i % 3 == 0) call("DELETE", config_maps + fmt::format("/m{}", i));
  }
  for (int i = 0; i < 40; ++i) {
    const auto a = next(one), b = next(two);
    ASSERT_TRUE(a && b);
    EXPECT_EQ(a->type, b->type);
    EXPECT_EQ(a->object, b->object);
  }
}

TEST_F(Watch, OneThatEndsLeavesTheOthersAlone) {
  const auto from = revision();
  auto stays = open("resourceVersion=" + from);
  {
    auto leaves = open("resourceVersion=" + from);
    post(config_maps, config_map("a"));
    EXPECT_EQ(told(leaves), "ADDED a");
  }
  post(config_maps, config_map("b"));
  EXPECT_EQ(told(stays), "ADDED a");
  EXPECT_EQ(told(stays), "ADDED b");
}

TEST_F(Watch, FollowsAFieldToo) {
  const std::string path = "/api/v1/namespaces/default/pods";
  auto running = open("fieldSelector=status.phase%3DRunning&resourceVersion=" + revision(), path);
  auto one = open("fieldSelector=metadata.name%3Dp&resourceVersion=" + revision(), path);
  for (const auto* name : {"other", "p"})
    ASSERT_EQ(call("POST", path, fmt::format(R"({{"metadata":{{"name":"{}"}},"spec":{{"containers":[]}}}})", name)).status, 201);
  // The scheduler says that there is no node, when it gets round to it: not between the changes below.
  ASSERT_TRUE(eventually(path + "/p", [](const api_reply& pod) { return pod.text.find("Unschedulable") != std::string::npos; }));
  for (const auto* phase : {"Running", "Succeeded"})
    ASSERT_EQ(merge(path + "/p/status", fmt::format(R"({{"status":{{"phase":"{}"}}}})", phase)).status, 200);
  EXPECT_EQ(told(running), "ADDED p");
  EXPECT_EQ(told(running), "DELETED p");
  EXPECT_EQ(text_at(running.events.back().object, {"status", "phase"}), "Running") << "as it was last in view";
  EXPECT_EQ(told(one), "ADDED p");
}

TEST_F(Watch, ADeletionTellsTheLastStateAtTheRevisionOfTheDeletion) {
  post(config_maps, config_map("a", {}, {{"k", "v"}}));
  const auto before = revision();
  auto w = open("resourceVersion=" + before);
  call("DELETE", config_maps + "/a");
  const auto gone = next(w);
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->type, net::kube::watch_type::deleted);
  EXPECT_EQ(text_at(gone->object, {"data", "k"}), "v");
  EXPECT_GT(version(*gone), std::stol(before));
}

TEST_F(Watch, SeesItsNamespaceOnly) {
  const auto from = revision();
  auto here = open("resourceVersion=" + from);
  auto all = open("resourceVersion=" + from, "/api/v1/configmaps");
  post("/api/v1/namespaces/kube-system/configmaps", config_map("far"));
  post(config_maps, config_map("near"));
  EXPECT_EQ(told(here), "ADDED near");
  EXPECT_EQ(told(all), "ADDED far");
  EXPECT_EQ(told(all), "ADDED near");
}

TEST_F(Watch, SaysGoneWhenItsRevisionIsTooOld) {
  const auto from = revision();
  post(config_maps, config_map("a"));
  cluster->compact();
  const auto r = get(config_maps + "?watch=true&resourceVersion=" + from);
  EXPECT_EQ(r.status, 410);
  EXPECT_EQ(r.at({"reason"}), "Expired");
  EXPECT_EQ(get(config_maps + "?watch=true&resourceVersion=soon").status, 400);
}

TEST_F(Watch, SaysGoneWhenItsRevisionIsOfAnotherServer) {
  EXPECT_EQ(get(config_maps + "?watch=true&resourceVersion=1000000").status, 410);
}

TEST_F(Watch, ResumesHoweverMuchItMissed) {
  cluster_config config;
  config.watch_buffer = 4;
  start(std::move(config));
  const auto from = revision();
  for (int i = 0; i < 20; ++i) post(config_maps, config_map(fmt::format("m{:02}", i)));
  auto w = open("resourceVersion=" + from);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(told(w), fmt::format("ADDED m{:02}", i));
}

TEST_F(Watch, AnIdleOneCostsNothing) {
  cluster_config config;
  config.bookmark_interval = 1ms;
  start(std::move(config));
  auto w = open("resourceVersion=" + revision());
  // A hundred bookmark intervals, had it asked for bookmarks.
  const auto before = std::clock();
  asio::steady_timer later(context, 300ms);
  test::run(context, [](asio::steady_timer& t) -> asio::awaitable<void> { co_await t.async_wait(asio::use_awaitable); }(later));
  EXPECT_LT(static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC, 0.1) << "seconds of CPU time in 0.3 s";
}

TEST_F(Watch, EndsAfterItsTime) {
  auto w = open("timeoutSeconds=1&resourceVersion=" + revision());
  EXPECT_EQ(told(w), "END");
}

TEST_F(Watch, BookmarksTellHowFarItIs) {
  cluster_config config;
  config.bookmark_interval = 20ms;
  start(std::move(config));
  post(config_maps, config_map("a"));
  const auto now = revision();
  auto w = open("allowWatchBookmarks=true&resourceVersion=" + now);
  const auto mark = next(w);
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->type, net::kube::watch_type::bookmark);
  EXPECT_EQ(text_at(mark->object, {"metadata", "resourceVersion"}), now);
  EXPECT_EQ(text_at(mark->object, {"kind"}), "ConfigMap");
}

TEST_F(Watch, AWatcherTooFarBehindIsCutOff) {
  cluster_config config;
  config.watch_buffer = 4;
  start(std::move(config));
  auto w = open("resourceVersion=" + revision());
  // More than the sockets and the buffer hold, in one call of the store: nobody takes any meanwhile.
  std::string many;
  for (int i = 0; i < 50; ++i)
    many += fmt::format("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: m{}, namespace: default}}\n", i);
  apply(many);
  const auto read_all = [&] {
    while (next(w)) {
    }
  };
  EXPECT_THROW(read_all(), std::runtime_error) << "reset, not ended";
  EXPECT_EQ(get(config_maps + "/m49").status, 200) << "and the server goes on";
}

}  // namespace
}  // namespace inferno::testbed

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/support/net_reflector.hpp"

namespace inferno::net::kube {
namespace {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;
using testing::ElementsAre;
using reflector_test = test::reflector_fixture;

TEST_F(reflector_test, lists_and_then_watches_from_there) {
  api.put("a", 1);
  api.put("b", 1);
  start_watching();
  EXPECT_THAT(told, ElementsAre("=ab"));
  EXPECT_THAT(api.watches, ElementsAre(102));
  api.put("c", 1);
  api.put("a", 2);
  api.remove("b");
  until([&] { return told.size() == 4; });
  EXPECT_THAT(told, ElementsAre("=ab", "+c", "~a", "-b"));
  EXPECT_TRUE(state_is_the_servers());
  EXPECT_THAT(health, ElementsAre());
  EXPECT_EQ(api.lists.size(), 1u);
}

TEST_F(reflector_test, a_sink_that_throws_is_an_error_like_others_and_the_list_begins_anew) {
  api.put("a", 1);
  start_watching();
  sink_throws = true;
  api.put("b", 1);
  until([&] { return state_is_the_servers() && health.size() >= 2; });
  EXPECT_THAT(told, ElementsAre("=a", "=ab"));
  EXPECT_THAT(health, ElementsAre("0 watch pods: std::bad_alloc", "well"));
  api.put("c", 1);
  until([&] { return told.size() == 3; });
  EXPECT_EQ(told.back(), "+c");
}

TEST_F(reflector_test, an_empty_collection_is_told_too) {
  start_watching();
  EXPECT_THAT(told, ElementsAre("="));
}

TEST_F(reflector_test, tells_a_list_of_many_pages_as_one) {
  for (const char* name : {"a", "b", "c", "d", "e"}) api.put(name, 1);
  options.limit = 2;
  start_watching();
  EXPECT_THAT(told, ElementsAre("=abcde"));
  EXPECT_THAT(api.lists, ElementsAre("", "2", "4"));
  EXPECT_THAT(api.watches, ElementsAre(105));
}

// Anybody may make objects of a megabyte: a page of 500 is then more than is read, and nobody is watched any more.
TEST_F(reflector_test, asks_for_fewer_objects_at_once_where_they_are_too_large) {
  for (int i = 0; i < 130; ++i) api.put(fmt::format("{:03}", i), i);
  options.limit = 100;
  max_body = 6000;
  start_watching();
  EXPECT_TRUE(state_is_the_servers());
  EXPECT_GT(api.lists.size(), 4u);
  EXPECT_THAT(health, ::testing::Each("well"));
}

TEST_F(reflector_test, begins_a_list_anew_whose_continue_token_is_too_old) {
  for (const char* name : {"a", "b", "c"}) api.put(name, 1);
  options.limit = 2;
  api.expire_continue = true;
  start_watching();
  EXPECT_THAT(told, ElementsAre("=abc"));
  EXPECT_THAT(api.lists, ElementsAre("", "2", "", "2"));
}

TEST_F(reflector_test, resumes_after_a_cut_where_it_was) {
  api.put("a", 1);
  start_watching();
  api.put("b", 1);
  until([&] { return told.size() == 2; });
  api.cut();
  settle();
  api.put("c", 1);
  api.remove("a");
  until([&] { return told.size() == 4; });
  EXPECT_THAT(told, ElementsAre("=a", "+b", "+c", "-a"));
  EXPECT_THAT(api.watches, ElementsAre(101, 102));
  EXPECT_EQ(api.lists.size(), 1u);
  EXPECT_EQ(health.size(), 2u);
  EXPECT_EQ(health.back(), "well");
}

TEST_F(reflector_test, half_an_event_before_a_cut_is_told_once) {
  start_watching();
  api.put("a", 1);
  api.put("b", 1);
  api.put("c", 1);
  api.cut();  // in the middle of b
  until([&] { return told.size() == 4; });
  EXPECT_THAT(told, ElementsAre("=", "+a", "+b", "+c"));
  EXPECT_EQ(api.lists.size(), 1u);
}

TEST_F(reflector_test, a_watch_the_server_ends_is_opened_again) {
  start_watching();
  for (int i = 0; i < 5; ++i) {
    api.put("a", i);
    api.end();
    until([&] { return api.watches.size() == static_cast<std::size_t>(i) + 2; });
  }
  EXPECT_THAT(told, ElementsAre("=", "+a", "~a", "~a", "~a", "~a"));
  EXPECT_THAT(api.watches, ElementsAre(100, 101, 102, 103, 104, 105));
  EXPECT_EQ(api.lists.size(), 1u);
}

TEST_F(reflector_test, a_bookmark_moves_the_place_to_resume_from) {
  api.put("a", 1);
  start_watching();
  api.bookmark();
  settle();
  api.compact();  // without the bookmark this would cost a list
  api.cut();
  until([&] { return api.watches.size() == 2; });
  api.put("b", 1);
  until([&] { return told.size() == 2; });
  EXPECT_THAT(told, ElementsAre("=a", "+b"));
  EXPECT_THAT(api.watches, ElementsAre(101, 102));
  EXPECT_EQ(api.lists.size(), 1u);
}

TEST_F(reflector_test, lists_again_when_the_history_is_gone_so_that_deletions_show) {
  api.put("a", 1);
  api.put("b", 1);
  start_watching();
  api.watch_refusals = {{503, ""}};
  api.cut();
  until([&] { return api.watches.size() == 2; });
  api.remove("a");
  api.put("b", 2);
  api.put("c", 1);
  api.compact();
  until([&] { return told.size() == 2; });
  EXPECT_THAT(told, ElementsAre("=ab", "=bc"));
  EXPECT_TRUE(state_is_the_servers());
  until([&] { return api.watches.back() == 105; });
  api.put("d", 1);
  until([&] { return told.size() == 3; });
  EXPECT_EQ(told.back(), "+d");
  EXPECT_EQ(api.lists.size(), 2u);
}

TEST_F(reflector_test, takes_410_as_a_status_too) {
  api.put("a", 1);
  api.watch_refusals = {{410, ""}};
  start();
  until([&] { return api.watches.size() == 2; });
  EXPECT_THAT(told, ElementsAre("=a", "=a"));
}

TEST_F(reflector_test, does_not_list_in_a_busy_loop_when_every_watch_is_too_old) {
  config.backoff_min = config.backoff_max = 40ms;
  for (int i = 0; i < 1000; ++i) api.watch_refusals.push_back({410, ""});
  const auto began = clock::now();
  start();
  until([&] { return api.lists.size() >= 5; });
  EXPECT_GE(clock::now() - began, 4 * 20ms);
}

TEST_F(reflector_test, does_not_watch_in_a_busy_loop_when_every_watch_ends_at_once) {
  config.backoff_min = config.backoff_max = 40ms;
  for (int i = 0; i < 1000; ++i) api.watch_refusals.push_back({200, ""});
  const auto began = clock::now();
  start();
  until([&] { return api.watches.size() >= 5; });
  EXPECT_GE(clock::now() - began, 4 * 20ms);
}

TEST_F(reflector_test, waits_longer_and_longer_for_a_server_in_trouble) {
  config.backoff_min = 4ms;
  config.backoff_max = 16ms;
  for (int i = 0; i < 6; ++i) api.list_refusals.push_back({500, ""});
  const auto began = clock::now();
  start();
  until([&] { return told.size() == 1; });
  // At least half of 4, 8, 16, 16, 16 and 16 ms.
  EXPECT_GE(clock::now() - began, 38ms);
  EXPECT_EQ(api.lists.size(), 7u);
  EXPECT_THAT(health, ElementsAre("500 refused 500", "well")) << "said once, not for every attempt";
}

TEST_F(reflector_test, waits_as_long_as_retry_after_says) {
  api.list_refusals = {{429, "1"}};
  const auto began = clock::now();
  start();
  until([&] { return told.size() == 1; });
  EXPECT_GE(clock::now() - began, 1s);
  EXPECT_EQ(api.lists.size(), 2u);
  ASSERT_TRUE(last_error);
  EXPECT_EQ(last_error->status, 429);
  EXPECT_EQ(last_error->retry_after, 1000ms);
}

TEST_F(reflector_test, a_refused_watch_waits_for_retry_after_and_loses_nothing) {
  api.put("a", 1);
  api.watch_refusals = {{429, "0"}, {429, "3600"}};
  start();
  until([&] { return api.watches.size() == 2; });
  context.restart();
  context.run_for(50ms);  // the backoff alone would be over
  EXPECT_EQ(api.watches.size(), 2u);
  EXPECT_EQ(api.lists.size(), 1u);
  watcher->stop();  // does not wait for it
  settle();
  EXPECT_THAT(told, ElementsAre("=a"));
}

TEST_F(reflector_test, a_silent_watch_is_opened_again) {
  config.read_timeout = 20ms;
  api.put("a", 1);
  start();
  until([&] { return api.watches.size() == 3; });
  EXPECT_THAT(api.watches, ElementsAre(101, 101, 101));
  EXPECT_THAT(told, ElementsAre("=a"));
}

TEST_F(reflector_test, a_line_that_is_no_event_costs_nothing) {
  start_watching();
  api.put("a", 1);
  api.say("garbage\n");
  until([&] { return api.watches.size() == 2; });
  api.put("b", 1);
  until([&] { return told.size() == 3; });
  EXPECT_THAT(told, ElementsAre("=", "+a", "+b"));
  EXPECT_THAT(api.watches, ElementsAre(100, 101));
  EXPECT_EQ(api.lists.size(), 1u);
  ASSERT_TRUE(last_error);
  EXPECT_EQ(last_error->kind, error_kind::decode);
}

TEST_F(reflector_test, an_error_event_other_than_410_resumes) {
  start_watching();
  api.say("{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"etcd leader changed\"}}\n");
  until([&] { return api.watches.size() == 2; });
  EXPECT_EQ(api.lists.size(), 1u);
  EXPECT_EQ(health.front(), "500 etcd leader changed");
}

TEST_F(reflector_test, says_nothing_after_stop) {
  for (const std::size_t calls : {1u, 2u, 3u}) {
    stop_after = calls;
    told.clear();
    state.clear();
    seen_at = 0;
    const auto watches = api.watches.size();
    start();
    if (calls > 1) {
      until([&] { return api.watches.size() == watches + 1; });
      // All in one chunk: what follows the event at which the sink stops is known already.
      for (int i = 0; i < 5; ++i) api.put(fmt::format("{}-{}", calls, i), i);
    }
    until([&] { return told.size() >= calls; });
    settle();
    EXPECT_EQ(told.size(), calls);
    watcher.reset();
  }
  stop_after = 0;
  told.clear();
  start();
  watcher->stop();
  watcher->stop();
  watcher->start();
  settle();
  EXPECT_TRUE(told.empty());
  EXPECT_TRUE(health.empty());
}

TEST_F(reflector_test, may_be_destroyed_while_it_works) {
  start_watching();
  watcher.reset();
  api.put("a", 1);
  settle();
  EXPECT_THAT(told, ElementsAre("="));
}

}  // namespace
}  // namespace inferno::net::kube

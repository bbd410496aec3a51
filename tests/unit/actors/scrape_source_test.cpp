// A round of scrapes as a whole, of servers that do not answer.
#include "actors/scrape_source.hpp"

#include <gmock/gmock.h>

#include <boost/asio/io_context.hpp>

#include "net/http/server.hpp"
#include "tests/support/net_io.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
namespace asio = boost::asio;

TEST(ScrapeSource, ARoundEndsInTimeAndTheNextBeginsWithOthers) {
  asio::io_context context;
  test::event forever(context);
  std::size_t asked = 0;
  auto server = net::http_server::start(context.get_executor(), {}, [&](net::http_exchange& x) -> asio::awaitable<void> {
                  ++asked;
                  co_await forever.wait();
                  std::string body, type;
                  std::vector<net::http_header> none;
                  co_await x.respond(200, std::move(type), std::move(body), std::move(none));
                }).value();
  auto http = std::make_shared<net::http_client>(context.get_executor(), net::http_client_config{});
  scrape_source source(http, 1, 10s);
  std::vector<scrape_target> pods;
  for (const auto* name : {"a", "b", "c"}) pods.push_back({{"llm", name}, "m", "127.0.0.1", server->port()});
  const auto targets = std::make_shared<const std::vector<scrape_target>>(std::move(pods));
  for (const std::string first : {"a", "b", "c", "a"}) {
    std::shared_ptr<const collected_metrics> out;
    const auto before = asked;
    source.collect(targets, 100, 200ms, [&](auto m) { out = std::move(m); });
    test::run_until(context, [&] { return out != nullptr; });
    EXPECT_EQ(asked, before + 1);
    ASSERT_EQ(out->pods.size(), 3u);
    EXPECT_EQ(out->pods[0].pod.name, first);
    EXPECT_THAT(out->pods[0].problem, HasSubstr("timed out"));
    for (const int other : {1, 2}) EXPECT_EQ(out->pods[other].problem, "not asked: the others took 0.2 s");
  }
  forever.set();
  server->stop();
  context.restart();
  context.poll();
}

}  // namespace
}  // namespace inferno::actors::testing

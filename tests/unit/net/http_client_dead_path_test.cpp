// Kept connections whose path died without a word: neither end was told.
#include "net/http/client.hpp"
#include "tests/support/net_raw_server.hpp"

namespace inferno::net {
namespace {

using namespace std::chrono_literals;

TEST(http_client_dead_path, one_that_leads_nowhere_takes_the_others_with_it) {
  asio::io_context context;
  bool dead = false;
  int waiting = 0;
  asio::steady_timer both(context, asio::steady_timer::time_point::max());
  test::raw_server server(context, [&](test::tcp::socket& socket, int number) -> asio::awaitable<void> {
    std::string held;
    while (!(co_await test::receive(socket, held)).empty()) {
      // The first two requests wait for each other: two connections are kept.
      if (number < 2 && !dead && ++waiting < 2) co_await both.async_wait(test::nothrow);
      both.cancel();
      if (number < 2 && dead) continue;
      if (!co_await test::send(socket, test::ok("fine"))) co_return;
    }
  });
  http_client client(context.get_executor(), {});
  const auto ask = [&](std::chrono::milliseconds timeout) {
    http_request request;
    request.url = server.url();
    request.timeout = timeout;
    return client.request(std::move(request));
  };
  int answered = 0;
  for (int i = 0; i < 2; ++i)
    asio::co_spawn(context, ask(10s), [&](std::exception_ptr, result<http_response> r) { answered += r ? 1 : 0; });
  test::run_until(context, [&] { return answered == 2; });
  ASSERT_EQ(server.connections(), 2);

  dead = true;
  const auto lost = test::run(context, ask(100ms));
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().kind, error_kind::timeout);
  const auto next = test::run(context, ask(10s));
  ASSERT_TRUE(next) << next.error().message << ": by the other dead one";
  EXPECT_EQ(server.connections(), 3);
}

}  // namespace
}  // namespace inferno::net

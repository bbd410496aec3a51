#include <random>

#include "tests/support/net_reflector.hpp"

namespace inferno::net::kube {
namespace {

using namespace std::chrono_literals;

class reflector_faults_test : public test::reflector_fixture, public ::testing::WithParamInterface<unsigned> {};

TEST_P(reflector_faults_test, tells_every_change_once_and_ends_with_the_servers_state) {
  std::mt19937 dice(GetParam());
  const auto throw_below = [&](unsigned n) { return static_cast<int>(dice() % n); };
  options.limit = 3;
  config.backoff_min = 1ms;
  config.backoff_max = 4ms;
  config.jitter_seed = GetParam();
  start();
  for (int i = 0; i < 250; ++i) {
    const auto name = fmt::format("{}", static_cast<char>('a' + throw_below(8)));
    api.piece = throw_below(2) ? 7 : 1u << 20;
    if (throw_below(3) == 0 && api.objects.count(name)) {
      api.remove(name);
    } else {
      api.put(name, i);
    }
    switch (throw_below(24)) {
      case 0:
        api.cut();
        break;
      case 1:
        api.end();
        break;
      case 2:
        api.compact();
        break;
      case 3:
        api.compact();
        api.cut();
        break;
      case 4:
        api.watch_refusals.push_back({throw_below(2) ? 429 : 410, "0"});
        api.cut();
        break;
      case 5:
        api.list_refusals.push_back({503, ""});
        break;
      case 6:
        api.say("{\"type\":\n");
        break;
      case 7:
        api.bookmark();
        break;
      case 8:
        api.expire_continue = true;
        break;
      case 9:
        until([&] { return state_is_the_servers(); });
        break;
      default:
        test::run(context, test::yield_turns(throw_below(12)));
    }
  }
  until([&] { return state_is_the_servers(); });
  EXPECT_GT(api.watches.size(), 10u);
  EXPECT_GT(api.lists.size(), 3u);
}

INSTANTIATE_TEST_SUITE_P(seeds, reflector_faults_test, ::testing::Range(1u, 5u));

}  // namespace
}  // namespace inferno::net::kube

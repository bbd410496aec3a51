// What users get while samples lie: replicas, requests served within objectives, cost.
#include "served_fleet.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace inferno::testbed::testing {
namespace {

using ::testing::IsEmpty;

/// Removes every line of a family.
void drop_family(std::string& text, std::string_view family) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size() - 1) + 1;
    const std::string_view line(text.data() + at, end - at);
    if (line.find(family) == std::string_view::npos) out += line;
    at = end;
  }
  text = out;
}
/// Multiplies the value of the first sample whose line begins with `name`.
void scale_value(std::string& text, std::string_view name, double by) {
  const auto at = text.find("\n" + std::string(name) + "{");
  if (at == std::string::npos) return;
  const auto space = text.find("} ", at) + 2;
  const auto end = text.find('\n', space);
  text.replace(space, end - space, fmt::format("{}", by * std::stod(text.substr(space, end - space))));
}

/// One odd answer of a kind; false: none at all.
bool odd(std::string& text, int kind) {
  static constexpr std::string_view families[] = {"vllm:time_to_first_token_seconds", "vllm:request_success_total",
                                                  "vllm:request_generation_tokens",   "vllm:request_prompt_tokens",
                                                  "vllm:num_requests_running",        "vllm:inter_token_latency_seconds"};
  if (kind < 6) drop_family(text, families[kind]);
  if (kind == 6) text.resize(text.size() * 2 / 3);
  if (kind == 7) scale_value(text, "vllm:time_to_first_token_seconds_sum", 0.999);
  if (kind == 8) scale_value(text, "vllm:request_success_total", -1);
  if (kind == 9) text += text;
  if (kind == 10) scale_value(text, "vllm:request_success_total", 1000);
  if (kind == 11) scale_value(text, "vllm:num_requests_running", 1e6);
  if (kind == 12) text.clear();
  if (kind == 13) text = "<html>busy</html>";
  if (kind == 14) scale_value(text, "vllm:request_generation_tokens_sum", 1000);
  if (kind == 15) scale_value(text, "vllm:request_success_total", 0.5);
  return kind != 16;
}
constexpr int odd_kinds = 17;

/// Seconds in [from, to).
double draw(std::mt19937& random, double from, double to) { return std::uniform_real_distribution<double>(from, to)(random); }

fleet_options steady(unsigned seed, double share = 5.6) {
  fleet_options o;
  o.seed = seed;
  o.replicas = static_cast<int>(std::ceil(share));
  o.rate_per_s = [share](double) { return share * 7.0; };
  return o;
}
/// The rate in replicas' worth: `of` times what a replica takes within the objectives.
std::function<double(double)> worth(std::function<double(double)> of) {
  static const double one = served_fleet(steady(1)).replica_rate();
  return [of = std::move(of)](double t) { return of(t) * one; };
}

std::string metrics_message(const served_fleet& f) {
  for (const auto& c : f.status.at("conditions").as_array())
    if (c.at("type").as_string() == "MetricsAvailable")
      return fmt::format("{} {}: {}", std::string(c.at("status").as_string()), std::string(c.at("reason").as_string()),
                         std::string(c.at("message").as_string()));
  return {};
}

struct OddScrape : ::testing::TestWithParam<int> {};

// Any one pod's answer may be odd at any time; none of them is worth a replica.
TEST_P(OddScrape, ChangesNothing) {
  auto o = steady(7);
  o.rate_per_s = worth([](double) { return 5.6; });
  served_fleet f(o);
  f.tolerance_s = o.start_up_s;
  f.live(600);
  std::mt19937 random(static_cast<unsigned>(GetParam()));
  int left = 0;
  const served_pod* victim = nullptr;
  f.spoil = [&](const served_pod& p, std::string& text) { return left <= 0 || &p != victim || odd(text, GetParam()); };
  const auto before = f.outcome;
  f.live(2400, [&, next = 650.0](double t) mutable {
    left = t < next ? 0 : 1;
    if (t < next + 2) {
      victim = f.pods()[random() % f.pods().size()].get();
      return;
    }
    next = t + draw(random, 20, 80);
  });
  EXPECT_THAT(f.outcome.violations, IsEmpty()) << "odd answers of kind " << GetParam();
  EXPECT_LE(f.outcome.most, 8);
  EXPECT_GE(f.outcome.attainment(), 0.99) << f.outcome.text();
}
INSTANTIATE_TEST_SUITE_P(Kinds, OddScrape, ::testing::Range(0, odd_kinds));

// All pods' answers are odd at once, for a quarter of an hour under load: nothing is bought and nothing taken away.
struct OddFleet : ::testing::TestWithParam<int> {};
TEST_P(OddFleet, IsHeldWhereItIs) {
  auto o = steady(9);
  o.rate_per_s = worth([](double) { return 5.6; });
  served_fleet f(o);
  f.tolerance_s = o.start_up_s;
  f.live(600);
  // A counter that counts half of the requests from the first scrape to the last is not odd, and nothing tells.
  const bool consistent = GetParam() == 15;
  f.spoil = [&, twice = 0](const served_pod&, std::string& text) mutable {
    return (consistent && twice++ % 4 != 0) || odd(text, GetParam());
  };
  f.live(1500);
  f.spoil = nullptr;
  f.live(2100);
  EXPECT_THAT(f.outcome.violations, IsEmpty()) << "odd answers of kind " << GetParam();
  EXPECT_LE(f.outcome.most, 8);
  EXPECT_GE(f.outcome.attainment(), 0.99) << f.outcome.text();
}
INSTANTIATE_TEST_SUITE_P(Kinds, OddFleet, ::testing::Range(0, odd_kinds));

TEST(ServedFleet, StepsAreFollowedWithFewOrders) {
  fleet_options o;
  o.seed = 3;
  o.replicas = 2;
  o.rate_per_s = worth([](double t) { return t < 600 ? 1.6 : t < 2400 ? 9.6 : 2.6; });
  served_fleet f(o);
  f.tolerance_s = 1.5 * o.start_up_s;
  f.live(600);
  const int before = f.outcome.orders;
  f.live(630);
  EXPECT_GE(f.replicas(), f.needed(630)) << "half a minute after the step what it takes has been ordered";
  f.live(720);
  EXPECT_LE(f.outcome.orders - before, 3) << "each later order is a cold start more";
  f.live(4200);
  EXPECT_THAT(f.outcome.violations, IsEmpty());
  EXPECT_LE(f.outcome.most, 16);
  fmt::print("steps: {}\n", f.outcome.text());
}

// Clients that wait in vain hang up. What they leave behind is no token and a number that is counted as done, or with engines
// that do not tell of them nothing at all. Nevertheless the fleet becomes what it takes to serve everybody.
struct Impatient : ::testing::TestWithParam<std::tuple<bool, double, int>> {};
TEST_P(Impatient, ClientsThatHangUpAreReckonedWith) {
  const auto [tells, patience_s, replicas] = GetParam();
  fleet_options o;
  o.seed = 43;
  o.replicas = replicas;
  o.rate_per_s = worth([replicas = replicas](double t) { return t < 300 ? 0.8 * replicas : 9.6; });
  o.patience_s = patience_s;
  o.tells_of_aborted = tells;
  served_fleet f(o);
  f.live(400);
  const bool seen = metrics_message(f).find("clients seem to give up") != std::string::npos;
  if (!tells && patience_s < 5) {
    EXPECT_TRUE(seen) << metrics_message(f);
  }
  // Of the queue at first only twice what is served can be told; each doubling takes a start-up.
  f.live(300 + 5 * o.start_up_s);
  EXPECT_GT(f.outcome.given_up, 1000) << "or this test shows nothing";
  const auto before = f.outcome;
  f.live(1800);
  EXPECT_EQ(metrics_message(f).find("clients seem to give up"), std::string::npos) << metrics_message(f);
  EXPECT_GE(f.replicas(), f.needed(1800));
  EXPECT_LE(static_cast<double>(f.outcome.given_up - before.given_up),
            0.01 * static_cast<double>(f.outcome.arrived - before.arrived));
  EXPECT_GE(static_cast<double>(f.outcome.within - before.within),
            0.97 * static_cast<double>(f.outcome.finished - before.finished));
  EXPECT_LE(f.outcome.most, 12) << f.outcome.text();
}
INSTANTIATE_TEST_SUITE_P(Fleets, Impatient,
                         ::testing::Combine(::testing::Bool(), ::testing::Values(2.0, 5.0, 15.0), ::testing::Values(2, 3)));

TEST(ServedFleet, RestartsAndSilencesOfPods) {
  auto o = steady(11);
  o.rate_per_s = worth([](double) { return 7.6; });
  o.replicas = 8;
  served_fleet f(o);
  f.tolerance_s = o.start_up_s;
  std::mt19937 random(5);
  std::map<served_pod*, double> deaf_until;
  f.live(300);
  f.live(5400, [&, next = 400.0](double t) mutable {
    for (auto& p : f.pods()) p->deaf = deaf_until[p.get()] > t;
    if (t < next) return;
    next = t + draw(random, 30, 150);
    auto& p = *f.pods()[random() % f.pods().size()];
    if (random() % 3 == 0) {
      f.restart(p);
    } else {
      for (std::size_t i = 0; i < 1 + random() % 4; ++i)
        deaf_until[f.pods()[random() % f.pods().size()].get()] = t + draw(random, 5, 95);
    }
  });
  EXPECT_THAT(f.outcome.violations, IsEmpty());
  EXPECT_LE(f.outcome.most, 13);
  fmt::print("restarts and silences: {}\n", f.outcome.text());
}

// Readiness probes time out on busy servers, which go on with what they have and get more from clients that know them: at first
// they are asked and answer, later they do not.
TEST(ServedFleet, PodsWhoseProbesFailAreNotIdle) {
  auto o = steady(29);
  o.rate_per_s = worth([](double) { return 7.6; });
  o.replicas = 8;
  served_fleet f(o);
  f.tolerance_s = o.start_up_s;
  f.live(300);
  f.live(2400, [&](double t) {
    const bool failing = std::fmod(t, 600) < 400;
    for (std::size_t i = 1; i < f.pods().size() && i < 8; ++i) {
      f.pods()[i]->probe_fails = failing;
      f.pods()[i]->deaf = failing && t > 1200;
    }
  });
  EXPECT_THAT(f.outcome.violations, IsEmpty());
  EXPECT_LE(f.outcome.most, 13) << f.outcome.text();
  EXPECT_GE(f.outcome.least, 8) << f.outcome.text();
}

TEST(ServedFleet, StallsOfTheSourceAreNoBursts) {
  auto o = steady(13);
  o.rate_per_s = worth([](double) { return 5.6; });
  served_fleet f(o);
  f.tolerance_s = o.start_up_s;
  std::mt19937 random(5);
  f.live(3600, [&, next = 200.0, until = 0.0](double t) mutable {
    f.source_down = t < until;
    if (t < next) return;
    until = t + draw(random, 2, 42);
    next = until + draw(random, 10, 110);
  });
  EXPECT_THAT(f.outcome.violations, IsEmpty());
  EXPECT_LE(f.outcome.most, 9);
  EXPECT_GE(f.outcome.attainment(), 0.99) << f.outcome.text();
}

TEST(ServedFleet, ClumpsAreDrainedAndNotPlannedFor) {
  auto o = steady(17);
  o.rate_per_s = worth([](double) { return 3.6; });
  o.replicas = 4;
  o.clump = [](double) { return 20; };
  served_fleet f(o);
  f.live(3600);
  // Of ten clumps or so in a window the count is uncertain by a third.
  EXPECT_LE(f.outcome.most, 9) << f.outcome.text();
  fmt::print("clumps: {}\n", f.outcome.text());
}

// A gauge that wavers by itself is no arrival.
TEST(ServedFleet, WaveringGaugesAreNoArrivals) {
  auto o = steady(23);
  o.replicas = 2;
  o.rate_per_s = worth([](double) { return 0.6; });
  served_fleet f(o);
  f.live(120);
  f.spoil = [n = 0](const served_pod& p, std::string& text) mutable {
    const double wavers = p.core->running() + (n++ / 2 % 2 == 0 ? 8 : 0);
    const auto at = text.find("} ", text.find("\nvllm:num_requests_running{")) + 2;
    text.replace(at, text.find('\n', at) - at, fmt::format("{}", wavers));
    return true;
  };
  f.live(1200);
  EXPECT_LE(f.outcome.most, 2) << f.outcome.text();
}

// ---- counters of arrivals, where an engine has them ------------------------------------------------------------------------

/// Exports vllm:request_arrival_total; its value is up to the test.
void export_arrivals(std::string& text, double value) {
  text += fmt::format(
      "# TYPE vllm:request_arrival_total counter\nvllm:request_arrival_total{{engine=\"0\",model_name=\"default\"}} {}\n", value);
}

/// What the counter says by the true number of arrivals, and whether that is told to be wrong.
struct arrival_counter {
  const char* name;
  std::function<double(double arrived, double t)> says;
  bool named;
};
struct ArrivalCounter : ::testing::TestWithParam<arrival_counter> {};
TEST_P(ArrivalCounter, DoesNotMisleadTheFleet) {
  fleet_options o;
  o.seed = 33;
  o.replicas = 3;
  o.rate_per_s = worth([](double t) { return t < 900 ? 2.6 : t < 2400 ? 7.6 : 3.6; });
  served_fleet f(o);
  f.tolerance_s = 1.5 * o.start_up_s;
  f.spoil = [&](const served_pod& p, std::string& text) {
    export_arrivals(text, std::floor(GetParam().says(p.counters.arrived, f.now())));
    return true;
  };
  f.live(1400);
  EXPECT_EQ(metrics_message(f).find("vllm:request_arrival_total") != std::string::npos, GetParam().named) << metrics_message(f);
  EXPECT_EQ(metrics_message(f).substr(0, 17), "True MetricsFound");
  f.live(3600);
  EXPECT_THAT(f.outcome.violations, IsEmpty()) << f.outcome.text();
  EXPECT_LE(f.outcome.most, 13) << f.outcome.text();
}
const arrival_counter arrival_counters[] = {
    {"right", [](double n, double) { return n; }, false},
    {"always_zero", [](double, double) { return 0.0; }, true},
    {"stands_still", [](double n, double) { return std::min(n, 400.0); }, true},
    {"half_of_them", [](double n, double) { return n / 2; }, true},
    {"tenfold", [](double n, double) { return 10 * n; }, true},
    {"leaps", [](double n, double t) { return n + (t < 1000 ? 0 : 1e6); }, true},
};
INSTANTIATE_TEST_SUITE_P(Counters, ArrivalCounter, ::testing::ValuesIn(arrival_counters),
                         [](const auto& p) { return std::string(p.param.name); });

// Without the number of completed requests there is no load to go by, although it has a value.
TEST(ServedFleet, CompletionsThatStandStillHoldTheFleet) {
  auto o = steady(35);
  o.rate_per_s = worth([](double) { return 5.6; });
  served_fleet f(o);
  f.live(600);
  const int before = f.replicas();
  std::map<std::string, double> at;
  f.spoil = [&](const served_pod& p, std::string& text) {
    const auto from = text.find("} ", text.find("\nvllm:request_success_total{")) + 2;
    const auto end = text.find('\n', from);
    const double held = at.try_emplace(p.name, std::stod(text.substr(from, end - from))).first->second;
    text.replace(from, end - from, fmt::format("{}", held));
    return true;
  };
  f.outcome.least = before;
  f.live(1500);
  EXPECT_GE(f.outcome.least, before) << f.outcome.text();
  EXPECT_NE(metrics_message(f).find("vllm:request_success_total"), std::string::npos) << metrics_message(f);
}

// Everything at once: rates that step at random, and pods that restart, are replaced, fall silent, fail their probes or answer
// oddly, sources that stall.
struct FleetUnderFire : ::testing::TestWithParam<unsigned> {};
TEST_P(FleetUnderFire, HasWhatItNeeds) {
  std::mt19937 random(GetParam());
  fleet_options o;
  o.seed = GetParam();
  constexpr double step_s = 900, end_s = 5 * step_s;
  std::vector<double> shares;
  for (double t = 0; t <= end_s; t += step_s) shares.push_back(std::exp(draw(random, std::log(0.3), std::log(14))));
  o.replicas = static_cast<int>(std::ceil(shares[0]));
  o.rate_per_s = worth([=](double t) { return shares[static_cast<std::size_t>(t / step_s)]; });
  served_fleet f(o);
  // While pods are silent nothing goes, and a restart or an odd answer is looked at twice: down takes its time.
  f.tolerance_s = 4 * o.start_up_s;
  double down_until = 0, next = 60;
  std::map<const served_pod*, std::pair<double, int>> odd_until;
  std::map<const served_pod*, double> deaf_until, unready_until;
  std::string story;
  f.spoil = [&](const served_pod& p, std::string& text) {
    const auto it = odd_until.find(&p);
    return it == odd_until.end() || f.now() > it->second.first || odd(text, it->second.second);
  };
  f.live(end_s - 1, [&](double t) {
    f.source_down = t < down_until;
    for (auto& p : f.pods()) {
      p->deaf = t < deaf_until[p.get()];
      p->probe_fails = t < unready_until[p.get()];
    }
    if (t < next) return;
    next = t + draw(random, 20, 120);
    const auto pick = [&]() -> served_pod& { return *f.pods()[random() % f.pods().size()]; };
    auto& p = pick();
    const auto what = random() % 6;
    int kind = static_cast<int>(random() % odd_kinds);
    if (kind == 15) kind = 16;  // half of a counter, and consistently, is no fault that shows
    story += fmt::format("{:.0f} s: {} {} {}\n", t, what, p.name, kind);
    if (what == 0 && t > p.ready_at_s) f.restart(p);
    if (what == 1) f.roll(p);
    if (what == 2) down_until = t + draw(random, 2, 40);
    if (what == 3) odd_until[&p] = {t + draw(random, 1, 40), kind};
    if (what == 4) deaf_until[&p] = t + draw(random, 5, 60);
    if (what == 5)
      for (std::size_t i = 0; i < f.pods().size(); ++i) unready_until[&pick()] = t + draw(random, 5, 60);
  });
  EXPECT_THAT(f.outcome.violations, IsEmpty()) << story << f.outcome.text() << ::testing::PrintToString(shares);
  EXPECT_LE(f.outcome.most, 1.5 * std::ceil(*std::max_element(shares.begin(), shares.end())) + 2) << story;
}
INSTANTIATE_TEST_SUITE_P(Seeds, FleetUnderFire, ::testing::Values(1, 2, 3, 5, 21, 41, 55, 119));

// Nothing but the servers themselves tells of requests here, so a fleet that may go to zero keeps the one that takes the next.
TEST(ServedFleet, ThatNothingCouldWakeIsThereWhenRequestsAreBack) {
  fleet_options o;
  o.seed = 37;
  o.replicas = 3;
  o.extra_spec = R"(,"minReplicas":0)";
  o.rate_per_s = worth([](double t) { return t < 300 || t > 1800 ? 2.6 : 0.0; });
  served_fleet f(o);
  f.live(1790);
  EXPECT_EQ(f.replicas(), 1);
  const auto before = f.outcome.finished;
  f.live(2400);
  EXPECT_GE(f.replicas(), 3);
  EXPECT_GT(f.outcome.finished - before, 3000) << f.outcome.text();
}

// Engines that hang, with full batches and requests waiting: whatever completes, they are needed.
TEST(ServedFleet, FrozenServersAreNotScaledAway) {
  auto o = steady(19);
  o.rate_per_s = worth([](double t) { return t < 600 || t > 1500 ? 5.6 : 0.0; });
  served_fleet f(o);
  f.live(598);
  const int before = f.replicas();
  int busy = 0;
  for (auto& p : f.pods()) {
    p->frozen_until_s = 1500;
    busy += p->core->running() > 0;
  }
  ASSERT_GT(busy, 4);
  f.outcome.least = before;
  f.live(1490);
  int in_flight = 0;
  for (auto& p : f.pods()) in_flight += p->core->running() + p->core->waiting();
  EXPECT_GE(f.outcome.least, std::min(before, static_cast<int>(std::ceil(in_flight / (1.0 * served_fleet::batch)))))
      << f.outcome.text();
  EXPECT_GT(in_flight, 32);
}

}  // namespace
}  // namespace inferno::testbed::testing

// The same seed gives the same trace, byte for byte, of a fleet's life with everything that can happen to it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "actors/plan_text.hpp"
#include "cluster.hpp"

namespace inferno::actors::testing {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

/// One story drawn from a seed: several variants under changing load, with faults of the cluster and of the controller itself.
class story {
 public:
  explicit story(unsigned seed)
      : draw_(seed), w_([](supervisor_config& s) {
          s.election.emplace();
          s.election->identity = "me";
          std::dynamic_pointer_cast<fake_api>(s.api)->lists = true;
        }) {
    std::vector<json::object> variants;
    for (const auto& n : names_) {
      variants.push_back(va_json("llm", n));
      rates_[n] = 10;
    }
    populate(w_, names_, std::move(variants));
    load_each(w_, rates_);
    w_.advance(30s);
  }

  std::string tell(int chapters) {
    for (int i = 0; i < chapters; ++i) {
      happen();
      w_.advance(std::chrono::milliseconds(1000 + 10 * below(1200)));
      plans_ += plan_text(w_.view->plan().get(), text_format::json);
    }
    std::string out = w_.trace();
    for (const auto& c : w_.api->calls)
      out +=
          fmt::format("{:.2f} {} {}/{} {} {}\n", c.at_s, c.verb, c.plural, c.subresource, c.succeeded, json::serialize(c.body));
    return out + plans_;
  }

 private:
  int below(int n) { return static_cast<int>(draw_() % static_cast<unsigned>(n)); }
  const std::string& someone() { return names_[static_cast<std::size_t>(below(static_cast<int>(names_.size())))]; }

  void happen() {
    const auto& name = someone();
    const auto member = fleet_of(w_).members.find({"llm", name});
    switch (below(10)) {
      case 0:
        return w_.api->fail("patch", "deployments", 503, 1 + below(3));
      case 1:
        return w_.api->fail("patch", "variantautoscalings", 409);
      case 2:
        if (member != fleet_of(w_).members.end()) kill(w_, member->second.analyzer);
        return;
      case 3:
        if (member != fleet_of(w_).members.end()) kill(w_, member->second.actuator);
        return;
      case 4:
        return w_.changed("variantautoscalings",
                          va_json("llm", name, "", "default", below(2) ? "20.58" : "broken", ++generation_));
      case 5:
        return w_.changed("configmaps", settings_json({{"GLOBAL_OPT_INTERVAL", fmt::format("{}s", 5 + below(60))},
                                                       {"GLOBAL_OPT_TRIGGER", below(2) ? "true" : "false"}}));
      case 6:
        return w_.changed("nodes", node_json("n1", "nvidia", "NVIDIA-A100-PCIE-80GB", 6 + below(20)));
      default:
        rates_[name] = below(120);
        // A silent pod now and then.
        const auto silent = below(4) ? std::string() : someone() + "-0";
        return load_each(w_, rates_, [silent](const pod_sample& s) { return s.pod.name != silent; });
    }
  }

  std::mt19937 draw_;
  const std::vector<std::string> names_{"ada", "bob", "cyd", "dee", "eve"};
  std::map<std::string, double> rates_;
  int generation_ = 1;
  std::string plans_;
  world w_;
};

std::string trace_of(unsigned seed) { return story(seed).tell(60); }

class Determinism : public ::testing::TestWithParam<unsigned> {};

TEST_P(Determinism, SameSeedSameTrace) {
  const auto first = trace_of(GetParam());
  const auto again = trace_of(GetParam());
  // Not EXPECT_EQ: on failure it would print both traces.
  const auto differ = std::mismatch(first.begin(), first.end(), again.begin(), again.end());
  EXPECT_TRUE(first == again) << "first difference: " << std::string(differ.first, std::min(differ.first + 200, first.end()));
  EXPECT_THAT(first, HasSubstr("Patched Deployment"));
  EXPECT_THAT(first, HasSubstr("Actor of a variant died"));
  EXPECT_THAT(first, HasSubstr("API call failed"));
}

INSTANTIATE_TEST_SUITE_P(Seeds, Determinism, ::testing::Values(1u, 2u, 3u, 42u));

TEST(DeterminismOfSeeds, AnotherSeedIsAnotherStory) { EXPECT_TRUE(trace_of(1) != trace_of(2)); }

}  // namespace
}  // namespace inferno::actors::testing

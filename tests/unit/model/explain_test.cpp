// What an explanation says when maxReplicas cut what other targets would need.
#include "model/explain.hpp"

#include <gtest/gtest.h>

#include "model/system_json.hpp"

namespace inferno::model {
namespace {

TEST(Explain, SaysThatMaxReplicasCutTighterTargets) {
  const accelerator a100{"A100", "NVIDIA-A100", 1, {40}};
  const model_profile profile{"default", "A100", 1, 4, 0, linear_profile{20.58, 0.41, 0, 0, false}, {}};
  server_spec server;
  server.name = "v";
  server.model = "default";
  server.current.accelerator = "A100";
  server.current.num_replicas = 2;
  server.current.cost = {80};
  server.current.load = {req_rate::per_min(44), 0, 178};
  variant_view view;
  view.server = &server;
  view.slo = {24, 0, 500, 0};
  view.options = {{&a100, &profile}};
  const auto standing = [](const accelerator& acc) { return type_standing{acc.type, -1, 0, 0}; };
  const auto needed = [&](double factor) {
    auto other = view;
    other.slo.itl_ms *= factor;
    other.slo.wait_p95_ms *= factor;
    return make_candidates(other).candidates.front().num_replicas;
  };
  server.current.load.arrival_rate = req_rate::per_min(400);
  const int tight = needed(0.9), now = needed(1);
  ASSERT_GT(tight, now);
  server.max_replicas = now;
  const auto e = explain_variant(view, make_candidates(view).candidates.front(), "Optimized", standing);
  const auto limited = "not met: maxReplicas allows " + std::to_string(now) + ", " + std::to_string(tight) + " are needed";
  EXPECT_EQ(e.slo_changes[0].reason, limited);
  EXPECT_EQ(e.slo_changes[1].reason, "");
  EXPECT_NE(explanation_table(e).find(limited), std::string::npos) << explanation_table(e);
  EXPECT_NE(explanation_json(e).find(limited), std::string::npos);
}

}  // namespace
}  // namespace inferno::model

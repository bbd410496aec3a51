// What the controller holds in memory: without variants, and with a thousand of them whose servers report.
#include "tests/support/memory.hpp"

#include "tests/integration/rig.hpp"

namespace inferno::test {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

TEST(Memory, IdleAndWithAThousandVariants) {
  constexpr int number = 1000;
  rig r({.manifests = {settings("5s", "20s", "20s", ", MODEL_POOLS: \"false\""), R"(
apiVersion: v1
kind: Node
metadata: {name: large, labels: {nvidia.com/gpu.product: NVIDIA-A100-PCIE-80GB, nvidia.com/gpu.memory: "81920"}}
status:
  capacity: {nvidia.com/gpu: "2000", cpu: "4000", memory: 9Ti, pods: "4000"}
  allocatable: {nvidia.com/gpu: "2000", cpu: "4000", memory: 9Ti, pods: "4000"}
)"}});
  r.start_controller({"--metrics-source", "scrape", "--scrape-interval", "5s", "--kube-api-qps", "0"});
  if (HasFatalFailure()) return;
  ASSERT_TRUE(eventually(20s, [&] { return r.logged("Reconciliation completed") || r.logged("Leading"); }))
      << r.controller->output();
  const auto idle = resident_mib(r.controller->pid());

  const auto deployment = testbed::sample_deployment(40);
  for (int i = 0; i < number; ++i) {
    const auto name = fmt::format("v{:04}", i);
    for (const auto& text : {deployment, std::string(testbed::embedded::sample_variant)})
      r.apply(replaced(replaced(text, "vllme-deployment", name), "app: vllme", "app: " + name));
    if (HasFatalFailure()) return;
  }
  const auto optimized = [&] {
    const auto got = http_get(r.metrics_url + "/metrics");
    const std::string series = "\ninferno_variants_by_reason{reason=\"Optimized\"} ";
    const auto at = got ? got->body.find(series) : std::string::npos;
    return at == std::string::npos ? 0 : std::stoi(got->body.substr(at + series.size()));
  };
  int n = 0;
  ASSERT_TRUE(eventually(120s, [&] { return (n = optimized()) == number; })) << n << "\n"
                                                                             << r.controller->output().substr(0, 20000);
  const auto full = resident_mib(r.controller->pid());
  fmt::print("resident: {:.1f} MiB without variants, {:.1f} MiB with {} whose servers report\n", idle, full, number);
  RecordProperty("idle_mib", fmt::format("{:.1f}", idle));
  RecordProperty("thousand_mib", fmt::format("{:.1f}", full));
  EXPECT_GT(idle, 1);
  EXPECT_GT(full, idle);
  if (frees_memory) {
    EXPECT_LT(idle, 40);
    // The manifests' request is 64 MiB, their limit 512.
    EXPECT_LT(full, 128);
  }
}

}  // namespace
}  // namespace inferno::test

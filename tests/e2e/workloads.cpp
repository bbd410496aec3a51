#include "tests/e2e/workloads.hpp"

#include "testbed/samples.hpp"

namespace inferno::test {

std::string with(std::string text, const std::string& what, const std::string& by) {
  const auto at = text.find(what);
  if (at == std::string::npos) throw std::logic_error("no " + what);
  return text.replace(at, what.size(), by);
}

std::string movable_deployment(const scene& s, int replicas) {
  auto text = testbed::sample_deployment(40);
  text = with(text, "llm-d-sim", s.ns);
  text = with(text, "vllme-deployment", "vllme");
  text = with(text, "replicas: 1", fmt::format("replicas: {}", replicas));
  text =
      with(text, "- {name: AVG_TOKENS", "- {name: TOKENS_DISTRIBUTION, value: deterministic}\n            - {name: AVG_TOKENS");
  text = with(text, "20.58", "7.77");
  return with(text, "0.41", "0.15");
}

std::string group_pod(const scene& s) {
  return fmt::format(R"(
apiVersion: v1
kind: Pod
metadata: {{name: group-0, namespace: {}, labels: {{app: group, leaderworkerset.sigs.k8s.io/worker-index: "0"}}}}
spec:
  nodeSelector: {{nvidia.com/gpu.product: NVIDIA-A100-PCIE-80GB}}
  containers:
    - name: vllme
      image: inferno-testbed:latest
      args: ["vllm", "--address", "0.0.0.0"]
      ports: [{{name: http, containerPort: 8000}}]
      env: [{{name: MODEL_NAME, value: default}}, {{name: ALPHA, value: "20.58"}}, {{name: BETA, value: "0.41"}}, {{name: MAX_BATCH_SIZE, value: "4"}}, {{name: AVG_TOKENS, value: "40"}}]
      resources: {{limits: {{nvidia.com/gpu: "1"}}}}
)",
                     s.ns);
}

void allow_moves(const scene& s) {
  s.configure(
      "accelerator-unit-costs",
      {{"MI300X", R"({"device":"AMD-MI300X-192G","cost":"65.00","nodeSelector":{"amd.com/gpu.product":"AMD-MI300X-192G"},)"
                  R"("resource":"amd.com/gpu"})"}});
}

}  // namespace inferno::test

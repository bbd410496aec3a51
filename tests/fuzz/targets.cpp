#include "tests/fuzz/fuzz.hpp"

namespace inferno::fuzz {

const std::vector<target>& targets() {
  static const std::vector<target> all{{"watch_decoder", watch_decoder}, {"exposition", exposition},
                                       {"kube_objects", kube_objects},   {"config_maps", config_maps},
                                       {"system_json", system_json},     {"kubeconfig", kubeconfig},
                                       {"http_routes", http_routes},     {"prometheus_answer", prometheus_answer}};
  return all;
}

}  // namespace inferno::fuzz

#pragma once
// One test's part of a real cluster: namespaces, nodes, service account and ConfigMaps of its own, and the controllers it starts.
// What all tests of a process share: the servers, the emulated kubelets with their vLLM servers, Prometheus.
#include <gtest/gtest.h>

#include "testbed/load/load_generator.hpp"
#include "testbed/nodes/node_emulator.hpp"
#include "testbed/vllm/vllm_runtime.hpp"
#include "tests/e2e/real_cluster.hpp"
#include "tests/support/prometheus.hpp"

namespace inferno::test {

/// The text of a file of the repository.
std::string repository_file(const std::string& path);

/// An inference gateway, as far as Prometheus sees it: requests that wait in its queues.
class gateway {
 public:
  explicit gateway(asio::any_io_executor executor);
  void queue(const std::string& ns, const std::string& model, double size);
  std::string address() const { return server_->address(); }

 private:
  struct queues;
  std::shared_ptr<queues> queues_;
  std::unique_ptr<net::http_server> server_;
};

struct stage {
  temp_folder folder;
  real_cluster cluster;
  std::shared_ptr<testbed::host> where = std::make_shared<testbed::host>();
  std::shared_ptr<testbed::vllm_runtime> servers = std::make_shared<testbed::vllm_runtime>(where);
  std::unique_ptr<testbed::node_emulator> kubelets;
  gateway waiting{where->io().executor()};
  std::unique_ptr<prometheus> metrics;

  stage();
  /// The one of this process, made at the first call and ended before main() returns.
  static stage& get();
};

/// Nodes of one kind of GPU.
struct gpu_nodes {
  std::string vendor, product;
  int nodes = 1, gpus = 2;
};

struct variant_options {
  std::string name = "vllme";
  std::string accelerator = "A100";
  std::string model = "default";
  std::string cls = "Premium";
  std::string extra_spec{};   ///< YAML lines of the spec, each with two spaces in front
  std::string annotations{};  ///< "key: value" in flow style
  std::string labels{};       ///< likewise, besides the accelerator's
};
struct deployment_options {
  std::string name = "vllme";
  int replicas = 1;
  int tokens = 40;
  std::string accelerator = "A100";  ///< whose speed the servers have
  std::string model = "default";
  bool random_lengths = false;  ///< of the answers, with that mean
};

/// A patch of a target's scale, as a controller's log tells it.
struct scaling {
  std::chrono::milliseconds at;  ///< since the epoch
  long from = 0, to = 0;
  bool up() const { return to > from; }
};

class scene {
 public:
  explicit scene(std::vector<gpu_nodes> nodes = {{"nvidia", "NVIDIA-A100-PCIE-80GB", 1, 4}});
  ~scene();
  scene(const scene&) = delete;
  scene& operator=(const scene&) = delete;

  /// The settings ConfigMap, with these entries in flow style besides short times.
  void settings(const std::string& more = {});
  /// Entries of one of the controller's ConfigMaps, beside those it has.
  void configure(const std::string& map, const json::object& entries) const;
  void deployment(const deployment_options& o = {}, const std::string& in = {});
  void variant(const variant_options& o = {}, const std::string& in = {});
  std::string variant_yaml(const variant_options& o, const std::string& in = {}) const;
  /// `inferno controller` as the service account, with these flags besides; waits until it has synced.
  child& start_controller(std::vector<std::string> more = {}, const std::string& api_url = {});
  /// Without Prometheus: seconds sooner.
  child& start_scraping_controller(std::vector<std::string> more = {}, const std::string& api_url = {});
  std::string log(std::size_t controller = 0) const { return controllers.at(controller)->output(); }
  bool logged(const std::string& part, std::size_t controller = 0) const {
    return log(controller).find(part) != std::string::npos;
  }
  std::string log_line(const std::string& part, std::size_t controller = 0) const;
  std::size_t count_logged(const std::string& part, std::size_t controller = 0) const;
  /// How a Deployment was scaled, oldest first.
  std::vector<scaling> scalings(const std::string& name = "vllme", const std::string& in = {}, std::size_t controller = 0) const;
  std::string address(const std::string& what, std::size_t controller = 0) const;  ///< "metrics" or "probes": http://...
  /// What the controller answers there; status 0 when it does not.
  net::http_response http(const std::string& what, const std::string& path, std::size_t controller = 0) const;
  /// The value of a variant's series on /metrics, if it is there.
  std::optional<double> metric(const std::string& series, const std::string& name = "vllme", const std::string& in = {},
                               std::size_t controller = 0) const;
  /// Two whole cycles from now on: whatever the present inputs lead to has been decided. False when they do not come.
  bool cycles_pass(std::size_t controller = 0) const;

  json::object get(const std::string& kind, const std::string& name, const std::string& in = {}) const;
  json::object va(const std::string& name = "vllme", const std::string& in = {}) const {
    return get("VariantAutoscaling", name, in);
  }
  long replicas(const std::string& name = "vllme", const std::string& in = {}) const;
  long ready(const std::string& name = "vllme", const std::string& in = {}) const;
  long desired(const std::string& name = "vllme", const std::string& in = {}) const;
  /// Changes of the Deployment's spec, its creation counted: one more with each patch of its scale.
  long generation(const std::string& name = "vllme", const std::string& in = {}) const;
  /// "True Reason: message", "" when it is not there.
  std::string condition(const std::string& type, const std::string& name = "vllme", const std::string& in = {}) const;
  bool is(const std::string& type, const std::string& prefix, const std::string& name = "vllme",
          const std::string& in = {}) const {
    return condition(type, name, in).rfind(prefix, 0) == 0;
  }
  void patch(const std::string& kind, const std::string& name, const json::value& body, const std::string& in = {}) const;
  void remove(const std::string& kind, const std::string& name, const std::string& in = {},
              const std::string& propagation = "Background") const;
  /// A pod of nobody's that holds this many A100s.
  void foreign_pod(const std::string& name, int gpus, const std::string& in = {}) const;
  /// Waits until the variant is optimized with `n` replicas.
  bool settles(long n, const std::string& name = "vllme", std::chrono::seconds limit = std::chrono::seconds(40));
  std::string more_namespace();  ///< another one for workloads
  std::string node(std::size_t i) const { return nodes_.at(i); }
  void add_nodes(const gpu_nodes& n);

  /// Poisson load on the servers of the pods whose name begins with `name`, unless `tune` changes that.
  std::unique_ptr<testbed::load_generator> load(double per_minute, const std::string& name = "vllme", const std::string& in = {},
                                                const std::string& model = "default",
                                                const std::function<void(testbed::load_config&)>& tune = {});

  stage& all = stage::get();
  real_cluster& cluster = all.cluster;
  std::string system_ns, ns;
  temp_folder folder;
  std::string token_file;
  /// For load(): as even as it can be, for tests that count scale patches.
  static void evenly(testbed::load_config& c) { c.mode = testbed::arrival_mode::deterministic; }
  std::vector<std::unique_ptr<child>> controllers;

  /// The manifests of deploy/ for this scene's namespaces; cluster-wide objects get names of their own.
  std::string replaced(std::string text) const;

 private:
  std::vector<std::string> namespaces_;
  std::vector<std::string> nodes_;
};

}  // namespace inferno::test

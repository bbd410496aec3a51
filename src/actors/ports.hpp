#pragma once
// What the actors need from outside, as interfaces: the real ones talk over the network, the tests' are fakes.
// Calls never block; completions come on a thread of the port's own, so actors pass completions that only anon_send.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "actors/domain.hpp"
#include "net/kube/client.hpp"

namespace inferno::actors {

namespace json = boost::json;
namespace kube = net::kube;

class kube_api {
 public:
  virtual ~kube_api() = default;
  using object_done = std::function<void(net::result<json::object>)>;

  /// A running watch; ends when destroyed.
  class subscription {
   public:
    virtual ~subscription() = default;
  };
  virtual std::unique_ptr<subscription> watch(const kube::resource& res, kube::list_options options,
                                              kube::reflector_sink sink) = 0;
  virtual void get(const kube::resource& res, kube::object_key key, std::string subresource, kube::lane where,
                   object_done done) = 0;
  /// GET of a path of the API's discovery, "/apis/apps/v1".
  virtual void get_path(std::string path, object_done done) = 0;
  virtual void create(const kube::resource& res, std::string ns, json::object object, object_done done) = 0;
  virtual void replace(const kube::resource& res, kube::object_key key, json::object object, object_done done) = 0;
  virtual void merge_patch(const kube::resource& res, kube::object_key key, json::value body, std::string subresource,
                           object_done done) = 0;
  using clock = std::chrono::steady_clock;
  static constexpr auto always = clock::time_point::max(), never = clock::time_point::min();
  /// From `until` on no write is begun any more: those that wait for the rate limit end with error `cancelled`, at once if the
  /// time has passed, and so do those asked for later. Leases are exempt, as they decide about it. `always` at first.
  /// Thread-safe, takes effect before it returns.
  virtual void allow_writes(clock::time_point until) = 0;
  /// The same for good: nothing opens it again.
  virtual void end_writes() = 0;
  /// Writes that have been sent, or are about to be, and not answered. Those that wait for the rate limit are not among them.
  virtual int writes_in_flight() const = 0;
};

/// A ready pod of a variant, to be asked for metrics.
struct scrape_target {
  kube::object_key pod;
  std::string model;
  std::string ip;
  int port = 0;
};

/// Over which time a pod's figures were gathered, and what they are. A pod with several servers has a sample for each.
struct pod_sample {
  kube::object_key pod;
  load_sample load;         ///< pods and pods_reporting unused; span_s = 0: nothing has been counted since the last sample
  std::string problem;      ///< not empty: the sample is unusable
  std::string server{};     ///< which of the pod's, "" = its only one
  bool whole_life = false;  ///< the counts are all the server has ever served
};
/// Requests that wait at the inference gateway, where no server could take them yet. A queue that is known is there with size 0
/// too.
struct gateway_queue {
  std::string ns;  ///< "" = not known: of every namespace
  std::string model;
  double size = 0;
};
struct collected_metrics {
  std::vector<pod_sample> pods;
  std::vector<gateway_queue> queues;
  std::string problem;    ///< the source as a whole failed
  std::string warning{};  ///< it works, but not as it is told to
};

/// Prometheus, or the pods themselves.
class metrics_source {
 public:
  virtual ~metrics_source() = default;
  virtual std::string_view name() const = 0;
  /// Whether its answers have the queues of gateways, where there are any.
  virtual bool shows_gateways() const { return true; }
  /// Asks for all targets at once; there may be none, and pods not among the targets may be in the answer. `now_s` is the steady
  /// clock's time, which the samples refer to. `done` is called once, whatever happens, and not much later than `allowed`: what
  /// has not been answered by then has failed.
  virtual void collect(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s, std::chrono::milliseconds allowed,
                       std::function<void(std::shared_ptr<const collected_metrics>)> done) = 0;
  /// PROMETHEUS_BASE_URL or the rate window changed. A source that has no use for them ignores the call.
  virtual void configure(const runtime_settings& settings) = 0;
};

/// Wall-clock time, for what people read: status, events, conditions.
using wall_clock = std::function<std::chrono::system_clock::time_point()>;

}  // namespace inferno::actors

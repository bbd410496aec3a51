#pragma once
// Kubernetes API client: typed by resource, untyped in the objects (JSON).
#include <boost/asio/awaitable.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/error.hpp"
#include "net/http/client.hpp"
#include "net/tls_files.hpp"

namespace inferno::net::kube {

namespace json = boost::json;

/// A resource kind's place in the API.
struct resource {
  std::string group;  ///< "" = core
  std::string version;
  std::string plural;
  std::string kind;
  bool namespaced = true;
  bool operator==(const resource&) const = default;
};
namespace resources {
extern const resource pods, nodes, configmaps, events, deployments, statefulsets, replicasets, horizontalpodautoscalers, leases,
    variantautoscalings, crds, namespaces, tokenreviews, subjectaccessreviews;
}

struct object_key {
  std::string ns;  ///< "" = cluster-scoped
  std::string name;
  auto operator<=>(const object_key&) const = default;
};

struct list_options {
  std::string ns{};  ///< "" = all namespaces
  std::string label_selector{};
  std::string field_selector{};
  std::size_t limit = 500;
};
struct list_page {
  std::vector<json::object> items;
  std::string resource_version;
  std::string next;  ///< continue token, "" at the end
};

enum class watch_type { added, modified, deleted, bookmark, error };
struct watch_event {
  watch_type type = watch_type::error;
  json::object object;  ///< for `error` the Status object
};

/// Access to an API server.
struct connection {
  std::string url;  ///< http(s)://host:port, no trailing slash needed
  /// Called for every request, so a rotated token is used at once; "" or empty function = no Authorization header.
  std::function<std::string()> bearer_token{};
  tls_options tls{};
  tls_paths tls_files{};  ///< where the texts of `tls` come from, so that they can be read again when the files change
  /// Requests in a second over time, and at once; qps 0 = no limit. Watches and whatever concerns leases are not held up; the
  /// others wait in their lanes.
  double qps = 0;
  int burst = 0;
  /// Of the whole exchange, for what is not a GET; absent = the HTTP client's. A leader's writes are to be over before its lease
  /// is.
  std::optional<std::chrono::milliseconds> write_timeout{};
  /// Likewise of whatever concerns leases.
  std::optional<std::chrono::milliseconds> lease_timeout{};
};

/// Where a call waits for the rate limit: those of an earlier lane go first. `scale`: what changes or reads a target to scale it;
/// `list`: what keeps the controller's view of the cluster; `status`: other reads and writes; `event`: Events.
enum class lane { scale, list, status, event };

enum class patch_type { merge, json_patch, strategic_merge };

struct remove_options {
  std::optional<int> grace_period_s{};  ///< absent: the object's own
  std::string uid{};                    ///< only the object with this uid; "" = whichever has the name
};

/// Every call fails with error_kind::status for an API error; the message is the Status object's. Use from the http_client's
/// executor.
class client {
 public:
  client(std::shared_ptr<http_client> http, connection conn);

  asio::awaitable<result<list_page>> list(const resource& res, list_options options, std::string continue_token = {});
  asio::awaitable<result<json::object>> get(const resource& res, object_key key, std::string subresource = {},
                                            lane where = lane::status);
  asio::awaitable<result<json::object>> create(const resource& res, std::string ns, json::object object);
  /// Whole object, with its resourceVersion for optimistic locking: 409 when it is no longer the newest.
  asio::awaitable<result<json::object>> replace(const resource& res, object_key key, json::object object,
                                                std::string subresource = {});
  asio::awaitable<result<json::object>> patch(const resource& res, object_key key, json::value body,
                                              patch_type type = patch_type::merge, std::string subresource = {});
  asio::awaitable<result<void>> remove(const resource& res, object_key key, remove_options options = {});
  /// GET of a path of the API, "/apis/apps/v1", as for discovery.
  asio::awaitable<result<json::object>> get_path(std::string path);
  /// Opens a watch from `resource_version` (bookmarks allowed). Error status 410: list again.
  asio::awaitable<result<std::unique_ptr<http_stream>>> open_watch(const resource& res, list_options options,
                                                                   std::string resource_version,
                                                                   std::chrono::seconds server_timeout);
  asio::any_io_executor executor() const;
  /// Asked before a write waits for the rate limit, and again in the moment before it goes out. It returns a ticket that is held
  /// until the write is answered; the error it returns is the call's outcome.
  using write_guard = std::function<result<std::shared_ptr<void>>(const resource&)>;
  void guard_writes(write_guard guard);
  /// The calls that wait for the rate limit in the lanes of writes end with `cancelled`. Call on the executor.
  void cancel_waiting_writes();

 private:
  struct state;
  struct call;
  static asio::awaitable<result<json::object>> exchange(std::shared_ptr<state> s, call c);
  std::shared_ptr<state> state_;
};

/// Splits a watch body into events whatever the chunk boundaries. A line longer than `max_line` is error too_large.
class watch_decoder {
 public:
  explicit watch_decoder(std::size_t max_line = 16u << 20);
  /// Appends bytes and decodes the complete lines. A bad line is error decode; the lines before it are in `out`.
  result<void> feed(std::string_view bytes, std::vector<watch_event>& out);

 private:
  std::size_t max_line_;
  std::string buffer_;
};

/// What a reflector tells. Calls come on the client's executor, one at a time.
struct reflector_sink {
  /// The complete state, at first and after every relist: objects not in it are gone.
  std::function<void(std::vector<json::object>)> replaced;
  /// added, modified or deleted
  std::function<void(watch_event)> changed;
  /// The connection is lost (error) or whole again (nullopt); said once for each change of state.
  std::function<void(std::optional<error>)> health;
};
struct reflector_config {
  std::chrono::milliseconds backoff_min{200};
  std::chrono::milliseconds backoff_max{30000};
  std::chrono::seconds server_timeout{300};   ///< timeoutSeconds of each watch
  std::chrono::milliseconds read_timeout{0};  ///< silence after which a watch is reopened; 0 = server_timeout + 10 s
  std::uint64_t jitter_seed = 0;
};

/// List, then watch, for ever: resumes from the last resourceVersion, lists again after 410, backs off with jitter and honours
/// Retry-After.
class reflector {
 public:
  reflector(std::shared_ptr<client> api, resource res, list_options options, reflector_sink sink, reflector_config config = {});
  ~reflector();  ///< stop()
  /// Starts on the client's executor. Thread-safe.
  void start();
  /// No call into the sink is begun after stop() has been carried out on the executor. Thread-safe, idempotent.
  void stop();

 private:
  struct impl;
  std::shared_ptr<impl> impl_;
};

/// ISO 8601 of Kubernetes: "2026-01-02T03:04:05Z", and with microseconds for MicroTime.
std::string format_time(std::chrono::system_clock::time_point t);
std::string format_micro_time(std::chrono::system_clock::time_point t);
/// Of format_time() only; nullopt: anything else.
std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text);

}  // namespace inferno::net::kube

#pragma once
// The objects of the emulated API server, their history and their watchers. Single-threaded: it lives in the api_store actor.
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>

#include "testbed/cluster/kinds.hpp"
#include "testbed/cluster/placement.hpp"
#include "testbed/cluster/selectors.hpp"

namespace inferno::testbed {

/// What the API server answers instead of an object.
struct api_error {
  int code = 500;
  std::string reason;  ///< "NotFound", ...
  std::string message;
  json::object details{};  ///< of the Status: kind, group, name, causes
};
template <class T>
using api_result = tl::expected<T, api_error>;

struct object_name {
  std::string ns;
  std::string name;
  auto operator<=>(const object_name&) const = default;
};

/// A change: both sides, so that a watch with a selector can tell what came into its view and what left it.
struct change {
  std::uint64_t revision = 0;
  kind_ptr kind;
  object_name name;
  object_ptr before;  ///< nullptr: created
  object_ptr after;   ///< nullptr: deleted; `last` holds what was there
  object_ptr last;    ///< the object with the revision of its deletion
};

struct list_result {
  std::vector<object_ptr> items;
  std::uint64_t revision = 0;
  std::string next;  ///< continue token
  std::size_t remaining = 0;
};

enum class patch_kind { merge, json, strategic };

class object_store {
 public:
  struct settings {
    std::size_t history = 10000;
    std::size_t events = 10000;  ///< Event objects kept; Kubernetes keeps them for an hour
    std::uint64_t seed = 1;
    std::function<std::chrono::system_clock::time_point()> now = [] { return std::chrono::system_clock::now(); };
  };
  explicit object_store(settings s);

  kind_ptr find_kind(const std::string& group, const std::string& version, const std::string& plural) const;
  kind_ptr kind_named(const std::string& kind) const;
  const std::vector<kind_ptr>& kinds() const { return kinds_; }

  api_result<object_ptr> get(const kind_info& kind, const object_name& name) const;
  object_ptr peek(const std::string& plural, const object_name& name) const;  ///< nullptr when absent
  /// In order of namespace and name. `continue_token` as given out before.
  api_result<list_result> list(const kind_info& kind, const std::string& ns, const selector& labels, const selector& fields,
                               std::size_t limit = 0, const std::string& continue_token = {}) const;
  std::vector<object_ptr> all(const std::string& plural, const std::string& ns = {}) const;

  /// `managed`: its metadata.managedFields; absent: none.
  api_result<object_ptr> create(const kind_ptr& kind, const std::string& ns, json::object object,
                                std::optional<json::array> managed = {});
  /// subresource "" or "status". The object's resourceVersion, when there, must be the present one. `managed`: its
  /// metadata.managedFields; absent: what follows from the change.
  api_result<object_ptr> update(const kind_ptr& kind, const object_name& name, json::object object,
                                const std::string& subresource = {}, std::optional<json::array> managed = {});
  /// Server-side apply for writes_as()'s manager. Error 409 names the fields of other managers, unless `force` takes them.
  struct applied {
    object_ptr object;
    bool created = false;
  };
  api_result<applied> apply(const kind_ptr& kind, const object_name& name, json::object config, bool force,
                            const std::string& subresource = {});
  /// The field manager of the writes to come.
  void writes_as(std::string manager) { manager_ = std::move(manager); }
  api_result<object_ptr> patch(const kind_ptr& kind, const object_name& name, const json::value& body, patch_kind how,
                               const std::string& subresource = {});
  struct remove_options {
    bool at_once = false;                   ///< pods on a node do not get a deletionTimestamp first
    std::optional<std::int64_t> grace_s{};  ///< of pods on a node; absent: their terminationGracePeriodSeconds
    bool orphan = false;                    ///< dependents stay
  };
  /// Dependents of no other owner go too.
  api_result<object_ptr> remove(const kind_ptr& kind, const object_name& name) { return remove(kind, name, remove_options{}); }
  api_result<object_ptr> remove(const kind_ptr& kind, const object_name& name, remove_options how);
  /// What names this owner.
  std::vector<object_ptr> dependents(const std::string& plural, const std::string& uid) const;
  /// /scale of a Deployment or ReplicaSet.
  static json::object scale_of(const kind_info& kind, const json::object& object);
  api_result<json::object> update_scale(const kind_ptr& kind, const object_name& name, const json::value& body,
                                        std::optional<patch_kind> how);

  /// Changes after `revision`. Error 410 when they are not all kept any more, or when it is none of this store.
  api_result<std::vector<change>> since(std::uint64_t revision) const;
  /// Changes from now on as they come. The callback must not change the store.
  std::uint64_t subscribe(std::function<void(const change&)> callback);
  void unsubscribe(std::uint64_t id) { watchers_.erase(id); }
  std::uint64_t revision() const { return revision_; }
  void compact();
  /// The same objects without the watchers: to try what a request would do.
  object_store fork() const;

  /// Of service accounts' tokens.
  const std::string& signing_key() const { return signing_key_; }
  std::string new_uid();
  std::string random_suffix(int length);
  std::string timestamp() const;
  std::chrono::system_clock::time_point now() const { return settings_.now(); }

 private:
  using table = std::map<object_name, object_ptr>;
  api_error not_found(const kind_info& kind, const std::string& name) const;
  object_ptr put(const kind_ptr& kind, const object_name& name, json::object object, const object_ptr& before);
  void publish(change c);
  void remove_dependents(const std::string& uid);
  void note_owners(const kind_info& kind, const object_name& name, const object_ptr& before, const object_ptr& after);
  api_result<void> define(json::object& crd);
  void remove_all(const kind_ptr& kind, const std::string& ns);
  void expire_events(const object_name& newest);
  table* table_of(const kind_info& kind);
  const table* table_of(const kind_info& kind) const;

  settings settings_;
  std::mt19937_64 random_;
  std::string signing_key_;
  std::string manager_ = "emulated-cluster";
  std::vector<kind_ptr> kinds_;
  std::map<std::string, table> tables_;                                              ///< by qualified name
  std::map<std::string, std::set<std::pair<std::string, object_name>>> dependents_;  ///< owner uid -> (qualified kind, name)
  std::uint64_t revision_ = 1;
  std::uint64_t compacted_ = 0;  ///< changes up to here are forgotten
  std::deque<change> history_;
  std::deque<object_name> events_;  ///< oldest first; some may be gone
  std::map<std::uint64_t, std::function<void(const change&)>> watchers_;
  std::uint64_t next_watcher_ = 1;
};

}  // namespace inferno::testbed

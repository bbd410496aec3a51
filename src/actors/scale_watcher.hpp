#pragma once
// Targets of kinds that the controller does not know by itself, LeaderWorkerSets for example: whatever has a scale subresource.
//
// One watcher per kind that some VariantAutoscaling names. It asks the API's discovery for the kind's resource, watches that, and
// reads the scale of what changes; replicas and selector are in the scale, wherever the kind itself keeps them.
#include <caf/actor_clock.hpp>
#include <deque>

#include "actors/backoff.hpp"
#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct scale_watcher_config {
  target_kind kind;
  std::string version;  ///< of the group
  std::shared_ptr<kube_api> api;
  fleet_actor fleet;
  board_actor board;
  std::string ns;  ///< "" = all namespaces
  log logger;
  std::chrono::milliseconds retry_min{1000};
  std::chrono::milliseconds retry_max{60000};
  std::size_t retries_at_once = 8;  ///< of those that failed, so many are asked for together
};

struct scale_watcher_state {
  static inline const char* name = "scale_watcher";
  /// An object of the kind. One question about its scale is under way at most; a change meanwhile asks again.
  struct entry {
    std::string uid;
    std::uint64_t incarnation = 0;
    bool asking = false;
    bool again = false;
    bool read = false;    ///< asked for once, whatever came of it
    bool known = false;   ///< the fleet has its scale
    std::string problem;  ///< last said of it, "" = nothing
  };
  scale_watcher_actor::pointer self = nullptr;
  scale_watcher_config config;
  std::shared_ptr<const kube::resource> resource;  ///< nullptr until discovery has answered
  std::unique_ptr<kube_api::subscription> subscription;
  std::map<kube::object_key, entry> entries;
  std::size_t unread = 0;  ///< entries of the first list whose scale is not known yet
  bool listed = false;
  std::string watch_problem;
  std::set<kube::object_key> unanswered;  ///< whose scale is to be asked for again, in the order of `waiting`
  std::deque<kube::object_key> waiting;
  std::set<kube::object_key> retrying;               ///< those asked for again, without an answer yet
  std::size_t round = 0;                             ///< how many of `waiting` are still to be asked after the last pause
  std::optional<std::pair<bool, std::string>> told;  ///< last target_kind_state
  std::uint64_t next_incarnation = 0;
  backoff pause;
  bool retry_pending = false;
  caf::actor_clock::time_point quiet_until{};  ///< by the server's Retry-After

  void discover();
  void discovered(const net::result<json::object>& answer);
  void seen(const kube::object_key& key, const std::string& uid);
  void gone(const kube::object_key& key);
  void ask(const kube::object_key& key);
  void answered(const scale_answer& a);
  void settle(entry& e);
  void retry_later(const net::error* error = nullptr);
  void postpone(const kube::object_key& key);
  void ask_again();
  void retry();
  bool told_to_wait() const;
  void tell_problem(const kube::object_key& key, const std::string& problem);
  void tell_known(const kube::object_key& key, workload_object target);
  void tell_state();
};

scale_watcher_actor::behavior_type scale_watcher(scale_watcher_actor::stateful_pointer<scale_watcher_state> self,
                                                 scale_watcher_config config);

}  // namespace inferno::actors

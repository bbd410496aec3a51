#pragma once
// Targets of kinds that the controller does not know by itself, LeaderWorkerSets for example: whatever has a scale subresource.
//
// One watcher per kind that some VariantAutoscaling names. It asks the API's discovery for the kind's resource, watches that, and
// reads the scale of what changes; replicas and selector are in the scale, wherever the kind itself keeps them.
#include "actors/log.hpp"
#include "actors/messages.hpp"

namespace inferno::actors {

struct scale_watcher_config {
  target_kind kind;
  std::string version;  ///< of the group
  std::shared_ptr<kube_api> api;
  fleet_actor fleet;
  std::string ns;  ///< "" = all namespaces
  log logger;
  std::chrono::milliseconds retry_min{1000};
  std::chrono::milliseconds retry_max{60000};
};

struct scale_watcher_state {
  static inline const char* name = "scale_watcher";
  /// An object of the kind. One question about its scale is under way at most; a change meanwhile asks again.
  struct entry {
    std::string uid;
    std::uint64_t incarnation = 0;
    bool asking = false;
    bool again = false;
    bool read = false;   ///< asked for once, whatever came of it
    bool known = false;  ///< the fleet has its scale
  };
  scale_watcher_actor::pointer self = nullptr;
  scale_watcher_config config;
  std::shared_ptr<const kube::resource> resource;  ///< nullptr until discovery has answered
  std::unique_ptr<kube_api::subscription> subscription;
  std::map<kube::object_key, entry> entries;
  std::size_t unread = 0;  ///< entries of the first list whose scale is not known yet
  bool listed = false;
  std::string watch_problem;
  std::set<kube::object_key> unanswered;             ///< whose scale is to be asked for again
  std::optional<std::pair<bool, std::string>> told;  ///< last target_kind_state
  std::uint64_t next_incarnation = 0;
  std::chrono::milliseconds backoff{0};
  bool retry_pending = false;

  void discover();
  void discovered(const net::result<json::object>& answer);
  void seen(const kube::object_key& key, const std::string& uid);
  void gone(const kube::object_key& key);
  void ask(const kube::object_key& key);
  void answered(const scale_answer& a);
  void settle(entry& e);
  void retry_later();
  void tell_problem(const kube::object_key& key, const std::string& problem);
  void tell_state();
};

scale_watcher_actor::behavior_type scale_watcher(scale_watcher_actor::stateful_pointer<scale_watcher_state> self,
                                                 scale_watcher_config config);

}  // namespace inferno::actors

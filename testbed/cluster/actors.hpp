#pragma once
// The actors of the emulated cluster: the store and the controllers around it.
//
// api_store owns all objects; others send it functions to run on them. It tells the controllers every change:
// deployment_controller turns Deployments into pods, gpu_scheduler binds pods to nodes, kubelet runs what is bound and ends what
// is deleted.
#include <caf/allowed_unsafe_message_type.hpp>
#include <caf/typed_actor.hpp>
#include <set>

#include "testbed/cluster/pod_runtime.hpp"
#include "testbed/cluster/store.hpp"

namespace inferno::testbed {

/// Something to do with the store, on its actor.
struct store_call {
  std::function<void(object_store&)> run;
};
struct object_changed {
  std::shared_ptr<const change> what;
};
struct controller_wake {};
struct start_pod {
  object_name name;
  std::string uid;
};
struct pod_started {
  object_name name;
  std::string uid;
  bool ok = false;
  std::string error;
};
struct pod_stopped {
  object_name name;
  std::string uid;
};
struct end_pod {
  object_name name;
  std::string uid;
};
struct stop_cluster {};

using controller_actor =
    caf::typed_actor<caf::reacts_to<object_changed>, caf::reacts_to<controller_wake>, caf::reacts_to<stop_cluster>>;
using kubelet_actor = caf::typed_actor<caf::reacts_to<object_changed>, caf::reacts_to<start_pod>, caf::reacts_to<pod_started>,
                                       caf::reacts_to<pod_stopped>, caf::reacts_to<end_pod>, caf::reacts_to<stop_cluster>>;
using store_actor = caf::typed_actor<caf::reacts_to<store_call>, caf::reacts_to<stop_cluster>>;

struct kubelet_config {
  std::chrono::milliseconds start_delay{2000};
  std::chrono::milliseconds stop_delay{0};
  std::shared_ptr<pod_runtime> runtime;
  int second_octet = 10;  ///< pods get 127.second_octet.x.y
};

struct store_state {
  static inline const char* name = "api_store";
  std::unique_ptr<object_store> objects;
  controller_actor deployments, scheduler;
  kubelet_actor nodes;
};
struct controller_state {
  static inline const char* name = "cluster_controller";
  controller_state() = default;  // no aggregate: CAF would make it from the actor's pointer
  store_actor store;
  bool pending = false;
};
struct kubelet_state {
  static inline const char* name = "kubelet";
  struct running {
    object_name name;
    std::string ip;
    int restarts = 0;
    bool started = false;
    std::optional<std::chrono::seconds> ending{};  ///< its grace period
  };
  kubelet_actor::pointer self = nullptr;
  kubelet_config config;
  store_actor store;
  std::map<std::string, running> pods;  ///< by uid
  std::set<std::string> addresses;
  unsigned next_address = 0;

  std::string new_address();
  void changed(const change& c);
  void start(const start_pod& m);
  void started(const pod_started& m);
  void end(const end_pod& m);
};

store_actor::behavior_type api_store(store_actor::stateful_pointer<store_state> self, object_store::settings settings,
                                     kubelet_config kubelet);
controller_actor::behavior_type deployment_controller(controller_actor::stateful_pointer<controller_state> self,
                                                      store_actor store);
controller_actor::behavior_type gpu_scheduler(controller_actor::stateful_pointer<controller_state> self, store_actor store);
kubelet_actor::behavior_type kubelet(kubelet_actor::stateful_pointer<kubelet_state> self, store_actor store,
                                     kubelet_config config);

}  // namespace inferno::testbed

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::store_call)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::object_changed)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::controller_wake)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::start_pod)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::pod_started)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::pod_stopped)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::end_pod)
CAF_ALLOW_UNSAFE_MESSAGE_TYPE(inferno::testbed::stop_cluster)

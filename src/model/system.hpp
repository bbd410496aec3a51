#pragma once
// A system to optimize, in the words of the SystemData JSON form.
#include <string>
#include <vector>

#include "model/queue.hpp"

namespace inferno::model {

struct accelerator {
  std::string name;
  std::string type;      ///< capacity is counted by type (the device)
  int multiplicity = 1;  ///< GPUs of `type` in one unit
  cost_per_hour cost;    ///< of one unit
};

/// A model on an accelerator. acc_count units serve one replica.
struct model_profile {
  std::string model;
  std::string acc;
  int acc_count = 1;
  int max_batch = 0;
  int at_tokens = 0;  ///< output tokens at which max_batch was found; 0 = max_batch holds for every length
  performance_profile params;
  kv_memory kv;  ///< of one replica; bounds the batch when it is known
};

struct class_target {
  std::string model;
  slo_targets slo;
};

struct service_class {
  std::string name;
  int priority = 0;  ///< 1 is the most important
  std::vector<class_target> targets;
};

struct server_load {
  req_rate arrival_rate;
  double avg_in_tokens = 0;
  double avg_out_tokens = 0;
  double out_cv = -1;  ///< standard deviation of the output tokens over their mean; negative = not known
  request_shape shape() const { return {avg_in_tokens, avg_out_tokens, out_cv}; }
};

/// What a server has: accelerator "" = none.
struct current_allocation {
  std::string accelerator;
  int num_replicas = 0;
  int max_batch = 0;
  cost_per_hour cost;
  double itl_ms = 0;
  double wait_ms = 0;
  double ttft_ms = 0;
  server_load load;
};

/// More replicas of one server than this mean that the model, the load or the input is wrong.
inline constexpr int most_replicas = static_cast<int>(limits::replicas.most);

struct server_spec {
  std::string name;
  std::string class_name;
  std::string model;
  bool keep_accelerator = false;
  int min_replicas = 1;
  int max_replicas = 0;  ///< 0 = no limit
  int max_batch = 0;     ///< override of the profile's; 0 = none
  /// Requests that are being served or wait for it and must find room: no candidate has fewer slots, replicas times batch, within
  /// max_replicas. 0 = none, or not known.
  double in_flight = 0;
  /// Servers of one pool, model and class share their demand, in proportion to what each can serve; "" = none.
  std::string pool;
  current_allocation current;
};

struct type_capacity {
  std::string type;
  int count = 0;
};

enum class saturation_policy { none, priority_exhaustive, priority_round_robin, round_robin };

/// Which solver plans limited capacity. `automatic` searches as long as it is cheap, `exact` much longer.
enum class solver_kind { automatic, greedy, exact };

struct optimizer_spec {
  bool unlimited = true;
  bool delayed_best_effort = false;
  saturation_policy saturation = saturation_policy::none;
  solver_kind solver = solver_kind::automatic;
  bool search_batch = false;  ///< search the best batch at or below the one of profile or override
};

struct system_data {
  std::vector<accelerator> accelerators;
  std::vector<model_profile> profiles;
  std::vector<service_class> classes;
  std::vector<server_spec> servers;
  optimizer_spec optimizer;
  std::vector<type_capacity> capacity;
};

}  // namespace inferno::model

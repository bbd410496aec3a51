#pragma once
// Objects as meta.k8s.io Tables: the columns `kubectl get` prints.
#include <chrono>

#include "testbed/cluster/store.hpp"

namespace inferno::testbed {

/// What of the object goes with its row.
enum class row_object { none, metadata, full };

/// A Table of these objects. `with_columns` false: rows only, as later events of a watch have it.
json::object make_table(const kind_info& kind, const std::vector<object_ptr>& objects, std::chrono::system_clock::time_point now,
                        row_object include = row_object::metadata, bool with_columns = true);

/// "45s", "3m12s", "5h", "2d" as kubectl writes ages.
std::string human_duration(std::chrono::seconds age);

}  // namespace inferno::testbed

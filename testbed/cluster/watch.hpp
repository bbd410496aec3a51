#pragma once
// A watch: which changes a client sees, as what, and the queue between the store's actor and the connection.
#include <mutex>

#include "testbed/cluster/api.hpp"

namespace inferno::testbed {

struct watch_event {
  std::string type;  ///< "ADDED", "MODIFIED", "DELETED"
  object_ptr object;
  std::uint64_t revision = 0;
};

/// What a client asked to see.
struct watch_view {
  kind_ptr kind;
  std::string ns;  ///< "" = all
  selectors chosen;

  bool sees(const object_name& name, const json::object& object) const;
  /// An object that comes into a selector's view is ADDED, one that leaves it is DELETED.
  std::optional<watch_event> see(const change& c) const;
};

/// Bounded: a client that is too far behind is cut off, as a real API server does. Thread-safe.
class watch_queue {
 public:
  watch_queue(std::size_t limit, std::function<void()> wake) : limit_(limit), wake_(std::move(wake)) {}
  void push(watch_event e);
  /// All that is there; nullopt once the limit was passed.
  std::optional<std::vector<watch_event>> take();

 private:
  std::mutex mutex_;
  std::size_t limit_;
  std::function<void()> wake_;
  std::vector<watch_event> events_;
  bool overflow_ = false;
};

/// The line of an event; `table` as kubectl get -w asks, its columns only with the first.
std::string watch_line(const watch_event& event, const kind_info& kind, const api_request& request,
                       std::chrono::system_clock::time_point now, bool first);
/// A BOOKMARK: everything up to `revision` has been sent.
std::string bookmark_line(const kind_info& kind, const api_request& request, std::uint64_t revision);

}  // namespace inferno::testbed

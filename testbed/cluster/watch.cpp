#include "testbed/cluster/watch.hpp"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

namespace inferno::testbed {

bool watch_view::sees(const object_name& name, const json::object& object) const {
  return (ns.empty() || name.ns == ns) && chosen.labels.matches(object) && chosen.fields.matches(object);
}

std::optional<watch_event> watch_view::see(const change& c) const {
  if (c.kind->plural != kind->plural || c.kind->group != kind->group) return std::nullopt;
  const bool before = c.before && sees(c.name, *c.before);
  const bool after = c.after && sees(c.name, *c.after);
  if (after) return watch_event{before ? "MODIFIED" : "ADDED", c.after, c.revision};
  if (!before) return std::nullopt;
  if (c.last) return watch_event{"DELETED", c.last, c.revision};
  // Out of the selector's view: as it was when it was last seen, at the revision of the change.
  json::object gone = *c.before;
  object_at(gone, {"metadata"})["resourceVersion"] = std::to_string(c.revision);
  return watch_event{"DELETED", std::make_shared<const json::object>(std::move(gone)), c.revision};
}

void watch_queue::push(watch_event e) {
  {
    const std::lock_guard lock(mutex_);
    if (events_.size() >= limit_) {
      overflow_ = true;
      events_.clear();
    } else if (!overflow_) {
      events_.push_back(std::move(e));
    }
  }
  wake_();
}

std::optional<std::vector<watch_event>> watch_queue::take() {
  const std::lock_guard lock(mutex_);
  if (overflow_) return std::nullopt;
  return std::exchange(events_, {});
}

std::string watch_line(const watch_event& event, const kind_info& kind, const api_request& request,
                       std::chrono::system_clock::time_point now, bool first) {
  const auto object = request.wants_table() ? json::serialize(make_table(kind, {event.object}, now, request.included(), first))
                                            : json::serialize(*event.object);
  return fmt::format("{{\"type\":\"{}\",\"object\":{}}}\n", event.type, object);
}

std::string bookmark_line(const kind_info& kind, const api_request& request, std::uint64_t revision) {
  json::object object{{"kind", kind.kind},
                      {"apiVersion", kind.group_version()},
                      {"metadata", json::object{{"resourceVersion", std::to_string(revision)}}}};
  if (request.wants_table()) {
    json::object row{{"cells", json::array{}}, {"object", std::move(object)}};
    json::array rows;
    rows.push_back(std::move(row));
    object = {{"kind", "Table"},
              {"apiVersion", "meta.k8s.io/v1"},
              {"metadata", json::object{}},
              {"columnDefinitions", nullptr},
              {"rows", std::move(rows)}};
  }
  return fmt::format("{{\"type\":\"BOOKMARK\",\"object\":{}}}\n", json::serialize(object));
}

}  // namespace inferno::testbed

#include "actors/pod_tracks.hpp"

#include <algorithm>

namespace inferno::actors {
namespace {

constexpr double young_s = 60;        ///< a process that has run for no longer is new
constexpr double clocks_apart_s = 5;  ///< between the nodes' clocks
constexpr double least_span_s = 1;
constexpr std::size_t usual_servers = 16;  ///< of a pod: more are remembered only from round to round

}  // namespace

void pod_tracks::begin(std::shared_ptr<const std::vector<scrape_target>> targets, double now_s) {
  if (targets != targets_) {
    std::set<std::pair<std::string, std::string>> models;
    for (const auto& t : *targets) {
      const std::pair model(t.pod.ns, t.model);
      const auto [it, added] = pods_.try_emplace(t.pod);
      if (added && round_s_ && models_.count(model)) it->second.absent_s = round_s_;
      models.insert(model);
    }
    models_ = std::move(models);
    targets_ = std::move(targets);
    // A pod that is not ready for a moment is still known afterwards; pods that are gone are dropped.
    if (pods_.size() > 2 * targets_->size() + 16) {
      std::map<kube::object_key, pod> kept;
      for (const auto& t : *targets_)
        if (auto node = pods_.extract(t.pod)) kept.insert(std::move(node));
      pods_ = std::move(kept);
    }
  }
  if (!first_round_s_) first_round_s_ = now_s;
  round_before_s_ = round_s_.value_or(now_s);
  round_s_ = now_s;
}

/// Since when all requests that the server has counted have come, if that is known. Its process must have started while the
/// source was at work, and it must have become a target after others of its model were: then it has just become ready.
std::optional<double> pod_tracks::new_since(const pod& p, const server_reading& r, double time_s) const {
  const auto started = r.started_s();
  if (!started || r.wall_s <= 0) return std::nullopt;
  const double up = r.wall_s - *started;
  if (up < -clocks_apart_s) return std::nullopt;
  std::optional<double> since;
  // A process that is older than the source's first round: since when it is Ready is not known. Counted from its start, its rate
  // would be too low.
  if (up + clocks_apart_s >= time_s - *first_round_s_) return std::nullopt;
  if (up <= young_s) since = time_s - up;
  if (p.absent_s) since = std::max(*p.absent_s, time_s - up);
  if (since) since = std::min(*since, time_s - least_span_s);
  return since;
}

pod_sample pod_tracks::observe(const scrape_target& target, std::string server, server_reading reading, double time_s) {
  auto& p = pods_[target.pod];
  auto since = new_since(p, reading, time_s);
  if (since) since = reading.clock_s - (time_s - *since);
  // A label of a server may have another value in every round.
  if (p.servers.size() > usual_servers && !p.servers.count(server))
    std::erase_if(p.servers, [&](const auto& s) { return s.second.heard_s < round_before_s_; });
  auto& of = p.servers[server];
  of.heard_s = round_s_.value_or(time_s);
  auto seen = of.track.observe(std::move(reading), since);
  pod_sample out;
  out.pod = target.pod;
  out.server = std::move(server);
  out.load = std::move(seen.load);
  out.load.time_s = time_s;
  out.problem = std::move(seen.problem);
  out.whole_life = seen.whole_life;
  return out;
}

}  // namespace inferno::actors

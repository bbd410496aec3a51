#include "actors/load_alignment.hpp"

#include <algorithm>
#include <limits>

namespace inferno::actors {
namespace {

void add_names(std::set<std::string>& names, const std::string& families) {
  for (std::size_t from = 0; from < families.size();) {
    const auto end = std::min(families.find(", ", from), families.size());
    names.insert(families.substr(from, end - from));
    from = end + 2;
  }
}

}  // namespace

void server_load::add(const load_sample& more) {
  span_s += more.span_s;
  for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += more.*load_counts[i];
}

load_sample side_by_side(const std::vector<const server_load*>& servers, double span_s) {
  load_sample out;
  out.span_s = span_s;
  for (const auto* s : servers) {
    if (s->span_s <= 0) continue;
    const double scale = std::min(span_s / s->span_s, s->whole_life ? 1.0 : most_amplified);
    for (std::size_t i = 0; i < load_counts.size(); ++i) out.*load_counts[i] += scale * s->counts[i];
  }
  return out;
}

/// The server's work between its last reading and `time_s` is in no reading. It is estimated from the rate of the last sample,
/// over at most the span of that sample.
void load_alignment::server::leave(double time_s) {
  const double share = last_s > 0 ? std::clamp((time_s - heard_s) / last_s, 0.0, 1.0) : 0;
  for (auto* sum : {&since_given, &since_whole}) {
    sum->span_s += share * last_s;
    for (std::size_t i = 0; i < load_counts.size(); ++i) sum->counts[i] += share * last[i];
  }
}

/// Who reports, the gauges, what is wrong; and each server's counts are added to what is known of it.
load_sample load_alignment::state_of(const std::vector<const pod_sample*>& samples, const std::vector<scrape_target>& pods,
                                     double time_s) {
  load_sample out;
  out.time_s = time_s;
  out.pods = static_cast<int>(pods.size());
  std::map<kube::object_key, bool> reports;
  std::set<std::string> missing, ill;
  std::set<const server*> heard;
  for (const auto* s : samples) {
    auto& well = reports.try_emplace(s->pod, true).first->second;
    if (!s->problem.empty()) {
      well = false;
      if (out.problem.empty()) out.problem = s->pod.name + ": " + s->problem;
      if (const auto known = servers_.find({s->pod, s->server}); known != servers_.end()) heard.insert(&known->second);
      continue;
    }
    out.running += s->load.running;
    out.waiting += s->load.waiting;
    out.unseen_rate += s->load.unseen_rate;
    add_names(missing, s->load.missing);
    add_names(ill, s->load.ill);
    auto& told = servers_[{s->pod, s->server}];
    heard.insert(&told);
    if (s->load.span_s <= 0) continue;
    told.heard_s = time_s;
    told.last_s = static_cast<float>(s->load.span_s);
    for (std::size_t i = 0; i < load_counts.size(); ++i) told.last[i] = static_cast<float>(s->load.*load_counts[i]);
    for (auto* sum : {&told.since_given, &told.since_whole}) {
      if (sum->span_s <= 0) sum->whole_life = s->whole_life;
      sum->add(s->load);
    }
  }
  std::set<kube::object_key> present;
  for (const auto& p : pods) present.insert(p.pod);
  for (auto& [key, s] : servers_) {
    const auto pod = reports.find(key.first);
    // Of a pod with several servers the others may go on.
    const bool here = present.count(key.first) && (pod == reports.end() || heard.count(&s));
    if (std::exchange(s.here, here) && !here) s.leave(round_s_ < 0 ? time_s : (round_s_ + time_s) / 2);
    s.reports = s.here && pod != reports.end() && pod->second;
  }
  round_s_ = time_s;
  for (const auto& [pod, well] : reports) out.pods_reporting += well && present.count(pod);
  for (const auto& family : missing) out.missing += (out.missing.empty() ? "" : ", ") + family;
  for (const auto& family : ill) out.ill += (out.ill.empty() ? "" : ", ") + family;
  return out;
}

load_sample load_alignment::give(server_load server::*what, double elapsed_s) {
  std::vector<const server_load*> all;
  double shortest = std::numeric_limits<double>::infinity(), longest = 0;
  for (auto& [key, s] : servers_) {
    auto& told = s.*what;
    if (told.span_s <= 0) continue;
    // A server that has gone has served what it has.
    if (!s.here) told.whole_life = true;
    all.push_back(&told);
    shortest = std::min(shortest, told.span_s);
    longest = std::max(longest, told.span_s);
  }
  const auto out = side_by_side(all, elapsed_s > 0 ? std::clamp(elapsed_s, shortest, longest) : longest);
  for (auto it = servers_.begin(); it != servers_.end();) {
    it->second.since_given = {};
    if (what == &server::since_whole) it->second.since_whole = {};
    // What one did that has gone counts in the next sample of all pods too.
    it = it->second.here || it->second.since_whole.span_s > 0 ? std::next(it) : servers_.erase(it);
  }
  return out;
}

load_sample load_alignment::next(const std::vector<const pod_sample*>& samples, const std::vector<scrape_target>& pods,
                                 double time_s, double window_s) {
  auto out = state_of(samples, pods, time_s);
  for (const auto* s : samples)
    if (s->problem.empty()) longest_step_s_ = std::max(longest_step_s_, s->load.span_s);
  double longest = 0, longest_whole = 0;
  std::set<kube::object_key> unknown;
  for (const auto& [key, s] : servers_) {
    longest = std::max(longest, s.since_given.span_s);
    longest_whole = std::max(longest_whole, s.since_whole.span_s);
    if (s.reports && s.since_given.span_s <= 0) unknown.insert(key.first);
  }
  if (longest <= 0) return out;
  if (waits_since_s_ < 0) waits_since_s_ = time_s;
  // A server with nothing new to say is waited for, but not for ever: then its pod counts as silent.
  const bool waits = !unknown.empty() && time_s - waits_since_s_ < std::max(0.5 * window_s, 1.5 * longest_step_s_);
  if (waits || !out.missing.empty()) {
    if (longest > 2 * window_s && !out.missing.empty())
      for (auto& [key, s] : servers_) s.since_given = s.since_whole = {};
    return out;
  }
  if (!unknown.empty() && out.problem.empty()) out.problem = unknown.begin()->name + ": no new reading";
  out.pods_reporting -= static_cast<int>(unknown.size());
  // A silence beyond the window is not bridged: what it was like before is of no more interest.
  if (longest_whole > std::max(2 * window_s, 2 * longest)) {
    for (auto& [key, s] : servers_) s.since_whole = s.since_given;
    whole_s_ = given_s_;
  }
  const bool whole = out.pods_reporting >= out.pods;
  const double since = whole ? whole_s_ : given_s_;
  const auto counted = give(whole ? &server::since_whole : &server::since_given, since < 0 ? 0 : time_s - since);
  given_s_ = time_s;
  waits_since_s_ = -1;
  longest_step_s_ = 0;
  if (whole) whole_s_ = time_s;
  out.span_s = counted.span_s;
  for (const auto count : load_counts) out.*count = counted.*count;
  return out;
}

}  // namespace inferno::actors

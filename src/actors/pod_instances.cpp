#include "actors/pod_instances.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace inferno::actors {
namespace {

using field = counter_field;

/// What never goes down while a server lives. The sums of times may.
constexpr std::array monotone{field::success,        field::arrivals,         field::prompt_sum, field::prompt_count,
                              field::generation_sum, field::generation_count, field::itl_count,  field::newer_itl_count,
                              field::ttft_count,     field::wait_count};

constexpr int evidence_needed = 2;
constexpr double evidence_lasts_s = 300;   ///< two odd readings on one day are no evidence together
constexpr double same_start_s = 1;         ///< by which a process' start time may wander
constexpr double forgotten_after_s = 900;  ///< an instance that Prometheus does not know any more

bool is_monotone(field f) { return std::find(monotone.begin(), monotone.end(), f) != monotone.end(); }

std::vector<server_reading::series> counts_of(const server_reading& r) {
  std::vector<server_reading::series> out;
  for (const auto& s : r.all())
    if (is_monotone(s.field)) out.push_back(s);
  return out;
}

std::uint64_t no_engine() {
  static const auto hash = hash_of({{"engine", std::string()}});
  return hash;
}

/// Empty: they are not labelled. Requests that are done have another label beside it.
std::set<std::uint64_t> engines_of(const server_reading& r) {
  std::set<std::uint64_t> out;
  for (const auto& s : r.all())
    if (s.field != field::started && s.field != field::success && s.labels != no_engine()) out.insert(s.labels);
  return out;
}

bool disjoint(const std::set<std::uint64_t>& a, const std::set<std::uint64_t>& b) {
  return std::none_of(a.begin(), a.end(), [&](auto x) { return b.count(x) > 0; });
}

std::map<field, double> totals(const std::vector<server_reading::series>& all) {
  std::map<field, double> out;
  for (const auto& s : all) out[s.field] += s.value;
  return out;
}

/// The counts that both have: those of the same engine, or, where one of them has lost the label, of all engines together.
std::vector<std::pair<double, double>> in_common(const std::vector<server_reading::series>& a,
                                                 const std::vector<server_reading::series>& b) {
  std::vector<std::pair<double, double>> out;
  auto it = b.begin();
  for (const auto& s : a) {
    while (it != b.end() && it->key() < s.key()) ++it;
    if (it != b.end() && it->key() == s.key()) out.emplace_back(s.value, it->value);
  }
  if (!out.empty()) return out;
  const auto of_b = totals(b);
  for (const auto& [f, total] : totals(a))
    if (const auto other = of_b.find(f); other != of_b.end()) out.emplace_back(total, other->second);
  return out;
}

bool lacks_something(const scraped_server& s) { return !s.problem.empty() || !missing_in(s.reading).empty(); }

}  // namespace

pod_instances::verdict pod_instances::compare(const snapshot& earlier, const snapshot& later) {
  const auto both = in_common(earlier.counts, later.counts);
  const auto fell = [](const auto& p) { return p.second < p.first; };
  if (std::any_of(both.begin(), both.end(), fell)) return verdict::several;
  const auto equal = [](const auto& p) { return p.second == p.first; };
  // Zeros are equal in every server that has served nothing.
  const auto nonzero = std::count_if(both.begin(), both.end(), [](const auto& p) { return p.second > 0; });
  return nonzero >= 2 && std::all_of(both.begin(), both.end(), equal) ? verdict::equal : verdict::nothing;
}

void pod_instances::judge(const std::string& name, const snapshot& now, const std::string& other) {
  const auto known = instances_.find(other);
  if (known == instances_.end()) return;
  const auto& history = known->second.before;
  const auto earlier =
      std::find_if(history.rbegin(), history.rend(), [&](const snapshot& s) { return s.scraped_s <= now.scraped_s - apart_s; });
  if (earlier == history.rend()) return;
  // The other has not been scraped since: it may have restarted with this one.
  if (earlier->scraped_s < instances_.at(name).restarted_s) return;
  const bool in_order = name < other;
  auto& p = pairs_[in_order ? std::pair(name, other) : std::pair(other, name)];
  const auto [first_s, second_s] =
      in_order ? std::pair(now.scraped_s, earlier->scraped_s) : std::pair(earlier->scraped_s, now.scraped_s);
  const auto says = compare(*earlier, now);
  if (says == (p.several ? verdict::several : verdict::equal)) p.evidence = 0;
  if (says != (p.several ? verdict::equal : verdict::several)) return;
  // An odd reading shows in every comparison with it, so a second one counts only if neither reading was part of the first.
  if (p.evidence > 0 && (first_s <= p.first_s || second_s <= p.second_s)) return;
  if (now.scraped_s - std::max(p.first_s, p.second_s) > evidence_lasts_s) p.evidence = 0;
  p.first_s = first_s;
  p.second_s = second_s;
  if (++p.evidence < evidence_needed) return;
  p.several = !p.several;
  p.evidence = 0;
}

void pod_instances::note(const std::string& name, const snapshot& now) {
  auto& i = instances_[name];
  if (!i.before.empty()) {
    const auto& last = i.before.back();
    if (now.scraped_s <= last.scraped_s) return;
    const bool anew = now.started_s && last.started_s && *now.started_s > *last.started_s + same_start_s;
    if (anew || compare(last, now) == verdict::several) {
      i.before.clear();
      i.restarted_s = now.scraped_s;
      for (auto& [names, p] : pairs_)
        if (names.first == name || names.second == name) p.evidence = 0;
    }
  }
  for (const auto& [other, what] : instances_)
    if (other != name) judge(name, now, other);
  // A few are enough that one of them is as old as it has to be, however often it is scraped.
  if (i.before.size() >= 2 && now.scraped_s - i.before[i.before.size() - 2].scraped_s < apart_s / 4) i.before.pop_back();
  i.before.push_back(now);
  while (i.before.size() > 2 && i.before[1].scraped_s <= now.scraped_s - apart_s) i.before.pop_front();
}

bool pod_instances::several(const scraped_server& a, const scraped_server& b) const {
  const auto of_a = engines_of(a.reading), of_b = engines_of(b.reading);
  if (!of_a.empty() && !of_b.empty() && disjoint(of_a, of_b)) return true;
  const auto it = pairs_.find(a.server < b.server ? std::pair(a.server, b.server) : std::pair(b.server, a.server));
  return it != pairs_.end() && it->second.several;
}

void pod_instances::forget(double now_s) {
  for (auto it = instances_.begin(); it != instances_.end();) {
    if (!it->second.before.empty() && now_s - it->second.before.back().scraped_s <= forgotten_after_s) {
      ++it;
      continue;
    }
    std::erase_if(pairs_, [&](const auto& p) { return p.first.first == it->first || p.first.second == it->first; });
    it = instances_.erase(it);
  }
}

std::vector<bool> pod_instances::counted(const std::vector<scraped_server>& servers) {
  double now_s = 0;
  for (const auto& s : servers) {
    now_s = std::max(now_s, s.reading.clock_s);
    // What cannot be is compared with nothing.
    if (!s.problem.empty() || (!instances_.count(s.server) && instances_.size() >= most_instances)) continue;
    note(s.server, {s.reading.clock_s, counts_of(s.reading), s.reading.started_s()});
  }
  forget(now_s);
  // Each joins the first server that it is not known to differ from.
  std::vector<std::vector<std::size_t>> groups;
  for (std::size_t i = 0; i < servers.size(); ++i) {
    const auto fits = [&](const auto& group) {
      return std::none_of(group.begin(), group.end(), [&](auto j) { return several(servers[j], servers[i]); });
    };
    const auto group = std::find_if(groups.begin(), groups.end(), fits);
    if (group == groups.end()) {
      groups.push_back({i});
    } else {
      group->push_back(i);
    }
  }
  std::vector<bool> out(servers.size());
  for (const auto& group : groups) {
    // The one that counted before goes on, as its counts continue; but one that lacks nothing goes before one that does.
    const auto rank = [&](std::size_t i) {
      const auto known = instances_.find(servers[i].server);
      return std::tuple(!lacks_something(servers[i]), known != instances_.end() && known->second.counts,
                        servers[i].reading.all().size());
    };
    const auto best =
        std::max_element(group.begin(), group.end(), [&](std::size_t a, std::size_t b) { return rank(a) < rank(b); });
    for (const auto i : group) {
      out[i] = i == *best;
      if (const auto known = instances_.find(servers[i].server); known != instances_.end()) known->second.counts = out[i];
    }
  }
  return out;
}

}  // namespace inferno::actors

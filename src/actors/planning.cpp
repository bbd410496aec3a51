#include "actors/planning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "actors/planning_parts.hpp"

namespace inferno::actors {
namespace {

/// For so long a target may have fewer replicas than it was given before others may have their GPUs.
constexpr double follow_patience_s = 300;

model::allocation present(const capacity_curve& c) {
  model::allocation a;
  a.accelerator = c.current.accelerator;
  a.num_replicas = c.current.num_replicas;
  a.max_batch = c.current.max_batch;
  a.cost = c.current.cost;
  a.itl_ms = c.current.itl_ms;
  a.ttft_ms = c.current.ttft_ms;
  a.wait_ms = c.current.wait_ms;
  return a;
}

/// The candidate on the accelerator in use; nullptr: there is none.
const model::solver_candidate* staying(const capacity_curve& curve) {
  const auto same = std::find_if(curve.candidates.begin(), curve.candidates.end(),
                                 [&](const auto& c) { return c.alloc.accelerator == curve.current.accelerator; });
  return same == curve.candidates.end() ? nullptr : &*same;
}

/// Ready replicas that another autoscaler keeps although fewer are wanted: for its minimum's sake, or until it scales down.
int more_than_wanted(const capacity_curve& c) {
  const auto* same = staying(c);
  return std::max(0, running_of(c) - (same ? same->alloc.num_replicas : 0));
}

/// Replicas that serve on the accelerator that a move leaves. Those asked for may be more, for the new ones' sake.
int old_replicas(const capacity_curve& c) {
  const int ready = c.ready.value_or(c.current.num_replicas) - c.change->ready;
  return std::clamp(ready, 0, c.current.num_replicas);
}

constexpr auto no_candidate = static_cast<std::size_t>(-1);

/// What fewer replicas than a candidate has are to expect of the same load.
void predict_for_fewer(const capacity_curve& c, const model::allocation& whole, model::allocation& fewer) {
  if (!c.basis || fewer.num_replicas <= 0 || fewer.num_replicas >= whole.num_replicas) return;
  model::predict_at(c.basis->view, fewer,
                    model::req_rate::per_sec(whole.rate_per_replica.per_sec() * whole.num_replicas / fewer.num_replicas));
  model::add_percentiles(c.basis->view, fewer);
}

/// What a variant gets when the solver left it without a full allocation: what the policy gave, on the accelerator it was given
/// for; at least minReplicas of what it has.
decision denied(const std::shared_ptr<const capacity_curve>& curve, const model::solver_choice& choice) {
  decision d;
  d.curve = curve;
  d.reason = "CapacityLimited";
  const int granted = choice.candidate < 0 ? 0 : choice.num_replicas;
  const auto* wanted = granted > 0 ? &curve->candidates[static_cast<std::size_t>(choice.candidate)] : staying(*curve);
  if (!wanted && curve->current.num_replicas > 0) {
    // It is to leave its accelerator, and there is no GPU of another one: it stays with what others leave it.
    const int floor = std::min(curve->min_replicas, curve->current.num_replicas);
    d.desired = with_replicas(present(*curve), std::max(choice.num_replicas, floor));
    wanted = &curve->candidates.front();
  } else {
    if (!wanted) wanted = &curve->candidates.front();
    const bool stays = curve->current.accelerator.empty() || wanted->alloc.accelerator == curve->current.accelerator;
    const int floor = stays || granted == 0 ? std::min(curve->min_replicas, wanted->alloc.num_replicas) : 0;
    d.desired = with_replicas(wanted->alloc, std::max(granted, floor));
    predict_for_fewer(*curve, wanted->alloc, d.desired);
  }
  d.message =
      fmt::format("wanted {} x {}, {} granted: not enough GPUs", wanted->alloc.num_replicas, wanted->alloc.accelerator, granted);
  if (d.desired.accelerator != wanted->alloc.accelerator) {
    d.message += fmt::format("; {} x {} stay", d.desired.num_replicas, d.desired.accelerator);
  } else if (d.desired.num_replicas > granted) {
    d.message += fmt::format("; minReplicas keeps {}", d.desired.num_replicas);
  }
  d.message = with_remark(*curve, d.message);
  return d;
}

decision holding(const std::shared_ptr<const capacity_curve>& curve) {
  decision d;
  d.curve = curve;
  d.desired = present(*curve);
  d.hold = true;
  d.reason = curve->hold ? curve->hold_reason : "Pending";
  d.message = curve->hold_message;
  // What it is on its way to is what is desired.
  if (curve->changing()) {
    d.desired.accelerator = curve->change->to;
    d.desired.num_replicas = curve->change->replicas;
  }
  return d;
}

bool same_choice(const model::solver_choice& a, const model::solver_choice& b) {
  return a.candidate == b.candidate && a.num_replicas == b.num_replicas && a.part_replicas == b.part_replicas;
}

/// A decision that the controller may not carry out names the autoscaler that is in its way as the reason.
void say_who_scales(decision& d) {
  const auto& c = *d.curve;
  if (d.hold || c.actuate || c.target.reason != "ConflictingAutoscaler") return;
  d.message = d.message.empty() ? c.target.message : c.target.message + "; decided: " + d.message;
  d.reason = c.target.reason;
}

}  // namespace

std::size_t planner::add_line(std::string name) {
  std::size_t line = input_.variants.size();
  if (free_lines_.empty()) {
    input_.variants.emplace_back();
    choices_.emplace_back();
  } else {
    line = free_lines_.back();
    free_lines_.pop_back();
  }
  input_.variants[line].name = std::move(name);
  return line;
}

/// A line of those that act, or of the others.
model::solver_variant& planner::line_of(bool acts, std::size_t line) {
  if (acts) return input_.variants[line];
  if (advice_.variants.size() <= line) advice_.variants.resize(line + 1);
  advice_.variants[line].name = input_.variants[line].name;
  return advice_.variants[line];
}

void planner::drop_line(std::size_t line) {
  input_.variants[line] = {};
  if (line < advice_.variants.size()) advice_.variants[line] = {};
  choices_[line] = {};
  free_lines_.push_back(line);
}

/// A device no node has: known to have no GPUs when capacity limits.
int planner::type_of(const std::string& device) {
  if (device.empty()) return -1;
  const auto [at, fresh] = types_.try_emplace(device, static_cast<int>(input_.capacity.size()));
  if (fresh) input_.capacity.push_back({device, 0});
  return at->second;
}

/// Whether nothing makes the replicas of the target those that are wanted, as far as that is known.
bool planner::nobody_follows(const slot& s) {
  return s.unfollowed || (s.curve->mode == actuation_mode::metric && !s.curve->autoscaler);
}

/// Replicas that are going to come at most: those that the autoscaler allows, or those there are where nothing makes them more.
/// 0 = no limit.
int planner::ceiling_of(const slot& s) {
  const auto& c = *s.curve;
  if (!nobody_follows(s)) return c.ceiling();
  const int there = std::max(c.current.num_replicas, 1);
  return c.ceiling() > 0 ? std::min(c.ceiling(), there) : there;
}

/// Those of the curve, with no more than `most` replicas (0 = any number): GPUs for replicas that will not come are left to other
/// variants.
std::vector<model::solver_candidate> planner::candidates_of(const slot& s, int most) {
  const auto& curve = *s.curve;
  auto out = curve.candidates;
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].type = type_of(curve.device_of[i]);
    out[i].present = out[i].alloc.accelerator == curve.current.accelerator ? curve.current.num_replicas : 0;
    if (most > 0 && out[i].alloc.num_replicas > most) out[i].alloc = with_replicas(std::move(out[i].alloc), most);
  }
  // Where there is a choice, what fits into no node is left to what the solver finds too dear.
  if (out.size() == 1) {
    auto& only = out.front();
    const int fits = fits_on_nodes(curve, only.alloc.accelerator, curve.device_of.front(), only.units_per_replica);
    if (only.alloc.num_replicas > fits) only.alloc = with_replicas(std::move(only.alloc), fits);
  }
  return out;
}

/// The most replicas for which single nodes have the GPUs, if nothing else runs there: the GPUs left over on several nodes make
/// no replica, and are not to be taken from others for one.
int planner::fits_on_nodes(const capacity_curve& c, const std::string& accelerator, const std::string& device, int units) const {
  constexpr int no_limit = std::numeric_limits<int>::max();
  // Other kinds may spread a replica over several nodes.
  if (!capacity_ || !capacity_->known || units <= 1 || !well_known(c.target_key)) return no_limit;
  const auto nodes = capacity_->nodes.find(device);
  if (nodes == capacity_->nodes.end()) return no_limit;
  long fits = 0;
  for (const auto& [gpus, count] : nodes->second) fits += static_cast<long>(gpus / units) * count;
  const int there = accelerator == c.current.accelerator ? running_of(c) : 0;
  return static_cast<int>(std::clamp<long>(fits, std::max(there, c.min_replicas), no_limit));
}

/// The curve of a variant whose accelerator is no longer in accelerator-unit-costs does not name its device. The variant has its
/// GPUs all the same.
std::shared_ptr<const capacity_curve> planner::with_device(const slot& s, std::shared_ptr<const capacity_curve> curve) {
  if (!curve->current_device.empty() || !s.given || s.given->current_device.empty()) return curve;
  if (s.given->current.accelerator != curve->current.accelerator) return curve;
  auto out = std::make_shared<capacity_curve>(*curve);
  out->current_device = s.given->current_device;
  out->current_units = s.given->current_units;
  return out;
}

void planner::set_curve(std::shared_ptr<const capacity_curve> curve) {
  const auto [at, fresh] = slots_.try_emplace(curve->key);
  auto& s = at->second;
  if (fresh) s.line = add_line(fmt::format("{}/{}", curve->key.ns, curve->key.name));
  curve = with_device(s, std::move(curve));
  if (curve->asleep) {
    wakers_.insert(curve->key);
  } else {
    wakers_.erase(curve->key);
  }
  s.given = curve;
  take(s, std::move(curve));
}

/// The curve that counts from now on.
void planner::take(slot& s, std::shared_ptr<const capacity_curve> curve) {
  s.curve = std::move(curve);
  s.fresh = true;
  const auto& c = *s.curve;
  s.acts = carried_out(c);
  if (!c.starting) {
    s.starting_since_s.reset();
    s.given_up = false;
  }
  join_pool(c.key, s);
  // It may have been among the others.
  if (!s.acts || s.line < advice_.variants.size()) line_of(!s.acts, s.line).candidates.clear();
  auto& line = line_of(s.acts, s.line);
  line.priority = rank_of(c);
  line.candidates = held(c) ? std::vector<model::solver_candidate>{} : candidates_of(s);
  s.floor = c.current.num_replicas;
  s.surges = held(c) && s.acts && c.changing() && c.change->phase == accelerator_change::step::surge && c.change->ready == 0 &&
             c.change->replicas > 0 && c.change_needs && !c.change_needs->device.empty();
  if (s.surges) {
    line.priority = rank_of(c) - 1;
    line.candidates.push_back(surging(c));
  }
  if (s.surges || !held(c) || c.current_device.empty()) return;
  // What is not Ready may hold GPUs or wait for some, and what is beyond minReplicas of one that yields: it keeps these before
  // its own class, and after more important ones, get theirs. Where nothing is written, or not even the class is known, last.
  s.floor = c.yields && s.acts ? std::min(c.min_replicas, c.current.num_replicas) : running_of(c);
  if (s.floor == c.current.num_replicas || !s.acts) return;
  line.priority = c.priority > 0 ? rank_of(c) - 1 : last_rank;
  line.candidates.push_back(kept(c, c.current.num_replicas - s.floor));
}

/// While one of a pool is starting for the requests that wait, the others sleep on: else each would start, not the cheapest.
void planner::wake() {
  if (wakers_.empty()) return;
  std::set<std::string> starting;
  for (const auto& [key, s] : slots_)
    if (held(*s.curve) && !s.curve->metrics.status && s.curve->current.num_replicas > 0) starting.insert(pool_name(*s.curve));
  starting.erase("");
  std::set<std::string> in_vain;
  for (const auto& key : wakers_)
    if (slots_.at(key).given->insists) in_vain.insert(pool_name(*slots_.at(key).given));
  for (auto& [key, s] : slots_) {
    if (in_vain.empty() || !s.curve->starting || s.given_up || !in_vain.count(pool_name(*s.curve))) continue;
    s.given_up = true;
    join_pool(key, s);
  }
  for (const auto& key : wakers_) {
    auto& s = slots_.at(key);
    const auto& wanted = !s.given->insists && starting.count(pool_name(*s.given)) ? s.given->asleep : s.given;
    if (s.curve != wanted) take(s, wanted);
  }
}

void planner::remove(const variant_key& key) {
  const auto at = slots_.find(key);
  if (at == slots_.end()) return;
  leave_pool(key, at->second);
  leave_orphans(key, at->second);
  wakers_.erase(key);
  drop_line(at->second.line);
  slots_.erase(at);
}

void planner::set_capacity(std::shared_ptr<const capacity_view> capacity) {
  const bool same = capacity && capacity_ && capacity->known == capacity_->known && capacity->by_device == capacity_->by_device &&
                    capacity->nodes == capacity_->nodes;
  capacity_ = std::move(capacity);
  if (same) return;
  // Mixes are made for the GPUs there are.
  for (auto& [name, p] : pools_) p.changed = true;
  for (auto& [key, s] : slots_) {
    const auto& c = *s.curve;
    if (held(c) || c.candidates.size() != 1 || c.candidates.front().units_per_replica <= 1) continue;
    line_of(s.acts, s.line).candidates = candidates_of(s);
    s.fresh = true;
  }
}

/// The GPUs that nodes report, and of each device at least those that Ready replicas have: a replica that serves has its GPUs,
/// whatever a restarting device plugin, a renamed label or a pod that claims more than there is make of the report. It is of no
/// use to another.
void planner::find_usable() {
  usable_.clear();
  unconfirmed_.clear();
  if (!capacity_ || !capacity_->known) return;
  usable_ = capacity_->by_device;
  std::map<std::string, int> serving;
  for (const auto& [key, s] : slots_) {
    const auto& c = *s.curve;
    if (c.current_device.empty()) continue;
    if (const int ready = running_of(c); ready > 0) serving[c.current_device] += ready * c.current_units;
  }
  for (const auto& [device, count] : serving) {
    auto& there = usable_[device];
    if (count > there) unconfirmed_.insert(device);
    there = std::max(there, count);
  }
}

/// Number of Ready replicas whose GPUs no other variant could use, because no node would start another pod on them.
int planner::immovable(const capacity_curve& c) const {
  if (unconfirmed_.count(c.current_device)) return running_of(c);
  if (!capacity_) return 0;
  const auto bound = capacity_->bound.find(c.key);
  if (bound == capacity_->bound.end()) return 0;
  const int units = std::max(c.current_units, 1);
  return std::min(running_of(c), (bound->second + units - 1) / units);
}

/// The usable GPUs, less those of held variants: what they have is not to be given to others.
void planner::limit() {
  input_.optimizer.unlimited = !capacity_ || !capacity_->known;
  for (auto& c : input_.capacity) c.count = 0;
  for (const auto& [device, count] : usable_) input_.capacity[static_cast<std::size_t>(type_of(device))].count = count;
  for (const auto& [key, s] : slots_) {
    const auto& c = *s.curve;
    if (!held(c) || planned_together(s)) continue;
    take_away(c.current_device, c.changing() ? old_replicas(c) * c.current_units : s.floor * c.current_units);
    if (c.change_needs && !s.surges) take_away(c.change_needs->device, c.change->replicas * c.change_needs->units);
  }
  for (const auto& [key, s] : slots_) {
    const auto& c = *s.curve;
    if (s.acts && c.mode == actuation_mode::metric && !held(c) && !planned_together(s))
      take_away(c.current_device, more_than_wanted(c) * c.current_units);
  }
}

void planner::take_away(const std::string& device, int count) {
  if (device.empty()) return;
  auto& room = input_.capacity[static_cast<std::size_t>(type_of(device))].count;
  room = std::max(0, room - count);
}

planner::gpu_count planner::gpus_of(const slot& s, const decision& d) {
  const auto& c = *d.curve;
  const int most = ceiling_of(s);
  const int replicas = most > 0 ? std::min(d.desired.num_replicas, most) : d.desired.num_replicas;
  for (std::size_t i = 0; i < c.candidates.size(); ++i)
    if (c.candidates[i].alloc.accelerator == d.desired.accelerator)
      return {type_of(c.device_of[i]), replicas * c.candidates[i].units_per_replica};
  return {type_of(c.current_device), replicas * c.current_units};
}

/// What starts on another accelerator, as a candidate.
model::solver_candidate planner::surging(const capacity_curve& c) {
  model::allocation a;
  a.accelerator = c.change->to;
  a.num_replicas = c.change->replicas;
  return {std::move(a), type_of(c.change_needs->device), c.change_needs->units, c.change->replicas, {}};
}

/// So many of the present replicas, as a candidate.
model::solver_candidate planner::kept(const capacity_curve& c, int replicas) {
  model::solver_candidate out{with_replicas(present(c), replicas), type_of(c.current_device), c.current_units, replicas, {}};
  out.alloc.value = 0;
  return out;
}

/// Whether a variant that is to move first has to become more where it is: the replicas there do not carry its load, and there
/// are GPUs (of those that `used` leaves) for as many as would.
bool planner::grows_first(const slot& s, const model::solver_choice& choice, std::vector<int>& used) const {
  const auto& c = *s.curve;
  const auto* same = staying(c);
  if (choice.candidate < 0 || !same || c.current.num_replicas == 0 || c.mode != actuation_mode::direct) return false;
  const auto& there = c.candidates[static_cast<std::size_t>(choice.candidate)].alloc;
  if (there.num_replicas == 0 || there.accelerator == c.current.accelerator || same->alloc.num_replicas <= c.current.num_replicas)
    return false;
  const auto& input = s.acts ? input_ : advice_;
  const auto& line = input.variants[s.line].candidates[static_cast<std::size_t>(same - c.candidates.data())];
  if (line.type < 0 || input.optimizer.unlimited) return true;
  const auto t = static_cast<std::size_t>(line.type);
  if (input.capacity[t].count - used[t] < line.alloc.num_replicas * line.units_per_replica) return false;
  used[t] += line.alloc.num_replicas * line.units_per_replica;
  return true;
}

/// Whether a variant that was granted part of what it wants on another accelerator has more where it is. `used`: GPUs of the
/// plan.
bool planner::better_stays(const slot& s, const model::solver_choice& choice, const std::vector<int>& used) const {
  const auto& c = *s.curve;
  if (!choice.partial || choice.num_replicas == 0 || c.current.num_replicas == 0) return false;
  const auto* same = staying(c);
  const auto& other = c.candidates[static_cast<std::size_t>(choice.candidate)];
  if (!same || same == &other || other.alloc.accelerator == c.current.accelerator) return false;
  const auto& line =
      (s.acts ? input_ : advice_).variants[s.line].candidates[static_cast<std::size_t>(same - c.candidates.data())];
  int here = c.current.num_replicas;
  if (line.type >= 0 && line.units_per_replica > 0) {
    const auto t = static_cast<std::size_t>(line.type);
    here = std::max(here, std::max(0, (s.acts ? input_ : advice_).capacity[t].count - used[t]) / line.units_per_replica);
  }
  here = std::min(here, line.alloc.num_replicas);
  return choice.num_replicas * other.alloc.max_rate_per_replica.per_sec() <= here * same->alloc.max_rate_per_replica.per_sec();
}

std::vector<model::open_pool> planner::open_pools(bool acts) const {
  std::vector<model::open_pool> open;
  for (const auto& [name, p] : pools_)
    if (p.demand && p.acts == acts && !p.complete) open.push_back({*p.line, p.lasting ? p.lasting.get() : p.demand.get()});
  return open;
}

/// Variants whose target nobody scales are planned with the replicas they have, so that no GPU is kept idle for them. The number
/// published for them comes from a second solution, in which they are scaled: an autoscaler that starts to follow finds the GPUs.
void planner::as_if_followed(model::solver_result& result) {
  std::vector<const slot*> all;
  for (const auto& [key, s] : slots_)
    if (s.acts && !held(*s.curve) && !planned_together(s) && nobody_follows(s)) all.push_back(&s);
  if (all.empty()) return;
  auto input = input_;
  for (const auto* s : all) input.variants[s->line].candidates = candidates_of(*s, s->curve->ceiling());
  note_present(input, true);
  const auto followed = model::solve_with_pools(input, open_pools(true));
  for (const auto* s : all) result.choices[s->line] = followed.choices[s->line];
}

/// The solver's plan, and another one where it would take capacity from variants by moving them to a part of what they want.
model::solver_result planner::solve(model::solver_input& input, bool acts) {
  const auto open = open_pools(acts);
  auto result = model::solve_with_pools(input, open);
  std::vector<std::pair<std::size_t, std::size_t>> stay;  // line, candidate
  auto used = result.used;
  std::vector<std::vector<model::solver_candidate>> saved;
  for (const auto& [key, s] : slots_) {
    if (s.acts != acts || held(*s.curve) || input.variants[s.line].candidates.empty()) continue;
    const auto& c = *s.curve;
    auto& list = input.variants[s.line].candidates;
    if (better_stays(s, result.choices[s.line], result.used) || grows_first(s, result.choices[s.line], used)) {
      const auto at = static_cast<std::size_t>(staying(c) - c.candidates.data());
      stay.emplace_back(s.line, at);
      saved.push_back(std::exchange(list, {list[at]}));
    } else if (result.choices[s.line].candidate < 0 && !staying(c) && c.current.num_replicas > 0 && !c.current_device.empty()) {
      stay.emplace_back(s.line, no_candidate);
      saved.push_back(std::exchange(list, {kept(c, c.current.num_replicas)}));
    }
  }
  // Without bounds nothing is known of what one GPU more would change.
  note_gains(acts, stay.empty() && open.empty() ? model::gains_of_one_more(input, result)
                                                : std::vector<std::optional<model::gpu_gain>>{});
  if (stay.empty()) return result;
  result = model::solve_with_pools(input, open);
  for (std::size_t i = 0; i < stay.size(); ++i) {
    const auto& [line, at] = stay[i];
    input.variants[line].candidates = std::move(saved[i]);
    auto& choice = result.choices[line];
    if (choice.candidate < 0) continue;
    if (at == no_candidate && !choice.partial) --result.report.satisfied;
    choice.candidate = at == no_candidate ? -1 : static_cast<int>(at);
  }
  // Bounds of a plan with fewer choices are none.
  result.report.lower_bound.reset();
  result.report.gap.reset();
  return result;
}

/// Some policies leave GPUs unused. Overloaded variants then keep the replicas they have, as far as these GPUs go: taking them
/// away would help no other variant.
void planner::leave_rest(const model::solver_input& input, bool acts, model::solver_result& result) const {
  if (input.optimizer.unlimited) return;
  std::vector<std::pair<int, const slot*>> short_of;
  for (const auto& [key, s] : slots_)
    if (s.acts == acts && !held(*s.curve) && !planned_together(s) && s.curve->current.num_replicas > 0)
      if (const auto& choice = result.choices[s.line]; choice.candidate < 0 || choice.partial)
        short_of.emplace_back(rank_of(*s.curve), &s);
  std::stable_sort(short_of.begin(), short_of.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [rank, s] : short_of) {
    const auto& c = *s->curve;
    const auto* same = staying(c);
    if (!same) continue;
    const auto at = same - c.candidates.data();
    const auto& line = input.variants[s->line].candidates[static_cast<std::size_t>(at)];
    auto& choice = result.choices[s->line];
    const int granted = choice.candidate < 0 ? 0 : choice.num_replicas;
    if (line.type < 0 || line.units_per_replica <= 0 || (granted > 0 && choice.candidate != at)) continue;
    const auto t = static_cast<std::size_t>(line.type);
    const int free = std::max(0, input.capacity[t].count - result.used[t]) / line.units_per_replica;
    const int more = std::min(free, std::min(c.current.num_replicas, line.alloc.num_replicas) - granted);
    if (more <= 0) continue;
    choice.candidate = static_cast<int>(at);
    choice.num_replicas = granted + more;
    choice.partial = choice.num_replicas < line.alloc.num_replicas;
    if (!choice.partial) ++result.report.satisfied;
    result.used[t] += more * line.units_per_replica;
  }
}

/// Those who act come first; where a GPU more is nothing to them, it is for the others.
void planner::note_gains(bool acts, const std::vector<std::optional<model::gpu_gain>>& gains) {
  if (acts) {
    one_more_ = gains;
    return;
  }
  for (std::size_t t = 0; t < one_more_.size(); ++t)
    if (one_more_[t] && !one_more_[t]->any()) one_more_[t] = t < gains.size() ? gains[t] : std::nullopt;
}

/// What held variants keep is not what they were satisfied with.
void planner::count_held(model::solver_result& result) const {
  for (const auto& [key, s] : slots_) {
    if (!held(*s.curve) || !s.acts || input_.variants[s.line].candidates.empty()) continue;
    const auto& choice = result.choices[s.line];
    if (choice.candidate < 0 || choice.partial) continue;
    --result.report.satisfied;
    --result.report.satisfiable;
  }
}

/// Those that act first, the GPUs of the others being theirs; then the others with what is left.
model::solver_result planner::solve(double now_s) {
  limit();
  const auto room = input_.capacity;
  bool advises = false;
  for (const auto& [key, s] : slots_) {
    if (s.acts || held(*s.curve)) continue;
    advises = true;
    take_away(s.curve->current_device, running_of(*s.curve) * s.curve->current_units);
  }
  note_present(input_, true);
  keep_all(std::nullopt);
  auto result = solve(input_, true);
  if (const auto rank = exchange(result, now_s)) {
    keep_all(rank);
    result = solve(input_, true);
  }
  leave_rest(input_, true, result);
  if (!advises) return result;
  advice_.optimizer = input_.optimizer;
  advice_.keep_present = advice_.one_each = true;
  note_present(advice_, false);
  // A device may be new since: of a variant that has no GPUs.
  advice_.capacity = room;
  advice_.capacity.resize(input_.capacity.size());
  for (std::size_t t = 0; t < result.used.size(); ++t)
    advice_.capacity[t].count = std::max(0, advice_.capacity[t].count - result.used[t]);
  auto advice = solve(advice_, false);
  leave_rest(advice_, false, advice);
  for (std::size_t i = 0; i < advice_.variants.size(); ++i)
    if (!advice_.variants[i].candidates.empty()) result.choices[i] = advice.choices[i];
  auto& report = result.report;
  report.satisfied += advice.report.satisfied;
  report.satisfiable += advice.report.satisfiable;
  report.value += advice.report.value;
  const auto both = [](const std::optional<double>& a, const std::optional<double>& b, auto join) {
    return a && b ? std::optional<double>(join(*a, *b)) : std::nullopt;
  };
  report.lower_bound = both(report.lower_bound, advice.report.lower_bound, std::plus<double>());
  report.gap = both(report.gap, advice.report.gap, [](double a, double b) { return std::max(a, b); });
  return result;
}

/// GPUs of a device that a plan leaves, in replicas.
int planner::room_for(const std::string& device, int units, const std::vector<int>& used) {
  const int type = type_of(device);
  if (input_.optimizer.unlimited || type < 0) return 1 << 20;
  const auto t = static_cast<std::size_t>(type);
  return std::max(0, input_.capacity[t].count - (t < used.size() ? used[t] : 0)) / std::max(units, 1);
}

/// What becomes of a move under way. While no new replica is Ready, a load that the old ones cannot carry ends it, if they can be
/// as many as are needed. Else it goes on, with more replicas where those planned are too few.
void planner::follow_load(decision& d, std::vector<int>& used) {
  const auto& c = *d.curve;
  if (!c.changing() || !c.change_needs) return;
  const auto& change = *c.change;
  const auto& needs = *c.change_needs;
  const bool surging = change.phase == accelerator_change::step::surge;
  const bool old_short = needs.old_replicas > c.current.num_replicas;
  if (surging && change.ready == 0 && old_short &&
      old_replicas(c) + room_for(c.current_device, c.current_units, used) >= needs.old_replicas) {
    d.desired.accelerator = change.from;
    d.desired.num_replicas = needs.old_replicas;
    return;
  }
  // As long as the old ones carry the load, a peak may pass before the new ones are there.
  if (surging && !old_short && change.ready < change.replicas) return;
  const int more = std::min(needs.new_replicas - change.replicas, room_for(needs.device, needs.units, used));
  if (more <= 0) return;
  d.desired.num_replicas += more;
  if (const int type = type_of(needs.device); type >= 0) {
    used.resize(input_.capacity.size());
    used[static_cast<std::size_t>(type)] += more * needs.units;
  }
}

/// Where an autoscaler does not act, or the API server refuses the patch, the GPUs are not kept for what does not come.
void planner::note_followers(double now_s) {
  for (auto& [key, s] : slots_) {
    const auto& c = *s.curve;
    const bool behind = s.last && s.acts && !held(c) && s.last->desired.accelerator == c.current.accelerator &&
                        s.last->desired.num_replicas > c.current.num_replicas;
    if (!behind || c.current.num_replicas > s.behind_at) s.behind_since_s.reset();
    s.behind_at = c.current.num_replicas;
    if (behind && !s.behind_since_s) s.behind_since_s = now_s;
    const bool lasts = behind && now_s - *s.behind_since_s >= follow_patience_s;
    if (lasts && planned_together(s)) count_on(s, c.current.num_replicas, now_s);
    if (planned_together(s)) continue;
    if (std::exchange(s.unfollowed, lasts) == lasts) continue;
    s.fresh = true;
    if (!held(c)) line_of(s.acts, s.line).candidates = candidates_of(s);
  }
}

/// What more important classes leave to a variant on hold.
decision planner::decide_held(const slot& s, const model::solver_choice& choice) const {
  auto d = holding(s.curve);
  if (s.surges && (choice.candidate < 0 || choice.partial)) {
    const auto& change = *s.curve->change;
    d.desired = with_replicas(present(*s.curve), std::max(s.curve->change_needs->old_replicas, 1));
    d.desired.accelerator = change.from;
    d.message += fmt::format("; given up, as more important classes need the GPUs of {}", change.to);
    return d;
  }
  // What its spec says to be the least does not depend on the load.
  const int least = s.curve->min_replicas, has = s.curve->current.num_replicas;
  if (least > has && has > 0 && !s.curve->changing() && s.curve->actuate && s.curve->hold_reason != "InvalidSpec") {
    d.hold = false;
    d.desired = with_replicas(d.desired, least);
    d.message += fmt::format("; spec.minReplicas is {}", least);
    return d;
  }
  const bool shares = s.curve->yields && s.floor < s.curve->current.num_replicas;
  if (!shares) return d;
  const int keeps = s.floor + (choice.candidate < 0 ? 0 : choice.num_replicas);
  if (keeps >= s.curve->current.num_replicas) return d;
  d.hold = false;
  d.desired = with_replicas(d.desired, keeps);
  d.message +=
      fmt::format("; {} of {} replicas stay, more important classes need the GPUs", keeps, s.curve->current.num_replicas);
  return d;
}

decision planner::decide(const slot& s, const model::solver_choice& choice) const {
  if (choice.candidate < 0 || choice.partial) return denied(s.curve, choice);
  const auto i = static_cast<std::size_t>(choice.candidate);
  const auto& wanted = s.curve->candidates[i];
  if (s.curve->candidates.size() == 1 && choice.num_replicas < wanted.alloc.num_replicas)
    if (const int units = wanted.units_per_replica;
        choice.num_replicas == fits_on_nodes(*s.curve, wanted.alloc.accelerator, s.curve->device_of[i], units)) {
      auto d = denied(s.curve, {choice.candidate, choice.num_replicas, true, {}});
      d.message += fmt::format("; a replica takes {} GPUs of one node", units);
      return d;
    }
  decision d;
  d.curve = s.curve;
  d.desired = wanted.alloc;
  // Nothing on no accelerator in particular: it stays named for those who read the series and the status.
  if (d.desired.num_replicas == 0) d.desired.accelerator = s.curve->current.accelerator;
  d.reason = "Optimized";
  d.message = s.curve->hold_message;
  d.needed = replicas_needed(d.desired);
  if (s.unfollowed)
    d.message =
        with_remark(*s.curve, fmt::format("{} replicas have been wanted for minutes and {} are asked of the target: the GPUs "
                                          "of the others are left to other variants until it follows",
                                          d.desired.num_replicas, s.curve->current.num_replicas));
  // maxReplicas may be too few.
  const auto& a = d.desired;
  if (a.rate_per_replica.per_sec() > a.max_rate_per_replica.per_sec() * (1 + 1e-6)) {
    d.reason = "MaxReplicasReached";
    d.message = fmt::format("{} x {} meet the targets up to {:.2f} requests/min, {:.2f} are to be served: spec.maxReplicas",
                            a.num_replicas, a.accelerator, a.num_replicas * a.max_rate_per_replica.per_min(),
                            a.num_replicas * a.rate_per_replica.per_min());
    d.message = with_remark(*s.curve, d.message);
  }
  return d;
}

std::shared_ptr<plan_snapshot> planner::plan(std::uint64_t cycle, std::string trigger, double now_s) {
  auto snapshot = std::make_shared<plan_snapshot>();
  snapshot->cycle = cycle;
  snapshot->trigger = std::move(trigger);
  wake();
  find_usable();
  note_followers(now_s);
  give_up(now_s);
  refresh_pools();
  auto result = solve(now_s);
  if (ask_beyond(result)) {
    refresh_pools();
    result = solve(now_s);
  }
  count_held(result);
  settle(result);
  as_if_followed(result);
  std::vector<decision_table::value> all;
  all.reserve(slots_.size());
  std::vector<int> count(input_.capacity.size());
  std::vector<double> cost(input_.capacity.size());
  for (auto& [key, s] : slots_) {
    const auto* p = s.pool.empty() ? nullptr : &pools_.at(s.pool);
    if (p && !p->demand) p = nullptr;
    const auto line = p ? *p->line : s.line;
    if (s.fresh || !same_choice(choices_[line], result.choices[line])) {
      auto d = held(*s.curve) ? decide_held(s, result.choices[line]) : p ? decide_part(s, *p) : decide(s, result.choices[line]);
      follow_load(d, result.used);
      say_who_scales(d);
      d.cycle = cycle;
      if (p) d.pool = p->told;
      s.at = gpus_of(s, d);
      s.fresh = false;
      s.last = std::make_shared<const decision>(std::move(d));
      snapshot->changed.push_back(s.last);
    }
    note_grant(s, p);
    const auto& desired = s.last->desired;
    snapshot->total_cost.cents += desired.cost.cents;
    if (s.at.type >= 0 && s.at.count > 0) {
      // A device may be new: of a curve that was held.
      count.resize(input_.capacity.size());
      cost.resize(input_.capacity.size());
      count[static_cast<std::size_t>(s.at.type)] += s.at.count;
      cost[static_cast<std::size_t>(s.at.type)] += desired.cost.cents;
    }
    all.push_back(s.last);
  }
  choices_ = result.choices;
  snapshot->decisions = decision_table(std::move(all));
  snapshot->solver = result.report;
  snapshot->capacity = capacity_;
  for (const auto& [device, type] : types_) {
    const auto t = static_cast<std::size_t>(type);
    if (t < one_more_.size() && one_more_[t]) {
      auto gain = *one_more_[t];
      if (gain.priority == last_rank) gain = {};
      gain.priority = class_of_rank(gain.priority);
      snapshot->one_more.emplace(device, gain);
    }
    if (t >= count.size() || count[t] == 0) continue;
    model::type_usage u{device, count[t], -1, {cost[t]}};
    if (capacity_ && capacity_->known) {
      const auto it = capacity_->by_device.find(device);
      u.limit = it == capacity_->by_device.end() ? 0 : it->second;
    }
    snapshot->by_type.push_back(std::move(u));
  }
  return snapshot;
}

}  // namespace inferno::actors

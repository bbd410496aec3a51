// The actuator's part in moving a Deployment to another accelerator.
#include <fmt/format.h>

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/accelerator_change.hpp"
#include "actors/actuator.hpp"
#include "net/kube/json_path.hpp"

namespace inferno::actors {
namespace {

enum class change_move { none, start, extend, drain, finish, give_up, undo };

/// The next thing to do about a Deployment's accelerator.
change_move next_move(const decision& d, const std::shared_ptr<const accelerator_change>& change) {
  using step = accelerator_change::step;
  const auto& c = *d.curve;
  if (!c.actuate || c.mode != actuation_mode::direct || c.target_key.kind != "Deployment" || c.target_resource)
    return change_move::none;
  if (!change || change->phase == step::failed)
    return !d.hold && d.changes_accelerator() ? change_move::start : change_move::none;
  if (change->taken_over) return change_move::undo;
  // The decision is of a time before the change.
  if (!c.changing() || !c.change_needs) return change_move::none;
  const auto& needs = *c.change_needs;
  const bool surging = change->phase == step::surge;
  if (surging && d.desired.accelerator == change->from && change->ready == 0) return change_move::give_up;
  if (d.desired.accelerator == change->to && d.desired.num_replicas > change->replicas) return change_move::extend;
  if (!surging) return change->complete ? change_move::finish : change_move::none;
  // The new ones alone carry the load before an old one goes for good.
  const bool enough = needs.surely && needs.new_replicas >= 0 && needs.new_replicas <= change->replicas;
  if (enough && (change->complete || change->ready >= change->replicas)) return change_move::drain;
  // The update has replaced the old ones, in whatever number: what is too many goes by ordinary scaling.
  if (change->complete) return change_move::finish;
  return change->stuck && (needs.surely || change->ready < change->replicas) ? change_move::undo : change_move::none;
}

/// Replicas that the load needs on the accelerator a move leaves; where that is not known, all there are.
int needed_there(const decision& d) {
  const auto& needs = d.curve->change_needs;
  return needs && needs->surely && needs->old_replicas >= 0 ? needs->old_replicas : d.curve->current.num_replicas;
}

}  // namespace

/// A change of accelerator begins and goes on with the Deployment as it is now.
bool actuator_state::start_read() {
  as_read.reset();
  if (next_move(*current, current->curve->change) == change_move::none) return false;
  const auto& target = current->curve->target_key;
  config.api->get(kube::resources::deployments, {target.ns, target.name}, "", kube::lane::scale, completion());
  return true;
}

/// The variant is on its new accelerator before the Deployment forgets that it was moved.
bool actuator_state::start_label() {
  if (!as_read) return false;
  const auto change = decode_change(*as_read);
  if (next_move(*current, change) != change_move::finish) return false;
  config.api->merge_patch(
      kube::resources::variantautoscalings, config.key,
      json::object{{"metadata", json::object{{"labels", json::object{{"inference.optimization/acceleratorName", change->to}}}}}},
      "", completion());
  return true;
}

bool actuator_state::start_change() {
  if (!as_read) return false;
  const auto& d = *current;
  const auto& target = d.curve->target_key;
  const auto change = decode_change(*as_read);
  json::object patch;
  switch (next_move(d, change)) {
    case change_move::none:  // the watch has not shown yet what the Deployment says
      return false;
    case change_move::start: {
      auto made = begin_change(d);
      if (!made) {
        apply_problem =
            fmt::format("cannot move from {} to {}: {}", d.curve->current.accelerator, d.desired.accelerator, made.error());
        return false;
      }
      patch = std::move(*made);
      begun = done_event{"AcceleratorChangeStarted",
                         fmt::format("Moving Deployment {} from {} x {} to {} x {}", target.name, d.curve->current.num_replicas,
                                     d.curve->current.accelerator, d.desired.num_replicas, d.desired.accelerator)};
      break;
    }
    case change_move::extend:
      patch = extend_change(*as_read, *change, d.desired.num_replicas);
      config.logger.info("A move to another accelerator goes on with more replicas", {{"variant", config.key.name},
                                                                                      {"namespace", config.key.ns},
                                                                                      {"accelerator", change->to},
                                                                                      {"from", change->replicas},
                                                                                      {"num-replicas", d.desired.num_replicas}});
      break;
    case change_move::drain:
      patch = drain_change(*as_read, *change);
      break;
    case change_move::give_up: {
      const int needed = needed_there(d);
      const auto why =
          needed > d.curve->current.num_replicas
              ? fmt::format("the load needed {} replicas on {} before one on {} was ready", d.desired.num_replicas, change->from,
                            change->to)
              : fmt::format("more important classes need the GPUs of {}, and no replica was ready there", change->to);
      patch = undo_change(*as_read, config.now(), why, needed);
      begun = done_event{"AcceleratorChangeGivenUp",
                         fmt::format("Deployment {} goes back to {}: {}", target.name, change->from, why)};
      break;
    }
    case change_move::finish:
      patch = finish_change(*as_read);
      begun = done_event{"AcceleratorChanged",
                         fmt::format("Deployment {} runs on {} x {}", target.name,
                                     kube::integer_at(*as_read, {"spec", "replicas"}, change->replicas), change->to)};
      break;
    case change_move::undo:
      patch = undo_change(*as_read, config.now(), {}, needed_there(d));
      begun = {
          "AcceleratorChangeFailed",
          change->taken_over
              ? fmt::format("Deployment {} is not moved from {} to {}: another writer changed its placement meanwhile",
                            target.name, change->from, change->to)
              : fmt::format("Deployment {} goes back to {}: no pods became ready on {}", target.name, change->from, change->to)};
      break;
  }
  attempt_time = kube::format_time(config.now());
  config.api->merge_patch(kube::resources::deployments, {target.ns, target.name}, std::move(patch), "", completion());
  return true;
}

tl::expected<json::object, std::string> actuator_state::begin_change(const decision& d) const {
  const auto& c = *d.curve;
  change_request wanted;
  wanted.variant = config.key.name;
  wanted.from = c.current.accelerator;
  wanted.to = d.desired.accelerator;
  wanted.replicas = d.desired.num_replicas;
  for (const auto& candidate : c.candidates)
    if (candidate.alloc.accelerator == wanted.to) wanted.cards = candidate.units_per_replica;
  if (!c.basis) return tl::unexpected(std::string("nothing is known of its pods"));
  const auto& placements = c.basis->shared->placements;
  const auto to = placements.find(wanted.to);
  if (to == placements.end()) return tl::unexpected(std::string("accelerator-unit-costs has no nodeSelector for it"));
  wanted.placement = &to->second;
  if (const auto from = placements.find(wanted.from); from != placements.end()) wanted.old_place = &from->second;
  return inferno::actors::start_change(*as_read, wanted);
}

}  // namespace inferno::actors

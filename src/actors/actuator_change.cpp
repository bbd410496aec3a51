// The actuator's part in moving a Deployment to another accelerator.
#include <fmt/format.h>

#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "actors/accelerator_change.hpp"
#include "actors/actuator.hpp"

namespace inferno::actors {
namespace {

enum class change_move { none, start, drain, finish, undo };

/// The next thing to do about a Deployment's accelerator.
change_move next_move(const decision& d, const std::shared_ptr<const accelerator_change>& change) {
  using step = accelerator_change::step;
  const auto& c = *d.curve;
  if (!c.actuate || c.mode != actuation_mode::direct || c.target_key.kind != "Deployment" || c.target_resource)
    return change_move::none;
  if (!change || change->phase == step::failed)
    return !d.hold && d.changes_accelerator() ? change_move::start : change_move::none;
  if (change->taken_over) return change_move::undo;
  if (change->phase == step::drain) return change->complete ? change_move::finish : change_move::none;
  if (change->complete || change->ready >= change->replicas) return change_move::drain;
  return change->stuck ? change_move::undo : change_move::none;
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
    case change_move::drain:
      patch = drain_change(*as_read, *change);
      break;
    case change_move::finish:
      patch = finish_change(*as_read);
      begun = done_event{"AcceleratorChanged",
                         fmt::format("Deployment {} runs on {} x {}", target.name, change->replicas, change->to)};
      break;
    case change_move::undo:
      patch = undo_change(*as_read, config.now());
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

#pragma once
// A Deployment's move from one accelerator to another: surge before drain, so that capacity never has a gap.
//
// The pod template gets the new accelerator's node selector and GPUs in a rolling update that keeps all old replicas until as
// many new ones as were decided are ready; only then the number of replicas becomes theirs and the old ones go. The Deployment's
// annotation tells how far it is, so any controller can go on with it. It holds what the change has replaced and what it has put
// there: an update that gets stuck is taken back field by field, and only where a field still is as the change left it.
#include <boost/json/object.hpp>
#include <tl/expected.hpp>

#include "actors/domain.hpp"

namespace inferno::actors {

inline constexpr std::string_view change_annotation = "inference.optimization/accelerator-change";

/// The change under way on a Deployment, with its progress; nullptr: none (or an annotation nobody can read).
std::shared_ptr<const accelerator_change> decode_change(const boost::json::object& deployment);

/// What a decision wants of its Deployment.
struct change_request {
  std::string variant;  ///< name of the VariantAutoscaling
  std::string from, to;
  int replicas = 0;                          ///< on the new accelerator
  int cards = 1;                             ///< of a replica there
  const pod_placement* placement = nullptr;  ///< of the new accelerator
  const pod_placement* old_place = nullptr;  ///< of the old one; nullptr = not known
};

/// Merge patches of the Deployment as it was read, refused by the API when it is another by now (409).
/// Error: the pod template has not exactly one container with GPUs.
tl::expected<boost::json::object, std::string> start_change(const boost::json::object& deployment, const change_request& wanted);
/// `replicas` new ones are to be there, more than were decided at first. The update goes on.
boost::json::object extend_change(const boost::json::object& deployment, const accelerator_change& change, int replicas);
/// The new replicas are ready: theirs is the number now.
boost::json::object drain_change(const boost::json::object& deployment, const accelerator_change& change);
/// Only new replicas are left: the strategy is as before and the annotation goes.
boost::json::object finish_change(const boost::json::object& deployment);
/// The update is stuck, another writer has changed where the pods go, or the load cannot wait: what the change did is taken back,
/// except what has been changed since, and except replicas that the load needs by now: of those that came with the change,
/// `needed` stay. The annotation stays, to say why, and since when; `reason` "" = one of these two.
boost::json::object undo_change(const boost::json::object& deployment, std::chrono::system_clock::time_point now,
                                std::string_view reason = {}, int needed = 0);
/// The variant is gone: a change whose new replicas are ready is finished, another one taken back. The annotation goes.
boost::json::object abandon_change(const boost::json::object& deployment);

}  // namespace inferno::actors

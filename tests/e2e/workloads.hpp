#pragma once
// Workloads that several suites need.
#include "tests/e2e/scene.hpp"

namespace inferno::test {

/// The text with the first `what` of it replaced; throws when it is not there.
std::string with(std::string text, const std::string& what, const std::string& by);
/// A Deployment of A100s whose servers are as fast as an MI300X, wherever they run: after the move one of them can take the load.
std::string movable_deployment(const scene& s, int replicas);
/// The one copy of something that has no controller here: a pod as a sample Deployment's, with the label app=group, and that of a
/// LeaderWorkerSet's leader.
std::string group_pod(const scene& s);
/// The accelerators' ConfigMap says how a pod gets to an MI300X.
void allow_moves(const scene& s);

}  // namespace inferno::test
